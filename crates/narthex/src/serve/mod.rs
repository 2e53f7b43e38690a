//! `narthex serve`: from the start to the end.

mod apply;
mod end;
mod signals;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use admin::{AdminServer, view};
use objects::manifests;
use proxy::Proxy;
use tokio::time::{Instant, interval_at};

use crate::config;
use crate::control::Live;
use crate::failure::Failure;
use crate::state::{State, default_certificate};
use crate::{flags, log};
use apply::Control;
use signals::{Signal, Signals};

/// How often the self-signed certificate's end is looked at.
const DAILY: Duration = Duration::from_secs(24 * 60 * 60);

/// Serves what the flags say.
pub(crate) fn run(flags: flags::Serve) -> Result<ExitCode, Failure> {
    let flags::Serve {
        paths,
        compilation,
        serving,
    } = flags;
    let (format, filter) = (serving.log_format, serving.log_level.clone());
    let config = config::Serve::new(paths, &compilation, serving)?;
    // Later it may come and go; at the start, it is a slip of the pen.
    if let Some(path) = config.paths.iter().find(|path| !path.exists()) {
        let path = path.display();
        return Err(Failure::new(format!(
            "{path} does not exist: name files or folders of manifests that do"
        )));
    }
    log::start(format, &filter);
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
    if config.without_ipv6 {
        tracing::info!("this machine has no IPv6: the ports are opened on IPv4 alone");
    }
    let admin = AdminServer::bind(config.admin_address).map_err(Failure::new)?;
    let admin_address = admin.address();
    let state = State::open(config.state_dir.clone());
    let fallback = default_certificate(&state, SystemTime::now()).map_err(Failure::new)?;
    let proxy = Proxy::start(config.settings.clone())
        .map_err(|error| Failure::new(format!("the workers cannot be started: {error}")))?;
    let live = Arc::new(Live::new(|registry| proxy.register(registry)));
    tokio::spawn(serve_admin(admin, Arc::clone(&live)));

    // Before the first reading, so that no change falls between the two.
    let mut watcher = manifests::watch(&config.paths);
    let mut control = Control::new(&config, fallback, proxy, Arc::clone(&live))?;
    tokio::select! {
        applied = control.apply() => applied?,
        exit = signals.end() => {
            tracing::info!("{} before the first configuration was served", exit.name());
            return Ok(ExitCode::SUCCESS);
        }
    }
    control.announce(admin_address);
    welcome(&Open {
        listening: control.listening(),
        admin: admin_address,
    });

    let mut daily = interval_at(Instant::now() + DAILY, DAILY);
    let exit = loop {
        tokio::select! {
            () = watcher.changed() => {}
            _ = daily.tick() => control.renew_certificate(&state, &config.compilation),
            signal = signals.next() => match signal {
                Signal::Reload => tracing::info!("SIGHUP: reading the manifests again"),
                Signal::End(exit) => break exit,
            },
        }
        if let Err(error) = control.apply().await {
            tracing::error!(
                "the last good configuration keeps serving: {}",
                error.reason()
            );
        }
    };
    tracing::info!("{}: ending when what is under way has ended", exit.name());
    live.draining();
    end::drain(control.into_proxy(), &mut signals, config.shutdown_timeout).await
}

async fn serve_admin(admin: AdminServer, live: Arc<Live>) {
    if let Err(error) = admin.serve(live).await {
        tracing::error!(%error, "the admin address is not served");
    }
}
