//! One Ingress by itself: typed values, every error collected.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use model::Unavailable;
use objects::Problem;
use objects::kinds::{Ingress, IngressBackend, IngressTls, ServiceBackendPort};

use super::Precedence;
use super::annotations::aliases::SERVER_ALIAS;
use super::annotations::{self, Reading, Settings};
use super::class::{PathSemantics, Profile};
use super::host::{BadHost, covers, normal_host};
use super::key;
use super::path::{Location, WrittenPath, path_match};
use crate::name::NameRef;
use crate::report::{Problems, annotation_field};

/// What paths of Exact and Prefix consist of, for people.
const PLAIN: &str = "letters, digits and `/._-`";

/// What one Ingress says, without regard to any other object.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) source: Arc<Ingress>,
    /// Its hosts, sorted, each once: rules for the same host are one.
    pub(crate) hosts: Box<[HostPaths]>,
    pub(crate) default_backend: Option<BackendRef>,
    pub(crate) tls: Box<[TlsEntry]>,
    pub(crate) settings: Settings,
    /// Whose defaults it has.
    pub(crate) profile: Profile,
    /// Whether it may name objects of other namespaces (`allow-cross-namespace-resources`).
    pub(crate) crosses: bool,
    pub(crate) problems: Arc<[Problem]>,
}

/// The paths of one host, in the order of the object; empty for rules without `http`.
#[derive(Debug)]
pub(crate) struct HostPaths {
    /// As [`normal_host`] spells it.
    pub(crate) host: Box<str>,
    pub(crate) paths: Box<[PathRule]>,
}

/// One path.
#[derive(Debug)]
pub(crate) struct PathRule {
    pub(crate) place: Place,
    pub(crate) path: WrittenPath,
    pub(crate) backend: BackendRef,
}

/// Where in the object a path stands. Shows as `spec.rules[0].http.paths[1]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    rule: u32,
    path: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spec.rules[{}].http.paths[{}]", self.rule, self.path)
    }
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BackendRef {
    /// A port of a Service of the Ingress's namespace.
    Service { name: Box<str>, port: PortRef },
    /// Nothing that could answer; the problem has been reported.
    Unusable {
        label: Box<str>,
        reason: Unavailable,
    },
}

/// Which of a Service's ports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum PortRef {
    Name(Box<str>),
    Number(u16),
    /// The number of a port that speaks UDP.
    Udp(u16),
    /// The first one, for references that cannot name a port.
    First,
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => number.fmt(f),
            Self::Udp(number) => write!(f, "{number}/udp"),
            Self::First => f.write_str("(first)"),
        }
    }
}

/// One entry of `spec.tls`.
#[derive(Debug)]
pub(crate) struct TlsEntry {
    /// Its index in the object.
    pub(crate) index: usize,
    /// With their indexes in the object.
    pub(crate) hosts: Box<[(usize, Box<str>)]>,
    /// In the Ingress's namespace.
    pub(crate) secret: Option<Box<str>>,
}

impl Parsed {
    pub(crate) fn precedence(&self) -> Precedence<'_> {
        Precedence::of(&self.source)
    }

    /// What `namespace/name`, or a name, in an annotation means: an object of its own namespace,
    /// unless it may name others, or nothing.
    pub(crate) fn named<'a>(&'a self, written: &'a str) -> Option<NameRef<'a>> {
        let own = self.namespace();
        let (namespace, name) = written.split_once('/').unwrap_or((own, written));
        let is_allowed = namespace == own || (self.crosses && !namespace.is_empty());
        let is_name = !name.is_empty() && !name.contains('/');
        (is_allowed && is_name).then_some(NameRef { namespace, name })
    }

    /// The same where ingress-nginx wants the namespace written, if it is by its ways.
    pub(crate) fn named_wholly<'a>(&'a self, written: &'a str) -> Option<NameRef<'a>> {
        let is_whole = self.profile != Profile::IngressNginx || written.contains('/');
        self.named(written).filter(|_| is_whole)
    }

    pub(crate) fn namespace(&self) -> &str {
        self.source
            .metadata
            .namespace
            .as_deref()
            .unwrap_or_default()
    }

    /// Whether it serves nothing of its own, but some requests of another Ingress.
    pub(crate) fn is_canary(&self) -> bool {
        self.settings.canary().is_some_and(|it| it.enabled)
    }

    /// Every host that gets something from its annotations that its rules do not name.
    pub(crate) fn derived_hosts(&self) -> Vec<Box<str>> {
        if self.is_canary() {
            return Vec::new();
        }
        let mut derived = Vec::new();
        if let Some(aliases) = self.settings.aliases()
            && !self.hosts.is_empty()
        {
            derived.extend(aliases.names.iter().cloned());
        }
        let redirect = self.settings.redirect();
        if redirect.is_some_and(|redirect| redirect.leads_from_www()) {
            derived.extend(self.hosts.iter().filter_map(|own| counterpart(&own.host)));
        }
        derived.sort_unstable();
        derived.dedup();
        derived
    }

    /// Whether the object has rules, good or bad.
    pub(crate) fn has_rules(&self) -> bool {
        self.source
            .spec
            .rules
            .as_ref()
            .is_some_and(|rules| !rules.is_empty())
    }

    /// The index in `hosts` of what its rules say about just this host.
    pub(crate) fn host_index(&self, host: &str) -> Option<usize> {
        self.hosts
            .binary_search_by(|own| (*own.host).cmp(host))
            .ok()
    }

    /// Whether its rules say something about `host`, perhaps as one of many.
    pub(crate) fn rules_cover(&self, host: &str) -> bool {
        let wildcard = || match host.split_once('.') {
            Some((label, suffix)) if label != "*" => self.host_index(&format!("*.{suffix}")),
            _ => None,
        };
        self.host_index(host).is_some() || self.host_index("").is_some() || wildcard().is_some()
    }

    /// Whether a rule is for a host that `host`, a wildcard, stands for.
    pub(crate) fn rules_within(&self, host: &str) -> bool {
        host.starts_with("*.") && self.hosts.iter().any(|own| covers(host, &own.host))
    }
}

/// The host with `www.` of one without, and the other way round. Only names have one.
pub(crate) fn counterpart(host: &str) -> Option<Box<str>> {
    if host.is_empty() || host.starts_with("*.") {
        return None;
    }
    Some(match host.strip_prefix("www.") {
        Some(rest) => rest.into(),
        None => format!("www.{host}").into(),
    })
}

/// Reads an Ingress. `strict` is whether paths of Exact and Prefix have plain characters only, where
/// they are read as ingress-nginx does.
pub(crate) fn parse(
    source: &Arc<Ingress>,
    profile: Profile,
    strict: bool,
    reading: Reading<'_>,
) -> Parsed {
    let mut problems = Problems::of(key(source));
    let settings = annotations::read(source, reading, &mut problems);
    let paths = Paths::new(&settings, profile, strict, reading);
    warn_of_cookie_paths(source, &settings, reading.prefix, &mut problems);
    refuse_aliases(&settings, reading.prefix, &mut problems);
    let default_backend = source.spec.default_backend.as_ref();
    let default_backend =
        default_backend.map(|backend| parse_backend(backend, "spec.defaultBackend", &mut problems));
    let tls = source.spec.tls.iter().flatten().enumerate();
    let tls = tls
        .map(|(index, entry)| parse_tls(index, entry, &mut problems))
        .collect();
    let hosts = parse_rules(source, paths, &mut problems);
    Parsed {
        source: Arc::clone(source),
        hosts,
        default_backend,
        tls,
        settings,
        profile,
        crosses: reading.crosses,
        problems: problems.into_shared(),
    }
}

/// How an Ingress's paths are read.
#[derive(Debug, Clone, Copy)]
struct Paths {
    semantics: PathSemantics,
    strict: bool,
    /// Whether the Ingress itself asks for patterns.
    patterns: bool,
    /// Whether paths whose backend is no Service are left out, as ingress-nginx does.
    services_only: bool,
}

impl Paths {
    fn new(settings: &Settings, profile: Profile, strict: bool, reading: Reading<'_>) -> Self {
        let rewrite = settings.rewrite();
        let patterns = rewrite.is_some_and(|it| it.use_regex || it.target.is_some());
        let default = match profile {
            Profile::Own if !patterns => PathSemantics::Kubernetes,
            Profile::Own | Profile::IngressNginx => PathSemantics::IngressNginx,
        };
        let is_canary = settings.canary().is_some_and(|it| it.enabled);
        Self {
            semantics: settings.paths.or(reading.paths).unwrap_or(default),
            strict,
            // A canary's paths are what those of its main are.
            patterns: patterns || is_canary,
            services_only: profile == Profile::IngressNginx,
        }
    }
}

/// Names of hosts that are none.
fn refuse_aliases(settings: &Settings, prefix: &str, problems: &mut Problems) {
    let aliases = settings.aliases().into_iter();
    for name in aliases.flat_map(|aliases| &aliases.refused) {
        let message = format!("{name:?} is no host name and left out");
        let hint = "names, and `*.` and a name";
        problems.error(
            annotation_field(&format!("{prefix}/{SERVER_ALIAS}")),
            message,
            hint,
        );
    }
}

/// With patterns, cookies are for all paths of the host unless it is said for which.
fn warn_of_cookie_paths(
    source: &Ingress,
    settings: &Settings,
    prefix: &str,
    problems: &mut Problems,
) {
    let said = |name: &str| source.metadata.annotations.get(&format!("{prefix}/{name}"));
    let use_regex = settings.rewrite().is_some_and(|it| it.use_regex);
    if use_regex && said("affinity") == Some("cookie") && said("session-cookie-path").is_none() {
        problems.warning(
            annotation_field(&format!("{prefix}/affinity")),
            "its cookie is for all paths of the host: they are patterns, which cookies have not",
            "session-cookie-path with the path that they have in common",
        );
    }
}

fn parse_rules(source: &Ingress, read: Paths, problems: &mut Problems) -> Box<[HostPaths]> {
    let mut hosts: BTreeMap<Box<str>, Vec<PathRule>> = BTreeMap::new();
    for (rule, written) in (0..).zip(source.spec.rules.iter().flatten()) {
        let host = match normal_host(written.host.as_deref().unwrap_or_default()) {
            Ok(host) => host,
            Err(BadHost { message, hint }) => {
                let message = format!("{message}; the rule is left out");
                problems.error(format!("spec.rules[{rule}].host"), message, hint);
                continue;
            }
        };
        let paths = hosts.entry(host).or_default();
        for (path, written) in (0..).zip(written.http.iter().flat_map(|http| &http.paths)) {
            let place = Place { rule, path };
            if read.services_only && written.backend.service.is_none() {
                let message = "names no Service; the path is left out";
                problems.error(format!("{place}.backend"), message, ONE_SERVICE);
                continue;
            }
            let path = written.path.as_deref();
            let path = match read.semantics {
                PathSemantics::Kubernetes => {
                    path_match(path, written.path_type).map(WrittenPath::Kubernetes)
                }
                PathSemantics::IngressNginx => Location::parse(path, written.path_type)
                    .map(|location| WrittenPath::Nginx(Box::new(location))),
            };
            if let Ok(WrittenPath::Nginx(location)) = &path
                && read.strict
                && !location.is_strict(written.path_type)
            {
                let field = format!("{place}.path");
                let message = format!("{:?} has other characters than {PLAIN}", location.text);
                let hint = "pathType: ImplementationSpecific";
                if !read.patterns {
                    problems.error(field, format!("{message}; the path is left out"), hint);
                    continue;
                }
                problems.warning(field, message, hint);
            }
            match path {
                Ok(path) => {
                    let field = format!("{place}.backend");
                    let backend = parse_backend(&written.backend, &field, problems);
                    paths.push(PathRule {
                        place,
                        path,
                        backend,
                    });
                }
                Err(bad) => {
                    let message = format!("{}; the path is left out", bad.message);
                    problems.error(format!("{place}.path"), message, bad.hint);
                }
            }
        }
    }
    hosts
        .into_iter()
        .map(|(host, paths)| HostPaths {
            host,
            paths: paths.into(),
        })
        .collect()
}

/// What a backend is.
const ONE_SERVICE: &str = "`service` with the name and the port of a Service";

fn parse_backend(backend: &IngressBackend, field: &str, problems: &mut Problems) -> BackendRef {
    if let Some(resource) = &backend.resource {
        let kind = &resource.kind;
        let message = format!("{kind} is no backend that Narthex knows; it answers 503");
        problems.error(format!("{field}.resource"), message, ONE_SERVICE);
        let label = format!("{}.{kind}", resource.name).into();
        return BackendRef::Unusable {
            label,
            reason: Unavailable::NoService,
        };
    }
    let Some(service) = backend
        .service
        .as_ref()
        .filter(|service| !service.name.is_empty())
    else {
        problems.error(field, "names no Service; it answers 503", ONE_SERVICE);
        return BackendRef::Unusable {
            label: "".into(),
            reason: Unavailable::NoService,
        };
    };
    match parse_port(&service.port) {
        Ok(port) => BackendRef::Service {
            name: service.name.clone(),
            port,
        },
        Err(message) => {
            let hint = "exactly one of `name` and `number`";
            problems.error(format!("{field}.service.port"), message, hint);
            let label = service.name.clone();
            BackendRef::Unusable {
                label,
                reason: Unavailable::NoPort,
            }
        }
    }
}

fn parse_port(port: &ServiceBackendPort) -> Result<PortRef, &'static str> {
    let name = port.name.as_deref().filter(|name| !name.is_empty());
    match (name, port.number.filter(|number| *number != 0)) {
        (Some(name), None) => Ok(PortRef::Name(name.into())),
        (None, Some(number)) => Ok(PortRef::Number(number)),
        (Some(_), Some(_)) => Err("has both a name and a number; it answers 503"),
        (None, None) => Err("is missing; it answers 503"),
    }
}

fn parse_tls(index: usize, entry: &IngressTls, problems: &mut Problems) -> TlsEntry {
    let mut hosts = Vec::new();
    for (at, written) in entry.hosts.iter().flatten().enumerate() {
        let field = || format!("spec.tls[{index}].hosts[{at}]");
        match normal_host(written) {
            Ok(host) if host.is_empty() => problems.error(field(), "is empty", "a host name"),
            Ok(host) => hosts.push((at, host)),
            Err(BadHost { message, hint }) => problems.error(field(), message, hint),
        }
    }
    let secret = entry.secret_name.as_deref().filter(|name| !name.is_empty());
    TlsEntry {
        index,
        hosts: hosts.into(),
        secret: secret.map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use objects::Severity;
    use serde_json::json;

    use super::*;
    use crate::testing::ingress;

    #[test]
    fn rules_of_one_host_are_one_and_what_is_broken_is_left_out_alone() {
        let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
        let source = Arc::new(ingress(
            "default",
            "web",
            json!({"spec": {"rules": [
                {"host": "B.example", "http": {"paths": [
                    {"path": "/x", "pathType": "Exact", "backend": backend},
                    {"path": "/a?b", "pathType": "Prefix", "backend": backend},
                ]}},
                {"host": "a.example"},
                {"host": "b.example", "http": {"paths": [
                    {"path": "/y/", "pathType": "Prefix", "backend": {
                        "service": {"name": "web", "port": {}}
                    }},
                ]}},
                {"host": "c.example:80", "http": {"paths": []}},
                {"http": {"paths": [{"pathType": "Prefix", "backend": {
                    "resource": {"kind": "Bucket", "name": "files"}
                }}]}},
            ]}}),
        ));
        let reading = Reading {
            prefix: "nginx.ingress.kubernetes.io",
            validates: true,
            risk: annotations::table::Risk::High,
            snippets: false,
            words: &[],
            crosses: false,
            paths: None,
        };
        let parsed = parse(&source, Profile::Own, false, reading);
        let hosts: Vec<_> = parsed
            .hosts
            .iter()
            .map(|host| {
                let paths = host.paths.iter();
                let paths: Vec<_> = paths
                    .map(|path| {
                        let plain = path.path.plain().expect("a path");
                        format!("{} {plain}", path.place)
                    })
                    .collect();
                (&*host.host, paths.join(", "))
            })
            .collect();
        assert_eq!(
            hosts,
            [
                ("", "spec.rules[4].http.paths[0] Prefix /".to_owned()),
                ("a.example", String::new()),
                (
                    "b.example",
                    "spec.rules[0].http.paths[0] Exact /x, spec.rules[2].http.paths[0] Prefix /y"
                        .to_owned()
                ),
            ]
        );
        let fields: Vec<_> = parsed
            .problems
            .iter()
            .map(|problem| problem.field.as_str())
            .collect();
        assert_eq!(
            fields,
            [
                "spec.rules[0].http.paths[1].path",
                "spec.rules[2].http.paths[0].backend.service.port",
                "spec.rules[3].host",
                "spec.rules[4].http.paths[0].backend.resource",
            ]
        );
        assert!(
            parsed
                .problems
                .iter()
                .all(|problem| problem.severity == Severity::Error)
        );
    }
}
