//! What becomes of lists, as whoever brings their images says it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use tokio::sync::watch;

use super::table::Listed;

/// The most images that a status names.
const NAMED: usize = 20;

/// What became of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The list's generation.
    pub generation: i64,
    /// Whether there is more to come of the round.
    pub is_under_way: bool,
    /// The images that it means, as far as that is known.
    pub images: usize,
    /// How many are there.
    pub present: usize,
    /// How many are not.
    pub failing: usize,
    /// The first of those.
    pub failures: Vec<Failure>,
    /// When that was so.
    pub at: Timestamp,
}

/// An image that is not there, and why. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its name.
    pub image: String,
    /// Why, for people.
    pub reason: String,
}

impl Report {
    /// Of a round over a list that has just ended, with so many images there and these, by name, not.
    pub fn new(generation: i64, present: usize, failed: &BTreeMap<String, String>) -> Self {
        let named = failed.iter().take(NAMED);
        Self {
            generation,
            is_under_way: false,
            images: present + failed.len(),
            present,
            failing: failed.len(),
            failures: named
                .map(|(image, reason)| Failure {
                    image: image.clone(),
                    reason: reason.clone(),
                })
                .collect(),
            at: Timestamp::now(),
        }
    }

    /// Of a round that goes on: of so many `images`, so many are there, and these, by name, are not.
    pub fn under_way(
        generation: i64,
        images: usize,
        present: usize,
        failed: &BTreeMap<String, String>,
    ) -> Self {
        Self {
            is_under_way: true,
            images,
            ..Self::new(generation, present, failed)
        }
    }
}

/// By the UID of each list.
type All = Arc<BTreeMap<String, Report>>;

/// Where it is said what becomes of lists. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Reports(Arc<watch::Sender<All>>);

impl Reports {
    /// Says what became of a list, by its UID.
    pub fn say(&self, uid: &str, report: Report) {
        self.0.send_modify(|all| {
            Arc::make_mut(all).insert(uid.to_owned(), report);
        });
    }

    pub(super) fn all(&self) -> All {
        Arc::clone(&self.0.borrow())
    }

    pub(super) fn changes(&self) -> watch::Receiver<All> {
        self.0.subscribe()
    }

    /// Forgets lists that have gone.
    pub(super) fn keep_only(&self, lists: &[Listed]) {
        self.0.send_if_modified(|all| {
            let is_there = |uid: &String| lists.iter().any(|it| *it.uid == **uid);
            if all.keys().any(|uid| !is_there(uid)) {
                Arc::make_mut(all).retain(|uid, _| is_there(uid));
            }
            false
        });
    }
}
