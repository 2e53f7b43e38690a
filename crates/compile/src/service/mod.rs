//! Services: interned backends, and the endpoints behind them.
//!
//! A backend is one (namespace, Service, port) as something refers to it, and stays the same
//! `Arc` for as long as anybody holds it; an endpoint likewise by (namespace, Service, address).
//! What changes without any route is settled at the end of a compilation, see [`Services::settle`].

mod balance;
mod endpoints;
mod external;
mod given;
mod locality;
mod port;
mod transport;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hashbrown::HashMap;
use model::backend::Discovery;
use model::policy::{Affinity, Algorithm, EjectOn, Ejection};
use model::transport::FastCgi;
use model::{
    Backend, BackendTls, Endpoint, EndpointSet, HttpVersion, Member, Policy, Transport, Unavailable,
};
use objects::Store;
use objects::kinds::ObjectKey;

use crate::ingress::parse::PortRef;
use crate::name::{Name, NameRef};
use crate::options::{EndpointOverride, Options};
use crate::report::{ObjectReport, Problems};

pub(crate) use balance::KNOWN;
pub(crate) use external::External;
use external::Externals;
use locality::Place;
pub(crate) use port::Refused;
use view::View;

/// Every Service that something refers to.
#[derive(Debug)]
pub(crate) struct Services {
    /// Boxed, because a table has room for more.
    entries: HashMap<Name, Box<Entry>>,
    overrides: HashMap<Name, Vec<EndpointOverride>>,
    place: Place,
    /// Whether those of type ExternalName are served.
    external_names: bool,
    /// What holds where a Service says nothing.
    default_policy: Arc<Policy>,
    /// The same, in turn: what ingress-nginx does.
    in_turn: Arc<Policy>,
    /// What others than the Service say of it.
    traffic: HashMap<Name, Arc<Traffic>>,
    /// Those whose endpoints or problems may not be what they were.
    stale: BTreeSet<Name>,
    /// Those of type ExternalName.
    external: BTreeSet<Name>,
    /// Those with a health check.
    checked: BTreeSet<Name>,
    reports: BTreeMap<ObjectKey, Arc<ObjectReport>>,
    /// The objects of which `reports` says something else than before.
    reports_changed: Vec<ObjectKey>,
    in_use: usize,
    /// What [`Self::lists`] says, unless it is out of date.
    lists: Option<Lists>,
    /// What is reached by name without a Service.
    outside: Externals,
}

/// Backends of which others have to know.
#[derive(Debug, Clone)]
pub(crate) struct Lists {
    /// Those in use whose endpoints are to be found by DNS, by name.
    pub(crate) external: Arc<[Arc<Backend>]>,
    /// Those in use whose endpoints are to be asked how they are, by name.
    pub(crate) checked: Arc<[Arc<Backend>]>,
}

#[derive(Debug, Default)]
struct Entry {
    /// How many references there are in what is served now.
    users: usize,
    ports: Vec<Port>,
    endpoints: Vec<Weak<Endpoint>>,
    /// The objects in `reports` that are reported on because of this Service.
    reported: Vec<ObjectKey>,
}

/// What others than a Service say of its traffic (XBackendTrafficPolicy).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// What keeps clients with an endpoint.
    pub(crate) affinity: Option<Affinity>,
    /// What part of the requests may be sent again, in percent, and how many a second in any case.
    pub(crate) retry: Option<(u8, u16)>,
}

/// What is spoken to a port where others than the Service say so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Spoken {
    /// TLS (BackendTLSPolicy).
    pub(crate) tls: Option<Arc<BackendTls>>,
    /// HTTP/2 and nothing else: gRPC.
    pub(crate) http2: bool,
    /// Bytes or datagrams that go on as they are: what the Service says of HTTP says nothing of
    /// them.
    pub(crate) stream: bool,
    /// How an endpoint is chosen.
    pub(crate) spread: Option<Spread>,
    /// The only endpoint is the Service's own address, if it has one.
    pub(crate) cluster_ip: bool,
    /// FastCGI in the place of HTTP.
    pub(crate) fastcgi: Option<Arc<FastCgi>>,
}

/// No endpoint is left out for what it answers.
const NO_EJECTION: Ejection = Ejection {
    failures: 0,
    on: EjectOn::Errors,
    base: Duration::ZERO,
    longest: Duration::ZERO,
};

/// How an endpoint is chosen where others than the Service say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spread {
    pub(crate) algorithm: Arc<Algorithm>,
    /// It is only a default, before which goes what the Service says.
    pub(crate) yields: bool,
    /// Whether endpoints that fail again and again are left out for a while, where the Service does
    /// not say it.
    pub(crate) ejects: bool,
}

impl Spoken {
    fn over(&self, transport: Transport) -> Transport {
        if self.stream {
            return Transport {
                tls: self.tls.clone(),
                ..Transport::default()
            };
        }
        if let Some(fastcgi) = &self.fastcgi {
            return Transport {
                fastcgi: Some(Arc::clone(fastcgi)),
                ..Transport::default()
            };
        }
        let transport = match &self.tls {
            Some(tls) => transport.over(Arc::clone(tls)),
            None => transport,
        };
        match self.http2 {
            true => Transport {
                http: HttpVersion::Http2,
                ..transport
            },
            false => transport,
        }
    }
}

#[derive(Debug)]
struct Port {
    port: PortRef,
    /// None where it is nothing but what the Service says.
    spoken: Option<Box<Spoken>>,
    users: usize,
    backend: Weak<Backend>,
}

impl Services {
    pub(crate) fn new(options: &Options) -> Self {
        let mut overrides: HashMap<Name, Vec<EndpointOverride>> = HashMap::new();
        for given in &options.endpoints {
            let name = Name::new(&given.namespace, &given.service);
            overrides.entry(name).or_default().push(given.clone());
        }
        let default_policy = Policy {
            max_requests: options.max_backend_requests,
            retry: options.retry,
            ..Policy::default()
        };
        Self {
            entries: HashMap::new(),
            overrides,
            place: Place::new(options),
            external_names: options.external_names,
            in_turn: Arc::new(Policy {
                algorithm: Algorithm::RoundRobin,
                ejection: NO_EJECTION,
                ..default_policy.clone()
            }),
            default_policy: Arc::new(default_policy),
            traffic: HashMap::new(),
            stale: BTreeSet::new(),
            external: BTreeSet::new(),
            checked: BTreeSet::new(),
            reports: BTreeMap::new(),
            reports_changed: Vec::new(),
            in_use: 0,
            lists: None,
            outside: Externals::default(),
        }
    }

    /// How many Services are remembered, in use or not.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.entries.len()
    }

    /// How many Services something refers to.
    pub(crate) fn in_use(&self) -> usize {
        self.in_use
    }

    /// The backends of which others have to know; the same lists as long as nothing changes.
    pub(crate) fn lists(&mut self) -> Lists {
        if let Some(lists) = &self.lists {
            return lists.clone();
        }
        let of_services = self.backends_of(&self.external, |backend| {
            matches!(backend.discovery, Discovery::Dns { .. })
        });
        let outside = self.outside.backends();
        let lists = Lists {
            external: of_services.iter().chain(outside).cloned().collect(),
            checked: self.backends_of(&self.checked, |_| true),
        };
        self.lists.insert(lists).clone()
    }

    fn backends_of(
        &self,
        services: &BTreeSet<Name>,
        wanted: impl Fn(&Backend) -> bool,
    ) -> Arc<[Arc<Backend>]> {
        let entries = services.iter().filter_map(|name| self.entries.get(name));
        let mut backends: Vec<_> = entries
            .flat_map(|entry| &entry.ports)
            .filter(|port| port.users > 0)
            .filter_map(|port| port.backend.upgrade())
            .filter(|backend| wanted(backend))
            .collect();
        backends.sort_by(|a, b| a.name.cmp(&b.name));
        backends.into()
    }

    /// The backend of something that is no Service. Counts as one user until it is released.
    pub(crate) fn acquire_external(&mut self, wanted: &External) -> Arc<Backend> {
        let (backend, is_new) = self.outside.acquire(wanted, &self.default_policy);
        if is_new {
            self.lists = None;
        }
        backend
    }

    /// Takes back one [`Self::acquire_external`].
    pub(crate) fn release_external(&mut self, wanted: &External) {
        if self.outside.release(wanted) {
            self.lists = None;
        }
    }

    /// The objects of which something else is to be said than when this was last asked.
    pub(crate) fn take_reports_changed(&mut self) -> Vec<ObjectKey> {
        std::mem::take(&mut self.reports_changed)
    }

    /// What is to be said of a Service, or of one of its EndpointSlices.
    pub(crate) fn report(&self, key: &ObjectKey) -> Option<&Arc<ObjectReport>> {
        self.reports.get(key)
    }

    /// Takes over what others than the Services say of their traffic.
    pub(crate) fn say_of_traffic(&mut self, said: HashMap<Name, Arc<Traffic>>) {
        let former = std::mem::replace(&mut self.traffic, said);
        let names: BTreeSet<_> = former.keys().chain(self.traffic.keys()).cloned().collect();
        let changed = names
            .into_iter()
            .filter(|name| former.get(name) != self.traffic.get(name))
            .collect();
        self.touch(&changed);
    }

    /// Notes that the object or the endpoints of these Services changed.
    pub(crate) fn touch(&mut self, names: &BTreeSet<Name>) {
        let known = names.iter().filter(|name| self.entries.contains_key(*name));
        self.stale.extend(known.cloned());
    }

    /// The backend for a reference, and what is wrong with the reference. Counts as one user
    /// until it is released. The backend's endpoints are up to date after [`Self::settle`].
    pub(crate) fn acquire(
        &mut self,
        name: NameRef<'_>,
        port: &PortRef,
        store: &Store,
    ) -> (Arc<Backend>, Option<Refused>) {
        self.acquire_with(name, port, &Spoken::default(), store)
    }

    /// The same, with what somebody else than the Service wants to be spoken.
    pub(crate) fn acquire_with(
        &mut self,
        name: NameRef<'_>,
        port: &PortRef,
        spoken: &Spoken,
        store: &Store,
    ) -> (Arc<Backend>, Option<Refused>) {
        let view = View::read(
            name,
            store,
            &self.overrides,
            &self.place,
            &self.default_policy,
        )
        .resolving(self.external_names);
        let (discovery, transport, refused) = match view.plan(port) {
            Ok(plan) => (plan.discovery, plan.transport, None),
            Err(refused) => (Discovery::Listed, Transport::default(), Some(refused)),
        };
        let transport = spoken.over(transport);
        let entry = match self.entries.get_mut(&name) {
            Some(entry) => entry,
            None => self.entries.entry(name.to_owned()).or_default(),
        };
        entry.users += 1;
        self.in_use += usize::from(entry.users == 1);
        let used = match entry.ports.iter().position(|known| known.is(port, spoken)) {
            Some(index) => &mut entry.ports[index],
            None => {
                entry.ports.push(Port {
                    port: port.clone(),
                    spoken: (*spoken != Spoken::default()).then(|| Box::new(spoken.clone())),
                    users: 0,
                    backend: Weak::new(),
                });
                // Just pushed.
                let last = entry.ports.len() - 1;
                &mut entry.ports[last]
            }
        };
        used.users += 1;
        let kept = used
            .backend
            .upgrade()
            .filter(|backend| backend.discovery == discovery && backend.transport == transport);
        if used.users == 1 || kept.is_none() {
            self.stale.insert(name.to_owned());
        }
        let backend = kept.unwrap_or_else(|| {
            let unavailable = match discovery {
                Discovery::Listed => Unavailable::NoEndpoints,
                Discovery::Dns { .. } => Unavailable::Unresolved,
            };
            let set = EndpointSet::none(unavailable);
            let backend_name = match port {
                PortRef::First => name.to_string(),
                port => format!("{name}:{port}"),
            };
            let made = Backend::new(backend_name, discovery, set).speaking(transport);
            let made = Arc::new(made);
            used.backend = Arc::downgrade(&made);
            made
        });
        (backend, refused)
    }

    /// Takes back one [`Self::acquire`].
    pub(crate) fn release(&mut self, name: NameRef<'_>, port: &PortRef) {
        self.release_with(name, port, &Spoken::default());
    }

    /// Takes back one [`Self::acquire_with`].
    pub(crate) fn release_with(&mut self, name: NameRef<'_>, port: &PortRef, spoken: &Spoken) {
        let Some(entry) = self.entries.get_mut(&name) else {
            return;
        };
        let Some(used) = entry.ports.iter_mut().find(|known| known.is(port, spoken)) else {
            return;
        };
        // Each release has had its acquire, so that neither count goes below zero.
        used.users -= 1;
        entry.users -= 1;
        self.in_use -= usize::from(entry.users == 0);
        if used.users == 0 {
            self.stale.insert(name.to_owned());
        }
    }

    /// Publishes the endpoints of whatever is stale, and says anew what is wrong with it.
    /// Returns how many backends got other endpoints.
    pub(crate) fn settle(&mut self, store: &Store) -> usize {
        let mut updates = 0;
        for name in std::mem::take(&mut self.stale) {
            let Some(entry) = self.entries.get_mut(&name) else {
                continue;
            };
            let view = View::read(
                name.as_ref(),
                store,
                &self.overrides,
                &self.place,
                &self.default_policy,
            )
            .resolving(self.external_names)
            .with(self.traffic.get(&name));
            updates += entry.publish(&view, [&self.default_policy, &self.in_turn]);
            let reports = entry.describe(&view);
            let changed = replace_reports(&mut self.reports, &mut entry.reported, reports);
            self.reports_changed.extend(changed);
            let listed = self.external.contains(&name) || self.checked.contains(&name);
            if entry.users > 0 && view.is_external() {
                self.external.insert(name.clone());
            } else {
                self.external.remove(&name);
            }
            if entry.users > 0 && view.policy().check.is_some() {
                self.checked.insert(name.clone());
            } else {
                self.checked.remove(&name);
            }
            if listed || self.external.contains(&name) || self.checked.contains(&name) {
                self.lists = None;
            }
            entry
                .ports
                .retain(|port| port.users > 0 || port.backend.strong_count() > 0);
            entry
                .endpoints
                .retain(|endpoint| endpoint.strong_count() > 0);
            // Most Services have one port and few endpoints, and there are many Services.
            entry.ports.shrink_to_fit();
            entry.endpoints.shrink_to_fit();
            if entry.users == 0 {
                if entry.ports.is_empty() && entry.endpoints.is_empty() {
                    self.entries.remove(&name);
                } else {
                    // Somebody still holds a part of it: looked at again next time.
                    self.stale.insert(name);
                }
            }
        }
        updates
    }
}

impl Spread {
    /// The Service's own policy with this. `says` is whether the Service says how its endpoints are
    /// chosen from, `shared` what there is one of for all.
    fn over(&self, own: &Arc<Policy>, says: bool, shared: [&Arc<Policy>; 2]) -> Arc<Policy> {
        let algorithm = match self.yields && says {
            true => &own.algorithm,
            false => &*self.algorithm,
        };
        let ejection = match self.ejects || own.ejection != Ejection::default() {
            true => own.ejection,
            false => NO_EJECTION,
        };
        let is = |policy: &Policy| policy.algorithm == *algorithm && policy.ejection == ejection;
        let [default, in_turn] = shared;
        if is(own) {
            return Arc::clone(own);
        }
        if Arc::ptr_eq(own, default) && is(in_turn) {
            return Arc::clone(in_turn);
        }
        Arc::new(Policy {
            algorithm: algorithm.clone(),
            ejection,
            ..(**own).clone()
        })
    }
}

impl Port {
    fn is(&self, port: &PortRef, spoken: &Spoken) -> bool {
        self.port == *port
            && match &self.spoken {
                Some(own) => **own == *spoken,
                None => *spoken == Spoken::default(),
            }
    }
}

impl Entry {
    /// `shared` are policies of which there is one for all.
    fn publish(&mut self, view: &View<'_>, shared: [&Arc<Policy>; 2]) -> usize {
        let mut updates = 0;
        let own = view.policy();
        let spreads = view.says_how_to_spread();
        let mut known = Known::of(&mut self.endpoints);
        for port in &self.ports {
            let Some(backend) = port.backend.upgrade() else {
                continue;
            };
            let spoken = port.spoken.as_deref();
            let policy = match spoken.and_then(|spoken| spoken.spread.as_ref()) {
                Some(spread) => spread.over(&own, spreads, shared),
                None => Arc::clone(&own),
            };
            if backend.discovery != Discovery::Listed {
                // Its endpoints are the resolver's.
                updates += usize::from(backend.set_policy(&policy));
                continue;
            }
            let found = view.addresses(&port.port, spoken.is_some_and(|spoken| spoken.cluster_ip));
            let members = found.addresses.iter().map(|found| Member {
                endpoint: known.intern(found.address, &backend.transport),
                weight: found.weight,
                distance: found.distance,
            });
            let members: Vec<_> = members.collect();
            let current = backend.endpoints();
            let same = match found.unavailable {
                Some(_) => current.unavailable == found.unavailable,
                None => current.is_made_of(&members, &policy),
            };
            if !same {
                let unavailable = found.unavailable;
                let set = EndpointSet::new(members, Arc::clone(&policy));
                backend.set_endpoints(set.because(unavailable));
                updates += 1;
            }
        }
        updates
    }

    fn describe(&self, view: &View<'_>) -> Vec<Problems> {
        let used = self.ports.iter().filter(|port| port.users > 0);
        let mut used: Vec<_> = used.map(|port| &port.port).collect();
        if used.is_empty() {
            return Vec::new();
        }
        used.sort_unstable();
        view.problems(&used)
    }
}

/// The endpoints of a Service, by address.
struct Known<'a> {
    all: &'a mut Vec<Weak<Endpoint>>,
    /// Two ports may lead to one address and speak differently.
    by_address: HashMap<SocketAddr, Vec<Arc<Endpoint>>>,
}

impl<'a> Known<'a> {
    fn of(all: &'a mut Vec<Weak<Endpoint>>) -> Self {
        let mut by_address: HashMap<_, Vec<_>> = HashMap::with_capacity(all.len());
        for endpoint in all.iter().filter_map(Weak::upgrade) {
            let same = by_address.entry(endpoint.address).or_default();
            same.push(endpoint);
        }
        Self { all, by_address }
    }

    /// The endpoint of an address: the same one for as long as anybody holds it.
    fn intern(&mut self, address: SocketAddr, transport: &Transport) -> Arc<Endpoint> {
        let same = self.by_address.entry(address).or_default();
        // Neither's connections are the other's.
        if let Some(known) = same.iter().find(|known| known.transport == *transport) {
            return Arc::clone(known);
        }
        let made = Arc::new(Endpoint::new(address).speaking(transport.clone()));
        self.all.push(Arc::downgrade(&made));
        same.push(Arc::clone(&made));
        made
    }
}

/// Puts the reports of one Service in the place of its former ones. Returns the objects of which
/// something else is said now.
fn replace_reports(
    reports: &mut BTreeMap<ObjectKey, Arc<ObjectReport>>,
    reported: &mut Vec<ObjectKey>,
    problems: Vec<Problems>,
) -> Vec<ObjectKey> {
    let mut former: BTreeMap<_, _> = std::mem::take(reported)
        .into_iter()
        .filter_map(|key| reports.remove_entry(&key))
        .collect();
    let mut changed = Vec::new();
    for problems in problems.into_iter().filter(|problems| !problems.is_empty()) {
        let mut report = Arc::new(problems.into_report(false));
        match former.remove(&report.object) {
            Some(same) if same == report => report = same,
            _ => changed.push(report.object.clone()),
        }
        reported.push(report.object.clone());
        reports.insert(report.object.clone(), report);
    }
    changed.extend(former.into_keys());
    changed
}
