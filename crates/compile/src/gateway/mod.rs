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
mod ownership;
mod parameters;
mod plan;
mod ports;
mod quantity;
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
mod xbackend;

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

pub use ownership::{DATA_PLANE_LABEL, DedicatedPlan, GATEWAY_LABEL, MANAGED_BY, Provider, Share};
pub use parameters::ServiceType;
pub use plan::{GatewayPlan, PlannedPort, label_value};
pub use quantity::Quantity;

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
    users: Users,
    /// Which of them refer to an XBackend, there or not.
    outside_users: Users,
    sites: Sites,
    ports: serve::Ports,
    said: HashMap<ObjectKey, Said>,
    statuses: Arc<Sorted<ObjectStatus, ByObject>>,
    plans: Arc<[GatewayPlan]>,
    dedicated: Arc<[DedicatedPlan]>,
    share: Arc<Share>,
    references: BTreeSet<ObjectKey>,
    /// When the update that is under way began, in seconds since 1970.
    now: i64,
    /// Whether something else could not be opened than what was said.
    unbound_changed: bool,
}

/// The routes that refer to something, by its name.
#[derive(Debug, Default)]
struct Users(HashMap<Name, BTreeSet<ObjectKey>>);

impl Users {
    fn of(&self, name: &Name) -> impl Iterator<Item = &ObjectKey> {
        self.0.get(name).into_iter().flatten()
    }

    /// A route refers to these `now`, where it referred to those `before`.
    fn replace(&mut self, route: &ObjectKey, before: &[Name], now: &[Name]) {
        for name in now {
            let users = self.0.entry(name.clone()).or_default();
            users.insert(route.clone());
        }
        for name in before.iter().filter(|name| !now.contains(name)) {
            if let Some(users) = self.0.get_mut(name) {
                users.remove(route);
                if users.is_empty() {
                    self.0.remove(name);
                }
            }
        }
    }
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

    /// What is said of each object, as far as it is for this process to say anything.
    pub(crate) fn statuses(&self) -> Arc<Sorted<ObjectStatus, ByObject>> {
        match self.share.is_none() {
            true => Arc::default(),
            false => Arc::clone(&self.statuses),
        }
    }

    /// The data planes that Gateways are to have for themselves.
    pub(crate) fn dedicated(&self) -> Arc<[DedicatedPlan]> {
        Arc::clone(&self.dedicated)
    }

    /// Which Gateways and ListenerSets this process speaks for.
    pub(crate) fn share(&self) -> Arc<Share> {
        Arc::clone(&self.share)
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
        self.now = world.now;
        let structure = self.is_structure(changes) || tls_is_stale && !self.references.is_empty();
        let mut stale: BTreeSet<ObjectKey> = BTreeSet::new();
        if structure {
            self.read_topology(world, &mut updated);
            stale.extend(self.routes.keys().cloned());
            stale.extend(all_routes(world.store).map(|route| route.key()));
        } else {
            let routes = changes.gateway.iter().cloned();
            stale.extend(routes.filter(|key| is_route(key.kind)));
            let services = changes.services.iter();
            let users = services.flat_map(|name| self.users.of(name));
            stale.extend(users.cloned());
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
                used.release(world.services);
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
                    | Kind::XBackend
                    | Kind::XBackendTrafficPolicy
            )
        };
        let served = !self.topology.gateways.is_empty();
        let referred = |kind, name: NameRef<'_>| {
            self.references
                .contains(&ObjectKey::new(kind, name.namespace, name.name))
        };
        let mut deciding = changes.services.iter().map(|name| {
            let key = ObjectKey::new(Kind::Service, &name.namespace, &name.name);
            self.topology.ownership.services.contains(&key)
        });
        let mut secrets = changes.secrets.iter().map(Name::as_ref);
        let mut config_maps = changes.config_maps.iter().map(Name::as_ref);
        !self.started
            || deciding.any(|is_deciding| is_deciding)
            || changes.gateway.iter().any(|key| of_kind(key.kind))
            || (served && !changes.namespaces.is_empty())
            || secrets.any(|name| referred(Kind::Secret, name))
            || config_maps.any(|name| referred(Kind::ConfigMap, name))
    }

    fn read_topology(&mut self, world: &mut World<'_>, updated: &mut Updated) {
        self.topology = Topology::read(world);
        let ownership = &mut self.topology.ownership;
        let dedicated = std::mem::take(&mut ownership.dedicated);
        self.dedicated = ownership::renewed(&self.dedicated, dedicated);
        let share = ownership.share(world.options);
        if *self.share != share {
            self.share = Arc::new(share);
        }
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
        }
        if let Some(old) = &old {
            self.sites.remove(old);
        }
        let [before, now] = [&old, &new].map(|route| route.as_deref());
        fn services(route: &Resolved) -> &[Name] {
            &route.services
        }
        fn outside(route: &Resolved) -> &[Name] {
            &route.outside
        }
        let names = |of: fn(&Resolved) -> &[Name]| {
            [before, now].map(|route| route.map(of).unwrap_or_default())
        };
        let [was, is] = names(services);
        self.users.replace(key, was, is);
        let [was, is] = names(outside);
        self.outside_users.replace(key, was, is);
        let said = new
            .as_deref()
            .map(|route| conditions::of_route(route, &self.sites));
        self.say(key, said, updated);
        if let Some(new) = new {
            self.routes.insert(key.clone(), new);
        }
        old
    }

    fn say(&mut self, key: &ObjectKey, mut said: Option<Said>, updated: &mut Updated) {
        if let Some(said) = &mut said {
            let former = self.said.get(key).map(|former| &former.status.status);
            said.status.status.date(former, self.now);
        }
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
        let classes = self.topology.classes.iter();
        for class in classes.filter(|_| self.share.has_classes()) {
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
            let services = policy.services.iter();
            let users = services.flat_map(|name| self.users.of(name));
            conditions::of_policy(policy, &self.gateways_of(users))
        });
        let outside = self.policies.outside.iter().map(|(name, outside)| {
            let users = self.outside_users.of(name);
            conditions::of_outside(outside, &self.gateways_of(users))
        });
        let said = said.chain(outside).collect();
        let of_kind = |kind| {
            matches!(
                kind,
                Kind::BackendTlsPolicy | Kind::XBackendTrafficPolicy | Kind::XBackend
            )
        };
        self.say_all(of_kind, said, updated);
    }

    /// The Gateways that routes are attached to.
    fn gateways_of<'a>(&self, routes: impl Iterator<Item = &'a ObjectKey>) -> Vec<&Name> {
        let routes = routes.filter_map(|key| self.routes.get(key));
        let gateways: BTreeSet<usize> = routes
            .flat_map(|route| route.attachments().map(|one| one.gateway))
            .collect();
        let gateways = gateways.into_iter();
        gateways
            .map(|index| &self.topology.gateways[index].name)
            .collect()
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
