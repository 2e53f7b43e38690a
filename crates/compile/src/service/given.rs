//! Endpoints that somebody wrote down: the annotation of a Service.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use objects::kinds::Service;

use crate::ingress::annotations::ENDPOINTS;
use crate::report::{Problems, annotation_field};

/// The addresses in the Service's annotation, if it has any that can be read. What cannot is
/// left out, and said if somebody listens.
pub(super) fn annotated(service: &Service, mut problems: Option<&mut Problems>) -> Vec<SocketAddr> {
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
                "10.0.0.1:8080, [2001:db8::1]:8080 or localhost:8080",
            );
        }
    }
    addresses
}

fn parse(item: &str) -> Option<SocketAddr> {
    let address = match item.strip_prefix("localhost:") {
        Some(port) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port.parse().ok()?),
        None => item.parse().ok()?,
    };
    (address.port() != 0).then(|| canonical(address.ip(), address.port()))
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
        let value = "10.0.0.1:80, [::1]:81 ,localhost:82,, [::ffff:10.0.0.2]:83, web:80, 10.0.0.1, 10.0.0.3:0";
        let service = service(
            "default",
            "web",
            json!({"metadata": {"annotations": {ENDPOINTS: value}}}),
        );
        let key = objects::kinds::ObjectKey::new(objects::kinds::Kind::Service, "default", "web");
        let mut problems = Problems::of(key);
        let addresses = annotated(&service, Some(&mut problems));
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(
            addresses,
            ["10.0.0.1:80", "[::1]:81", "127.0.0.1:82", "10.0.0.2:83"]
        );
        assert_eq!(problems.into_shared().len(), 3);
    }
}
