//! OCSP stapling: what CAs say of the certificates in service is asked for, checked, and put where
//! handshakes show it, without a new configuration.
//!
//! [`Staples`] is the side of who serves configurations; the [`worker`] asks, as often as answers
//! grow old.

mod metrics;
mod worker;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use model::{Certificate, Snapshot};
use proxy::dns::Lookup;
use tokio::sync::watch;

use crate::config;
use crate::control::served_certificates;
use crate::failure::Failure;
pub(crate) use metrics::Metrics;

/// The certificates in service, each once.
type InService = Vec<Arc<Certificate>>;

/// Where is told which certificates are in service. Nobody is asked any more when this is gone.
#[derive(Debug)]
pub(crate) struct Staples {
    in_service: watch::Sender<InService>,
}

impl Staples {
    /// Begins to ask about what is served.
    ///
    /// # Errors
    /// There is no DNS client.
    pub(crate) fn start(config: config::Stapling, metrics: Metrics) -> Result<Self, Failure> {
        let lookup = Lookup::new(config.allow_local)
            .map_err(|error| Failure::new(format!("names cannot be resolved: {error}")))?;
        let (in_service, served) = watch::channel(InService::new());
        tokio::spawn(worker::run(served, lookup, metrics));
        Ok(Self { in_service })
    }

    /// Another configuration is about to be served. A chain that is in a Secret anew keeps what is
    /// stapled to it.
    pub(crate) fn serve(&self, snapshot: &Snapshot) {
        let now = served_certificates(snapshot);
        self.in_service.send_if_modified(|served| {
            let known: HashSet<_> = served.iter().map(Arc::as_ptr).collect();
            let is_new = |it: &&Arc<Certificate>| !known.contains(&Arc::as_ptr(it));
            let came: Vec<_> = now.iter().filter(is_new).collect();
            if came.is_empty() && now.len() == served.len() {
                return false;
            }
            let former: HashMap<_, _> = served.iter().map(|it| (&it.key.cert, it)).collect();
            for new in came {
                if let Some(former) = former.get(&new.key.cert) {
                    new.take_staple(former);
                }
            }
            *served = now;
            true
        });
    }
}
