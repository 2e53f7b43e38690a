//! Keeps credentials fresh: each is asked for again at about half of its life, and a failure keeps the last good one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Credential, Failed, Grant, Http, Obtained};

/// How long at the most until the clock is looked at again, which somebody may have set.
const LOOK: Duration = Duration::from_secs(15);

/// The shortest time between two questions about the same.
const SHORTEST: Duration = Duration::from_secs(2);

/// The longest wait after failures.
const LONGEST_RETRY: Duration = Duration::from_secs(5 * 60);

/// How often is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// At the latest after so long, however long a credential lives.
    pub refresh: Duration,
    /// After failures.
    pub retry: Retry,
}

/// How soon is asked again after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How the wait grows.
    pub kind: RetryKind,
    /// For so many failures in a row; after them it is asked every five minutes.
    pub times: u32,
    /// The first wait.
    pub delay: Duration,
}

/// How a wait grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryKind {
    /// Not at all.
    Simple,
    /// Twice as long each time.
    Exponential,
}

/// How it stands with a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The grant.
    pub grant: Grant,
    /// The last good credentials, if there ever were any.
    pub credentials: Option<Arc<[Credential]>>,
    /// When they came.
    pub refreshed: Option<SystemTime>,
    /// When it is asked again.
    pub next: SystemTime,
    /// Why there are no newer ones, for people.
    pub error: Option<String>,
    /// How many times in a row.
    pub failures: u32,
}

impl Standing {
    /// When the first of the credentials ends.
    pub fn expires(&self) -> Option<SystemTime> {
        let all = self.credentials.iter().flat_map(|all| all.iter());
        all.filter_map(|one| one.expires).min()
    }
}

/// Who is told what became of each question.
pub trait Witness: Send {
    /// A provider has answered, or has not.
    fn asked(&mut self, standing: &Standing, result: Result<(), &Failed>);

    /// A grant is no more, or has another source.
    fn forgotten(&mut self, _standing: &Standing) {}

    /// Somebody else asks from now on: what is known here grows old.
    fn stopped(&mut self) {}
}

/// Keeps the credentials of grants fresh.
#[derive(Debug)]
pub struct Keeper<W> {
    http: Http,
    schedule: Schedule,
    witness: W,
    clock: fn() -> SystemTime,
    entries: BTreeMap<String, Entry>,
    asking: JoinSet<Asked>,
}

#[derive(Debug)]
struct Entry {
    standing: Standing,
    /// Whether it is being asked.
    is_asked: bool,
    /// When the next question was thought of: a clock that was set back is seen by it.
    since: SystemTime,
}

#[derive(Debug)]
struct Asked {
    grant: Grant,
    result: Result<Obtained, Failed>,
}

impl<W: Witness> Keeper<W> {
    /// With no grants yet.
    pub fn new(http: Http, schedule: Schedule, witness: W) -> Self {
        Self {
            http,
            schedule,
            witness,
            clock: SystemTime::now,
            entries: BTreeMap::new(),
            asking: JoinSet::new(),
        }
    }

    /// Asks for what is granted, while it `may`; and tells how it stands. When it begins that it may, all is asked
    /// anew. Ends when nobody grants anything any more.
    pub async fn run(
        mut self,
        mut grants: watch::Receiver<Arc<[Grant]>>,
        mut may: watch::Receiver<bool>,
        told: watch::Sender<Arc<[Standing]>>,
    ) {
        let granted = grants.borrow_and_update().clone();
        self.grant(&granted);
        let mut did = false;
        loop {
            let does = *may.borrow_and_update();
            if does && !did {
                self.begin();
            }
            if did && !does {
                self.witness.stopped();
            }
            did = does;
            if does {
                self.ask_what_is_due();
            }
            let all = self.entries.values().map(|entry| entry.standing.clone());
            let all: Arc<[Standing]> = all.collect();
            told.send_if_modified(|last| {
                let is_new = *last != all;
                *last = Arc::clone(&all);
                is_new
            });
            let wait = self.wait();
            tokio::select! {
                changed = grants.changed() => match changed {
                    Ok(()) => {
                        let granted = grants.borrow_and_update().clone();
                        self.grant(&granted);
                    }
                    Err(_) => return,
                },
                changed = may.changed() => if changed.is_err() {
                    return;
                },
                Some(asked) = self.asking.join_next() => if let Ok(asked) = asked {
                    self.take(asked);
                },
                () = sleep(wait), if does => {}
            }
        }
    }

    fn grant(&mut self, grants: &[Grant]) {
        let now = (self.clock)();
        let mut old = std::mem::take(&mut self.entries);
        for grant in grants {
            let known = old.remove(&grant.secret);
            let entry = match known {
                // Where it goes may be another place.
                Some(mut entry) if entry.standing.grant.source == grant.source => {
                    entry.standing.grant = grant.clone();
                    entry
                }
                // What another source gave is no last good credential of this one's.
                other => {
                    if let Some(other) = other {
                        self.witness.forgotten(&other.standing);
                    }
                    Entry {
                        standing: Standing {
                            grant: grant.clone(),
                            credentials: None,
                            refreshed: None,
                            next: now,
                            error: None,
                            failures: 0,
                        },
                        is_asked: false,
                        since: now,
                    }
                }
            };
            self.entries.insert(grant.secret.clone(), entry);
        }
        for entry in old.values() {
            self.witness.forgotten(&entry.standing);
        }
    }

    /// Others may have asked meanwhile, and what they were told is not known here: what we were told before is
    /// older, and may have ended.
    fn begin(&mut self) {
        let now = (self.clock)();
        for entry in self.entries.values_mut() {
            (entry.standing.next, entry.since) = (now, now);
            (entry.standing.credentials, entry.standing.refreshed) = (None, None);
        }
    }

    fn ask_what_is_due(&mut self) {
        let now = (self.clock)();
        for entry in self.entries.values_mut() {
            let is_due = entry.standing.next <= now || now < entry.since;
            if !is_due || entry.is_asked {
                continue;
            }
            entry.is_asked = true;
            let (http, grant) = (self.http.clone(), entry.standing.grant.clone());
            self.asking.spawn(async move {
                let result = grant.source.ask(&http, now).await;
                Asked { grant, result }
            });
        }
    }

    fn take(&mut self, asked: Asked) {
        let now = (self.clock)();
        let Some(entry) = self.entries.get_mut(&asked.grant.secret) else {
            return;
        };
        if entry.standing.grant.source != asked.grant.source {
            return;
        }
        entry.is_asked = false;
        entry.since = now;
        let standing = &mut entry.standing;
        let result = asked.result.and_then(|obtained| {
            let Obtained { credentials, lacks } = obtained;
            // Of what is missing, the last good one stays.
            let last = standing.credentials.iter().flat_map(|all| all.iter());
            let is_old = |one: &&Credential| {
                let is_it = |new: &Credential| new.registry == one.registry;
                lacks.is_some() && !credentials.iter().any(is_it)
            };
            let last: Vec<_> = last.filter(is_old).cloned().collect();
            standing.credentials = Some(credentials.into_iter().chain(last).collect());
            standing.refreshed = Some(now);
            lacks.map_or(Ok(()), Err)
        });
        match &result {
            Ok(()) => {
                (standing.error, standing.failures) = (None, 0);
                let life = standing
                    .expires()
                    .and_then(|end| end.duration_since(now).ok());
                standing.next = now + self.schedule.after_success(life);
            }
            Err(failed) => {
                standing.error = Some(failed.to_string());
                standing.failures = standing.failures.saturating_add(1);
                standing.next = now + self.schedule.after_failure(standing.failures);
            }
        }
        self.witness.asked(standing, result.as_ref().copied());
    }

    fn wait(&self) -> Duration {
        let now = (self.clock)();
        let waiting = self.entries.values().filter(|entry| !entry.is_asked);
        let next = waiting.map(|entry| entry.standing.next).min();
        let wait = next.map_or(LOOK, |next| next.duration_since(now).unwrap_or_default());
        wait.min(LOOK)
    }
}

impl Schedule {
    /// Between 40 and 50 % of its life, so that not all are asked at once, and one whose provider is away for some hours
    /// is good for as long.
    fn after_success(&self, life: Option<Duration>) -> Duration {
        let longest = life.map_or(self.refresh, |life| self.refresh.min(life / 2));
        jittered(longest).max(SHORTEST)
    }

    fn after_failure(&self, failures: u32) -> Duration {
        let Retry { kind, times, delay } = self.retry;
        if failures > times {
            return jittered(LONGEST_RETRY);
        }
        let wait = match kind {
            RetryKind::Simple => delay,
            RetryKind::Exponential => delay.saturating_mul(1 << failures.saturating_sub(1).min(16)),
        };
        jittered(wait.min(LONGEST_RETRY)).max(SHORTEST)
    }
}

fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.8 + 0.2 * fastrand::f64())
}

#[cfg(test)]
mod tests;
