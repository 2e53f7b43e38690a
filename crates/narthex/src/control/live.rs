//! The state of the running process, shared with the admin address.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use admin::{AdminState, Exposition, view};
use model::Snapshot;
use prometheus_client::registry::Registry;

use tokio::sync::{mpsc, watch};

use super::ingress_nginx::{IngressNginx, Known, from_open_metrics};
use super::metrics::Metrics;
use super::objects::Objects;
use super::routes;
use super::sources::Sources;
use crate::certificates::{self, Book};
use crate::explain::explain_live;
use crate::finding::{self, Finding};
use crate::pipeline::Present;
use crate::registry_credentials::Book as RegistryCredentials;

/// The state of the running process.
#[derive(Debug)]
pub(crate) struct Live {
    start: Instant,
    registry: Registry,
    metrics: Metrics,
    sources: Sources,
    cluster: OnceLock<watch::Receiver<cluster::View>>,
    /// Of the certificates that are obtained.
    /// Where it is answered besides that the process is alive.
    health_path: OnceLock<String>,
    obtains: OnceLock<Obtains>,
    registry_credentials: OnceLock<Arc<RegistryCredentials>>,
    /// Metrics under other names besides.
    ingress_nginx: OnceLock<IngressNginx>,
    now: Mutex<Now>,
}

/// What can be told and ordered of the certificates that are obtained.
#[derive(Debug)]
pub(crate) struct Obtains {
    pub(crate) book: Arc<Book>,
    pub(crate) present: Present,
    /// What whoever orders has to show.
    pub(crate) token: Option<String>,
    pub(crate) orders: mpsc::Sender<certificates::Asked>,
}

#[derive(Debug, Clone)]
struct Now {
    phase: Phase,
    /// Of a copy that is served for want of better knowledge: when it was right.
    restored: Option<SystemTime>,
    /// The last configuration that was applied.
    applied: Option<Arc<Applied>>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Starting,
    Ready,
    Draining,
}

/// A configuration that every worker serves.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) findings: Arc<[Finding]>,
    /// Objects by kind.
    pub(crate) counts: BTreeMap<&'static str, usize>,
    pub(crate) compiling: Duration,
    pub(crate) at: SystemTime,
    pub(crate) listening: Vec<view::Listening>,
    pub(crate) objects: Objects,
}

impl Live {
    /// Not ready yet. `register` adds the metrics of others.
    pub(crate) fn new(register: impl FnOnce(&mut Registry)) -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let sources = Sources::register(&mut registry);
        register(&mut registry);
        Self {
            start: Instant::now(),
            registry,
            metrics,
            sources,
            cluster: OnceLock::new(),
            health_path: OnceLock::new(),
            obtains: OnceLock::new(),
            registry_credentials: OnceLock::new(),
            ingress_nginx: OnceLock::new(),
            now: Mutex::new(Now {
                phase: Phase::Starting,
                restored: None,
                applied: None,
            }),
        }
    }

    /// Answers there besides that the process is alive.
    pub(crate) fn set_health_path(&self, path: &str) {
        // It is said once.
        let _ = self.health_path.set(path.to_owned());
    }

    /// A configuration is being served; from the first one on the process is ready.
    pub(crate) fn applied(&self, applied: Applied) {
        self.metrics.applied(&applied);
        let mut now = self.lock();
        now.applied = Some(Arc::new(applied));
        if matches!(now.phase, Phase::Starting) {
            now.phase = Phase::Ready;
        }
    }

    /// The objects come from a cluster.
    pub(crate) fn watch(&self, inbox: Arc<cluster::Inbox>) {
        self.sources.set(inbox);
    }

    /// There is a leader among the replicas.
    pub(crate) fn lead(&self, view: watch::Receiver<cluster::View>) {
        // There is one cluster in a process's life.
        let _ = self.cluster.set(view);
    }

    /// There are metrics under ingress-nginx's names as well.
    pub(crate) fn count_as_ingress_nginx(&self, counts: proxy::IngressCounts) {
        // It is said once.
        let _ = self.ingress_nginx.set(IngressNginx::new(counts));
    }

    /// Certificates are obtained.
    pub(crate) fn obtain(&self, obtains: Obtains) {
        // There is one such part in a process's life.
        let _ = self.obtains.set(obtains);
    }

    /// Credentials of outside registries are brought into namespaces.
    pub(crate) fn set_registry_credentials(&self, book: Arc<RegistryCredentials>) {
        // There is one such part in a process's life.
        let _ = self.registry_credentials.set(book);
    }

    /// There is nothing to serve, and all else is done.
    pub(crate) fn ready(&self) {
        self.lock().phase = Phase::Ready;
    }

    /// What is served is a copy that was right then; or, with none, what there is.
    pub(crate) fn restored(&self, at: Option<SystemTime>) {
        self.metrics.degraded(at.is_some());
        self.lock().restored = at;
    }

    /// Whether what is served is what there is, and no copy of what there was.
    pub(crate) fn is_current(&self) -> bool {
        self.lock().restored.is_none()
    }

    /// What a cluster told is served by every worker, this long after it was received.
    pub(crate) fn served(&self, after: Duration) {
        self.metrics.served(after);
    }

    /// No more requests should be sent here.
    pub(crate) fn draining(&self) {
        self.lock().phase = Phase::Draining;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Now> {
        // No code that holds the lock can leave it half changed.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> Option<Arc<Applied>> {
        self.lock().applied.clone()
    }
}

impl AdminState for Live {
    fn health_path(&self) -> &str {
        self.health_path.get().map_or("/healthz", String::as_str)
    }

    fn readiness(&self) -> Result<String, String> {
        let (phase, restored) = {
            let now = self.lock();
            (now.phase, now.restored)
        };
        match phase {
            // What was read before is served on.
            Phase::Ready => {
                let said = restored.map_or_else(|| "ok".to_owned(), describe_copy);
                Ok(match self.sources.trouble() {
                    Some(trouble) => format!("{said}; {trouble}"),
                    None => said,
                })
            }
            Phase::Starting => Err(match self.sources.missing() {
                Some(missing) => format!("starting: waiting for {missing}"),
                None => "starting: the first configuration is not served yet".into(),
            }),
            Phase::Draining => Err("draining".into()),
        }
    }

    fn metrics(&self) -> Exposition {
        if let Some(applied) = self.last() {
            let served = routes::certificates(&applied.snapshot);
            let sources: BTreeMap<&str, i64> = served
                .iter()
                .map(|it| (it.source.as_str(), it.not_after))
                .collect();
            self.metrics.certificates(sources.into_iter());
        }
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        let Some(ingress_nginx) = self.ingress_nginx.get() else {
            return Exposition::OpenMetrics(text);
        };
        let applied = self.last();
        let running = self.start.elapsed().as_secs_f64();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut all = ingress_nginx.write(Known {
            applied: applied.as_deref(),
            leads: self.cluster.get().map(|view| view.borrow().is_leader),
            start: (now.unwrap_or_default().as_secs_f64() - running).floor(),
        });
        from_open_metrics(&text, &mut all);
        Exposition::Prometheus(all)
    }

    fn status(&self) -> view::Status {
        let ready = self.readiness().is_ok();
        let last = self.last();
        let last = last.as_deref();
        let since_1970 = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default();
        view::Status {
            version: env!("CARGO_PKG_VERSION"),
            ready,
            uptime_seconds: self.start.elapsed().as_secs(),
            generation: last.map_or(0, |applied| applied.snapshot.generation),
            last_applied: last.map(|applied| since_1970(applied.at).as_secs()),
            counts: last.map_or_else(view::Counts::default, |applied| view::Counts {
                objects: applied.counts.clone(),
                ..routes::count(&applied.snapshot)
            }),
            problems: last.map_or_else(view::ProblemCounts::default, |applied| {
                finding::count(&applied.findings)
            }),
            listening: last.map_or_else(Vec::new, |applied| applied.listening.clone()),
            sources: self.sources.views(),
            apis: self.sources.offers(),
            cluster: self.cluster.get().map(|view| cluster_view(&view.borrow())),
        }
    }

    fn problems(&self) -> Vec<view::Problem> {
        let last = self.last();
        let findings = last.iter().flat_map(|applied| &*applied.findings);
        findings.map(Finding::view).collect()
    }

    fn routes(&self, host: Option<&str>, limit: usize) -> Vec<view::Listener> {
        self.last().map_or_else(Vec::new, |applied| {
            routes::listeners(&applied.snapshot, host, limit)
        })
    }

    fn objects(&self, wanted: &view::Wanted) -> Result<view::Objects, String> {
        let applied = self.last().ok_or("nothing is served yet")?;
        applied.objects.find(wanted)
    }

    fn certificates(&self) -> Vec<view::Certificate> {
        self.last()
            .map_or_else(Vec::new, |applied| routes::certificates(&applied.snapshot))
    }

    fn obtained(&self) -> Vec<view::ObtainedCertificate> {
        let obtains = self.obtains.get();
        obtains.map_or_else(Vec::new, |it| it.book.list(&it.present.get()))
    }

    fn registry_credentials(&self) -> view::RegistryCredentials {
        let book = self.registry_credentials.get();
        book.map_or_else(view::RegistryCredentials::default, |book| book.view())
    }

    fn order(&self, order: &view::Order, token: Option<&str>) -> Result<String, view::Refusal> {
        match self.obtains.get() {
            Some(it) => certificates::ask(order, token, it.token.as_deref(), &it.orders),
            None => Err(view::Refusal::Failed(
                "no certificates are obtained here".to_owned(),
            )),
        }
    }

    fn explain(&self, url: &str, as_text: bool) -> Result<view::Explained, String> {
        let applied = self.last().ok_or("nothing is served yet")?;
        explain_live(&applied.snapshot, &applied.objects, url, as_text)
    }
}

fn cluster_view(view: &cluster::View) -> view::Cluster {
    view::Cluster {
        leader: view.leader.clone(),
        is_leader: view.is_leader,
        replicas: view.replicas.clone(),
        addresses: view.addresses.clone(),
    }
}

fn describe_copy(at: SystemTime) -> String {
    let age = at.elapsed().unwrap_or_default().as_secs();
    let at = cluster::Timestamp::try_from(at)
        .map_or_else(|_| String::new(), |at| format!(" of {at:.0}"));
    format!("degraded: serving the configuration{at}, age {age} s")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied() -> Applied {
        Applied {
            snapshot: Arc::new(Snapshot {
                generation: 3,
                ..Snapshot::default()
            }),
            findings: Arc::default(),
            counts: [("Ingress", 2)].into(),
            compiling: Duration::from_millis(1),
            at: SystemTime::now(),
            listening: Vec::new(),
            objects: Objects::default(),
        }
    }

    #[test]
    fn readiness_follows_the_first_configuration_and_the_end() {
        let live = Live::new(|_| ());
        assert!(live.readiness().expect_err("starting").contains("starting"));
        assert_eq!(live.status().generation, 0);
        live.applied(applied());
        assert_eq!(live.readiness().as_deref(), Ok("ok"));
        assert_eq!(live.status().generation, 3);
        live.restored(Some(SystemTime::UNIX_EPOCH));
        let said = live.readiness().expect("ready");
        let degraded = "degraded: serving the configuration of 1970-01-01T00:00:00Z, age ";
        assert!(said.starts_with(degraded), "{said}");
        assert!(
            live.metrics()
                .as_str()
                .contains("\nnarthex_config_degraded 1")
        );
        live.restored(None);
        assert_eq!(live.readiness().as_deref(), Ok("ok"));
        live.draining();
        live.applied(applied());
        assert_eq!(live.readiness().expect_err("draining"), "draining");
    }

    #[test]
    fn the_metrics_have_their_promised_names() {
        let live = Live::new(|_| ());
        live.applied(applied());
        let text = live.metrics();
        let text = text.as_str();
        for line in [
            "narthex_config_generation 3",
            "narthex_config_problems{severity=\"error\"} 0",
            "narthex_config_objects{kind=\"Ingress\"} 2",
            "narthex_config_compile_seconds_count 1",
            concat!(
                "narthex_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"} 1"
            ),
            "narthex_config_last_applied_timestamp_seconds ",
            "process_resident_memory_bytes ",
            "process_cpu_seconds_total ",
            "process_open_fds ",
            "process_start_time_seconds ",
        ] {
            assert!(text.contains(&format!("\n{line}")), "{line}\n{text}");
        }
    }
}
