//! Which listeners a route attaches to, and what is said of each of its parents.

use objects::kinds::gateway::{GROUP, ParentReference};
use objects::kinds::{Kind, ObjectKey};

use super::listener::{Listener, host_key};
use super::topology::{Owner, Topology};
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
        let mut parent = Parent {
            reference: reference.clone(),
            gateway,
            wrong: None,
            attachments: Vec::new(),
        };
        let field = format!("spec.parentRefs[{index}]");
        parent.wrong = look(
            asking,
            &hosts,
            topology,
            world,
            owner,
            &field,
            &mut parent.attachments,
            gateway,
            reference,
        );
        Some(parent)
    });
    parents.collect()
}

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

#[expect(clippy::too_many_arguments, reason = "split below")]
fn look(
    asking: &Asking<'_>,
    hosts: &[Box<str>],
    topology: &Topology,
    world: &World<'_>,
    owner: Owner,
    field: &str,
    found: &mut Vec<Attachment>,
    gateway: usize,
    reference: &ParentReference,
) -> Option<Wrong> {
    let state = &topology.gateways[gateway];
    let listeners = state.listeners_of(owner);
    let named = |listener: &&Listener| {
        let section = reference.section_name.as_deref();
        section.is_none_or(|name| name.is_empty() || *listener.name == *name)
            && reference.port.is_none_or(|port| listener.port == port)
    };
    let named: Vec<_> = listeners.iter().filter(named).collect();
    let wrong =
        |reason, message: &str, hint| Some(Wrong::new(reason, field, message.to_owned(), hint));
    if named.is_empty() {
        return wrong(
            "NoMatchingParent",
            "no listener has this name and port",
            "sectionName and port of a listener, or neither",
        );
    }
    let takes = |listener: &&&Listener| {
        listener.kinds.contains(&asking.kind)
            && listener
                .from
                .take(asking.namespace, namespace_of(listener), world.store)
    };
    let taking: Vec<_> = named.iter().filter(takes).collect();
    if taking.is_empty() {
        return wrong(
            "NotAllowedByListeners",
            "no listener takes routes of this kind from this namespace",
            "allowedRoutes of a listener",
        );
    }
    let serving: Vec<_> = taking.into_iter().filter(|one| one.serves()).collect();
    if serving.is_empty() || state.refused.is_some() {
        return wrong(
            "NoMatchingParent",
            "no listener that would take it is accepted",
            "see the conditions of the Gateway's listeners",
        );
    }
    for listener in serving {
        let hosts = intersect_all(&listener.hostname, hosts);
        if !hosts.is_empty() {
            found.push(Attachment {
                gateway,
                listener: ListenerKey {
                    owner: listener.owner.clone(),
                    name: listener.name.clone(),
                },
                hosts,
            });
        }
    }
    if found.is_empty() {
        return wrong(
            "NoMatchingListenerHostname",
            "no listener is for one of its host names",
            "a host name that a listener is for",
        );
    }
    None
}

fn namespace_of(listener: &Listener) -> &str {
    &listener.owner.namespace
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
