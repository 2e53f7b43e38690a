//! EndpointSlice and Endpoints.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Findings, names, quote};
use crate::kinds::{EndpointPort, EndpointSlice, Endpoints};

/// The API server's limits for one slice.
const MAX_ENDPOINTS: usize = 1_000;
const MAX_ADDRESSES: usize = 100;

pub(super) fn endpoint_slice(slice: &EndpointSlice, found: &mut Findings) {
    let endpoints = slice.endpoints.as_deref().unwrap_or_default();
    if slice.address_type.is_empty() {
        found.error("addressType", "is missing", "one of IPv4, IPv6, FQDN");
    }
    if endpoints.len() > MAX_ENDPOINTS {
        let message = format!("{} endpoints are too many", endpoints.len());
        let hint = format!("at most {MAX_ENDPOINTS}; a Service may have several slices");
        found.error("endpoints", message, hint);
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let field = format!("endpoints[{index}].addresses");
        match endpoint.addresses.len() {
            0 => found.error(
                field.as_str(),
                "is missing or empty",
                "at least one address",
            ),
            1..=MAX_ADDRESSES => {}
            many => {
                let hint = format!("at most {MAX_ADDRESSES}");
                found.error(
                    field.as_str(),
                    format!("{many} addresses are too many"),
                    hint,
                );
            }
        }
        for (index, address) in endpoint.addresses.iter().enumerate() {
            let checked = check_address(&slice.address_type, address);
            found.check(&format!("{field}[{index}]"), address, checked);
        }
    }
    check_ports(slice.ports.as_deref().unwrap_or_default(), "ports", found);
}

pub(super) fn endpoints(endpoints: &Endpoints, found: &mut Findings) {
    for (index, subset) in endpoints.subsets.iter().flatten().enumerate() {
        let field = format!("subsets[{index}]");
        let groups = [
            ("addresses", &subset.addresses),
            ("notReadyAddresses", &subset.not_ready_addresses),
        ];
        if groups
            .iter()
            .all(|(_, group)| group.as_deref().is_none_or(<[_]>::is_empty))
        {
            let hint = "at least one of `addresses` and `notReadyAddresses`";
            found.error(field.as_str(), "has no address", hint);
        }
        for (name, group) in groups {
            for (index, address) in group.iter().flatten().enumerate() {
                let checked = match address.ip.parse::<IpAddr>() {
                    Ok(_) => Ok(()),
                    Err(_) => Err("an IPv4 or IPv6 address"),
                };
                found.check(&format!("{field}.{name}[{index}].ip"), &address.ip, checked);
            }
        }
        let ports = subset.ports.as_deref().unwrap_or_default();
        check_ports(ports, &format!("{field}.ports"), found);
        for (index, port) in ports.iter().enumerate() {
            if port.port.is_none() {
                let hint = "a number from 1 to 65535";
                found.error(format!("{field}.ports[{index}].port"), "is missing", hint);
            }
        }
    }
}

fn check_address(kind: &str, address: &str) -> Result<(), &'static str> {
    match kind {
        "IPv4" if address.parse::<Ipv4Addr>().is_err() => {
            Err("an IPv4 address, as addressType says")
        }
        "IPv6" if address.parse::<Ipv6Addr>().is_err() => {
            Err("an IPv6 address, as addressType says")
        }
        "FQDN" if !address.contains('.') || !names::is_subdomain(address) => {
            Err("a fully qualified DNS name, as addressType says")
        }
        _ => Ok(()),
    }
}

fn check_ports(ports: &[EndpointPort], field: &str, found: &mut Findings) {
    let mut used = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let field = format!("{field}[{index}].name");
        let name = port.name.as_deref().unwrap_or_default();
        if !name.is_empty() {
            found.check(&field, name, names::label(name));
        }
        if !used.insert(name) {
            let message = if name.is_empty() {
                "is missing".to_owned()
            } else {
                format!("{} is another port's name too", quote(name))
            };
            found.error(
                field,
                message,
                "several ports have a name each, no two the same",
            );
        }
    }
}
