//! Asks about the certificates in service, again and again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use certs::ocsp::{Status, Subject, ask};
use model::Certificate;
use proxy::dns::Lookup;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet, yield_now};
use tokio::time::sleep;

use super::InService;
use super::metrics::{Metrics, Outcome};

/// How many questions are asked together, and how many of one responder: one that never answers
/// holds up nobody else's.
const AT_ONCE: usize = 16;
const AT_ONE: usize = 2;

/// How many certificates are asked about.
const MOST: usize = 4096;

/// At least so often the clock is looked at, which somebody may set.
const LONGEST: Duration = Duration::from_secs(60);

/// However long an answer is good, its responder is asked again after that time at the latest: who is
/// revoked is to be known of …
const REFRESH: Duration = Duration::from_secs(24 * 60 * 60);
/// … and however short, not sooner than that.
const SOONEST: Duration = Duration::from_secs(2);

/// After the first failure; doubled with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(10);
const LAST_RETRY: Duration = Duration::from_secs(60 * 60);

/// How many certificates are read before others have a turn: reading one verifies a signature.
const READ_AT_ONCE: usize = 16;

/// Asks about what is served, until nobody tells of it any more.
pub(super) async fn run(mut served: watch::Receiver<InService>, lookup: Lookup, metrics: Metrics) {
    let mut worker = Worker {
        lookup: Arc::new(lookup),
        metrics,
        known: HashMap::new(),
        entries: HashMap::new(),
        tasks: JoinSet::new(),
        under_way: HashMap::new(),
        held: 0,
        too_many: false,
    };
    loop {
        let wait = worker.begin_due(SystemTime::now());
        tokio::select! {
            changed = served.changed() => match changed {
                Ok(()) => {
                    let now = served.borrow_and_update().clone();
                    worker.take(now).await;
                }
                Err(_) => return,
            },
            Some(done) = worker.tasks.join_next_with_id(), if !worker.tasks.is_empty() => {
                let (id, said) = match done {
                    Ok((id, said)) => (id, said),
                    Err(error) => (error.id(), Said::unanswered("a bug where it was asked".into())),
                };
                if let Some(subject) = worker.under_way.remove(&id) {
                    worker.finish(&subject, said, SystemTime::now());
                }
            }
            () = sleep(wait) => {}
        }
    }
}

struct Worker {
    lookup: Arc<Lookup>,
    metrics: Metrics,
    /// Every certificate in service, by address, which is not another's while it is kept; with what
    /// can be asked about it, if anything.
    known: HashMap<usize, Known>,
    entries: HashMap<Arc<Subject>, Entry>,
    tasks: JoinSet<Said>,
    under_way: HashMap<Id, Arc<Subject>>,
    /// How many entries are of certificates in service.
    held: usize,
    /// Whether it was told that there are too many.
    too_many: bool,
}

struct Known {
    /// Kept, so that its address is not used again.
    _certificate: Arc<Certificate>,
    subject: Option<Arc<Subject>>,
}

/// What is known of one certificate, in however many Secrets it is.
struct Entry {
    /// All that are in service.
    holders: Vec<Arc<Certificate>>,
    shown: Option<Shown>,
    /// When it is asked about next.
    next: SystemTime,
    failures: u32,
    /// What was told last: only a change is worth a line.
    told: Option<String>,
}

/// An answer that handshakes show.
struct Shown {
    der: Vec<u8>,
    until: SystemTime,
}

/// What came of a question.
struct Said {
    outcome: Outcome,
    /// What can be shown, or why nothing can.
    answer: Result<Shown, String>,
}

impl Said {
    fn unanswered(why: String) -> Self {
        Self {
            outcome: Outcome::Unanswered,
            answer: Err(why),
        }
    }
}

impl Worker {
    /// Takes over what is served now.
    async fn take(&mut self, mut served: InService) {
        let mut former = std::mem::take(&mut self.known);
        // Where there are too many, those stay that were there.
        served.sort_by_key(|it| !former.contains_key(&Arc::as_ptr(it).addr()));
        self.held = 0;
        for entry in self.entries.values_mut() {
            entry.holders.clear();
        }
        let mut read = 0;
        for certificate in served {
            let at = Arc::as_ptr(&certificate).addr();
            let known = former.remove(&at);
            let is_new = known.is_none();
            let subject = match known {
                Some(known) => known.subject,
                None => {
                    read += 1;
                    if read % READ_AT_ONCE == 0 {
                        yield_now().await;
                    }
                    self.subject(&certificate)
                }
            };
            if let Some(subject) = &subject {
                self.hold(subject, &certificate, is_new);
            }
            let known = Known {
                _certificate: certificate,
                subject,
            };
            self.known.insert(at, known);
        }
        self.entries.retain(|_, entry| !entry.holders.is_empty());
    }

    /// What can be asked about a certificate that is new here.
    fn subject(&self, certificate: &Certificate) -> Option<Arc<Subject>> {
        match Subject::of(&certificate.key.cert) {
            Ok(subject) => {
                let known = self.entries.get_key_value(&subject);
                let known = known.map(|(known, _)| Arc::clone(known));
                Some(known.unwrap_or_else(|| Arc::new(subject)))
            }
            Err(certs::ocsp::NotAsked::NoResponder) if !certificate.staple.is_demanded => None,
            Err(why) => {
                let demanded = demanded(certificate);
                tracing::warn!(certificate = %certificate.source, "not stapled: {why}{demanded}");
                None
            }
        }
    }

    fn hold(&mut self, subject: &Arc<Subject>, certificate: &Arc<Certificate>, is_new: bool) {
        let known = self.entries.get(subject);
        if known.is_none_or(|entry| entry.holders.is_empty()) {
            if self.held >= MOST {
                certificate.set_staple(None);
                if !std::mem::replace(&mut self.too_many, true) {
                    tracing::warn!("no more than {MOST} certificates are stapled: others are not");
                }
                return;
            }
            self.held += 1;
        }
        let entry = self
            .entries
            .entry(Arc::clone(subject))
            .or_insert_with(|| Entry {
                holders: Vec::new(),
                shown: None,
                next: SystemTime::UNIX_EPOCH,
                failures: 0,
                told: None,
            });
        if is_new {
            certificate.set_staple(entry.shown.as_ref().map(|shown| &*shown.der));
        }
        entry.holders.push(Arc::clone(certificate));
    }

    /// Takes away what is out of date, and asks about what is due. How long until there is more to
    /// do.
    fn begin_due(&mut self, now: SystemTime) -> Duration {
        let until = |at: SystemTime| at.duration_since(now).unwrap_or_default();
        let mut wait = LONGEST;
        let mut due = Vec::new();
        let busy: HashSet<Arc<Subject>> = self.under_way.values().cloned().collect();
        for (subject, entry) in &mut self.entries {
            if let Some(shown) = &entry.shown {
                if shown.until <= now {
                    entry.expire();
                } else {
                    wait = wait.min(until(shown.until));
                }
            }
            if busy.contains(subject) {
                continue;
            }
            match entry.next <= now {
                true => due.push((entry.next, Arc::clone(subject))),
                false => wait = wait.min(until(entry.next)),
            }
        }
        due.sort_by_key(|(next, _)| *next);
        let mut responders: HashMap<_, usize> = HashMap::new();
        for subject in &busy {
            *responders.entry(place(subject)).or_default() += 1;
        }
        for (_, subject) in &due {
            // An end of one that is under way is when the others have their turn.
            if self.tasks.len() >= AT_ONCE {
                break;
            }
            let at_one = responders.entry(place(subject)).or_default();
            if *at_one < AT_ONE {
                *at_one += 1;
                let asking = question(Arc::clone(&self.lookup), Arc::clone(subject));
                let task = self.tasks.spawn(asking);
                self.under_way.insert(task.id(), Arc::clone(subject));
            }
        }
        wait
    }

    fn finish(&mut self, subject: &Arc<Subject>, said: Said, now: SystemTime) {
        self.metrics.count(said.outcome);
        // It may be out of service meanwhile.
        let Some(entry) = self.entries.get_mut(subject) else {
            return;
        };
        match said.answer {
            Ok(shown) => entry.show(said.outcome, shown, now),
            Err(why) => entry.fail(&why, now),
        }
    }
}

impl Entry {
    /// Shows an answer from now on.
    fn show(&mut self, outcome: Outcome, shown: Shown, now: SystemTime) {
        for holder in &self.holders {
            holder.set_staple(Some(&shown.der));
        }
        let left = shown.until.duration_since(now).unwrap_or_default();
        self.next = now + jittered((left / 2).min(REFRESH)).max(SOONEST);
        self.failures = 0;
        self.shown = Some(shown);
        match outcome {
            Outcome::Revoked => self.tell(
                "its CA says that it is revoked, which clients are shown: it has to be replaced"
                    .to_owned(),
            ),
            _ if self.told.take().is_some() => {
                tracing::info!(certificate = %self.names(), "stapled: its CA says that it is good");
            }
            _ => {}
        }
    }

    /// Leaves what is shown as it is.
    fn fail(&mut self, why: &str, now: SystemTime) {
        let retry = FIRST_RETRY.saturating_mul(1 << self.failures.min(10));
        self.next = now + jittered(retry.min(LAST_RETRY));
        self.failures = self.failures.saturating_add(1);
        match self.shown {
            Some(_) => self.tell(format!("the OCSP answer is not renewed: {why}")),
            None => {
                let demanded = self.holders.first().map_or("", |holder| demanded(holder));
                self.tell(format!("not stapled: {why}{demanded}"));
            }
        }
    }

    /// Shows nothing any more.
    fn expire(&mut self) {
        self.shown = None;
        for holder in &self.holders {
            holder.set_staple(None);
        }
        let demanded = self.holders.first().map_or("", |holder| demanded(holder));
        self.tell(format!(
            "not stapled any more: the last OCSP answer is out of date{demanded}"
        ));
    }

    fn tell(&mut self, what: String) {
        if self.told.as_ref() != Some(&what) {
            tracing::warn!(certificate = %self.names(), "{what}");
            self.told = Some(what);
        }
    }

    /// Where it comes from, for people.
    fn names(&self) -> String {
        let first = self.holders.first();
        let first = first.map_or("", |holder| &*holder.source);
        match self.holders.len() {
            0 | 1 => first.to_owned(),
            count => format!("{first} and {} more", count - 1),
        }
    }
}

/// Asks about one certificate.
async fn question(lookup: Arc<Lookup>, subject: Arc<Subject>) -> Said {
    let responder = subject.responder();
    let at = |error: String| format!("{responder}: {error}");
    let addresses = lookup.addresses(responder.host(), responder.port()).await;
    let answer = match addresses {
        Ok(addresses) => ask(responder, &addresses, subject.request()).await,
        Err(error) => Err(error),
    };
    let der = match answer {
        Ok(der) => der,
        Err(error) => return Said::unanswered(at(error)),
    };
    let answer = match subject.read(&der, SystemTime::now()) {
        Ok(answer) => answer,
        Err(refused) => {
            return Said {
                outcome: Outcome::Refused,
                answer: Err(at(refused.to_string())),
            };
        }
    };
    let until = answer.until;
    let (outcome, answer) = match answer.status {
        Status::Good => (Outcome::Good, Ok(Shown { der, until })),
        Status::Revoked(_) => (Outcome::Revoked, Ok(Shown { der, until })),
        Status::Unknown => {
            let why = "the responder does not know the certificate".to_owned();
            (Outcome::Unknown, Err(at(why)))
        }
    };
    Said { outcome, answer }
}

/// Who answers, as far as it can be told apart.
fn place(subject: &Subject) -> (String, u16) {
    let responder = subject.responder();
    (responder.host().to_ascii_lowercase(), responder.port())
}

/// What a warning has to add.
fn demanded(certificate: &Certificate) -> &'static str {
    match certificate.staple.is_demanded {
        true => "; the certificate demands it (RFC 7633): clients that know this refuse it",
        false => "",
    }
}

/// Up to a tenth sooner or later, lest all replicas ask at once.
fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.9 + 0.2 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{State, default_certificate};

    fn entry() -> Entry {
        let holder = default_certificate(&State::Memory, SystemTime::now()).expect("made");
        Entry {
            holders: vec![holder],
            shown: None,
            next: SystemTime::UNIX_EPOCH,
            failures: 0,
            told: None,
        }
    }

    fn stapled(entry: &Entry) -> Option<Vec<u8>> {
        entry.holders[0].shown().ocsp.clone()
    }

    fn good_for(time: Duration, now: SystemTime) -> Shown {
        Shown {
            der: b"answer".to_vec(),
            until: now + time,
        }
    }

    #[test]
    fn an_answer_is_renewed_at_half_of_its_life_and_daily() {
        let now = SystemTime::now();
        let minute = Duration::from_secs(60);
        for (life, about) in [
            (100 * minute, 50 * minute),
            (7 * REFRESH, REFRESH),
            (Duration::from_secs(1), SOONEST),
        ] {
            let mut entry = entry();
            entry.show(Outcome::Good, good_for(life, now), now);
            let next = entry.next.duration_since(now).expect("later");
            assert!(
                next >= about.mul_f64(0.89) && next <= about.mul_f64(1.11),
                "{next:?}"
            );
            assert_eq!(stapled(&entry).as_deref(), Some(&b"answer"[..]));
        }
    }

    #[test]
    fn who_does_not_answer_is_asked_ever_more_seldom_and_leaves_what_is_shown() {
        let now = SystemTime::now();
        let mut entry = entry();
        entry.show(Outcome::Good, good_for(REFRESH, now), now);
        let waits = [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600];
        for seconds in waits.map(Duration::from_secs) {
            entry.fail("nobody is there", now);
            let next = entry.next.duration_since(now).expect("later");
            assert!(
                next >= seconds.mul_f64(0.89) && next <= seconds.mul_f64(1.11),
                "{next:?}"
            );
        }
        assert!(stapled(&entry).is_some());
        entry.expire();
        assert!(stapled(&entry).is_none() && entry.shown.is_none());
        // Once it answers, its failures are forgotten.
        entry.show(Outcome::Good, good_for(REFRESH, now), now);
        assert_eq!((entry.failures, entry.told.as_deref()), (0, None));
    }
}
