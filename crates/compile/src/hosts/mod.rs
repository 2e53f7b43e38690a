//! Hosts: every Ingress that names a host, merged into one router and one set of certificates.
//!
//! A host is built anew if one of its Ingresses is not what it was, if it gains or loses TLS
//! through a wildcard, or if what it falls back on changed. All others stay the same `Arc`s.

mod canaries;
mod clients;
mod derived;
pub(crate) mod fallback;
mod locations;
mod redirects;
mod routes;
mod sealed;
mod slots;
mod tls;

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use model::{CertificateSet, HostTable, Stream, VirtualHost};
use objects::Problem;

use crate::ingress::key;
use crate::ingress::list::Replaced;
use crate::ingress::resolve::Resolved;
use crate::options::Options;
use crate::report::Problems;
use fallback::{Fallbacks, FallbacksChanged};
pub(crate) use routes::Base;
use slots::Slots;

/// Every host that an Ingress names, in a rule or for TLS.
#[derive(Debug)]
pub(crate) struct Hosts {
    by_name: HashMap<Arc<str>, Host>,
    /// Those that have anything to say about requests.
    routes: HostTable<VirtualHost>,
    /// How many paths they have.
    paths: usize,
    /// How many of them ask clients who they are.
    asking: usize,
    /// Those for which there is a certificate.
    certificates: HostTable<CertificateSet>,
    /// Those whose TLS goes on as it is.
    sealed: HostTable<Stream>,
    slots: Slots,
}

#[derive(Debug, Default)]
struct Host {
    /// By precedence.
    claims: Vec<Claim>,
    /// Those that have to do with it otherwise, which few hosts have.
    others: Option<Box<Others>>,
    /// Whether it has TLS by one of its Ingresses.
    tls: bool,
    /// Whether one of its Ingresses says what answers the paths that no rule claims.
    own_default: bool,
}

#[derive(Debug, Default)]
struct Others {
    /// Those that get some requests of the claims, by precedence.
    canaries: Vec<Claim>,
    /// Those that mean it by their annotations: it is another name of a host of theirs.
    derived: Vec<Arc<Resolved>>,
}

impl Host {
    fn canaries(&self) -> &[Claim] {
        self.others.as_ref().map_or(&[], |others| &others.canaries)
    }

    fn derived(&self) -> &[Arc<Resolved>] {
        self.others.as_ref().map_or(&[], |others| &others.derived)
    }

    fn others_mut(&mut self) -> &mut Others {
        self.others.get_or_insert_default()
    }

    /// Takes out those that are gone, and puts the rest in order.
    fn settle(&mut self, gone: &HashSet<*const Resolved>) {
        let is_gone = |ingress: &Arc<Resolved>| gone.contains(&Arc::as_ptr(ingress));
        let settle = |claims: &mut Vec<Claim>| {
            claims.retain(|claim| !is_gone(&claim.ingress));
            claims.sort_by(|a, b| {
                let (a, b) = (&a.ingress.parsed, &b.ingress.parsed);
                a.precedence().cmp(&b.precedence())
            });
            claims.shrink_to_fit();
        };
        settle(&mut self.claims);
        if let Some(others) = &mut self.others {
            settle(&mut others.canaries);
            others.derived.retain(|ingress| !is_gone(ingress));
            if others.canaries.is_empty() && others.derived.is_empty() {
                self.others = None;
            }
        }
    }
}

/// One Ingress that names the host.
#[derive(Debug, Clone)]
struct Claim {
    ingress: Arc<Resolved>,
    /// What it lost to others here.
    problems: Arc<[Problem]>,
}

impl Claim {
    fn new(ingress: Arc<Resolved>) -> Self {
        Self {
            ingress,
            problems: Arc::default(),
        }
    }

    fn problems_in_the_making(&self) -> Problems {
        Problems::of(key(&self.ingress.parsed.source))
    }
}

/// What was made of a host.
struct Made {
    built: routes::Built,
    certificates: Option<Arc<CertificateSet>>,
    sealed: Option<Arc<Stream>>,
    /// One for each claim.
    problems: Vec<Problems>,
    /// One for each canary.
    canary_problems: Vec<Problems>,
}

/// What an update changed.
#[derive(Debug, Default)]
pub(crate) struct Updated {
    /// Any virtual host.
    pub(crate) routes: bool,
    /// Any host's certificates.
    pub(crate) certificates: bool,
    /// Where any host's TLS goes that does not end here.
    pub(crate) sealed: bool,
    /// Ingresses that lost or regained something to others.
    pub(crate) concerned: Vec<Arc<Resolved>>,
}

impl Hosts {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            by_name: HashMap::new(),
            routes: HostTable::default(),
            paths: 0,
            asking: 0,
            certificates: HostTable::default(),
            sealed: HostTable::default(),
            slots: Slots::new(options.metrics_hosts),
        }
    }

    /// Takes over what Ingresses say now.
    pub(crate) fn update(
        &mut self,
        replaced: &[Replaced],
        fallbacks: &Fallbacks,
        changed: FallbacksChanged,
        base: Base<'_>,
    ) -> Updated {
        let mut updated = Updated::default();
        let mut dirty = self.reclaim(replaced, &mut updated);
        if changed.any && self.by_name.contains_key("") {
            dirty.insert("".into());
        }
        if changed.hosts {
            let affected = self.by_name.iter().filter(|(_, host)| !host.own_default);
            dirty.extend(affected.map(|(name, _)| name.clone()));
        }
        for name in dirty {
            self.rebuild(&name, fallbacks, base, &mut updated);
        }
        updated
    }

    /// Puts the claims in order, and returns the hosts whose parts may change by that.
    fn reclaim(&mut self, replaced: &[Replaced], updated: &mut Updated) -> BTreeSet<Arc<str>> {
        let mut gone: HashSet<*const Resolved> = HashSet::new();
        let mut dirty: BTreeSet<Arc<str>> = BTreeSet::new();
        for change in replaced {
            if let Some(old) = &change.old {
                gone.insert(Arc::as_ptr(old));
                dirty.extend(old.hosts().into_iter().map(Into::into));
                dirty.extend(old.parsed.derived_hosts().into_iter().map(Into::into));
            }
            if let Some(new) = &change.new {
                let is_canary = new.parsed.is_canary();
                for name in new.hosts() {
                    let claim = Claim::new(Arc::clone(new));
                    let host = self.by_name.entry_ref(name).or_default();
                    match is_canary {
                        true => host.others_mut().canaries.push(claim),
                        false => host.claims.push(claim),
                    }
                    dirty.insert(name.into());
                }
                for name in new.parsed.derived_hosts() {
                    let host = self.by_name.entry_ref(&*name).or_default();
                    host.others_mut().derived.push(Arc::clone(new));
                    dirty.insert(name.into());
                }
            }
        }
        let mut turned: HashSet<Box<str>> = HashSet::new();
        for name in &dirty {
            let Some(host) = self.by_name.get_mut(name) else {
                continue;
            };
            host.settle(&gone);
            let tls = host
                .claims
                .iter()
                .any(|claim| claim.ingress.gives_tls(name));
            if tls != host.tls
                && let Some(suffix) = name.strip_prefix("*.")
            {
                turned.insert(suffix.into());
            }
            host.tls = tls;
            if host.claims.is_empty() && host.others.is_none() {
                self.by_name.remove(name);
                self.paths -= paths(self.routes.get(name));
                self.asking -= asks(self.routes.get(name));
                updated.routes |= self.routes.remove(name);
                updated.certificates |= self.certificates.remove(name);
                updated.sealed |= self.sealed.remove(name);
            }
        }
        if !turned.is_empty() {
            let below = |name: &str| {
                name.split_once('.')
                    .is_some_and(|(_, x)| turned.contains(x))
            };
            dirty.extend(self.by_name.keys().filter(|name| below(name)).cloned());
        }
        self.spread(&mut dirty);
        dirty
    }

    /// Adds the hosts that have to do with others by annotations: another name of a host changes with
    /// it, and what is said of a host with what other names it has.
    fn spread(&self, dirty: &mut BTreeSet<Arc<str>>) {
        let mut unseen: Vec<Arc<str>> = dirty.iter().cloned().collect();
        while let Some(name) = unseen.pop() {
            let Some(host) = self.by_name.get(&name) else {
                continue;
            };
            let claims = host.claims.iter().map(|claim| &claim.ingress);
            let others = claims.flat_map(|ingress| ingress.parsed.derived_hosts());
            let deriving = host
                .derived()
                .iter()
                .flat_map(|ingress| &ingress.parsed.hosts);
            for other in others.chain(deriving.map(|host| host.host.clone())) {
                if let Some((known, _)) = self.by_name.get_key_value(&*other)
                    && dirty.insert(Arc::clone(known))
                {
                    unseen.push(Arc::clone(known));
                }
            }
        }
    }

    fn rebuild(
        &mut self,
        name: &str,
        fallbacks: &Fallbacks,
        base: Base<'_>,
        updated: &mut Updated,
    ) {
        if let Some((name, made)) = self.make(name, fallbacks, base) {
            self.take_over(&name, made, updated);
        }
    }

    /// Makes what there is to be of a host.
    fn make(
        &mut self,
        name: &str,
        fallbacks: &Fallbacks,
        base: Base<'_>,
    ) -> Option<(Arc<str>, Made)> {
        let (name, host) = self.by_name.get_key_value(name)?;
        let name = Arc::clone(name);
        let derived = derived::of(&name, host, &self.by_name);
        let has_tls = self.has_tls(&name);
        // Of another host's name, that host's Ingresses are told what is wrong.
        let (of, claims, canaries) = match &derived {
            Some(derived) => (&derived.of, derived.claims, derived.canaries),
            None => (&name, &*host.claims, host.canaries()),
        };
        let in_the_making = |claims: &[Claim]| -> Vec<Problems> {
            claims.iter().map(Claim::problems_in_the_making).collect()
        };
        let mut problems = in_the_making(claims);
        let sealed = match derived {
            None => sealed::build(&name, claims, &mut problems),
            Some(_) => None,
        };
        let clients = clients::build(of, claims, &mut problems);
        let former = self.routes.get(&name);
        let former_certificates = self.certificates.get(&name);
        let certificates = match &derived {
            None => tls::build(&name, claims, former_certificates, &mut problems),
            Some(_) => {
                let mut nobodys = in_the_making(&host.claims);
                tls::build(&name, &host.claims, former_certificates, &mut nobodys)
                    .or_else(|| tls::covering(&name, of, claims, former_certificates))
            }
        };
        let context = routes::Context {
            name: &name,
            of,
            canaries,
            has_tls: has_tls || sealed.is_some() || (derived.is_some() && certificates.is_some()),
            // What falls through the rules for all hosts is nobody's.
            fallback: if name.is_empty() {
                &fallbacks.any
            } else {
                &fallbacks.host
            },
            last: &fallbacks.last,
            former,
            clients,
            slots: &mut self.slots,
            base,
        };
        let built = match &derived {
            Some(derived) if let Some(ingress) = derived.redirects => {
                routes::redirecting(context, ingress)
            }
            _ => routes::build(context, claims, &mut problems),
        };
        let mut canary_problems = in_the_making(host.canaries());
        canaries::explain(&name, &host.claims, host.canaries(), &mut canary_problems);
        if derived.is_none() {
            let prefix = &base.options.annotations_prefix;
            derived::explain(&name, &self.by_name, prefix, &mut problems);
        }
        let own_problems = match derived {
            None => problems,
            Some(_) => in_the_making(&host.claims),
        };
        let made = Made {
            built,
            certificates,
            sealed,
            problems: own_problems,
            canary_problems,
        };
        Some((name, made))
    }

    /// Takes over what was made of a host, where it is not as it was.
    fn take_over(&mut self, name: &Arc<str>, made: Made, updated: &mut Updated) {
        let Made {
            built,
            certificates,
            sealed,
            problems,
            canary_problems,
        } = made;
        let former = self.routes.get(name);
        let former_certificates = self.certificates.get(name);
        let Some(host) = self.by_name.get_mut(name) else {
            return;
        };
        host.own_default = built.own_default;
        if !same(built.virtual_host.as_ref(), former) {
            updated.routes = true;
            self.paths -= paths(former);
            self.paths += paths(built.virtual_host.as_ref());
            self.asking -= asks(former);
            self.asking += asks(built.virtual_host.as_ref());
            match built.virtual_host {
                Some(virtual_host) => self.routes.insert(Arc::clone(name), virtual_host),
                None => drop(self.routes.remove(name)),
            }
        }
        if !same(certificates.as_ref(), former_certificates) {
            updated.certificates = true;
            match certificates {
                Some(certificates) => self.certificates.insert(Arc::clone(name), certificates),
                None => drop(self.certificates.remove(name)),
            }
        }
        if !same(sealed.as_ref(), self.sealed.get(name)) {
            updated.sealed = true;
            match sealed {
                Some(sealed) => self.sealed.insert(Arc::clone(name), sealed),
                None => drop(self.sealed.remove(name)),
            }
        }
        let canaries = host
            .others
            .iter_mut()
            .flat_map(|others| &mut others.canaries);
        let all = host.claims.iter_mut().zip(problems);
        for (claim, problems) in all.chain(canaries.zip(canary_problems)) {
            if !problems.is_empty() || !claim.problems.is_empty() {
                claim.problems = problems.into_shared();
                updated.concerned.push(Arc::clone(&claim.ingress));
            }
        }
    }

    /// Whether a `tls` entry names the host, or a wildcard that covers it.
    fn has_tls(&self, name: &str) -> bool {
        let wildcard = || {
            let (label, suffix) = name.split_once('.')?;
            (label != "*").then(|| self.by_name.get(format!("*.{suffix}").as_str()))?
        };
        self.by_name.get(name).is_some_and(|host| host.tls)
            || wildcard().is_some_and(|host| host.tls)
    }

    /// What an Ingress lost to others, host by host.
    pub(crate) fn problems(&self, ingress: &Resolved) -> Vec<Arc<[Problem]>> {
        let hosts = ingress.hosts().into_iter().filter_map(|name| {
            let host = self.by_name.get(name)?;
            let claims = match ingress.parsed.is_canary() {
                true => host.canaries(),
                false => &*host.claims,
            };
            let wanted = ingress.parsed.precedence();
            let found =
                claims.binary_search_by(|claim| claim.ingress.parsed.precedence().cmp(&wanted));
            Some(&claims[found.ok()?].problems)
        });
        hosts
            .filter(|problems| !problems.is_empty())
            .cloned()
            .collect()
    }

    /// Every virtual host.
    pub(crate) fn routes(&self) -> &HostTable<VirtualHost> {
        &self.routes
    }

    /// How many paths the virtual hosts have.
    pub(crate) fn paths(&self) -> usize {
        self.paths
    }

    /// Whether any host asks clients who they are.
    pub(crate) fn asks_clients(&self) -> bool {
        self.asking > 0
    }

    /// Every host's certificates.
    pub(crate) fn certificates(&self) -> &HostTable<CertificateSet> {
        &self.certificates
    }

    /// Where TLS goes of every host where it does not end here.
    pub(crate) fn sealed(&self) -> &HostTable<Stream> {
        &self.sealed
    }

    /// The slot of the metrics that a host's requests go to.
    pub(crate) fn slot(&mut self, host: &str) -> u16 {
        self.slots.of(host)
    }

    /// The label of each slot of the metrics.
    pub(crate) fn slot_labels(&mut self) -> Arc<[Box<str>]> {
        self.slots.labels()
    }
}

fn asks(host: Option<&Arc<VirtualHost>>) -> usize {
    usize::from(host.is_some_and(|host| host.clients.is_some()))
}

fn paths(host: Option<&Arc<VirtualHost>>) -> usize {
    host.map_or(0, |host| host.rules().len())
}

fn same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}
