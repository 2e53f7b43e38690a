//! The endpoints of a Service port, from EndpointSlices or an Endpoints object.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use model::Unavailable;
use objects::kinds::{
    EndpointConditions, EndpointPort, EndpointSlice, Endpoints, IntOrString, ServicePort,
};

use super::given::{Given, canonical};
use super::locality::{Place, Preference, Standing};
use super::port::protocol;
use crate::ingress::annotations::WEIGHT;

/// Where requests go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    /// Sorted, each once.
    pub(super) addresses: Vec<Address>,
    /// Why there is none.
    pub(super) unavailable: Option<Unavailable>,
}

/// One address to which requests go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) address: SocketAddr,
    /// Its share of the requests.
    pub(super) weight: u16,
    /// How far it is, as [`model::Member`] has it.
    pub(super) distance: u8,
}

impl Addresses {
    pub(super) fn none(why: Unavailable) -> Self {
        Self {
            addresses: Vec::new(),
            unavailable: Some(why),
        }
    }

    /// Those that somebody wrote down.
    pub(super) fn given(given: &[Given]) -> Self {
        let sorted: BTreeMap<_, _> = given
            .iter()
            .map(|given| (given.address, given.weight))
            .collect();
        let addresses = sorted.into_iter().map(|(address, weight)| Address {
            address,
            weight,
            distance: 0,
        });
        Self {
            addresses: addresses.collect(),
            unavailable: None,
        }
    }

    fn found(found: BTreeMap<SocketAddr, Known>, preference: Preference) -> Self {
        let standings: Vec<_> = found.values().map(|known| known.standing).collect();
        let distances = preference.distances(&standings);
        let addresses =
            found
                .into_iter()
                .zip(distances)
                .map(|((address, Known { weight, .. }), distance)| Address {
                    address,
                    weight,
                    distance,
                });
        Self {
            addresses: addresses.collect(),
            unavailable: None,
        }
    }
}

/// What is known of an address.
#[derive(Debug, Clone, Copy)]
struct Known {
    weight: u16,
    standing: Standing,
}

/// Endpoints by whether they take requests.
#[derive(Debug, Default)]
pub(super) struct Found {
    ready: BTreeMap<SocketAddr, Known>,
    /// Being deleted, but still answering.
    draining: BTreeMap<SocketAddr, Known>,
    /// Neither.
    unready: bool,
    /// Whether any slice or subset has the port at all.
    pub(super) has_port: bool,
    /// Whether there is an endpoint at all, on whatever port.
    pub(super) any: bool,
}

impl Found {
    /// What takes requests: the ready ones; where there is none, those that still answer while
    /// they terminate, as kube-proxy does.
    pub(super) fn choose(self, preference: Preference) -> Addresses {
        if !self.ready.is_empty() {
            return Addresses::found(self.ready, preference);
        }
        if !self.draining.is_empty() {
            return Addresses::found(self.draining, preference);
        }
        Addresses::none(match self.unready {
            true => Unavailable::NoReadyEndpoints,
            false => Unavailable::NoEndpoints,
        })
    }

    pub(super) fn add_slice(&mut self, slice: &EndpointSlice, port: &ServicePort, place: &Place) {
        if is_names(slice) {
            return;
        }
        let endpoints = slice.endpoints.as_deref().unwrap_or_default();
        self.any |= !endpoints.is_empty();
        let Some(target) = target(slice.ports.as_deref().unwrap_or_default(), port) else {
            return;
        };
        self.has_port = true;
        let weight = weight(slice).unwrap_or(1);
        for endpoint in endpoints {
            // No meaning is defined for any address but the first.
            let Some(Ok(ip)) = endpoint
                .addresses
                .first()
                .map(|text| text.parse::<IpAddr>())
            else {
                continue;
            };
            let address = canonical(ip, target);
            let standing = place.of(endpoint);
            let known = Known { weight, standing };
            match takes_requests(endpoint.conditions) {
                Takes::Yes => drop(self.ready.insert(address, known)),
                Takes::WhileDraining => drop(self.draining.insert(address, known)),
                Takes::No => self.unready = true,
            }
        }
    }

    pub(super) fn add_endpoints(&mut self, endpoints: &Endpoints, port: &ServicePort) {
        for subset in endpoints.subsets.iter().flatten() {
            let ready = subset.addresses.as_deref().unwrap_or_default();
            let unready = subset.not_ready_addresses.as_deref().unwrap_or_default();
            self.any |= !ready.is_empty() || !unready.is_empty();
            let Some(target) = target(subset.ports.as_deref().unwrap_or_default(), port) else {
                continue;
            };
            self.has_port = true;
            self.unready |= !unready.is_empty();
            let addresses = ready
                .iter()
                .filter_map(|address| address.ip.parse::<IpAddr>().ok());
            let known = Known {
                weight: 1,
                standing: Standing::default(),
            };
            self.ready
                .extend(addresses.map(|ip| (canonical(ip, target), known)));
        }
    }
}

/// Whether a slice lists DNS names, which are not resolved.
pub(super) fn is_names(slice: &EndpointSlice) -> bool {
    slice.address_type == "FQDN"
}

/// The weight that an EndpointSlice's annotation gives each of its endpoints; `None` if it cannot
/// be read.
pub(super) fn weight(slice: &EndpointSlice) -> Option<u16> {
    match slice.metadata.annotations.get(WEIGHT) {
        Some(text) => text.trim().parse().ok().filter(|&weight| weight > 0),
        None => Some(1),
    }
}

/// The port to connect to: that of the same name as the Service's.
fn target(ports: &[EndpointPort], wanted: &ServicePort) -> Option<u16> {
    let name = wanted.name.as_deref().unwrap_or_default();
    let found = ports.iter().find(|port| {
        port.name.as_deref().unwrap_or_default() == name
            && protocol(port.protocol.as_deref()) == protocol(wanted.protocol.as_deref())
    })?;
    // Without a number every port is meant: then the Service says which.
    let port = found.port.unwrap_or(match wanted.target_port {
        Some(IntOrString::Int(number)) => number,
        _ => wanted.port,
    });
    (port != 0).then_some(port)
}

enum Takes {
    Yes,
    WhileDraining,
    No,
}

/// Unknown is ready; unknown `serving` is as `ready`.
fn takes_requests(conditions: EndpointConditions) -> Takes {
    let ready = conditions.ready.unwrap_or(true);
    if ready {
        Takes::Yes
    } else if conditions.serving.unwrap_or(ready) && conditions.terminating.unwrap_or(false) {
        Takes::WhileDraining
    } else {
        Takes::No
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{endpoint_slice, endpoints};

    fn port(name: &str) -> ServicePort {
        ServicePort {
            name: Some(name.into()),
            port: 80,
            ..ServicePort::default()
        }
    }

    fn slice(addresses: Value) -> EndpointSlice {
        endpoint_slice(
            "default",
            "web-1",
            "web",
            json!({
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": 8080}, {"name": "udp", "port": 1, "protocol": "UDP"}],
                "endpoints": addresses
            }),
        )
    }

    fn chosen(slices: &[EndpointSlice], name: &str) -> (Vec<String>, Option<Unavailable>) {
        let mut found = Found::default();
        for slice in slices {
            found.add_slice(slice, &port(name), &Place::default());
        }
        let chosen = found.choose(Preference::default());
        let addresses = chosen.addresses.iter();
        (
            addresses.map(|one| one.address.to_string()).collect(),
            chosen.unavailable,
        )
    }

    #[test]
    fn ready_ones_then_draining_ones() {
        let address =
            |ip: &str, conditions: Value| json!({"addresses": [ip], "conditions": conditions});
        let ready = address("10.0.0.1", json!({}));
        let draining = address(
            "10.0.0.2",
            json!({"ready": false, "serving": true, "terminating": true}),
        );
        let starting = address("10.0.0.3", json!({"ready": false, "serving": false}));
        for (endpoints, addresses, unavailable) in [
            (
                json!([ready, draining, starting, ready]),
                vec!["10.0.0.1:8080"],
                None,
            ),
            (json!([draining, starting]), vec!["10.0.0.2:8080"], None),
            (
                json!([starting]),
                vec![],
                Some(Unavailable::NoReadyEndpoints),
            ),
            (json!([]), vec![], Some(Unavailable::NoEndpoints)),
        ] {
            let addresses = addresses.into_iter().map(str::to_owned).collect();
            assert_eq!(
                chosen(&[slice(endpoints)], "http"),
                (addresses, unavailable)
            );
        }
    }

    #[test]
    fn slices_are_merged_and_ports_matched_by_name_and_protocol() {
        let one = slice(json!([{"addresses": ["10.0.0.1", "10.9.9.9"]}, {"addresses": ["x"]}]));
        let mut two = slice(json!([{"addresses": ["2001:db8::1"]}, {"addresses": ["10.0.0.1"]}]));
        two.address_type = "IPv6".into();
        let mut names = slice(json!([{"addresses": ["web.example"]}]));
        names.address_type = "FQDN".into();
        let all = [one, two, names];
        let expected = vec!["10.0.0.1:8080".to_owned(), "[2001:db8::1]:8080".to_owned()];
        assert_eq!(chosen(&all, "http"), (expected, None));
        assert_eq!(
            chosen(&all, "other"),
            (vec![], Some(Unavailable::NoEndpoints))
        );
        assert_eq!(
            chosen(&all, "udp"),
            (vec![], Some(Unavailable::NoEndpoints))
        );
    }

    #[test]
    fn an_annotation_weighs_the_endpoints_of_a_slice() {
        let mut slice = slice(json!([{"addresses": ["10.0.0.1"]}]));
        for (text, expected) in [("3", Some(3)), (" 1 ", Some(1)), ("0", None), ("x", None)] {
            slice.metadata.annotations = [(WEIGHT, text)].into();
            assert_eq!(weight(&slice), expected, "{text:?}");
        }
        let mut found = Found::default();
        found.add_slice(&slice, &port("http"), &Place::default());
        assert_eq!(found.choose(Preference::default()).addresses[0].weight, 1);
    }

    #[test]
    fn endpoints_objects_give_their_ready_addresses() {
        let object = endpoints(
            "default",
            "web",
            json!({"subsets": [
                {"addresses": [{"ip": "10.0.0.1"}], "notReadyAddresses": [{"ip": "10.0.0.2"}],
                 "ports": [{"name": "http", "port": 81}]},
                {"addresses": [{"ip": "10.0.0.3"}], "ports": [{"name": "other", "port": 82}]}
            ]}),
        );
        let mut found = Found::default();
        found.add_endpoints(&object, &port("http"));
        let given = Given::new("10.0.0.1:81".parse().expect("an address"));
        assert_eq!(
            found.choose(Preference::default()),
            Addresses::given(&[given])
        );
    }
}
