//! The data plane as the rest of the program sees it.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use model::{Backend, Snapshot};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;

use crate::access_log::{AccessLog, LogWriter};
use crate::admission::Admission;
use crate::health;
use crate::listen::{self, BindError, Bound};
use crate::metrics::{Metrics, WorkerMetrics};
use crate::orders::{self, Command, Order};
use crate::settings::Settings;
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
    bound: Mutex<BTreeMap<u16, Bound>>,
    /// What the workers serve. Held here, so that the last one is freed here, and no worker stops
    /// to take thousands of routes apart.
    published: Mutex<Arc<Snapshot>>,
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    health: Arc<health::Counts>,
    trust: Arc<Trust>,
    log: LogWriter,
}

#[derive(Debug)]
struct Handle {
    orders: mpsc::UnboundedSender<Order>,
    thread: JoinHandle<()>,
}

impl Proxy {
    /// Starts the workers. They listen on nothing yet.
    ///
    /// # Errors
    /// If the system gives no threads, or no random numbers.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let settings = Arc::new(settings);
        let log = LogWriter::stdout()?;
        let tls = tls::Context::new().map_err(io::Error::other)?;
        let trust = Arc::new(Trust::new(settings.backend_authorities.clone()));
        let admission = Arc::new(Admission::new(&settings.limits));
        let counters: Vec<_> = (0..settings.workers.max(1))
            .map(|_| WorkerMetrics::new())
            .collect();
        let health = Arc::<health::Counts>::default();
        let metrics = Metrics::new(
            counters.iter().cloned(),
            log.dropped_lines(),
            Arc::clone(&health),
        );
        let workers = counters.into_iter().enumerate().map(|(index, counters)| {
            let start = Start {
                settings: Arc::clone(&settings),
                counters,
                log: log.log(settings.access_log),
                tls: Arc::clone(&tls),
                trust: Arc::clone(&trust),
                admission: Arc::clone(&admission),
            };
            start.worker(index)
        });
        let workers = workers.collect::<io::Result<_>>()?;
        Ok(Self {
            settings,
            workers,
            bound: Mutex::default(),
            published: Mutex::default(),
            admission,
            metrics,
            health,
            trust,
            log,
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

    /// Serves a configuration: opens the ports that are new, hands it to every worker, closes the
    /// ports that are gone. When it returns, every worker serves it.
    ///
    /// # Errors
    /// If a new port cannot be bound. All else is served all the same.
    pub async fn publish(&self, snapshot: Arc<Snapshot>) -> Result<Vec<Bound>, BindError> {
        let wanted: Vec<u16> = snapshot
            .listeners
            .iter()
            .map(|listener| listener.port)
            .collect();
        self.order_all(|_| Command::Publish(Arc::clone(&snapshot)))
            .await;
        *self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Arc::clone(&snapshot);
        let (open, gone): (Vec<u16>, Vec<u16>) =
            self.bound().keys().partition(|port| wanted.contains(port));
        for port in gone {
            self.order_all(|_| Command::Close { port }).await;
            self.bound().remove(&port);
        }
        let mut failed = None;
        for port in wanted.into_iter().filter(|port| !open.contains(port)) {
            match listen::bind(&self.settings.bind_addresses, port, self.workers.len()) {
                Ok(mut group) => {
                    self.order_all(|worker| Command::Listen {
                        port,
                        sockets: std::mem::take(&mut group.sockets[worker]),
                    })
                    .await;
                    self.bound().insert(port, group.bound);
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(self.bound().values().cloned().collect()),
        }
    }

    /// Says which host each metrics slot stands for.
    pub fn set_metrics_hosts(&self, hosts: Arc<[Box<str>]>) {
        self.metrics.set_host_labels(hosts);
    }

    /// Adds the data plane's metrics to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Arc::clone(&self.metrics)));
    }

    /// Stops accepting, and lets every connection end after the request that it is at.
    pub async fn drain(&self) {
        self.order_all(|_| Command::Drain).await;
    }

    /// How many client connections there are.
    pub fn connections(&self) -> usize {
        self.admission.count()
    }

    /// Waits until all client connections have ended.
    pub async fn wait_idle(&self) {
        while self.connections() > 0 {
            tokio::time::sleep(IDLE_CHECK).await;
        }
    }

    /// Ends the workers, and writes the access log out.
    pub async fn stop(self) {
        self.order_all(|_| Command::Stop).await;
        for Handle { thread, .. } in self.workers {
            // It has said that it is done; a panic in it has been reported where it happened.
            let _ = thread.join();
        }
        self.log.finish(LOG_LIMIT);
    }

    fn bound(&self) -> std::sync::MutexGuard<'_, BTreeMap<u16, Bound>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
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

/// What a worker's thread starts with.
struct Start {
    settings: Arc<Settings>,
    counters: Arc<WorkerMetrics>,
    log: AccessLog,
    tls: Arc<tls::Context>,
    trust: Arc<Trust>,
    admission: Arc<Admission>,
}

impl Start {
    fn worker(self, index: usize) -> io::Result<Handle> {
        let (orders, receiver) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                let Self {
                    settings,
                    counters,
                    log,
                    tls,
                    trust,
                    admission,
                } = self;
                let acceptor = tls::Acceptor::new(tls);
                let worker = Rc::new(Worker::new(
                    settings, counters, log, acceptor, trust, admission,
                ));
                LocalSet::new().block_on(&runtime, orders::run(worker, receiver));
            })?;
        Ok(Handle { orders, thread })
    }
}
