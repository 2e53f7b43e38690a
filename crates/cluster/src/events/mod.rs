//! Events on objects, for what was refused or is doubtful of them.
//!
//! The leader alone writes them, but for those on certificates, and each problem once while it stands: an Event's name is a
//! digest of what it says, so that a new leader, or the same one after a restart, finds it there.
//! What returns after it was solved counts in the Event's series.

mod note;
mod standing;
mod write;

use std::sync::Arc;

use kube::Client;
use tokio::sync::{mpsc, watch};

use crate::election::Leadership;
use crate::metrics::Metrics;
use crate::publish::{Identity, Served};
use crate::status::{Budget, FirstAddress};
pub(crate) use note::Note;
use standing::Standing;
pub(crate) use write::Writer;

/// So many more than a second's at once.
const BURST: u32 = 10;

/// Writes Events, while we lead.
pub(crate) struct Events {
    writer: Writer,
    leadership: Leadership,
    metrics: Metrics,
    served: watch::Receiver<Option<Arc<Served>>>,
    addresses: mpsc::Receiver<FirstAddress>,
    standing: Standing,
    budget: Budget,
}

impl Events {
    /// At most so many a second.
    pub(crate) fn new(
        client: Client,
        identity: Arc<Identity>,
        per_second: u32,
        leadership: Leadership,
        metrics: Metrics,
        served: watch::Receiver<Option<Arc<Served>>>,
        addresses: mpsc::Receiver<FirstAddress>,
    ) -> Self {
        Self {
            writer: Writer::new(client, &identity.name),
            leadership,
            metrics,
            served,
            addresses,
            standing: Standing::default(),
            budget: Budget::new(per_second, per_second.saturating_mul(BURST)),
        }
    }

    /// Never ends.
    pub(crate) async fn run(mut self) {
        loop {
            if let Some(served) = self.served.borrow_and_update().clone() {
                self.standing.update(&served.report);
            }
            if let Some(note) = self.standing.next() {
                self.tell(&note).await;
                continue;
            }
            tokio::select! {
                changed = self.served.changed() => if changed.is_err() {
                    // It is about to end.
                    return std::future::pending().await;
                },
                Some((object, addresses)) = self.addresses.recv() => {
                    self.tell(&Note::first_address(object, &addresses)).await;
                }
            }
        }
    }

    async fn tell(&self, note: &Note) {
        let may = || self.leadership.is_held();
        let count = |result| self.metrics.wrote_event(note.kind, result);
        self.writer.tell(note, &self.budget, may, count).await;
    }
}
