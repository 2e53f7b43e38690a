//! Databases of addresses are read again when their files change.

use std::sync::Arc;
use std::time::Duration;

use proxy::Databases;
use tokio::task::spawn_blocking;

/// How often is looked for another file.
const EVERY: Duration = Duration::from_secs(2);

/// Looks for as long as the process lives.
pub(super) fn watch(databases: Arc<Databases>) {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(EVERY).await;
            let databases = Arc::clone(&databases);
            // They may be large.
            let _ = spawn_blocking(move || refresh(&databases)).await;
        }
    });
}

fn refresh(databases: &Databases) {
    for (path, outcome) in databases.refresh() {
        match outcome {
            Ok(()) => tracing::info!("{}: read again", path.display()),
            Err(error) => tracing::error!("{error}; the former one is used on"),
        }
    }
}
