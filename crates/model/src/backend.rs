//! Backends and their endpoints.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};

/// Where rules send their requests: one port of one Service.
///
/// A backend outlives the snapshots that name it, and so does its slot of endpoints.
#[derive(Debug)]
pub struct Backend {
    /// `namespace/service:port`, as logs and metrics show it.
    pub name: Box<str>,
    /// How its endpoints are found.
    pub discovery: Discovery,
    slot: ArcSwap<EndpointSet>,
}

/// How a backend's endpoints are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovery {
    /// `compile` lists them.
    Listed,
    /// By DNS, as the data plane's resolver finds them (a Service of type ExternalName).
    Dns {
        /// The name to resolve.
        host: Box<str>,
        /// The port to connect to.
        port: u16,
    },
}

impl Backend {
    /// A backend without endpoints yet.
    pub fn new(name: impl Into<Box<str>>, discovery: Discovery, set: EndpointSet) -> Self {
        Self {
            name: name.into(),
            discovery,
            slot: ArcSwap::from_pointee(set),
        }
    }

    /// The endpoints as they are now.
    pub fn endpoints(&self) -> Guard<Arc<EndpointSet>> {
        self.slot.load()
    }

    /// Publishes new endpoints, which the next request sees.
    pub fn set_endpoints(&self, set: EndpointSet) {
        self.slot.store(Arc::new(set));
    }
}

/// The endpoints of a backend that take requests, or why there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointSet {
    /// The endpoints to choose from.
    pub ready: Box<[Arc<Endpoint>]>,
    /// Why `ready` is empty.
    pub unavailable: Option<Unavailable>,
}

/// Why a backend has no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// There is no such Service.
    NoService,
    /// The Service has no such port.
    NoPort,
    /// The Service has no endpoint at all.
    NoEndpoints,
    /// The Service has endpoints, but none is ready.
    NoReadyEndpoints,
    /// The name has not been resolved yet, or could not be.
    Unresolved,
    /// Every address that the name resolved to is of a kind that is not allowed.
    ForbiddenAddress,
}

impl Unavailable {
    /// The word that the access log shows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoService => "no_service",
            Self::NoPort => "no_service_port",
            Self::NoEndpoints => "no_endpoints",
            Self::NoReadyEndpoints => "no_ready_endpoints",
            Self::Unresolved => "name_not_resolved",
            Self::ForbiddenAddress => "address_not_allowed",
        }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoService => "the Service does not exist",
            Self::NoPort => "the Service has no such port",
            Self::NoEndpoints => "the Service has no endpoints",
            Self::NoReadyEndpoints => "none of the Service's endpoints is ready",
            Self::Unresolved => "the external name does not resolve",
            Self::ForbiddenAddress => "the external name resolves to a forbidden address",
        })
    }
}

/// One address of one Service port. Interned by `compile`: the same address of the same Service
/// is the same endpoint, whatever snapshot names it.
#[derive(Debug)]
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
    /// Unique in the process, never used again; pools and counters are keyed by it.
    pub id: u64,
}

impl Endpoint {
    /// A new endpoint with an id of its own.
    pub fn new(address: SocketAddr) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            address,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Endpoint {}
