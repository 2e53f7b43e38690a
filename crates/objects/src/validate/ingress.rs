//! Ingress.

use super::{Findings, names, quote};
use crate::kinds::{HttpIngressPath, Ingress, IngressBackend, IngressTls, PathType};

/// The annotation that named the class before `ingressClassName` did.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

pub(super) fn ingress(ingress: &Ingress, found: &mut Findings) {
    let spec = &ingress.spec;
    let rules = spec.rules.as_deref().unwrap_or_default();
    if rules.is_empty() && spec.default_backend.is_none() {
        let hint = "at least one of `rules` and `defaultBackend`";
        found.error("spec", "says nowhere where requests go", hint);
    }
    if let Some(class) = &spec.ingress_class_name {
        found.check("spec.ingressClassName", class, names::subdomain(class));
        let annotation = ingress.metadata.annotations.get(CLASS_ANNOTATION);
        if let Some(other) = annotation.filter(|annotation| *annotation != class.as_str()) {
            found.error(
                format!("metadata.annotations.{CLASS_ANNOTATION}"),
                format!("{} is not what spec.ingressClassName says", quote(other)),
                "remove the annotation, spec.ingressClassName takes its place",
            );
        }
    }
    if let Some(backend) = &spec.default_backend {
        check_backend(backend, "spec.defaultBackend", found);
    }
    for (index, entry) in spec.tls.iter().flatten().enumerate() {
        check_tls(entry, &format!("spec.tls[{index}]"), found);
    }
    for (index, rule) in rules.iter().enumerate() {
        let field = format!("spec.rules[{index}]");
        if let Some(host) = rule.host.as_deref().filter(|host| !host.is_empty()) {
            found.check(&format!("{field}.host"), host, names::host(host));
        }
        if let Some(http) = &rule.http {
            if http.paths.is_empty() {
                let hint = "at least one path, or no `http` at all";
                found.error(format!("{field}.http.paths"), "is missing or empty", hint);
            }
            for (index, path) in http.paths.iter().enumerate() {
                check_path(path, &format!("{field}.http.paths[{index}]"), found);
            }
        }
    }
}

fn check_tls(tls: &IngressTls, field: &str, found: &mut Findings) {
    for (index, host) in tls.hosts.iter().flatten().enumerate() {
        found.check(&format!("{field}.hosts[{index}]"), host, names::host(host));
    }
    if let Some(secret) = tls.secret_name.as_deref().filter(|name| !name.is_empty()) {
        found.check(
            &format!("{field}.secretName"),
            secret,
            names::subdomain(secret),
        );
    }
}

fn check_path(path: &HttpIngressPath, field: &str, found: &mut Findings) {
    let text = path.path.as_deref().unwrap_or_default();
    let path_field = format!("{field}.path");
    match path.path_type {
        None => found.error(
            format!("{field}.pathType"),
            "is missing",
            "one of Exact, Prefix, ImplementationSpecific; Prefix is what most paths want",
        ),
        Some(PathType::ImplementationSpecific) => {
            if !text.is_empty() && !text.starts_with('/') {
                let message = format!("{} does not begin with `/`", quote(text));
                found.error(path_field, message, format!("/{text}"));
            }
        }
        Some(PathType::Exact | PathType::Prefix) => check_absolute(text, &path_field, found),
    }
    check_backend(&path.backend, &format!("{field}.backend"), found);
}

fn check_absolute(text: &str, field: &str, found: &mut Findings) {
    if text.is_empty() {
        found.error(field, "is missing", "`/` for every path");
        return;
    }
    if !text.starts_with('/') {
        let message = format!("{} does not begin with `/`", quote(text));
        found.error(field, message, format!("/{text}"));
    }
    for sequence in ["//", "/./", "/../", "%2f", "%2F"] {
        if text.contains(sequence) {
            let message = format!("{} has `{sequence}` in it", quote(text));
            found.error(field, message, "a path as requests have it once normalised");
        }
    }
    for suffix in ["/..", "/."] {
        if text.ends_with(suffix) {
            let message = format!("{} ends in `{suffix}`", quote(text));
            found.error(field, message, "a path as requests have it once normalised");
        }
    }
}

fn check_backend(backend: &IngressBackend, field: &str, found: &mut Findings) {
    const ONE: &str = "exactly one of `service` and `resource`";

    match (&backend.service, &backend.resource) {
        (Some(_), Some(_)) => found.error(field, "has both a service and a resource", ONE),
        (None, None) => found.error(field, "names no service", ONE),
        (None, Some(resource)) => {
            for (name, value) in [("kind", &resource.kind), ("name", &resource.name)] {
                if value.is_empty() {
                    found.error(format!("{field}.resource.{name}"), "is missing", "");
                }
            }
        }
        (Some(service), None) => {
            let name_field = format!("{field}.service.name");
            if service.name.is_empty() {
                found.error(name_field, "is missing", "the name of a Service");
            } else {
                found.check(&name_field, &service.name, names::label(&service.name));
            }
            let port_field = format!("{field}.service.port");
            let name = service.port.name.as_deref().filter(|name| !name.is_empty());
            match (name, service.port.number) {
                (Some(name), None) => {
                    found.check(&format!("{port_field}.name"), name, names::port_name(name));
                }
                // That it lies in 1..=65535 has been seen to where the number was read.
                (None, Some(1..)) => {}
                (None, Some(0)) => found.error(
                    format!("{port_field}.number"),
                    "0 is no port number",
                    "a number from 1 to 65535",
                ),
                (Some(_), Some(_)) => {
                    let hint = "exactly one of `name` and `number`";
                    found.error(port_field, "has both a name and a number", hint);
                }
                (None, None) => {
                    let hint = "`number: 80`, or `name:` and the name of the Service's port";
                    found.error(port_field, "is missing", hint);
                }
            }
        }
    }
}
