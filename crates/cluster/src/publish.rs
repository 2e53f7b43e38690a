//! What goes out: the Leases, and, while we lead, status and Events.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use compile::status::{ByObject, ObjectStatus};
use compile::{DedicatedPlan, GatewayPlan, Report, ServiceType, Share};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Api, Client};
use model::Entrance;
use objects::Sorted;
use objects::kinds::Kind;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::Connection;
use crate::election::{Election, Leader, Leadership};
use crate::events::Events;
use crate::gateway::{self, DataPlanes, Provisioner, Sources};
use crate::metrics::Metrics;
use crate::replicas::{Listening, Others, Own, Position, Replica, ask_for_addresses};
use crate::status::{Addresses, Budget, Classes, IngressNginx, Inputs, Means, Publish, Writer};

/// How long a pod is asked for itself.
const REQUEST: Duration = Duration::from_secs(5);

/// How long taking addresses away at the end may take.
const CLEARING: Duration = Duration::from_secs(15);

/// How long the last replica waits for others that end at the same time.
const TOGETHER: Duration = Duration::from_secs(2);

/// How many Ingresses with a first address wait for their Event.
const NEWS: usize = 1000;

/// What this replica is to the others.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its name, which no other has: the pod's.
    pub name: String,
    /// The namespace of its pod, in which the Leases are.
    pub namespace: String,
    /// Its pod's `metadata.uid`, if it is in one.
    pub uid: Option<String>,
    /// The node that it is on.
    pub node: Option<String>,
    /// Whether it is in a pod, which the API server can tell more of.
    pub is_pod: bool,
}

impl Identity {
    /// Asks the API server for what is not known of the pod that we are in. What it does not say,
    /// is left out.
    async fn complete(&mut self, client: &Client) {
        if !self.is_pod {
            return;
        }
        let pods: Api<Pod> = Api::namespaced(client.clone(), &self.namespace);
        match timeout(REQUEST, pods.get_opt(&self.name)).await {
            Ok(Ok(Some(pod))) => {
                self.uid = self.uid.take().or(pod.metadata.uid);
                let node = pod.spec.and_then(|spec| spec.node_name);
                self.node = self.node.take().or(node);
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::warn!("our own pod {} cannot be read: {error}", self.name),
            Err(_) => tracing::warn!("our own pod {} cannot be read in time", self.name),
        }
    }
}

/// What goes out, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The leader's Lease (`--election-id`).
    pub election_id: String,
    /// The namespaces of the Ingresses; none means all.
    pub namespaces: Vec<String>,
    /// Whether status is written at all (`--update-status`).
    pub update_status: bool,
    /// Whether the last replica takes its addresses away (`--update-status-on-shutdown`).
    pub clear_on_shutdown: bool,
    /// Which addresses.
    pub publish: Publish,
    /// Whether the status of ingress-nginx's classes is written even while it runs
    /// (`--take-over`).
    pub take_over: bool,
    /// The names of the Lease of ingress-nginx's leader (`--ingress-nginx-election-id`).
    pub ingress_nginx_election_ids: Vec<String>,
    /// What kind of Service each Gateway gets (`--gateway-service-type`).
    pub gateway_service_type: ServiceType,
    /// The one Gateway that is served, and nothing else (`--gateway`).
    pub alone: Option<Alone>,
    /// How data planes of single Gateways are made, if they are.
    pub data_planes: Option<DataPlanes>,
    /// The controller whose GatewayClasses are ours, and by which our entries in a status are known
    /// (`--gateway-controller-name`).
    pub gateway_controller: String,
    /// The most writes of status a second.
    pub status_writes_per_second: u32,
    /// The most Events a second.
    pub events_per_second: u32,
}

/// A Gateway whose data plane a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alone {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its `metadata.uid`, if it was told: with it, the leader's Lease goes with the Gateway.
    pub uid: Option<String>,
}

impl Alone {
    fn owner(&self) -> Option<OwnerReference> {
        Some(OwnerReference {
            api_version: "gateway.networking.k8s.io/v1".to_owned(),
            kind: "Gateway".to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone()?,
            ..OwnerReference::default()
        })
    }
}

/// What this replica serves.
#[derive(Debug, Clone, Default)]
pub struct Served {
    /// What became of each object.
    pub report: Arc<Report>,
    /// Which classes there are.
    pub classes: Arc<Classes>,
    /// What is said of each object of Gateway API that is ours.
    pub statuses: Arc<Sorted<ObjectStatus, ByObject>>,
    /// What is to be provided for each Gateway.
    pub gateways: Arc<[GatewayPlan]>,
    /// The data planes that Gateways are to have for themselves.
    pub dedicated: Arc<[DedicatedPlan]>,
    /// Which Gateways and ListenerSets this process speaks for.
    pub share: Arc<Share>,
    /// The kinds of Gateway API that are read, each with the `apiVersion` in which it is.
    pub kinds: Arc<BTreeMap<Kind, &'static str>>,
    /// What is to be listened on and cannot be.
    pub unbound: Arc<[Entrance]>,
    /// How new it is.
    pub position: Position,
}

impl Served {
    /// Which ports of Gateways are listened on.
    pub(crate) fn listening(&self) -> Listening {
        Listening::new(&self.gateways, &self.unbound)
    }
}

/// What is known of leader and replicas, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Who leads, as far as it is known.
    pub leader: Option<String>,
    /// Whether that is us.
    pub is_leader: bool,
    /// The live replicas' names, ours among them; only the leader knows.
    pub replicas: Vec<String>,
    /// The addresses that Ingresses are told to have; only the leader knows.
    pub addresses: Vec<String>,
}

/// Leases, status and Events, on a thread of their own: what they read and work out must not hold
/// up what is served.
#[derive(Debug)]
pub struct Publisher {
    /// Closed at its end.
    ended: oneshot::Receiver<()>,
    stop: watch::Sender<Option<End>>,
    view: watch::Receiver<View>,
}

/// Why this replica tells nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It serves no more.
    Gone,
    /// Another process serves in its place.
    Replaced,
}

impl Publisher {
    /// Begins. Nothing is told before `served` has something.
    pub fn start(
        connection: Connection,
        identity: Identity,
        options: Options,
        served: watch::Receiver<Option<Arc<Served>>>,
        metrics: Metrics,
    ) -> Self {
        let (stop, stopped) = watch::channel(None);
        let (told, view) = watch::channel(View::default());
        let work = Work {
            client: connection.client().clone(),
            connection,
            identity: Arc::new(identity),
            options,
            served,
            metrics,
            told,
        };
        let (running, ended) = oneshot::channel();
        let thread = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(work.run(stopped)),
                Err(error) => tracing::error!("the cluster is told nothing: {error}"),
            }
            drop(running);
        };
        let spawned = std::thread::Builder::new()
            .name("narthex-publish".to_owned())
            .spawn(thread);
        if let Err(error) = spawned {
            tracing::error!("the cluster is told nothing: {error}");
        }
        Self { ended, stop, view }
    }

    /// What is known now.
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// Nothing is told from here any more: takes the addresses away if nobody serves them, and gives
    /// the Leases back. Takes some seconds at most.
    pub async fn stop(self, end: End) {
        self.stop.send_replace(Some(end));
        // Closed, whether it ended well or not.
        let _ = self.ended.await;
    }
}

struct Work {
    connection: Connection,
    client: Client,
    identity: Arc<Identity>,
    options: Options,
    served: watch::Receiver<Option<Arc<Served>>>,
    metrics: Metrics,
    told: watch::Sender<View>,
}

impl Work {
    async fn run(mut self, mut stopped: watch::Receiver<Option<End>>) {
        // Of its own thread, and with no watch before what is written.
        self.client = self.connection.another();
        Arc::make_mut(&mut self.identity)
            .complete(&self.client)
            .await;
        let (client, identity) = (&self.client, &self.identity);
        let id = &self.options.election_id;
        let (told, addresses) = watch::channel(self.given_addresses().await);
        let mut tasks = JoinSet::new();
        if identity.is_pod {
            tasks.spawn(ask_for_addresses(
                client.clone(),
                Arc::clone(identity),
                told,
            ));
        }
        let served = self.served.clone();
        let mut own = Own::new(client, id, Arc::clone(identity), served, addresses.clone());
        let (mut election, leadership, leader) = Election::new(
            client,
            &identity.namespace,
            id.clone(),
            identity.name.clone(),
            self.options.alone.as_ref().and_then(Alone::owner),
        );
        let (end, mut ended) = watch::channel(());
        let election = tokio::spawn(async move {
            tokio::select! {
                () = election.run() => {}
                _ = ended.changed() => election.release().await,
            }
        });
        tokio::select! {
            () = self.lead_again_and_again(leader, &leadership, &addresses, &mut stopped) => {}
            () = own.run() => {}
        }
        own.delete().await;
        end.send_replace(());
        let _ = election.await;
    }

    /// Until it is stopped.
    async fn lead_again_and_again(
        &self,
        mut leader: watch::Receiver<Leader>,
        leadership: &Leadership,
        addresses: &watch::Receiver<Arc<[IpAddr]>>,
        stopped: &mut watch::Receiver<Option<End>>,
    ) {
        // Whoever leads has something to tell: nothing is led before something is served.
        let mut lead: Option<Lead> = None;
        let mut term = leader.borrow().term;
        loop {
            let now = leader.borrow_and_update().clone();
            if !now.is_us || now.term != term {
                lead = None;
            }
            term = now.term;
            if now.is_us && lead.is_none() {
                lead = Some(self.lead(leadership, addresses));
            }
            self.metrics.leader.set(i64::from(now.is_us));
            let (replicas, addresses) = lead.as_ref().map_or_else(Default::default, Lead::known);
            let live = replicas.as_ref().map_or(0, |others| others.len() + 1);
            self.metrics
                .replicas
                .set(i64::try_from(live).unwrap_or(i64::MAX));
            self.told.send_replace(self.view(&now, replicas, addresses));
            let news = async {
                match &mut lead {
                    Some(lead) => lead.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = leader.changed() => if changed.is_err() {
                    return;
                },
                () = news => {}
                _ = stopped.wait_for(Option::is_some) => break,
            }
        }
        let end = *stopped.borrow();
        if let Some(lead) = lead.filter(|_| end != Some(End::Replaced)) {
            self.end(lead).await;
        }
    }

    fn view(
        &self,
        leader: &Leader,
        others: Option<Arc<[Replica]>>,
        addresses: Option<Addresses>,
    ) -> View {
        let others = others.iter().flat_map(|others| others.iter());
        let mut replicas: Vec<String> = others.map(|other| other.name.clone()).collect();
        if leader.is_us {
            replicas.push(self.identity.name.clone());
            replicas.sort();
        }
        let addresses = addresses.unwrap_or_default();
        View {
            leader: leader.identity.clone(),
            is_leader: leader.is_us,
            replicas,
            addresses: addresses
                .as_slice()
                .iter()
                .map(|it| it.text().to_owned())
                .collect(),
        }
    }

    /// Outside of a pod: those that are told, else the one by which we reach the API server.
    async fn given_addresses(&self) -> Arc<[IpAddr]> {
        if self.identity.is_pod {
            return Arc::default();
        }
        if let Publish::Addresses(given) = &self.options.publish {
            let given = given.iter();
            return given
                .filter_map(|it| it.ip.as_deref()?.parse().ok())
                .collect();
        }
        let own = self.connection.own_address().await;
        // Nobody else reaches a process there.
        own.filter(|own| !own.is_loopback()).into_iter().collect()
    }

    fn lead(&self, leadership: &Leadership, own: &watch::Receiver<Arc<[IpAddr]>>) -> Lead {
        let (client, options, identity) = (&self.client, &self.options, &self.identity);
        let mut tasks = JoinSet::new();
        let (others, replicas) = Others::new(
            client,
            &identity.namespace,
            &options.election_id,
            &identity.name,
            leadership.clone(),
        );
        tasks.spawn(others.run());
        let (news, first_addresses) = mpsc::channel(NEWS);
        let events = Events::new(
            client.clone(),
            Arc::clone(identity),
            options.events_per_second,
            leadership.clone(),
            self.metrics.clone(),
            self.served.clone(),
            first_addresses,
        );
        tasks.spawn(events.run());
        let (provisioner, provisions) = Provisioner::new(
            client,
            &self.connection,
            options,
            leadership.clone(),
            Sources {
                identity: Arc::clone(identity),
                served: self.served.clone(),
                replicas: replicas.clone(),
                addresses: own.clone(),
            },
        );
        tasks.spawn(provisioner.run());
        let (told, addresses) = watch::channel(None);
        let mut lead = Lead {
            tasks,
            replicas: replicas.clone(),
            addresses: addresses.clone(),
            writer: None,
        };
        if !options.update_status {
            return lead;
        }
        let a_second = options.status_writes_per_second;
        let means = Means {
            leadership: leadership.clone(),
            metrics: self.metrics.clone(),
            budget: Budget::new(a_second, a_second),
        };
        let gateways = gateway::Writer::new(
            client.clone(),
            &self.connection,
            options,
            means.clone(),
            gateway::Inputs {
                served: self.served.clone(),
                replicas: replicas.clone(),
                provisions,
            },
        );
        lead.tasks.spawn(gateways.run());
        if options.alone.is_some() {
            return lead;
        }
        let (node, publish) = (identity.node.clone(), options.publish.clone());
        lead.tasks
            .spawn(publish.follow(client.clone(), node, replicas.clone(), told));
        let ingress_nginx = (!options.take_over).then(|| {
            let names = options.ingress_nginx_election_ids.clone();
            let (looked, state) = IngressNginx::new(client, names);
            lead.tasks.spawn(looked.run());
            state
        });
        let inputs = Inputs {
            served: self.served.clone(),
            replicas,
            addresses,
            ingress_nginx,
        };
        lead.writer = Some(Box::new(Writer::new(
            client.clone(),
            &self.connection,
            options,
            means,
            inputs,
            news,
        )));
        lead
    }

    /// As ingress-nginx: the addresses stay while another replica serves them.
    async fn end(&self, mut lead: Lead) {
        let Some(writer) = &mut lead.writer else {
            return;
        };
        if !self.options.clear_on_shutdown {
            return;
        }
        // Those that are told to end together with us have yet to take their Leases away.
        let nobody =
            |others: &Option<Arc<[Replica]>>| others.as_ref().is_some_and(|it| it.is_empty());
        // Not kept, as what it is borrowed from could not change meanwhile.
        let is_last = matches!(
            timeout(TOGETHER, lead.replicas.wait_for(nobody)).await,
            Ok(Ok(_))
        );
        if is_last && timeout(CLEARING, writer.clear()).await.is_err() {
            tracing::warn!("not every address could be taken away in {CLEARING:?}");
        }
    }
}

/// What goes on while we lead; all of it ends when this is dropped.
struct Lead {
    tasks: JoinSet<()>,
    replicas: watch::Receiver<Option<Arc<[Replica]>>>,
    addresses: watch::Receiver<Option<Addresses>>,
    writer: Option<Box<Writer>>,
}

impl Lead {
    fn known(&self) -> (Option<Arc<[Replica]>>, Option<Addresses>) {
        (
            self.replicas.borrow().clone(),
            self.addresses.borrow().clone(),
        )
    }

    /// Writes status, until there is something new to be told of.
    async fn changed(&mut self) {
        let write = async {
            match &mut self.writer {
                Some(writer) => writer.run().await,
                None => std::future::pending().await,
            }
        };
        let addresses = async {
            if self.addresses.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = write => {}
            changed = self.replicas.changed() => if changed.is_err() {
                std::future::pending::<()>().await;
            },
            () = addresses => {}
            _ = self.tasks.join_next() => {}
        }
    }
}
