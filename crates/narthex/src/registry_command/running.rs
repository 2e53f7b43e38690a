//! A registry in the life of a process: its storage opened, its address bound, served.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Connection, LocalRegistry};
use prometheus_client::registry::Registry;
use registry::access::{Gate, Key};
use registry::serve::door::Door;
use registry::serve::{self, Server, Tls};
use registry::store::{Lock, Place, Store};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::following::{self, Following};
use super::upkeep::Upkeep;
use super::{Plan, access, pull_through};
use crate::failure::Failure;

/// How long a bucket may take to show that it is there.
const LOOK: Duration = Duration::from_secs(5);

/// A registry that is ready to be served.
#[derive(Debug)]
pub(super) struct Running {
    server: Server,
    upkeep: Upkeep,
    following: Option<Following>,
    gate: Arc<Gate>,
    /// What the cluster is told.
    hosting: Option<(LocalRegistry, Connection)>,
    /// Nobody else writes to the folder. A bucket has none.
    lock: Option<Lock>,
}

/// What is counted. Clones count the same.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    served: serve::Metrics,
    followed: following::Metrics,
}

impl Metrics {
    /// Shows them in `registry`.
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            served: serve::Metrics::register(registry),
            followed: following::Metrics::register(registry),
        }
    }
}

/// Why a registry is not ready.
#[derive(Debug)]
pub(super) enum Unready {
    /// Another process has its storage or its address.
    Taken(Failure),
    /// Something else.
    Failed(Failure),
}

impl From<Unready> for Failure {
    fn from(unready: Unready) -> Self {
        match unready {
            Unready::Taken(failure) | Unready::Failed(failure) => failure,
        }
    }
}

impl Running {
    /// Opens the storage and binds the address.
    pub(super) async fn open(plan: &Plan, metrics: Metrics) -> Result<Self, Unready> {
        let place = &plan.place;
        let failed = |message: String| Unready::Failed(Failure::new(message));
        let lock = match place.lock() {
            Ok(Some(lock)) => Some(lock),
            Ok(None) if matches!(place, Place::Bucket(_)) => None,
            Ok(None) => {
                let message = format!(
                    "another process serves {place}, and one at a time writes to it: end that one first, or name \
                     another folder"
                );
                return Err(Unready::Taken(Failure::new(message)));
            }
            Err(error) if is_read_only(&error) => {
                tracing::warn!("{place} may be read and not written: pushes will fail ({error})");
                None
            }
            Err(error) => return Err(failed(format!("{place} cannot be locked: {error}"))),
        };
        let store = Store::open(place, plan.limits.largest_blob)
            .map_err(|error| failed(format!("{place} cannot be opened: {error}")))?
            .with_least_free(plan.least_free);
        if let Place::Bucket(_) = place {
            // It may come back, or get its rights, while we serve.
            match timeout(LOOK, store.look()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!("{place} cannot be used: {error}"),
                Err(_) => tracing::error!("{place} has not answered for {LOOK:?}"),
            }
        }
        let tls = match plan.tls.clone() {
            Some((certificate, key)) => {
                let authorities = plan.access.client_ca_file.clone();
                Some(Tls::new(certificate, key, authorities).map_err(failed)?)
            }
            None => None,
        };
        let cache = pull_through::cache(plan, &store, metrics.served.cache()).map_err(failed)?;
        let upkeep = Upkeep::new(plan, store.clone(), cache.clone(), metrics.served.clone());
        let lists = match &plan.following.image_lists {
            Some(_) => {
                let connection = plan.connection("image-lists").await;
                Some(connection.map_err(Unready::Failed)?)
            }
            None => None,
        };
        let (flags, counted) = (&plan.following, metrics.followed);
        let following = Following::new(flags, store.clone(), counted, lists.as_ref());
        let following = following.map_err(Unready::Failed)?;
        let key = async || {
            // Whoever may read the key can sign. Where it cannot be concealed, it cannot be written either.
            if let Err(error) = place.conceal(Key::FOLDER)
                && !is_read_only(&error)
            {
                return Err(format!("the key of tokens cannot be concealed: {error}"));
            }
            let opened = place.storage().map_err(|error| error.to_string())?;
            Key::shared(&*opened).await
        };
        let gate = access::gate(plan, key).await.map_err(Unready::Failed)?;
        let hosting = match &plan.hosting {
            Some(told) => {
                let connection = plan.connection("hosting").await;
                Some((told.clone(), connection.map_err(Unready::Failed)?))
            }
            None => None,
        };
        let (address, door) = (plan.address, Arc::clone(&gate) as Arc<dyn Door>);
        let (limits, counted) = (plan.limits, metrics.served);
        let bound = Server::bind(address, store, cache, door, limits, tls, counted).await;
        let server = bound.map_err(|error| {
            let failure = Failure::new(format!("{address} cannot be bound: {error}"));
            match error.kind() {
                io::ErrorKind::AddrInUse => Unready::Taken(failure),
                _ => Unready::Failed(failure),
            }
        })?;
        Ok(Self {
            server,
            upkeep,
            following,
            gate,
            hosting,
            lock,
        })
    }

    /// Where it is.
    pub(super) fn address(&self) -> std::net::SocketAddr {
        self.server.address()
    }

    /// Serves until `end` is over and what is under way has ended.
    pub(super) async fn serve(self, end: impl Future<Output = ()>) {
        let upkeep = tokio::spawn(self.upkeep.keep());
        let following = self.following.map(|it| tokio::spawn(it.keep()));
        let gate = self.gate;
        let watch = tokio::spawn(async move { gate.watch().await });
        let hosting = self.hosting;
        let (ending, ended) = oneshot::channel::<()>();
        let publish = tokio::spawn(async move {
            if let Some((told, connection)) = hosting {
                told.publish(connection, async { drop(ended.await) }).await;
            }
        });
        self.server.serve(end).await;
        drop(ending);
        watch.abort();
        // What they were doing is over before the folder is another's.
        for task in [Some(upkeep), following].into_iter().flatten() {
            task.abort();
            let _ = task.await;
        }
        // It takes seconds at most, and does not panic.
        let _ = publish.await;
        drop(self.lock);
    }
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
    )
}
