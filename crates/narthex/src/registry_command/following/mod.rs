//! A registry that keeps itself filled: what lists name is brought, now and then, and when a list
//! has changed. Lists are files, and ImageLists of a cluster.

mod claims;
mod files;
mod metrics;
mod objects;
mod pruning;
mod round;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Connection, ImageLists};
use registry::list::Registry;
use registry::store::Store;
use tokio::sync::{Semaphore, watch};

use super::credentials::credentials;
use crate::failure::Failure;
use crate::flags::registry::Following as Flags;
use claims::Claims;
use files::Files;
pub(super) use metrics::Metrics;

/// How soon images that could not be had are tried again, the first time; then twice as long each
/// time, up to the interval.
const AGAIN: Duration = Duration::from_secs(60);

/// How many times `--sync-parallel` images of all ImageLists together are brought at once.
const LISTS_AT_ONCE: usize = 8;

/// Keeps a store filled by lists.
#[derive(Debug)]
pub(super) struct Following {
    means: Means,
    files: Option<Files>,
    objects: Option<ImageLists>,
}

/// What all who follow a list have in common. Clones have the same.
#[derive(Debug, Clone)]
struct Means {
    flags: Arc<Flags>,
    store: Store,
    metrics: Metrics,
    /// Who brings what.
    claims: Claims,
    /// How registries are spoken to, as files say it, which whoever runs this has written.
    own: watch::Sender<BTreeMap<String, Registry>>,
    /// Of images that ImageLists want.
    turns: Arc<Semaphore>,
}

impl Following {
    /// Reads the lists; the `connection` is for those of the cluster. None if nothing is to be
    /// followed.
    pub(super) fn new(
        flags: &Flags,
        store: Store,
        metrics: Metrics,
        connection: Option<&Connection>,
    ) -> Result<Option<Self>, Failure> {
        let namespace = connection.zip(flags.image_lists.as_deref());
        if flags.sync.is_empty() && namespace.is_none() {
            return Ok(None);
        }
        let means = Means {
            flags: Arc::new(flags.clone()),
            store,
            metrics,
            claims: Claims::default(),
            own: watch::Sender::default(),
            turns: Arc::new(Semaphore::new(
                LISTS_AT_ONCE * usize::from(flags.sync_parallel),
            )),
        };
        let files = match flags.sync.is_empty() {
            true => None,
            false => Some(Files::read(&means)?),
        };
        // What cannot be read is told now, and not once there is nobody to read it.
        credentials(flags.sync_authfile.as_deref(), &flags.sync_credentials_file)
            .map_err(Failure::new)?;
        Ok(Some(Self {
            objects: namespace.map(|(it, namespace)| ImageLists::new(it, namespace)),
            means,
            files,
        }))
    }

    /// Brings what is missing, without end.
    pub(super) async fn keep(self) {
        let Self {
            means,
            files,
            objects,
        } = self;
        let files = async {
            if let Some(files) = files {
                files.keep().await;
            }
        };
        let objects = async {
            if let Some(objects) = objects {
                objects::keep(objects, means).await;
            }
        };
        tokio::join!(files, objects);
    }
}

/// When the next round is due, after so many in a row that were not all right. None is never.
fn due(interval: Duration, failures: u32) -> Option<Duration> {
    let regular = Some(interval).filter(|it| !it.is_zero());
    if failures == 0 {
        return regular;
    }
    let soon = AGAIN.saturating_mul(1 << (failures - 1));
    // Without an interval, what could not be had is tried hourly in the end.
    Some(soon.min(regular.unwrap_or(Duration::from_hours(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_again_soon_and_then_ever_later() {
        let hour = Duration::from_hours(1);
        assert_eq!(due(hour, 0), Some(hour));
        assert_eq!(due(Duration::ZERO, 0), None);
        assert_eq!(due(hour, 1), Some(AGAIN));
        assert_eq!(due(hour, 3), Some(AGAIN * 4));
        assert_eq!(due(hour, 16), Some(hour));
        assert_eq!(due(Duration::ZERO, 16), Some(hour));
        assert_eq!(due(Duration::from_secs(5), 2), Some(Duration::from_secs(5)));
    }
}
