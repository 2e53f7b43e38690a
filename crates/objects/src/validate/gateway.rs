//! GatewayClass, Gateway, ListenerSet, ReferenceGrant, BackendTLSPolicy.

use super::{Findings, names, quote};
use crate::kinds::gateway::{
    BackendTlsPolicy, BackendTlsValidation, Gateway, GatewayClass, Listener, ListenerSet,
    ObjectReference, ReferenceGrant, TlsMode,
};

/// The most listeners of one object.
const MOST_LISTENERS: usize = 64;

pub(super) fn class(class: &GatewayClass, found: &mut Findings) {
    const HINT: &str = "a domain and a path, as in narthex.dev/gateway";

    let controller = &*class.spec.controller_name;
    let valid = controller
        .split_once('/')
        .is_some_and(|(domain, path)| names::subdomain(domain).is_ok() && !path.is_empty());
    if controller.is_empty() {
        found.error("spec.controllerName", "is missing", HINT);
    } else if !valid {
        let message = format!("{} is not valid", quote(controller));
        found.error("spec.controllerName", message, HINT);
    }
}

pub(super) fn gateway(gateway: &Gateway, found: &mut Findings) {
    let spec = &gateway.spec;
    if spec.gateway_class_name.is_empty() {
        let hint = "the name of a GatewayClass";
        found.error("spec.gatewayClassName", "is missing", hint);
    }
    listeners(spec.listeners(), found);
}

pub(super) fn listener_set(set: &ListenerSet, found: &mut Findings) {
    if set.spec.parent_ref.name.is_empty() {
        let hint = "the name of a Gateway";
        found.error("spec.parentRef.name", "is missing", hint);
    }
    listeners(set.spec.listeners(), found);
}

fn listeners(listeners: &[Listener], found: &mut Findings) {
    if listeners.is_empty() {
        found.error("spec.listeners", "is missing or empty", "at least one");
    }
    if listeners.len() > MOST_LISTENERS {
        let message = format!("has {} entries", listeners.len());
        found.error(
            "spec.listeners",
            message,
            "at most 64; more in ListenerSets",
        );
    }
    for (index, listener) in listeners.iter().enumerate() {
        let field = format!("spec.listeners[{index}]");
        if listener.name.is_empty() {
            found.error(format!("{field}.name"), "is missing", "a name");
        } else {
            let checked = names::subdomain(&listener.name);
            found.check(&format!("{field}.name"), &listener.name, checked);
        }
        if listener.port == 0 {
            let hint = "a number from 1 to 65535";
            found.error(format!("{field}.port"), "is missing or 0", hint);
        }
        let before = &listeners[..index];
        if before.iter().any(|other| other.name == listener.name) {
            let message = format!("{} is another listener's name too", quote(&listener.name));
            found.error(format!("{field}.name"), message, "a name of its own");
        }
        let same = |other: &&Listener| {
            (other.port, &other.protocol, &other.hostname)
                == (listener.port, &listener.protocol, &listener.hostname)
        };
        if before.iter().any(|other| same(&other)) {
            let message = "is like another one: port, protocol and hostname";
            found.error(&*field, message, "another port, or another hostname");
        }
        protocol(listener, &field, found);
    }
}

/// What a listener may have by its protocol.
fn protocol(listener: &Listener, field: &str, found: &mut Findings) {
    let hostname = listener.hostname.as_deref().filter(|host| !host.is_empty());
    let protocol = listener.protocol.as_str();
    if protocol.is_empty() {
        let hint = "HTTP, HTTPS, TLS, TCP or UDP";
        found.error(format!("{field}.protocol"), "is missing", hint);
    }
    match hostname {
        Some(_) if matches!(protocol, "TCP" | "UDP") => {
            let message = format!("a {protocol} listener cannot tell host names apart");
            found.error(format!("{field}.hostname"), message, "no hostname");
        }
        Some(host) => found.check(&format!("{field}.hostname"), host, names::host(host)),
        None => {}
    }
    match (protocol, &listener.tls) {
        ("HTTP" | "TCP" | "UDP", Some(_)) => {
            let message = format!("a {protocol} listener has no TLS");
            found.error(
                format!("{field}.tls"),
                message,
                "no `tls`, or protocol HTTPS or TLS",
            );
        }
        ("TLS", tls) if tls.as_ref().is_none_or(|tls| tls.mode.is_none()) => {
            let hint = "Terminate or Passthrough";
            found.error(format!("{field}.tls.mode"), "is missing", hint);
        }
        ("HTTPS", Some(tls)) if *tls.mode() != TlsMode::Terminate => {
            let message = format!("{} is not for HTTPS", tls.mode());
            found.error(
                format!("{field}.tls.mode"),
                message,
                "Terminate, or protocol TLS",
            );
        }
        _ => {}
    }
    let Some(tls) = &listener.tls else { return };
    let references = tls.certificate_refs.as_deref().unwrap_or_default();
    if *tls.mode() == TlsMode::Terminate && references.is_empty() && tls.options.is_empty() {
        let hint = "the name of a Secret of type kubernetes.io/tls";
        found.error(format!("{field}.tls.certificateRefs"), "is missing", hint);
    }
    for (index, reference) in references.iter().enumerate() {
        let field = format!("{field}.tls.certificateRefs[{index}]");
        named(reference, &field, found);
    }
}

fn named(reference: &ObjectReference, field: &str, found: &mut Findings) {
    if reference.name.is_empty() {
        found.error(format!("{field}.name"), "is missing", "a name");
    }
}

pub(super) fn grant(grant: &ReferenceGrant, found: &mut Findings) {
    let from = grant.spec.from.as_deref().unwrap_or_default();
    let to = grant.spec.to.as_deref().unwrap_or_default();
    if from.is_empty() {
        found.error("spec.from", "is missing or empty", "who may refer");
    }
    if to.is_empty() {
        found.error("spec.to", "is missing or empty", "what may be referred to");
    }
    for (index, one) in from.iter().enumerate() {
        for (name, value) in [("kind", &one.kind), ("namespace", &one.namespace)] {
            if value.is_empty() {
                found.error(format!("spec.from[{index}].{name}"), "is missing", "");
            }
        }
    }
    for (index, one) in to.iter().enumerate() {
        if one.kind.is_empty() {
            found.error(format!("spec.to[{index}].kind"), "is missing", "as Service");
        }
    }
}

pub(super) fn backend_tls_policy(policy: &BackendTlsPolicy, found: &mut Findings) {
    let targets = policy.spec.target_refs.as_deref().unwrap_or_default();
    if targets.is_empty() {
        let hint = "at least one Service";
        found.error("spec.targetRefs", "is missing or empty", hint);
    }
    for (index, target) in targets.iter().enumerate() {
        if target.name.is_empty() {
            let field = format!("spec.targetRefs[{index}].name");
            found.error(field, "is missing", "the name of a Service");
        }
    }
    backend_validation("spec.validation", &policy.spec.validation, found);
}

/// How a backend's certificate is verified.
pub(super) fn backend_validation(
    place: &str,
    validation: &BackendTlsValidation,
    found: &mut Findings,
) {
    if validation.hostname.is_empty() {
        let hint = "the name in the handshake, which the certificate has to have";
        found.error(format!("{place}.hostname"), "is missing", hint);
    } else {
        let checked = names::subdomain(&validation.hostname);
        found.check(&format!("{place}.hostname"), &validation.hostname, checked);
    }
    let references = validation
        .ca_certificate_refs
        .as_deref()
        .unwrap_or_default();
    if references.is_empty() == validation.well_known_ca_certificates.is_none() {
        let hint = "exactly one of `caCertificateRefs` and `wellKnownCACertificates: System`";
        found.error(place, "does not say who issues certificates", hint);
    }
}
