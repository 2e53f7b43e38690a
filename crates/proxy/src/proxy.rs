//! The data plane as the rest of the program sees it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use model::{Backend, Entrance, Layer, Snapshot};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;

use crate::access_log::{AccessLog, LogWriter};
use crate::admission::Admission;
use crate::health;
use crate::in_step::Released;
use crate::inherit::{Addresses, Inherited};
use crate::listen::{self, BindError, Bound, Group, Listening};
use crate::metrics::{self, ByIngress, Connections, Metrics, WorkerMetrics};
use crate::orders::{self, Command, Order};
use crate::settings::Settings;
use crate::spread::{Accepted, Share, Spread};
use crate::telemetry::{self, Teller};
use crate::tls;
use crate::upstream::tls::Trust;
use crate::worker::Worker;

/// How often the end of all connections is looked for.
const IDLE_CHECK: Duration = Duration::from_millis(10);

/// How long the access log may take to be written at the end.
const LOG_LIMIT: Duration = Duration::from_secs(2);

/// The running data plane.
pub struct Proxy {
    settings: Arc<Settings>,
    workers: Vec<Handle>,
    released: Released,
    bound: Mutex<BTreeMap<Entrance, Bound>>,
    inherited: Mutex<Inherited>,
    /// What is bound and not accepted on before [`accept`](Proxy::accept).
    held: Mutex<Option<Vec<Group>>>,
    /// Whether another process has a hold of the listening sockets.
    shared: AtomicBool,
    /// What the workers serve. Held here, so that the last one is freed here, and no worker stops
    /// to take thousands of routes apart.
    published: Mutex<Arc<Snapshot>>,
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    by_ingress: Option<Arc<metrics::All>>,
    health: Arc<health::Counts>,
    trust: Arc<Trust>,
    tls: Arc<tls::Context>,
    log: LogWriter,
    traces: Teller,
}

/// What is counted under ingress-nginx's names.
#[derive(Debug, Clone)]
pub struct IngressCounts {
    by_ingress: Arc<metrics::All>,
    all: Arc<Metrics>,
}

impl IngressCounts {
    /// Writes what is known by Ingress in Prometheus' text format, with `labels` in each series:
    /// text as it stands between braces.
    pub fn write(&self, labels: &str, out: &mut String) {
        self.by_ingress.write(labels, out);
    }

    /// What clients have opened and asked.
    pub fn connections(&self) -> Connections {
        self.all.connections()
    }
}

#[derive(Debug)]
struct Handle {
    orders: mpsc::UnboundedSender<Order>,
    thread: JoinHandle<()>,
}

impl Proxy {
    /// Starts the workers. They listen on nothing yet.
    ///
    /// With sockets of another process, that process accepts on them until
    /// [`accept`](Self::accept) is called.
    ///
    /// # Errors
    /// If the system gives no threads, or no random numbers.
    pub fn start(settings: Settings, inherited: Option<Inherited>) -> io::Result<Self> {
        let settings = Arc::new(settings);
        let log = LogWriter::stdout()?;
        let tls = tls::Context::new(&settings.tls).map_err(io::Error::other)?;
        let trust = Arc::new(Trust::new(settings.backend_authorities.clone()));
        let traces = Teller::new(Arc::clone(&settings.tracing), Arc::clone(&trust));
        let admission = Arc::new(Admission::new(&settings.limits));
        let counters: Vec<_> = (0..settings.workers.max(1))
            .map(|_| WorkerMetrics::new())
            .collect();
        let health = Arc::<health::Counts>::default();
        let (spread, queues) = Spread::new(counters.len());
        let released = Released::default();
        let metrics = Metrics::new(
            counters.iter().cloned(),
            Arc::clone(&spread),
            log.dropped_lines(),
            Arc::clone(&health),
            traces.counts(),
        );
        let by_ingress = settings.ingress_metrics.clone().map(metrics::All::new);
        let workers = counters.into_iter().zip(queues).enumerate();
        let workers = workers.map(|(index, (counters, handed))| {
            let start = Start {
                settings: Arc::clone(&settings),
                counters,
                by_ingress: by_ingress.as_ref().map(metrics::All::worker),
                log: log.log(settings.access_log),
                traces: traces.queue(),
                tls: Arc::clone(&tls),
                trust: Arc::clone(&trust),
                admission: Arc::clone(&admission),
                share: Share {
                    spread: Arc::clone(&spread),
                    worker: index,
                    released: released.clone(),
                },
                handed,
            };
            start.worker()
        });
        let workers = workers.collect::<io::Result<_>>()?;
        Ok(Self {
            settings,
            workers,
            released,
            bound: Mutex::default(),
            held: Mutex::new(inherited.is_some().then(Vec::new)),
            inherited: Mutex::new(inherited.unwrap_or_default()),
            shared: AtomicBool::new(false),
            published: Mutex::default(),
            admission,
            metrics,
            by_ingress,
            health,
            trust,
            tls,
            log,
            traces,
        })
    }

    /// Asks the endpoints of those of `backends` whose policy says so how they are, and has all
    /// workers leave out who is ill. Ends when the sender is gone.
    pub fn check_health(
        &self,
        backends: watch::Receiver<Vec<Arc<Backend>>>,
    ) -> impl Future<Output = ()> + Send + use<> {
        health::run(backends, Arc::clone(&self.health), Arc::clone(&self.trust))
    }

    /// Serves a configuration: hands it to every worker, has all of them serve it from one moment
    /// on, closes the ports that are gone, opens those that are new. A port that stays is not
    /// touched, whatever is served there from now on.
    ///
    /// # Errors
    /// If nothing was served before, and a port of Ingress cannot be bound: then nothing is served.
    /// Any other port that cannot be bound is told of, and all else is served.
    pub async fn publish(&self, snapshot: Arc<Snapshot>) -> Result<Listening, BindError> {
        let wanted: Vec<Entrance> = snapshot
            .listeners
            .iter()
            .map(|listener| listener.entrance)
            .collect();
        let tracing = snapshot.tuning.tracing.as_deref();
        self.traces.tell(match tracing {
            Some(tracing) => Arc::new(self.settings.tracing.tuned(tracing)),
            None => Arc::clone(&self.settings.tracing),
        });
        self.tls.share_tickets(snapshot.ticket_keys.as_deref());
        self.order_all(|_| Command::Prepare(Arc::clone(&snapshot)))
            .await;
        self.released.release();
        self.order_all(|_| Command::TakeUp).await;
        *lock(&self.published) = Arc::clone(&snapshot);
        // Both are sorted, and there may be thousands.
        let is_gone = |entrance: &&Entrance| wanted.binary_search(entrance).is_err();
        let gone: Vec<Entrance> = lock(&self.bound).keys().filter(is_gone).copied().collect();
        for entrance in gone {
            self.close(entrance).await;
        }
        let failed = self.open(&snapshot).await?;
        Ok(Listening {
            bound: lock(&self.bound).values().cloned().collect(),
            failed,
        })
    }

    /// Tries once more to open what of the published configuration could not be opened. Tells what
    /// still cannot.
    pub async fn open_missing(&self) -> Vec<BindError> {
        let snapshot = Arc::clone(&lock(&self.published));
        match self.open(&snapshot).await {
            Ok(failed) => failed,
            Err(error) => vec![error],
        }
    }

    /// Opens what is not open.
    async fn open(&self, snapshot: &Snapshot) -> Result<Vec<BindError>, BindError> {
        let open: Vec<Entrance> = lock(&self.bound).keys().copied().collect();
        let mut failed = Vec::new();
        let mut groups = Vec::new();
        for listener in &snapshot.listeners {
            let entrance = listener.entrance;
            if open.binary_search(&entrance).is_ok() {
                continue;
            }
            match self.bind(entrance) {
                Ok(group) => groups.push(group),
                Err(error) if open.is_empty() && listener.service.ingress().is_some() => {
                    return Err(error);
                }
                Err(error) => failed.push(error),
            }
        }
        self.listen(groups).await;
        Ok(failed)
    }

    fn bind(&self, entrance: Entrance) -> Result<Group, BindError> {
        listen::bind(
            &self.settings.bind_addresses,
            entrance,
            self.workers.len(),
            &mut lock(&self.inherited),
        )
    }

    async fn listen(&self, groups: Vec<Group>) {
        for group in &groups {
            lock(&self.bound).insert(group.bound.entrance, group.bound.clone());
        }
        if let Some(held) = &mut *lock(&self.held) {
            held.extend(groups);
            return;
        }
        for mut group in groups {
            self.order_all(|worker| Command::Listen {
                entrance: group.bound.entrance,
                sockets: std::mem::take(&mut group.sockets[worker]),
            })
            .await;
        }
    }

    async fn close(&self, entrance: Entrance) {
        // Closing makes a socket deaf, for the other process too. It is done once the sockets are
        // ours alone again.
        if self.shared.load(Ordering::Relaxed) {
            return;
        }
        self.order_all(|_| Command::Close { entrance }).await;
        lock(&self.bound).remove(&entrance);
    }

    /// Accepts on what was bound, where that had to wait: after a start with the sockets of
    /// another process. Those that the configuration does not use are given up.
    pub async fn accept(&self) {
        *lock(&self.inherited) = Inherited::default();
        let held = lock(&self.held).take();
        self.listen(held.unwrap_or_default()).await;
    }

    /// Where ports are bound.
    pub fn addresses(&self) -> Addresses {
        let bound = lock(&self.bound);
        let of_layer = |layer| {
            let bound = bound.values().filter(|bound| bound.entrance.layer == layer);
            let all = bound.flat_map(|bound| {
                let addresses = bound.addresses.iter();
                addresses.map(|&address| SocketAddr::new(address, bound.bound_port))
            });
            all.collect()
        };
        Addresses {
            tcp: of_layer(Layer::Tcp),
            udp: of_layer(Layer::Udp),
        }
    }

    /// A second hold of every listening socket, for another process. From here on until
    /// [`unshare`](Self::unshare), ports that are gone from the configuration stay open.
    ///
    /// # Errors
    /// If there are no more file descriptors.
    pub async fn share(&self) -> io::Result<Vec<OwnedFd>> {
        self.shared.store(true, Ordering::Relaxed);
        let (to, mut shared) = mpsc::unbounded_channel();
        self.order_all(|_| Command::Share(to.clone())).await;
        drop(to);
        let mut sockets = Vec::new();
        while let Some(socket) = shared.recv().await {
            sockets.push(socket?);
        }
        Ok(sockets)
    }

    /// The other process has given its hold of the listening sockets up.
    pub fn unshare(&self) {
        self.shared.store(false, Ordering::Relaxed);
    }

    /// Whether another process may have a hold of the listening sockets.
    pub fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    /// Says which host each metrics slot stands for.
    pub fn set_metrics_hosts(&self, hosts: Arc<[Box<str>]>) {
        self.metrics.set_host_labels(hosts);
    }

    /// Adds the data plane's metrics to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Arc::clone(&self.metrics)));
    }

    /// What is counted under ingress-nginx's names, if anything is.
    pub fn ingress_counts(&self) -> Option<IngressCounts> {
        self.by_ingress.as_ref().map(|by_ingress| IngressCounts {
            by_ingress: Arc::clone(by_ingress),
            all: Arc::clone(&self.metrics),
        })
    }

    /// Stops accepting, and lets every connection end after the request that it is at; sessions of
    /// UDP go on until they are idle, and no new one begins. Another process goes on accepting on
    /// the sockets at the addresses in `kept`, whose queues are left to it.
    pub async fn drain(&self, kept: Arc<Addresses>) {
        self.order_all(|_| Command::Drain {
            kept: Arc::clone(&kept),
        })
        .await;
    }

    /// How many client connections there are.
    pub fn connections(&self) -> usize {
        self.admission.count()
    }

    /// How many client connections were taken so far.
    pub fn connections_taken(&self) -> u64 {
        self.metrics.connections_opened()
    }

    /// How many sessions of UDP there are.
    pub fn sessions(&self) -> usize {
        self.admission.sessions()
    }

    /// Waits until all client connections and sessions have ended.
    pub async fn wait_idle(&self) {
        while self.connections() > 0 || self.sessions() > 0 {
            tokio::time::sleep(IDLE_CHECK).await;
        }
    }

    /// Ends the workers, and writes the access log and the traces out.
    pub async fn stop(self) {
        self.order_all(|_| Command::Stop).await;
        for Handle { thread, .. } in self.workers {
            // It has said that it is done; a panic in it has been reported where it happened.
            let _ = thread.join();
        }
        self.traces.finish();
        self.log.finish(LOG_LIMIT);
    }

    /// Gives an order to every worker, and waits until all have carried it out.
    async fn order_all(&self, mut command: impl FnMut(usize) -> Command) {
        let mut pending = Vec::with_capacity(self.workers.len());
        for (index, worker) in self.workers.iter().enumerate() {
            let (done, carried_out) = oneshot::channel();
            if worker.orders.send((command(index), done)).is_ok() {
                pending.push(carried_out);
            }
        }
        for carried_out in pending {
            // A worker that has ended carries out nothing more.
            let _ = carried_out.await;
        }
    }
}

/// No code that holds one of these locks can leave its value half changed.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a worker's thread starts with.
struct Start {
    settings: Arc<Settings>,
    counters: Arc<WorkerMetrics>,
    by_ingress: Option<ByIngress>,
    log: AccessLog,
    traces: telemetry::Queue,
    tls: Arc<tls::Context>,
    trust: Arc<Trust>,
    admission: Arc<Admission>,
    share: Share,
    handed: mpsc::Receiver<Accepted>,
}

impl Start {
    fn worker(self) -> io::Result<Handle> {
        let (orders, receiver) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name(format!("worker-{}", self.share.worker))
            .spawn(move || {
                let Self {
                    settings,
                    counters,
                    by_ingress,
                    log,
                    traces,
                    tls,
                    trust,
                    admission,
                    share,
                    handed,
                } = self;
                let acceptor = tls::Acceptor::new(tls, settings.limits.client_hello_bytes)
                    .demanding(&settings);
                let notes = (log, traces);
                let worker =
                    Worker::new(settings, counters, notes, acceptor, trust, admission, share);
                let run = orders::run(worker.counting(by_ingress).shared(), receiver, handed);
                let tasks = LocalSet::new();
                // A task like any other: what is given to `block_on` itself is polled whenever any
                // connection is.
                let run = tasks.spawn_local(run);
                let ended = tasks.block_on(&runtime, run);
                if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
                    std::panic::resume_unwind(panic);
                }
            })?;
        Ok(Handle { orders, thread })
    }
}
