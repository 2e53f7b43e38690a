//! v1: Namespace, Service, Endpoints, Secret, ConfigMap.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ObjectMeta, Shared};

/// v1 Namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Namespace {
    /// `metadata`.
    pub metadata: ObjectMeta,
}

/// v1 Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Service {
    /// `metadata`.
    pub metadata: ObjectMeta,
    /// `spec`.
    pub spec: ServiceSpec,
}

/// `spec` of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `type`: ClusterIP (also when empty), NodePort, LoadBalancer or ExternalName.
    #[serde(rename = "type")]
    pub type_: Option<Box<str>>,
    /// `clusterIP`; `None` (the word) for headless Services.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<Box<str>>,
    /// `externalName`, for type ExternalName.
    pub external_name: Option<Box<str>>,
    /// `trafficDistribution`: PreferSameNode, PreferSameZone or PreferClose (the older word).
    pub traffic_distribution: Option<Box<str>>,
    /// `selector`; empty where somebody else makes the endpoints.
    pub selector: Option<Box<BTreeMap<String, String>>>,
    /// `ports`.
    pub ports: Option<Box<[ServicePort]>>,
}

/// One of a Service's `ports`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// `name`; may be empty where there is one port only.
    pub name: Option<Shared>,
    /// `port`, 1 to 65535.
    pub port: u16,
    /// `targetPort`: a number or a container port's name.
    pub target_port: Option<IntOrString>,
    /// `protocol`: TCP (also when empty), UDP or SCTP.
    pub protocol: Option<Shared>,
    /// `appProtocol`, for example `kubernetes.io/h2c`.
    pub app_protocol: Option<Shared>,
}

/// A port number or a port's name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A number.
    Int(u16),
    /// A name.
    String(Shared),
}

/// v1 Endpoints, for Services whose addresses are written by hand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Endpoints {
    /// `metadata`; the name is the Service's.
    pub metadata: ObjectMeta,
    /// `subsets`.
    pub subsets: Option<Box<[EndpointSubset]>>,
}

/// One of an Endpoints object's `subsets`: every address with every port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSubset {
    /// Ready addresses.
    pub addresses: Option<Box<[EndpointAddress]>>,
    /// Addresses that are not ready.
    pub not_ready_addresses: Option<Box<[EndpointAddress]>>,
    /// Ports, by the Service port's name.
    pub ports: Option<Box<[super::EndpointPort]>>,
}

/// One address of an Endpoints subset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointAddress {
    /// The address.
    pub ip: Box<str>,
    /// The node it is on.
    pub node_name: Option<Shared>,
    /// The pod behind it.
    pub target_ref: Option<ObjectReference>,
}

/// A reference to a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectReference {
    /// `kind`.
    pub kind: Option<String>,
    /// `name`.
    pub name: Option<String>,
}

/// v1 Secret; `stringData` is folded into `data`, which is decoded from base64.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "RawSecret", into = "RawSecret")]
pub struct Secret {
    /// `metadata`.
    pub metadata: ObjectMeta,
    /// `type`, for example `kubernetes.io/tls`.
    pub type_: Option<String>,
    /// The decoded values. A value that is no base64 is kept out, its key in `undecodable`.
    pub data: BTreeMap<String, Vec<u8>>,
    /// Keys whose value is no base64.
    pub undecodable: Vec<String>,
}

// By hand, so that no value of a Secret can reach a log.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("metadata", &self.metadata)
            .field("type_", &self.type_)
            .field("keys", &self.data.keys())
            .finish_non_exhaustive()
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSecret {
    metadata: ObjectMeta,
    #[serde(rename = "type")]
    type_: Option<String>,
    data: Option<BTreeMap<String, String>>,
    string_data: Option<BTreeMap<String, String>>,
}

impl From<Secret> for RawSecret {
    fn from(secret: Secret) -> Self {
        use base64::Engine as _;

        let values = secret.data.into_iter();
        let encode = |value: Vec<u8>| base64::engine::general_purpose::STANDARD.encode(value);
        Self {
            metadata: secret.metadata,
            type_: secret.type_,
            data: Some(values.map(|(key, value)| (key, encode(value))).collect()),
            string_data: None,
        }
    }
}

impl From<RawSecret> for Secret {
    fn from(raw: RawSecret) -> Self {
        use base64::Engine as _;

        let mut secret = Self {
            metadata: raw.metadata,
            type_: raw.type_,
            ..Self::default()
        };
        for (key, text) in raw.data.unwrap_or_default() {
            // People fold long base64 over lines; Kubernetes' own decoder takes that too.
            let packed: String = text.split_ascii_whitespace().collect();
            match base64::engine::general_purpose::STANDARD.decode(packed) {
                Ok(value) => drop(secret.data.insert(key, value)),
                Err(_) => secret.undecodable.push(key),
            }
        }
        for (key, text) in raw.string_data.unwrap_or_default() {
            secret.data.insert(key, text.into_bytes());
        }
        secret
    }
}

/// v1 ConfigMap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ConfigMap {
    /// `metadata`.
    pub metadata: ObjectMeta,
    /// `data`.
    pub data: Option<BTreeMap<String, String>>,
}
