//! gateway.networking.k8s.io and gateway.networking.x-k8s.io: the kinds of Gateway API.
//!
//! Fields and defaults are those of Gateway API 1.6.3, experimental channel; every served version
//! of a kind has the same fields. Words that a later release may add to are kept as they are (see
//! `Other` of the enumerations), and durations are texts until [`duration::parse`]: one value that
//! is not known concerns one route, not the reading of the object. `status` is not read.
//!
//! A field that is not there stays `None`, as manifests in a folder have it; an API server has put
//! the defaults in. The methods give what holds either way.

mod backend;
pub mod duration;
mod filter;
mod listener;
mod policy;
mod reference;
mod route;
mod rule;
mod selector;
mod word;

pub use backend::{BackendPort, BackendSpec, BackendTls, ExternalHostnameBackend, XBackend};
pub use filter::{
    CorsFilter, ExternalAuthFilter, ExternalAuthProtocol, ForwardBody, Fraction, GrpcAuth, Header,
    HeaderFilter, HttpAuth, PathModifier, PathModifierType, RequestMirrorFilter,
    RequestRedirectFilter, RouteFilter, RouteFilterType, UrlRewriteFilter,
};
pub use listener::{
    AllowedListeners, AllowedRoutes, FromNamespaces, FrontendTls, FrontendTlsConfig,
    FrontendValidation, FrontendValidationMode, Gateway, GatewayAddress, GatewayBackendTls,
    GatewayClass, GatewayClassSpec, GatewayInfrastructure, GatewaySpec, GatewayTls, Listener,
    ListenerNamespaces, ListenerSet, ListenerSetSpec, ListenerTls, RouteKind, TlsMode, TlsPort,
};
pub use policy::{
    BackendTlsPolicy, BackendTlsPolicySpec, BackendTlsValidation, BackendTrafficPolicySpec,
    PolicyTarget, ReferenceGrant, ReferenceGrantFrom, ReferenceGrantSpec, ReferenceGrantTo,
    RequestRate, RetryBudget, RetryConstraint, SubjectAltName, XBackendTrafficPolicy,
};
pub use reference::{BackendRef, ObjectReference, ParentReference};
pub use route::{
    GrpcRoute, GrpcRouteSpec, HttpRoute, HttpRouteSpec, StreamRouteSpec, TcpRoute, TlsRoute,
    UdpRoute,
};
pub use rule::{
    CookieConfig, GrpcMethodMatch, GrpcRouteMatch, GrpcRouteRule, HttpPathMatch, HttpRouteMatch,
    HttpRouteRetry, HttpRouteRule, HttpRouteTimeouts, MatchType, PathMatchType, SessionPersistence,
    StreamRouteRule, ValueMatch,
};
pub use selector::{LabelSelector, Requirement};

/// The API group of the kinds that every cluster with Gateway API may have.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// The API group of the experiments.
pub const EXPERIMENTAL_GROUP: &str = "gateway.networking.x-k8s.io";
