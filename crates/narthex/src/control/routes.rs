//! A snapshot as the API shows it.

use std::sync::Arc;

use admin::view;
use model::canary::CanaryHeader;
use model::filter::access::Access;
use model::filter::ingress_cors::Origins;
use model::filter::limit::{ClientLimits, RequestRate};
use model::filter::send::Rest;
use model::filter::{HeaderEdit, OriginMatch, PathEdit};
use model::{
    Action, Backend, Certificate, CertificateTable, Conditions, FieldMatch, Filter, HostTable,
    Listener, PathMatch, Rule, Service, Site, Snapshot, Split, Stream, Target, TlsSite, TlsSites,
    ValueMatch, VirtualHost,
};

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
    let tables = all_tables(snapshot).into_iter();
    tables.flat_map(|table| in_table(table)).collect()
}

/// The certificates that handshakes may show, each once, in no order.
pub(crate) fn served_certificates(snapshot: &Snapshot) -> Vec<Arc<Certificate>> {
    let mut served: Vec<_> = all_tables(snapshot)
        .into_iter()
        .flat_map(|table| {
            let hosts = table.hosts.iter().map(|(_, set)| set);
            let sets = hosts.chain([&table.default]);
            sets.flat_map(|set| set.certificates.iter().cloned())
        })
        .collect();
    served.sort_unstable_by_key(Arc::as_ptr);
    served.dedup_by(|a, b| Arc::ptr_eq(a, b));
    served
}

/// The tables of certificates, each once on however many ports it is.
fn all_tables(snapshot: &Snapshot) -> Vec<&Arc<CertificateTable>> {
    let listeners = snapshot.listeners.iter();
    let services = listeners.map(|listener| &listener.service);
    let mut tables: Vec<&Arc<CertificateTable>> = Vec::new();
    for table in services.flat_map(certificate_tables) {
        if !tables.iter().any(|known| Arc::ptr_eq(known, table)) {
            tables.push(table);
        }
    }
    tables
}

fn certificate_tables(service: &Service) -> Vec<&Arc<CertificateTable>> {
    let Service::Tls(sites) = service else {
        return Vec::new();
    };
    let mut tables = Vec::new();
    for (_, site) in tls_sites(sites) {
        match &**site {
            TlsSite::Https(site) => tables.push(&site.certificates),
            TlsSite::Tcp(site) => tables.push(&site.certificates),
            TlsSite::Passthrough(_) => {}
        }
    }
    tables
}

/// The sites of a port with TLS: those of Gateways by their hosts, then that of Ingress.
fn tls_sites(sites: &TlsSites) -> Vec<(String, &Arc<TlsSite>)> {
    let mut all: Vec<_> = sites.gateways.iter().collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all.extend(sites.ingress.iter().map(|site| (String::new(), site)));
    all
}

fn in_table(table: &CertificateTable) -> Vec<view::Certificate> {
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

/// The HTTP sites of a port: those of Gateways by their hosts, then that of Ingress.
pub(crate) fn sites(service: &Service) -> Vec<&Arc<Site>> {
    match service {
        Service::Http(sites) => {
            let mut all: Vec<_> = sites.gateways.iter().collect();
            all.sort_by(|(a, _), (b, _)| a.cmp(b));
            let gateways = all.into_iter().map(|(_, site)| site);
            gateways.chain(&sites.ingress).collect()
        }
        Service::Tls(sites) => {
            let all = tls_sites(sites).into_iter();
            let https = all.filter_map(|(_, site)| match &**site {
                TlsSite::Https(site) => Some(&site.site),
                TlsSite::Tcp(_) | TlsSite::Passthrough(_) => None,
            });
            https.collect()
        }
        Service::Tcp(_) | Service::Udp(_) => Vec::new(),
    }
}

fn listener(listener: &Listener, host: Option<&str>, limit: usize) -> view::Listener {
    let sites = sites(&listener.service);
    let mut hosts = Vec::new();
    for site in sites {
        hosts.extend(site_hosts(site, host, limit));
        hosts.truncate(limit);
    }
    view::Listener {
        port: listener.entrance.port,
        protocol: listener.service.name(),
        hosts,
        streams: streams(&listener.service),
    }
}

fn site_hosts(site: &Site, host: Option<&str>, limit: usize) -> Vec<view::Host> {
    let mut named: Vec<(String, &VirtualHost)> = match host {
        Some(host) => {
            let found = site.host(&host.to_ascii_lowercase());
            vec![(found.name.to_string(), found)]
        }
        None => {
            let hosts = site.hosts.iter();
            let mut hosts: Vec<_> = hosts.map(|(name, host)| (name, &**host)).collect();
            if site.hosts.any().is_none() {
                hosts.push((String::new(), &site.default));
            }
            hosts
        }
    };
    // By what is shown: all other hosts are `*`.
    named.sort_by(|(a, _), (b, _)| shown(a).cmp(shown(b)));
    named.truncate(limit);
    let hosts = named.into_iter();
    hosts
        .map(|(name, host)| virtual_host(name, host, site))
        .collect()
}

fn streams(service: &Service) -> Vec<view::Stream> {
    let of_table = |table: &HostTable<Stream>, tls| {
        let mut all: Vec<_> = table.iter().collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        let all = all.into_iter();
        all.map(|(name, route)| stream(&name, tls, route))
            .collect::<Vec<_>>()
    };
    match service {
        Service::Http(_) => Vec::new(),
        Service::Tls(all_sites) => {
            let sites = tls_sites(all_sites).into_iter();
            let all = sites.flat_map(|(_, site)| match &**site {
                TlsSite::Https(_) => Vec::new(),
                TlsSite::Tcp(site) => of_table(&site.streams, Some("terminate")),
                TlsSite::Passthrough(streams) => of_table(streams, Some("passthrough")),
            });
            all.chain(of_table(&all_sites.sealed, Some("passthrough")))
                .collect()
        }
        Service::Tcp(route) | Service::Udp(route) => vec![stream("", None, route)],
    }
}

fn stream(name: &str, tls: Option<&'static str>, route: &Stream) -> view::Stream {
    let shares = route.split.iter().flat_map(|split| split.shares());
    view::Stream {
        server_name: shown(name).to_owned(),
        tls,
        route: route.route.to_string(),
        field: route.field.to_string(),
        backends: shares
            .filter_map(|share| match &share.target {
                Target::Backend(backend) => Some(one_backend(backend)),
                Target::Invalid => None,
            })
            .collect(),
    }
}

fn shown(name: &str) -> &str {
    if name.is_empty() { "*" } else { name }
}

fn virtual_host(name: String, host: &VirtualHost, site: &Site) -> view::Host {
    let mut rules: Vec<view::Rule> = host.rules().iter().map(|one| rule(one, false)).collect();
    let default = host.default.as_ref().unwrap_or(&site.nobody);
    rules.push(rule(default, true));
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
        PathMatch::Pattern(pattern) => ("Pattern", pattern.as_str().to_owned()),
    };
    let filters = rule.filters.iter().map(filter);
    let filters = filters.chain(canary(&rule.action));
    view::Rule {
        match_type,
        path,
        route: rule.route.to_string(),
        field: rule.field.to_string(),
        conditions: rule
            .conditions
            .as_deref()
            .map(conditions)
            .unwrap_or_default(),
        filters: filters.collect(),
        backend: backend(&rule.action),
        backends: shares(&rule.action),
    }
}

/// Conditions in words.
pub(crate) fn conditions(conditions: &Conditions) -> Vec<String> {
    let field = |kind: &str, field: &FieldMatch| match &field.value {
        ValueMatch::Exact(value) => format!("{kind} {} is {value}", field.name),
        ValueMatch::Pattern(pattern) => {
            format!("{kind} {} matches {}", field.name, pattern.as_str())
        }
    };
    let method = conditions.method.iter();
    let method = method.map(|method| format!("method is {method}"));
    let headers = conditions.headers.iter().map(|one| field("header", one));
    let query = conditions.query.iter().map(|one| field("parameter", one));
    method.chain(headers).chain(query).collect()
}

/// A filter in words.
pub(crate) fn filter(filter: &Filter) -> String {
    match filter {
        Filter::HttpsRedirect(redirect) => format!(
            "clients without TLS are sent to https, port {} ({})",
            redirect.port, redirect.status
        ),
        Filter::RequestHeaders(edit) => format!("request headers: {}", edit_in_words(edit)),
        Filter::ResponseHeaders(edit) => format!("response headers: {}", edit_in_words(edit)),
        Filter::Redirect(redirect) => {
            let mut to = Vec::new();
            to.extend(redirect.scheme.iter().map(|one| format!("scheme {one}")));
            to.extend(redirect.host.iter().map(|one| format!("host {one}")));
            to.extend(redirect.port.iter().map(|one| format!("port {one}")));
            to.extend(redirect.path.iter().map(path_in_words));
            format!("redirected to {} ({})", to.join(", "), redirect.status)
        }
        Filter::Rewrite(rewrite) => {
            let mut to = Vec::new();
            to.extend(rewrite.host.iter().map(|one| format!("host {one}")));
            to.extend(rewrite.path.iter().map(path_in_words));
            format!("rewritten to {}", to.join(", "))
        }
        Filter::Mirror(mirror) => format!(
            "{} of {} requests are copied to {}",
            mirror.numerator, mirror.denominator, mirror.backend.name
        ),
        Filter::Cors(cors) => {
            let origins: Vec<String> = cors.origins.iter().map(origin_in_words).collect();
            format!("CORS for {}", origins.join(", "))
        }
        Filter::Compress(_) => "the response is compressed if the client takes that".to_owned(),
        Filter::Auth(auth) => format!("{} is asked whether it may pass", auth.backend.name),
        Filter::Limit(limits) => limits_in_words(limits),
        Filter::Pace(pace) => format!("{} bytes a second after {}", pace.rate, pace.after),
        Filter::Access(access) => access_in_words(access),
        Filter::IngressCors(cors) => format!(
            "CORS as ingress-nginx has it: {} for {}",
            cors.methods,
            match &cors.origins {
                Origins::Any => "*".to_owned(),
                Origins::These(all) => format!("{} origins", all.len()),
            }
        ),
        Filter::ErrorPages(pages) => {
            let codes: Vec<String> = pages.codes.iter().map(ToString::to_string).collect();
            let who = pages.backend().map_or("404", |backend| &*backend.name);
            match codes.is_empty() {
                true => format!("{who} takes its place where it has no endpoint"),
                false => format!("{who} answers for {}", codes.join(", ")),
            }
        }
        Filter::ResponseRewrite(_) => "Location, Refresh or cookies are rewritten".to_owned(),
        Filter::Snippet(_) => "a snippet of nginx's configuration".to_owned(),
        Filter::MirrorTo(mirror) => format!("requests are copied to {}", mirror.backend.name),
        Filter::Send(send) => {
            let rest = match send.rest {
                Rest::Nothing => "",
                Rest::Query => " and the query",
                Rest::TargetWithoutSlash => " and the path",
            };
            format!("sent to {}{rest} ({})", send.to, send.status)
        }
        Filter::Substitute(substitute) => {
            let (pattern, to) = (substitute.pattern.as_str(), &substitute.to);
            let prefix = substitute.prefix.iter();
            let prefix = prefix.map(|prefix| format!(", X-Forwarded-Prefix {prefix}"));
            let prefix: String = prefix.collect();
            match substitute.redirects {
                true => format!("sent to {to} where the path has {pattern} (302)"),
                false => format!("path {to} where it has {pattern}{prefix}"),
            }
        }
        Filter::UpstreamHost(host) => format!("host {host}"),
    }
}

fn limits_in_words(limits: &ClientLimits) -> String {
    let rate = |rate: Option<RequestRate>, per: u64, unit: &str| {
        rate.map(|rate| {
            let count = (u64::from(rate.rate) * per + 500) / 1000;
            format!("{count} requests a {unit} and {} at once", rate.burst)
        })
    };
    let all = [
        rate(limits.per_second, 1, "second"),
        rate(limits.per_minute, 60, "minute"),
        (limits.at_once > 0).then(|| format!("{} requests at a time", limits.at_once)),
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    format!("one client has {}", all.join(", "))
}

fn access_in_words(access: &Access) -> String {
    let external = access.external.as_ref();
    let all = [
        (!access.deny.is_empty()).then(|| "some addresses are denied".to_owned()),
        (access.allow.is_some()).then(|| "only some addresses are let in".to_owned()),
        (access.password.as_ref()).map(|it| format!("a password for {:?} is asked for", it.realm)),
        external.map(|it| format!("{} is asked whether it may pass", it.backend.name)),
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    all.join(if access.any { ", or " } else { ", and " })
}

/// Which requests are a canary's, in words; none if the action has none.
pub(crate) fn canary(action: &Action) -> Option<String> {
    let Action::Split(split) = action else {
        return None;
    };
    let canary = split.canary()?;
    let [main, other] = split.shares() else {
        return None;
    };
    let name = |share: &model::Share| match &share.target {
        Target::Backend(backend) => backend.name.to_string(),
        Target::Invalid => String::new(),
    };
    let mut who = Vec::new();
    who.extend(canary.header.as_ref().map(|(field, value)| match value {
        CanaryHeader::AlwaysNever => format!("header {field} decides by always and never"),
        CanaryHeader::Value(value) => format!("header {field} is {value}"),
        CanaryHeader::Pattern(pattern) => format!("header {field} matches {}", pattern.as_str()),
        CanaryHeader::Unreadable => format!("nobody with header {field}"),
    }));
    let cookie = canary.cookie.iter();
    who.extend(cookie.map(|cookie| format!("cookie {cookie} decides by always and never")));
    who.push(format!("else {} of {}", other.weight, split.total()));
    Some(format!(
        "{} beside {}: {}",
        name(other),
        name(main),
        who.join(", ")
    ))
}

fn edit_in_words(edit: &HeaderEdit) -> String {
    let removed = edit.remove.iter().map(|name| format!("{name} removed"));
    let set = edit.set.iter();
    let set = set.map(|(name, value)| format!("{name} set to {value}"));
    let added = edit.add.iter();
    let added = added.map(|(name, value)| format!("{name} {value} added"));
    let all: Vec<String> = removed.chain(set).chain(added).collect();
    all.join(", ")
}

fn path_in_words(path: &PathEdit) -> String {
    match path {
        PathEdit::Full(path) => format!("path {path}"),
        PathEdit::Prefix(path) => format!("prefix {path}"),
    }
}

fn origin_in_words(origin: &OriginMatch) -> String {
    match origin {
        OriginMatch::Any => "*".to_owned(),
        OriginMatch::Exact(origin) => origin.to_string(),
        OriginMatch::Wildcard { before, after } => format!("{before}*{after}"),
    }
}

/// What an action leads to, with its endpoints as they are now; none if that is not one backend.
pub(crate) fn backend(action: &Action) -> Option<view::Backend> {
    match action {
        Action::Forward(backend) => Some(one_backend(backend)),
        Action::Split(_) | Action::Invalid | Action::Denied | Action::NotFound => None,
    }
}

/// The backends of an action that has several.
pub(crate) fn shares(action: &Action) -> Vec<view::Share> {
    let Action::Split(split) = action else {
        return Vec::new();
    };
    let shares = split.shares().iter();
    shares
        .map(|share| view::Share {
            weight: share.weight,
            backend: match &share.target {
                Target::Backend(backend) => Some(one_backend(backend)),
                Target::Invalid => None,
            },
            filters: share.filters.iter().map(filter).collect(),
        })
        .collect()
}

fn one_backend(backend: &Backend) -> view::Backend {
    let endpoints = backend.endpoints();
    view::Backend {
        name: backend.name.to_string(),
        endpoints: endpoints
            .ready
            .iter()
            .map(|one| one.address.to_string())
            .collect(),
        unavailable: endpoints.unavailable.map(|why| why.to_string()),
    }
}

/// Every backend that an action leads to.
fn backends(action: &Action) -> Vec<&Arc<Backend>> {
    match action {
        Action::Forward(backend) => vec![backend],
        Action::Split(split) => in_split(split),
        Action::Invalid | Action::Denied | Action::NotFound => Vec::new(),
    }
}

fn in_split(split: &Split) -> Vec<&Arc<Backend>> {
    let shares = split.shares().iter();
    let backends = shares.filter_map(|share| match &share.target {
        Target::Backend(backend) => Some(backend),
        Target::Invalid => None,
    });
    backends.collect()
}

/// What tells a path from others: its kind and its text.
fn path_text(path: &PathMatch) -> (u8, &str) {
    match path {
        PathMatch::Exact(path) => (0, path),
        PathMatch::Prefix(path) => (1, path),
        PathMatch::Pattern(pattern) => (2, pattern.as_str()),
    }
}

/// How much a snapshot holds. A host, a rule and a backend count once, on however many ports.
pub(super) fn count(snapshot: &Snapshot) -> view::Counts {
    use std::collections::{HashMap, HashSet};

    let mut hosts = HashMap::new();
    let mut found = HashMap::new();
    for listener in &snapshot.listeners {
        for site in sites(&listener.service) {
            for (name, host) in site.hosts.iter() {
                let rules: &mut HashSet<_> = hosts.entry((&site.name, name)).or_default();
                for rule in host.rules().iter().chain(&host.default) {
                    for backend in backends(&rule.action) {
                        found.insert(backend.name.clone(), backend.endpoints().ready.len());
                    }
                }
                // The same rule may be built once for each port, with other filters.
                rules.extend(
                    host.rules()
                        .iter()
                        .map(|rule| (&rule.route, &rule.field, path_text(&rule.path))),
                );
            }
        }
        if let Service::Tcp(route) | Service::Udp(route) = &listener.service {
            for backend in route.split.iter().flat_map(|split| in_split(split)) {
                found.insert(backend.name.clone(), backend.endpoints().ready.len());
            }
        }
    }
    view::Counts {
        objects: Default::default(),
        hosts: hosts.len(),
        rules: hosts.values().map(HashSet::len).sum(),
        backends: found.len(),
        endpoints: found.values().sum(),
    }
}
