//! Where certificates are kept in a cluster, and what the cluster is told of them.
//!
//! A certificate is a Secret of type `kubernetes.io/tls` where whoever asked for it looks; what
//! else is known of it (failures, when to renew) is in a Lease of Narthex's own namespace, which is
//! also its lock. Answers to challenges are in one Secret that all replicas read. Nothing here
//! watches or polls: whoever wants to know asks, when it is due.
//!
//! Nothing is overwritten that is not marked as ours ([`MARK`]).

mod bundle;
mod challenges;
mod events;
mod lock;
mod names;
mod papers;
mod record;
mod replicas;
mod requests;
mod vault;

use std::sync::Arc;

pub use challenges::ChallengeSolver;
pub use events::{Announcer, Happened};
use kube::Client;
pub use lock::{Held, LeaseLock};
pub use papers::SecretPapers;
pub use vault::{SecretVault, State};

use crate::client::Connection;

/// The label of everything that is kept here; its value is `true`. Without it an object belongs to
/// somebody else.
pub const MARK: &str = "narthex.dev/certificate";

/// Who we are, and where what all replicas share is.
#[derive(Debug, Clone)]
pub struct Place {
    /// Narthex's own namespace.
    pub namespace: String,
    /// This replica's name: its pod's.
    pub replica: String,
    /// `--election-id`, by which the replicas' Leases are known.
    pub election_id: String,
    /// The Secret that answers to challenges are put into.
    pub challenges: String,
}

/// A cluster as a place for certificates.
#[derive(Debug, Clone)]
pub struct Certificates {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    client: Client,
    place: Place,
    /// Who holds a lock: a container that starts again in its pod is another holder.
    holder: String,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("place", &self.place)
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

impl Certificates {
    /// With a connection of its own. Nothing is asked for yet.
    pub fn new(connection: &Connection, place: Place) -> Self {
        let holder = format!("{}_{:016x}", place.replica, fastrand::u64(..));
        Self {
            shared: Arc::new(Shared {
                client: connection.another(),
                place,
                holder,
            }),
        }
    }

    /// The Secrets.
    pub fn vault(&self) -> SecretVault {
        SecretVault::new(Arc::clone(&self.shared))
    }

    /// The Leases by which one replica orders.
    pub fn lock(&self) -> LeaseLock {
        LeaseLock::new(Arc::clone(&self.shared))
    }

    /// Keys of accounts and of authorities.
    pub fn papers(&self) -> SecretPapers {
        SecretPapers::new(Arc::clone(&self.shared))
    }

    /// Puts up answers to challenges.
    pub fn solver(&self) -> ChallengeSolver {
        ChallengeSolver::new(Arc::clone(&self.shared))
    }

    /// Tells of certificates by Events.
    pub fn announcer(&self) -> Announcer {
        Announcer::new(&self.shared)
    }

    /// Publishes authorities for whoever is to trust them, as `ca.crt` of the ConfigMap `name` in
    /// Narthex's namespace. Whether that changed anything.
    ///
    /// # Errors
    /// It is not ours or cannot be written, for people.
    pub async fn publish_bundle(&self, name: &str, pem: &str) -> Result<bool, String> {
        bundle::publish(&self.shared, name, pem).await
    }
}
