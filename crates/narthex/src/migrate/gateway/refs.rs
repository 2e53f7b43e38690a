//! References to Services.

use model::Backend;
use objects::Store;
use serde_json::{Value, json};

use super::rules::Around;

/// A reference to a backend. None if it is no port of a Service.
pub(super) fn backend_ref(
    backend: &Backend,
    weight: Option<u32>,
    around: Around<'_>,
) -> Option<Value> {
    named_ref(&backend.name, weight, around)
}

/// A reference to `namespace/service:port`, by its port's number.
pub(super) fn named_ref(name: &str, weight: Option<u32>, around: Around<'_>) -> Option<Value> {
    let (namespace, rest) = name.split_once('/')?;
    let (service, port) = match rest.split_once(':') {
        Some((service, port)) => (service, Some(port)),
        None => (rest, None),
    };
    let port = port_number(around.store, namespace, service, port)?;
    let mut reference = json!({"name": service, "port": port});
    if namespace != around.namespace {
        reference["namespace"] = namespace.into();
    }
    if let Some(weight) = weight {
        reference["weight"] = weight.into();
    }
    Some(reference)
}

/// The number of a Service's port, which is named by number, by name, or as the first one.
fn port_number(store: &Store, namespace: &str, service: &str, port: Option<&str>) -> Option<u16> {
    if let Some(number) = port.and_then(|port| port.parse().ok()) {
        return Some(number);
    }
    let service = store.service(namespace, service)?;
    let mut ports = service.spec.ports.iter().flatten();
    let found = match port {
        Some(port) => ports.find(|known| known.name.as_deref() == Some(port)),
        None => ports.next(),
    };
    Some(found?.port)
}
