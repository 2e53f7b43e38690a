//! Certificates that look after themselves: what `compile` finds to be wanted is obtained by
//! `certs`, and kept where the next compilation reads it.
//!
//! [`run`] is the loop; where things are kept is [`files`]' or a cluster's; [`book`] is what is
//! told of it.

mod book;
mod cluster_place;
mod command;
mod files;
mod issuers;
mod on_demand;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use certs::acme::{RevocationReason, Solver};
use certs::issuer::Issuers;
use certs::keeper::{Done, Keeper, Outcome, Wish};
use certs::tickets;
use certs::vault::{Lock, NotKept, Papers, Record, Vault};
use cluster::certificates::Happened;
use compile::{CertificateWish, IssuerKey, IssuerPlan};
use model::Challenges;
use objects::kinds::ObjectKey;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::config::TICKETS;

pub(crate) use book::{Book, News};
pub(crate) use cluster_place::in_cluster;
pub(crate) use command::{Asked, Command, run as ask};
pub(crate) use files::{Files, folder};
pub(crate) use on_demand::{Demand, Names, run as decide};

/// How many certificates are worked at together.
const AT_ONCE: usize = 8;

/// How long new wishes wait for cert-manager to say that they are its own, where it may be there.
const CERT_MANAGER: Duration = Duration::from_secs(15);

/// At least so often everything is looked at.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// How long until what was kept by somebody else meanwhile is looked at again.
const AGAIN: Duration = Duration::from_secs(10);

/// What is to be obtained, and what is shown to whoever certifies.
#[derive(Debug, Clone, Default)]
pub(crate) struct Obtaining {
    pub(crate) wishes: Arc<[CertificateWish]>,
    pub(crate) issuers: Arc<BTreeMap<IssuerKey, IssuerPlan>>,
    /// What every worker serves.
    pub(crate) challenges: Arc<Challenges>,
    /// Whether the cluster has cert-manager's kinds, so that it may run there.
    pub(crate) may_have_cert_manager: bool,
}

impl Obtaining {
    /// Whether it is the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.wishes, &other.wishes)
            && Arc::ptr_eq(&self.issuers, &other.issuers)
            && Arc::ptr_eq(&self.challenges, &other.challenges)
            && self.may_have_cert_manager == other.may_have_cert_manager
    }
}

/// The id of a Secret.
pub(crate) fn id(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// Its namespace and name; what has no namespace is our own.
pub(crate) fn split(id: &str) -> (&str, &str) {
    id.split_once('/').unwrap_or((crate::config::NAMESPACE, id))
}

/// Where everything is kept.
pub(crate) trait Place: Send + Sync + 'static {
    /// Keeps certificates.
    type Vault: Vault;
    /// Lets one replica at a time order one.
    type Lock: Lock;
    /// Keeps everything else.
    type Papers: Papers;
    /// Shows CAs what they ask for.
    type Solver: Solver + 'static;

    /// The parts.
    fn parts(&self) -> Parts<Self>;

    /// Publishes whom to trust to trust our own authority.
    fn publish(&self, bundle: &str) -> impl Future<Output = Result<(), String>> + Send;

    /// Tells those who asked for a certificate what became of it.
    fn tell(&self, asked_by: &[ObjectKey], happened: &Happened) -> impl Future<Output = ()> + Send;
}

/// The parts of a place, shared.
pub(crate) struct Parts<P: Place + ?Sized> {
    pub(crate) vault: Arc<P::Vault>,
    pub(crate) lock: Arc<P::Lock>,
    pub(crate) papers: Arc<P::Papers>,
    pub(crate) solver: Arc<P::Solver>,
}

impl Place for files::Shared {
    type Vault = Files;
    type Lock = Files;
    type Papers = Files;
    type Solver = Files;

    fn parts(&self) -> Parts<Self> {
        Parts {
            vault: Self::clone(self),
            lock: Self::clone(self),
            papers: Self::clone(self),
            solver: Self::clone(self),
        }
    }

    async fn publish(&self, bundle: &str) -> Result<(), String> {
        Files::publish(self, bundle)
    }

    /// The log and `narthex certs` say it.
    async fn tell(&self, _: &[ObjectKey], _: &Happened) {}
}

/// Where there is no cluster.
pub(crate) fn in_files(
    folder: &Path,
    present: crate::pipeline::Present,
    obtaining: watch::Receiver<Obtaining>,
) -> files::Shared {
    Arc::new(Files::new(folder.to_owned(), present, obtaining))
}

/// Obtains what is wanted, for as long as it is polled.
pub(crate) async fn run<P: Place>(
    place: P,
    mut obtaining: watch::Receiver<Obtaining>,
    book: Arc<Book>,
    mut commands: mpsc::Receiver<Asked>,
) {
    let parts = place.parts();
    let issuers = Arc::new(Issuers::new(
        Arc::clone(&parts.papers),
        Arc::clone(&parts.solver),
    ));
    let keeper = Keeper::new(
        Arc::clone(&parts.vault),
        Arc::clone(&parts.lock),
        Arc::clone(&issuers),
        AT_ONCE,
    );
    let mut worker = Worker {
        keeper: Arc::new(keeper),
        issuers,
        place: Arc::new(place),
        parts,
        book,
        wishes: BTreeMap::new(),
        next: HashMap::new(),
        under_way: HashSet::new(),
        failures: HashMap::new(),
        tasks: JoinSet::new(),
        plans: Arc::default(),
        tend: SystemTime::UNIX_EPOCH,
    };
    obtaining.mark_changed();
    loop {
        let wait = worker.begin_due(SystemTime::now());
        tokio::select! {
            changed = obtaining.changed() => match changed {
                Ok(()) => {
                    let now = obtaining.borrow_and_update().clone();
                    worker.take(&now);
                }
                Err(_) => return,
            },
            Some(done) = worker.tasks.join_next(), if !worker.tasks.is_empty() => {
                // A bug in one order is not the end of all.
                if let Ok(done) = done {
                    worker.finish(done);
                }
            }
            Some(asked) = commands.recv() => worker.answer(asked),
            () = sleep(wait) => {}
        }
    }
}

/// Tells everybody who asks why nothing is obtained, for as long as it is polled.
pub(crate) async fn refuse(
    mut obtaining: watch::Receiver<Obtaining>,
    book: Arc<Book>,
    why: &'static str,
) {
    obtaining.mark_changed();
    while obtaining.changed().await.is_ok() {
        let wishes = Arc::clone(&obtaining.borrow_and_update().wishes);
        book.wanted(&wishes);
        for wish in &*wishes {
            book.ended(&Outcome {
                id: id(&wish.namespace, &wish.secret),
                done: Done::Nothing,
                next: SystemTime::now() + LONGEST,
                error: Some(why.to_owned()),
            });
        }
    }
}

/// What a task comes to.
enum Ended {
    /// A certificate was looked at.
    Outcome(Outcome),
    /// Keys and authorities were looked at, which is to be done again then.
    Tended(SystemTime),
    /// Nothing more.
    Answered,
}

type IssuersOf<P> = Issuers<Arc<<P as Place>::Papers>, Arc<<P as Place>::Solver>>;
type KeeperOf<P> = Keeper<Arc<<P as Place>::Vault>, Arc<<P as Place>::Lock>, Arc<IssuersOf<P>>>;

/// Somebody at work.
struct Worker<P: Place> {
    keeper: Arc<KeeperOf<P>>,
    issuers: Arc<IssuersOf<P>>,
    place: Arc<P>,
    parts: Parts<P>,
    book: Arc<Book>,
    wishes: BTreeMap<String, Wish>,
    /// When each is looked at next.
    next: HashMap<String, SystemTime>,
    under_way: HashSet<String>,
    /// How often each has failed since it last did not.
    failures: HashMap<String, u32>,
    tasks: JoinSet<Ended>,
    plans: Arc<BTreeMap<IssuerKey, IssuerPlan>>,
    /// When keys and authorities are looked at next.
    tend: SystemTime,
}

impl<P: Place> Worker<P> {
    /// Takes over what is wanted now.
    fn take(&mut self, obtaining: &Obtaining) {
        let now = SystemTime::now();
        if !Arc::ptr_eq(&self.plans, &obtaining.issuers) {
            self.plans = Arc::clone(&obtaining.issuers);
            let all = obtaining.issuers.iter();
            let all = all.map(|(key, plan)| (key.to_string(), issuers::issuer(plan)));
            self.issuers.set(all.collect());
            // Who was refused for an issuer's sake is not made to wait for its mending.
            for next in self.next.values_mut() {
                *next = now;
            }
            self.tend = now;
        }
        let wait = match obtaining.may_have_cert_manager {
            true => CERT_MANAGER,
            false => Duration::ZERO,
        };
        let served = obtaining.wishes.iter();
        let served = served.filter(|wish| {
            let has_name = !wish.names.is_empty() || wish.terms.common_name.is_some();
            !wish.is_of_cert_manager && has_name
        });
        let mut wishes = BTreeMap::new();
        for source in served {
            let wish = issuers::wish(source);
            let id = wish.id.clone();
            match self.wishes.get(&id) {
                None => drop(self.next.insert(id.clone(), now + wait)),
                Some(former) if *former != wish => drop(self.next.insert(id.clone(), now)),
                Some(_) => {}
            }
            wishes.insert(id, wish);
        }
        self.failures.retain(|id, _| wishes.contains_key(id));
        self.next.retain(|id, _| wishes.contains_key(id));
        self.wishes = wishes;
        self.book.wanted(&obtaining.wishes);
    }

    /// Begins what is due. How long until something else is.
    fn begin_due(&mut self, now: SystemTime) -> Duration {
        let mut wait = LONGEST;
        if self.tend <= now {
            self.tend = now + LONGEST;
            self.begin_tending();
        }
        let until = |at: SystemTime| at.duration_since(now).unwrap_or_default();
        wait = wait.min(until(self.tend));
        for (id, wish) in &self.wishes {
            let Some(next) = self.next.get(id).filter(|_| !self.under_way.contains(id)) else {
                continue;
            };
            if *next > now {
                wait = wait.min(until(*next));
                continue;
            }
            self.under_way.insert(id.clone());
            self.book.begun(id);
            let (keeper, wish) = (Arc::clone(&self.keeper), wish.clone());
            self.tasks.spawn(async move {
                let mut outcomes = keeper.turn(vec![wish.clone()], now).await;
                Ended::Outcome(outcomes.pop().unwrap_or_else(|| lost(&wish, now)))
            });
        }
        wait
    }

    fn finish(&mut self, ended: Ended) {
        match ended {
            Ended::Outcome(outcome) => {
                self.under_way.remove(&outcome.id);
                match &outcome.done {
                    Done::Renewed => {
                        tracing::info!(certificate = %outcome.id, "obtained");
                        self.failures.remove(&outcome.id);
                        self.tell(&outcome.id, |wish| {
                            let names = wish.names.join(", ");
                            Happened::Issued(format!(
                                "{} has certified {names}, at {:.0}",
                                wish.issuer,
                                cluster::Timestamp::now()
                            ))
                        });
                    }
                    Done::Failed(error) => {
                        tracing::error!(certificate = %outcome.id, "not obtained: {error}");
                        let times = self.failures.entry(outcome.id.clone()).or_default();
                        *times = times.saturating_add(1);
                        let times = *times;
                        self.tell(&outcome.id, |_| Happened::Failed(error.clone(), times));
                    }
                    Done::Nothing | Done::Elsewhere => {}
                }
                if let Some(next) = self.next.get_mut(&outcome.id) {
                    *next = outcome.next;
                }
                self.book.ended(&outcome);
            }
            Ended::Tended(next) => self.tend = next,
            Ended::Answered => {}
        }
    }

    fn tell(&mut self, id: &str, happened: impl FnOnce(&Wish) -> Happened) {
        let Some(wish) = self.wishes.get(id) else {
            return;
        };
        let (happened, asked_by) = (happened(wish), self.book.asked_by(id));
        let place = Arc::clone(&self.place);
        self.tasks.spawn(async move {
            place.tell(&asked_by, &happened).await;
            Ended::Answered
        });
    }

    /// Rotates session tickets' keys, and renews our own authority.
    fn begin_tending(&mut self) {
        let (papers, issuers) = (Arc::clone(&self.parts.papers), Arc::clone(&self.issuers));
        let place = Arc::clone(&self.place);
        self.tasks.spawn(async move {
            let now = SystemTime::now();
            let mut next = match rotate(&*papers, now).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!("session tickets' keys are not kept: {error}");
                    now + LONGEST
                }
            };
            match issuers.tend(now).await {
                Ok(Some(at)) => next = next.min(at),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!("our own authority is not renewed: {error}");
                    next = next.min(now + Duration::from_secs(60));
                }
            }
            if let Some(bundle) = issuers.internal_bundle()
                && let Err(error) = place.publish(&bundle).await
            {
                tracing::error!("the trust bundle is not published: {error}");
            }
            Ended::Tended(next.max(now + AGAIN))
        });
    }

    /// Does what somebody asked for.
    fn answer(&mut self, asked: Asked) {
        let Asked { command, answer } = asked;
        let Some(wish) = self.wishes.get(command.id()).cloned() else {
            let known: Vec<&str> = self.wishes.keys().map(String::as_str).collect();
            let known = match known.as_slice() {
                [] => "nothing is obtained here".to_owned(),
                known => format!("there is {}", known.join(", ")),
            };
            // Whoever asked may have gone.
            let _ = answer.send(Err(format!("no certificate {:?}: {known}", command.id())));
            return;
        };
        let (keeper, issuers) = (Arc::clone(&self.keeper), Arc::clone(&self.issuers));
        let (vault, book) = (Arc::clone(&self.parts.vault), Arc::clone(&self.book));
        self.next.insert(wish.id.clone(), SystemTime::now() + AGAIN);
        self.tasks.spawn(async move {
            let now = SystemTime::now();
            let said = match command {
                Command::Renew { .. } => {
                    let outcome = keeper.renew(&wish, now).await;
                    book.ended(&outcome);
                    tell(outcome.done)
                }
                Command::Revoke { reason, .. } => {
                    revoke(&*vault, &issuers, &keeper, &wish, reason).await
                }
                Command::Import { issued, .. } => import(&*vault, &wish, issued).await,
                Command::Export { .. } => export(&*vault, &wish.id).await,
            };
            let _ = answer.send(said);
            Ended::Answered
        });
    }
}

fn lost(wish: &Wish, now: SystemTime) -> Outcome {
    Outcome {
        id: wish.id.clone(),
        done: Done::Nothing,
        next: now + LONGEST,
        error: None,
    }
}

fn tell(done: Done) -> Result<String, String> {
    match done {
        Done::Renewed => Ok("obtained".to_owned()),
        Done::Failed(error) => Err(error),
        Done::Elsewhere => Err("another replica is at it".to_owned()),
        Done::Nothing => Ok("there was nothing to do".to_owned()),
    }
}

async fn revoke<V, L, P, S>(
    vault: &V,
    issuers: &Issuers<P, S>,
    keeper: &Keeper<Arc<V>, L, Arc<Issuers<P, S>>>,
    wish: &Wish,
    reason: RevocationReason,
) -> Result<String, String>
where
    V: Vault,
    L: Lock,
    P: Papers,
    S: Solver + 'static,
{
    let kept = vault.read(&wish.id).await?;
    let issued = kept.and_then(|(record, _)| record.issued);
    let issued = issued.ok_or("there is no certificate yet")?;
    let revoked = issuers.revoke(&wish.issuer, &issued.chain, reason).await;
    revoked.map_err(|setback| setback.error)?;
    match tell(keeper.renew(wish, SystemTime::now()).await.done) {
        Ok(_) => Ok("revoked, and replaced".to_owned()),
        Err(error) => Err(format!("revoked, but not replaced: {error}")),
    }
}

async fn import<V: Vault>(
    vault: &V,
    wish: &Wish,
    issued: certs::ca::Issued,
) -> Result<String, String> {
    let kept = vault.read(&wish.id).await?;
    let record = Record {
        issued: Some(issued),
        ..Record::default()
    };
    let version = kept.map(|(_, version)| version);
    match vault.write(&wish.id, &record, version.as_ref()).await {
        Ok(()) => Ok("kept; it is renewed when it is due".to_owned()),
        Err(NotKept::Changed) => Err("somebody else wrote meanwhile: try again".to_owned()),
        Err(NotKept::Failed(error)) => Err(error),
    }
}

async fn export<V: Vault>(vault: &V, id: &str) -> Result<String, String> {
    let kept = vault.read(id).await?;
    let issued = kept.and_then(|(record, _)| record.issued);
    let issued = issued.ok_or("there is no certificate yet")?;
    Ok(issued.chain + &issued.key)
}

/// When there is something to do next.
async fn rotate<P: Papers>(papers: &P, now: SystemTime) -> Result<SystemTime, String> {
    let kept = papers.read(TICKETS).await?;
    let (kept, version) = match kept {
        Some((kept, version)) => (kept, Some(version)),
        None => (BTreeMap::new(), None),
    };
    let Some(rotated) = tickets::rotated(&kept, now) else {
        return Ok(tickets::next(&kept));
    };
    match papers.write(TICKETS, &rotated, version.as_ref()).await {
        Ok(()) => Ok(tickets::next(&rotated)),
        Err(NotKept::Changed) => Ok(now + AGAIN),
        Err(NotKept::Failed(error)) => Err(error),
    }
}
