//! Gateway API: from its objects to what each listener serves, and what is said of them.
//!
//! [`topology`] has the Gateways that are ours with all their listeners, and is read anew as a whole
//! when it changes, which is seldom. [`route`] resolves one route; [`sites`] has what each listener
//! serves, and builds only the hosts of which a route changed. [`conditions`] says what became of
//! everything.

mod attach;
mod authorities;
mod backend;
mod class;
mod conditions;
mod filters;
mod grants;
mod grpc;
mod http;
mod listener;
mod namespaces;
mod plan;
mod ports;
mod rank;
mod references;
mod route;
mod serve;
mod session;
mod sites;
mod stream;
mod tls_policy;
mod topology;
mod traffic_policy;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use model::{Entrance, Listener, Rule};
use objects::kinds::{Kind, Object, ObjectKey};
use objects::{Sorted, Store};

use conditions::Said;
use route::{Resolved, resolve};
use sites::Sites;
use tls_policy::Policies;
use topology::{Look, Topology};

pub use plan::{GatewayPlan, PlannedPort};

use crate::ingress::resolve::World;
use crate::name::{Name, NameRef};
use crate::report::ObjectReport;
use crate::seen::Changes;
use crate::status::{ByObject, ObjectStatus};

/// Everything of the Gateway API, from one compilation to the next.
#[derive(Debug, Default)]
pub(crate) struct Gateways {
    started: bool,
    topology: Topology,
    policies: Policies,
    /// Routes that have a parent of ours.
    routes: BTreeMap<ObjectKey, Arc<Resolved>>,
    /// Which of them refer to a Service, there or not.
    users: HashMap<Name, BTreeSet<ObjectKey>>,
    sites: Sites,
    ports: serve::Ports,
    said: HashMap<ObjectKey, Said>,
    statuses: Arc<Sorted<ObjectStatus, ByObject>>,
    plans: Arc<[GatewayPlan]>,
    references: BTreeSet<ObjectKey>,
    /// Whether something else could not be opened than what was said.
    unbound_changed: bool,
}

/// What an update changed.
#[derive(Debug, Default)]
pub(crate) struct Updated {
    /// What is listened on, or what is served there.
    pub(crate) listeners: bool,
    /// The objects of which something else is to be said.
    pub(crate) stale: BTreeSet<ObjectKey>,
    /// The Secrets that are not used any more, perhaps.
    pub(crate) secrets: HashSet<Name>,
}

impl Gateways {
    /// What is listened on.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.ports.listeners()
    }

    /// What is said of each object.
    pub(crate) fn statuses(&self) -> Arc<Sorted<ObjectStatus, ByObject>> {
        Arc::clone(&self.statuses)
    }

    /// What is to be provided for each Gateway in a cluster.
    pub(crate) fn plans(&self) -> Arc<[GatewayPlan]> {
        Arc::clone(&self.plans)
    }

    /// The Secrets and ConfigMaps that are referred to, there or not.
    pub(crate) fn references(&self) -> &BTreeSet<ObjectKey> {
        &self.references
    }

    /// What is wrong with an object, for people.
    pub(crate) fn report(&self, key: &ObjectKey) -> Option<ObjectReport> {
        let said = self.said.get(key)?;
        let problems = said.problems.clone().into();
        Some(ObjectReport::new(key.clone(), said.served, [problems]))
    }

    /// How many Gateways, routes and hosts there are.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let hosts = self.sites.hosts().map(model::HostTable::len).sum();
        (self.topology.gateways.len(), self.routes.len(), hosts)
    }

    /// Takes note of what could not be opened, each with why.
    pub(crate) fn set_unbound(&mut self, unbound: &[(Entrance, String)]) {
        self.unbound_changed |= self.ports.set_unbound(unbound);
    }

    /// Takes over what there is now.
    pub(crate) fn update(
        &mut self,
        changes: &Changes,
        tls_is_stale: bool,
        world: &mut World<'_>,
        nobody: &Arc<Rule>,
        slot: impl FnMut(&str) -> u16,
    ) -> Updated {
        let mut updated = Updated::default();
        let structure = self.is_structure(changes) || tls_is_stale && !self.references.is_empty();
        let mut stale: BTreeSet<ObjectKey> = BTreeSet::new();
        if structure {
            self.read_topology(world, &mut updated);
            stale.extend(self.routes.keys().cloned());
            stale.extend(all_routes(world.store).map(|route| route.key()));
        } else {
            let routes = changes.gateway.iter().cloned();
            stale.extend(routes.filter(|key| is_route(key.kind)));
            let users = changes
                .services
                .iter()
                .filter_map(|name| self.users.get(name));
            stale.extend(users.flatten().cloned());
        }
        self.started = true;
        let mut policies = structure;
        let mut replaced = Vec::new();
        for key in stale {
            let new = world.store.get(&key);
            let new = new.and_then(|route| resolve(&route, &self.topology, &self.policies, world));
            let old = self.replace(&key, new.map(Arc::new), &mut updated);
            policies |= old.is_some() || self.routes.contains_key(&key);
            replaced.extend(old);
        }
        for old in &replaced {
            for used in &old.acquired {
                let name = used.service.as_ref();
                world.services.release_with(name, &used.port, &used.spoken);
            }
        }
        for key in self.sites.settle() {
            let route = self.routes.get(&key).cloned();
            let said = route.map(|route| conditions::of_route(&route, &self.sites));
            self.say(&key, said, &mut updated);
        }
        let dirty = self.sites.rebuild(slot);
        let services = changes.services.iter();
        let recorded = services
            .map(Name::as_ref)
            .any(|name| self.ports.records(name));
        if structure || recorded || !dirty.is_empty() {
            let whole = structure || recorded;
            updated.listeners = self.ports.update(
                &mut self.topology,
                &self.sites,
                world,
                nobody,
                (!whole).then_some(&dirty),
            );
            self.plans = plan::of(&self.topology, &self.ports, &self.plans);
        }
        let unbound = std::mem::take(&mut self.unbound_changed);
        if structure || recorded || unbound || !dirty.is_empty() {
            self.say_of_topology(&mut updated);
        }
        if policies {
            self.say_of_policies(&mut updated);
        }
        self.publish(&updated.stale);
        updated
    }

    /// Whether Gateways and their listeners are to be read anew.
    fn is_structure(&self, changes: &Changes) -> bool {
        let of_kind = |kind| {
            matches!(
                kind,
                Kind::GatewayClass
                    | Kind::Gateway
                    | Kind::ListenerSet
                    | Kind::ReferenceGrant
                    | Kind::BackendTlsPolicy
                    | Kind::XBackendTrafficPolicy
            )
        };
        let served = !self.topology.gateways.is_empty();
        let referred = |kind, name: NameRef<'_>| {
            self.references
                .contains(&ObjectKey::new(kind, name.namespace, name.name))
        };
        let mut secrets = changes.secrets.iter().map(Name::as_ref);
        let mut config_maps = changes.config_maps.iter().map(Name::as_ref);
        !self.started
            || changes.gateway.iter().any(|key| of_kind(key.kind))
            || (served && !changes.namespaces.is_empty())
            || secrets.any(|name| referred(Kind::Secret, name))
            || config_maps.any(|name| referred(Kind::ConfigMap, name))
    }

    fn read_topology(&mut self, world: &mut World<'_>, updated: &mut Updated) {
        self.topology = Topology::read(world);
        let mut referred = std::mem::take(&mut self.topology.referred);
        let mut look = Look {
            world,
            grants: &self.topology.grants,
            referred: &mut referred,
        };
        self.policies = Policies::read(&mut look);
        let (traffic, said) = traffic_policy::read(look.world.store);
        look.world.services.say_of_traffic(said);
        self.policies.all.extend(traffic);
        let gone = self.references.difference(&referred);
        let secrets = gone.filter(|key| key.kind == Kind::Secret);
        updated.secrets = secrets
            .map(|key| Name::new(&key.namespace, &key.name))
            .collect();
        self.references = referred;
    }

    /// Puts a route in the place of what it was. What it was, to be released.
    fn replace(
        &mut self,
        key: &ObjectKey,
        new: Option<Arc<Resolved>>,
        updated: &mut Updated,
    ) -> Option<Arc<Resolved>> {
        let old = self.routes.remove(key);
        if let Some(new) = &new {
            self.sites.add(new);
            for service in &new.services {
                let users = self.users.entry(service.clone()).or_default();
                users.insert(key.clone());
            }
        }
        if let Some(old) = &old {
            self.sites.remove(old);
            let kept = new.as_ref().map(|new| &new.services);
            for service in &old.services {
                if kept.is_some_and(|kept| kept.contains(service)) {
                    continue;
                }
                if let Some(users) = self.users.get_mut(service) {
                    users.remove(key);
                    if users.is_empty() {
                        self.users.remove(service);
                    }
                }
            }
        }
        let said = new
            .as_deref()
            .map(|route| conditions::of_route(route, &self.sites));
        self.say(key, said, updated);
        if let Some(new) = new {
            self.routes.insert(key.clone(), new);
        }
        old
    }

    fn say(&mut self, key: &ObjectKey, said: Option<Said>, updated: &mut Updated) {
        let changed = self.said.get(key) != said.as_ref();
        if !changed {
            return;
        }
        match said {
            Some(said) => drop(self.said.insert(key.clone(), said)),
            None => drop(self.said.remove(key)),
        }
        updated.stale.insert(key.clone());
    }

    fn say_of_topology(&mut self, updated: &mut Updated) {
        let mut all = Vec::new();
        for class in &self.topology.classes {
            all.push(conditions::of_class(class));
        }
        for gateway in &self.topology.gateways {
            all.push(conditions::of_gateway(gateway, &self.sites, &self.ports));
            let sets = gateway.sets.iter();
            all.extend(sets.map(|set| conditions::of_set(gateway, set, &self.sites, &self.ports)));
        }
        let of_kind = |kind| matches!(kind, Kind::GatewayClass | Kind::Gateway | Kind::ListenerSet);
        self.say_all(of_kind, all, updated);
    }

    fn say_of_policies(&mut self, updated: &mut Updated) {
        let said = self.policies.all.iter().map(|policy| {
            let users = policy
                .services
                .iter()
                .filter_map(|name| self.users.get(name));
            let routes = users.flatten().filter_map(|key| self.routes.get(key));
            let gateways: BTreeSet<usize> = routes
                .flat_map(|route| route.attachments().map(|one| one.gateway))
                .collect();
            let names: Vec<_> = gateways
                .into_iter()
                .map(|index| &self.topology.gateways[index].name)
                .collect();
            conditions::of_policy(policy, &names)
        });
        let said = said.collect();
        let of_kind = |kind| matches!(kind, Kind::BackendTlsPolicy | Kind::XBackendTrafficPolicy);
        self.say_all(of_kind, said, updated);
    }

    /// Says all that there is to say of some kinds.
    fn say_all(&mut self, of_kind: fn(Kind) -> bool, all: Vec<Said>, updated: &mut Updated) {
        let now: HashSet<ObjectKey> = all.iter().map(|said| said.status.object.clone()).collect();
        let gone = self.said.keys().filter(|key| of_kind(key.kind));
        let gone: Vec<_> = gone.filter(|key| !now.contains(*key)).cloned().collect();
        for key in gone {
            self.say(&key, None, updated);
        }
        for said in all {
            let key = said.status.object.clone();
            self.say(&key, Some(said), updated);
        }
    }

    fn publish(&mut self, stale: &BTreeSet<ObjectKey>) {
        if stale.is_empty() {
            return;
        }
        let mut statuses = Sorted::clone(&self.statuses);
        for key in stale {
            match self.said.get(key) {
                Some(said) => drop(statuses.insert(Arc::new(said.status.clone()))),
                None => drop(statuses.remove(&key)),
            }
        }
        self.statuses = Arc::new(statuses);
    }
}

fn is_route(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute
    )
}

fn all_routes(store: &Store) -> impl Iterator<Item = Object> + '_ {
    let http = store.http_routes().cloned().map(Object::HttpRoute);
    let grpc = store.grpc_routes().cloned().map(Object::GrpcRoute);
    let tls = store.tls_routes().cloned().map(Object::TlsRoute);
    let tcp = store.tcp_routes().cloned().map(Object::TcpRoute);
    let udp = store.udp_routes().cloned().map(Object::UdpRoute);
    http.chain(grpc).chain(tls).chain(tcp).chain(udp)
}
