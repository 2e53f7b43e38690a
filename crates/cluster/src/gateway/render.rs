//! What is said of an object, as its status: no clock, no network.

use compile::status::{Condition, GatewayStatus, ListenerStatus, ObjectStatus, Status};
use objects::kinds::Kind;
use serde_json::{Value, json};

use super::gate::{Gate, PENDING};
use super::merge::{DATA_PLANE, Pen, Said, list};
use super::provision::Obstacle;
use crate::status::Address;

/// The most entries of a route's status.
const PARENTS: usize = 32;

/// The most entries of a policy's status.
const ANCESTORS: usize = 16;

const PROGRAMMED: &str = "Programmed";

/// The fields of a status that are ours, as they are to be. What others wrote into them is still
/// there. `gate` is that of the Gateway, of a ListenerSet that of its Gateway.
pub(super) fn render(wanted: &ObjectStatus, gate: &Gate, present: &Value, pen: Pen<'_>) -> Value {
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

/// The conditions of a Gateway that is to have a data plane of its own, which says all else about it:
/// with what keeps it from being there.
pub(super) fn render_deployment(
    obstacle: Option<&Obstacle>,
    present: &Value,
    pen: Pen<'_>,
) -> Value {
    let said = match obstacle {
        Some(obstacle) => Said {
            name: DATA_PLANE,
            holds: false,
            reason: obstacle.reason,
            message: &obstacle.message,
        },
        None => Said {
            name: DATA_PLANE,
            holds: true,
            reason: "Deployed",
            message: "it has a Deployment of its own, of which replicas are available",
        },
    };
    json!({"conditions": pen.with(&said, &present["conditions"])})
}

/// What is left of a status of which nothing is ours any more; none if nothing is.
pub(super) fn without_ours(kind: Kind, present: &Value, pen: Pen<'_>) -> Option<Value> {
    let (list, reference) = match kind {
        Kind::BackendTlsPolicy | Kind::XBackendTrafficPolicy => ("ancestors", "ancestorRef"),
        Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute => {
            ("parents", "parentRef")
        }
        _ => return None,
    };
    let present = &present[list];
    let entries = || pen.entries(reference, &[], present, PARENTS);
    pen.has_entry(reference, present)
        .then(|| json!({list: entries()}))
}

/// Whether a status has all fields as they are to be. An empty list is none.
pub(super) fn is_as(present: &Value, rendered: &Value) -> bool {
    let is_empty = |value: &Value| value.is_null() || list(value).is_empty() && value.is_array();
    let fields = rendered.as_object().into_iter().flatten();
    fields.into_iter().all(|(name, value)| {
        let former = &present[name];
        former == value || is_empty(former) && is_empty(value)
    })
}

/// With the numbers of attached routes that it has: what is not about them.
pub(super) fn with_attached_of(mut rendered: Value, present: &Value) -> Value {
    let listeners = rendered["listeners"].as_array_mut();
    for listener in listeners.into_iter().flatten() {
        let mut former = list(&present["listeners"]).iter();
        let former = former.find(|it| it["name"] == listener["name"]);
        if let Some(former) = former {
            listener["attachedRoutes"] = former["attachedRoutes"].clone();
        }
    }
    rendered
}

/// Whether it says that it is programmed.
pub(super) fn is_programmed(status: &Value) -> bool {
    let mut conditions = list(&status["conditions"]).iter();
    conditions.any(|it| it["type"] == PROGRAMMED && it["status"] == "True")
}

fn render_gateway(gateway: &GatewayStatus, gate: &Gate, present: &Value, pen: Pen<'_>) -> Value {
    let addresses = gate.addresses.iter().map(render_address);
    json!({
        "conditions": whole(&gateway.conditions, &gateway.listeners, gate, present, pen),
        "addresses": addresses.collect::<Value>(),
        "listeners": render_listeners(&gateway.listeners, gate, present, pen),
        "attachedListenerSets": gateway.listener_sets,
    })
}

fn render_address(address: &Address) -> Value {
    let kind = match &address.ip {
        Some(_) => "IPAddress",
        None => "Hostname",
    };
    json!({"type": kind, "value": address.text()})
}

/// The conditions of a Gateway or ListenerSet, which is programmed with the listeners that could be.
fn whole(
    conditions: &[Condition],
    listeners: &[ListenerStatus],
    gate: &Gate,
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
        .map(|condition| match (&gate.closed, shut) {
            _ if condition.name != PROGRAMMED || !condition.holds => condition.into(),
            (Some(closed), _) => Said {
                name: PROGRAMMED,
                holds: false,
                reason: closed.reason,
                message: &closed.message,
            },
            (None, true) => Said {
                name: PROGRAMMED,
                holds: false,
                reason: PENDING,
                message: "not every port of it leads to every replica yet",
            },
            (None, false) => condition.into(),
        })
        .collect();
    pen.conditions(&said, &present["conditions"])
}

fn render_listeners(
    listeners: &[ListenerStatus],
    gate: &Gate,
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
                true => Said {
                    name: PROGRAMMED,
                    holds: false,
                    reason: PENDING,
                    message: "its port does not lead to every replica yet",
                },
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

/// Whether its port leads here.
fn is_open(listener: &ListenerStatus, gate: &Gate) -> bool {
    let is_open = |is_udp| gate.ports.contains(&(listener.port, is_udp));
    match &*listener.kinds {
        [] => is_open(false) || is_open(true),
        kinds => is_open(kinds.contains(&Kind::UdpRoute)),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use compile::Share;
    use objects::kinds::ObjectKey;

    use super::super::gate::Closed;
    use super::*;

    const PEN: Pen<'_> = Pen {
        controller: "narthex.dev/gateway",
        generation: 3,
        now: "2026-01-02T03:04:05Z",
        namespace: "shop",
        share: &ALL,
    };

    static ALL: Share = Share::ALL;

    fn programmed(holds: bool) -> Box<[Condition]> {
        let condition = Condition {
            name: PROGRAMMED,
            holds,
            reason: if holds { "Programmed" } else { "Invalid" },
            message: Cow::Borrowed(""),
        };
        [condition].into()
    }

    fn listener(name: &str, port: u16, kind: Kind, holds: bool) -> ListenerStatus {
        ListenerStatus {
            name: name.into(),
            port,
            kinds: [kind].into(),
            attached: 7,
            conditions: programmed(holds),
        }
    }

    fn gateway(listeners: Vec<ListenerStatus>) -> ObjectStatus {
        ObjectStatus {
            object: ObjectKey::new(Kind::Gateway, "shop", "web"),
            generation: 3,
            status: Status::Gateway(GatewayStatus {
                conditions: programmed(true),
                listeners: listeners.into(),
                listener_sets: 2,
                addresses: [].into(),
            }),
        }
    }

    fn open(ports: &[(u16, bool)]) -> Gate {
        Gate {
            closed: None,
            addresses: vec![Address::parse("10.1.0.1"), Address::parse("a.example")],
            ports: ports.iter().copied().collect(),
        }
    }

    fn reason(conditions: &Value) -> &str {
        conditions[0]["reason"].as_str().unwrap_or_default()
    }

    #[test]
    fn a_gateway_is_programmed_with_all_listeners_that_can_be() {
        let both = gateway(vec![
            listener("http", 80, Kind::HttpRoute, true),
            listener("dns", 53, Kind::UdpRoute, true),
            listener("bad", 90, Kind::HttpRoute, false),
        ]);
        let all = render(&both, &open(&[(80, false), (53, true)]), &Value::Null, PEN);
        assert_eq!(reason(&all["conditions"]), "Programmed");
        assert!(is_programmed(&all));
        let reasons: Vec<_> = list(&all["listeners"])
            .iter()
            .map(|it| reason(&it["conditions"]))
            .collect();
        assert_eq!(reasons, ["Programmed", "Programmed", "Invalid"]);
        assert_eq!(all["attachedListenerSets"], 2);
        let addresses = json!([
            {"type": "IPAddress", "value": "10.1.0.1"},
            {"type": "Hostname", "value": "a.example"},
        ]);
        assert_eq!(all["addresses"], addresses);
        let kinds = json!([{"group": "gateway.networking.k8s.io", "kind": "UDPRoute"}]);
        assert_eq!(all["listeners"][1]["supportedKinds"], kinds);

        let one = render(&both, &open(&[(80, false), (53, false)]), &Value::Null, PEN);
        assert_eq!(reason(&one["conditions"]), "Pending");
        assert_eq!(reason(&one["listeners"][0]["conditions"]), "Programmed");
        assert_eq!(reason(&one["listeners"][1]["conditions"]), "Pending");
        assert!(!is_programmed(&one));

        let closed = Gate {
            closed: Some(Closed {
                reason: "AddressNotUsable",
                message: "it is not".to_owned(),
            }),
            ..open(&[(80, false), (53, true)])
        };
        let none = render(&both, &closed, &Value::Null, PEN);
        assert_eq!(reason(&none["conditions"]), "AddressNotUsable");
    }

    #[test]
    fn what_is_as_it_should_be_is_not_written_again() {
        let gateway = gateway(vec![listener("http", 80, Kind::HttpRoute, true)]);
        let gate = open(&[(80, false)]);
        let first = render(&gateway, &gate, &Value::Null, PEN);
        let later = Pen {
            now: "2027-01-01T00:00:00Z",
            ..PEN
        };
        assert!(is_as(&first, &render(&gateway, &gate, &first, later)));
        assert!(!is_as(&Value::Null, &first));
        // The API server may leave out what is empty, and others may add fields.
        assert!(is_as(&json!({"other": 1}), &json!({"addresses": []})));
        assert!(!is_as(
            &json!({"addresses": [1]}),
            &json!({"addresses": []})
        ));
    }

    #[test]
    fn attached_routes_are_told_from_all_else() {
        let gate = open(&[(80, false)]);
        let mut status = gateway(vec![listener("http", 80, Kind::HttpRoute, true)]);
        let first = render(&status, &gate, &Value::Null, PEN);
        let Status::Gateway(of_gateway) = &mut status.status else {
            panic!("a Gateway");
        };
        of_gateway.listeners[0].attached = 8;
        let second = render(&status, &gate, &first, PEN);
        assert!(!is_as(&first, &second));
        assert!(is_as(&first, &with_attached_of(second, &first)));
        let shut = render(&status, &open(&[]), &first, PEN);
        assert!(!is_as(&first, &with_attached_of(shut, &first)));
    }

    #[test]
    fn of_what_is_nobodys_of_ours_our_entries_go() {
        let ours = json!({"controllerName": PEN.controller, "parentRef": {"name": "web"}});
        let theirs = json!({"controllerName": "example.com/a", "parentRef": {"name": "web"}});
        let both = json!({"parents": [ours, theirs]});
        let left = without_ours(Kind::HttpRoute, &both, PEN);
        assert_eq!(left, Some(json!({"parents": [theirs]})));
        assert_eq!(
            without_ours(Kind::HttpRoute, &json!({"parents": [theirs]}), PEN),
            None
        );
        assert_eq!(without_ours(Kind::Gateway, &both, PEN), None);
    }

    #[test]
    fn a_class_names_its_features() {
        let class = ObjectStatus {
            object: ObjectKey::new(Kind::GatewayClass, "", "narthex"),
            generation: 1,
            status: Status::Class {
                conditions: programmed(true),
                features: &["Gateway", "HTTPRoute"],
            },
        };
        let status = render(&class, &Gate::default(), &Value::Null, PEN);
        let features = json!([{"name": "Gateway"}, {"name": "HTTPRoute"}]);
        assert_eq!(status["supportedFeatures"], features);
    }
}
