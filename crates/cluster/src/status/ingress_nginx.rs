//! Whether an ingress-nginx lives beside us, by the Lease of its leader.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::clock::Moment;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(5);

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(5);

/// What is known of an ingress-nginx beside us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Not known; perhaps for want of rights.
    Unknown,
    /// Its leader renews its Lease.
    Lives,
    /// There is no Lease of its leader, or none that is renewed.
    Gone,
}

/// Looks for Leases of ingress-nginx's leaders.
#[derive(Debug)]
pub(crate) struct IngressNginx {
    leases: Api<Lease>,
    /// `--election-id` of ingress-nginx; its Lease is found by this name in any namespace.
    names: Vec<String>,
    seen: HashMap<String, (LeaseSpec, Moment)>,
    told: watch::Sender<State>,
}

impl IngressNginx {
    pub(crate) fn new(client: &Client, names: Vec<String>) -> (Self, watch::Receiver<State>) {
        let (told, state) = watch::channel(State::Unknown);
        let looked = Self {
            leases: Api::all(client.clone()),
            names,
            seen: HashMap::new(),
            told,
        };
        (looked, state)
    }

    /// Never ends.
    pub(crate) async fn run(mut self) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_failing = false;
        loop {
            look.tick().await;
            let state = match timeout(REQUEST, self.list()).await {
                Ok(Ok(leases)) => {
                    is_failing = false;
                    self.judge(leases, Moment::now())
                }
                Ok(Err(error)) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!(
                            "whether an ingress-nginx still runs cannot be seen, so the status of \
                             its Ingresses is left to it (--take-over ends that): {error}"
                        );
                    }
                    State::Unknown
                }
                Err(_) => continue,
            };
            self.told.send_if_modified(|told| {
                let changed = *told != state;
                match state {
                    State::Lives if changed => tracing::info!(
                        "an ingress-nginx runs beside us: the status of its Ingresses is left to it"
                    ),
                    State::Gone if *told == State::Lives => {
                        tracing::info!("the ingress-nginx beside us is gone");
                    }
                    _ => {}
                }
                *told = state;
                changed
            });
        }
    }

    /// By field selector, so that a right to list these names alone is enough.
    async fn list(&self) -> Result<Vec<Lease>, kube::Error> {
        let mut found = Vec::new();
        for name in &self.names {
            let parameters = ListParams::default().fields(&format!("metadata.name={name}"));
            found.extend(self.leases.list(&parameters).await?.items);
        }
        Ok(found)
    }

    /// By what we see change, as any candidate would judge it.
    fn judge(&mut self, leases: Vec<Lease>, now: Moment) -> State {
        let mut seen = HashMap::new();
        let mut state = State::Gone;
        for lease in leases {
            let spec = lease.spec.unwrap_or_default();
            let namespace = lease.metadata.namespace.unwrap_or_default();
            let key = format!("{namespace}/{}", lease.metadata.name.unwrap_or_default());
            let since = match self.seen.get(&key) {
                Some((known, since)) if *known == spec => *since,
                _ => now,
            };
            let seconds = spec.lease_duration_seconds.unwrap_or(30);
            let limit = Duration::from_secs(u64::try_from(seconds).unwrap_or(30));
            let is_held = spec
                .holder_identity
                .as_deref()
                .is_some_and(|it| !it.is_empty());
            if is_held && now.since(since) < limit {
                state = State::Lives;
            }
            seen.insert(key, (spec, since));
        }
        self.seen = seen;
        state
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn lease(holder: &str, renewed: i64) -> Vec<Lease> {
        let spec = LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(30),
            renew_time: Timestamp::from_second(renewed).ok().map(MicroTime),
            ..LeaseSpec::default()
        };
        vec![Lease {
            spec: Some(spec),
            ..Lease::default()
        }]
    }

    #[tokio::test]
    async fn it_lives_while_its_lease_is_renewed() {
        let config = kube::Config::new("http://127.0.0.1:1".parse().expect("a URI"));
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::try_from(config).expect("a client");
        let (mut nginx, _) = IngressNginx::new(&client, Vec::new());
        let start = Moment::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(nginx.judge(Vec::new(), start), State::Gone);
        assert_eq!(nginx.judge(lease("a", 1), start), State::Lives);
        assert_eq!(nginx.judge(lease("a", 1), after(29)), State::Lives);
        assert_eq!(nginx.judge(lease("a", 2), after(29)), State::Lives);
        assert_eq!(nginx.judge(lease("a", 2), after(59)), State::Gone);
        assert_eq!(nginx.judge(lease("b", 3), after(60)), State::Lives);
        assert_eq!(nginx.judge(lease("", 4), after(61)), State::Gone);
    }
}
