//! Backends: where rules send their requests.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};

use crate::endpoint_set::EndpointSet;
use crate::policy::Policy;
use crate::transport::Transport;

/// Where rules send their requests: one port of one Service.
///
/// A backend outlives the snapshots that name it, and so does its slot of endpoints.
#[derive(Debug)]
pub struct Backend {
    /// `namespace/service:port`, as logs and metrics show it.
    pub name: Box<str>,
    /// Unique in the process, never used again; workers' state is keyed by it.
    pub id: u64,
    /// How its endpoints are found.
    pub discovery: Discovery,
    /// What its endpoints speak.
    pub transport: Transport,
    slot: ArcSwap<EndpointSet>,
    /// The requests that it has of the whole process, if their number is limited.
    busy: AtomicU32,
}

/// Counts a request at its backend for as long as it lasts.
#[derive(Debug)]
pub struct Permit<'a>(&'a Backend);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
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
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            name: name.into(),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            discovery,
            transport: Transport::default(),
            slot: ArcSwap::from_pointee(set),
            busy: AtomicU32::new(0),
        }
    }

    /// The same, with endpoints that speak something else than HTTP/1.1 in clear text.
    #[must_use]
    pub fn speaking(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }

    /// The endpoints as they are now.
    pub fn endpoints(&self) -> Guard<Arc<EndpointSet>> {
        self.slot.load()
    }

    /// Publishes new endpoints, which the next request sees.
    pub fn set_endpoints(&self, set: EndpointSet) {
        self.slot.store(Arc::new(set));
    }

    /// Changes how its endpoints are chosen from, whoever publishes them meanwhile. Whether that
    /// is a change.
    pub fn set_policy(&self, policy: &Arc<Policy>) -> bool {
        if self.slot.load().policy == *policy {
            return false;
        }
        self.slot.rcu(|set| set.with_policy(Arc::clone(policy)));
        true
    }

    /// Publishes endpoints of which only the policy is as it is now. Whether that is a change.
    pub fn update(&self, make: impl Fn(Arc<Policy>) -> EndpointSet) -> bool {
        let made = make(Arc::clone(&self.slot.load().policy));
        if **self.slot.load() == made {
            return false;
        }
        self.slot.rcu(|set| make(Arc::clone(&set.policy)));
        true
    }

    /// A place for one request more, if there are not `most` already.
    pub fn admit(&self, most: u32) -> Option<Permit<'_>> {
        let permit = Permit(self);
        if self.busy.fetch_add(1, Ordering::Relaxed) < most {
            Some(permit)
        } else {
            None
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_requests_are_admitted_than_may_be() {
        let set = EndpointSet::none(Unavailable::NoEndpoints);
        let backend = Backend::new("default/web:80", Discovery::Listed, set);
        let first = backend.admit(2);
        let _second = backend.admit(2).expect("a place");
        assert!(backend.admit(2).is_none());
        drop(first);
        assert!(backend.admit(2).is_some());
    }
}
