//! Manifests of Gateway API.

use std::fmt::Write;

/// The GatewayClass `narthex`, and a Gateway of it with these listeners, in YAML's flow style.
pub fn gateway(name: &str, listeners: &[String]) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: narthex-{name}}}
spec: {{controllerName: narthex.dev/gateway}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}}}
spec: {{gatewayClassName: narthex-{name}, listeners: [{}]}}
",
        listeners.join(", ")
    )
}

/// A route of any kind at the Gateway `gw`, with more of its spec and with its rules.
pub fn route(kind: &str, name: &str, more: &str, rules: &[&str]) -> String {
    let mut text = format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: {name}}}
spec:
  {more}
  rules:"
    );
    for rule in rules {
        let _ = write!(text, "\n  - {rule}");
    }
    text.push('\n');
    text
}
