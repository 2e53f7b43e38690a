//! What is said of Gateway API objects: their conditions, and the status that is made of them.
//!
//! [`render()`] is the one place where a status is made, for the API server, for `/api` and for
//! `narthex check`.
//!
//! Whether something is served by every replica is not known here: a condition `Programmed` that is
//! true says that this configuration serves it. Whoever publishes it waits until that is so
//! everywhere.

mod merge;
mod render;

use std::borrow::Cow;
use std::cmp::Ordering;

use objects::kinds::gateway::ParentReference;
use objects::kinds::{Kind, ObjectKey};
use objects::sorted::Order;

pub use merge::{Pen, Since};
pub use render::{Closed, Gate, render, render_data_plane, without_ours};

/// What is said of one Gateway API object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectStatus {
    /// Which one.
    pub object: ObjectKey,
    /// Its `metadata.generation`, to be the conditions' `observedGeneration`.
    pub generation: i64,
    /// What is said.
    pub status: Status,
}

/// Statuses by the key of their object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByObject {}

impl Order<ObjectStatus> for ByObject {
    type Key<'a> = &'a ObjectKey;

    fn key(status: &ObjectStatus) -> &ObjectKey {
        &status.object
    }

    fn compare(status: &ObjectStatus, key: &&ObjectKey) -> Ordering {
        status.object.cmp(key)
    }
}

/// What is said, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Of a GatewayClass.
    Class {
        /// Of the whole.
        conditions: Box<[Condition]>,
        /// `supportedFeatures`, in alphabetical order.
        features: &'static [&'static str],
    },
    /// Of a Gateway.
    Gateway(GatewayStatus),
    /// Of a ListenerSet.
    ListenerSet {
        /// The Gateway that it adds listeners to.
        gateway: ObjectKey,
        /// Of the whole.
        conditions: Box<[Condition]>,
        /// Of each listener.
        listeners: Box<[ListenerStatus]>,
    },
    /// Of a route, for each parent that is ours; of an XBackend, for each Gateway that leads to it.
    Route(Box<[ParentStatus]>),
    /// Of a policy, for each Gateway that it is in effect for.
    Policy(Box<[ParentStatus]>),
}

impl Status {
    /// Sets since when each condition is so: as `former` has it where that says the same, else
    /// `now`.
    pub(crate) fn date(&mut self, former: Option<&Self>, now: i64) {
        let former = former.map(Self::lists).unwrap_or_default();
        for (name, conditions) in self.lists_mut() {
            let same = former.iter().find(|(other, _)| *other == name);
            let same = same.map(|(_, conditions)| *conditions).unwrap_or_default();
            for condition in conditions {
                let mut same = same.iter();
                let same = same.find(|it| (it.name, it.holds) == (condition.name, condition.holds));
                condition.since = same.map_or(now, |same| same.since);
            }
        }
    }

    /// Every list of conditions, and what it is about.
    pub fn lists(&self) -> Vec<(About<'_>, &[Condition])> {
        match self {
            Self::Class { conditions, .. } => vec![(About::Whole, conditions)],
            Self::Gateway(GatewayStatus {
                conditions,
                listeners,
                ..
            })
            | Self::ListenerSet {
                conditions,
                listeners,
                ..
            } => {
                let listeners = listeners.iter();
                let listeners = listeners.map(|it| (About::Listener(&it.name), &*it.conditions));
                std::iter::once((About::Whole, &**conditions))
                    .chain(listeners)
                    .collect()
            }
            Self::Route(parents) | Self::Policy(parents) => {
                let parents = parents.iter();
                parents
                    .map(|it| (About::Parent(&it.parent), &*it.conditions))
                    .collect()
            }
        }
    }

    fn lists_mut(&mut self) -> Vec<(About<'_>, &mut [Condition])> {
        match self {
            Self::Class { conditions, .. } => vec![(About::Whole, conditions)],
            Self::Gateway(GatewayStatus {
                conditions,
                listeners,
                ..
            })
            | Self::ListenerSet {
                conditions,
                listeners,
                ..
            } => {
                let listeners = listeners.iter_mut();
                let listeners =
                    listeners.map(|it| (About::Listener(&it.name), &mut *it.conditions));
                std::iter::once((About::Whole, &mut **conditions))
                    .chain(listeners)
                    .collect()
            }
            Self::Route(parents) | Self::Policy(parents) => {
                let parents = parents.iter_mut();
                parents
                    .map(|it| (About::Parent(&it.parent), &mut *it.conditions))
                    .collect()
            }
        }
    }
}

/// What a list of conditions is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About<'a> {
    /// The object as a whole.
    Whole,
    /// A listener of it, by name.
    Listener(&'a str),
    /// It, with regard to this one.
    Parent(&'a ParentReference),
}

/// What is said of a Gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayStatus {
    /// Of the whole.
    pub conditions: Box<[Condition]>,
    /// Of each of its own listeners.
    pub listeners: Box<[ListenerStatus]>,
    /// How many ListenerSets are attached to it.
    pub listener_sets: usize,
    /// Where it is served, if that is known here: without a cluster.
    pub addresses: Box<[Box<str>]>,
}

/// What is said of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerStatus {
    /// Its name.
    pub name: Box<str>,
    /// Its port.
    pub port: u16,
    /// The kinds of routes that it takes.
    pub kinds: Box<[Kind]>,
    /// How many routes are attached to it.
    pub attached: usize,
    /// Its conditions.
    pub conditions: Box<[Condition]>,
}

/// What is said of an object with regard to a Gateway or ListenerSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentStatus {
    /// As the object refers to it; of policies, the Gateway.
    pub parent: ParentReference,
    /// What is said.
    pub conditions: Box<[Condition]>,
}

/// One condition (Kubernetes API conventions).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its `type`, as `Accepted`.
    pub name: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// A word for programs.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: Cow<'static, str>,
    /// Since when that is so as far as this process has seen, in seconds since 1970.
    pub since: i64,
}

impl Condition {
    /// Whether it is as it should be; of some conditions, it is not if they hold.
    pub fn is_good(&self) -> bool {
        is_good(self.name, self.holds)
    }

    /// One that holds.
    pub(crate) fn yes(
        name: &'static str,
        reason: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            name,
            holds: true,
            reason,
            message: message.into(),
            since: 0,
        }
    }

    /// One that does not hold.
    pub(crate) fn no(
        name: &'static str,
        reason: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            holds: false,
            ..Self::yes(name, reason, message)
        }
    }

    /// One that holds unless something is wrong.
    pub(crate) fn unless(
        name: &'static str,
        wrong: Option<&Wrong>,
        reason: &'static str,
        message: &'static str,
    ) -> Self {
        match wrong {
            Some(wrong) => Self::no(name, wrong.reason, wrong.message.clone()),
            None => Self::yes(name, reason, message),
        }
    }
}

/// Whether a condition is as it should be: most are if they hold, some if they do not.
pub fn is_good(condition: &str, holds: bool) -> bool {
    holds != matches!(condition, "Conflicted" | "PartiallyInvalid")
}

/// Why something is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// A word for programs.
    pub(crate) reason: &'static str,
    /// A sentence for people.
    pub(crate) message: Cow<'static, str>,
    /// The field that is to blame, for people.
    pub(crate) field: String,
    /// What would be right.
    pub(crate) hint: &'static str,
}

impl Wrong {
    pub(crate) fn new(
        reason: &'static str,
        field: impl Into<String>,
        message: impl Into<Cow<'static, str>>,
        hint: &'static str,
    ) -> Self {
        Self {
            reason,
            message: message.into(),
            field: field.into(),
            hint,
        }
    }
}
