//! The Kubernetes kinds that Narthex reads, cut down to the fields that it uses.
//!
//! Names, nesting and defaults are those of the Kubernetes API; a field that is not here is not
//! read, which keeps 40,000 objects small.

pub mod certificates;
mod core;
mod discovery;
pub mod gateway;
mod networking;
mod shared;
mod string_map;
mod trim;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::certificates::{Certificate, ClusterIssuer, Issuer};
pub use self::core::{
    ConfigMap, EndpointAddress, EndpointSubset, Endpoints, IntOrString, Namespace, ObjectReference,
    Secret, Service, ServicePort, ServiceSpec,
};
pub use discovery::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, NamedHint,
};
pub use gateway::{
    BackendTlsPolicy, Gateway, GatewayClass, GrpcRoute, HttpRoute, ListenerSet, ReferenceGrant,
    TcpRoute, TlsRoute, UdpRoute, XBackend, XBackendTrafficPolicy,
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
    /// `metadata.generation`, which counts the changes of `spec`; 0 for manifests, and for kinds
    /// whose status does not say which one it is of.
    #[serde(skip_serializing_if = "is_zero")]
    pub generation: i64,
    /// `metadata.labels`.
    #[serde(skip_serializing_if = "StringMap::is_empty")]
    pub labels: StringMap,
    /// `metadata.annotations`.
    #[serde(skip_serializing_if = "StringMap::is_empty")]
    pub annotations: StringMap,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "what serde calls it with"
)]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Makes [`Kind`] and [`Object`] of a table: type, name, plural, scope, and the API versions that
/// are read, the best one first.
macro_rules! kinds {
    ($($kind:ident $name:literal $plural:literal $scope:ident $versions:expr;)*) => {
        /// The kinds that the store holds.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(#[doc = concat!($name, ".")] $kind,)*
        }

        impl Kind {
            /// Every kind, in alphabetical order.
            pub const ALL: [Self; [$(Self::$kind),*].len()] = [$(Self::$kind),*];

            /// The kind's name as manifests write it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// The kind as it is called in an API server's paths, and in rules of roles.
            pub fn plural(self) -> &'static str {
                match self {
                    $(Self::$kind => $plural,)*
                }
            }

            /// Every `apiVersion` that is read, the best one first.
            pub fn api_versions(self) -> &'static [&'static str] {
                match self {
                    $(Self::$kind => &$versions,)*
                }
            }

            /// Whether objects of this kind live in a namespace.
            pub fn namespaced(self) -> bool {
                match self {
                    $(Self::$kind => kinds!(@$scope),)*
                }
            }

            /// Reads an object of this kind.
            ///
            /// # Errors
            /// If it is none.
            pub fn deserialize<'de, D: Deserializer<'de>>(self, from: D) -> Result<Object, D::Error> {
                Ok(match self {
                    $(Self::$kind => Object::$kind(Arc::new($kind::deserialize(from)?)),)*
                })
            }
        }

        /// One object of any kind that the store holds.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Object {
            $(#[doc = concat!($name, ".")] $kind(Arc<$kind>),)*
        }

        impl Object {
            /// The object's kind.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)*
                }
            }

            /// The object's `metadata`.
            pub fn metadata(&self) -> &ObjectMeta {
                match self {
                    $(Self::$kind(object) => &object.metadata,)*
                }
            }
        }

        /// Without `apiVersion` and `kind`.
        impl Serialize for Object {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$kind(object) => object.serialize(serializer),)*
                }
            }
        }

        $(impl From<Arc<$kind>> for Object {
            fn from(object: Arc<$kind>) -> Self {
                Self::$kind(object)
            }
        })*
    };
    (@namespaced) => { true };
    (@cluster) => { false };
}

kinds! {
    BackendTlsPolicy "BackendTLSPolicy" "backendtlspolicies" namespaced
        ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha3"];
    Certificate "Certificate" "certificates" namespaced ["cert-manager.io/v1"];
    ClusterIssuer "ClusterIssuer" "clusterissuers" cluster ["cert-manager.io/v1"];
    ConfigMap "ConfigMap" "configmaps" namespaced ["v1"];
    Endpoints "Endpoints" "endpoints" namespaced ["v1"];
    EndpointSlice "EndpointSlice" "endpointslices" namespaced ["discovery.k8s.io/v1"];
    Gateway "Gateway" "gateways" namespaced
        ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"];
    GatewayClass "GatewayClass" "gatewayclasses" cluster
        ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"];
    GrpcRoute "GRPCRoute" "grpcroutes" namespaced ["gateway.networking.k8s.io/v1"];
    HttpRoute "HTTPRoute" "httproutes" namespaced
        ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"];
    Ingress "Ingress" "ingresses" namespaced ["networking.k8s.io/v1"];
    IngressClass "IngressClass" "ingressclasses" cluster ["networking.k8s.io/v1"];
    Issuer "Issuer" "issuers" namespaced ["cert-manager.io/v1"];
    ListenerSet "ListenerSet" "listenersets" namespaced ["gateway.networking.k8s.io/v1"];
    Namespace "Namespace" "namespaces" cluster ["v1"];
    ReferenceGrant "ReferenceGrant" "referencegrants" namespaced
        ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"];
    Secret "Secret" "secrets" namespaced ["v1"];
    Service "Service" "services" namespaced ["v1"];
    TcpRoute "TCPRoute" "tcproutes" namespaced
        ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2"];
    TlsRoute "TLSRoute" "tlsroutes" namespaced
        [
            "gateway.networking.k8s.io/v1",
            "gateway.networking.k8s.io/v1alpha3",
            "gateway.networking.k8s.io/v1alpha2",
        ];
    UdpRoute "UDPRoute" "udproutes" namespaced
        ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2"];
    XBackend "XBackend" "xbackends" namespaced ["gateway.networking.x-k8s.io/v1alpha1"];
    XBackendTrafficPolicy "XBackendTrafficPolicy" "xbackendtrafficpolicies" namespaced
        ["gateway.networking.x-k8s.io/v1alpha1"];
}

impl Kind {
    /// The best `apiVersion` that is read.
    pub fn api_version(self) -> &'static str {
        self.api_versions().first().copied().unwrap_or("v1")
    }

    /// The API group, empty for the core group.
    pub fn group(self) -> &'static str {
        let version = self.api_version();
        version.split_once('/').map_or("", |(group, _)| group)
    }

    /// The kind that manifests call `name`, letter for letter.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it is one of Gateway API's.
    pub fn is_of_gateway_api(self) -> bool {
        [gateway::GROUP, gateway::EXPERIMENTAL_GROUP].contains(&self.group())
    }

    /// Whether it is a custom resource, which a cluster may have or not.
    pub fn is_custom(self) -> bool {
        self.is_of_gateway_api() || self.group() == certificates::GROUP
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

impl Object {
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
