//! Which listeners a route attaches to, and what is said of each of its parents.

use objects::kinds::gateway::{GROUP, ParentReference};
use objects::kinds::{Kind, ObjectKey};

use super::listener::{Listener, host_key};
use super::topology::{Gateway, Owner, Topology};
use crate::ingress::resolve::World;
use crate::name::NameRef;
use crate::status::Wrong;

/// A listener that a route is attached to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attachment {
    /// The Gateway, by its place in the topology.
    pub(super) gateway: usize,
    /// The Gateway or ListenerSet, and the listener's name.
    pub(super) listener: ListenerKey,
    /// The host names that the route is served for there, as a
    /// [`HostTable`](model::HostTable) spells them.
    pub(super) hosts: Box<[Box<str>]>,
}

/// A listener's name, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ListenerKey {
    pub(super) owner: ObjectKey,
    pub(super) name: Box<str>,
}

/// What came of one `parentRef` that leads to a Gateway of ours.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) reference: ParentReference,
    /// The Gateway, by its place in the topology.
    pub(super) gateway: usize,
    pub(super) wrong: Option<Wrong>,
    pub(super) attachments: Vec<Attachment>,
}

/// What of a route decides where it attaches.
pub(super) struct Asking<'a> {
    pub(super) kind: Kind,
    pub(super) namespace: &'a str,
    /// As it says them.
    pub(super) hostnames: &'a [Box<str>],
    pub(super) parents: &'a [ParentReference],
}

/// Finds the listeners. References to what is not ours are not in the result.
pub(super) fn attach(asking: &Asking<'_>, topology: &Topology, world: &World<'_>) -> Vec<Parent> {
    let hosts: Vec<_> = asking.hostnames.iter().map(|host| host_key(host)).collect();
    let parents = asking.parents.iter().enumerate();
    let parents = parents.filter_map(|(index, reference)| {
        let (gateway, owner) = find(reference, asking.namespace, topology)?;
        let found = taking(asking, reference, &topology.gateways[gateway], owner, world)
            .map(|listeners| attachments(&listeners, &hosts, gateway))
            .and_then(|found| match found.is_empty() {
                true => Err(NO_HOST),
                false => Ok(found),
            });
        let (attachments, wrong) = match found {
            Ok(found) => (found, None),
            Err((reason, message, hint)) => {
                let field = format!("spec.parentRefs[{index}]");
                (Vec::new(), Some(Wrong::new(reason, field, message, hint)))
            }
        };
        Some(Parent {
            reference: reference.clone(),
            gateway,
            wrong,
            attachments,
        })
    });
    parents.collect()
}

/// Why a route does not attach: the condition's reason, what is wrong, and what would be right.
type Why = (&'static str, &'static str, &'static str);

const NO_LISTENER: Why = (
    "NoMatchingParent",
    "no listener has this name and port",
    "sectionName and port of a listener, or neither",
);
const NOT_ALLOWED: Why = (
    "NotAllowedByListeners",
    "no listener takes routes of this kind from this namespace",
    "allowedRoutes of a listener",
);
const NOT_SERVED: Why = (
    "NoMatchingParent",
    "no listener that would take it is accepted",
    "see the conditions of the Gateway's listeners",
);
const NO_HOST: Why = (
    "NoMatchingListenerHostname",
    "no listener is for one of its host names",
    "a host name that a listener is for",
);

/// The Gateway of ours that a reference leads to.
fn find(reference: &ParentReference, own: &str, topology: &Topology) -> Option<(usize, Owner)> {
    if reference.group() != GROUP {
        return None;
    }
    let kind = Kind::from_name(reference.kind())?;
    let name = NameRef {
        namespace: reference.namespace(own),
        name: &reference.name,
    };
    topology.parent(kind, name)
}

/// The listeners that take a route, whatever its host names.
fn taking<'a>(
    asking: &Asking<'_>,
    reference: &ParentReference,
    gateway: &'a Gateway,
    owner: Owner,
    world: &World<'_>,
) -> Result<Vec<&'a Listener>, Why> {
    let named = |listener: &&Listener| {
        let section = reference.section_name.as_deref();
        section.is_none_or(|name| name.is_empty() || *listener.name == *name)
            && reference.port.is_none_or(|port| listener.port == port)
    };
    let takes = |listener: &&Listener| {
        let own = &listener.owner.namespace;
        listener.kinds.contains(&asking.kind)
            && listener.from.take(asking.namespace, own, world.store)
    };
    let mut listeners: Vec<_> = gateway.listeners_of(owner).iter().filter(named).collect();
    if listeners.is_empty() {
        return Err(NO_LISTENER);
    }
    listeners.retain(takes);
    if listeners.is_empty() {
        return Err(NOT_ALLOWED);
    }
    listeners.retain(|listener| listener.serves());
    if listeners.is_empty() || gateway.refused.is_some() {
        return Err(NOT_SERVED);
    }
    Ok(listeners)
}

/// Where listeners and a route have host names in common.
fn attachments(listeners: &[&Listener], hosts: &[Box<str>], gateway: usize) -> Vec<Attachment> {
    let all = listeners.iter().map(|listener| Attachment {
        gateway,
        listener: ListenerKey {
            owner: listener.owner.clone(),
            name: listener.name.clone(),
        },
        hosts: intersect_all(&listener.hostname, hosts),
    });
    all.filter(|one| !one.hosts.is_empty()).collect()
}

/// The host names that both a listener and a route are for.
fn intersect_all(listener: &str, route: &[Box<str>]) -> Box<[Box<str>]> {
    if route.is_empty() {
        return [listener.into()].into();
    }
    let mut hosts: Vec<Box<str>> = route
        .iter()
        .filter_map(|host| intersect(listener, host))
        .map(Into::into)
        .collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts.into()
}

/// The names that both stand for: one of the two, if there are any.
pub(super) fn intersect<'a>(one: &'a str, other: &'a str) -> Option<&'a str> {
    // Whether the first stands for all that the second does.
    let covers = |wide: &str, close: &str| {
        wide.is_empty() || wide == close || (wide.starts_with('.') && close.ends_with(wide))
    };
    if covers(one, other) {
        Some(other)
    } else {
        covers(other, one).then_some(one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closer_name_of_two_is_what_both_stand_for() {
        for (listener, route, both) in [
            ("", "a.example", Some("a.example")),
            ("a.example", "", Some("a.example")),
            ("a.example", "a.example", Some("a.example")),
            ("a.example", "b.example", None),
            (".example", "a.b.example", Some("a.b.example")),
            (".example", "example", None),
            ("a.example", ".example", Some("a.example")),
            (".example", ".b.example", Some(".b.example")),
            (".b.example", ".example", Some(".b.example")),
            (".b.example", ".c.example", None),
            (".example", "an-example", None),
        ] {
            assert_eq!(intersect(listener, route), both, "{listener} {route}");
        }
        assert_eq!(*intersect_all(".example", &[]), [".example".into()]);
    }
}
