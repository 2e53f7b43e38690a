//! `narthex registry creds run`: pull secrets, and nothing else.

use std::process::ExitCode;
use std::sync::Arc;

use admin::{AdminServer, Pages};
use cluster::pull_secrets::Place;
use cluster::{Access, Connection};
use tokio::signal::unix::{SignalKind, signal};

use super::super::waiting;
use super::{access, namespace};
use crate::control::Live;
use crate::failure::Failure;
use crate::flags::registry::creds::Run;
use crate::log;
use crate::registry_credentials::{self, Credentials, Options};
use crate::serve::own_name;

/// Runs until a signal ends it.
pub(super) fn run(flags: Run) -> Result<ExitCode, Failure> {
    let access = access(&flags.reach)?;
    log::start(flags.log_format, &flags.log_level);
    let runtime = waiting()?;
    let done = runtime.block_on(until_end(flags, access));
    runtime.shutdown_background();
    done
}

async fn until_end(flags: Run, access: Access) -> Result<ExitCode, Failure> {
    let options = Options::new(flags.credentials)?;
    let failed = |error| Failure::new(format!("signals cannot be heard: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let connection = Connection::open(&access).await.map_err(Failure::new)?;
    let mut book = None;
    let live = Arc::new(Live::new(|registry| {
        book = Some(registry_credentials::open(registry));
    }));
    // It was made with the metrics.
    let book = book.ok_or_else(|| Failure::new("a bug: nothing is counted"))?;
    live.set_registry_credentials(Arc::clone(&book));
    let server = AdminServer::bind(flags.admin_address, Pages::All).map_err(Failure::new)?;
    let address = server.address();
    let place = Place {
        namespace: namespace(&flags.reach, &connection),
        replica: own_name(access == Access::InCluster),
        election_id: flags.election_id,
    };
    tracing::info!(
        "pull secrets of {}, as {} in {}; health and metrics on http://{address}",
        connection.url(),
        place.replica,
        place.namespace
    );
    let credentials = Credentials::start(options, &connection, place, &book)?;
    live.ready();
    let serving = tokio::spawn(server.serve(live));
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: ending"),
        _ = interrupt.recv() => tracing::info!("SIGINT: ending"),
    }
    serving.abort();
    credentials.end().await;
    Ok(ExitCode::SUCCESS)
}
