//! What each listener serves: the hosts, and the rules of every route that is attached.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use model::{HostTable, Rule, Stream, VirtualHost};
use objects::kinds::ObjectKey;

use super::attach::ListenerKey;
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
    pub(super) hosts: HostTable<VirtualHost>,
    pub(super) streams: HostTable<Stream>,
}

/// The routes that claim a host, the older one first, each with the Gateway for which it does.
type Claims = BTreeMap<(Age, ObjectKey), (usize, Arc<Resolved>)>;

impl Site {
    /// How many routes are attached.
    pub(super) fn attached(&self) -> usize {
        self.routes.len()
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

impl Site {
    fn build(&mut self, host: &str, slot: &mut impl FnMut(&str) -> u16) {
        let claims = self.claims.get(host);
        let served = claims.into_iter().flat_map(|claims| claims.values());
        let served: Vec<_> = served
            .filter_map(|(gateway, route)| route.served(*gateway))
            .collect();
        let mut rules: Vec<&(Rank, Arc<Rule>)> = Vec::new();
        let mut stream = None;
        for one in served {
            match one {
                Served::Http(all) => rules.extend(all),
                // Nothing tells the connections of two routes apart: they are the older one's.
                Served::Stream(one) => stream = stream.or(Some(one)),
            }
        }
        match stream {
            Some(stream) => self.streams.insert(host, Arc::clone(stream)),
            None => drop(self.streams.remove(host)),
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
