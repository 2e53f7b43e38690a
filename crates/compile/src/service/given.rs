//! Endpoints that somebody wrote down: the annotation of a Service.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use objects::kinds::Service;

use crate::ingress::annotations::ENDPOINTS;
use crate::report::{Problems, annotation_field};

/// An address that somebody wrote down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) address: SocketAddr,
    /// Its share of the requests.
    pub(super) weight: u16,
}

impl Given {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, weight: 1 }
    }
}

/// The addresses in the Service's annotation, if it has any that can be read. What cannot is
/// left out, and said if somebody listens.
pub(super) fn annotated(service: &Service, mut problems: Option<&mut Problems>) -> Vec<Given> {
    let mut addresses = Vec::new();
    let Some(value) = service.metadata.annotations.get(ENDPOINTS) else {
        return addresses;
    };
    for item in value
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
    {
        if let Some(address) = parse(item) {
            addresses.push(address);
        } else if let Some(problems) = problems.as_deref_mut() {
            problems.error(
                annotation_field(ENDPOINTS),
                format!("{item:?} is no address with a port; it is left out"),
                "10.0.0.1:8080, [2001:db8::1]:8080 or localhost:8080 weight=3",
            );
        }
    }
    addresses
}

fn parse(item: &str) -> Option<Given> {
    let (item, weight) = match item.split_once(char::is_whitespace) {
        Some((item, rest)) => {
            let weight = rest.trim().strip_prefix("weight=")?.parse().ok()?;
            (item, (weight > 0).then_some(weight)?)
        }
        None => (item, 1),
    };
    let address = match item.strip_prefix("localhost:") {
        Some(port) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port.parse().ok()?),
        None => item.parse().ok()?,
    };
    (address.port() != 0).then(|| Given {
        address: canonical(address.ip(), address.port()),
        weight,
    })
}

/// One spelling for an address: IPv4 is IPv4, also where it is written as IPv6.
pub(super) fn canonical(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::service;

    #[test]
    fn addresses_with_ports_are_read_and_the_rest_is_said() {
        let value = "10.0.0.1:80, [::1]:81 ,localhost:82,, [::ffff:10.0.0.2]:83, web:80, 10.0.0.1, 10.0.0.3:0, \
                     10.0.0.4:84  weight=3, 10.0.0.5:85 weight=0, 10.0.0.6:86 heavy";
        let service = service(
            "default",
            "web",
            json!({"metadata": {"annotations": {ENDPOINTS: value}}}),
        );
        let key = objects::kinds::ObjectKey::new(objects::kinds::Kind::Service, "default", "web");
        let mut problems = Problems::of(key);
        let addresses = annotated(&service, Some(&mut problems));
        let addresses: Vec<_> = addresses
            .iter()
            .map(|given| format!("{} {}", given.address, given.weight))
            .collect();
        assert_eq!(
            addresses,
            [
                "10.0.0.1:80 1",
                "[::1]:81 1",
                "127.0.0.1:82 1",
                "10.0.0.2:83 1",
                "10.0.0.4:84 3"
            ]
        );
        assert_eq!(problems.into_shared().len(), 5);
    }
}
