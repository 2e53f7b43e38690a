//! What the API server checks before it takes an object.
//!
//! A cluster never hands out an object that fails here; a folder of manifests can hold any. One
//! thing is allowed here that a cluster refuses: EndpointSlices and Endpoints may point at
//! loopback, so that Narthex can stand before programs on the same machine.

mod backend;
mod certificates;
mod endpoints;
mod gateway;
mod ingress;
mod names;
mod route;
mod service;

use crate::kinds::{ConfigMap, IngressClass, Kind, Object, ObjectMeta, Secret};
use crate::problem::{Problem, Severity};

/// Everything for which the API server would refuse `object`. Each problem is an error that names
/// the object and the field.
pub fn validate(object: &Object) -> Vec<Problem> {
    let mut found = Findings::default();
    metadata(object.kind(), object.metadata(), &mut found);
    match object {
        Object::Certificate(object) => certificates::certificate(object, &mut found),
        Object::ClusterIssuer(object) => certificates::issuer(&object.spec, &mut found),
        Object::Issuer(object) => certificates::issuer(&object.spec, &mut found),
        Object::ConfigMap(object) => config_map(object, &mut found),
        Object::Endpoints(object) => endpoints::endpoints(object, &mut found),
        Object::EndpointSlice(object) => endpoints::endpoint_slice(object, &mut found),
        Object::Ingress(object) => ingress::ingress(object, &mut found),
        Object::IngressClass(object) => ingress_class(object, &mut found),
        Object::Namespace(_) => {}
        Object::Secret(object) => secret(object, &mut found),
        Object::Service(object) => service::service(object, &mut found),
        Object::BackendTlsPolicy(object) => gateway::backend_tls_policy(object, &mut found),
        Object::Gateway(object) => gateway::gateway(object, &mut found),
        Object::GatewayClass(object) => gateway::class(object, &mut found),
        Object::ListenerSet(object) => gateway::listener_set(object, &mut found),
        Object::ReferenceGrant(object) => gateway::grant(object, &mut found),
        Object::GrpcRoute(object) => route::grpc(object, &mut found),
        Object::HttpRoute(object) => route::http(object, &mut found),
        Object::TcpRoute(object) => route::stream(&object.spec, &mut found),
        Object::TlsRoute(object) => route::stream(&object.spec, &mut found),
        Object::UdpRoute(object) => route::stream(&object.spec, &mut found),
        Object::XBackend(object) => backend::backend(object, &mut found),
        // An experiment, whose form is not settled.
        Object::XBackendTrafficPolicy(_) => {}
    }
    let key = object.key();
    for problem in &mut found.0 {
        problem.object = Some(key.clone());
    }
    found.0
}

/// How many problems are told of one object: nobody reads hundreds of thousands.
const MAX_PROBLEMS: usize = 100;

/// The problems of one object, in the order in which they were found.
#[derive(Default)]
struct Findings(Vec<Problem>);

impl Findings {
    fn error(
        &mut self,
        field: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if self.0.len() >= MAX_PROBLEMS {
            return;
        }
        self.0.push(Problem {
            severity: Severity::Error,
            object: None,
            field: field.into(),
            message: message.into(),
            hint: hint.into(),
        });
    }

    /// Adds an error if `checked` says what would be right.
    fn check(&mut self, field: &str, text: &str, checked: Result<(), &'static str>) {
        if let Err(hint) = checked {
            self.error(field, format!("{} is not valid", quote(text)), hint);
        }
    }
}

/// `text` in quotes, shortened where it is long, on one line.
pub(crate) fn quote(text: &str) -> String {
    const LONGEST: usize = 60;

    let mut shown: String = text.chars().take(LONGEST).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

fn metadata(kind: Kind, metadata: &ObjectMeta, found: &mut Findings) {
    if metadata.name.is_empty() {
        found.error(
            "metadata.name",
            "is missing",
            "every object needs a name (generateName makes none here)",
        );
    } else {
        let checked = match kind {
            Kind::Namespace | Kind::Service => names::label(&metadata.name),
            _ => names::subdomain(&metadata.name),
        };
        found.check("metadata.name", &metadata.name, checked);
    }
    if let Some(namespace) = &metadata.namespace {
        found.check("metadata.namespace", namespace, names::label(namespace));
    }
    for (key, value) in metadata.labels.iter() {
        let field = format!("metadata.labels.{key}");
        found.check(&field, key, names::qualified(key));
        found.check(&field, value, names::label_value(value));
    }
    for key in metadata.annotations.keys() {
        let field = format!("metadata.annotations.{key}");
        // The API server folds case before it looks, for annotations alone.
        found.check(&field, key, names::qualified(&key.to_ascii_lowercase()));
    }
}

fn ingress_class(class: &IngressClass, found: &mut Findings) {
    const HINT: &str = "a domain and a path, as in narthex.dev/ingress";

    let controller = class.spec.controller.as_deref().unwrap_or_default();
    if controller.is_empty() {
        found.error("spec.controller", "is missing", HINT);
        return;
    }
    let valid = controller.len() <= 250
        && controller
            .split_once('/')
            .is_some_and(|(domain, path)| names::subdomain(domain).is_ok() && !path.is_empty());
    if !valid {
        let message = format!("{} is not valid", quote(controller));
        found.error("spec.controller", message, HINT);
    }
}

fn config_map(map: &ConfigMap, found: &mut Findings) {
    for key in map.data.iter().flatten().map(|(key, _)| key) {
        found.check(&format!("data.{key}"), key, names::data_key(key));
    }
}

fn secret(secret: &Secret, found: &mut Findings) {
    for key in secret.data.keys() {
        found.check(&format!("data.{key}"), key, names::data_key(key));
    }
    for key in &secret.undecodable {
        found.error(
            format!("data.{key}"),
            "is not base64",
            "encode the value with `base64 -w0`, or put it as it is under stringData",
        );
    }
    if secret.type_.as_deref() == Some("kubernetes.io/tls") {
        for (key, what) in [
            ("tls.crt", "the certificate and its chain, PEM"),
            ("tls.key", "the private key, PEM"),
        ] {
            if !secret.data.contains_key(key) && !secret.undecodable.iter().any(|bad| bad == key) {
                let field = format!("data.{key}");
                found.error(
                    field,
                    "is missing in a Secret of type kubernetes.io/tls",
                    what,
                );
            }
        }
    }
}
