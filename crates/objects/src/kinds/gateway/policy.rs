//! ReferenceGrant, BackendTLSPolicy, XBackendTrafficPolicy.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ObjectReference, SessionPersistence};
use crate::kinds::{ObjectMeta, Shared};

/// gateway.networking.k8s.io ReferenceGrant: who may refer to what is in its namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ReferenceGrant {
    /// `metadata`.
    pub metadata: ObjectMeta,
    /// `spec`.
    pub spec: ReferenceGrantSpec,
}

/// `spec` of a ReferenceGrant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ReferenceGrantSpec {
    /// `from`: any of them may refer …
    pub from: Option<Box<[ReferenceGrantFrom]>>,
    /// `to`: … to any of these.
    pub to: Option<Box<[ReferenceGrantTo]>>,
}

/// One of a ReferenceGrant's `from`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ReferenceGrantFrom {
    /// `group`, empty for the core group.
    pub group: Shared,
    /// `kind`.
    pub kind: Shared,
    /// `namespace`.
    pub namespace: Shared,
}

/// One of a ReferenceGrant's `to`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ReferenceGrantTo {
    /// `group`, empty for the core group.
    pub group: Shared,
    /// `kind`.
    pub kind: Shared,
    /// `name`; every one if it is not there (or empty).
    pub name: Option<Box<str>>,
}

/// gateway.networking.k8s.io BackendTLSPolicy: backends that are spoken to with TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct BackendTlsPolicy {
    /// `metadata`.
    pub metadata: ObjectMeta,
    /// `spec`.
    pub spec: BackendTlsPolicySpec,
}

/// `spec` of a BackendTLSPolicy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendTlsPolicySpec {
    /// `targetRefs`: Services, or their ports.
    pub target_refs: Option<Box<[PolicyTarget]>>,
    /// `validation`.
    pub validation: BackendTlsValidation,
    /// `options`, each implementation's own.
    pub options: BTreeMap<Box<str>, Box<str>>,
}

/// What a policy is for, in its own namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyTarget {
    /// `group`, empty for the core group.
    pub group: Shared,
    /// `kind`.
    pub kind: Shared,
    /// `name`.
    pub name: Box<str>,
    /// `sectionName`: of a Service, the port's name; all of it if it is not there.
    pub section_name: Option<Shared>,
}

/// How a backend's certificate is validated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendTlsValidation {
    /// `caCertificateRefs`: ConfigMaps (or Secrets) with `ca.crt`, in the policy's namespace.
    pub ca_certificate_refs: Option<Box<[ObjectReference]>>,
    /// `wellKnownCACertificates`: System, or a domain's own.
    #[serde(rename = "wellKnownCACertificates")]
    pub well_known_ca_certificates: Option<Shared>,
    /// `hostname`: the SNI, and what the certificate is for unless `subjectAltNames` says so.
    pub hostname: Box<str>,
    /// `subjectAltNames`: what the certificate is for, one of these.
    pub subject_alt_names: Option<Box<[SubjectAltName]>>,
}

/// One of `subjectAltNames`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct SubjectAltName {
    /// `type`: Hostname or URI.
    #[serde(rename = "type")]
    pub type_: Shared,
    /// `hostname`, a name or `*.` and a name.
    pub hostname: Option<Box<str>>,
    /// `uri`.
    pub uri: Option<Box<str>>,
}

/// gateway.networking.x-k8s.io XBackendTrafficPolicy (GEP-3388): how much may be tried again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct XBackendTrafficPolicy {
    /// `metadata`.
    pub metadata: ObjectMeta,
    /// `spec`.
    pub spec: BackendTrafficPolicySpec,
}

/// `spec` of an XBackendTrafficPolicy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendTrafficPolicySpec {
    /// `targetRefs`, without section names.
    pub target_refs: Option<Box<[PolicyTarget]>>,
    /// `retryConstraint`.
    pub retry_constraint: Option<Box<RetryConstraint>>,
    /// `sessionPersistence`.
    pub session_persistence: Option<Box<SessionPersistence>>,
}

/// `retryConstraint` of an XBackendTrafficPolicy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryConstraint {
    /// `budget`.
    pub budget: Option<RetryBudget>,
    /// `minRetryRate`: as much as this may always be tried again; 10 a second if it is not there.
    pub min_retry_rate: Option<RequestRate>,
}

/// `budget` of `retryConstraint`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct RetryBudget {
    /// `percent` of the requests, 0 to 100; 20 if it is not there.
    pub percent: Option<i32>,
    /// `interval` in which requests are counted, a duration; `10s` if it is not there.
    pub interval: Option<Box<str>>,
}

/// So many requests in such a time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct RequestRate {
    /// `count`, 1 to 1,000,000.
    pub count: Option<i32>,
    /// `interval`, a duration.
    pub interval: Option<Box<str>>,
}
