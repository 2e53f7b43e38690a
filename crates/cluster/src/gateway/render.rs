//! What is said of an object ([`compile::status`]), as far as it is so for the cluster.

use compile::status::{self, Closed, ObjectStatus, Pen};
use serde_json::Value;

use super::gate::{Gate, PENDING};
use super::provision::Obstacle;

pub(super) use compile::status::without_ours;

const PROGRAMMED: &str = "Programmed";

/// The fields of a status that are ours, as they are to be. What others wrote into them is still
/// there. `gate` is that of the Gateway, of a ListenerSet that of its Gateway.
pub(super) fn render(wanted: &ObjectStatus, gate: &Gate, present: &Value, pen: Pen<'_>) -> Value {
    let pending = |message| Closed {
        reason: PENDING,
        message,
    };
    let addresses = gate.addresses.iter().map(crate::status::Address::text);
    let gate = status::Gate {
        closed: gate.closed.as_ref().map(|closed| Closed {
            reason: closed.reason,
            message: &closed.message,
        }),
        addresses: Some(addresses.collect()),
        leads: &|port, is_udp| gate.ports.contains(&(port, is_udp)),
        shut: pending("its port does not lead to every replica yet"),
        shut_in_part: pending("not every port of it leads to every replica yet"),
    };
    status::render(wanted, &gate, present, pen)
}

/// The conditions of a Gateway that is to have a data plane of its own, which says all else about it:
/// with what keeps it from being there.
pub(super) fn render_deployment(
    obstacle: Option<&Obstacle>,
    present: &Value,
    pen: Pen<'_>,
) -> Value {
    let missing = obstacle.map(|obstacle| Closed {
        reason: obstacle.reason,
        message: &obstacle.message,
    });
    status::render_data_plane(missing, present, pen)
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

/// What a list has in it; nothing if it is none.
fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use compile::Share;
    use compile::status::{Condition, GatewayStatus, ListenerStatus, Since, Status};
    use objects::kinds::{Kind, ObjectKey};
    use serde_json::json;

    use super::super::gate::Closed;
    use super::*;
    use crate::status::Address;

    const PEN: Pen<'_> = Pen {
        controller: "narthex.dev/gateway",
        generation: 3,
        since: Since::Now("2026-01-02T03:04:05Z"),
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
            since: 0,
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
            since: Since::Now("2027-01-01T00:00:00Z"),
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
