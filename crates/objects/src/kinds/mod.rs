//! The Kubernetes kinds that Narthex reads, cut down to the fields that it uses.
//!
//! Names, nesting and defaults are those of the Kubernetes API; a field that is not here is not
//! read, which keeps 40,000 objects small.

mod core;
mod discovery;
mod networking;
mod shared;
mod string_map;
mod trim;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::core::{
    ConfigMap, EndpointAddress, EndpointSubset, Endpoints, IntOrString, Namespace, ObjectReference,
    Secret, Service, ServicePort, ServiceSpec,
};
pub use discovery::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, NamedHint,
};
pub use networking::{
    HttpIngressPath, HttpIngressRuleValue, Ingress, IngressBackend, IngressClass, IngressClassSpec,
    IngressRule, IngressServiceBackend, IngressSpec, IngressTls, PathType, ServiceBackendPort,
    TypedLocalObjectReference,
};
pub use shared::Shared;
pub use string_map::StringMap;

/// `metadata` of any object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectMeta {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`; filled with `default` by the loader for namespaced kinds.
    pub namespace: Option<Shared>,
    /// `metadata.uid`, empty for manifests.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub uid: Box<str>,
    /// `metadata.creationTimestamp` as in the object (RFC 3339), which sorts by age as it stands.
    pub creation_timestamp: Option<Box<str>>,
    /// `metadata.labels`.
    #[serde(skip_serializing_if = "StringMap::is_empty")]
    pub labels: StringMap,
    /// `metadata.annotations`.
    #[serde(skip_serializing_if = "StringMap::is_empty")]
    pub annotations: StringMap,
}

/// The kinds that the store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// v1 ConfigMap.
    ConfigMap,
    /// v1 Endpoints.
    Endpoints,
    /// discovery.k8s.io/v1 EndpointSlice.
    EndpointSlice,
    /// networking.k8s.io/v1 Ingress.
    Ingress,
    /// networking.k8s.io/v1 IngressClass.
    IngressClass,
    /// v1 Namespace.
    Namespace,
    /// v1 Secret.
    Secret,
    /// v1 Service.
    Service,
}

impl Kind {
    /// Every kind, in alphabetical order.
    pub const ALL: [Self; 8] = [
        Self::ConfigMap,
        Self::Endpoints,
        Self::EndpointSlice,
        Self::Ingress,
        Self::IngressClass,
        Self::Namespace,
        Self::Secret,
        Self::Service,
    ];

    /// The kind's name as manifests write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Endpoints => "Endpoints",
            Self::EndpointSlice => "EndpointSlice",
            Self::Ingress => "Ingress",
            Self::IngressClass => "IngressClass",
            Self::Namespace => "Namespace",
            Self::Secret => "Secret",
            Self::Service => "Service",
        }
    }

    /// The `apiVersion` that is read.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::ConfigMap | Self::Endpoints | Self::Namespace | Self::Secret | Self::Service => {
                "v1"
            }
            Self::EndpointSlice => "discovery.k8s.io/v1",
            Self::Ingress | Self::IngressClass => "networking.k8s.io/v1",
        }
    }

    /// The kind that manifests call `name`, letter for letter.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether objects of this kind live in a namespace.
    pub fn namespaced(self) -> bool {
        !matches!(self, Self::IngressClass | Self::Namespace)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which object: kind, namespace (empty for cluster-scoped kinds) and name.
///
/// Shows as `Ingress default/web`, or `IngressClass nginx`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// The namespace, empty for cluster-scoped kinds.
    pub namespace: Box<str>,
    /// The name.
    pub name: Box<str>,
}

impl ObjectKey {
    /// The key of the object of `kind` with this name.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// One object of any kind that the store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// v1 ConfigMap.
    ConfigMap(Arc<ConfigMap>),
    /// v1 Endpoints.
    Endpoints(Arc<Endpoints>),
    /// discovery.k8s.io/v1 EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// networking.k8s.io/v1 Ingress.
    Ingress(Arc<Ingress>),
    /// networking.k8s.io/v1 IngressClass.
    IngressClass(Arc<IngressClass>),
    /// v1 Namespace.
    Namespace(Arc<Namespace>),
    /// v1 Secret.
    Secret(Arc<Secret>),
    /// v1 Service.
    Service(Arc<Service>),
}

impl Object {
    /// The object's kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::ConfigMap(_) => Kind::ConfigMap,
            Self::Endpoints(_) => Kind::Endpoints,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Ingress(_) => Kind::Ingress,
            Self::IngressClass(_) => Kind::IngressClass,
            Self::Namespace(_) => Kind::Namespace,
            Self::Secret(_) => Kind::Secret,
            Self::Service(_) => Kind::Service,
        }
    }

    /// The object's `metadata`.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::ConfigMap(object) => &object.metadata,
            Self::Endpoints(object) => &object.metadata,
            Self::EndpointSlice(object) => &object.metadata,
            Self::Ingress(object) => &object.metadata,
            Self::IngressClass(object) => &object.metadata,
            Self::Namespace(object) => &object.metadata,
            Self::Secret(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
        }
    }

    /// The key under which the store holds the object.
    pub fn key(&self) -> ObjectKey {
        let metadata = self.metadata();
        ObjectKey::new(
            self.kind(),
            metadata.namespace.as_deref().unwrap_or_default(),
            &metadata.name,
        )
    }
}
