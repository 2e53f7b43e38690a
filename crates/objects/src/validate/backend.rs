//! XBackend.

use std::net::IpAddr;

use super::gateway::backend_validation;
use super::{Findings, names, quote};
use crate::kinds::gateway::{BackendTls, XBackend};

pub(super) fn backend(backend: &XBackend, found: &mut Findings) {
    let spec = &backend.spec;
    if spec.type_.is_empty() {
        found.error("spec.type", "is missing", "ExternalHostname");
    }
    if spec.port.port == 0 {
        let hint = "a number from 1 to 65535";
        found.error("spec.port.port", "is missing or 0", hint);
    }
    if let Some(name) = spec.port.name.as_deref().filter(|name| !name.is_empty()) {
        found.check("spec.port.name", name, names::label(name));
    }
    let is_external = *spec.type_ == *"ExternalHostname";
    match &spec.external_hostname {
        Some(external) => hostname(&external.hostname, found),
        None if is_external => {
            let hint = "`hostname`, which type ExternalHostname needs";
            found.error("spec.externalHostname", "is missing", hint);
        }
        None => {}
    }
    if let Some(tls) = &spec.tls {
        self::tls(tls, found);
    }
}

fn hostname(hostname: &str, found: &mut Findings) {
    const FIELD: &str = "spec.externalHostname.hostname";

    if hostname.parse::<IpAddr>().is_ok() || hostname.ends_with(".cluster.local") {
        let message = format!("{} is not allowed", quote(hostname));
        let hint =
            "a DNS name of a host outside of the cluster; no address, and not below .cluster.local";
        found.error(FIELD, message, hint);
    } else {
        found.check(FIELD, hostname, names::subdomain(hostname));
    }
}

fn tls(tls: &BackendTls, found: &mut Findings) {
    if tls.mode.is_empty() {
        let hint = "None, ServerOnly or ClientAndServer";
        found.error("spec.tls.mode", "is missing", hint);
    }
    let shows_own = *tls.mode == *"ClientAndServer";
    if shows_own != tls.client_certificate_ref.is_some() {
        let message = match shows_own {
            true => "is missing",
            false => "is for mode ClientAndServer alone",
        };
        let hint = "a Secret of type kubernetes.io/tls, with mode ClientAndServer";
        found.error("spec.tls.clientCertificateRef", message, hint);
    }
    if let Some(validation) = &tls.validation {
        backend_validation("spec.tls.validation", validation, found);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fields(spec: Value) -> Vec<String> {
        let object = json!({"metadata": {"name": "api"}, "spec": spec});
        let object: XBackend = serde_json::from_value(object).expect("an XBackend");
        let mut found = Findings::default();
        backend(&object, &mut found);
        found.0.into_iter().map(|problem| problem.field).collect()
    }

    fn with(name: &str, value: Value) -> Value {
        let mut spec = json!({
            "type": "ExternalHostname", "port": {"port": 443},
            "externalHostname": {"hostname": "api.example"},
        });
        match value {
            Value::Null => drop(spec.as_object_mut().expect("an object").remove(name)),
            value => spec[name] = value,
        }
        spec
    }

    #[test]
    fn what_an_xbackend_may_not_say_is_named() {
        assert_eq!(fields(with("protocol", json!("HTTP2"))), [""; 0]);
        let host = "spec.externalHostname.hostname";
        for (name, value, field) in [
            ("type", Value::Null, "spec.type"),
            ("port", json!({"port": 0}), "spec.port.port"),
            ("port", json!({"port": 1, "name": "a_b"}), "spec.port.name"),
            ("externalHostname", Value::Null, "spec.externalHostname"),
            ("externalHostname", json!({"hostname": "10.0.0.1"}), host),
            (
                "externalHostname",
                json!({"hostname": "web.shop.svc.cluster.local"}),
                host,
            ),
            ("externalHostname", json!({"hostname": "a b"}), host),
            ("tls", json!({}), "spec.tls.mode"),
            (
                "tls",
                json!({"mode": "ClientAndServer"}),
                "spec.tls.clientCertificateRef",
            ),
            (
                "tls",
                json!({"mode": "ServerOnly", "clientCertificateRef": {"name": "a"}}),
                "spec.tls.clientCertificateRef",
            ),
            (
                "tls",
                json!({"mode": "ServerOnly", "validation": {"hostname": "a.example"}}),
                "spec.tls.validation",
            ),
        ] {
            assert_eq!(fields(with(name, value)), [field], "{name}");
        }
    }
}
