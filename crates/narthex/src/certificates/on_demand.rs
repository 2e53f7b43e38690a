//! Certificates at the first handshake: which names clients may have one for, kept beyond a
//! restart.
//!
//! The names are in one paper, which all replicas read and write. A name goes in before anything is
//! ordered for it, so that no restart orders again; it goes out when its certificate is about to be
//! renewed and no client has had it since it was obtained.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use certs::on_demand::{Asker, Policy, Refusal, Verdict, secret_name};
use certs::renew::Validity;
use certs::vault::{Entries, NotKept, Papers, Vault};
use compile::OnDemand;
use proxy::Wanted;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at, sleep};

use super::id;

/// Where the names are kept, and under which key.
const PAPER: &str = "narthex-on-demand";
const KEY: &str = "names.json";

/// How often what clients use is looked at.
const HOURLY: Duration = Duration::from_secs(60 * 60);

/// Names that were asked for within that time stay.
const STAYS: Duration = Duration::from_secs(24 * 60 * 60);

/// How old may be what is known of other replicas' names when an unknown one is asked for.
const FRESH: Duration = Duration::from_secs(5);

/// How long until what could not be read is read again.
const AGAIN: Duration = Duration::from_secs(10);

/// How often somebody else's edits are made way for.
const ATTEMPTS: usize = 5;

/// How many bytes the names may have together: a Secret takes 1 MiB.
const LARGEST: usize = 900_000;

/// How many handshakes wait for one answer of who is asked.
const WAITING: usize = 64;

/// The names that clients may have certificates for.
pub(crate) type Names = Arc<[OnDemand]>;

/// Who decides, and who is to know.
#[derive(Debug)]
pub(crate) struct Demand {
    pub(crate) policy: Policy,
    pub(crate) asker: Option<Arc<Asker>>,
    /// What handshakes ask for.
    pub(crate) wanted: mpsc::Receiver<Wanted>,
    /// What is decided.
    pub(crate) names: watch::Sender<Names>,
    /// The namespace of their Secrets.
    pub(crate) namespace: String,
}

/// Decides of names as clients ask for them, for as long as it is polled.
pub(crate) async fn run<V: Vault, P: Papers>(demand: Demand, vault: Arc<V>, papers: Arc<P>) {
    let Demand {
        policy,
        asker,
        mut wanted,
        names,
        namespace,
    } = demand;
    let mut list = List {
        policy,
        asker,
        names,
        namespace,
        vault,
        papers,
        kept: BTreeMap::new(),
        synced: UNIX_EPOCH,
        read_at: Instant::now(),
        asked: HashMap::new(),
        asking: JoinSet::new(),
        warned: None,
    };
    while let Err(error) = list.read().await {
        tracing::error!("the names of certificates on demand are not known: {error}");
        sleep(AGAIN).await;
    }
    list.publish();
    let mut hourly = interval_at(tokio::time::Instant::now() + HOURLY, HOURLY);
    hourly.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            wanted = wanted.recv() => match wanted {
                Some(wanted) => list.look_at(wanted).await,
                None => return,
            },
            Some(answer) = list.asking.join_next(), if !list.asking.is_empty() => {
                // A bug in one question leaves its handshakes to their time limit.
                if let Ok((name, answer)) = answer {
                    list.told(&name, answer).await;
                }
            }
            _ = hourly.tick() => list.tend().await,
        }
    }
}

/// A name that may have a certificate.
#[derive(Debug, Clone)]
struct Kept {
    /// When a client last asked for it, as far as is known.
    seen: SystemTime,
    /// Set by handshakes.
    used: Arc<AtomicBool>,
}

/// The names, and who decides of others.
struct List<V, P> {
    policy: Policy,
    asker: Option<Arc<Asker>>,
    names: watch::Sender<Names>,
    namespace: String,
    vault: Arc<V>,
    papers: Arc<P>,
    kept: BTreeMap<String, Kept>,
    /// When the paper last had all of them.
    synced: SystemTime,
    /// When the paper was last read.
    read_at: Instant,
    /// Handshakes that wait for who is asked.
    asked: HashMap<String, Vec<oneshot::Sender<()>>>,
    asking: JoinSet<(String, Result<bool, String>)>,
    /// When it was last told that there are too many.
    warned: Option<Instant>,
}

impl<V: Vault, P: Papers> List<V, P> {
    /// Decides of what a handshake asks for.
    async fn look_at(&mut self, wanted: Wanted) {
        let Wanted { name, will_be } = wanted;
        // Of no use any more, or never to be.
        if will_be.is_closed() || !self.policy.permits(&name) {
            return;
        }
        let now = SystemTime::now();
        if self.is_kept(&name, now) {
            let _ = will_be.send(());
            return;
        }
        if let Some(waiting) = self.asked.get_mut(&*name) {
            if waiting.len() < WAITING {
                waiting.push(will_be);
            }
            return;
        }
        // Another replica may have let it in.
        if self.read_at.elapsed() > FRESH {
            match self.read().await {
                Ok(()) => self.publish(),
                Err(error) => tracing::warn!("names of other replicas are not known: {error}"),
            }
            if self.is_kept(&name, now) {
                let _ = will_be.send(());
                return;
            }
        }
        match self.policy.decide(&name, now) {
            Verdict::Allowed => self.let_in(&name, vec![will_be], now).await,
            Verdict::Refused(refusal) => self.refuse(&name, refusal),
            Verdict::Ask => {
                let Some(asker) = self.asker.clone() else {
                    return;
                };
                let name = String::from(name);
                self.asked.insert(name.clone(), vec![will_be]);
                self.asking.spawn(async move {
                    let answer = asker.may(&name).await;
                    (name, answer)
                });
            }
        }
    }

    /// Takes the answer of who was asked.
    async fn told(&mut self, name: &str, answer: Result<bool, String>) {
        let waiting = self.asked.remove(name).unwrap_or_default();
        let may = match answer {
            Ok(may) => may,
            Err(error) => {
                tracing::warn!(
                    name,
                    "whether it may have a certificate is not known: {error}"
                );
                return;
            }
        };
        let now = SystemTime::now();
        match self.policy.told(name, may, now) {
            Verdict::Allowed => self.let_in(name, waiting, now).await,
            Verdict::Refused(refusal) => self.refuse(name, refusal),
            Verdict::Ask => {}
        }
    }

    /// Whether a name is known, which has been asked for just now.
    fn is_kept(&mut self, name: &str, now: SystemTime) -> bool {
        let kept = self.kept.get_mut(name);
        kept.map(|kept| kept.seen = now).is_some()
    }

    async fn let_in(&mut self, name: &str, waiting: Vec<oneshot::Sender<()>>, now: SystemTime) {
        let kept = Kept {
            seen: now,
            used: Arc::default(),
        };
        self.kept.insert(name.to_owned(), kept);
        if let Err(error) = self.write(&BTreeSet::new()).await {
            self.kept.remove(name);
            tracing::error!(name, "no certificate is obtained on demand: {error}");
            return;
        }
        tracing::info!(
            name,
            "a certificate is obtained, because a client asks for it"
        );
        self.publish();
        for will_be in waiting {
            // The client may have gone.
            let _ = will_be.send(());
        }
    }

    /// Clients choose names: only what is seldom is told to everybody.
    fn refuse(&mut self, name: &str, refusal: Refusal) {
        tracing::debug!(name, ?refusal, "no certificate is obtained on demand");
        let is_told = self.warned.is_some_and(|at| at.elapsed() < HOURLY);
        if refusal == Refusal::TooMany && !is_told {
            self.warned = Some(Instant::now());
            tracing::warn!(
                name,
                "more names ask for a certificate than may within an hour: see --on-demand-per-hour"
            );
        }
    }

    /// Takes over what the paper says.
    async fn read(&mut self) -> Result<(), String> {
        let paper = self.papers.read(PAPER).await?;
        let names = match paper {
            Some((entries, _)) => parse(&entries)?,
            None => BTreeMap::new(),
        };
        merge(&mut self.kept, &names, self.synced);
        self.read_at = Instant::now();
        Ok(())
    }

    /// Writes the names down, with those that others have written, without those that go.
    async fn write(&mut self, gone: &BTreeSet<String>) -> Result<(), String> {
        for _ in 0..ATTEMPTS {
            let now = SystemTime::now();
            let (before, version) = match self.papers.read(PAPER).await? {
                Some((entries, version)) => (parse(&entries)?, Some(version)),
                None => (BTreeMap::new(), None),
            };
            let mut others = before.clone();
            others.retain(|name, _| !gone.contains(name));
            merge(&mut self.kept, &others, self.synced);
            let names = self.kept.iter();
            let names = names.map(|(name, kept)| (name.clone(), seconds(kept.seen)));
            let names: BTreeMap<String, u64> = names.collect();
            self.read_at = Instant::now();
            if names == before {
                self.synced = now;
                return Ok(());
            }
            let text = serde_json::to_vec(&names).map_err(|error| error.to_string())?;
            if text.len() > LARGEST {
                return Err("there are too many names already".to_owned());
            }
            let entries = Entries::from([(KEY.to_owned(), text)]);
            match self.papers.write(PAPER, &entries, version.as_ref()).await {
                Ok(()) => {
                    self.synced = now;
                    return Ok(());
                }
                Err(NotKept::Changed) => {}
                Err(NotKept::Failed(error)) => return Err(error),
            }
        }
        Err("the list of names is changed by others all the time".to_owned())
    }

    /// Writes down what clients have used, and forgets what they have not.
    async fn tend(&mut self) {
        let now = SystemTime::now();
        for kept in self.kept.values_mut() {
            if kept.used.swap(false, Ordering::Relaxed) {
                kept.seen = now;
            }
        }
        if let Err(error) = self.write(&BTreeSet::new()).await {
            tracing::warn!("the names of certificates on demand are not kept: {error}");
            return;
        }
        let mut gone = BTreeSet::new();
        for (name, kept) in &self.kept {
            if kept.seen + STAYS <= now && self.is_over(name, kept.seen, now).await {
                gone.insert(name.clone());
            }
        }
        if !gone.is_empty() {
            self.kept.retain(|name, _| !gone.contains(name));
            for name in &gone {
                tracing::info!(
                    name,
                    "its certificate is not renewed: no client asks for it"
                );
            }
            if let Err(error) = self.write(&gone).await {
                tracing::warn!("the names of certificates on demand are not kept: {error}");
            }
        }
        self.publish();
    }

    async fn is_over(&self, name: &str, seen: SystemTime, now: SystemTime) -> bool {
        let id = id(&self.namespace, &secret_name(name));
        // What cannot be read is looked at an hour later.
        let Ok(kept) = self.vault.read(&id).await else {
            return false;
        };
        let issued = kept.and_then(|(record, _)| record.issued);
        let validity = issued.and_then(|issued| certs::ca::validity(&issued.chain).ok());
        // Where there is none, nobody could give one for a day.
        validity.is_none_or(|validity| is_unused(validity, seen, now))
    }

    /// Tells the names, if they are others than were told last.
    fn publish(&self) {
        let names = self.kept.iter();
        let names = names.filter(|(name, _)| self.policy.permits(name));
        let names: Names = names
            .map(|(name, kept)| OnDemand {
                host: name.as_str().into(),
                namespace: self.namespace.as_str().into(),
                secret: secret_name(name).into(),
                used: Arc::clone(&kept.used),
            })
            .collect();
        self.names.send_if_modified(|known| {
            let same =
                |(a, b): (&OnDemand, &OnDemand)| a.host == b.host && Arc::ptr_eq(&a.used, &b.used);
            let is_same = known.len() == names.len() && known.iter().zip(&*names).all(same);
            if !is_same {
                *known = names;
            }
            !is_same
        });
    }
}

/// Whether a certificate is about to be renewed, and no client has had it since it was obtained.
fn is_unused(validity: Validity, seen: SystemTime, now: SystemTime) -> bool {
    // Renewal is at two thirds, unless the CA says otherwise.
    let soon = validity.not_before + validity.lifetime().mul_f64(0.6);
    seen < validity.not_before && soon <= now
}

/// Takes over what the paper says: who came since `synced` is not in it yet, who else is not in it
/// has gone.
fn merge(kept: &mut BTreeMap<String, Kept>, paper: &BTreeMap<String, u64>, synced: SystemTime) {
    kept.retain(|name, one| paper.contains_key(name) || one.seen > synced);
    for (name, seen) in paper {
        let seen = UNIX_EPOCH.checked_add(Duration::from_secs(*seen));
        let seen = seen.unwrap_or(UNIX_EPOCH);
        match kept.get_mut(name) {
            Some(one) => one.seen = one.seen.max(seen),
            None => {
                let used = Arc::default();
                kept.insert(name.clone(), Kept { seen, used });
            }
        }
    }
}

fn parse(entries: &Entries) -> Result<BTreeMap<String, u64>, String> {
    let Some(text) = entries.get(KEY) else {
        return Ok(BTreeMap::new());
    };
    serde_json::from_slice(text).map_err(|error| format!("Secret {PAPER} cannot be read: {error}"))
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn what_others_let_in_or_forgot_is_taken_over_and_what_is_new_here_stays() {
        let kept = |seen| Kept {
            seen: at(seen),
            used: Arc::default(),
        };
        let mut all: BTreeMap<String, Kept> = [
            ("forgotten.example", kept(50)),
            ("known.example", kept(50)),
            ("new.example", kept(150)),
        ]
        .map(|(name, kept)| (name.to_owned(), kept))
        .into();
        let paper = [("known.example", 70), ("others.example", 60)];
        let paper = paper.map(|(name, seen)| (name.to_owned(), seen)).into();
        merge(&mut all, &paper, at(100));
        let all = all.iter().map(|(name, kept)| (name.as_str(), kept.seen));
        let expected = [
            ("known.example", at(70)),
            ("new.example", at(150)),
            ("others.example", at(60)),
        ];
        assert_eq!(all.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn only_what_no_client_had_since_its_renewal_is_not_renewed() {
        let validity = Validity {
            not_before: at(1000),
            not_after: at(2000),
        };
        assert!(is_unused(validity, at(900), at(1600)));
        assert!(!is_unused(validity, at(900), at(1500)), "it is not due");
        assert!(!is_unused(validity, at(1100), at(1600)), "it was used");
    }
}
