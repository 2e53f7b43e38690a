//! What each listener serves: the hosts, and the rules of every route that is attached.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use model::{HostTable, Rule, Stream, VirtualHost};
use objects::kinds::{Kind, ObjectKey};

use super::attach::{ListenerKey, intersect};
use super::rank::{Age, Rank};
use super::route::{Resolved, Served};

/// What every listener serves, by listener.
#[derive(Debug, Default)]
pub(super) struct Sites {
    all: HashMap<ListenerKey, Site>,
    /// What may not be what it was.
    dirty: HashMap<ListenerKey, HashSet<Box<str>>>,
}

/// What a listener serves.
#[derive(Debug, Default)]
pub(super) struct Site {
    /// By host, the older route first.
    claims: HashMap<Box<str>, Claims>,
    /// How many of a route's parents lead here.
    routes: HashMap<ObjectKey, usize>,
    /// Those that are not taken, because one of another kind has a host of theirs.
    rejected: HashSet<ObjectKey>,
    pub(super) hosts: HostTable<VirtualHost>,
    /// Where connections go whose TLS, if they had any, ended here; and datagrams.
    pub(super) streams: HostTable<Stream>,
    /// Where connections go whose TLS goes on.
    pub(super) sealed: HostTable<Stream>,
}

/// The routes that claim a host, the older one first, each with the Gateway for which it does.
type Claims = BTreeMap<(Age, ObjectKey), (usize, Arc<Resolved>)>;

impl Site {
    /// How many routes are attached.
    pub(super) fn attached(&self) -> usize {
        self.routes.len() - self.rejected.len()
    }

    /// Whether a route is not taken, because one of another kind has a host of its.
    pub(super) fn rejects(&self, route: &ObjectKey) -> bool {
        self.rejected.contains(route)
    }
}

impl Sites {
    pub(super) fn get(&self, listener: &ListenerKey) -> Option<&Site> {
        self.all.get(listener)
    }

    /// Every virtual host.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &HostTable<VirtualHost>> {
        self.all.values().map(|site| &site.hosts)
    }

    pub(super) fn add(&mut self, route: &Arc<Resolved>) {
        for attachment in route.attachments() {
            let site = self.all.entry(attachment.listener.clone()).or_default();
            *site.routes.entry(route.key.clone()).or_default() += 1;
            let dirty = self.dirty.entry(attachment.listener.clone()).or_default();
            for host in &attachment.hosts {
                let claims = site.claims.entry(host.clone()).or_default();
                let key = (route.age.clone(), route.key.clone());
                claims.insert(key, (attachment.gateway, Arc::clone(route)));
                dirty.insert(host.clone());
            }
        }
    }

    /// Takes out what a route claimed, unless another form of it has claimed it already.
    pub(super) fn remove(&mut self, route: &Arc<Resolved>) {
        for attachment in route.attachments() {
            let Some(site) = self.all.get_mut(&attachment.listener) else {
                continue;
            };
            if let Some(count) = site.routes.get_mut(&route.key) {
                *count -= 1;
                if *count == 0 {
                    site.routes.remove(&route.key);
                }
            }
            let dirty = self.dirty.entry(attachment.listener.clone()).or_default();
            for host in &attachment.hosts {
                let Some(claims) = site.claims.get_mut(host) else {
                    continue;
                };
                let key = (route.age.clone(), route.key.clone());
                if claims
                    .get(&key)
                    .is_some_and(|(_, known)| Arc::ptr_eq(known, route))
                {
                    claims.remove(&key);
                    dirty.insert(host.clone());
                }
                if claims.is_empty() {
                    site.claims.remove(host);
                }
            }
        }
    }

    /// Decides which routes are taken where HTTPRoutes and GRPCRoutes meet (GRPCRoute: of two that
    /// have a host in common, the older one). The routes of which that is another thing than it was.
    pub(super) fn settle(&mut self) -> Vec<ObjectKey> {
        let mut turned = Vec::new();
        for (listener, dirty) in &mut self.dirty {
            let Some(site) = self.all.get_mut(listener) else {
                continue;
            };
            let rejected = site.conflicts();
            if rejected == site.rejected {
                continue;
            }
            let changed: HashSet<_> = rejected
                .symmetric_difference(&site.rejected)
                .cloned()
                .collect();
            for (host, claims) in &site.claims {
                if claims.keys().any(|(_, key)| changed.contains(key)) {
                    dirty.insert(host.clone());
                }
            }
            site.rejected = rejected;
            turned.extend(changed);
        }
        turned
    }

    /// Builds what is not what it was. The listeners that it concerns.
    pub(super) fn rebuild(&mut self, mut slot: impl FnMut(&str) -> u16) -> Vec<ListenerKey> {
        let mut changed = Vec::new();
        for (listener, hosts) in std::mem::take(&mut self.dirty) {
            let Some(site) = self.all.get_mut(&listener) else {
                continue;
            };
            for host in hosts {
                site.build(&host, &mut slot);
            }
            if site.routes.is_empty() && site.claims.is_empty() {
                self.all.remove(&listener);
            }
            changed.push(listener);
        }
        changed
    }
}

/// The hosts that routes of one kind have.
#[derive(Default)]
struct Taken<'a> {
    exact: HashSet<&'a str>,
    /// Those that stand for several.
    wide: Vec<&'a str>,
}

impl<'a> Taken<'a> {
    fn add(&mut self, host: &'a str) {
        if is_wide(host) {
            self.wide.push(host);
        } else {
            self.exact.insert(host);
        }
    }

    /// Whether one of them stands for a name that a host stands for too.
    fn meets(&self, host: &str) -> bool {
        let meets = |other: &&str| intersect(other, host).is_some();
        self.exact.contains(host)
            || self.wide.iter().any(meets)
            || (is_wide(host) && self.exact.iter().any(meets))
    }
}

fn is_wide(host: &str) -> bool {
    host.is_empty() || host.starts_with('.')
}

impl Site {
    /// The routes that are not taken.
    fn conflicts(&self) -> HashSet<ObjectKey> {
        let has = |kind| self.routes.keys().any(|key| key.kind == kind);
        if !(has(Kind::HttpRoute) && has(Kind::GrpcRoute)) {
            return HashSet::new();
        }
        let mut routes: BTreeMap<&(Age, ObjectKey), Vec<&str>> = BTreeMap::new();
        for (host, claims) in &self.claims {
            for key in claims.keys() {
                routes.entry(key).or_default().push(host);
            }
        }
        let (mut http, mut grpc) = (Taken::default(), Taken::default());
        let mut rejected = HashSet::new();
        for ((_, key), hosts) in routes {
            let (own, other) = match key.kind {
                Kind::GrpcRoute => (&mut grpc, &http),
                _ => (&mut http, &grpc),
            };
            if hosts.iter().any(|host| other.meets(host)) {
                rejected.insert(key.clone());
            } else {
                hosts.into_iter().for_each(|host| own.add(host));
            }
        }
        rejected
    }

    fn build(&mut self, host: &str, slot: &mut impl FnMut(&str) -> u16) {
        let claims = self.claims.get(host);
        let served = claims.into_iter().flatten();
        let served: Vec<_> = served
            .filter(|((_, key), _)| !self.rejected.contains(key))
            .filter_map(|(_, (gateway, route))| route.served(*gateway))
            .collect();
        let mut rules: Vec<&(Rank, Arc<Rule>)> = Vec::new();
        let mut streams = None;
        for one in served {
            match one {
                Served::Http(all) => rules.extend(all),
                // Nothing tells the connections of two routes apart: they are the older one's.
                Served::Stream(one) => streams = streams.or(Some(one)),
            }
        }
        let open = streams.and_then(|streams| streams.open.as_ref());
        let sealed = streams.and_then(|streams| streams.sealed.as_ref());
        for (table, stream) in [(&mut self.streams, open), (&mut self.sealed, sealed)] {
            match stream {
                Some(stream) => table.insert(host, Arc::clone(stream)),
                None => drop(table.remove(host)),
            }
        }
        if rules.is_empty() {
            self.hosts.remove(host);
            return;
        }
        rules.sort_by(|a, b| a.0.cmp(&b.0));
        let rules = rules
            .into_iter()
            .map(|(_, rule)| Arc::clone(rule))
            .collect();
        let name = for_people(host);
        let slot = slot(&name);
        let built = VirtualHost::new(name.into(), rules, None, slot);
        self.hosts.insert(host, Arc::new(built));
    }
}

/// A host as manifests write it.
pub(super) fn for_people(host: &str) -> String {
    match host.starts_with('.') {
        true => format!("*{host}"),
        false => host.to_owned(),
    }
}
