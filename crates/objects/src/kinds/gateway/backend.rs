//! XBackend.

use serde::{Deserialize, Serialize};

use super::{BackendTlsValidation, ObjectReference};
use crate::kinds::{ObjectMeta, Shared};

/// gateway.networking.x-k8s.io XBackend: something outside the cluster that routes lead to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct XBackend {
    /// `metadata`.
    pub metadata: ObjectMeta,
    /// `spec`.
    pub spec: BackendSpec,
}

/// `spec` of an XBackend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendSpec {
    /// `type`: ExternalHostname.
    #[serde(rename = "type")]
    pub type_: Shared,
    /// `port`.
    pub port: BackendPort,
    /// `externalHostname`, for that type.
    pub external_hostname: Option<ExternalHostnameBackend>,
    /// `protocol`: TCP, HTTP, HTTP2, HTTP11, H2C or MCP.
    pub protocol: Option<Shared>,
    /// `tls`.
    pub tls: Option<Box<BackendTls>>,
}

/// `port` of an XBackend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct BackendPort {
    /// `name`.
    pub name: Option<Shared>,
    /// `port`.
    pub port: u16,
}

/// `externalHostname` of an XBackend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ExternalHostnameBackend {
    /// `hostname`, to be resolved by DNS; no name of the cluster's own.
    pub hostname: Box<str>,
}

/// `tls` of an XBackend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendTls {
    /// `mode`: None, ServerOnly or ClientAndServer.
    pub mode: Shared,
    /// `clientCertificateRef`, for ClientAndServer.
    pub client_certificate_ref: Option<ObjectReference>,
    /// `validation`.
    pub validation: Option<BackendTlsValidation>,
}
