//! What is said of Gateway API objects: their conditions, as their status shows them.
//!
//! Whether something is served by every replica is not known here: a condition `Programmed` that is
//! true says that this configuration serves it. Whoever publishes it waits until that is so
//! everywhere.

use std::borrow::Cow;
use std::cmp::Ordering;

use objects::kinds::gateway::ParentReference;
use objects::kinds::{Kind, ObjectKey};
use objects::sorted::Order;

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
        /// Of the whole.
        conditions: Box<[Condition]>,
        /// Of each listener.
        listeners: Box<[ListenerStatus]>,
    },
    /// Of a route, for each parent that is ours.
    Route(Box<[ParentStatus]>),
    /// Of a policy, for each Gateway that it is in effect for.
    Policy(Box<[ParentStatus]>),
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
}

impl Condition {
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
