//! How each watch is doing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use objects::kinds::Kind;
use objects::kinds::certificates::GROUP;
use objects::{Problem, Severity};

use super::optional::Offer;
use super::target::Target;

/// How each watch is doing.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    all: BTreeMap<Target, Source>,
    /// What is remarkable about all together.
    remark: Option<Problem>,
    problems_changed: bool,
    offers: BTreeMap<&'static str, Offer>,
    /// APIs of which it is not known yet whether the cluster has them.
    unasked: BTreeSet<&'static str>,
    /// Whether anything was answered that was no failure of the API server's own.
    heard: bool,
}

/// How a watch is doing.
#[derive(Debug)]
struct Source {
    /// Whether what there is was read once.
    synced: bool,
    /// What the API server does not let us do.
    refused: Option<Problem>,
    /// Since when it does not work, and why.
    down: Option<(Instant, String)>,
    last_event: Option<Instant>,
    restarts: u64,
}

/// How the watches of a kind are doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Which kind.
    pub kind: Kind,
    /// How many watches there are.
    pub watches: usize,
    /// How many of them have read what there is, or were told that they may not.
    pub synced: usize,
    /// How many of them work.
    pub connected: usize,
    /// How long ago the last object came or went.
    pub last_event: Option<Duration>,
    /// How often a watch had to begin again after something went wrong.
    pub restarts: u64,
    /// For how long the first of those that do not work has not worked, and why.
    pub down: Option<(Duration, String)>,
}

impl Sources {
    /// A watch begins.
    pub(crate) fn add(&mut self, target: Target) {
        let source = Source {
            synced: false,
            refused: None,
            down: None,
            last_event: None,
            restarts: 0,
        };
        self.all.insert(target, source);
    }

    /// A watch ends.
    pub(crate) fn remove(&mut self, target: &Target) {
        if let Some(Source {
            refused: Some(_), ..
        }) = self.all.remove(target)
        {
            self.problems_changed = true;
        }
    }

    /// What there is was read. For how long the watch did not work, if so.
    pub(crate) fn synced(&mut self, target: &Target) -> Option<Duration> {
        self.all.get_mut(target)?.synced = true;
        self.works(target)
    }

    /// Something was read.
    pub(crate) fn event(&mut self, target: &Target) {
        if let Some(source) = self.all.get_mut(target) {
            source.last_event = Some(Instant::now());
        }
    }

    /// The watch works. For how long it did not, if so.
    pub(crate) fn works(&mut self, target: &Target) -> Option<Duration> {
        self.heard = true;
        let source = self.all.get_mut(target)?;
        self.problems_changed |= source.refused.take().is_some();
        source.down.take().map(|(since, _)| since.elapsed())
    }

    /// The watch does not work. Whether it did so far.
    pub(crate) fn fails(&mut self, target: &Target, why: String) -> bool {
        let Some(source) = self.all.get_mut(target) else {
            return false;
        };
        source.restarts += 1;
        match &mut source.down {
            Some((_, former)) => {
                *former = why;
                false
            }
            down @ None => {
                *down = Some((Instant::now(), why));
                true
            }
        }
    }

    /// The API server does not let us read this.
    pub(crate) fn refused(&mut self, target: &Target, problem: Problem) {
        self.heard = true;
        if let Some(source) = self.all.get_mut(target)
            && source.refused.as_ref() != Some(&problem)
        {
            source.refused = Some(problem);
            self.problems_changed = true;
        }
    }

    /// Something is remarkable about all together, or nothing is.
    pub(crate) fn remark(&mut self, remark: Option<Problem>) {
        if self.remark != remark {
            self.remark = remark;
            self.problems_changed = true;
        }
    }

    /// What the cluster has of an API that it may have or not.
    pub(crate) fn offered(&mut self, offer: Offer) {
        self.unasked.remove(offer.api.group);
        self.offers.insert(offer.api.group, offer);
    }

    /// Before anything can be served, it is to be known whether the cluster has this API.
    pub(crate) fn expect(&mut self, group: &'static str) {
        self.unasked.insert(group);
    }

    /// The APIs that the cluster may have or not, as far as it was asked.
    pub(crate) fn offers(&self) -> Vec<Offer> {
        self.offers.values().cloned().collect()
    }

    /// What is refused or remarkable.
    pub(crate) fn problems(&self) -> impl Iterator<Item = Problem> {
        let refused = self
            .all
            .values()
            .filter_map(|source| source.refused.as_ref());
        refused.chain(&self.remark).cloned()
    }

    pub(crate) fn take_problems_changed(&mut self) -> bool {
        std::mem::take(&mut self.problems_changed)
    }

    /// Whether every watch of many objects has read what there is.
    pub(crate) fn lists_are_in(&self) -> bool {
        let mut lists = self.all.iter().filter(|(target, _)| target.name.is_none());
        self.unasked.is_empty() && lists.all(|(target, source)| source.is_in(target))
    }

    /// Whether every watch of many objects knows what there is now.
    pub(crate) fn are_current(&self) -> bool {
        let mut lists = self.all.iter().filter(|(target, _)| target.name.is_none());
        lists.all(|(target, source)| {
            source.is_in(target) && (source.down.is_none() || !source.synced)
        })
    }

    /// Whether a watch of many objects does not work, and not because it is refused.
    pub(crate) fn is_away(&self) -> bool {
        let mut lists = self.all.iter().filter(|(target, _)| target.name.is_none());
        lists.any(|(target, source)| {
            !source.is_in(target) && source.down.is_some() && source.refused.is_none()
        })
    }

    /// Whether the API server has answered anything.
    pub(crate) fn has_heard(&self) -> bool {
        self.heard
    }

    /// Whether every watch of one object knows whether it is there, or that nobody will tell.
    pub(crate) fn references_are_in(&self) -> bool {
        let mut ones = self.all.iter().filter(|(target, _)| target.name.is_some());
        ones.all(|(target, source)| source.is_in(target))
    }

    /// What is waited for, each kind once, with the reason where there is one.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing: Vec<String> = self.unasked.iter().map(ToString::to_string).collect();
        let mut last = None;
        for (target, source) in &self.all {
            if source.is_in(target) || last == Some(target.kind) {
                continue;
            }
            last = Some(target.kind);
            missing.push(match &source.down {
                Some((_, why)) => format!("{} ({why})", target.kind),
                None => target.kind.to_string(),
            });
        }
        missing
    }

    /// How all are doing, by kind.
    pub(crate) fn conditions(&self) -> Vec<Condition> {
        let mut conditions: BTreeMap<Kind, Condition> = BTreeMap::new();
        for (target, source) in &self.all {
            let condition = conditions.entry(target.kind).or_insert_with(|| Condition {
                kind: target.kind,
                watches: 0,
                synced: 0,
                connected: 0,
                last_event: None,
                restarts: 0,
                down: None,
            });
            condition.watches += 1;
            condition.synced += usize::from(source.is_in(target));
            condition.restarts += source.restarts;
            let ago = source.last_event.map(|at| at.elapsed());
            condition.last_event = match (condition.last_event, ago) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            match &source.down {
                None => condition.connected += 1,
                Some((since, why)) => {
                    let since = since.elapsed();
                    if condition
                        .down
                        .as_ref()
                        .is_none_or(|(other, _)| since > *other)
                    {
                        condition.down = Some((since, why.clone()));
                    }
                }
            }
        }
        conditions.into_values().collect()
    }
}

impl Source {
    /// Whether nothing more is to be waited for: a single object that we may not read is as good
    /// as one that is not there, classes can be told by their name, and who has no right to read
    /// Gateway API is served without it.
    fn is_in(&self, target: &Target) -> bool {
        let can_do_without = target.name.is_some()
            || target.kind == Kind::IngressClass
            || target.kind.is_custom()
            || is_for_listeners(target);
        self.synced || (can_do_without && self.refused.is_some())
    }
}

/// Whether it is of all namespaces, of which listeners' selectors want to know the labels. Those
/// that are selected for the whole of Narthex have labels.
fn is_for_listeners(target: &Target) -> bool {
    target.kind == Kind::Namespace && target.labels.is_none()
}

/// What is said where the API server refuses a watch.
pub(crate) fn refusal(target: &Target, code: u16, said: &str) -> Problem {
    let verbs = match target.name {
        Some(_) => "get, watch",
        None => "list, watch",
    };
    let (severity, effect) = match (&target.name, target.kind) {
        (None, Kind::IngressClass) => (
            Severity::Warning,
            "classes are told by --ingress-class alone",
        ),
        (None, _) if is_for_listeners(target) => (
            Severity::Warning,
            "no listener's selector of namespaces selects any",
        ),
        (None, kind) if kind.group() == GROUP => (
            Severity::Warning,
            "no certificate is obtained for them or by them",
        ),
        (Some(_), _) => (Severity::Error, "it is as if it were not there"),
        (None, _) => (Severity::Error, "nothing is known of them"),
    };
    let message = match code {
        401 => format!("the API server does not know who we are (401), {effect}"),
        _ => format!("may not be read ({code}), {effect}: {said}"),
    };
    Problem {
        severity,
        object: target.key(),
        field: String::new(),
        message: match target.key() {
            Some(_) => message,
            None => format!("{target}: {message}"),
        },
        hint: match code {
            401 => "check the token or client certificate".to_owned(),
            _ => target.rule(verbs),
        },
    }
}
