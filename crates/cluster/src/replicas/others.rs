//! The other replicas, as the leader sees them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::DeleteParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::interval;

use super::{ADDRESSES, LABEL, LISTENING, LIVE, Listening, NODE, Position, SERVED};
use crate::again::Again;
use crate::clock::Moment;
use crate::election::Leadership;

/// How often it is looked whether a replica is live no more.
const LOOK: Duration = Duration::from_secs(1);

/// How long after its end a replica's Lease is kept, where no pod owns it.
const FORGET: Duration = Duration::from_secs(10 * 60);

/// Another replica that is live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replica {
    /// Its name.
    pub(crate) name: String,
    /// The node that it is on.
    pub(crate) node: Option<String>,
    /// What it serves.
    pub(crate) position: Position,
    /// By which addresses it is reached.
    pub(crate) addresses: Arc<[IpAddr]>,
    /// Which ports of Gateways it listens on.
    pub(crate) listening: Listening,
}

/// Watches the other replicas' Leases.
#[derive(Debug)]
pub(crate) struct Others {
    leases: Api<Lease>,
    selector: String,
    /// Our own name.
    own: String,
    leadership: Leadership,
    table: Table,
    /// None until they are known.
    told: watch::Sender<Option<Arc<[Replica]>>>,
}

impl Others {
    pub(crate) fn new(
        client: &Client,
        namespace: &str,
        election: &str,
        own: &str,
        leadership: Leadership,
    ) -> (Self, watch::Receiver<Option<Arc<[Replica]>>>) {
        let (told, replicas) = watch::channel(None);
        let others = Self {
            leases: Api::namespaced(client.clone(), namespace),
            selector: format!("{LABEL}={election}"),
            own: own.to_owned(),
            leadership,
            table: Table::default(),
            told,
        };
        (others, replicas)
    }

    /// Never ends.
    pub(crate) async fn run(mut self) {
        let config = watcher::Config::default().labels(&self.selector);
        let mut events =
            std::pin::pin!(watcher(self.leases.clone(), config).backoff(Again::default()));
        let mut look = interval(LOOK);
        let mut is_complete = false;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        is_complete |= matches!(event, Event::InitDone);
                        self.table.take(event, &self.own, Moment::now());
                    }
                    Some(Err(error)) => tracing::debug!("replicas' Leases: {error}"),
                    None => return,
                },
                _ = look.tick() => self.forget().await,
            }
            if is_complete {
                let live: Arc<[Replica]> = self.table.live(Moment::now()).into();
                self.told.send_if_modified(|told| {
                    let changed = told.as_ref() != Some(&live);
                    if changed {
                        *told = Some(live);
                    }
                    changed
                });
            }
        }
    }

    /// Leases of processes outside of pods have no owner with which they would go.
    async fn forget(&mut self) {
        for name in self.table.forgotten(Moment::now()) {
            if self.leadership.is_held() {
                // What fails is tried again by the next leader.
                let _ = self.leases.delete(&name, &DeleteParams::default()).await;
            }
        }
    }
}

/// Every replica's Lease, and when it was last seen to change.
#[derive(Debug, Default)]
struct Table {
    seen: BTreeMap<String, Seen>,
    /// The names that a list under way has brought.
    listed: Vec<String>,
}

#[derive(Debug)]
struct Seen {
    replica: Replica,
    spec: LeaseSpec,
    renewed: Moment,
}

impl Table {
    fn take(&mut self, event: Event<Lease>, own: &str, now: Moment) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(lease) => {
                self.listed.extend(lease.metadata.name.clone());
                self.see(lease, own, now);
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                self.seen.retain(|name, _| listed.contains(name));
            }
            Event::Apply(lease) => self.see(lease, own, now),
            Event::Delete(lease) => {
                self.seen.remove(&lease.metadata.name.unwrap_or_default());
            }
        }
    }

    fn see(&mut self, lease: Lease, own: &str, now: Moment) {
        let spec = lease.spec.unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        if holder == own {
            return;
        }
        let name = lease.metadata.name.unwrap_or_default();
        let annotations = lease.metadata.annotations.unwrap_or_default();
        let text = |name| annotations.get(name).map_or("", String::as_str);
        let replica = Replica {
            name: holder,
            node: annotations.get(NODE).cloned(),
            position: text(SERVED).parse().unwrap_or_default(),
            addresses: text(ADDRESSES)
                .split(',')
                .filter_map(|it| it.parse().ok())
                .collect(),
            listening: text(LISTENING).parse().unwrap_or_default(),
        };
        let known = self.seen.get(&name);
        let renewed = match known {
            Some(known) if known.spec == spec => known.renewed,
            _ => now,
        };
        let seen = Seen {
            replica,
            spec,
            renewed,
        };
        self.seen.insert(name, seen);
    }

    fn live(&self, now: Moment) -> Vec<Replica> {
        self.seen
            .values()
            .filter(|seen| now.since(seen.renewed) < LIVE)
            .map(|seen| seen.replica.clone())
            .collect()
    }

    fn forgotten(&mut self, now: Moment) -> Vec<String> {
        let is_old = |seen: &Seen| now.since(seen.renewed) >= FORGET;
        let old = self.seen.extract_if(.., |_, seen| is_old(seen));
        old.map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn lease(name: &str, renewed: i64) -> Lease {
        let mut lease = Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(name.to_owned()),
                renew_time: Timestamp::from_second(renewed).ok().map(MicroTime),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        };
        lease.metadata.name = Some(format!("lease-{name}"));
        lease.metadata.annotations = Some([(SERVED.to_owned(), format!("*={renewed}"))].into());
        lease
    }

    fn names(table: &Table, now: Moment) -> Vec<String> {
        table.live(now).into_iter().map(|it| it.name).collect()
    }

    #[test]
    fn a_replica_is_live_until_it_was_not_renewed_for_15_seconds() {
        let mut table = Table::default();
        let start = Moment::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        for name in ["a", "b", "own"] {
            table.take(Event::Apply(lease(name, 1)), "own", start);
        }
        assert_eq!(names(&table, after(14)), ["a", "b"]);
        table.take(Event::Apply(lease("b", 2)), "own", after(14));
        // Seen again unchanged, as a list brings it: not renewed.
        table.take(Event::Apply(lease("a", 1)), "own", after(14));
        assert_eq!(names(&table, after(15)), ["b"]);
        assert_eq!(table.live(after(15))[0].position.to_string(), "*=2");
        assert_eq!(names(&table, after(29)), [""; 0]);
        assert_eq!(table.forgotten(after(610)), ["lease-a"]);
    }

    #[test]
    fn a_list_takes_out_what_has_gone() {
        let mut table = Table::default();
        let now = Moment::now();
        table.take(Event::Apply(lease("a", 1)), "own", now);
        table.take(Event::Apply(lease("b", 1)), "own", now);
        table.take(Event::Delete(lease("b", 1)), "own", now);
        assert_eq!(names(&table, now), ["a"]);
        for event in [
            Event::Init,
            Event::InitApply(lease("c", 1)),
            Event::InitDone,
        ] {
            table.take(event, "own", now);
        }
        assert_eq!(names(&table, now), ["c"]);
    }
}
