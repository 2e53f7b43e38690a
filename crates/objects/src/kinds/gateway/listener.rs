//! GatewayClass, Gateway, ListenerSet.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::word::words;
use super::{GROUP, LabelSelector, ObjectReference, ParentReference};
use crate::kinds::{ObjectMeta, Shared};

/// gateway.networking.k8s.io GatewayClass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct GatewayClass {
    /// `metadata`.
    pub metadata: ObjectMeta,
    /// `spec`.
    pub spec: GatewayClassSpec,
}

/// `spec` of a GatewayClass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayClassSpec {
    /// `controllerName`: who serves the class, for example `narthex.dev/gateway`.
    pub controller_name: Box<str>,
    /// `parametersRef`: how it is served.
    pub parameters_ref: Option<ObjectReference>,
}

/// gateway.networking.k8s.io Gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Gateway {
    /// `metadata`.
    pub metadata: ObjectMeta,
    /// `spec`.
    pub spec: GatewaySpec,
}

/// `spec` of a Gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewaySpec {
    /// `gatewayClassName`.
    pub gateway_class_name: Shared,
    /// `listeners`, each name once.
    pub listeners: Option<Box<[Listener]>>,
    /// `addresses` that are asked for.
    pub addresses: Option<Box<[GatewayAddress]>>,
    /// `infrastructure`: what is passed on to what is made for the Gateway.
    pub infrastructure: Option<Box<GatewayInfrastructure>>,
    /// `allowedListeners`: whose ListenerSets may join.
    pub allowed_listeners: Option<Box<AllowedListeners>>,
    /// `tls`: client certificates, on both sides.
    pub tls: Option<Box<GatewayTls>>,
    /// `defaultScope`: All for a Gateway that takes routes with `useDefaultGateways`; None (also
    /// if it is not there) for one that does not.
    pub default_scope: Option<Shared>,
}

impl GatewaySpec {
    /// The listeners.
    pub fn listeners(&self) -> &[Listener] {
        self.listeners.as_deref().unwrap_or_default()
    }
}

/// One of a Gateway's `addresses`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct GatewayAddress {
    /// `type`: IPAddress (also if it is not there), Hostname, NamedAddress or a domain's own.
    #[serde(rename = "type")]
    pub type_: Option<Shared>,
    /// `value`; empty for any address of the type.
    pub value: Box<str>,
}

impl GatewayAddress {
    /// The type.
    pub fn type_(&self) -> &str {
        self.type_.as_deref().unwrap_or("IPAddress")
    }
}

/// `infrastructure` of a Gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayInfrastructure {
    /// `labels` of what is made.
    pub labels: BTreeMap<Box<str>, Box<str>>,
    /// `annotations` of what is made.
    pub annotations: BTreeMap<Box<str>, Box<str>>,
    /// `parametersRef`, in the Gateway's namespace.
    pub parameters_ref: Option<ObjectReference>,
}

/// `allowedListeners` of a Gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct AllowedListeners {
    /// `namespaces`; none if it is not there.
    pub namespaces: Option<ListenerNamespaces>,
}

/// `namespaces` of `allowedListeners` and `allowedRoutes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ListenerNamespaces {
    /// `from`; what holds if it is not there: Same for routes, None for ListenerSets.
    pub from: Option<FromNamespaces>,
    /// `selector`, where `from` is Selector.
    pub selector: Option<Box<LabelSelector>>,
}

words! {
    /// From which namespaces something may come.
    FromNamespaces {
        /// Every namespace.
        All = "All",
        /// Those that a selector selects.
        Selector = "Selector",
        /// The Gateway's, or the ListenerSet's.
        Same = "Same",
        /// None.
        None = "None",
    }
}

/// `tls` of a Gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct GatewayTls {
    /// `backend`: what is shown to backends.
    pub backend: Option<GatewayBackendTls>,
    /// `frontend`: what is asked of clients.
    pub frontend: Option<FrontendTls>,
}

/// `tls.backend` of a Gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayBackendTls {
    /// `clientCertificateRef`: the certificate that is shown to backends that ask for one.
    pub client_certificate_ref: Option<ObjectReference>,
}

/// `tls.frontend` of a Gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FrontendTls {
    /// `default`, for every port that `perPort` does not have.
    pub default: FrontendTlsConfig,
    /// `perPort`, each port once.
    pub per_port: Option<Box<[TlsPort]>>,
}

/// One of `tls.frontend.perPort`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct TlsPort {
    /// `port`.
    pub port: u16,
    /// `tls`.
    pub tls: FrontendTlsConfig,
}

/// What is asked of the clients of a port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct FrontendTlsConfig {
    /// `validation`; no certificate is asked for if it is not there.
    pub validation: Option<FrontendValidation>,
}

/// How clients' certificates are validated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FrontendValidation {
    /// `caCertificateRefs`: who may have signed them. ConfigMaps (or Secrets) with `ca.crt`.
    pub ca_certificate_refs: Option<Box<[ObjectReference]>>,
    /// `mode`, AllowValidOnly if it is not there.
    pub mode: Option<FrontendValidationMode>,
}

words! {
    /// What becomes of clients without a valid certificate.
    FrontendValidationMode {
        /// They are refused.
        AllowValidOnly = "AllowValidOnly",
        /// They are served.
        AllowInsecureFallback = "AllowInsecureFallback",
    }
}

/// One of the `listeners` of a Gateway or a ListenerSet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Listener {
    /// `name`.
    pub name: Shared,
    /// `hostname`, a name or `*.` and a name; every host if it is not there.
    pub hostname: Option<Box<str>>,
    /// `port`.
    pub port: u16,
    /// `protocol`: HTTP, HTTPS, TLS, TCP, UDP or a domain's own.
    pub protocol: Shared,
    /// `tls`.
    pub tls: Option<Box<ListenerTls>>,
    /// `allowedRoutes`; what holds if it is not there: those of the same namespace.
    pub allowed_routes: Option<Box<AllowedRoutes>>,
}

/// `tls` of a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerTls {
    /// `mode`, Terminate if it is not there.
    pub mode: Option<TlsMode>,
    /// `certificateRefs`.
    pub certificate_refs: Option<Box<[ObjectReference]>>,
    /// `options`, each implementation's own.
    pub options: BTreeMap<Box<str>, Box<str>>,
}

impl ListenerTls {
    /// The mode.
    pub fn mode(&self) -> &TlsMode {
        self.mode.as_ref().unwrap_or(&TlsMode::Terminate)
    }
}

words! {
    /// Where a TLS session ends.
    TlsMode {
        /// Here.
        Terminate = "Terminate",
        /// At the backend.
        Passthrough = "Passthrough",
    }
}

/// `allowedRoutes` of a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct AllowedRoutes {
    /// `namespaces`; the same if it is not there.
    pub namespaces: Option<ListenerNamespaces>,
    /// `kinds`; what the protocol carries if it is not there.
    pub kinds: Option<Box<[RouteKind]>>,
}

/// One of the `kinds` of `allowedRoutes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct RouteKind {
    /// `group`, Gateway API's own if it is not there.
    pub group: Option<Shared>,
    /// `kind`.
    pub kind: Shared,
}

impl RouteKind {
    /// The group.
    pub fn group(&self) -> &str {
        self.group.as_deref().unwrap_or(GROUP)
    }
}

/// gateway.networking.k8s.io ListenerSet: listeners that join a Gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ListenerSet {
    /// `metadata`.
    pub metadata: ObjectMeta,
    /// `spec`.
    pub spec: ListenerSetSpec,
}

/// `spec` of a ListenerSet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerSetSpec {
    /// `parentRef`: the Gateway.
    pub parent_ref: ParentReference,
    /// `listeners`, each name once.
    pub listeners: Option<Box<[Listener]>>,
}

impl ListenerSetSpec {
    /// The listeners.
    pub fn listeners(&self) -> &[Listener] {
        self.listeners.as_deref().unwrap_or_default()
    }
}
