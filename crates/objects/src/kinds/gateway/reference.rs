//! References to other objects.

use serde::{Deserialize, Serialize};

use super::{GROUP, RouteFilter};
use crate::kinds::Shared;

/// A reference to an object that configures something: a Secret, a ConfigMap, parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ObjectReference {
    /// `group`, empty for the core group (also if it is not there).
    pub group: Option<Shared>,
    /// `kind`; what holds if it is not there, is the field's matter: Secret for certificates.
    pub kind: Option<Shared>,
    /// `name`.
    pub name: Box<str>,
    /// `namespace`; the referring object's if it is not there.
    pub namespace: Option<Shared>,
}

impl ObjectReference {
    /// The group, empty for the core group.
    pub fn group(&self) -> &str {
        self.group.as_deref().unwrap_or_default()
    }

    /// The kind, `Secret` unless it says another.
    pub fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or("Secret")
    }

    /// The namespace, seen from an object in `from`.
    pub fn namespace<'a>(&'a self, from: &'a str) -> &'a str {
        self.namespace.as_deref().unwrap_or(from)
    }
}

/// What a route or a ListenerSet is attached to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ParentReference {
    /// `group`, Gateway API's own if it is not there.
    pub group: Option<Shared>,
    /// `kind`, Gateway if it is not there.
    pub kind: Option<Shared>,
    /// `namespace`; the referring object's if it is not there.
    pub namespace: Option<Shared>,
    /// `name`.
    pub name: Box<str>,
    /// `sectionName`: the listener; every listener if it is not there.
    pub section_name: Option<Shared>,
    /// `port`: the listeners with this port; every port if it is not there.
    pub port: Option<u16>,
}

impl ParentReference {
    /// The group.
    pub fn group(&self) -> &str {
        self.group.as_deref().unwrap_or(GROUP)
    }

    /// The kind.
    pub fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or("Gateway")
    }

    /// The namespace, seen from an object in `from`.
    pub fn namespace<'a>(&'a self, from: &'a str) -> &'a str {
        self.namespace.as_deref().unwrap_or(from)
    }
}

/// Where requests, streams or copies of requests go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct BackendRef {
    /// `group`, empty for the core group (also if it is not there).
    pub group: Option<Shared>,
    /// `kind`, Service if it is not there.
    pub kind: Option<Shared>,
    /// `name`.
    pub name: Box<str>,
    /// `namespace`; the route's if it is not there.
    pub namespace: Option<Shared>,
    /// `port`; Services must have one.
    pub port: Option<u16>,
    /// `weight`, 0 to 1,000,000; 1 if it is not there. Of a rule's `backendRefs` alone.
    pub weight: Option<u32>,
    /// `filters`. Of the `backendRefs` of HTTPRoutes and GRPCRoutes alone.
    pub filters: Option<Box<[RouteFilter]>>,
}

impl BackendRef {
    /// The group, empty for the core group.
    pub fn group(&self) -> &str {
        self.group.as_deref().unwrap_or_default()
    }

    /// The kind.
    pub fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or("Service")
    }

    /// The namespace, seen from an object in `from`.
    pub fn namespace<'a>(&'a self, from: &'a str) -> &'a str {
        self.namespace.as_deref().unwrap_or(from)
    }

    /// The weight.
    pub fn weight(&self) -> u32 {
        self.weight.unwrap_or(1)
    }
}
