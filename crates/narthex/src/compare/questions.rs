//! Which requests are asked about: for every host of two configurations, its paths on both sides of
//! every boundary, and what its rules look at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::canary::CanaryHeader;
use model::{
    Action, FieldMatch, Filter, HttpSites, PathMatch, Rule, Service, Site, TlsSite, ValueMatch,
    VirtualHost,
};

use super::answer::Side;
use super::question::Question;
use super::{cors, samples};

/// A host is asked about no more paths.
const MOST_PATHS: usize = 20_000;

/// A port, as questions name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Door {
    tls: bool,
    port: Option<u16>,
}

/// What is asked about, by port and by host as it is configured.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    hosts: BTreeMap<Door, BTreeMap<String, Asked>>,
}

#[derive(Debug, Default)]
struct Asked {
    paths: BTreeSet<String>,
    /// What is asked about some paths besides.
    variants: BTreeSet<(String, Variant)>,
}

/// What a question has besides host and path.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Variant {
    method: Option<String>,
    query: String,
    headers: Vec<(String, String)>,
}

impl Questions {
    /// What two configurations have to be asked.
    pub(crate) fn of(sides: [Side<'_>; 2]) -> Self {
        let mut questions = Self::default();
        for side in sides {
            for listener in &side.snapshot.listeners {
                let number = listener.entrance.port;
                let is_usual = [side.ports.http, side.ports.https].contains(&number)
                    || [80, 443].contains(&listener.public_port);
                let door = Door {
                    tls: matches!(listener.service, Service::Tls(_)),
                    port: (!is_usual).then_some(number),
                };
                let asked = questions.hosts.entry(door).or_default();
                match &listener.service {
                    Service::Http(sites) => {
                        for site in http_sites(sites) {
                            of_site(site, asked);
                        }
                    }
                    Service::Tls(sites) => {
                        for (name, _) in sites.sealed.iter() {
                            note_name(asked, name);
                        }
                        let gateways = sites.gateways.values();
                        for site in gateways.chain(&sites.ingress) {
                            match &**site {
                                TlsSite::Https(site) => of_site(&site.site, asked),
                                TlsSite::Tcp(site) => {
                                    site.streams
                                        .iter()
                                        .for_each(|(name, _)| note_name(asked, name));
                                }
                                TlsSite::Passthrough(streams) => {
                                    streams.iter().for_each(|(name, _)| note_name(asked, name));
                                }
                            }
                        }
                    }
                    // Nothing to ask: the whole port goes one way.
                    Service::Tcp(_) | Service::Udp(_) => {
                        questions.hosts.remove(&door);
                    }
                }
            }
        }
        questions
    }

    /// Leaves out what `keep` is against, by whether it is TLS, and by host as it is configured.
    pub(crate) fn retain(&mut self, keep: impl Fn(bool, &str) -> bool) {
        for (door, hosts) in &mut self.hosts {
            hosts.retain(|host, _| keep(door.tls, host));
        }
    }

    /// Asks them all, each with the host that it is about, as that is configured.
    pub(crate) fn each(&self, mut ask: impl FnMut(&str, &Question)) {
        for (door, hosts) in &self.hosts {
            for name in hosts.keys() {
                for host in examples(name) {
                    of_host(*door, &host, hosts, |question| ask(name, question));
                }
            }
        }
    }
}

fn http_sites(sites: &HttpSites) -> impl Iterator<Item = &Arc<Site>> {
    sites.gateways.values().chain(&sites.ingress)
}

fn note_name(asked: &mut BTreeMap<String, Asked>, name: String) {
    asked.entry(name).or_default();
}

fn of_site(site: &Site, asked: &mut BTreeMap<String, Asked>) {
    for (name, host) in site.hosts.iter() {
        note(asked.entry(name).or_default(), host);
    }
    note(asked.entry(String::new()).or_default(), &site.default);
}

fn note(asked: &mut Asked, host: &VirtualHost) {
    for rule in host.rules().iter().chain(&host.default) {
        if asked.paths.len() > MOST_PATHS {
            return;
        }
        let paths = paths(&rule.path);
        let variants = variants(rule);
        for path in paths.iter().take(3) {
            let with_path = |variant: &Variant| (path.clone(), variant.clone());
            asked.variants.extend(variants.iter().map(with_path));
        }
        asked.paths.extend(paths);
    }
}

fn of_host(
    door: Door,
    host: &str,
    hosts: &BTreeMap<String, Asked>,
    mut ask: impl FnMut(&Question),
) {
    let all = standing_for(host);
    let all: Vec<&Asked> = all.iter().filter_map(|name| hosts.get(name)).collect();
    let of_all = all.iter().flat_map(|asked| &asked.paths);
    let mut paths: BTreeSet<&str> = of_all.map(String::as_str).collect();
    paths.extend(["/", "/unclaimed", "/unclaimed/"]);
    for path in paths {
        ask(&Question::get(door.tls, door.port, host, path));
    }
    for (path, variant) in all.iter().flat_map(|asked| &asked.variants) {
        let mut question = Question::get(door.tls, door.port, host, path);
        if let Some(method) = &variant.method {
            question.method.clone_from(method);
        }
        question.query.clone_from(&variant.query);
        question.headers.clone_from(&variant.headers);
        ask(&question);
    }
}

/// Hosts that a configured one stands for.
fn examples(name: &str) -> Vec<String> {
    let below = name.strip_prefix("*.").or_else(|| name.strip_prefix('.'));
    match (name, below) {
        ("", _) => vec!["unnamed.invalid".to_owned()],
        (_, Some(parent)) => vec![format!("one.{parent}"), format!("two.one.{parent}")],
        (name, None) => vec![name.to_owned()],
    }
}

/// Every configured host that may have a say about one.
fn standing_for(host: &str) -> Vec<String> {
    let mut all = vec![host.to_owned()];
    let mut rest = host;
    while let Some((_, parent)) = rest.split_once('.') {
        all.extend([format!("*.{parent}"), format!(".{parent}")]);
        rest = parent;
    }
    all.push(String::new());
    all
}

/// Paths on both sides of every boundary of one.
fn paths(path: &PathMatch) -> Vec<String> {
    let around = |path: &str| {
        let short = path.trim_end_matches('/');
        [
            path.to_owned(),
            format!("{short}/"),
            format!("{short}/x"),
            format!("{short}/x/y"),
            format!("{short}x"),
            path.to_ascii_uppercase(),
        ]
    };
    let all: Vec<String> = match path {
        PathMatch::Exact(path) => around(path).into(),
        PathMatch::Prefix(path) => around(path).into(),
        PathMatch::Pattern(pattern) => samples::of(pattern.as_str())
            .iter()
            .flat_map(|sample| {
                let shorter = sample.get(..sample.len().saturating_sub(1));
                let shorter = shorter.unwrap_or_default().to_owned();
                around(sample).into_iter().chain([shorter])
            })
            .collect(),
    };
    let mut known = BTreeSet::new();
    let all = all.into_iter().map(|path| match path.starts_with('/') {
        true => path,
        false => format!("/{path}"),
    });
    all.filter(|path| known.insert(path.clone())).collect()
}

fn variants(rule: &Rule) -> BTreeSet<Variant> {
    let mut all = BTreeSet::new();
    let mut add = |variant: Variant| {
        all.insert(variant);
    };
    add(Variant {
        method: Some("POST".to_owned()),
        ..Variant::default()
    });
    add(Variant {
        query: "?a=b".to_owned(),
        ..Variant::default()
    });
    conditions(rule, &mut add);
    if let Action::Split(split) = &rule.action
        && let Some(canary) = split.canary()
    {
        let mut field = |name: &str, value: &str| {
            add(Variant {
                headers: vec![(name.to_owned(), value.to_owned())],
                ..Variant::default()
            });
        };
        if let Some((name, header)) = &canary.header {
            for value in ["always", "never", "else"] {
                field(name, value);
            }
            match header {
                CanaryHeader::Value(value) => field(name, value),
                CanaryHeader::Pattern(pattern) => {
                    samples::of(pattern.as_str())
                        .iter()
                        .for_each(|one| field(name, one));
                }
                CanaryHeader::AlwaysNever | CanaryHeader::Unreadable => {}
            }
        }
        if let Some(cookie) = &canary.cookie {
            for value in ["always", "never", "else"] {
                field("cookie", &format!("{cookie}={value}"));
            }
        }
    }
    for filter in &rule.filters {
        if matches!(filter, Filter::Cors(_) | Filter::IngressCors(_)) {
            origins(filter, &mut add);
        }
    }
    all
}

/// A request that meets all conditions, and for each one that does not.
fn conditions(rule: &Rule, add: &mut impl FnMut(Variant)) {
    let Some(conditions) = &rule.conditions else {
        return;
    };
    let value = |field: &FieldMatch| match &field.value {
        ValueMatch::Exact(value) => value.to_string(),
        ValueMatch::Pattern(pattern) => samples::of(pattern.as_str())
            .into_iter()
            .next()
            .unwrap_or_default(),
    };
    let headers: Vec<(String, String)> = conditions
        .headers
        .iter()
        .map(|field| (field.name.to_string(), value(field)))
        .collect();
    let query: Vec<String> = conditions
        .query
        .iter()
        .map(|field| format!("{}={}", field.name, value(field)))
        .collect();
    let with = |headers: Vec<(String, String)>, query: &[String]| Variant {
        method: conditions.method.as_deref().map(str::to_owned),
        query: match query.is_empty() {
            true => String::new(),
            false => format!("?{}", query.join("&")),
        },
        headers,
    };
    add(with(headers.clone(), &query));
    for left_out in 0..headers.len() {
        let mut fewer = headers.clone();
        fewer.remove(left_out);
        add(with(fewer, &query));
        let mut other = headers.clone();
        other[left_out].1 += "-else";
        add(with(other, &query));
    }
    for left_out in 0..query.len() {
        let mut fewer = query.clone();
        fewer.remove(left_out);
        add(with(headers.clone(), &fewer));
    }
}

fn origins(filter: &Filter, add: &mut impl FnMut(Variant)) {
    let allowed = cors::origin_of(filter);
    let origins = allowed
        .into_iter()
        .chain(["https://other.invalid".to_owned()]);
    for origin in origins {
        let own = ("origin".to_owned(), origin);
        add(Variant {
            headers: vec![own.clone()],
            ..Variant::default()
        });
        let wanted = ("access-control-request-method".to_owned(), "PUT".to_owned());
        add(Variant {
            method: Some("OPTIONS".to_owned()),
            headers: vec![own, wanted],
            ..Variant::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_asked_about_inside_outside_and_at_its_end() {
        let all = paths(&PathMatch::Prefix("/api".into()));
        for path in ["/api", "/api/", "/api/x", "/apix", "/API"] {
            assert!(all.iter().any(|it| it == path), "{path} of {all:?}");
        }
        assert!(paths(&PathMatch::Prefix("".into())).contains(&"/x".to_owned()));
    }

    #[test]
    fn wildcards_are_asked_for_one_label_and_two() {
        assert_eq!(
            examples("*.a.example"),
            ["one.a.example", "two.one.a.example"]
        );
        assert!(standing_for("one.a.example").contains(&"*.a.example".to_owned()));
    }
}
