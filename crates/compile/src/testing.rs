//! Objects for tests.

use std::sync::Arc;

use model::Certificate;
use objects::kinds::{EndpointSlice, Endpoints, Ingress, Object, Secret, Service};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde_json::{Value, json};

use crate::options::Options;

/// A certificate for names and its key, in PEM.
pub(crate) fn key_pair(names: &[&str]) -> (String, String) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

pub(crate) fn options() -> Options {
    let (certificate, key) = key_pair(&["fallback.example"]);
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
    let key = any_supported_type(&key).expect("a key");
    Options::new(Arc::new(Certificate {
        key: Arc::new(CertifiedKey::new(chain, key)),
        source: "fallback".into(),
        not_after: i64::MAX,
        staple: model::Staple::default(),
    }))
}

fn named(mut object: Value, namespace: &str, name: &str) -> Value {
    object["metadata"]["namespace"] = json!(namespace);
    object["metadata"]["name"] = json!(name);
    object
}

pub(crate) fn ingress(namespace: &str, name: &str, object: Value) -> Ingress {
    serde_json::from_value(named(object, namespace, name)).expect("an Ingress")
}

pub(crate) fn ingress_class(object: Value) -> Object {
    Object::IngressClass(Arc::new(
        serde_json::from_value(object).expect("an IngressClass"),
    ))
}

pub(crate) fn service(namespace: &str, name: &str, object: Value) -> Service {
    serde_json::from_value(named(object, namespace, name)).expect("a Service")
}

pub(crate) fn endpoint_slice(
    namespace: &str,
    name: &str,
    service: &str,
    object: Value,
) -> EndpointSlice {
    let mut object = named(object, namespace, name);
    object["metadata"]["labels"] = json!({objects::SERVICE_NAME_LABEL: service});
    serde_json::from_value(object).expect("an EndpointSlice")
}

pub(crate) fn endpoints(namespace: &str, name: &str, object: Value) -> Endpoints {
    serde_json::from_value(named(object, namespace, name)).expect("an Endpoints object")
}

pub(crate) fn secret(namespace: &str, name: &str, object: Value) -> Object {
    let object = named(object, namespace, name);
    let secret: Secret = serde_json::from_value(object).expect("a Secret");
    Object::Secret(Arc::new(secret))
}

pub(crate) fn tls_secret(namespace: &str, name: &str, names: &[&str]) -> Object {
    let (certificate, key) = key_pair(names);
    let data = json!({"stringData": {"tls.crt": certificate, "tls.key": key}});
    secret(namespace, name, data)
}
