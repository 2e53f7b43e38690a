//! What Ingresses refer to and nobody has shown us: something in its place, so that the routes can be
//! made and asked.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use objects::Store;
use objects::kinds::{Ingress, IngressBackend, Kind};
use serde_json::{Value, json};

/// The number of a port that is known by its name alone.
const NAMED: u16 = 80;

/// Ports by name, if they have any, and number.
type Ports = BTreeSet<(Option<String>, u16)>;

/// Puts something in the place of what is missing; what is to be said of it.
pub(super) fn fill(store: &mut Store) -> Vec<String> {
    certificates(store);
    services(store)
}

/// Services, with the ports that are referred to.
fn services(store: &mut Store) -> Vec<String> {
    let mut missing: BTreeMap<(String, String), Ports> = BTreeMap::new();
    for ingress in store.ingresses() {
        let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
        for service in backends(ingress).filter_map(|backend| backend.service.as_ref()) {
            if store.service(namespace, &service.name).is_some() {
                continue;
            }
            let port = &service.port;
            let name = port.name.as_deref().map(str::to_owned);
            let number = port.number.unwrap_or(NAMED);
            let key = (namespace.to_owned(), service.name.to_string());
            missing.entry(key).or_default().insert((name, number));
        }
    }
    let mut said = Vec::new();
    for ((namespace, name), ports) in missing {
        let named: Vec<&str> = ports
            .iter()
            .filter_map(|(name, _)| name.as_deref())
            .collect();
        let guess = match named.is_empty() {
            true => String::new(),
            false => format!(": its port {} is taken for {NAMED}", named.join(", ")),
        };
        said.push(format!("Service {namespace}/{name} is not there{guess}."));
        let ports: Vec<Value> = ports
            .iter()
            .map(|(name, number)| match name {
                Some(name) => json!({"name": name, "port": number}),
                None => json!({"name": format!("p{number}"), "port": number}),
            })
            .collect();
        let service = json!({
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"ports": ports},
        });
        if let Ok(service) = Kind::Service.deserialize(&service) {
            store.apply(service);
        }
    }
    said
}

fn backends(ingress: &Ingress) -> impl Iterator<Item = &IngressBackend> {
    let rules = ingress.spec.rules.iter().flatten();
    let paths = rules.flat_map(|rule| rule.http.iter().flat_map(|http| http.paths.iter()));
    let paths = paths.map(|path| &path.backend);
    paths.chain(ingress.spec.default_backend.as_deref())
}

/// Puts a certificate in the place of each that Ingresses name and nobody has shown us: what is
/// answered does not depend on it.
fn certificates(store: &mut Store) {
    let mut missing: Vec<(String, String, Vec<String>)> = Vec::new();
    for ingress in store.ingresses() {
        let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
        for entry in ingress.spec.tls.iter().flatten() {
            let Some(name) = entry.secret_name.as_deref() else {
                continue;
            };
            if !name.is_empty() && store.secret(namespace, name).is_none() {
                let hosts = entry.hosts.iter().flatten();
                let hosts = hosts.map(|host| host.to_ascii_lowercase()).collect();
                missing.push((namespace.to_owned(), name.to_owned(), hosts));
            }
        }
    }
    for (namespace, name, hosts) in missing {
        let Ok(made) = rcgen::generate_simple_self_signed(hosts) else {
            continue;
        };
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let encode = |text: String| STANDARD.encode(text);
        let secret = json!({
            "metadata": {"name": name, "namespace": namespace},
            "type": "kubernetes.io/tls",
            "data": {"tls.crt": encode(certificate), "tls.key": encode(key)},
        });
        if let Ok(secret) = Kind::Secret.deserialize(&secret) {
            store.apply(secret);
        }
    }
}
