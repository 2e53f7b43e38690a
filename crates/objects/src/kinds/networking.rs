//! networking.k8s.io/v1: Ingress, IngressClass.

use serde::{Deserialize, Serialize};

use super::{ObjectMeta, Shared};

/// networking.k8s.io/v1 IngressClass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct IngressClass {
    /// `metadata`; the annotation `ingressclass.kubernetes.io/is-default-class` makes it the default.
    pub metadata: ObjectMeta,
    /// `spec`.
    pub spec: IngressClassSpec,
}

/// `spec` of an IngressClass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct IngressClassSpec {
    /// Who serves the class, for example `narthex.dev/ingress`.
    pub controller: Option<String>,
}

/// networking.k8s.io/v1 Ingress.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Ingress {
    /// `metadata`.
    pub metadata: ObjectMeta,
    /// `spec`.
    pub spec: IngressSpec,
}

/// `spec` of an Ingress.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressSpec {
    /// `ingressClassName`.
    pub ingress_class_name: Option<Shared>,
    /// `defaultBackend`: what no rule matches.
    pub default_backend: Option<Box<IngressBackend>>,
    /// `tls`.
    pub tls: Option<Box<[IngressTls]>>,
    /// `rules`.
    pub rules: Option<Box<[IngressRule]>>,
}

/// One entry of `tls`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressTls {
    /// `hosts` that the certificate is for.
    pub hosts: Option<Box<[Box<str>]>>,
    /// `secretName`, in the Ingress's namespace; none means the default certificate.
    pub secret_name: Option<Box<str>>,
}

/// One of `rules`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct IngressRule {
    /// `host`: exact, `*.` and a domain, or none for all hosts.
    pub host: Option<Box<str>>,
    /// `http`.
    pub http: Option<HttpIngressRuleValue>,
}

/// `http` of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct HttpIngressRuleValue {
    /// `paths`.
    pub paths: Box<[HttpIngressPath]>,
}

/// One of a rule's `paths`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpIngressPath {
    /// `path`; none is `/`.
    pub path: Option<Box<str>>,
    /// `pathType`, which Kubernetes requires.
    pub path_type: Option<PathType>,
    /// `backend`.
    pub backend: IngressBackend,
}

/// How a path is matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum PathType {
    /// The whole path, byte for byte.
    Exact,
    /// By path element, split at `/`.
    Prefix,
    /// As the class decides.
    ImplementationSpecific,
}

/// Where a path's requests go: a Service, or a resource of another kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct IngressBackend {
    /// `service`.
    pub service: Option<IngressServiceBackend>,
    /// `resource`, which no kind that Narthex knows can be.
    pub resource: Option<Box<TypedLocalObjectReference>>,
}

/// A Service and one of its ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct IngressServiceBackend {
    /// The Service's name, in the Ingress's namespace.
    pub name: Box<str>,
    /// Which of its ports.
    pub port: ServiceBackendPort,
}

/// A Service port by name or by number, one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ServiceBackendPort {
    /// By name.
    pub name: Option<Shared>,
    /// By number.
    pub number: Option<u16>,
}

/// A reference to an object of the same namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TypedLocalObjectReference {
    /// `apiGroup`.
    pub api_group: Option<String>,
    /// `kind`.
    pub kind: String,
    /// `name`.
    pub name: String,
}
