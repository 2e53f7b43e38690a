//! Endpoints found by DNS, for Services of type ExternalName; and single hosts that came from outside.
//!
//! Runs on the control runtime and writes into the backends' slots of endpoints; workers only ever
//! see addresses, which were checked after resolution and are what is connected to. So no name can
//! lead to an address that was not checked, however often its answer changes.

mod address;
mod lookup;
mod once;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::net::NetError;
use model::backend::Discovery;
use model::{Backend, Endpoint, EndpointSet, Member, Unavailable};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};

use lookup::{Answer, Client};
pub use once::Lookup;

/// However short an answer's TTL, a name is asked for once in this time at most …
const MIN_TTL: Duration = Duration::from_secs(1);
/// … and however long, once in this time at least.
const MAX_TTL: Duration = Duration::from_secs(300);
/// After the first failure; doubled with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// How long addresses are used that cannot be confirmed any more.
const KEEP_STALE: Duration = Duration::from_secs(600);
/// Lookups at the same time, each of which is two queries.
const CONCURRENT: usize = 16;

/// Resolves the names of backends, and keeps doing so.
#[derive(Debug)]
pub struct Resolver {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    allow_local: bool,
    turns: Semaphore,
    /// Whether there is a way to an address at all.
    reachable: fn(SocketAddr) -> bool,
}

impl Resolver {
    /// A resolver with the system's configuration (`/etc/resolv.conf`, `/etc/hosts`), which is
    /// read again when it changes. Where there is none, that is told and names stay unresolved.
    ///
    /// `allow_local` is whether names may stand for loopback, link-local and metadata addresses.
    ///
    /// # Errors
    /// If the DNS client cannot be set up.
    pub fn new(allow_local: bool) -> Result<Self, NetError> {
        Ok(Self::with_client(
            Client::system()?,
            allow_local,
            address::has_route,
        ))
    }

    fn with_client(client: Client, allow_local: bool, reachable: fn(SocketAddr) -> bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                client,
                allow_local,
                turns: Semaphore::new(CONCURRENT),
                reachable,
            }),
        }
    }

    /// Keeps the endpoints of those of `backends` that are found by DNS, until the sender is gone.
    pub async fn run(self, mut backends: watch::Receiver<Vec<Arc<Backend>>>) {
        let mut tasks = JoinSet::new();
        let mut followed: HashMap<usize, AbortHandle> = HashMap::new();
        loop {
            let mut current = HashMap::new();
            for backend in backends.borrow_and_update().iter() {
                let Discovery::Dns { host, port } = &backend.discovery else {
                    continue;
                };
                // The address tells backends apart: the task keeps the backend, and so the
                // address, until it is aborted.
                let key = Arc::as_ptr(backend).addr();
                let task = followed.remove(&key).unwrap_or_else(|| {
                    let name = Followed::new(Arc::clone(backend), host.clone(), *port);
                    tasks.spawn(name.follow(Arc::clone(&self.shared)))
                });
                current.insert(key, task);
            }
            for gone in followed.values() {
                gone.abort();
            }
            followed = current;
            loop {
                tokio::select! {
                    changed = backends.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    Some(_) = tasks.join_next() => {}
                }
            }
        }
    }
}

/// One backend whose name is followed.
struct Followed {
    backend: Arc<Backend>,
    host: Box<str>,
    port: u16,
    failures: u32,
    /// Since when the addresses in use are not confirmed.
    stale_since: Option<Instant>,
    told: Told,
}

/// What was told last: only a change is worth a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Failing,
    Forbidden,
    PartlyForbidden,
}

impl Followed {
    fn new(backend: Arc<Backend>, host: Box<str>, port: u16) -> Self {
        Self {
            backend,
            host,
            port,
            failures: 0,
            stale_since: None,
            told: Told::Nothing,
        }
    }

    /// Never ends, but for hosts that need no DNS.
    async fn follow(mut self, shared: Arc<Shared>) {
        if let Some(ip) = address::literal(&self.host) {
            self.found(&shared, vec![ip]);
            return std::future::pending().await;
        }
        if !shared.allow_local && address::is_localhost(&self.host) {
            self.found(&shared, Vec::new());
            return std::future::pending().await;
        }
        loop {
            let answer = {
                // The semaphore is never closed.
                let _turn = shared.turns.acquire().await;
                shared.client.lookup(&self.host).await
            };
            let wait = match answer {
                Ok(answer) => self.resolved(&shared, answer),
                Err(error) => self.failed(&error, Instant::now()),
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes over an answer, and says how long it holds.
    fn resolved(&mut self, shared: &Shared, answer: Answer) -> Duration {
        self.failures = 0;
        self.stale_since = None;
        self.found(shared, answer.addresses);
        let ttl = answer.ttl.clamp(MIN_TTL, MAX_TTL);
        // Later, never earlier: the cache on the way would give the old answer.
        ttl + ttl.mul_f64(0.1 * fastrand::f64())
    }

    /// Keeps the addresses for a while, and says when to try again.
    fn failed(&mut self, error: &NetError, now: Instant) -> Duration {
        let since = *self.stale_since.get_or_insert(now);
        let in_use = !self.backend.endpoints().ready.is_empty();
        if !in_use || now.duration_since(since) >= KEEP_STALE {
            self.publish(&[], Some(Unavailable::Unresolved));
        }
        if self.tell(Told::Failing) {
            let (backend, host) = (&self.backend.name, &self.host);
            tracing::warn!(%backend, %host, %error, in_use, "the external name does not resolve");
        }
        let retry = FIRST_RETRY
            .saturating_mul(1 << self.failures.min(10))
            .min(LAST_RETRY);
        self.failures += 1;
        retry.mul_f64(0.75 + 0.5 * fastrand::f64())
    }

    /// Publishes what may be used of the addresses.
    fn found(&mut self, shared: &Shared, mut addresses: Vec<IpAddr>) {
        let all = addresses.len();
        if !shared.allow_local {
            addresses.retain(|&ip| !address::is_forbidden(ip));
        }
        let allowed = addresses.len();
        let addresses = address::usable(addresses, self.port, shared.reachable);
        let told = match allowed {
            0 => Told::Forbidden,
            _ if allowed < all => Told::PartlyForbidden,
            _ => Told::Nothing,
        };
        if self.tell(told) {
            let (backend, host) = (&self.backend.name, &self.host);
            match told {
                Told::Nothing => tracing::info!(%backend, %host, "the external name resolves"),
                _ => tracing::warn!(
                    %backend, %host, usable = allowed,
                    "the external name stands for a loopback, link-local or metadata address, \
                     which is not used"
                ),
            }
        }
        let old = self.backend.endpoints();
        let ready: Vec<_> = addresses
            .into_iter()
            .map(|address| {
                // The same endpoint for the same address, so that its connections are kept.
                let same = old.ready.iter().find(|old| old.address == address);
                let new = || {
                    let transport = self.backend.transport.clone();
                    Arc::new(Endpoint::new(address).speaking(transport))
                };
                same.map_or_else(new, Arc::clone)
            })
            .map(Member::from)
            .collect();
        let unavailable = (allowed == 0).then_some(Unavailable::ForbiddenAddress);
        self.publish(&ready, unavailable);
    }

    fn publish(&self, ready: &[Member], unavailable: Option<Unavailable>) {
        self.backend
            .update(|policy| EndpointSet::new(ready.to_vec(), policy).because(unavailable));
    }

    /// Whether this is news.
    fn tell(&mut self, told: Told) -> bool {
        std::mem::replace(&mut self.told, told) != told
    }
}

#[cfg(test)]
mod tests;
