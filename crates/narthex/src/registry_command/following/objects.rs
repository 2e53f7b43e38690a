//! Lists that are objects of the cluster: each is followed by itself, so that one whose source does
//! not answer keeps no other.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use cluster::ImageLists;
use cluster::image_lists::{Listed, Report, Reports};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::claims::Who;
use super::round::{Follower, Round};
use super::{Means, due};

/// Follows them, without end.
pub(super) async fn keep(lists: ImageLists, means: Means) {
    let (mut told, reports) = (lists.lists(), lists.reports());
    let namespace = lists.namespace().to_owned();
    // By the UIDs of those that are followed; who drops one ends that.
    let mut followed: HashMap<Arc<str>, watch::Sender<Listed>> = HashMap::new();
    let mut works = FuturesUnordered::new();
    let mut run = pin!(lists.run());
    loop {
        tokio::select! {
            () = &mut run => return,
            Some(()) = works.next() => {}
            Ok(()) = told.changed() => {
                let all = told.borrow_and_update().clone().unwrap_or_default();
                followed.retain(|uid, _| all.iter().any(|it| it.uid == *uid));
                for listed in all.iter() {
                    if let Some(sender) = followed.get(&listed.uid) {
                        sender.send_if_modified(|last| {
                            let is_new = !last.is_same(listed);
                            *last = listed.clone();
                            is_new
                        });
                        continue;
                    }
                    let (sender, changes) = watch::channel(listed.clone());
                    followed.insert(Arc::clone(&listed.uid), sender);
                    works.push(follow(means.clone(), &namespace, changes, reports.clone()));
                }
            }
        }
    }
}

/// Follows one, until it has gone.
async fn follow(
    means: Means,
    namespace: &str,
    mut changes: watch::Receiver<Listed>,
    reports: Reports,
) {
    let who = {
        let listed = changes.borrow();
        Who::Object {
            created: listed.created,
            name: format!("{namespace}/{}", listed.name),
            uid: Arc::clone(&listed.uid),
        }
    };
    tracing::info!("{who} is followed");
    let interval = means.flags.sync_interval;
    let mut follower = Follower::new(means, who);
    let mut failures = 0;
    loop {
        let listed = changes.borrow_and_update().clone();
        let so_far = |round: &Round, images| {
            let report = Report::under_way(listed.generation, images, round.there(), &round.failed);
            reports.say(&listed.uid, report);
        };
        let round = tokio::select! {
            round = follower.round((*listed.list).clone(), so_far) => round,
            // What has come of the former one stays, and does not come again.
            changed = changes.changed() => match changed {
                Ok(()) => continue,
                Err(_) => break,
            },
        };
        failures = match round.failed.is_empty() {
            true => 0,
            false => (failures + 1).min(16),
        };
        reports.say(
            &listed.uid,
            Report::new(listed.generation, round.there(), &round.failed),
        );
        follower.tell(round);
        let due = due(interval, failures).map(|wait| Instant::now() + wait);
        let changed = tokio::select! {
            changed = changes.changed() => changed,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => continue,
        };
        match changed {
            Ok(()) => failures = 0,
            Err(_) => break,
        }
    }
    follower.end();
}
