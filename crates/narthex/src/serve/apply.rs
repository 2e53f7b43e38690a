//! One change after the other: read, compile, publish, tell.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use admin::view;
use cluster::{Found, Served, Timestamp};
use compile::{Compiled, Counts, GatewayPorts};
use model::{Backend, Certificate, Entrance};
use objects::kinds::ObjectKey;
use objects::{Problem, Severity, Store};
use proxy::dns::Resolver;
use proxy::{BindError, Proxy};
use tokio::sync::watch;

use crate::certificates::{self, Obtaining};
use crate::check::plural;
use crate::config::{self, Compilation};
use crate::control::{Applied, Live, News, Objects, SaidBy};
use crate::failure::Failure;
use crate::finding::{self, Finding};
use crate::pipeline::{Input, Outcome, Pipeline, Present};
use crate::stapling::Staples;

use super::geo;
use crate::state::{State, default_certificate, is_fresh};

/// The control plane: the manifests on one side, the proxy on the other.
pub(super) struct Control {
    options: compile::Options,
    /// None while it is at work on another thread.
    pipeline: Option<Pipeline>,
    present: Present,
    proxy: Proxy,
    live: Arc<Live>,
    news: News,
    external: watch::Sender<Vec<Arc<Backend>>>,
    checked: watch::Sender<Vec<Arc<Backend>>>,
    listening: Vec<view::Listening>,
    /// Whether the last configuration is served, on all its ports.
    is_published: bool,
    /// Whether anything was ever served.
    has_served: bool,
    /// When something was last served that had not been served before.
    applied_at: SystemTime,
    /// What is served, in numbers.
    counts: Counts,
    /// What was told of it.
    told: Arc<[Finding]>,
    /// What could not be opened, and why.
    unbound: Vec<(Entrance, String)>,
    /// What the last run refers to.
    references: Arc<[ObjectKey]>,
    /// Whether what is served is a copy of what there was.
    is_copy: bool,
    /// What is served of a cluster.
    served: watch::Sender<Option<Arc<Served>>>,
    /// The namespace of this pod, if a cluster is served.
    namespace: Option<String>,
    /// The certificates that are to be obtained.
    obtaining: watch::Sender<Obtaining>,
    /// What CAs answer about the certificates that are served, if they are asked.
    staples: Option<Staples>,
}

impl Control {
    /// Also starts to resolve the names of ExternalName Services.
    pub(super) fn new(
        config: &config::Serve,
        input: Input,
        fallback: Arc<Certificate>,
        proxy: Proxy,
        live: Arc<Live>,
        namespace: Option<&str>,
        staples: Option<Staples>,
    ) -> Result<Self, Failure> {
        let options = config.compilation.options(fallback, namespace);
        let (external, names) = watch::channel(Vec::new());
        let resolver = Resolver::new(config.settings.allow_local_external_names)
            .map_err(|error| Failure::new(format!("names cannot be resolved: {error}")))?;
        tokio::spawn(resolver.run(names));
        let (checked, to_check) = watch::channel(Vec::new());
        tokio::spawn(proxy.check_health(to_check));
        if let Some(databases) = &config.settings.geo {
            geo::watch(Arc::clone(databases));
        }
        let pipeline = Pipeline::new(input, options.clone());
        Ok(Self {
            present: pipeline.present(),
            pipeline: Some(pipeline),
            options,
            proxy,
            live,
            news: News::default(),
            external,
            checked,
            listening: Vec::new(),
            is_published: false,
            has_served: false,
            applied_at: SystemTime::now(),
            counts: Counts::default(),
            told: Arc::default(),
            unbound: Vec::new(),
            references: Arc::default(),
            is_copy: false,
            served: watch::Sender::new(None),
            namespace: namespace.map(str::to_owned),
            obtaining: watch::Sender::default(),
            staples,
        })
    }

    /// Serves what the manifests say now. After an error, what was served before is served on.
    pub(super) async fn apply(&mut self) -> Result<(), Failure> {
        let mut outcome = self.run_pipeline().await?;
        let mut is_news = brings_news(&outcome.compiled);
        let known = self.unbound.clone();
        self.publish(&outcome.compiled).await?;
        if self.unbound != known && self.tells_gateways() {
            // Gateways say so of themselves.
            let again = self.run_pipeline().await?;
            self.publish(&again.compiled).await?;
            is_news |= brings_news(&again.compiled);
            outcome = Outcome {
                received: outcome.received,
                ..again
            };
        }
        let compiled = &outcome.compiled;
        // Of a copy nothing is obtained: it may be old.
        if !self.is_copy {
            self.ask_for(&outcome);
        }
        // At the start, what is measured is how long it took to read everything.
        is_news &= self.has_served;
        self.has_served = true;
        if let Some(received) = outcome.received.filter(|_| is_news) {
            self.live.served(received.elapsed());
        }
        let said_by = match &outcome.cluster {
            Some(_) => SaidBy::Replica,
            None => SaidBy::Alone,
        };
        // Of a copy, the cluster is told nothing: it may know better.
        if let Some(cluster) = outcome.cluster.filter(|_| !self.is_copy) {
            self.served.send_replace(Some(Arc::new(Served {
                report: Arc::clone(&compiled.report),
                classes: cluster.classes,
                statuses: Arc::clone(&compiled.statuses),
                gateways: Arc::clone(&compiled.gateways),
                dedicated: Arc::clone(&compiled.dedicated),
                share: Arc::clone(&compiled.share),
                kinds: cluster.kinds,
                unbound: self.unbound.iter().map(|(entrance, _)| *entrance).collect(),
                position: cluster.position,
            })));
        }
        // Serving comes first, telling afterwards.
        if !Arc::ptr_eq(&outcome.findings, &self.told) {
            self.news.tell(&outcome.findings);
            self.told = Arc::clone(&outcome.findings);
        }
        self.news.tell_ignored(&outcome.ignored);
        self.counts = compiled.report.counts;
        self.live.applied(Applied {
            objects: Objects::new(compiled, &self.options.gateway_controller, said_by),
            snapshot: Arc::clone(&compiled.snapshot),
            findings: outcome.findings,
            counts: outcome.objects,
            compiling: outcome.compiling,
            at: self.applied_at,
            listening: self.listening.clone(),
        });
        Ok(())
    }

    /// What is to be obtained, and what is shown to whoever certifies, once it is served.
    fn ask_for(&self, outcome: &Outcome) {
        let compiled = &outcome.compiled;
        let now = Obtaining {
            wishes: Arc::clone(&compiled.wishes),
            issuers: Arc::clone(&compiled.issuers),
            challenges: Arc::clone(&compiled.snapshot.challenges),
            may_have_cert_manager: !self.options.certificates.serves_objects
                && outcome.has_cert_manager,
        };
        self.obtaining.send_if_modified(|known| {
            let is_new = !known.is(&now);
            *known = now;
            is_new
        });
    }

    /// What is to be obtained.
    pub(super) fn obtaining(&self) -> watch::Receiver<Obtaining> {
        self.obtaining.subscribe()
    }

    /// Takes note of why certificates are not obtained, for the next configuration.
    pub(super) fn set_certificate_news(&mut self, news: certificates::News) {
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.set_certificate_news(news);
        }
    }

    /// Takes over what clients may have certificates for, for the next configuration.
    pub(super) fn set_on_demand(&mut self, names: certificates::Names) {
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.set_on_demand(names);
        }
    }

    /// Whether there is something to open that could not be opened.
    pub(super) fn lacks_ports(&self) -> bool {
        !self.unbound.is_empty()
    }

    /// Tries once more to open what could not be opened. Whether there is something to be told.
    pub(super) async fn open_missing(&self) -> bool {
        let failed = self.proxy.open_missing().await;
        reasons(&failed) != self.unbound
    }

    /// Whether the status of Gateways is what this process alone knows: a cluster asks all replicas.
    fn tells_gateways(&self) -> bool {
        matches!(self.options.gateway_ports, GatewayPorts::Own(_))
    }

    /// Finds out what the objects refer to, without serving them.
    pub(super) async fn look(&mut self) -> Result<Arc<[ObjectKey]>, Failure> {
        if self.run_pipeline().await?.compiled.changed {
            self.is_published = false;
        }
        Ok(Arc::clone(&self.references))
    }

    /// What is served of a cluster, and how new that is; nothing where files are served.
    pub(super) fn served(&self) -> watch::Receiver<Option<Arc<Served>>> {
        self.served.subscribe()
    }

    /// The objects as they are, for others to look at.
    pub(super) fn present(&self) -> Present {
        self.present.clone()
    }

    /// What decides their meaning.
    pub(super) fn options(&self) -> &compile::Options {
        &self.options
    }

    /// Serves a copy of what there was, until the cluster is read.
    pub(super) async fn restore(&mut self, found: Found) -> Result<(), Failure> {
        let at = Timestamp::try_from(found.at)
            .map_or_else(|_| String::new(), |at| format!(" of {at:.0}"));
        let objects = plural(found.objects.len(), "object");
        let without = if found.has_secrets {
            ""
        } else {
            "; it is without Secrets, so that hosts with TLS have the default certificate"
        };
        tracing::warn!(
            "the API server does not answer: the configuration{at} is served, with {objects}{without}"
        );
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.restore(found.objects);
            pipeline.set_remark(Some(Problem {
                severity: Severity::Warning,
                object: None,
                field: String::new(),
                message: format!(
                    "the API server did not answer at the start: the configuration{at} is \
                     served{without}"
                ),
                hint: String::new(),
            }));
        }
        self.live.restored(Some(found.at));
        self.is_copy = true;
        self.apply().await
    }

    /// Serves the cluster itself after a copy.
    pub(super) async fn renew(&mut self) -> Result<(), Failure> {
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.set_remark(None);
        }
        self.is_copy = false;
        self.apply().await?;
        self.live.restored(None);
        tracing::info!("the API server answers: {}", self.summary());
        Ok(())
    }

    /// Every object that is known; none while they are at work.
    pub(super) fn store(&self) -> Option<Store> {
        self.pipeline.as_ref().map(|_| self.present.get())
    }

    /// When what is served was served first.
    pub(super) fn served_since(&self) -> SystemTime {
        self.applied_at
    }

    /// What the last run refers to.
    pub(super) fn references(&self) -> &Arc<[ObjectKey]> {
        &self.references
    }

    /// Reading and compiling block: probes and scrapes must not wait for that.
    async fn run_pipeline(&mut self) -> Result<Outcome, Failure> {
        let gone = || Failure::new("a bug: the manifests are read no more");
        let mut pipeline = self.pipeline.take().ok_or_else(gone)?;
        if self.tells_gateways() {
            pipeline.set_unbound(&self.unbound);
        }
        let run = tokio::task::spawn_blocking(move || {
            let outcome = pipeline.run();
            (pipeline, outcome)
        });
        let (pipeline, outcome) = run
            .await
            .map_err(|error| Failure::new(format!("a bug where manifests are read: {error}")))?;
        self.pipeline = Some(pipeline);
        let outcome = outcome.map_err(Failure::new)?;
        self.references = Arc::clone(&outcome.compiled.references);
        Ok(outcome)
    }

    async fn publish(&mut self, compiled: &Compiled) -> Result<(), Failure> {
        send_list(&self.external, &compiled.external);
        send_list(&self.checked, &compiled.checked);
        self.proxy
            .set_metrics_hosts(Arc::clone(&compiled.metrics_hosts));
        if compiled.changed || compiled.endpoint_updates > 0 {
            self.applied_at = SystemTime::now();
        }
        if !compiled.changed && self.is_published {
            return Ok(());
        }
        self.is_published = false;
        if let Some(staples) = &mut self.staples {
            staples.serve(&compiled.snapshot);
        }
        let listening = self
            .proxy
            .publish(Arc::clone(&compiled.snapshot))
            .await
            .map_err(Failure::new)?;
        // What could not be opened is tried again with the next configuration, changed or not.
        self.is_published = listening.failed.is_empty();
        let services = |entrance| {
            let listener = compiled.snapshot.listener(entrance);
            listener.map_or("tcp", |listener| listener.service.name())
        };
        self.listening = listening
            .bound
            .iter()
            .map(|bound| view::Listening {
                port: bound.entrance.port,
                protocol: services(bound.entrance),
                bound_port: bound.bound_port,
                addresses: bound.addresses.iter().map(ToString::to_string).collect(),
            })
            .collect();
        self.tell_unbound(&listening.failed);
        Ok(())
    }

    /// Tells of ports that cannot be opened, of each once until it can.
    fn tell_unbound(&mut self, failed: &[BindError]) {
        for error in failed {
            if !self
                .unbound
                .iter()
                .any(|(known, _)| *known == error.entrance)
            {
                tracing::error!("{error}; all else is served, and it is tried again");
            }
        }
        for (entrance, _) in &self.unbound {
            if self.listening.iter().any(|open| open.port == entrance.port)
                && !failed.iter().any(|error| error.entrance == *entrance)
            {
                tracing::info!(port = entrance.port, "the port is open now");
            }
        }
        self.unbound = reasons(failed);
    }

    /// Tells people what is open and what is served.
    pub(super) fn announce(&self, admin: SocketAddr, health: Option<SocketAddr>) {
        tracing::info!("Narthex {}", env!("CARGO_PKG_VERSION"));
        for listening in &self.listening {
            let scheme = listening.protocol;
            let (port, bound) = (listening.port, listening.bound_port);
            let addresses = listening.addresses.join(", ");
            if port == bound {
                tracing::info!("{scheme} on port {port} of {addresses}");
            } else {
                tracing::warn!(
                    "{scheme} on port {bound} of {addresses}, because port {port} may not be bound"
                );
            }
        }
        tracing::info!("{}", self.summary());
        tracing::info!("health, metrics and API on http://{admin}/");
        if let Some(health) = health {
            tracing::info!("health and metrics on http://{health}/");
        }
    }

    /// `2 Ingresses with 3 hosts and 5 paths are served; 1 problem, see narthex check`
    fn summary(&self) -> String {
        let counts = &self.counts;
        let gateways = match counts.gateways {
            0 => String::new(),
            gateways => format!(
                ", {} with {}",
                plural(gateways, "Gateway"),
                plural(counts.routes, "route")
            ),
        };
        let served = format!(
            "{} with {} and {}{gateways} served",
            plural(counts.ingresses, "Ingress"),
            plural(counts.hosts, "host"),
            plural(counts.paths, "path"),
        );
        match self.told.len() {
            0 => format!("{served}; no problems"),
            count => format!(
                "{served}; {} ({}), see narthex check or /api/problems",
                plural(count, "problem"),
                plural(finding::count(&self.told).errors, "error"),
            ),
        }
    }

    /// What is open.
    pub(super) fn listening(&self) -> &[view::Listening] {
        &self.listening
    }

    /// Replaces the self-signed certificate when its end is near.
    pub(super) fn renew_certificate(&mut self, state: &State, compilation: &Compilation) {
        let now = SystemTime::now();
        if is_fresh(&self.options.fallback_certificate, now) {
            return;
        }
        match default_certificate(state, now) {
            Ok(certificate) => {
                let namespace = self.namespace.as_deref();
                self.options = compilation.options(certificate, namespace);
                if let Some(pipeline) = &mut self.pipeline {
                    pipeline.set_options(self.options.clone());
                }
            }
            Err(reason) => tracing::error!("the self-signed certificate is not renewed: {reason}"),
        }
    }

    /// The data plane.
    pub(super) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// No other process has a hold of the sockets any more: ports that had to stay open for it are
    /// closed with the next configuration, changed or not.
    pub(super) fn unshare(&mut self) {
        self.proxy.unshare();
        self.is_published = false;
    }

    /// Ends the control plane.
    pub(super) fn into_proxy(self) -> Proxy {
        self.proxy
    }
}

/// Whether something else is served than before.
fn brings_news(compiled: &Compiled) -> bool {
    compiled.changed || compiled.endpoint_updates > 0
}

/// What could not be opened, and why.
fn reasons(failed: &[BindError]) -> Vec<(Entrance, String)> {
    let failed = failed.iter();
    failed
        .map(|error| (error.entrance, error.to_string()))
        .collect()
}

/// Tells of backends, unless they are those that were told of last.
fn send_list(to: &watch::Sender<Vec<Arc<Backend>>>, backends: &[Arc<Backend>]) {
    to.send_if_modified(|told| {
        let same = told.len() == backends.len()
            && told.iter().zip(backends).all(|(a, b)| Arc::ptr_eq(a, b));
        if !same {
            *told = backends.to_vec();
        }
        !same
    });
}
