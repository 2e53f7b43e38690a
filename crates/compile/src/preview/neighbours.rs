//! The few objects that decide what is said of one Ingress.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use model::PathMatch;
use objects::Store;
use objects::kinds::{Ingress, IngressBackend, Object};

use crate::certificates::Certificates;
use crate::config_map::Configuration;
use crate::ingress::annotations::Reading;
use crate::ingress::class::Classes;
use crate::ingress::manner::Profiles;
use crate::ingress::parse::{Parsed, counterpart, parse};
use crate::ingress::path::path_match;
use crate::ingress::resolve::{config_maps, secrets};
use crate::ingress::{Precedence, normal_host};
use crate::name::NameRef;
use crate::options::Options;

/// How many Ingresses at most are taken along because they have a certificate, or a default
/// backend, for one of the hosts: the first ones by precedence, which win. Whole fleets share one
/// host and one certificate.
const MOST: usize = 50;

/// Annotations that have to do with a whole host.
const FAR_REACHING: &[&str] = &[
    "use-regex",
    "rewrite-target",
    "canary",
    "server-alias",
    "from-to-www-redirect",
];

/// How many certificates at most are read to learn which hosts `tls` entries without hosts mean.
const MOST_READ: usize = 100;

/// The objects of `store` that decide what is said of the Ingress in its form `old` or `new`,
/// without the Ingress itself.
pub(super) fn of(
    store: &Store,
    old: Option<&Arc<Ingress>>,
    new: &Arc<Ingress>,
    reader: &Reader<'_>,
    now: i64,
) -> Store {
    let mut search = Search::new(store, reader, now);
    for ingress in old.into_iter().chain([new]) {
        search.want(ingress);
    }
    let own = NameRef::of(&new.metadata);
    for other in store.ingresses() {
        if NameRef::of(&other.metadata) != own {
            search.look_at(other);
        }
    }
    let found = search.found();
    let mut nearby = Store::default();
    for class in store.ingress_classes() {
        nearby.apply(Object::IngressClass(Arc::clone(class)));
    }
    let own = reader.options.config_map.iter();
    let own = own.map(|(namespace, name)| (namespace.as_str(), name.as_str()));
    let named = reader.configuration.global().config_maps();
    for (namespace, name) in own.chain(named.map(|it| (it.namespace, it.name))) {
        let found = store.config_map(namespace, name);
        found.map(|found| nearby.apply(Object::ConfigMap(Arc::clone(found))));
    }
    for ingress in found.iter().copied().chain(old).chain([new]) {
        take_secrets(&mut nearby, store, ingress);
    }
    for ingress in old.into_iter().chain([new]) {
        take_services(&mut nearby, store, ingress);
        take_named(&mut nearby, store, &reader.read(ingress));
    }
    for ingress in found {
        nearby.apply(Object::Ingress(Arc::clone(ingress)));
    }
    nearby
}

/// What it takes to know what an Ingress says by itself.
pub(super) struct Reader<'a> {
    classes: &'a Classes,
    options: &'a Options,
    configuration: Configuration,
    profiles: Profiles,
}

impl<'a> Reader<'a> {
    pub(super) fn new(store: &Store, classes: &'a Classes, options: &'a Options) -> Self {
        let mut configuration = Configuration::default();
        configuration.update(options, store);
        Self {
            profiles: Profiles::new(options, configuration.global()),
            configuration,
            classes,
            options,
        }
    }

    pub(super) fn read(&self, ingress: &Arc<Ingress>) -> Parsed {
        let profile = self.classes.verdict(ingress, self.options).profile();
        let profile = profile.unwrap_or_default();
        let reading = Reading::of(self.options, self.profiles.of(profile));
        let reading = reading.with_paths(self.classes.paths(ingress));
        parse(ingress, profile, false, reading)
    }
}

/// The Services that an Ingress names, with the field of the backend that names it.
pub(super) fn backends(ingress: &Ingress) -> impl Iterator<Item = (&str, impl Fn() -> String)> {
    let rules = ingress.spec.rules.iter().flatten().enumerate();
    let of_rules = rules.flat_map(|(rule, written)| {
        let paths = written.http.iter().flat_map(|http| &http.paths).enumerate();
        paths.map(move |(path, written)| (Some((rule, path)), &written.backend))
    });
    let default = ingress.spec.default_backend.iter();
    let all = of_rules.chain(default.map(|backend| (None, &**backend)));
    all.filter_map(|(place, backend): (_, &IngressBackend)| {
        let field = move || match place {
            Some((rule, path)) => format!("spec.rules[{rule}].http.paths[{path}].backend"),
            None => "spec.defaultBackend".to_owned(),
        };
        Some((backend.service.as_ref()?.name.as_ref(), field))
    })
}

fn take_secrets(nearby: &mut Store, store: &Store, ingress: &Ingress) {
    let namespace = NameRef::of(&ingress.metadata).namespace;
    for entry in ingress.spec.tls.iter().flatten() {
        let secret = entry.secret_name.as_deref().unwrap_or_default();
        if let Some(secret) = store.secret(namespace, secret) {
            nearby.apply(Object::Secret(Arc::clone(secret)));
        }
    }
}

/// What its annotations name, too.
fn take_named(nearby: &mut Store, store: &Store, ingress: &Parsed) {
    for name in secrets(ingress) {
        if let Some(secret) = store.secret(name.namespace, name.name) {
            nearby.apply(Object::Secret(Arc::clone(secret)));
        }
    }
    for name in config_maps(ingress) {
        if let Some(map) = store.config_map(name.namespace, name.name) {
            nearby.apply(Object::ConfigMap(Arc::clone(map)));
        }
    }
}

fn take_services(nearby: &mut Store, store: &Store, ingress: &Ingress) {
    let namespace = NameRef::of(&ingress.metadata).namespace;
    for (name, _) in backends(ingress) {
        if let Some(service) = store.service(namespace, name) {
            nearby.apply(Object::Service(Arc::clone(service)));
        }
        for slice in store.endpoint_slices(namespace, name) {
            nearby.apply(Object::EndpointSlice(Arc::clone(slice)));
        }
        if let Some(endpoints) = store.endpoints(namespace, name) {
            nearby.apply(Object::Endpoints(Arc::clone(endpoints)));
        }
    }
}

/// One pass over the Ingresses.
struct Search<'a> {
    store: &'a Store,
    reader: &'a Reader<'a>,
    now: i64,
    certificates: Certificates,
    /// How many more certificates are read.
    unread: usize,
    /// The hosts of the Ingress, in rules, for TLS and in its certificates.
    hosts: HashSet<Box<str>>,
    paths: HashMap<Box<str>, HashSet<PathMatch>>,
    /// Paths that are patterns or nothing.
    written: HashSet<Box<str>>,
    has_default: bool,
    catches_all: bool,
    /// The first by precedence for each path; none of the path is a rule for the host at all.
    by_path: HashMap<(Box<str>, Option<PathMatch>), &'a Arc<Ingress>>,
    with_default: BTreeMap<Precedence<'a>, &'a Arc<Ingress>>,
    with_tls: BTreeMap<Precedence<'a>, &'a Arc<Ingress>>,
    /// Those whose annotations have to do with a whole host: with how all its paths are read, with
    /// other Ingresses' requests, or with its names.
    far_reaching: BTreeMap<Precedence<'a>, &'a Arc<Ingress>>,
    /// All of the hosts; they matter where an annotation is far-reaching, for it may be that of a path
    /// that another Ingress has.
    sharing: BTreeMap<Precedence<'a>, &'a Arc<Ingress>>,
    /// Whether the Ingress itself has such an annotation.
    reaches_far: bool,
    catch_all: Option<&'a Arc<Ingress>>,
}

impl<'a> Search<'a> {
    fn new(store: &'a Store, reader: &'a Reader<'a>, now: i64) -> Self {
        Self {
            store,
            reader,
            now,
            certificates: Certificates::new(reader.options),
            unread: MOST_READ,
            hosts: HashSet::new(),
            paths: HashMap::new(),
            written: HashSet::new(),
            has_default: false,
            catches_all: false,
            by_path: HashMap::new(),
            with_default: BTreeMap::new(),
            with_tls: BTreeMap::new(),
            far_reaching: BTreeMap::new(),
            sharing: BTreeMap::new(),
            reaches_far: false,
            catch_all: None,
        }
    }

    /// Searches for what `ingress` has to do with.
    fn want(&mut self, ingress: &Arc<Ingress>) {
        let parsed = self.reader.read(ingress);
        for of_host in &parsed.hosts {
            self.hosts.insert(of_host.host.clone());
            let paths = self.paths.entry(of_host.host.clone()).or_default();
            let plain = of_host
                .paths
                .iter()
                .filter_map(|path| path.path.plain().ok());
            paths.extend(plain.cloned());
            let odd = of_host
                .paths
                .iter()
                .filter(|path| path.path.plain().is_err());
            self.written
                .extend(odd.map(|path| path.path.identity().0.into()));
            self.hosts.extend(counterpart(&of_host.host));
        }
        self.hosts.extend(parsed.derived_hosts());
        self.reaches_far |= self.is_far_reaching(ingress);
        let listed = parsed.tls.iter().flat_map(|entry| &entry.hosts);
        self.hosts.extend(listed.map(|(_, host)| host.clone()));
        let named = self.certificate_hosts(ingress);
        self.hosts.extend(named);
        self.has_default |= parsed.default_backend.is_some();
        self.catches_all |= parsed.default_backend.is_some() && !parsed.has_rules();
    }

    /// The hosts that `tls` entries without hosts mean: those in their certificates.
    fn certificate_hosts(&mut self, ingress: &Ingress) -> Vec<Box<str>> {
        let namespace = NameRef::of(&ingress.metadata).namespace;
        let mut hosts = Vec::new();
        for entry in ingress.spec.tls.iter().flatten() {
            let secret = entry.secret_name.as_deref().unwrap_or_default();
            if entry.hosts.iter().flatten().next().is_some() || secret.is_empty() {
                continue;
            }
            let Some(unread) = self.unread.checked_sub(1) else {
                break;
            };
            self.unread = unread;
            let name = NameRef {
                namespace,
                name: secret,
            };
            if let Ok(loaded) = self.certificates.load(name, self.store, self.now) {
                hosts.extend(loaded.names.iter().cloned());
            }
        }
        hosts
    }

    fn look_at(&mut self, other: &'a Arc<Ingress>) {
        let has_default = other.spec.default_backend.is_some();
        let shares = self.shares_host(other);
        let falls_back = self.catches_all && has_default;
        if !shares && !falls_back {
            return;
        }
        let Reader {
            classes, options, ..
        } = self.reader;
        if !classes.verdict(other, options).is_served() {
            return;
        }
        if falls_back {
            let rank = |ingress: &'a Arc<Ingress>| {
                let has_rules = ingress
                    .spec
                    .rules
                    .as_ref()
                    .is_some_and(|rules| !rules.is_empty());
                (has_rules, Precedence::of(ingress))
            };
            if self.catch_all.is_none_or(|first| rank(other) < rank(first)) {
                self.catch_all = Some(other);
            }
        }
        if !shares {
            return;
        }
        if has_default && self.has_default {
            keep(&mut self.with_default, other);
        }
        if other.spec.tls.iter().flatten().next().is_some() {
            keep(&mut self.with_tls, other);
        }
        if self.is_far_reaching(other) {
            keep(&mut self.far_reaching, other);
        }
        keep(&mut self.sharing, other);
        self.look_at_paths(other);
    }

    fn shares_host(&mut self, other: &Arc<Ingress>) -> bool {
        let wanted = |host: &str| self.wanted(host).is_some();
        let in_rules = other
            .spec
            .rules
            .iter()
            .flatten()
            .any(|rule| wanted(rule.host.as_deref().unwrap_or_default()));
        let mut tls = other.spec.tls.iter().flatten();
        in_rules
            || self.derives_host(other)
            || tls.any(|entry| entry.hosts.iter().flatten().any(|host| wanted(host)))
            || self
                .certificate_hosts(other)
                .iter()
                .any(|host| self.hosts.contains(host))
    }

    fn is_far_reaching(&self, other: &Ingress) -> bool {
        let prefix = &self.reader.options.annotations_prefix;
        let said = |name: &&str| other.metadata.annotations.get(&format!("{prefix}/{name}"));
        FAR_REACHING.iter().any(|name| said(name).is_some())
    }

    /// Whether one of the hosts is another name of a host of `other`.
    fn derives_host(&self, other: &Arc<Ingress>) -> bool {
        if !self.is_far_reaching(other) {
            return false;
        }
        self.reader
            .read(other)
            .derived_hosts()
            .iter()
            .any(|host| self.hosts.contains(host))
    }

    /// The host as this search has it, if it has it.
    fn wanted(&self, written: &str) -> Option<&str> {
        if let Some(host) = self.hosts.get(written) {
            return Some(&**host);
        }
        let odd = written.ends_with('.') || written.bytes().any(|byte| byte.is_ascii_uppercase());
        let normal = odd.then(|| normal_host(written).ok()).flatten()?;
        self.hosts.get(&normal).map(|host| &**host)
    }

    fn look_at_paths(&mut self, other: &'a Arc<Ingress>) {
        for rule in other.spec.rules.iter().flatten() {
            let Some(host) = self.wanted(rule.host.as_deref().unwrap_or_default()) else {
                continue;
            };
            let host: Box<str> = host.into();
            let wanted = self.paths.get(&host);
            let paths = rule.http.iter().flat_map(|http| &http.paths);
            let shared = paths
                .filter_map(|path| path_match(path.path.as_deref(), path.path_type).ok())
                .filter(|path| wanted.is_some_and(|wanted| wanted.contains(path)))
                .map(Some);
            let written = rule.http.iter().flat_map(|http| &http.paths);
            let written = written.filter_map(|path| path.path.as_deref());
            let odd = written
                .filter(|path| self.written.contains(*path))
                .map(|path| Some(PathMatch::Exact(path.into())));
            for path in shared.chain(odd).chain([None]) {
                let first = self.by_path.entry((host.clone(), path)).or_insert(other);
                if Precedence::of(other) < Precedence::of(first) {
                    *first = other;
                }
            }
        }
    }

    /// Each once.
    fn found(self) -> Vec<&'a Arc<Ingress>> {
        let mut names = BTreeSet::new();
        let reaches_far = self.reaches_far || !self.far_reaching.is_empty();
        let sharing = match reaches_far {
            true => self.sharing,
            false => BTreeMap::new(),
        };
        let all = self
            .by_path
            .into_values()
            .chain(self.with_default.into_values())
            .chain(self.with_tls.into_values())
            .chain(self.far_reaching.into_values())
            .chain(sharing.into_values())
            .chain(self.catch_all);
        all.filter(|ingress| names.insert(NameRef::of(&ingress.metadata)))
            .collect()
    }
}

/// Keeps the first ones by precedence.
fn keep<'a>(kept: &mut BTreeMap<Precedence<'a>, &'a Arc<Ingress>>, other: &'a Arc<Ingress>) {
    kept.insert(Precedence::of(other), other);
    if kept.len() > MOST {
        kept.pop_last();
    }
}
