//! `narthex serve`: from the start to the end.

mod admin_address;
mod admission;
mod apply;
mod certificates;
mod end;
mod geo;
mod grace;
mod last_good;
mod publish;
mod registry_credentials;
mod signals;
mod source;
mod succession;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use admin::view;
use proxy::{Addresses, Proxy};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, timeout};

use crate::config::{self, Succession};
use crate::control::Live;
use crate::failure::Failure;
use crate::registry_command::Beside;
use crate::registry_credentials::Credentials;
use crate::stapling::{self, Staples};
use crate::state::{State, default_certificate};
use crate::upgrade::{Event, take_over};
use crate::{flags, log, registry_command};
use admin_address::Admin;
use admission::Admission;
use apply::Control;
use certificates::{Certificates, Told};
use grace::Grace;
use last_good::Keeper;
use publish::Publish;
pub(crate) use publish::own_name;
use registry_credentials::RegistryCredentials;
pub(crate) use signals::Signals;
use signals::{Exit, Signal};
use source::Source;
use succession::Heirs;

/// How often the self-signed certificate's end is looked at.
const DAILY: Duration = Duration::from_secs(24 * 60 * 60);

/// How many times a process that takes over looks whether something has changed before it begins.
const CATCHING_UP: usize = 5;

/// How often is looked whether the copy of the configuration is to be written.
const KEEPING: Duration = Duration::from_secs(1);

/// How often ports are tried again that could not be opened.
const OPENING: Duration = Duration::from_secs(1);

/// How many times the first configuration is looked at for what it refers to.
const LOOKS: usize = 3;

/// How long a thread that compiles stays for the next change.
const BLOCKING_THREADS: Duration = Duration::from_secs(60 * 60);

/// How long everything else waits for the sockets to be given: they need no wait, but for a
/// process that does not take them.
const GIVING: Duration = Duration::from_secs(2);

/// How long it looks: a change is told once it has settled.
const LOOK: Duration = Duration::from_millis(250);

/// Serves what the flags say.
pub(crate) fn run(flags: flags::Serve) -> Result<ExitCode, Failure> {
    let flags::Serve {
        paths,
        upgrade,
        cluster,
        publishing,
        gateways,
        webhook,
        registry,
        registry_credentials,
        ingress_nginx,
        compilation,
        serving,
    } = flags;
    let format = serving.log_format;
    let filter = match ingress_nginx.verbosity {
        Some(level) => log::verbosity(level),
        None => serving.log_level.clone(),
    };
    let gateways = config::Gateways::new(gateways, &compilation, &publishing, &cluster)?;
    let source = config::Source::new(
        paths,
        &cluster,
        *publishing,
        gateways,
        webhook,
        &ingress_nginx,
    )?;
    let config = config::Serve::new(source, &compilation, serving)?;
    let mut config = config.with_ingress_nginx(&ingress_nginx);
    let access = match &config.source {
        config::Source::Cluster(cluster) => Some(cluster.access.clone()),
        config::Source::Files(_) => None,
    };
    config.registry = registry_command::Plan::beside(&registry, access)?;
    config.set_registry_credentials(*registry_credentials)?;
    config.succession = if upgrade {
        Succession::TakesOver
    } else {
        Succession::HandsOver
    };
    // Later it may come and go; at the start, it is a slip of the pen.
    if let config::Source::Files(paths) = &config.source
        && let Some(path) = paths.iter().find(|path| !path.exists())
    {
        let path = path.display();
        return Err(Failure::new(format!(
            "{path} does not exist: name files or folders of manifests that do"
        )));
    }
    log::start(format, &filter);
    ingress_nginx.idle.say();
    run_until_end(config, |_| ())
}

/// What is open once the first configuration is served.
#[derive(Debug)]
pub(crate) struct Open<'a> {
    /// The ports.
    pub(crate) listening: &'a [view::Listening],
    /// The admin address.
    pub(crate) admin: std::net::SocketAddr,
}

/// Serves until a signal ends it. `welcome` is called when the first configuration is served.
pub(crate) fn run_until_end(
    config: config::Serve,
    welcome: impl FnOnce(&Open<'_>),
) -> Result<ExitCode, Failure> {
    // Whoever was first has installed the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("narthex-control")
        // A thread that ends leaves what it allocated in pages that no other fills.
        .thread_keep_alive(BLOCKING_THREADS)
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    let done = runtime.block_on(serve(config, welcome));
    // Whatever a blocking thread still reads is of no interest any more.
    runtime.shutdown_background();
    done
}

async fn serve(
    config: config::Serve,
    welcome: impl FnOnce(&Open<'_>),
) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen(config.ends_on_hang_up)?;
    for database in &config.useless_databases {
        tracing::warn!("{database}; it is left out");
    }
    if config.without_ipv6 {
        tracing::info!("this machine has no IPv6: the ports are opened on IPv4 alone");
    }
    let started = tokio::select! {
        started = Running::start(&config) => started,
        exit = signals.end() => {
            tracing::info!("{} before the first configuration was served", exit.name());
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mut running = started?;
    running
        .control
        .announce(running.admin.address(), running.admin.health_address());
    welcome(&Open {
        listening: running.control.listening(),
        admin: running.admin.address(),
    });
    let end = running.until_end(&config, &mut signals).await;
    let asked = matches!(end, End::Asked(_));
    let Left {
        proxy,
        kept,
        keeping,
        publish,
        images,
        giving_back,
    } = running.leave(end);
    let stay = config.post_shutdown;
    let done = end::drain(proxy, kept, asked, &mut signals, config.shutdown_timeout).await;
    if let Some(keeping) = keeping {
        // It has a limit of its own, and is over long before most drains.
        let _ = keeping.await;
    }
    if let Some(giving_back) = giving_back {
        // Likewise.
        let _ = giving_back.await;
    }
    // A signal that ended it at once ends this too.
    if matches!(&done, Ok(code) if *code == ExitCode::SUCCESS) {
        if let Some(images) = images {
            // It has a limit of its own.
            let _ = tokio::task::spawn_blocking(move || images.join()).await;
        }
        publish.wait(&mut signals).await;
        if !stay.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(stay) => {}
                _ = signals.end() => {}
            }
        }
    }
    done
}

/// A process that serves.
struct Running {
    state: State,
    source: Source,
    keeper: Keeper,
    /// Whether a copy of what there was is served.
    is_copy: bool,
    control: Control,
    admin: Admin,
    live: Arc<Live>,
    heirs: Heirs,
    publish: Publish,
    certificates: Certificates,
    /// The registry of images.
    images: Option<Beside>,
    registry_credentials: Option<Credentials>,
}

/// Why it ends.
enum End {
    /// A signal asked for it.
    Asked(Exit),
    /// Another process has taken over, at these addresses.
    Replaced { pid: i32, kept: Addresses },
}

/// What is left of it at its end.
struct Left {
    /// The data plane.
    proxy: Proxy,
    /// Where another process goes on.
    kept: Addresses,
    /// The last writing of the copy of the configuration.
    keeping: Option<JoinHandle<()>>,
    /// What the cluster is told of the end.
    publish: Publish,
    /// What the registry of images has under way.
    images: Option<std::thread::JoinHandle<()>>,
    /// Pull secrets, which another replica goes on with.
    giving_back: Option<JoinHandle<()>>,
}

impl Running {
    /// Serves the first configuration.
    async fn start(config: &config::Serve) -> Result<Self, Failure> {
        let state = State::open(config.state_dir.clone());
        let (take_over, mut inherited) = match config.succession {
            Succession::TakesOver => take_over(&state).await?,
            Succession::None | Succession::HandsOver => None,
        }
        .unzip();
        let mut admin = Admin::open(
            config.admin_address,
            config.health_address,
            inherited.as_mut(),
        )?;
        let admission = Admission::open(config)?;
        let fallback = default_certificate(&state, SystemTime::now()).map_err(Failure::new)?;
        let mut settings = config.settings.clone();
        let (wanted, demand) = certificates::demand(config);
        settings.tls.on_demand = wanted;
        let proxy = Proxy::start(settings, inherited)
            .map_err(|error| Failure::new(format!("the workers cannot be started: {error}")))?;
        let metrics = cluster::Metrics::default();
        let mut admission_metrics = None;
        let mut registry_credentials = None;
        let mut certificates = None;
        let mut staples = None;
        let mut images = None;
        let live = Arc::new(Live::new(|registry| {
            certificates = Some(Certificates::open(config, &state, demand, registry));
            let asked = config.stapling;
            staples = (asked.on || asked.configurable)
                .then(|| (asked, stapling::Metrics::register(registry)));
            proxy.register(registry);
            registry_credentials = RegistryCredentials::open(config, registry);
            if matches!(config.source, config::Source::Cluster(_)) {
                metrics.register(registry);
            }
            if admission.is_some() {
                admission_metrics = Some(cluster::webhook::Metrics::register(registry));
            }
            let plan = config.registry.clone();
            images = plan.map(|plan| Beside::start(plan, take_over.is_some(), registry));
        }));
        let images = images.transpose()?;
        live.set_health_path(&config.health_path);
        if let Some(counts) = proxy.ingress_counts() {
            live.count_as_ingress_nginx(counts);
        }
        // It was made with the metrics.
        let certificates = certificates.ok_or_else(|| Failure::new("a bug: no certificates"))?;
        let staples = match staples {
            Some((stapling, metrics)) => Some(Staples::start(stapling, metrics)?),
            None => None,
        };
        // Before this one serves, the process before it answers for both.
        if take_over.is_none() {
            admin.serve(&live);
        }
        // Before the first reading, so that no change falls between the two.
        let mut source = Source::open(config, certificates.folder()).await?;
        if let Some(inbox) = source.inbox() {
            live.watch(Arc::clone(inbox));
        }
        let input = source.input();
        let namespace = source.namespace(config);
        let mut control = Control::new(
            config,
            input,
            fallback,
            proxy,
            Arc::clone(&live),
            namespace.as_deref(),
            staples,
        )?;
        let max_age = config.source.last_good_max_age();
        let keeper = Keeper::new(&source, &state, max_age);
        // The process before this one goes on as long as nothing better is known here.
        let found = match &take_over {
            Some(_) => {
                source.listed().await;
                None
            }
            None => keeper.begin(&source).await,
        };
        let is_copy = found.is_some();
        if let Some(found) = found {
            control.restore(found).await?;
            source.refer(control.references());
        } else {
            // Lest the first configuration serve without its certificates.
            for _ in 0..LOOKS {
                if !source.refer(&control.look().await?) {
                    break;
                }
                source.referred().await;
            }
            control.apply().await?;
        }
        let mut heirs = Heirs::new();
        if let Some(take_over) = take_over {
            // What changed while this one prepared, which the one before serves already.
            for _ in 0..CATCHING_UP {
                if timeout(LOOK, source.changed(false)).await.is_err() {
                    break;
                }
                control.apply().await?;
                source.refer(control.references());
            }
            let mut kept = control.proxy().addresses();
            kept.tcp.extend(admin.addresses());
            take_over.ready(kept).await?;
            control.proxy().accept().await;
            admin.serve(&live);
            heirs.wait(&state, true);
            take_over.serving().await;
        } else if config.succession != Succession::None {
            heirs.wait(&state, false);
        }
        let publish = Publish::start(config, &source, &control, &live, metrics);
        let certificates = certificates.start(config, &source, &control, &live, &state);
        let registry_credentials = match registry_credentials {
            Some(it) => it.start(config, &source, &live)?,
            None => None,
        };
        if let (Some(admission), Some(metrics)) = (admission, admission_metrics) {
            admission.start(config, &source, &control, &live, metrics);
        }
        Ok(Self {
            publish,
            certificates,
            registry_credentials,
            state,
            source,
            keeper,
            is_copy,
            control,
            admin,
            live,
            heirs,
            images,
        })
    }

    /// Serves changes as they come. After a signal that asks to end, for as long as load balancers
    /// may take to notice.
    async fn until_end(&mut self, config: &config::Serve, signals: &mut Signals) -> End {
        let mut daily = interval_at(Instant::now() + DAILY, DAILY);
        let mut grace = Grace::default();
        let mut keeping = interval(KEEPING);
        let mut opening = interval(OPENING);
        opening.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                exit = grace.over() => {
                    if grace.goes_on(self.control.proxy().connections_taken()) {
                        continue;
                    }
                    return End::Asked(exit);
                }
                () = self.source.changed(self.is_copy) => {
                    if self.is_copy {
                        if let Err(error) = self.renew().await {
                            tracing::error!("the copy is served on: {}", error.reason());
                            tokio::time::sleep(KEEPING).await;
                        }
                        continue;
                    }
                }
                _ = keeping.tick() => {
                    if !self.is_copy {
                        let is_current = self.source.is_current();
                        let (store, since) = (self.control.store(), self.control.served_since());
                        self.keeper.keep(store.as_ref(), since, is_current);
                    }
                    continue;
                }
                _ = opening.tick(), if self.control.lacks_ports() => {
                    if !self.control.open_missing().await {
                        continue;
                    }
                }
                told = self.certificates.told() => match told {
                    Told::News(news) => self.control.set_certificate_news(news),
                    Told::OnDemand(names) => self.control.set_on_demand(names),
                },
                _ = daily.tick() => {
                    self.control.renew_certificate(&self.state, &config.compilation);
                }
                signal = signals.next() => match signal {
                    Signal::Reload => tracing::info!("SIGHUP: looking again for what has changed"),
                    Signal::End(exit) if grace.begin(exit, config.shutdown_grace_period) => {
                        tracing::info!(
                            "{}: not ready any more; new connections are taken for {:?} yet",
                            exit.name(),
                            config.shutdown_grace_period
                        );
                        self.live.draining();
                        // Whoever is not ready is waited for by no other replica.
                        self.publish.end(cluster::End::Gone);
                        continue;
                    }
                    Signal::End(exit) => return End::Asked(exit),
                },
                event = self.heirs.next() => match event {
                    Event::Asked { pid, sockets, given } => {
                        let shared = succession::share(self.control.proxy(), &self.admin).await;
                        // Whoever asked may have gone, which another event says.
                        let _ = sockets.send(shared);
                        let _ = timeout(GIVING, given).await;
                        tracing::info!(pid, "a new process prepares to take over");
                        continue;
                    }
                    Event::Failed { pid, reason } => {
                        tracing::error!(
                            pid,
                            "the new process did not take over, this one serves on: {reason}"
                        );
                        self.control.unshare();
                    }
                    Event::Serving { pid, kept } => return End::Replaced { pid, kept },
                },
            }
            if let Err(error) = self.control.apply().await {
                tracing::error!(
                    "the last good configuration keeps serving: {}",
                    error.reason()
                );
            }
            self.source.refer(self.control.references());
        }
    }

    /// Serves the cluster itself after a copy of it.
    async fn renew(&mut self) -> Result<(), Failure> {
        // With the certificates that the copy may not have.
        for _ in 0..LOOKS {
            if !self.source.refer(&self.control.look().await?) {
                break;
            }
            self.source.referred().await;
        }
        self.control.renew().await?;
        self.is_copy = false;
        Ok(())
    }

    /// Ends all but the data plane. Also says where another process goes on.
    fn leave(mut self, end: End) -> Left {
        let (store, served) = (self.control.store(), self.control.served_since());
        let images = self.images.map(Beside::end);
        let keeper = self.keeper;
        let keeps = !self.is_copy && matches!(end, End::Asked(_));
        let keeping =
            keeps.then(|| tokio::spawn(async move { keeper.end(store.as_ref(), served).await }));
        let credentials = self.registry_credentials.take();
        let giving_back = credentials.map(|it| tokio::spawn(it.end()));
        let proxy = self.control.into_proxy();
        self.publish.end(match end {
            End::Asked(_) => cluster::End::Gone,
            End::Replaced { .. } => cluster::End::Replaced,
        });
        match end {
            End::Asked(exit) => {
                tracing::info!("{}: ending when what is under way has ended", exit.name());
                self.heirs.disinherit();
                self.live.draining();
                Left {
                    kept: succession::kept_at_end(&proxy),
                    proxy,
                    keeping,
                    giving_back,
                    publish: self.publish,
                    images,
                }
            }
            End::Replaced { pid, kept } => {
                tracing::info!(
                    pid,
                    "the new process serves: ending when what is under way has ended"
                );
                self.admin.leave();
                Left {
                    proxy,
                    kept,
                    keeping,
                    giving_back,
                    publish: self.publish,
                    images,
                }
            }
        }
    }
}
