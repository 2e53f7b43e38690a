//! What is said of Gateways, ListenerSets, routes and policies.

use objects::kinds::gateway::{GROUP, ParentReference};
use objects::kinds::{Kind, ObjectKey};
use objects::{Problem, Severity};

use super::attach::{ListenerKey, Parent};
use super::class::FEATURES;
use super::listener::Listener;
use super::route::Resolved;
use super::serve::Ports;
use super::sites::Sites;
use super::tls_policy::Policy;
use super::topology::{Class, Gateway, Owner, Set};
use super::xbackend::Outside;
use crate::name::Name;
use crate::status::{
    Condition, GatewayStatus, ListenerStatus, ObjectStatus, ParentStatus, Status, Wrong,
};

/// What is said of an object: to programs, and to people.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub(super) status: ObjectStatus,
    pub(super) problems: Vec<Problem>,
    /// Whether anything of it is served.
    pub(super) served: bool,
}

impl Said {
    fn new(object: ObjectKey, generation: i64, status: Status, served: bool) -> Self {
        Self {
            status: ObjectStatus {
                object,
                generation,
                status,
            },
            problems: Vec::new(),
            served,
        }
    }

    fn note<'a>(self, wrongs: impl IntoIterator<Item = &'a Wrong>) -> Self {
        self.add(Severity::Error, wrongs)
    }

    fn add<'a>(mut self, severity: Severity, wrongs: impl IntoIterator<Item = &'a Wrong>) -> Self {
        for wrong in wrongs {
            let problem = Problem {
                severity,
                object: Some(self.status.object.clone()),
                field: wrong.field.clone(),
                message: wrong.message.to_string(),
                hint: wrong.hint.to_owned(),
            };
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
        self
    }
}

pub(super) fn of_class(class: &Class) -> Said {
    let metadata = &class.source.metadata;
    let key = ObjectKey::new(Kind::GatewayClass, "", &metadata.name);
    let accepted = Condition::unless(
        "Accepted",
        class.parameters.as_ref().err(),
        "Accepted",
        "Gateways of this class are served",
    );
    let status = Status::Class {
        conditions: [accepted].into(),
        features: FEATURES,
    };
    let wrong = class.parameters.as_ref().err();
    Said::new(key, metadata.generation, status, wrong.is_none()).note(wrong)
}

pub(super) fn of_gateway(gateway: &Gateway, sites: &Sites, ports: &Ports) -> Said {
    let key = ObjectKey::new(Kind::Gateway, &gateway.name.namespace, &gateway.name.name);
    let own = gateway.listeners_of(Owner::Gateway);
    let refused = gateway.refused.as_ref();
    let unbound = unbound(own, ports);
    let accepted = match refused {
        Some(wrong) => Condition::no("Accepted", wrong.reason, wrong.message.clone()),
        None if unbound.is_empty() && own.iter().all(Listener::serves) => {
            Condition::yes("Accepted", "Accepted", "it is served")
        }
        None => {
            let message = "some listeners are not valid, and are not served";
            Condition::yes("Accepted", "ListenersNotValid", message)
        }
    };
    let programmed = match refused {
        Some(_) => Condition::no("Programmed", "Invalid", "it is not accepted"),
        None if !unbound.is_empty() && unbound.len() == own.len() => {
            Condition::no("Programmed", "Pending", "no port of it can be opened")
        }
        None => Condition::yes("Programmed", "Programmed", "it is served by every replica"),
    };
    let resolved = Condition::unless(
        "ResolvedRefs",
        gateway.unresolved.as_ref(),
        "ResolvedRefs",
        "all that it refers to is there",
    );
    let mut conditions = vec![accepted, programmed, resolved];
    if gateway.insecure_clients {
        conditions.push(Condition::yes(
            "InsecureFrontendValidationMode",
            "ConfigurationChanged",
            "clients without a valid certificate are let in where AllowInsecureFallback says so",
        ));
    }
    let attached = gateway.sets.iter().filter(|set| set.refused.is_none());
    let status = Status::Gateway(GatewayStatus {
        conditions: conditions.into(),
        listeners: own
            .iter()
            .map(|one| of_listener(one, sites, ports))
            .collect(),
        listener_sets: attached.count(),
        addresses: gateway.addresses.clone(),
    });
    let listeners = own.iter().flat_map(wrongs_of);
    let generation = gateway.source.metadata.generation;
    let wrongs = refused
        .into_iter()
        .chain(&gateway.unresolved)
        .filter(|wrong| !wrong.reason.starts_with("Listeners"))
        .chain(listeners)
        .chain(&unbound);
    Said::new(key, generation, status, refused.is_none())
        .note(wrongs)
        .add(Severity::Warning, &gateway.remark)
}

pub(super) fn of_set(gateway: &Gateway, set: &Set, sites: &Sites, ports: &Ports) -> Said {
    let metadata = &set.source.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let key = ObjectKey::new(Kind::ListenerSet, namespace, &metadata.name);
    let listeners = &gateway.listeners[set.listeners.clone()];
    let unbound = unbound(listeners, ports);
    let conditions = match &set.refused {
        Some(wrong) => {
            let no = |name| Condition::no(name, wrong.reason, wrong.message.clone());
            [no("Accepted"), no("Programmed")]
        }
        None => {
            let whole = unbound.is_empty() && listeners.iter().all(Listener::serves);
            let accepted = match whole {
                true => Condition::yes("Accepted", "Accepted", "it is served"),
                false => {
                    let message = "some listeners are not valid, and are not served";
                    Condition::yes("Accepted", "ListenersNotValid", message)
                }
            };
            let programmed = match !unbound.is_empty() && unbound.len() == listeners.len() {
                true => Condition::no("Programmed", "Pending", "no port of it can be opened"),
                false => {
                    let message = "it is served by every replica";
                    Condition::yes("Programmed", "Programmed", message)
                }
            };
            [accepted, programmed]
        }
    };
    let status = Status::ListenerSet {
        gateway: ObjectKey::new(Kind::Gateway, &gateway.name.namespace, &gateway.name.name),
        conditions: conditions.into(),
        listeners: listeners
            .iter()
            .map(|one| of_listener(one, sites, ports))
            .collect(),
    };
    let wrongs = listeners.iter().flat_map(wrongs_of);
    Said::new(key, metadata.generation, status, set.refused.is_none())
        .note(set.refused.iter().chain(wrongs).chain(&unbound))
}

/// What of some listeners of one object cannot be opened at present.
fn unbound(listeners: &[Listener], ports: &Ports) -> Vec<Wrong> {
    let listeners = listeners.iter().enumerate();
    let unbound = listeners.filter_map(|(index, listener)| {
        let why = ports.unbound(listener)?;
        let field = format!("spec.listeners[{index}].port");
        Some(unavailable(field, why))
    });
    unbound.collect()
}

/// A port that cannot be opened: it is tried again.
fn unavailable(field: String, why: &str) -> Wrong {
    let message = format!("{why}; it is tried again until it can be opened");
    Wrong::new(
        "PortUnavailable",
        field,
        message,
        "another port, or a free one",
    )
}

fn wrongs_of(listener: &Listener) -> impl Iterator<Item = &Wrong> {
    let all = listener.refused.iter().chain(&listener.unresolved);
    all.chain(&listener.conflict)
}

fn of_listener(listener: &Listener, sites: &Sites, ports: &Ports) -> ListenerStatus {
    let refused = listener.refused.as_ref().or(listener.conflict.as_ref());
    let unbound = ports.unbound(listener);
    let unbound = unbound.map(|why| unavailable(String::new(), why));
    let refused = refused.or(unbound.as_ref());
    let conditions = [
        Condition::unless("Accepted", refused, "Accepted", "it takes routes"),
        match listener.programmed() {
            None if let Some(wrong) = &unbound => {
                Condition::no("Programmed", "Pending", wrong.message.clone())
            }
            None => Condition::yes("Programmed", "Programmed", "it is served by every replica"),
            Some(wrong) => {
                let reason = match listener.conflict.is_some() {
                    true => wrong.reason,
                    false => "Invalid",
                };
                Condition::no("Programmed", reason, wrong.message.clone())
            }
        },
        match &listener.conflict {
            None => Condition::no("Conflicted", "NoConflicts", "it is in no other's way"),
            Some(wrong) => Condition::yes("Conflicted", wrong.reason, wrong.message.clone()),
        },
        Condition::unless(
            "ResolvedRefs",
            listener.unresolved.as_ref(),
            "ResolvedRefs",
            "all that it refers to is there",
        ),
    ];
    let key = ListenerKey {
        owner: listener.owner.clone(),
        name: listener.name.clone(),
    };
    ListenerStatus {
        name: listener.name.clone(),
        port: listener.port,
        kinds: listener.kinds.clone().into(),
        attached: sites.get(&key).map_or(0, super::sites::Site::attached),
        conditions: conditions.into(),
    }
}

pub(super) fn of_route(route: &Resolved, sites: &Sites) -> Said {
    let resolved = || {
        Condition::unless(
            "ResolvedRefs",
            route.unresolved.as_ref(),
            "ResolvedRefs",
            "all that it refers to is there",
        )
    };
    let wrongs: Vec<_> = route
        .parents
        .iter()
        .map(|parent| {
            parent
                .wrong
                .clone()
                .or_else(|| rejected(route, parent, sites))
        })
        .collect();
    let parents = route.parents.iter().zip(&wrongs).map(|(parent, wrong)| {
        let accepted = Condition::unless("Accepted", wrong.as_ref(), "Accepted", "it is served");
        let mut conditions = vec![accepted, resolved()];
        if let Some(wrong) = &route.partial {
            let message = wrong.message.clone();
            conditions.push(Condition::yes("PartiallyInvalid", wrong.reason, message));
        }
        ParentStatus {
            parent: parent.reference.clone(),
            conditions: conditions.into(),
        }
    });
    let status = Status::Route(parents.collect());
    let served = wrongs.iter().any(Option::is_none);
    let others = route.partial.iter().chain(&route.unresolved);
    let wrongs = wrongs.iter().flatten().chain(others);
    Said::new(route.key.clone(), route.generation, status, served).note(wrongs)
}

/// Why no listener of a parent takes a route that could be attached.
fn rejected(route: &Resolved, parent: &Parent, sites: &Sites) -> Option<Wrong> {
    let rejects = |listener| {
        let site = sites.get(listener);
        site.is_some_and(|site| site.rejects(&route.key))
    };
    let mut attachments = parent.attachments.iter();
    attachments.all(|one| rejects(&one.listener)).then(|| {
        Wrong::new(
            "HostnameConflict",
            "spec.hostnames",
            "an older route of the other kind, HTTPRoute or GRPCRoute, has one of its host names",
            "other host names, or rules of one kind for each",
        )
    })
}

/// What is said of a policy, for each Gateway whose routes use a Service that it is about.
pub(super) fn of_policy(policy: &Policy, gateways: &[&Name]) -> Said {
    let generation = policy.generation;
    let served = policy.refused.is_none();
    let wrongs = policy.refused.iter().chain(&policy.unresolved);
    let ancestors = at_gateways(&policy.refused, &policy.unresolved, gateways);
    let status = Status::Policy(ancestors);
    Said::new(policy.key.clone(), generation, status, served).note(wrongs)
}

/// What is said of an XBackend, for each Gateway whose routes lead there.
pub(super) fn of_outside(outside: &Outside, gateways: &[&Name]) -> Said {
    let served = outside.refused.is_none();
    let wrongs = outside.refused.iter().chain(&outside.unresolved);
    let parents = at_gateways(&outside.refused, &outside.unresolved, gateways);
    let status = Status::Route(parents);
    Said::new(outside.key.clone(), outside.generation, status, served).note(wrongs)
}

/// The same for each Gateway.
fn at_gateways(
    refused: &Option<Wrong>,
    unresolved: &Option<Wrong>,
    gateways: &[&Name],
) -> Box<[ParentStatus]> {
    let accepted = Condition::unless("Accepted", refused.as_ref(), "Accepted", "it is in effect");
    let resolved = Condition::unless(
        "ResolvedRefs",
        unresolved.as_ref(),
        "ResolvedRefs",
        "all that it refers to is there",
    );
    let parents = gateways.iter().map(|gateway| ParentStatus {
        parent: ParentReference {
            group: Some(GROUP.into()),
            kind: Some("Gateway".into()),
            namespace: Some((*gateway.namespace).into()),
            name: (*gateway.name).into(),
            ..ParentReference::default()
        },
        conditions: [accepted.clone(), resolved.clone()].into(),
    });
    parents.collect()
}
