//! Service.

use std::collections::BTreeSet;

use super::{Findings, names, quote};
use crate::kinds::{IntOrString, Service, ServicePort};

pub(super) fn service(service: &Service, found: &mut Findings) {
    let spec = &service.spec;
    let ports = spec.ports.as_deref().unwrap_or_default();
    let external = spec.type_.as_deref() == Some("ExternalName");
    let headless = spec.cluster_ip.as_deref() == Some("None");
    if external {
        check_external_name(spec.external_name.as_deref().unwrap_or_default(), found);
    } else if ports.is_empty() && !headless {
        found.error("spec.ports", "is missing or empty", "at least one port");
    }
    let mut used_names = BTreeSet::new();
    let mut used_ports = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        check_port(port, &field, found);
        let name = port.name.as_deref().unwrap_or_default();
        if name.is_empty() {
            if ports.len() > 1 {
                let hint = "every port of a Service with several ports has a name";
                found.error(format!("{field}.name"), "is missing", hint);
            }
        } else if !used_names.insert(name) {
            let message = format!("{} is another port's name too", quote(name));
            found.error(format!("{field}.name"), message, "every port its own name");
        }
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        if port.port != 0 && !used_ports.insert((protocol, port.port)) {
            let message = format!("{protocol} port {} is there twice", port.port);
            found.error(format!("{field}.port"), message, "every port once");
        }
    }
}

fn check_external_name(name: &str, found: &mut Findings) {
    const FIELD: &str = "spec.externalName";

    if name.is_empty() {
        let hint = "the DNS name behind this Service, as in db.example.com";
        found.error(FIELD, "is missing in a Service of type ExternalName", hint);
        return;
    }
    found.check(
        FIELD,
        name,
        names::subdomain(name.strip_suffix('.').unwrap_or(name)),
    );
}

fn check_port(port: &ServicePort, field: &str, found: &mut Findings) {
    if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
        found.check(&format!("{field}.name"), name, names::label(name));
    }
    if port.port == 0 {
        let hint = "a number from 1 to 65535";
        found.error(format!("{field}.port"), "is missing", hint);
    }
    if let Some(IntOrString::String(name)) = &port.target_port {
        found.check(&format!("{field}.targetPort"), name, names::port_name(name));
    }
}
