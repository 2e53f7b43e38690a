//! discovery.k8s.io/v1: EndpointSlice.

use serde::{Deserialize, Serialize};

use super::{ObjectMeta, ObjectReference, Shared};

/// discovery.k8s.io/v1 EndpointSlice; its Service is named by the label
/// `kubernetes.io/service-name`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    /// `metadata`.
    pub metadata: ObjectMeta,
    /// `addressType`: IPv4, IPv6 or FQDN.
    pub address_type: Shared,
    /// `endpoints`.
    pub endpoints: Option<Box<[Endpoint]>>,
    /// `ports`, by the Service port's name.
    pub ports: Option<Box<[EndpointPort]>>,
}

/// One of a slice's `endpoints`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// `addresses`: the same endpoint under several addresses; the first is used.
    pub addresses: Box<[Box<str>]>,
    /// `conditions`.
    pub conditions: EndpointConditions,
    /// `targetRef`: the pod behind it.
    pub target_ref: Option<Box<ObjectReference>>,
    /// `nodeName`.
    pub node_name: Option<Shared>,
    /// `zone`.
    pub zone: Option<Shared>,
    /// `hints`: who should use it.
    pub hints: Option<Box<EndpointHints>>,
}

/// `hints` of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointHints {
    /// `forZones`.
    pub for_zones: Option<Vec<NamedHint>>,
    /// `forNodes`.
    pub for_nodes: Option<Vec<NamedHint>>,
}

/// A zone or a node that a hint names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct NamedHint {
    /// `name`.
    pub name: String,
}

/// `conditions` of an endpoint; absent means `ready`, `serving` and not `terminating`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct EndpointConditions {
    /// Takes new requests.
    pub ready: Option<bool>,
    /// As `ready`, but true also while terminating.
    pub serving: Option<bool>,
    /// Being deleted.
    pub terminating: Option<bool>,
}

/// A named port of a slice or of an Endpoints subset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPort {
    /// The Service port's name, empty for a single nameless port.
    pub name: Option<Shared>,
    /// The port that the pods listen on; none means every port.
    pub port: Option<u16>,
    /// TCP (also when empty), UDP or SCTP.
    pub protocol: Option<Shared>,
    /// As in the Service.
    pub app_protocol: Option<Shared>,
}
