//! What keeps a Gateway from being programmed: no clock, no network.

use std::collections::BTreeSet;

use compile::{GatewayPlan, PlannedPort};
use model::{Entrance, Layer};

use super::provision::Provision;
use crate::status::Address;

/// The most addresses of a Gateway's status.
const ADDRESSES: usize = 16;

/// What is known of one Gateway, beside what is said of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// What it is to be provided with; none if it is not accepted.
    pub(super) plan: Option<&'a GatewayPlan>,
    /// What it is provided with; none without a Service.
    pub(super) provision: Option<&'a Provision>,
    /// Whether every live replica serves it as it is.
    pub(super) is_everywhere: bool,
    /// The ports of ours that could not be opened.
    pub(super) unbound: &'a [Entrance],
    /// Whether it has had the time to get the addresses that it asks for.
    pub(super) had_time: bool,
}

/// What may be said of a Gateway and its listeners.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Gate {
    /// What keeps all of it from being programmed.
    pub(super) closed: Option<Closed>,
    /// The addresses that it has.
    pub(super) addresses: Vec<Address>,
    /// Its ports that lead here.
    pub(super) ports: BTreeSet<(u16, bool)>,
}

/// What keeps something from being programmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Closed {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { reason, message }
    }
}

impl Gate {
    pub(super) fn of(facts: Facts<'_>) -> Self {
        let (Some(plan), provision) = (facts.plan, facts.provision) else {
            return Self::default();
        };
        let mut addresses = provision.map_or_else(Vec::new, |it| it.addresses.clone());
        addresses.truncate(ADDRESSES);
        let leads = |port: &PlannedPort| provision.is_some_and(|it| it.ports.contains(port));
        let is_unbound = |port: &PlannedPort| {
            let mut unbound = facts.unbound.iter();
            unbound.any(|it| (it.port, it.layer) == (port.target, port.layer))
        };
        let is_open = |port: &PlannedPort| facts.is_everywhere && leads(port) && !is_unbound(port);
        let ports = plan.ports.iter().filter(|port| is_open(port));
        Self {
            closed: closed(plan, facts),
            addresses,
            ports: ports.map(|port| (port.port, is_udp(port.layer))).collect(),
        }
    }

    /// Whether it only waits for what comes by itself within moments.
    pub(super) fn is_passing(&self) -> bool {
        match &self.closed {
            Some(closed) => closed.reason == PENDING,
            None => true,
        }
    }
}

/// The reason of what is only a matter of time.
pub(super) const PENDING: &str = "Pending";

fn is_udp(layer: Layer) -> bool {
    layer == Layer::Udp
}

fn closed(plan: &GatewayPlan, facts: Facts<'_>) -> Option<Closed> {
    let Some(provision) = facts.provision else {
        return Some(Closed::new(PENDING, "its Service is not there yet"));
    };
    if let Some(obstacle) = &provision.obstacle {
        return Some(Closed::new(obstacle.reason, &*obstacle.message));
    }
    let has = |text: &&&str| provision.addresses.iter().any(|one| one.text() == **text);
    let asked: Vec<&str> = plan.addresses.iter().map(|one| &**one).collect();
    let missing: Vec<&str> = asked.iter().filter(|it| !has(it)).copied().collect();
    if !missing.is_empty() {
        let message = format!("the Service has not got {}", missing.join(", "));
        return Some(match facts.had_time {
            true => Closed::new("AddressNotUsable", message),
            false => Closed::new("AddressNotAssigned", message),
        });
    }
    if provision.addresses.is_empty() {
        return Some(Closed::new(
            "AddressNotAssigned",
            "its Service has no address: a load balancer gives it one",
        ));
    }
    if !facts.is_everywhere {
        return Some(Closed::new(PENDING, "a live replica does not serve it yet"));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::provision::Obstacle;
    use super::*;

    fn port(port: u16, target: u16) -> PlannedPort {
        PlannedPort {
            port,
            layer: Layer::Tcp,
            target,
        }
    }

    fn plan(addresses: &[&str]) -> GatewayPlan {
        GatewayPlan {
            namespace: "shop".into(),
            name: "web".into(),
            uid: "".into(),
            class: "narthex".into(),
            is_refused: false,
            service: "web-narthex".into(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            addresses: addresses.iter().map(|one| (*one).into()).collect(),
            ports: [port(80, 20000), port(443, 20001)].into(),
        }
    }

    fn provision(addresses: &[&str], ports: &[PlannedPort]) -> Provision {
        Provision {
            addresses: addresses.iter().map(|one| Address::parse(one)).collect(),
            ports: ports.to_vec(),
            obstacle: None,
        }
    }

    fn facts<'a>(plan: &'a GatewayPlan, provision: &'a Provision) -> Facts<'a> {
        Facts {
            plan: Some(plan),
            provision: Some(provision),
            is_everywhere: true,
            unbound: &[],
            had_time: true,
        }
    }

    fn reason(facts: Facts<'_>) -> &'static str {
        Gate::of(facts).closed.map_or("", |closed| closed.reason)
    }

    #[test]
    fn it_is_open_with_a_service_an_address_and_every_replica() {
        let (plan, provision) = (plan(&[]), provision(&["10.1.0.1"], &plan(&[]).ports));
        let all = facts(&plan, &provision);
        let gate = Gate::of(all);
        assert_eq!(gate.closed, None);
        assert_eq!(gate.ports, [(80, false), (443, false)].into());
        let behind = Facts {
            is_everywhere: false,
            ..all
        };
        assert_eq!(reason(behind), "Pending");
        assert!(Gate::of(behind).ports.is_empty());
        let without = Facts {
            provision: None,
            ..all
        };
        assert_eq!(reason(without), "Pending");
        let none = Provision::default();
        assert_eq!(reason(facts(&plan, &none)), "AddressNotAssigned");
        let mut hindered = provision.clone();
        hindered.obstacle = Some(Obstacle {
            reason: "NoResources",
            message: "the quota is used up".to_owned(),
        });
        assert_eq!(reason(facts(&plan, &hindered)), "NoResources");
    }

    #[test]
    fn a_port_is_open_when_the_service_leads_to_it_and_it_listens() {
        let (plan, provision) = (plan(&[]), provision(&["10.1.0.1"], &[port(80, 20000)]));
        let all = facts(&plan, &provision);
        assert_eq!(Gate::of(all).ports, [(80, false)].into());
        let shut = Facts {
            unbound: &[Entrance::tcp(20000)],
            ..all
        };
        assert!(Gate::of(shut).ports.is_empty());
        let other = super::Facts {
            provision: Some(&Provision {
                ports: vec![port(80, 20007)],
                ..provision.clone()
            }),
            ..all
        };
        assert!(Gate::of(other).ports.is_empty());
    }

    #[test]
    fn an_address_that_is_asked_for_is_not_usable_if_it_is_not_given_in_time() {
        let (asks, given) = (plan(&["10.1.0.9"]), provision(&["10.1.0.1"], &[]));
        let late = facts(&asks, &given);
        assert_eq!(reason(late), "AddressNotUsable");
        let early = Facts {
            had_time: false,
            ..late
        };
        assert_eq!(reason(early), "AddressNotAssigned");
        let given = provision(&["10.1.0.9"], &[]);
        assert_eq!(reason(facts(&asks, &given)), "");
        let both = plan(&["10.1.0.9", "192.0.2.1"]);
        assert_eq!(reason(facts(&both, &given)), "AddressNotUsable");
    }
}
