//! What is to be done for Gateways, and what was tried of it.

use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde_json::Value;
use tokio::time::Instant;

use super::super::Owner;
use super::LONGEST;
use crate::replicas::hash;
use crate::status::backoff;

/// The kinds that are made for Gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Service,
    Slice,
    ServiceAccount,
    RoleBinding,
    ClusterRoleBinding,
    Deployment,
    Budget,
}

impl Kind {
    /// What a data plane of its own consists of, in the order in which it is made.
    pub(crate) const OF_DATA_PLANE: [Self; 5] = [
        Self::ServiceAccount,
        Self::RoleBinding,
        Self::ClusterRoleBinding,
        Self::Deployment,
        Self::Budget,
    ];

    pub(crate) fn name(self) -> &'static str {
        self.parts().2
    }

    pub(crate) fn api_version(self) -> String {
        let (group, version, _) = self.parts();
        match group {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        }
    }

    pub(super) fn resource(self) -> ApiResource {
        let (group, version, kind) = self.parts();
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
    }

    fn parts(self) -> (&'static str, &'static str, &'static str) {
        const RBAC: &str = "rbac.authorization.k8s.io";
        match self {
            Self::Service => ("", "v1", "Service"),
            Self::Slice => ("discovery.k8s.io", "v1", "EndpointSlice"),
            Self::ServiceAccount => ("", "v1", "ServiceAccount"),
            Self::RoleBinding => (RBAC, "v1", "RoleBinding"),
            Self::ClusterRoleBinding => (RBAC, "v1", "ClusterRoleBinding"),
            Self::Deployment => ("apps", "v1", "Deployment"),
            Self::Budget => ("policy", "v1", "PodDisruptionBudget"),
        }
    }
}

/// A Gateway, as what is made for it knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gateway {
    pub(super) owner: Owner,
    pub(super) uid: Box<str>,
}

/// Something to be done.
#[derive(Debug, Clone)]
pub(super) enum Action {
    /// Make or change an object.
    Apply {
        kind: Kind,
        gateway: Gateway,
        object: Value,
        /// Whether it is there, and ours.
        is_known: bool,
    },
    /// Take an object away.
    Delete {
        kind: Kind,
        key: Owner,
        uid: Option<String>,
        /// Of a Gateway of which nothing is known here: what is to be found out first.
        orphan: Option<Orphan>,
    },
}

/// An object that was made for a Gateway of which nothing is known any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Orphan {
    pub(super) gateway: Owner,
    /// The class that the Gateway had, as the value of a label.
    pub(super) class: String,
}

/// What came of it.
pub(super) enum Done {
    Object(Box<DynamicObject>),
    /// The object is somebody else's.
    Anothers,
    Nothing,
    Failed(String),
    NotLeader,
}

impl Action {
    /// Which object it is about, and a hash of what is to become of it.
    pub(super) fn id(&self) -> ((Kind, Owner), u32) {
        match self {
            Self::Apply { kind, object, .. } => {
                let owner = Owner::new(text(object, "namespace"), text(object, "name"));
                ((*kind, owner), hash(object.to_string().as_bytes()))
            }
            Self::Delete { kind, key, .. } => ((*kind, key.clone()), 0),
        }
    }
}

/// A field of `metadata`.
pub(super) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// What was tried last.
pub(super) struct Tried {
    pub(super) what: u32,
    pub(super) times: u32,
    pub(super) at: Instant,
}

impl Tried {
    pub(super) fn next(&self) -> Instant {
        self.at + backoff(self.times).min(LONGEST)
    }
}
