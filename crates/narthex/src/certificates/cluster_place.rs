//! Where certificates and all that belongs to them are kept in a cluster.

use std::sync::Arc;

use cluster::certificates::{
    Announcer, Certificates, ChallengeSolver, Happened, LeaseLock, SecretPapers, SecretVault,
};
use objects::kinds::ObjectKey;

use super::{Parts, Place};

/// The ConfigMap that says whom to trust to trust our own authority.
const BUNDLE: &str = "narthex-trust-bundle";

/// A cluster.
pub(crate) struct InCluster {
    certificates: Certificates,
    announcer: Announcer,
}

/// Where a cluster is served.
pub(crate) fn in_cluster(certificates: Certificates) -> InCluster {
    InCluster {
        announcer: certificates.announcer(),
        certificates,
    }
}

impl Place for InCluster {
    type Vault = SecretVault;
    type Lock = LeaseLock;
    type Papers = SecretPapers;
    type Solver = ChallengeSolver;

    fn parts(&self) -> Parts<Self> {
        let all = &self.certificates;
        Parts {
            vault: Arc::new(all.vault()),
            lock: Arc::new(all.lock()),
            papers: Arc::new(all.papers()),
            solver: Arc::new(all.solver()),
        }
    }

    async fn publish(&self, bundle: &str) -> Result<(), String> {
        let published = self.certificates.publish_bundle(BUNDLE, bundle).await;
        published.map(|_| ())
    }

    async fn tell(&self, asked_by: &[ObjectKey], happened: &Happened) {
        for object in asked_by {
            self.announcer.tell(object.clone(), happened).await;
        }
    }
}
