//! Does what is due: takes what is wanted, orders what is not there or ends soon, keeps it.
//!
//! [`Keeper::turn`] is called with the time, when something is wanted anew and when it said that
//! there is something to do. Any number of replicas may take turns over one vault.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::acme::{Kind, RenewalInfo, Trouble};
use crate::ca::{Issued, KeyKind, Usage, names, validity};
use crate::random::number;
use crate::renew::{Failures, Schedule, ask_again_after, due, try_again};
use crate::vault::{Lock, NotKept, Record, Vault};

/// How long until another look at what cannot be read.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// How long until another look at what somebody else is ordering: a little longer than a Lease
/// lasts, so that of one who died it is seen the second time.
const ELSEWHERE: Duration = Duration::from_secs(25);

/// How often somebody else's edits are made way for.
const ATTEMPTS: usize = 5;

/// A certificate that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Where it is kept: its name in the vault.
    pub id: String,
    /// What is in it.
    pub names: Vec<String>,
    /// Who is to certify it: for the source to understand. Another one certifies anew.
    pub issuer: String,
    /// When it is renewed.
    pub schedule: Schedule,
    /// Its key. Another kind certifies anew.
    pub key: KeyKind,
    /// How long it is to be valid. For an authority of our own, which else takes ninety days; an
    /// ACME server decides itself.
    pub lifetime: Option<Duration>,
    /// What it is for. For an authority of our own.
    pub usage: Usage,
    /// The subject's name. For an authority of our own.
    pub common_name: Option<String>,
    /// The kind of certificate, of those that an ACME server offers; before the issuer's own.
    pub profile: Option<String>,
}

/// Why a source gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setback {
    /// For people.
    pub error: String,
    /// See [`Failures::is_rate_limit`].
    pub is_rate_limit: bool,
    /// See [`Failures::not_before`].
    pub not_before: Option<SystemTime>,
}

impl From<Trouble> for Setback {
    fn from(trouble: Trouble) -> Self {
        Self {
            error: trouble.to_string(),
            is_rate_limit: trouble.kind == Kind::RateLimited,
            not_before: trouble.not_before,
        }
    }
}

/// Where certificates come from.
pub trait Source: Send + Sync + 'static {
    /// Whether a wish can be asked for at all; told at once, so that it does not count as a
    /// failure and whoever mends it does not wait.
    ///
    /// # Errors
    /// Why it cannot, for people.
    fn ready(&self, _wish: &Wish) -> Result<(), String> {
        Ok(())
    }

    /// A number that changes when the issuer of a wish is another one or is asked in another way:
    /// then failures before do not count.
    fn print(&self, _wish: &Wish) -> u64 {
        0
    }

    /// A certificate as wished, to follow the chain `before` if there is one. Until it is
    /// [`Self::settled`] it may be the same one again.
    ///
    /// # Errors
    /// Why there is none.
    fn obtain(
        &self,
        wish: &Wish,
        before: Option<&str>,
    ) -> impl Future<Output = Result<Issued, Setback>> + Send;

    /// What was obtained is kept, or has come too late: nobody goes on with it.
    fn settled(&self, _wish: &Wish) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// When the issuer would like a chain to be renewed; none if it does not tell, or not now.
    fn renewal_info(
        &self,
        wish: &Wish,
        chain: &str,
    ) -> impl Future<Output = Option<RenewalInfo>> + Send;
}

impl<T: Source> Source for Arc<T> {
    fn ready(&self, wish: &Wish) -> Result<(), String> {
        T::ready(self, wish)
    }

    fn print(&self, wish: &Wish) -> u64 {
        T::print(self, wish)
    }

    fn obtain(
        &self,
        wish: &Wish,
        before: Option<&str>,
    ) -> impl Future<Output = Result<Issued, Setback>> + Send {
        T::obtain(self, wish, before)
    }

    fn settled(&self, wish: &Wish) -> impl Future<Output = ()> + Send {
        T::settled(self, wish)
    }

    fn renewal_info(
        &self,
        wish: &Wish,
        chain: &str,
    ) -> impl Future<Output = Option<RenewalInfo>> + Send {
        T::renewal_info(self, wish, chain)
    }
}

/// What became of a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Which wish.
    pub id: String,
    /// What was done.
    pub done: Done,
    /// When there is something to do next.
    pub next: SystemTime,
    /// What went wrong last, here or elsewhere, if nothing went well since; for people.
    pub error: Option<String>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Nothing: it is good, or it is not yet time to try again.
    Nothing,
    /// Somebody else is at it.
    Elsewhere,
    /// There is a new certificate, and it is kept.
    Renewed,
    /// For people. What was there stays.
    Failed(String),
}

/// Sees to it that what is wanted is there.
#[derive(Debug)]
pub struct Keeper<V, L, S> {
    parts: Arc<Parts<V, L, S>>,
}

#[derive(Debug)]
struct Parts<V, L, S> {
    vault: V,
    lock: L,
    source: S,
    /// How many are at work at once.
    places: Semaphore,
    /// What is at work here: a Lease does not keep its own holder out.
    busy: Mutex<HashSet<String>>,
    /// What was obtained and could not be kept so far: nothing is ordered again for that.
    unkept: Mutex<HashMap<String, Record>>,
}

/// What is at work here no longer is when this is dropped.
struct Busy<'a>(&'a Mutex<HashSet<String>>, &'a str);

impl<'a> Busy<'a> {
    /// None if it is at work already.
    fn new(busy: &'a Mutex<HashSet<String>>, id: &'a str) -> Option<Self> {
        // Each change of the set is whole, whoever panicked with it.
        let mut all = busy.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(id.to_owned()).then(|| Self(busy, id))
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(self.1);
    }
}

/// What a record asks for.
enum Todo {
    Wait(SystemTime),
    Ask(Issued),
    Obtain,
}

impl<V: Vault, L: Lock, S: Source> Keeper<V, L, S> {
    /// One that works at no more than `at_once` certificates at the same time, at least one.
    pub fn new(vault: V, lock: L, source: S, at_once: usize) -> Self {
        let places = Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS));
        Self {
            parts: Arc::new(Parts {
                vault,
                lock,
                source,
                places,
                busy: Mutex::default(),
                unkept: Mutex::default(),
            }),
        }
    }

    /// Does what is due now, and tells what became of each wish, in no order. Of two wishes with
    /// one id one finds the other at it. Turns may overlap: one takes as long as its slowest
    /// order, and one that is dropped leaves what it was at.
    pub async fn turn(&self, wishes: Vec<Wish>, now: SystemTime) -> Vec<Outcome> {
        let mut tasks = JoinSet::new();
        for wish in wishes {
            let parts = Arc::clone(&self.parts);
            tasks.spawn(async move {
                // Nobody closes it.
                let _place = parts.places.acquire().await;
                parts.see_to(&wish, None, now).await
            });
        }
        tasks.join_all().await
    }

    /// Obtains one now, whatever its schedule and the failures before say.
    pub async fn renew(&self, wish: &Wish, now: SystemTime) -> Outcome {
        self.parts.see_to(wish, Some(now), now).await
    }
}

impl<V: Vault, L: Lock, S: Source> Parts<V, L, S> {
    /// `asked` is when somebody asked for a new one, if that is why.
    async fn see_to(&self, wish: &Wish, asked: Option<SystemTime>, now: SystemTime) -> Outcome {
        let (done, next, error) = match self.try_to(wish, asked, now).await {
            Ok(outcome) => outcome,
            Err(error) => (Done::Failed(error.clone()), now + LOOK_AGAIN, Some(error)),
        };
        let id = wish.id.clone();
        Outcome {
            id,
            done,
            next,
            error,
        }
    }

    async fn try_to(
        &self,
        wish: &Wish,
        asked: Option<SystemTime>,
        now: SystemTime,
    ) -> Result<(Done, SystemTime, Option<String>), String> {
        let print = print(wish, self.source.print(wish));
        let todo = |record: &Record| todo(wish, print, record, now);
        let (record, _) = self.read(&wish.id).await?;
        let step = todo(&record);
        if let (None, Todo::Wait(until)) = (asked, &step) {
            return Ok((Done::Nothing, *until, record.error));
        }
        if asked.is_some() || matches!(step, Todo::Obtain) {
            self.source.ready(wish)?;
        }
        let elsewhere = (Done::Elsewhere, now + ELSEWHERE, record.error);
        let Some(_busy) = Busy::new(&self.busy, &wish.id) else {
            return Ok(elsewhere);
        };
        let Some(_held) = self.lock.try_lock(&wish.id).await? else {
            return Ok(elsewhere);
        };
        // Whoever had the lock before may have done it.
        let (mut record, version) = self.read(&wish.id).await?;
        let before = record.issued.clone();
        if let Todo::Ask(issued) = todo(&record) {
            let info = self.source.renewal_info(wish, &issued.chain).await;
            let ask_again = info.as_ref().map(|info| info.ask_again);
            record.ask_again = Some(now + ask_again_after(ask_again));
            // A CA that does not answer has not taken back what it said.
            record.window = info.and_then(|info| info.window).or(record.window);
        }
        let is_due = matches!(todo(&record), Todo::Obtain);
        let done = match self.take_unkept(&wish.id, |it| !matches!(todo(it), Todo::Obtain)) {
            Some(unkept) if is_due || asked.is_some() => {
                record = unkept;
                Done::Renewed
            }
            _ if is_due || asked.is_some() => self.obtain(wish, print, &mut record, now).await,
            _ => Done::Nothing,
        };
        let kept = self.keep(wish, &record, version, before.as_ref(), &done);
        let is_kept = kept.await?;
        if done == Done::Renewed {
            self.source.settled(wish).await;
        }
        if !is_kept {
            return Ok(elsewhere);
        }
        let next = match todo(&record) {
            Todo::Wait(until) => until,
            Todo::Ask(_) | Todo::Obtain => now + LOOK_AGAIN,
        };
        Ok((done, next, record.error))
    }

    async fn read(&self, id: &str) -> Result<(Record, Option<V::Version>), String> {
        Ok(match self.vault.read(id).await? {
            Some((record, version)) => (record, Some(version)),
            None => (Record::default(), None),
        })
    }

    /// What could not be kept before, if it still is of use.
    fn take_unkept(&self, id: &str, is_of_use: impl Fn(&Record) -> bool) -> Option<Record> {
        let mut all = self.unkept.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(id).filter(is_of_use)
    }

    /// Whether a record is kept: it is not if somebody else has kept another certificate than
    /// that which was there `before`. An edit beside it, as of a Secret's labels, is made way for.
    async fn keep(
        &self,
        wish: &Wish,
        record: &Record,
        mut version: Option<V::Version>,
        before: Option<&Issued>,
        done: &Done,
    ) -> Result<bool, String> {
        let mut error = "somebody else writes there all the time".to_owned();
        for _ in 0..ATTEMPTS {
            match self.vault.write(&wish.id, record, version.as_ref()).await {
                Ok(()) => return Ok(true),
                Err(NotKept::Changed) => {}
                Err(NotKept::Failed(why)) => {
                    error = why;
                    break;
                }
            }
            match self.read(&wish.id).await {
                Ok((there, now)) if there.issued.is_none() || there.issued.as_ref() == before => {
                    version = now;
                }
                Ok(_) => return Ok(false),
                Err(why) => {
                    error = why;
                    break;
                }
            }
        }
        if *done == Done::Renewed {
            let mut all = self.unkept.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(wish.id.clone(), record.clone());
        }
        Err(error)
    }

    async fn obtain(&self, wish: &Wish, print: u64, record: &mut Record, now: SystemTime) -> Done {
        let before = record.issued.as_ref().map(|issued| issued.chain.as_str());
        match self.source.obtain(wish, before).await {
            Ok(issued) => {
                *record = Record {
                    issued: Some(issued),
                    issuer: Some(wish.issuer.clone()),
                    ..Record::default()
                };
                Done::Renewed
            }
            Err(setback) => {
                let count = failures(record, print).map_or(0, |failures| failures.count);
                record.failures = Some(Failures {
                    count: count.saturating_add(1),
                    last: now,
                    is_rate_limit: setback.is_rate_limit,
                    not_before: setback.not_before,
                    of: Some(print),
                });
                record.error = Some(setback.error.clone());
                Done::Failed(setback.error)
            }
        }
    }
}

/// A number that is another one if something else is wished for, or asked for in another way.
fn print(wish: &Wish, issuer: u64) -> u64 {
    let names = sorted(&wish.names);
    let mut words: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    let issuer = issuer.to_be_bytes();
    words.extend([b"issuer", wish.issuer.as_bytes(), &issuer]);
    words.extend(wish.profile.as_deref().map(str::as_bytes));
    number(&words)
}

/// The failures of a wish; those of another one do not count.
fn failures(record: &Record, print: u64) -> Option<Failures> {
    let is_of_it = |failures: &Failures| failures.of.is_none_or(|of| of == print);
    record.failures.filter(is_of_it)
}

/// What is to be done about a record now.
fn todo(wish: &Wish, print: u64, record: &Record, now: SystemTime) -> Todo {
    let id = wish.id.as_bytes();
    let good = record.issued.as_ref().and_then(|issued| {
        // What cannot be read, has other names or is of another issuer, is as if it were not there.
        let has = names(&issued.chain).ok()?;
        let validity = validity(&issued.chain).ok()?;
        // What came otherwise (an import) is of whom and of what kind its owner likes.
        let is_another = record.issuer.as_ref().is_some_and(|issuer| {
            *issuer != wish.issuer || KeyKind::of(&issued.chain) != Ok(Some(wish.key))
        });
        (has == sorted(&wish.names) && !is_another).then_some((issued, validity))
    });
    let lifetime = good.map(|(_, validity)| validity.lifetime());
    let again = failures(record, print).map(|failures| try_again(id, &failures, lifetime));
    let Some((issued, validity)) = good else {
        return match again {
            Some(again) if now < again => Todo::Wait(again),
            _ => Todo::Obtain,
        };
    };
    if record.ask_again.is_none_or(|ask| ask <= now) {
        return Todo::Ask(issued.clone());
    }
    let due = due(id, validity, record.window, wish.schedule);
    let due = again.map_or(due, |again| due.max(again));
    if due <= now {
        return Todo::Obtain;
    }
    Todo::Wait(record.ask_again.map_or(due, |ask| ask.min(due)))
}

fn sorted(names: &[String]) -> Vec<String> {
    let normal = |name: &String| match name.parse::<std::net::IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => name.to_ascii_lowercase(),
    };
    let mut names: Vec<String> = names.iter().map(normal).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests;
