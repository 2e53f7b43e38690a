//! Gateway API's objects with their status, as they were compiled.

use std::sync::Arc;

use admin::view;
use compile::{Compiled, Share};
use compile::status::{
    ByObject, Closed, Gate, GatewayStatus, ObjectStatus, Pen, Since, Status, render,
};
use model::{Entrance, Layer, Snapshot};
use objects::Sorted;
use objects::kinds::{Kind, ObjectKey};
use serde_json::Value;

/// The objects of one configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Objects {
    statuses: Arc<Sorted<ObjectStatus, ByObject>>,
    snapshot: Arc<Snapshot>,
    /// The name that our entries have.
    controller: Box<str>,
    /// What could not be opened.
    unbound: Box<[Entrance]>,
    said_by: SaidBy,
}

/// Whose word a status is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum SaidBy {
    /// Of this process, which is all there is.
    #[default]
    Alone,
    /// Of this process, which is one of several replicas.
    Replica,
}

impl SaidBy {
    fn text(self) -> &'static str {
        match self {
            Self::Alone => "this process",
            Self::Replica => {
                "this replica alone; what the API server has also waits for every live replica and \
                 for the Gateway's Service"
            }
        }
    }
}

impl Objects {
    /// What was compiled, served or not. `unbound` is what could not be opened.
    pub(crate) fn new(
        compiled: &Compiled,
        controller: &str,
        unbound: &[Entrance],
        said_by: SaidBy,
    ) -> Self {
        Self {
            statuses: Arc::clone(&compiled.statuses),
            snapshot: Arc::clone(&compiled.snapshot),
            controller: controller.into(),
            unbound: unbound.into(),
            said_by,
        }
    }

    /// Every one, by kind, namespace and name.
    pub(crate) fn all(&self) -> impl Iterator<Item = view::Object> {
        self.statuses.iter().map(|status| self.view(status))
    }

    /// What is said of one.
    pub(crate) fn get(&self, key: &ObjectKey) -> Option<&ObjectStatus> {
        self.statuses.get(&key).map(|status| &**status)
    }

    /// Whether one is accepted somewhere.
    pub(crate) fn is_accepted(&self, key: &ObjectKey) -> bool {
        let lists = self.get(key).map(|status| status.status.lists());
        let lists = lists.unwrap_or_default().into_iter();
        let mut all = lists.flat_map(|(_, conditions)| conditions);
        all.any(|condition| condition.name == "Accepted" && condition.holds)
    }

    /// Those that are wanted.
    ///
    /// # Errors
    /// What is wrong with the question, for people.
    pub(crate) fn find(&self, wanted: &view::Wanted) -> Result<view::Objects, String> {
        let kind = wanted.kind.as_deref().map(kind).transpose()?;
        let after = wanted.after.as_deref().map(key).transpose()?;
        let is_wanted = |status: &&Arc<ObjectStatus>| {
            let object = &status.object;
            let is = |wanted: &Option<String>, is: &str| {
                wanted.as_deref().is_none_or(|wanted| wanted == is)
            };
            after.as_ref().is_none_or(|after| object > after)
                && kind.is_none_or(|kind| object.kind == kind)
                && is(&wanted.namespace, &object.namespace)
                && is(&wanted.name, &object.name)
        };
        let found: Vec<_> = self.statuses.iter().filter(is_wanted).collect();
        let (now, later) = found.split_at(wanted.limit.min(found.len()));
        let next = now.last().filter(|_| !later.is_empty());
        Ok(view::Objects {
            said_by: self.said_by.text(),
            items: now.iter().map(|status| self.view(status)).collect(),
            remaining: later.len(),
            next: next.map(|status| word(&status.object)),
        })
    }

    fn view(&self, status: &ObjectStatus) -> view::Object {
        let ObjectKey {
            kind,
            namespace,
            name,
        } = &status.object;
        view::Object {
            api_version: kind.api_version(),
            kind: kind.name(),
            metadata: view::Metadata {
                namespace: kind.namespaced().then(|| namespace.to_string()),
                name: name.to_string(),
                generation: status.generation,
            },
            status: self.render(status),
        }
    }

    fn render(&self, status: &ObjectStatus) -> Value {
        // There is nothing of others to be kept.
        let share = Share::ALL;
        let pen = Pen {
            controller: &self.controller,
            generation: status.generation,
            since: Since::Found(&time),
            namespace: &status.object.namespace,
            share: &share,
        };
        let gateway = match &status.status {
            Status::Gateway(gateway) => Some(gateway),
            Status::ListenerSet { gateway, .. } => self.gateway(gateway),
            Status::Class { .. } | Status::Route(_) | Status::Policy(_) => None,
        };
        let (Some(gateway), SaidBy::Alone, false) =
            (gateway, self.said_by, self.unbound.is_empty())
        else {
            return render(status, &Gate::open(), &Value::Null, pen);
        };
        let shut = |message| Closed {
            reason: "PortUnavailable",
            message,
        };
        let gate = Gate {
            leads: &|port, is_udp| !self.is_unbound(gateway, port, is_udp),
            shut: shut("its port cannot be opened: the log says why"),
            shut_in_part: shut("not every port of it can be opened: the log says why"),
            ..Gate::open()
        };
        render(status, &gate, &Value::Null, pen)
    }

    fn gateway(&self, key: &ObjectKey) -> Option<&GatewayStatus> {
        match &self.get(key)?.status {
            Status::Gateway(gateway) => Some(gateway),
            _ => None,
        }
    }

    /// Whether a port of a Gateway could not be opened, on an address that is its own.
    fn is_unbound(&self, gateway: &GatewayStatus, port: u16, is_udp: bool) -> bool {
        let is_its = |entrance: &&Entrance| {
            let address = entrance.address.map(|address| address.to_string());
            let has = |address: String| gateway.addresses.iter().any(|own| **own == *address);
            let listener = self.snapshot.listener(**entrance);
            (entrance.layer == Layer::Udp) == is_udp
                && listener.is_some_and(|listener| listener.public_port == port)
                && address.map_or(gateway.addresses.is_empty(), has)
        };
        self.unbound.iter().any(|entrance| is_its(&entrance))
    }
}

/// `HTTPRoute/shop/web`, to go on after it.
fn word(object: &ObjectKey) -> String {
    let ObjectKey {
        kind,
        namespace,
        name,
    } = object;
    format!("{kind}/{namespace}/{name}")
}

fn key(word: &str) -> Result<ObjectKey, String> {
    let wrong = || format!("after={word} is none of ours: give what `next` says");
    let mut parts = word.splitn(3, '/');
    let mut part = || parts.next().ok_or_else(wrong);
    let (name, namespace) = (part()?, part()?);
    Ok(ObjectKey::new(kind(name)?, namespace, part()?))
}

fn kind(name: &str) -> Result<Kind, String> {
    let kind = Kind::from_name(name).filter(|kind| kind.is_of_gateway_api());
    kind.ok_or_else(|| format!("{name} is no kind of Gateway API, as Gateway or HTTPRoute"))
}

/// As the API has it.
fn time(seconds: i64) -> String {
    cluster::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |at| format!("{at:.0}"))
}
