//! Keeps a Service for each Gateway, and its EndpointSlices, while we lead.
//!
//! The Service says which port of ours each port of the Gateway leads to, and is written first: from
//! then on every replica reads the same there. Traffic goes where its EndpointSlices say, which are
//! the replicas that listen by now.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use compile::GatewayPlan;
use futures_util::StreamExt;
use futures_util::stream::iter;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::provision::provision;
use super::provision_service::{self, ServiceType};
use super::provision_table::{Kept, Table};
use super::{Obstacle, Owner, Provision, Provisions, endpoints};
use crate::MANAGER;
use crate::client::Connection;
use crate::election::Leadership;
use crate::publish::{Identity, Options, Served};
use crate::replicas::{Replica, hash};
use crate::status::backoff;

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
    client: Client,
    /// For watches.
    watching: Client,
    namespaces: Vec<String>,
    kind: ServiceType,
    /// Whose GatewayClasses are ours.
    controller: String,
    leadership: Leadership,
    sources: Sources,
    /// What was tried of each object.
    tried: HashMap<(Kind, Owner), Tried>,
    /// Why a Gateway's Service cannot be written.
    obstacles: BTreeMap<Owner, Obstacle>,
    told: watch::Sender<Option<Arc<Provisions>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Service,
    Slice,
}

/// What was tried last.
struct Tried {
    what: u32,
    times: u32,
    at: Instant,
}

/// Something to be done.
enum Action {
    /// Make or change a Service.
    Apply {
        gateway: Owner,
        plan: Box<GatewayPlan>,
        service: Value,
        is_known: bool,
    },
    /// Make or change an EndpointSlice.
    ApplySlice(Value),
    /// Take away an EndpointSlice.
    DeleteSlice(String),
    /// Take away a Service that no Gateway of ours has.
    Delete(Box<Service>),
}

/// What came of it.
enum Done {
    Service(Box<Service>),
    Slice(Box<EndpointSlice>),
    /// The Service is somebody else's.
    Anothers,
    Nothing,
    Failed(String),
    NotLeader,
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
        let provisioner = Self {
            client: client.clone(),
            watching: connection.another(),
            namespaces: options.namespaces.clone(),
            kind: options.gateway_service_type,
            controller: options.gateway_controller.clone(),
            leadership,
            sources,
            tried: HashMap::new(),
            obstacles: BTreeMap::new(),
            told,
        };
        (provisioner, provisions)
    }

    /// Never ends.
    pub(crate) async fn run(mut self) {
        // Where nobody has a Gateway, nothing of it is watched.
        let has_some = |served: &Option<Arc<Served>>| {
            served
                .as_ref()
                .is_some_and(|served| !served.gateways.is_empty())
        };
        if self.sources.served.wait_for(has_some).await.is_err() {
            return;
        }
        let selector = provision_service::selector();
        let mut services = Table::new(&self.watching, &self.namespaces, &selector);
        let selector = endpoints::selector();
        let mut slices = Table::new(&self.watching, &self.namespaces, &selector);
        loop {
            let again = self.act(&mut services, &mut slices).await;
            let longest = Instant::now() + Duration::from_secs(60);
            tokio::select! {
                () = services.changed() => {}
                () = slices.changed() => {}
                () = self.sources.changed() => {}
                () = sleep_until(again.unwrap_or(longest)) => {}
            }
            let gathered = Instant::now() + PLANNING;
            loop {
                tokio::select! {
                    () = services.changed() => {}
                    () = slices.changed() => {}
                    () = self.sources.changed() => {}
                    () = sleep_until(gathered) => break,
                }
            }
        }
    }

    /// Does what is to be done, and tells what there is. Returns when something may be tried again.
    async fn act(
        &mut self,
        services: &mut Table<Service>,
        slices: &mut Table<EndpointSlice>,
    ) -> Option<Instant> {
        if !services.is_complete() || !slices.is_complete() {
            return None;
        }
        let world = self.sources.world()?;
        self.tried.retain(|_, tried| tried.at.elapsed() < CALM);
        let mut again = None;
        // Slices need their Service; what replaces an old slice is there before that goes.
        let actions = self.of_services(&world, services);
        let first = self.perform(actions, services, slices).await;
        let (applied, deleted) = of_slices(&world, services, slices);
        let second = self.perform(applied, services, slices).await;
        let third = self.perform(deleted, services, slices).await;
        for at in [first, second, third].into_iter().flatten() {
            again = again.map_or(Some(at), |known: Instant| Some(known.min(at)));
        }
        let now = Arc::new(self.provisions(&world, services));
        self.told.send_if_modified(|told| {
            let changed = told.as_ref() != Some(&now);
            if changed {
                *told = Some(now);
            }
            changed
        });
        again
    }

    fn of_services(&mut self, world: &World, services: &Table<Service>) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut wanted = std::collections::BTreeSet::new();
        for plan in world.served.gateways.iter() {
            let key = Owner::new(&plan.namespace, &plan.service);
            wanted.insert(key.clone());
            // A Service has at least one port; one that has none any more stays as it is.
            if plan.ports.is_empty() {
                continue;
            }
            let service = provision_service::service(plan, self.kind);
            let known = services.get(&key);
            let ours = known.filter(|it| provision_service::is_ours(&it.metadata, plan));
            if ours.is_some_and(|it| provision_service::is_as(it, &service)) {
                self.obstacles.remove(&gateway(plan));
                self.tried.remove(&(Kind::Service, key));
                continue;
            }
            actions.push(Action::Apply {
                gateway: gateway(plan),
                plan: Box::new(plan.clone()),
                service,
                is_known: ours.is_some(),
            });
        }
        let gone = services.iter().filter(|(key, _)| !wanted.contains(*key));
        actions.extend(gone.map(|(_, service)| Action::Delete(Box::new(service.clone()))));
        let gateways: std::collections::BTreeSet<_> =
            world.served.gateways.iter().map(gateway).collect();
        self.obstacles.retain(|key, _| gateways.contains(key));
        actions
    }

    /// Returns when what has to wait may be tried.
    async fn perform(
        &mut self,
        actions: Vec<Action>,
        services: &mut Table<Service>,
        slices: &mut Table<EndpointSlice>,
    ) -> Option<Instant> {
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
        let this = &*self;
        let done: Vec<_> = iter(due)
            .map(|action| async move {
                let done = this.perform_one(&action).await;
                (action, done)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (action, done) in done {
            let next = self.finish(&action, done, services, slices);
            again = Some(again.map_or(next, |at| at.min(next)));
        }
        again
    }

    fn finish(
        &mut self,
        action: &Action,
        done: Done,
        services: &mut Table<Service>,
        slices: &mut Table<EndpointSlice>,
    ) -> Instant {
        let (key, what) = action.id();
        let name = format!("{}/{}", key.1.namespace, key.1.name);
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
        let next = tried.next();
        let mut obstacle = None;
        match done {
            Done::Service(service) => services.wrote(*service),
            Done::Slice(slice) => slices.wrote(*slice),
            Done::Nothing | Done::NotLeader => {}
            Done::Anothers => {
                let message = format!(
                    "the Service {name} is somebody else's: it has that name, and was not made for \
                     this Gateway"
                );
                obstacle = Some(Obstacle {
                    reason: "Invalid",
                    message,
                });
            }
            Done::Failed(reason) => {
                if self
                    .tried
                    .get(&action.id().0)
                    .is_some_and(|it| it.times == 1)
                {
                    tracing::warn!("what a Gateway needs, {name}: {reason}");
                }
                obstacle = Some(Obstacle {
                    reason: "NoResources",
                    message: format!("the Service {name} cannot be written: {reason}"),
                });
            }
        }
        if let Action::Apply { gateway, .. } = action {
            match obstacle {
                Some(obstacle) => drop(self.obstacles.insert(gateway.clone(), obstacle)),
                None => drop(self.obstacles.remove(gateway)),
            }
        }
        next
    }

    async fn perform_one(&self, action: &Action) -> Done {
        let work = async {
            match action {
                Action::Apply {
                    plan,
                    service,
                    is_known,
                    ..
                } => self.apply_service(plan, service, *is_known).await,
                Action::ApplySlice(slice) => {
                    let applied = self.apply(slice, true).await;
                    applied
                        .map(|slice| slice.map_or(Done::NotLeader, |it| Done::Slice(Box::new(it))))
                }
                Action::DeleteSlice(path) => {
                    let (namespace, name) = path.split_once('/').unwrap_or_default();
                    let slices: Api<EndpointSlice> = self.api(namespace);
                    if !self.leadership.is_held() {
                        return Ok(Done::NotLeader);
                    }
                    slices.delete(name, &DeleteParams::default()).await?;
                    Ok(Done::Nothing)
                }
                Action::Delete(service) => self.delete_service(service).await,
            }
        };
        match timeout(REQUEST, work).await {
            Ok(Ok(done)) => done,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Done::Nothing,
            Ok(Err(kube::Error::Api(status))) => Done::Failed(status.message),
            Ok(Err(error)) => Done::Failed(error.to_string()),
            Err(_) => Done::Failed("no answer in time".to_owned()),
        }
    }

    async fn apply_service(
        &self,
        plan: &GatewayPlan,
        service: &Value,
        is_known: bool,
    ) -> kube::Result<Done> {
        let mut is_ours = is_known;
        if !is_known {
            let services: Api<Service> = self.api(&plan.namespace);
            if let Some(there) = services.get_opt(&plan.service).await? {
                if !provision_service::is_ours(&there.metadata, plan) {
                    return Ok(Done::Anothers);
                }
                is_ours = true;
            }
        }
        // Not forced where we think that there is none: somebody may have made one meanwhile.
        let applied: Option<Service> = self.apply(service, is_ours).await?;
        Ok(applied.map_or(Done::NotLeader, |it| Done::Service(Box::new(it))))
    }

    /// None if we lead no more, and have sent nothing.
    async fn apply<K: Kept>(&self, object: &Value, force: bool) -> kube::Result<Option<K>> {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let objects: Api<K> = self.api(text("namespace"));
        let mut parameters = PatchParams::apply(MANAGER);
        parameters.force = force;
        let patch = Patch::Apply(object);
        // Last of all: nothing may be between this and the sending.
        if !self.leadership.is_held() {
            return Ok(None);
        }
        objects
            .patch(text("name"), &parameters, &patch)
            .await
            .map(Some)
    }

    /// Takes a Service away whose Gateway is there and not ours any more. That of a Gateway that is
    /// gone goes with it, as it is its owner; and where that cannot be known, it stays.
    async fn delete_service(&self, service: &Service) -> kube::Result<Done> {
        let metadata = &service.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let mut owners = metadata.owner_references.iter().flatten();
        let Some(owner) = owners.find(|it| it.kind == "Gateway") else {
            return Ok(Done::Nothing);
        };
        let gateways: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &kind("Gateway"));
        let Some(gateway) = gateways.get_opt(&owner.name).await? else {
            return Ok(Done::Nothing);
        };
        let class = gateway.data["spec"]["gatewayClassName"].as_str();
        let class = class.unwrap_or_default();
        let was = provision_service::class_of(metadata).unwrap_or_default();
        if provision_service::label_value(class) == was {
            let classes: Api<DynamicObject> =
                Api::all_with(self.client.clone(), &kind("GatewayClass"));
            let class = classes.get_opt(class).await?;
            let controller = |it: &DynamicObject| it.data["spec"]["controllerName"].clone();
            if class.is_some_and(|class| controller(&class) == *self.controller) {
                return Ok(Done::Nothing);
            }
        }
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let services: Api<Service> = self.api(namespace);
        if !self.leadership.is_held() {
            return Ok(Done::NotLeader);
        }
        let name = metadata.name.as_deref().unwrap_or_default();
        services.delete(name, &parameters).await?;
        Ok(Done::Nothing)
    }

    fn api<K: Kept>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn provisions(&self, world: &World, services: &Table<Service>) -> Provisions {
        let plans = world.served.gateways.iter();
        let provisions = plans.filter_map(|plan| {
            let service = services.get(&Owner::new(&plan.namespace, &plan.service));
            let service = service.filter(|it| provision_service::is_ours(&it.metadata, plan));
            let obstacle = self.obstacles.get(&gateway(plan)).cloned();
            if service.is_none() && obstacle.is_none() {
                return None;
            }
            let mut provided = service.map(provision).unwrap_or_default();
            // A port of which a replica does not know leads only to the others.
            provided.ports.retain(|port| {
                let mut replicas = world.replicas.iter();
                replicas.all(|replica| replica.listening.has(plan, port))
            });
            let is_nowhere = provided.ports.is_empty();
            provided.obstacle = obstacle.or_else(|| pending(plan, &world.replicas, is_nowhere));
            Some((gateway(plan), provided))
        });
        provisions.collect::<BTreeMap<Owner, Provision>>()
    }
}

/// What is missing before a Gateway's Service leads to replicas that serve it.
fn pending(plan: &GatewayPlan, replicas: &[Replica], is_nowhere: bool) -> Option<Obstacle> {
    let pending = |message: String| {
        Some(Obstacle {
            reason: "Pending",
            message,
        })
    };
    if replicas.iter().all(|replica| replica.addresses.is_empty()) {
        return pending(
            "no replica has told the addresses by which it is reached; outside of a pod, that is \
             --publish-status-address"
                .to_owned(),
        );
    }
    let listens = |replica: &&Replica| endpoints::ports(plan, replica).count() == plan.ports.len();
    let (ready, all) = (replicas.iter().filter(listens).count(), replicas.len());
    match is_nowhere && !plan.ports.is_empty() {
        false => None,
        true => pending(format!("{ready} of {all} replicas listen on its ports")),
    }
}

fn of_slices(
    world: &World,
    services: &Table<Service>,
    slices: &Table<EndpointSlice>,
) -> (Vec<Action>, Vec<Action>) {
    let mut wanted = BTreeMap::new();
    for plan in world.served.gateways.iter() {
        let service = services.get(&Owner::new(&plan.namespace, &plan.service));
        let ours = service.filter(|it| provision_service::is_ours(&it.metadata, plan));
        if let Some(service) = ours {
            for (name, slice) in endpoints::slices(plan, service, &world.replicas) {
                wanted.insert(Owner::new(&plan.namespace, &name), slice);
            }
        }
    }
    let surplus = slices.iter().filter(|(key, _)| !wanted.contains_key(*key));
    let deleted =
        surplus.map(|(key, _)| Action::DeleteSlice(format!("{}/{}", key.namespace, key.name)));
    let deleted = deleted.collect();
    let applied = wanted
        .into_iter()
        .filter(|(key, slice)| {
            let known = slices.get(key);
            !known.is_some_and(|known| endpoints::is_as(known, slice))
        })
        .map(|(_, slice)| Action::ApplySlice(slice))
        .collect();
    (applied, deleted)
}

fn gateway(plan: &GatewayPlan) -> Owner {
    Owner::new(&plan.namespace, &plan.name)
}

fn kind(name: &str) -> ApiResource {
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", name);
    match name {
        "GatewayClass" => ApiResource::from_gvk_with_plural(&kind, "gatewayclasses"),
        _ => ApiResource::from_gvk(&kind),
    }
}

impl Action {
    /// Which object it is about, and a hash of what is to become of it.
    fn id(&self) -> ((Kind, Owner), u32) {
        let of = |object: &Value| {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
            let owner = Owner::new(text("namespace"), text("name"));
            (owner, hash(object.to_string().as_bytes()))
        };
        match self {
            Self::Apply { service, .. } => {
                let (owner, what) = of(service);
                ((Kind::Service, owner), what)
            }
            Self::ApplySlice(slice) => {
                let (owner, what) = of(slice);
                ((Kind::Slice, owner), what)
            }
            Self::DeleteSlice(path) => {
                let (namespace, name) = path.split_once('/').unwrap_or_default();
                ((Kind::Slice, Owner::new(namespace, name)), 0)
            }
            Self::Delete(service) => {
                let metadata = &service.metadata;
                let owner = Owner::new(
                    metadata.namespace.as_deref().unwrap_or_default(),
                    metadata.name.as_deref().unwrap_or_default(),
                );
                ((Kind::Service, owner), 0)
            }
        }
    }
}

impl Tried {
    fn next(&self) -> Instant {
        self.at + backoff(self.times).min(LONGEST)
    }
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
