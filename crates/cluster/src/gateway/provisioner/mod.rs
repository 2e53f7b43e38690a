//! Keeps a Service for each Gateway, and its EndpointSlices, while we lead; and the data planes that
//! Gateways have for themselves.
//!
//! The Service says which port of ours each port of the Gateway leads to, and is written first: from
//! then on every replica reads the same there. Traffic goes where its EndpointSlices say, which are
//! the replicas that listen by now.

mod actions;
mod dedicated;
mod send;
mod services;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use compile::{GatewayPlan, ServiceType};
use futures_util::StreamExt;
use futures_util::stream::iter;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::provision_dedicated::DataPlanes;
use super::provision_service;
use super::provision_table::Table;
use super::{Obstacle, Owner, Provisions, endpoints};
use crate::client::Connection;
use crate::election::Leadership;
use crate::publish::{Identity, Options, Served};
use crate::replicas::Replica;
pub(crate) use actions::Kind;
use actions::{Action, Done, Tried};
use dedicated::Parts;
use send::Sender;
pub(crate) use services::Holding;

/// How long one write may take: with what is left of the lease when it is sent, it has ended before
/// another leader begins.
const REQUEST: Duration = Duration::from_secs(4);

/// The most writes under way.
const AT_ONCE: usize = 8;

/// How long changes are gathered.
const PLANNING: Duration = Duration::from_millis(50);

/// The longest wait before something that failed is tried again, and before a Service that is
/// somebody else's is looked at again.
const LONGEST: Duration = Duration::from_secs(15);

/// How long a Gateway that gets a data plane of its own is served by the shared one after its Service
/// leads elsewhere: as long as nodes may take to notice.
const TAKING: Duration = Duration::from_secs(10);

/// What was tried so long ago is tried again at once.
const CALM: Duration = Duration::from_secs(60);

/// What it goes by, each of which may change.
pub(crate) struct Sources {
    pub(crate) identity: Arc<Identity>,
    pub(crate) served: watch::Receiver<Option<Arc<Served>>>,
    /// The other replicas.
    pub(crate) replicas: watch::Receiver<Option<Arc<[Replica]>>>,
    /// Our own addresses.
    pub(crate) addresses: watch::Receiver<Arc<[IpAddr]>>,
}

/// Keeps what Gateways need.
pub(crate) struct Provisioner {
    sender: Sender,
    /// For watches.
    watching: Client,
    namespaces: Vec<String>,
    /// Which Services are looked at.
    selector: String,
    kind: ServiceType,
    holding: Holding,
    /// How data planes of single Gateways are made, if they are.
    data_planes: Option<DataPlanes>,
    sources: Sources,
    /// When we took over the one Gateway that we serve from the shared data plane.
    took: Option<Instant>,
    /// What was tried of each object.
    tried: HashMap<(Kind, Owner), Tried>,
    /// Why something of a Gateway's cannot be written.
    obstacles: BTreeMap<(Owner, Kind), Obstacle>,
    told: watch::Sender<Option<Arc<Provisions>>>,
}

/// What there is, as the API server has it.
struct Present {
    services: Table<Service>,
    slices: Table<EndpointSlice>,
    /// None where none is made.
    parts: Option<Parts>,
}

struct World {
    served: Arc<Served>,
    /// All live replicas, this one among them.
    replicas: Vec<Replica>,
}

impl Provisioner {
    /// Nothing is read or written before it runs.
    pub(crate) fn new(
        client: &Client,
        connection: &Connection,
        options: &Options,
        leadership: Leadership,
        sources: Sources,
    ) -> (Self, watch::Receiver<Option<Arc<Provisions>>>) {
        let (told, provisions) = watch::channel(None);
        let alone = options.alone.as_ref();
        let provisioner = Self {
            sender: Sender {
                client: client.clone(),
                controller: options.gateway_controller.clone(),
                leadership,
            },
            watching: connection.another(),
            namespaces: match alone {
                Some(alone) => vec![alone.namespace.clone()],
                None => options.namespaces.clone(),
            },
            selector: provision_service::selector(alone.map(|alone| alone.name.as_str())),
            kind: options.gateway_service_type,
            holding: Holding {
                is_alone: alone.is_some(),
                controller: options.gateway_controller.clone(),
            },
            data_planes: options.data_planes.clone(),
            sources,
            took: None,
            tried: HashMap::new(),
            obstacles: BTreeMap::new(),
            told,
        };
        (provisioner, provisions)
    }

    /// Never ends.
    pub(crate) async fn run(mut self) {
        // Where nobody has a Gateway, nothing of it is watched; unless somebody may have had one, of
        // which not all goes by itself.
        let watches = self.data_planes.is_some();
        let has_some = |served: &Option<Arc<Served>>| {
            let has_some = |served: &Arc<Served>| watches || !served.gateways.is_empty();
            served.as_ref().is_some_and(has_some)
        };
        if self.sources.served.wait_for(has_some).await.is_err() {
            return;
        }
        let mut present = Present {
            services: Table::new(&self.watching, &self.namespaces, &self.selector),
            slices: Table::new(&self.watching, &self.namespaces, &endpoints::selector()),
            parts: watches.then(|| Parts::new(&self.watching, &self.namespaces)),
        };
        loop {
            let again = self.act(&mut present).await;
            let longest = Instant::now() + Duration::from_secs(60);
            tokio::select! {
                () = present.changed() => {}
                () = self.sources.changed() => {}
                () = sleep_until(again.unwrap_or(longest)) => {}
            }
            let gathered = Instant::now() + PLANNING;
            loop {
                tokio::select! {
                    () = present.changed() => {}
                    () = self.sources.changed() => {}
                    () = sleep_until(gathered) => break,
                }
            }
        }
    }

    /// Does what is to be done, and tells what there is. Returns when something may be tried again.
    async fn act(&mut self, present: &mut Present) -> Option<Instant> {
        if !present.is_complete() {
            return None;
        }
        let world = self.sources.world()?;
        self.tried.retain(|_, tried| tried.at.elapsed() < CALM);
        self.forget_obstacles(&world);
        let mut again = None;
        let mut then = |at: Option<Instant>| {
            again = [again, at].into_iter().flatten().min();
        };
        // Slices need their Service; what replaces an old slice is there before that goes.
        let actions = self.of_services(&world, &present.services);
        then(self.perform(actions, present).await);
        then(self.took.map(|took| took + TAKING));
        let (applied, deleted) = self.of_slices(&world, &present.services, &present.slices);
        then(self.perform(applied, present).await);
        then(self.perform(deleted, present).await);
        let mut now = Provisions {
            services: self.provisions(&world, &present.services),
            dedicated: BTreeMap::new(),
        };
        for actions in self.of_all_data_planes(&world, present, &now.services) {
            then(self.perform(actions, present).await);
        }
        if let Some(parts) = &present.parts {
            now.dedicated = self.deployed(&world, parts);
        }
        let now = Arc::new(now);
        self.told.send_if_modified(|told| {
            let changed = told.as_ref() != Some(&now);
            if changed {
                *told = Some(now);
            }
            changed
        });
        again
    }

    fn forget_obstacles(&mut self, world: &World) {
        let services = world.served.gateways.iter().map(gateway);
        let services: BTreeSet<_> = services.collect();
        let plans = world.served.dedicated.iter();
        let planes = plans.map(|plan| Owner::new(&plan.namespace, &plan.gateway));
        let planes: BTreeSet<_> = planes.collect();
        self.obstacles.retain(|(gateway, kind), _| match kind {
            Kind::Service | Kind::Slice => services.contains(gateway),
            _ => planes.contains(gateway),
        });
    }

    /// An object is as it is to be.
    fn done(&mut self, kind: Kind, gateway: &Owner, key: Owner) {
        self.obstacles.remove(&(gateway.clone(), kind));
        self.tried.remove(&(kind, key));
    }

    /// Returns when what has to wait may be tried.
    async fn perform(&mut self, actions: Vec<Action>, present: &mut Present) -> Option<Instant> {
        let now = Instant::now();
        let mut due = Vec::new();
        let mut again: Option<Instant> = None;
        for action in actions {
            let (key, what) = action.id();
            match self.tried.get(&key) {
                Some(tried) if tried.what == what && tried.next() > now => {
                    again = Some(again.map_or_else(|| tried.next(), |at| at.min(tried.next())));
                }
                _ => due.push(action),
            }
        }
        let sender = self.sender.clone();
        let done: Vec<_> = iter(due)
            .map(|action| async {
                let done = sender.send(&action).await;
                (action, done)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (action, done) in done {
            let next = self.finish(&action, done, present);
            again = Some(again.map_or(next, |at| at.min(next)));
        }
        again
    }

    fn finish(&mut self, action: &Action, done: Done, present: &mut Present) -> Instant {
        let (key, what) = action.id();
        let kind = key.0;
        let name = match &*key.1.namespace {
            "" => format!("{} {}", kind.name(), key.1.name),
            namespace => format!("{} {namespace}/{}", kind.name(), key.1.name),
        };
        let now = Instant::now();
        let tried = self.tried.entry(key).or_insert(Tried {
            what,
            times: 0,
            at: now,
        });
        if tried.what != what {
            (tried.what, tried.times) = (what, 0);
        }
        tried.times = tried.times.saturating_add(1);
        tried.at = now;
        let (next, is_first) = (tried.next(), tried.times == 1);
        let mut obstacle = None;
        match done {
            Done::Object(object) => present.wrote(kind, *object),
            Done::Nothing | Done::NotLeader => {}
            Done::Anothers => {
                let message = format!(
                    "the {name} is somebody else's: it has that name, and was not made for this \
                     Gateway"
                );
                obstacle = Some(Obstacle {
                    reason: "Invalid",
                    message,
                });
            }
            Done::Failed(reason) => {
                if is_first {
                    tracing::warn!("what a Gateway needs, {name}: {reason}");
                }
                obstacle = Some(Obstacle {
                    reason: "NoResources",
                    message: format!("the {name} cannot be written: {reason}"),
                });
            }
        }
        if let Action::Apply { gateway, .. } = action
            && kind != Kind::Slice
        {
            let key = (gateway.owner.clone(), kind);
            match obstacle {
                Some(obstacle) => drop(self.obstacles.insert(key, obstacle)),
                None => drop(self.obstacles.remove(&key)),
            }
        }
        next
    }
}

impl Present {
    /// Waits for something that changes what is known. Cancel safe.
    async fn changed(&mut self) {
        let parts = async {
            match &mut self.parts {
                Some(parts) => parts.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.services.changed() => {}
            () = self.slices.changed() => {}
            () = parts => {}
        }
    }

    fn is_complete(&self) -> bool {
        self.services.is_complete()
            && self.slices.is_complete()
            && self.parts.as_ref().is_none_or(Parts::is_complete)
    }

    /// Takes the answer to a write.
    fn wrote(&mut self, kind: Kind, object: kube::api::DynamicObject) {
        // What is no such object, the watch tells soon.
        match (kind, &mut self.parts) {
            (Kind::Service, _) => {
                if let Ok(service) = object.try_parse() {
                    self.services.wrote(service);
                }
            }
            (Kind::Slice, _) => {
                if let Ok(slice) = object.try_parse() {
                    self.slices.wrote(slice);
                }
            }
            (kind, Some(parts)) => parts.wrote(kind, object),
            (_, None) => {}
        }
    }
}

fn gateway(plan: &GatewayPlan) -> Owner {
    Owner::new(&plan.namespace, &plan.name)
}

impl Sources {
    /// Waits until one of them changes.
    async fn changed(&mut self) {
        let changed = tokio::select! {
            changed = self.served.changed() => changed,
            changed = self.replicas.changed() => changed,
            Ok(()) = self.addresses.changed() => Ok(()),
        };
        if changed.is_err() {
            // It is about to end; what is known stays as it is.
            std::future::pending().await
        }
    }

    /// What is known now; none before anything is served and the replicas are known.
    fn world(&self) -> Option<World> {
        let served = self.served.borrow().clone()?;
        let own = Replica {
            name: self.identity.name.clone(),
            node: self.identity.node.clone(),
            position: served.position.clone(),
            addresses: self.addresses.borrow().clone(),
            listening: served.listening(),
        };
        let mut replicas: Vec<_> = self.replicas.borrow().as_ref()?.to_vec();
        replicas.push(own);
        // Whoever leads makes the same of the same.
        replicas.sort_by(|a, b| a.name.cmp(&b.name));
        Some(World { served, replicas })
    }
}
