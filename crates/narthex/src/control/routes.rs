//! A snapshot as the API shows it.

use admin::view;
use model::{Action, Filter, Listener, PathMatch, Protocol, Rule, Snapshot, VirtualHost};

/// Every listener with its hosts, rules, backends and endpoints as they are now: no more than
/// `limit` hosts of each, and just the one that answers `host`, if that is given.
pub(crate) fn listeners(
    snapshot: &Snapshot,
    host: Option<&str>,
    limit: usize,
) -> Vec<view::Listener> {
    let listeners = snapshot.listeners.iter();
    listeners.map(|one| listener(one, host, limit)).collect()
}

/// Each host's certificates, by host, and last those for all others.
pub(crate) fn certificates(snapshot: &Snapshot) -> Vec<view::Certificate> {
    let tables = snapshot.listeners.iter();
    let Some(table) = tables.filter_map(|one| one.certificates.as_ref()).next() else {
        return Vec::new();
    };
    let mut hosts: Vec<_> = table.hosts.iter().collect();
    hosts.sort_by(|(a, _), (b, _)| a.cmp(b));
    let hosts = hosts.into_iter().chain([("*".to_owned(), &table.default)]);
    let all = hosts.flat_map(|(host, set)| {
        let certificates = set.certificates.iter();
        certificates.map(move |certificate| view::Certificate {
            host: host.clone(),
            source: certificate.source.to_string(),
            not_after: certificate.not_after,
        })
    });
    all.collect()
}

fn listener(listener: &Listener, host: Option<&str>, limit: usize) -> view::Listener {
    let mut named: Vec<(String, &VirtualHost)> = match host {
        Some(host) => {
            let found = listener.hosts.find(&host.to_ascii_lowercase());
            let found = found.unwrap_or(&listener.default);
            vec![(found.name.to_string(), found)]
        }
        None => {
            let hosts = listener.hosts.iter();
            let mut hosts: Vec<_> = hosts.map(|(name, host)| (name, &**host)).collect();
            if listener.hosts.any().is_none() {
                hosts.push((String::new(), &listener.default));
            }
            hosts
        }
    };
    // By what is shown: all other hosts are `*`.
    named.sort_by(|(a, _), (b, _)| shown(a).cmp(shown(b)));
    named.truncate(limit);
    let hosts = named
        .into_iter()
        .map(|(name, host)| virtual_host(name, host))
        .collect();
    view::Listener {
        port: listener.port,
        protocol: match listener.protocol {
            Protocol::Http => "http",
            Protocol::Https => "https",
        },
        hosts,
    }
}

fn shown(name: &str) -> &str {
    if name.is_empty() { "*" } else { name }
}

fn virtual_host(name: String, host: &VirtualHost) -> view::Host {
    let mut rules: Vec<view::Rule> = host.rules.iter().map(|one| rule(one, false)).collect();
    rules.push(rule(&host.default, true));
    view::Host {
        host: shown(&name).to_owned(),
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
