//! What is to be done about one object's status: no network.

use std::sync::Arc;
use std::time::Duration;

use compile::GatewayPlan;
use compile::status::{ObjectStatus, Pen, Since, Status};
use objects::kinds::{Kind, ObjectKey};
use serde_json::Value;
use tokio::time::Instant;

use super::gate::{Facts, Gate};
use super::provision::{Obstacle, Owner, Provisions};
use super::render::{
    is_as, is_programmed, render, render_deployment, with_attached_of, without_ours,
};
use super::view::{Entry, View};
use super::writer::time;
use crate::publish::Served;
use crate::replicas::Replica;

/// How long a load balancer may take to give the addresses that a Gateway asks for.
const ADDRESSES: Duration = Duration::from_secs(4);

/// How long a Gateway that is programmed is not said to be otherwise while a change of it is on its
/// way to every replica.
const CHANGING: Duration = Duration::from_secs(3);

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Decision {
    /// It is right, or none of our business.
    Leave,
    /// These fields are to be written.
    Write(Value),
    /// These fields are to be written, when it is time: only numbers of attached routes differ.
    Count(Value),
}

/// What is to be done, and when it is to be looked at again.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    pub(super) decision: Decision,
    /// Whether to look again when a replica serves more.
    pub(super) waits: bool,
    /// When to look again, whatever happens.
    pub(super) again: Option<Instant>,
}

impl Verdict {
    fn wait() -> Self {
        Self {
            waits: true,
            ..Self::from(Decision::Leave)
        }
    }
}

impl From<Decision> for Verdict {
    fn from(decision: Decision) -> Self {
        Self {
            decision,
            waits: false,
            again: None,
        }
    }
}

/// What is known at one time.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) served: Arc<Served>,
    pub(super) replicas: Arc<[Replica]>,
    pub(super) provisions: Arc<Provisions>,
}

impl World {
    /// What is to be done about one object.
    pub(super) fn decide(
        &self,
        controller: &str,
        key: &ObjectKey,
        entry: &Entry,
        view: &View,
        now: Instant,
    ) -> Verdict {
        let text = time();
        let pen = Pen {
            controller,
            generation: entry.generation,
            since: Since::Now(&text),
            namespace: &key.namespace,
            share: &self.served.share,
        };
        let Some(wanted) = self.served.statuses.get(&key) else {
            return match self.deployment_of(key) {
                Some(obstacle) => {
                    let present = entry.status();
                    let rendered = render_deployment(obstacle, &present, pen);
                    compare(&present, rendered).into()
                }
                None => self.decide_not_ours(key, entry, pen),
            };
        };
        // What is said is of another one than we see: the other comes soon.
        if wanted.generation != entry.generation {
            return Decision::Leave.into();
        }
        let is_everywhere = self.is_everywhere(wanted, entry, view);
        let gate = match self.gateway_of(wanted) {
            Some(gateway) => self.gate(&gateway, is_everywhere, entry, now),
            None if !is_everywhere && key.kind != Kind::GatewayClass => return Verdict::wait(),
            None => Gate::default(),
        };
        let present = entry.status();
        let mut rendered = render(wanted, &gate, &present, pen);
        // It is served here until its own data plane is.
        if let Some(obstacle) = self.deployment_of(key) {
            let own = render_deployment(obstacle, &rendered, pen);
            rendered["conditions"] = own["conditions"].clone();
        }
        let mut verdict = Verdict {
            decision: compare(&present, rendered),
            waits: !is_everywhere,
            again: None,
        };
        if gate.closed.is_some() && now < entry.seen + ADDRESSES {
            verdict.again = Some(entry.seen + ADDRESSES);
        }
        let Decision::Write(rendered) = &verdict.decision else {
            return verdict;
        };
        let loses = is_programmed(&present) && !is_programmed(rendered) && gate.is_passing();
        if loses && now < entry.seen + CHANGING {
            verdict.again = Some(entry.seen + CHANGING);
            verdict.decision = Decision::Leave;
        }
        verdict
    }

    /// Whether a Gateway is to have a data plane of its own, and what keeps that from being there.
    fn deployment_of(&self, key: &ObjectKey) -> Option<Option<&Obstacle>> {
        if key.kind != Kind::Gateway {
            return None;
        }
        let owner = Owner::new(&key.namespace, &key.name);
        self.provisions.dedicated.get(&owner).map(Option::as_ref)
    }

    /// About one of which nothing is said: what we said once is to go.
    fn decide_not_ours(&self, key: &ObjectKey, entry: &Entry, pen: Pen<'_>) -> Verdict {
        if !entry.mentions(pen.controller) {
            return Decision::Leave.into();
        }
        let Some(rest) = without_ours(key.kind, &entry.status(), pen) else {
            return Decision::Leave.into();
        };
        let position = &self.served.position;
        let is_read = |kind: &Kind| position.knows(*kind);
        let is_judged = position.reaches(key.kind, &key.namespace, entry.since)
            && self.served.kinds.keys().all(is_read);
        match is_judged {
            true => Decision::Write(rest).into(),
            false => Verdict::wait(),
        }
    }

    /// The Gateway without whose Service an object is not programmed.
    fn gateway_of(&self, wanted: &ObjectStatus) -> Option<ObjectKey> {
        match &wanted.status {
            Status::Gateway(_) => Some(wanted.object.clone()),
            Status::ListenerSet { gateway, .. } => Some(gateway.clone()),
            Status::Class { .. } | Status::Route(_) | Status::Policy(_) => None,
        }
    }

    fn gate(&self, gateway: &ObjectKey, is_everywhere: bool, entry: &Entry, now: Instant) -> Gate {
        let owner = Owner::new(&gateway.namespace, &gateway.name);
        Gate::of(Facts {
            plan: plan(&self.served.gateways, &owner),
            provision: self.provisions.services.get(&owner),
            is_everywhere,
            unbound: &self.served.unbound,
            replicas: &self.replicas,
            had_time: now >= entry.seen + ADDRESSES,
        })
    }

    /// Whether every live replica serves an object as we see it, with the Gateways that it is about.
    fn is_everywhere(&self, wanted: &ObjectStatus, entry: &Entry, view: &View) -> bool {
        let key = &wanted.object;
        let mut needed = vec![(key.clone(), entry.since)];
        let mut need = |key: ObjectKey| {
            if let Some(entry) = view.get(&key) {
                needed.push((key, entry.since));
            }
        };
        match &wanted.status {
            Status::ListenerSet { gateway, .. } => need(gateway.clone()),
            Status::Route(parents) | Status::Policy(parents) => {
                for parent in parents.iter().map(|one| &one.parent) {
                    if let Some(kind) = Kind::from_name(parent.kind()) {
                        let namespace = parent.namespace.as_deref().unwrap_or(&key.namespace);
                        need(ObjectKey::new(kind, namespace, &parent.name));
                    }
                }
            }
            Status::Class { .. } | Status::Gateway(_) => {}
        }
        let mut positions = self.replicas.iter().map(|replica| &replica.position);
        positions.all(|position| {
            let mut needed = needed.iter();
            needed.all(|(key, since)| position.reaches(key.kind, &key.namespace, *since))
        })
    }
}

/// What a Gateway is to be provided with.
pub(super) fn plan<'a>(plans: &'a [GatewayPlan], owner: &Owner) -> Option<&'a GatewayPlan> {
    let is_its =
        |plan: &&GatewayPlan| (&plan.namespace, &plan.name) == (&owner.namespace, &owner.name);
    let mut served = plans.iter().filter(|plan| !plan.is_refused);
    served.find(is_its)
}

fn compare(present: &Value, rendered: Value) -> Decision {
    if is_as(present, &rendered) {
        return Decision::Leave;
    }
    let counted = with_attached_of(rendered.clone(), present);
    match is_as(present, &counted) {
        true => Decision::Count(rendered),
        false => Decision::Write(rendered),
    }
}
