//! What is known of what was written: what it was, what failed, and what somebody else changes again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use registry::creds::Hidden;
use tokio::time::Instant;

use super::plan::{Action, Applied};
use super::table::Key;
use super::view::{News, View};
use super::write::Refused;
use crate::again::doubled;

/// The first wait after a write that failed, and the longest.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// How many times in a row an object may be found changed between being seen and being written before that is
/// said: whoever made it may be at it yet.
const MEANWHILE: u32 = 2;

/// How many times an object is written again at once that somebody else changes, or takes away; …
const AT_ONCE: u32 = 5;
/// … with no more than so long between them.
const SOON: Duration = Duration::from_secs(2 * 60);

/// What is known of what was written.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) applied: BTreeMap<Key, Applied>,
    failed: BTreeMap<String, Trouble>,
    contested: BTreeMap<String, Contest>,
    /// Of the objects in `contested`, those that wait, and until when.
    waiting: BTreeMap<String, Instant>,
    /// Whose Secrets were said to be in the way.
    pub(super) said: BTreeSet<Key>,
    /// The Secrets of which it was told in how many namespaces they are.
    pub(super) counted: BTreeSet<String>,
}

#[derive(Debug)]
struct Trouble {
    why: String,
    failures: u32,
    is_said: bool,
    not_before: Instant,
}

/// Writes of an object that changed nothing of what we want of it.
#[derive(Debug)]
struct Contest {
    times: u32,
    last: Instant,
    /// A Secret's.
    content: Option<Hidden>,
}

impl Contest {
    fn not_before(&self) -> Option<Instant> {
        let beyond = self.times.checked_sub(AT_ONCE)?;
        let wait = FIRST.saturating_mul(1 << beyond.min(16)).min(LONGEST);
        Some(self.last + wait)
    }
}

impl Work {
    /// What a watch brought.
    pub(super) fn learn(&mut self, news: News, view: &View) {
        for key in news.gone {
            self.applied.remove(&key);
        }
        if news.is_list {
            // At worst one that is not seen yet is written once more, as it is.
            self.applied.retain(|key, _| view.has_secret(key));
        }
    }

    /// What is to be done now: neither what failed a moment ago, nor what somebody else has just changed again.
    pub(super) fn due(&mut self, actions: Vec<Action>, now: Instant) -> Vec<Action> {
        self.contested
            .retain(|_, contest| now.saturating_duration_since(contest.last) < SOON);
        self.waiting.clear();
        let mut open = BTreeSet::new();
        let mut due = Vec::new();
        for action in actions {
            let object = action.object();
            let failed = self.failed.get(&object).map(|failed| failed.not_before);
            let contest = self.contested.get(&object).and_then(Contest::not_before);
            if let Some(until) = contest.filter(|until| *until > now) {
                self.waiting.insert(object.clone(), until);
            } else if failed.is_none_or(|until| until <= now) {
                due.push(action);
            }
            open.insert(object);
        }
        // What nobody wants to write any more has not failed.
        self.failed
            .retain(|object, failed| failed.not_before > now || open.contains(object));
        due
    }

    /// What became of it.
    pub(super) fn note(
        &mut self,
        action: Action,
        result: Result<Option<String>, Refused>,
        now: Instant,
    ) {
        let object = action.object();
        let refused = match result {
            Ok(version) => {
                self.failed.remove(&object);
                self.contest(&action, object, now);
                if let Action::Apply {
                    key, content, base, ..
                } = action
                    && let Some(version) = version
                {
                    let applied = Applied {
                        content,
                        base,
                        version,
                    };
                    self.applied.insert(key, applied);
                }
                return;
            }
            Err(refused) => refused,
        };
        let last = self.failed.get(&object);
        let failures = last.map_or(0, |failed| failed.failures);
        let was_said = last.is_some_and(|failed| failed.is_said);
        let is_said = was_said || !refused.is_meanwhile || failures >= MEANWHILE;
        if is_said && !was_said {
            tracing::warn!("{object} is not written: {}", refused.why);
        }
        let trouble = Trouble {
            why: refused.why,
            failures: failures.saturating_add(1),
            is_said,
            not_before: now + doubled(FIRST, LONGEST, failures),
        };
        self.failed.insert(object, trouble);
    }

    /// Counts a write that only brought back what was written before.
    fn contest(&mut self, action: &Action, object: String, now: Instant) {
        let written = match action {
            Action::Apply { content, .. } => Some(content.clone()),
            Action::Link { .. } | Action::Delete { .. } => None,
        };
        let contest = self.contested.entry(object.clone()).or_insert(Contest {
            times: 0,
            last: now,
            content: None,
        });
        contest.times = match written.is_none() || contest.content == written {
            true => contest.times.saturating_add(1),
            false => 1,
        };
        contest.last = now;
        contest.content = written.or_else(|| contest.content.take());
        if contest.times == AT_ONCE {
            tracing::warn!("{object} {}", changed());
        }
    }

    /// What could not be written, for people, by the object.
    pub(super) fn problems(&self) -> BTreeMap<String, String> {
        let failed = self.failed.iter();
        let failed = failed.map(|(object, failed)| (object.clone(), failed.why.clone()));
        let waiting = self.waiting.keys();
        let waiting = waiting.map(|object| (object.clone(), changed().to_owned()));
        waiting.chain(failed).collect()
    }

    /// When there is something to be tried again.
    pub(super) fn again(&self) -> Option<Instant> {
        let failed = self.failed.values().map(|failed| failed.not_before);
        failed.chain(self.waiting.values().copied()).min()
    }
}

fn changed() -> &'static str {
    "is changed or taken away by somebody else each time it is written, so that it is written once a minute at most: is \
     there another Narthex with --registry-credentials, or does another tool manage it?"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(content: &str) -> Action {
        Action::Apply {
            key: key(),
            content: Hidden::new(content),
            base: None,
            version: None,
        }
    }

    fn key() -> Key {
        ("a".to_owned(), "s".to_owned())
    }

    fn written(work: &mut Work, content: &str, now: Instant) {
        work.note(apply(content), Ok(Some("5".to_owned())), now);
    }

    #[test]
    fn a_secret_that_went_between_two_watches_is_known_to_be_gone() {
        let mut work = Work::default();
        let view = View::default();
        written(&mut work, "c", Instant::now());
        work.learn(News::default(), &view);
        assert!(work.applied.contains_key(&key()));
        let news = News {
            gone: Vec::new(),
            is_list: true,
        };
        work.learn(news, &view);
        assert!(work.applied.is_empty());
    }

    #[test]
    fn what_somebody_changes_again_and_again_is_written_ever_less_often() {
        let mut work = Work::default();
        let mut now = Instant::now();
        let begun = now;
        let mut writes = 0;
        while now - begun < Duration::from_secs(600) {
            for action in work.due(vec![apply("c")], now) {
                work.note(action, Ok(Some("5".to_owned())), now);
                // Changed, or taken away, which is forgotten.
                work.applied.clear();
                writes += 1;
            }
            now += Duration::from_millis(100);
        }
        assert!((10..25).contains(&writes), "{writes}");
        assert!(work.problems()["Secret a/s"].contains("somebody else"));
        assert!(work.again().is_some());
        // What the provider gives anew is written once its turn is there, and begins anew.
        now += LONGEST;
        assert_eq!(work.due(vec![apply("d")], now).len(), 1);
        written(&mut work, "d", now);
        assert_eq!(work.due(vec![apply("d")], now).len(), 1);
        assert!(work.problems().is_empty());
    }

    #[test]
    fn what_is_refreshed_often_is_written_as_often() {
        let mut work = Work::default();
        let now = Instant::now();
        for content in 0..20 {
            let content = content.to_string();
            assert_eq!(work.due(vec![apply(&content)], now).len(), 1, "{content}");
            written(&mut work, &content, now);
        }
    }

    #[test]
    fn what_was_changed_meanwhile_is_tried_again_before_anything_is_said() {
        let mut work = Work::default();
        let mut now = Instant::now();
        let refused = |is_meanwhile| Refused {
            why: "no".to_owned(),
            is_meanwhile,
        };
        let is_said = |work: &Work| work.failed.values().any(|failed| failed.is_said);
        for said in [false, false, true] {
            work.note(apply("c"), Err(refused(true)), now);
            assert_eq!(is_said(&work), said);
            assert!(work.due(vec![apply("c")], now).is_empty());
            now += LONGEST;
            assert_eq!(work.due(vec![apply("c")], now).len(), 1);
        }
        written(&mut work, "c", now);
        assert!(work.problems().is_empty());
        work.note(apply("c"), Err(refused(false)), now);
        assert!(is_said(&work));
    }
}
