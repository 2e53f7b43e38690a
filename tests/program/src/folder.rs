//! Folders of manifests.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::Certificate;

/// A folder of manifests that is removed when dropped.
pub struct Folder(tempfile::TempDir);

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// A folder with one file of these documents.
    pub fn of(documents: &[String]) -> Self {
        let folder = Self::new();
        folder.write("site.yaml", &docs(documents));
        folder
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, making the folders above it. Nobody ever sees a part of it.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().expect("inside the folder")).expect("a folder");
        self.rename_over(name, text);
    }

    /// Writes a file in place: who reads meanwhile sees nothing, or a part of it.
    pub fn write_in_place(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).expect("a file");
    }

    /// Writes as editors do: a new file, renamed over the old one.
    pub fn rename_over(&self, name: &str, text: &str) {
        let path = self.file(name);
        let last = path.file_name().expect("a name").to_string_lossy();
        let temporary = path.with_file_name(format!(".{last}.swp"));
        fs::write(&temporary, text).expect("a file");
        fs::rename(temporary, path).expect("renamed");
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.file(name)).expect("was there");
    }
}

/// Documents as one YAML text.
pub fn docs(documents: &[String]) -> String {
    documents.join("---\n")
}

/// An IngressClass of ours that is the default one.
pub fn class() -> String {
    "apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata:
  name: narthex
  annotations:
    ingressclass.kubernetes.io/is-default-class: \"true\"
spec:
  controller: narthex.dev/ingress
"
    .to_owned()
}

/// A Service with port 80 named `http`, and an EndpointSlice for each of `addresses`.
pub fn service(name: &str, addresses: &[SocketAddr]) -> String {
    service_in("default", name, addresses)
}

/// The same with a port that speaks `app_protocol`, and annotations.
pub fn service_speaking(
    name: &str,
    app_protocol: &str,
    annotations: &[(&str, &str)],
    addresses: &[SocketAddr],
) -> String {
    let annotated: Vec<_> = annotations
        .iter()
        .map(|(name, value)| format!("    narthex.dev/{name}: {value:?}\n"))
        .collect();
    let metadata = match annotated.len() {
        0 => String::new(),
        _ => format!("  annotations:\n{}", annotated.concat()),
    };
    service(name, addresses)
        .replacen("spec:\n", &format!("{metadata}spec:\n"), 1)
        .replacen(
            "targetPort: 8080",
            &format!("targetPort: 8080\n      appProtocol: {app_protocol}"),
            1,
        )
}

/// The same in a namespace.
pub fn service_in(namespace: &str, name: &str, addresses: &[SocketAddr]) -> String {
    let mut text = service_on(namespace, name, &[("http", 80)]);
    for (index, address) in addresses.iter().enumerate() {
        text += "---\n";
        text += &slice(
            namespace,
            name,
            &format!("{name}-{index}"),
            *address,
            "ready: true",
        );
    }
    text
}

/// A Service alone, with named ports.
pub fn service_on(namespace: &str, name: &str, ports: &[(&str, u16)]) -> String {
    let mut text = format!(
        "apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: {namespace}
spec:
  selector:
    app: {name}
  ports:
"
    );
    for (port_name, port) in ports {
        let _ = writeln!(
            text,
            "    - name: {port_name}\n      port: {port}\n      targetPort: 8080"
        );
    }
    text
}

/// An EndpointSlice with one endpoint for the port `http`; `conditions` is a line of YAML flow
/// such as `ready: false, serving: true`.
pub fn slice(
    namespace: &str,
    service: &str,
    name: &str,
    address: SocketAddr,
    conditions: &str,
) -> String {
    slice_port(namespace, service, name, "http", address, conditions)
}

/// The same for a port of any name.
pub fn slice_port(
    namespace: &str,
    service: &str,
    name: &str,
    port_name: &str,
    address: SocketAddr,
    conditions: &str,
) -> String {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let (ip, port) = (address.ip(), address.port());
    format!(
        "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}
  namespace: {namespace}
  labels:
    kubernetes.io/service-name: {service}
addressType: {family}
ports:
  - name: {port_name}
    port: {port}
    protocol: TCP
endpoints:
  - addresses: [\"{ip}\"]
    conditions: {{ {conditions} }}
"
    )
}

/// A TLS Secret in the namespace `default`.
pub fn secret(name: &str, certificate: &Certificate) -> String {
    raw_secret(name, &certificate.chain_pem, &certificate.key_pem)
}

/// A TLS Secret with any text.
pub fn raw_secret(name: &str, chain: &str, key: &str) -> String {
    format!(
        "apiVersion: v1
kind: Secret
metadata:
  name: {name}
  namespace: default
type: kubernetes.io/tls
data:
  tls.crt: {}
  tls.key: {}
",
        BASE64_STANDARD.encode(chain),
        BASE64_STANDARD.encode(key)
    )
}

/// A ConfigMap, named by its namespace and its name.
pub fn config_map(object: &str, data: &[(&str, &str)]) -> String {
    let (namespace, name) = object.split_once('/').expect("namespace/name");
    let lines = data
        .iter()
        .map(|(key, value)| format!("\n  {key:?}: {value:?}"));
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{namespace: {namespace}, name: {name}}}\ndata:{}\n",
        lines.collect::<String>()
    )
}
