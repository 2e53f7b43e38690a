//! What is said of an object, as its status: no clock, no network.

use std::net::IpAddr;

use objects::kinds::Kind;
use serde_json::{Value, json};

use super::merge::{DATA_PLANE, Pen, Said, list};
use super::{Condition, GatewayStatus, ListenerStatus, ObjectStatus, Status};

/// The most entries of a route's status.
const PARENTS: usize = 32;

/// The most entries of a policy's status.
const ANCESTORS: usize = 16;

const PROGRAMMED: &str = "Programmed";

/// What of a Gateway the compiler does not know: where it is, and what keeps it from being served.
pub struct Gate<'a> {
    /// What keeps all of it from being programmed.
    pub closed: Option<Closed<'a>>,
    /// The addresses that it has; if none are given, those that the compiler knows of.
    pub addresses: Option<Vec<&'a str>>,
    /// Whether a port of it leads to what serves it; the other one says whether the port is UDP's.
    pub leads: &'a dyn Fn(u16, bool) -> bool,
    /// What is said of a listener whose port does not.
    pub shut: Closed<'a>,
    /// What is said of a Gateway, or ListenerSet, that has such a listener.
    pub shut_in_part: Closed<'a>,
}

/// What keeps something from being programmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed<'a> {
    /// A word for programs.
    pub reason: &'a str,
    /// A sentence for people.
    pub message: &'a str,
}

impl Gate<'_> {
    /// That of what is programmed as soon as it is compiled.
    pub fn open() -> Self {
        const NEVER: Closed<'_> = Closed {
            reason: "",
            message: "",
        };
        Self {
            closed: None,
            addresses: None,
            leads: &|_, _| true,
            shut: NEVER,
            shut_in_part: NEVER,
        }
    }
}

/// The fields of a status that are ours, as they are to be. What others wrote into them is still
/// there. `gate` is that of the Gateway, of a ListenerSet that of its Gateway.
pub fn render(wanted: &ObjectStatus, gate: &Gate<'_>, present: &Value, pen: Pen<'_>) -> Value {
    match &wanted.status {
        Status::Class {
            conditions,
            features,
        } => {
            let said: Vec<_> = conditions.iter().map(Said::from).collect();
            let features = features.iter().map(|name| json!({"name": name}));
            json!({
                "conditions": pen.conditions(&said, &present["conditions"]),
                "supportedFeatures": features.collect::<Value>(),
            })
        }
        Status::Gateway(gateway) => render_gateway(gateway, gate, present, pen),
        Status::ListenerSet {
            conditions,
            listeners,
            ..
        } => json!({
            "conditions": whole(conditions, listeners, gate, present, pen),
            "listeners": render_listeners(listeners, gate, present, pen),
        }),
        Status::Route(parents) => json!({
            "parents": pen.entries("parentRef", parents, &present["parents"], PARENTS),
        }),
        Status::Policy(ancestors) => json!({
            "ancestors": pen.entries("ancestorRef", ancestors, &present["ancestors"], ANCESTORS),
        }),
    }
}

/// The conditions of a Gateway that has a data plane of its own, which says all else about it: with
/// what keeps that from being there.
pub fn render_data_plane(missing: Option<Closed<'_>>, present: &Value, pen: Pen<'_>) -> Value {
    let there = Closed {
        reason: "Deployed",
        message: "it has a Deployment of its own, of which replicas are available",
    };
    let Closed { reason, message } = missing.unwrap_or(there);
    let said = Said {
        name: DATA_PLANE,
        holds: missing.is_none(),
        reason,
        message,
        since: 0,
    };
    json!({"conditions": pen.with(&said, &present["conditions"])})
}

/// What is left of a status of which nothing is ours any more; none if nothing is.
pub fn without_ours(kind: Kind, present: &Value, pen: Pen<'_>) -> Option<Value> {
    let (list, reference) = match kind {
        Kind::BackendTlsPolicy | Kind::XBackendTrafficPolicy => ("ancestors", "ancestorRef"),
        Kind::HttpRoute
        | Kind::GrpcRoute
        | Kind::TlsRoute
        | Kind::TcpRoute
        | Kind::UdpRoute
        | Kind::XBackend => ("parents", "parentRef"),
        _ => return None,
    };
    let present = &present[list];
    let entries = || pen.entries(reference, &[], present, PARENTS);
    pen.has_entry(reference, present)
        .then(|| json!({list: entries()}))
}

fn render_gateway(
    gateway: &GatewayStatus,
    gate: &Gate<'_>,
    present: &Value,
    pen: Pen<'_>,
) -> Value {
    let own = || gateway.addresses.iter().map(|one| &**one).collect();
    let addresses = gate.addresses.clone().unwrap_or_else(own);
    let addresses = addresses.into_iter().map(render_address);
    json!({
        "conditions": whole(&gateway.conditions, &gateway.listeners, gate, present, pen),
        "addresses": addresses.collect::<Value>(),
        "listeners": render_listeners(&gateway.listeners, gate, present, pen),
        "attachedListenerSets": gateway.listener_sets,
    })
}

fn render_address(address: &str) -> Value {
    let kind = match address.parse::<IpAddr>() {
        Ok(_) => "IPAddress",
        Err(_) => "Hostname",
    };
    json!({"type": kind, "value": address})
}

/// The conditions of a Gateway or ListenerSet, which is programmed with the listeners that could be.
fn whole(
    conditions: &[Condition],
    listeners: &[ListenerStatus],
    gate: &Gate<'_>,
    present: &Value,
    pen: Pen<'_>,
) -> Value {
    let is_shut = |listener: &ListenerStatus| {
        let mut conditions = listener.conditions.iter();
        conditions.any(|it| it.name == PROGRAMMED && it.holds) && !is_open(listener, gate)
    };
    let shut = listeners.iter().any(is_shut);
    let said: Vec<_> = conditions
        .iter()
        .map(|condition| match (gate.closed, shut) {
            _ if condition.name != PROGRAMMED || !condition.holds => condition.into(),
            (Some(closed), _) => closed.said(condition),
            (None, true) => gate.shut_in_part.said(condition),
            (None, false) => condition.into(),
        })
        .collect();
    pen.conditions(&said, &present["conditions"])
}

fn render_listeners(
    listeners: &[ListenerStatus],
    gate: &Gate<'_>,
    present: &Value,
    pen: Pen<'_>,
) -> Value {
    let former = list(&present["listeners"]);
    let listeners = listeners.iter().map(|listener| {
        let former = former.iter().find(|it| it["name"] == *listener.name);
        let conditions = former.map_or(&Value::Null, |it| &it["conditions"]);
        let kinds = listener.kinds.iter();
        let kinds = kinds.map(|kind| json!({"group": kind.group(), "kind": kind.name()}));
        let said = listener.conditions.iter().map(|condition| {
            match condition.name == PROGRAMMED && condition.holds && !is_open(listener, gate) {
                true => gate.shut.said(condition),
                false => condition.into(),
            }
        });
        let said: Vec<_> = said.collect();
        json!({
            "name": listener.name,
            "supportedKinds": kinds.collect::<Value>(),
            "attachedRoutes": listener.attached,
            "conditions": pen.conditions(&said, conditions),
        })
    });
    listeners.collect()
}

impl<'a> Closed<'a> {
    /// In the place of a condition that holds as far as the compiler knows.
    fn said(self, condition: &Condition) -> Said<'a> {
        Said {
            name: PROGRAMMED,
            holds: false,
            reason: self.reason,
            message: self.message,
            since: condition.since,
        }
    }
}

/// Whether its port leads here.
fn is_open(listener: &ListenerStatus, gate: &Gate<'_>) -> bool {
    let is_open = |is_udp| (gate.leads)(listener.port, is_udp);
    match &*listener.kinds {
        [] => is_open(false) || is_open(true),
        kinds => is_open(kinds.contains(&Kind::UdpRoute)),
    }
}
