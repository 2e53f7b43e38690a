//! Backends that are names of DNS by themselves, and no Service's port (XBackend).

use std::collections::BTreeMap;
use std::sync::Arc;

use model::backend::Discovery;
use model::{Backend, EndpointSet, Policy, Transport, Unavailable};
use objects::kinds::ObjectKey;

/// What is connected to for an object, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct External {
    /// The object.
    pub(crate) object: ObjectKey,
    /// How its endpoints are found.
    pub(crate) discovery: Discovery,
    /// What they speak.
    pub(crate) transport: Transport,
}

/// Every one that something refers to.
#[derive(Debug, Default)]
pub(super) struct Externals(BTreeMap<ObjectKey, Vec<Used>>);

#[derive(Debug)]
struct Used {
    users: usize,
    backend: Arc<Backend>,
}

impl Used {
    fn is(&self, wanted: &External) -> bool {
        let Backend {
            discovery,
            transport,
            ..
        } = &*self.backend;
        (discovery, transport) == (&wanted.discovery, &wanted.transport)
    }
}

impl Externals {
    /// The backend, and whether it is a new one. Counts as one user until it is released.
    pub(super) fn acquire(
        &mut self,
        wanted: &External,
        policy: &Arc<Policy>,
    ) -> (Arc<Backend>, bool) {
        let all = self.0.entry(wanted.object.clone()).or_default();
        if let Some(used) = all.iter_mut().find(|used| used.is(wanted)) {
            used.users += 1;
            return (Arc::clone(&used.backend), false);
        }
        let External {
            object,
            discovery,
            transport,
        } = wanted;
        let ObjectKey {
            kind,
            namespace,
            name,
        } = object;
        let port = match discovery {
            Discovery::Dns { port, .. } => format!(":{port}"),
            Discovery::Listed => String::new(),
        };
        let made = Backend::new(
            format!("{namespace}/{kind}/{name}{port}"),
            discovery.clone(),
            EndpointSet::none(Unavailable::Unresolved),
        );
        made.set_policy(policy);
        let backend = Arc::new(made.speaking(transport.clone()));
        all.push(Used {
            users: 1,
            backend: Arc::clone(&backend),
        });
        (backend, true)
    }

    /// Takes back one [`Self::acquire`]. Whether nobody uses it any more.
    pub(super) fn release(&mut self, wanted: &External) -> bool {
        let Some(all) = self.0.get_mut(&wanted.object) else {
            return false;
        };
        let Some(index) = all.iter().position(|used| used.is(wanted)) else {
            return false;
        };
        // Each release has had its acquire, so that the count does not go below zero.
        all[index].users -= 1;
        if all[index].users > 0 {
            return false;
        }
        all.swap_remove(index);
        if all.is_empty() {
            self.0.remove(&wanted.object);
        }
        true
    }

    /// Every backend in use.
    pub(super) fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.0.values().flatten().map(|used| &used.backend)
    }
}
