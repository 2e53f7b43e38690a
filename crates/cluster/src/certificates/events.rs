//! Events on whoever asked for a certificate.

use std::sync::Arc;

use objects::kinds::ObjectKey;

use super::Shared;
use crate::events::{Note, Writer};
use crate::status::Budget;

/// The most Events a second, and at once.
const RATE: u32 = 5;
const BURST: u32 = 50;

/// What became of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// It is there: for which names, from whom, until when. The text is another each time.
    Issued(String),
    /// It is not, in the CA's words, for so many times one after another.
    Failed(String, u32),
}

/// Tells of certificates by Events. Whoever did something tells of it, and not the leader.
#[derive(Debug)]
pub struct Announcer {
    writer: Writer,
    budget: Budget,
}

impl Announcer {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            writer: Writer::new(shared.client.clone(), &shared.place.replica),
            budget: Budget::new(RATE, BURST),
        }
    }

    /// Tells it on `object`; tries some times, for some seconds.
    pub async fn tell(&self, object: ObjectKey, happened: &Happened) {
        let note = match happened {
            Happened::Issued(text) => Note::certificate_issued(object, text),
            Happened::Failed(text, times) => Note::certificate_failed(object, text, *times),
        };
        // Nobody need lead for it.
        self.writer.tell(&note, &self.budget, || true, |_| {}).await;
    }
}
