//! What is told of credentials: to `narthex registry creds list`, and to metrics. No secret is in it.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use admin::view;
use cluster::pull_secrets::{Metrics, Placed};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use registry::creds::Standing;
use tokio::sync::watch;

/// What is known.
#[derive(Debug, Default)]
pub(crate) struct Book {
    stands: OnceLock<watch::Receiver<std::sync::Arc<[Standing]>>>,
    placed: OnceLock<watch::Receiver<Placed>>,
    problems: Mutex<Vec<String>>,
    refreshes: Family<Refresh, Counter>,
    expiry: Family<Which, Gauge>,
    writes: Metrics,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refresh {
    secret: String,
    provider: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Which {
    secret: String,
    provider: &'static str,
}

impl Book {
    /// Nothing yet. Its metrics are the registry's.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let book = Self::default();
        registry.register(
            "narthex_registry_credential_refreshes",
            "Questions to providers of credentials, by the Secret they are for and what came of them",
            book.refreshes.clone(),
        );
        registry.register(
            "narthex_registry_credential_expiry_timestamp_seconds",
            "When the last good credential ends, in seconds since 1970",
            book.expiry.clone(),
        );
        book.writes.register(registry);
        book
    }

    pub(super) fn writes(&self) -> Metrics {
        self.writes.clone()
    }

    pub(super) fn watch(&self, stands: watch::Receiver<std::sync::Arc<[Standing]>>) {
        // There is one such part in a process's life.
        let _ = self.stands.set(stands);
    }

    pub(super) fn follow(&self, placed: watch::Receiver<Placed>) {
        // Likewise.
        let _ = self.placed.set(placed);
    }

    pub(super) fn set_problems(&self, problems: Vec<String>) {
        *self.problems.lock().unwrap_or_else(PoisonError::into_inner) = problems;
    }

    pub(super) fn count(&self, standing: &Standing, is_good: bool) {
        let outcome = if is_good { "ok" } else { "error" };
        let Which { secret, provider } = which(standing);
        let refresh = Refresh {
            secret,
            provider,
            outcome,
        };
        self.refreshes.get_or_create(&refresh).inc();
        if let Some(end) = standing.expires().and_then(seconds) {
            let gauge = self.expiry.get_or_create(&which(standing));
            gauge.set(i64::try_from(end).unwrap_or(i64::MAX));
        }
    }

    /// Another replica asks from now on, and tells when what it has ends.
    pub(super) fn forget_all(&self) {
        self.expiry.clear();
    }

    pub(super) fn forget(&self, standing: &Standing) {
        self.expiry.remove(&which(standing));
    }

    /// For `/api/registry/credentials`.
    pub(crate) fn view(&self) -> view::RegistryCredentials {
        let placed = self.placed.get().map(|it| it.borrow().clone());
        let placed = placed.unwrap_or_default();
        let stands = self.stands.get().map(|it| it.borrow().clone());
        let now = SystemTime::now();
        let one = |standing: &Standing| view::RegistryCredential {
            secret: standing.grant.secret.clone(),
            provider: standing.grant.source.provider(),
            from: standing.grant.origin.clone(),
            registries: {
                let all = standing.credentials.iter().flat_map(|all| all.iter());
                all.map(|one| one.registry.clone()).collect()
            },
            state: state(standing, placed.leads, now),
            refreshed: standing.refreshed.and_then(seconds),
            expires: standing.expires().and_then(seconds),
            next: seconds(standing.next).filter(|_| placed.leads),
            error: standing.error.clone(),
            namespaces: placed
                .namespaces
                .get(&standing.grant.secret)
                .copied()
                .unwrap_or(0),
        };
        let problems = self.problems.lock();
        let mut problems = problems.unwrap_or_else(PoisonError::into_inner).clone();
        let unwritten = placed.problems.iter();
        problems.extend(unwritten.map(|(object, why)| format!("{object}: {why}")));
        view::RegistryCredentials {
            on: true,
            writes: placed.leads,
            credentials: stands.iter().flat_map(|all| all.iter()).map(one).collect(),
            problems,
        }
    }
}

fn which(standing: &Standing) -> Which {
    Which {
        secret: standing.grant.secret.clone(),
        provider: standing.grant.source.provider(),
    }
}

fn state(standing: &Standing, leads: bool, now: SystemTime) -> &'static str {
    let has_ended = standing.expires().is_some_and(|end| end <= now);
    match (standing.credentials.is_some(), standing.error.is_some()) {
        _ if !leads => "another replica's",
        (true, _) if has_ended => "ended",
        (true, true) => "failing",
        (true, false) => "valid",
        (false, true) => "failed",
        (false, false) => "waiting",
    }
}

fn seconds(at: SystemTime) -> Option<u64> {
    at.duration_since(UNIX_EPOCH).ok().map(|it| it.as_secs())
}
