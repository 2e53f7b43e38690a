//! HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, UDPRoute.

use serde::{Deserialize, Serialize};

use super::{GrpcRouteRule, HttpRouteRule, ParentReference, StreamRouteRule};
use crate::kinds::{ObjectMeta, Shared};

macro_rules! routes {
    ($($(#[$doc:meta])* $name:ident: $spec:ident,)*) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(default)]
        pub struct $name {
            /// `metadata`.
            pub metadata: ObjectMeta,
            /// `spec`.
            pub spec: $spec,
        })*
    };
}

routes! {
    /// gateway.networking.k8s.io HTTPRoute.
    HttpRoute: HttpRouteSpec,
    /// gateway.networking.k8s.io GRPCRoute.
    GrpcRoute: GrpcRouteSpec,
    /// gateway.networking.k8s.io TLSRoute.
    TlsRoute: StreamRouteSpec,
    /// gateway.networking.k8s.io TCPRoute.
    TcpRoute: StreamRouteSpec,
    /// gateway.networking.k8s.io UDPRoute.
    UdpRoute: StreamRouteSpec,
}

macro_rules! specs {
    ($($(#[$doc:meta])* $name:ident of $rule:ident,)*) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            /// `parentRefs`: what the route is attached to.
            pub parent_refs: Option<Box<[ParentReference]>>,
            /// `useDefaultGateways`: All for a route that is attached to the Gateways with
            /// `defaultScope: All` too; None (also if it is not there) for one that is not.
            pub use_default_gateways: Option<Shared>,
            /// `hostnames`, each a name or `*.` and a name; none for every host. TCPRoutes and
            /// UDPRoutes have none.
            pub hostnames: Option<Box<[Box<str>]>>,
            /// `rules`.
            pub rules: Option<Box<[$rule]>>,
        }

        impl $name {
            /// What the route is attached to.
            pub fn parent_refs(&self) -> &[ParentReference] {
                self.parent_refs.as_deref().unwrap_or_default()
            }

            /// The host names; none for every host.
            pub fn hostnames(&self) -> &[Box<str>] {
                self.hostnames.as_deref().unwrap_or_default()
            }
        })*
    };
}

specs! {
    /// `spec` of an HTTPRoute. Without `rules`, it has one for every path and with no backend.
    HttpRouteSpec of HttpRouteRule,
    /// `spec` of a GRPCRoute.
    GrpcRouteSpec of GrpcRouteRule,
    /// `spec` of a TLSRoute, a TCPRoute or a UDPRoute.
    StreamRouteSpec of StreamRouteRule,
}
