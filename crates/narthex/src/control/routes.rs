//! A snapshot as the API shows it.

use admin::view;
use model::{Action, Filter, Listener, PathMatch, Protocol, Rule, Snapshot, VirtualHost};

/// Every listener with its hosts, rules, backends and endpoints as they are now.
pub(crate) fn listeners(snapshot: &Snapshot) -> Vec<view::Listener> {
    snapshot.listeners.iter().map(|one| listener(one)).collect()
}

fn listener(listener: &Listener) -> view::Listener {
    let mut hosts: Vec<view::Host> = listener
        .hosts
        .iter()
        .map(|(name, host)| virtual_host(name, host))
        .collect();
    if listener.hosts.any().is_none() {
        hosts.push(virtual_host(String::new(), &listener.default));
    }
    hosts.sort_by(|a, b| a.host.cmp(&b.host));
    view::Listener {
        port: listener.port,
        protocol: match listener.protocol {
            Protocol::Http => "http",
            Protocol::Https => "https",
        },
        hosts,
    }
}

fn virtual_host(name: String, host: &VirtualHost) -> view::Host {
    let mut rules: Vec<view::Rule> = host.rules.iter().map(|one| rule(one, false)).collect();
    rules.push(rule(&host.default, true));
    view::Host {
        host: if name.is_empty() {
            "*".to_owned()
        } else {
            name
        },
        rules,
    }
}

fn rule(rule: &Rule, is_default: bool) -> view::Rule {
    let (match_type, path) = match &rule.path {
        _ if is_default => ("Default", String::new()),
        PathMatch::Exact(path) => ("Exact", path.to_string()),
        PathMatch::Prefix(path) if path.is_empty() => ("Prefix", "/".to_owned()),
        PathMatch::Prefix(path) => ("Prefix", path.to_string()),
    };
    view::Rule {
        match_type,
        path,
        route: rule.route.to_string(),
        field: rule.field.to_string(),
        filters: rule.filters.iter().map(filter).collect(),
        backend: backend(&rule.action),
    }
}

/// A filter in words.
pub(crate) fn filter(filter: &Filter) -> String {
    match filter {
        Filter::HttpsRedirect(redirect) => format!(
            "clients without TLS are sent to https, port {} ({})",
            redirect.port, redirect.status
        ),
    }
}

/// What an action leads to, with its endpoints as they are now.
pub(crate) fn backend(action: &Action) -> Option<view::Backend> {
    let Action::Forward(backend) = action else {
        return None;
    };
    let endpoints = backend.endpoints();
    Some(view::Backend {
        name: backend.name.to_string(),
        endpoints: endpoints
            .ready
            .iter()
            .map(|one| one.address.to_string())
            .collect(),
        unavailable: endpoints.unavailable.map(|why| why.to_string()),
    })
}

/// How much a snapshot holds. A host, a rule and a backend count once, on however many ports.
pub(super) fn count(snapshot: &Snapshot) -> view::Counts {
    use std::collections::{HashMap, HashSet};

    let mut hosts = HashMap::new();
    let mut backends = HashMap::new();
    for listener in &snapshot.listeners {
        for (name, host) in listener.hosts.iter() {
            let rules: &mut HashSet<_> = hosts.entry(name).or_default();
            for rule in host.rules.iter().chain([&host.default]) {
                if let Action::Forward(backend) = &rule.action {
                    backends.insert(backend.name.clone(), backend.endpoints().ready.len());
                }
            }
            // The same rule may be built once for each port, with other filters.
            rules.extend(
                host.rules
                    .iter()
                    .map(|rule| (&rule.route, &rule.field, &rule.path)),
            );
        }
    }
    view::Counts {
        objects: Default::default(),
        hosts: hosts.len(),
        rules: hosts.values().map(HashSet::len).sum(),
        backends: backends.len(),
        endpoints: backends.values().sum(),
    }
}
