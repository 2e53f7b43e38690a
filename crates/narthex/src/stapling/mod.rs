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

/// Has CAs be asked about the certificates in service, as long as that is wanted.
#[derive(Debug)]
pub(crate) struct Staples {
    config: config::Stapling,
    metrics: Metrics,
    /// Where is told which certificates are in service. Nobody is asked without it.
    in_service: Option<watch::Sender<InService>>,
}

impl Staples {
    /// Begins to ask, if the command line says so.
    ///
    /// # Errors
    /// There is no DNS client.
    pub(crate) fn start(config: config::Stapling, metrics: Metrics) -> Result<Self, Failure> {
        let mut staples = Self {
            config,
            metrics,
            in_service: None,
        };
        if config.on {
            staples.begin()?;
        }
        Ok(staples)
    }

    /// Another configuration is about to be served. A chain that is in a Secret anew keeps what is
    /// stapled to it.
    pub(crate) fn serve(&mut self, snapshot: &Snapshot) {
        let wanted = snapshot.tuning.stapling.unwrap_or(self.config.on);
        if !wanted && self.in_service.take().is_some() {
            for certificate in served_certificates(snapshot) {
                certificate.set_staple(None);
            }
        }
        if wanted
            && self.in_service.is_none()
            && let Err(error) = self.begin()
        {
            let error = error.reason();
            tracing::error!(error, "CAs are not asked about certificates");
        }
        let Some(in_service) = &self.in_service else {
            return;
        };
        let now = served_certificates(snapshot);
        in_service.send_if_modified(|served| {
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

    fn begin(&mut self) -> Result<(), Failure> {
        let lookup = Lookup::new(self.config.allow_local)
            .map_err(|error| Failure::new(format!("names cannot be resolved: {error}")))?;
        let (in_service, served) = watch::channel(InService::new());
        tokio::spawn(worker::run(served, lookup, self.metrics.clone()));
        self.in_service = Some(in_service);
        Ok(())
    }
}
