//! Acquiring, renewing and giving back.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::candidate::{Candidate, Step};
use super::{LEASE, Leadership, RENEW_DEADLINE, REQUEST, RETRY};
use crate::MANAGER;
use crate::clock::Moment;

/// Takes part in the election until it is dropped or [given back](Self::release).
#[derive(Debug)]
pub(crate) struct Election {
    leases: Api<Lease>,
    name: String,
    identity: String,
    /// With whom the Lease goes.
    owner: Option<OwnerReference>,
    candidate: Candidate,
    /// The Lease as it was last seen; its version guards the next update.
    last: Option<Lease>,
    /// The newest version of the Lease that was seen while we led.
    newest: Option<u64>,
    leadership: Leadership,
    /// See [`Leader::term`].
    term: u64,
    told: watch::Sender<Leader>,
    /// Whether the last attempt failed, so that an outage is logged once.
    is_failing: bool,
}

/// Who leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Leader {
    /// Its identity, as far as it is known.
    pub(crate) identity: Option<String>,
    /// Whether it is this process.
    pub(crate) is_us: bool,
    /// Another number means that what goes on while this process leads has to begin anew, even if
    /// it was never seen not to lead.
    pub(crate) term: u64,
}

impl Election {
    /// For the Lease `name` in `namespace`, as `identity`, which no other process has. Where it is made
    /// here, it goes with `owner`.
    pub(crate) fn new(
        client: &Client,
        namespace: &str,
        name: String,
        identity: String,
        owner: Option<OwnerReference>,
    ) -> (Self, Leadership, watch::Receiver<Leader>) {
        let leadership = Leadership::default();
        let (told, leader) = watch::channel(Leader::default());
        let election = Self {
            leases: Api::namespaced(client.clone(), namespace),
            name,
            candidate: Candidate::new(identity.clone()),
            identity,
            owner,
            last: None,
            newest: None,
            leadership: leadership.clone(),
            term: 0,
            told,
            is_failing: false,
        };
        (election, leadership, leader)
    }

    /// Tries again and again; never ends.
    pub(crate) async fn run(&mut self) {
        loop {
            let pause = self.round().await;
            // client-go's jitter, so that candidates do not move in step.
            let jitter = RETRY.mul_f64(fastrand::f64() * 0.2);
            sleep(pause.min(RETRY + jitter)).await;
            self.tell();
        }
    }

    /// Gives the Lease back, so that the next may have it at once.
    pub(crate) async fn release(&self) {
        if !self.leadership.is_held() {
            return;
        }
        let mut lease = self.last.clone().unwrap_or_default();
        let now = Some(MicroTime(Timestamp::now()));
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            acquire_time: now.clone(),
            renew_time: now,
            lease_transitions: lease.spec.and_then(|spec| spec.lease_transitions),
            ..LeaseSpec::default()
        });
        let parameters = parameters();
        let written = self.leases.replace(&self.name, &parameters, &lease);
        match timeout(REQUEST, written).await {
            Ok(Ok(_)) => tracing::info!("the leader's Lease {} is given back", self.name),
            Ok(Err(error)) => tracing::warn!("the leader's Lease is not given back: {error}"),
            Err(_) => tracing::warn!("the leader's Lease is not given back in time"),
        }
        self.leadership.end();
        self.tell();
    }

    /// One attempt. Returns how soon the next one may be worth it.
    async fn round(&mut self) -> Duration {
        // What the lease is counted from: the server may have had the request at once.
        let began = Moment::now();
        let attempt = timeout(REQUEST, self.attempt()).await;
        let mut pause = RETRY;
        match attempt {
            Ok(Ok(Step::Write)) => {
                self.leadership.extend(began + RENEW_DEADLINE);
                self.succeeded();
            }
            Ok(Ok(Step::Wait(left))) => {
                self.leadership.end();
                self.succeeded();
                pause = left;
            }
            Ok(Err(error)) => self.failed(&error.to_string()),
            Err(_) => self.failed("no answer in time"),
        }
        self.tell();
        pause
    }

    async fn attempt(&mut self) -> Result<Step, kube::Error> {
        if self.leadership.is_held()
            && let Some(lease) = self.last.take()
        {
            match self.write(lease).await {
                Err(error) if is_code(&error, 409) || is_code(&error, 404) => {}
                done => return done.map(|()| Step::Write),
            }
        }
        let lease = self.leases.get_opt(&self.name).await?;
        if self.newest > lease.as_ref().and_then(version) {
            // All that the API server knew may have gone with it, so that versions mean nothing any
            // more: what goes on while we lead has to begin anew, as after any other end.
            self.leadership.end();
            (self.newest, self.term) = (None, self.term.wrapping_add(1));
            self.tell();
        }
        let Some(lease) = lease else {
            self.create().await?;
            return Ok(Step::Write);
        };
        let step = self.candidate.see(&lease, Moment::now());
        if step == Step::Write {
            self.write(lease).await?;
        }
        Ok(step)
    }

    async fn create(&mut self) -> Result<(), kube::Error> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                owner_references: self.owner.clone().map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(self.spec(&LeaseSpec::default())),
        };
        let created = self.leases.create(&parameters(), &lease).await?;
        self.holds(created);
        Ok(())
    }

    /// Replaces exactly this version of the Lease.
    async fn write(&mut self, mut lease: Lease) -> Result<(), kube::Error> {
        lease.spec = Some(self.spec(&lease.spec.unwrap_or_default()));
        let written = self
            .leases
            .replace(&self.name, &parameters(), &lease)
            .await?;
        self.holds(written);
        Ok(())
    }

    fn holds(&mut self, lease: Lease) {
        self.candidate.see(&lease, Moment::now());
        self.newest = version(&lease);
        self.last = Some(lease);
    }

    fn spec(&self, old: &LeaseSpec) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let is_ours = old.holder_identity.as_deref() == Some(&self.identity);
        let transitions = old.lease_transitions.unwrap_or(0);
        let acquired = old.acquire_time.clone().filter(|_| is_ours);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
            acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions.saturating_add(i32::from(!is_ours))),
            ..LeaseSpec::default()
        }
    }

    fn succeeded(&mut self) {
        if std::mem::take(&mut self.is_failing) {
            tracing::info!("the leader's Lease {} can be used again", self.name);
        }
    }

    fn failed(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!("the leader's Lease {} cannot be used: {reason}", self.name);
        }
    }

    fn tell(&self) {
        let is_us = self.leadership.is_held();
        let known = self.candidate.holder().map(str::to_owned);
        let leader = Leader {
            // Who led until its time was over leads no more, whatever the record says.
            identity: known.filter(|known| is_us || *known != self.identity),
            is_us,
            term: self.term,
        };
        self.told.send_if_modified(|told| {
            if *told == leader {
                return false;
            }
            if told.is_us != is_us {
                let state = if is_us { "leads" } else { "leads no more" };
                tracing::info!("{} {state} by the Lease {}", self.identity, self.name);
            }
            *told = leader;
            true
        });
    }
}

fn parameters() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// As a number, which it is with every API server.
fn version(lease: &Lease) -> Option<u64> {
    lease.metadata.resource_version.as_ref()?.parse().ok()
}

fn is_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// A client whose requests are answered in turn, by method, status and body.
    fn scripted<const N: usize>(answers: [(&'static str, u16, Value); N]) -> Client {
        let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
        let service = tower::service_fn(move |request: Request<Body>| {
            let next = answers.lock().expect("no panics").pop_front();
            let (method, status, body) = next.expect("one more request");
            assert_eq!(request.method(), method);
            let answer = Response::builder().status(status);
            let answer = answer.body(Body::from(body.to_string().into_bytes()));
            std::future::ready(Ok::<_, Infallible>(answer.expect("an answer")))
        });
        Client::new(service, "default")
    }

    fn lease(version: &str, holder: &str) -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "lead", "namespace": "default", "resourceVersion": version},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 12}
        })
    }

    fn failure(code: u16) -> Value {
        let reason = match code {
            404 => "NotFound",
            409 => "Conflict",
            _ => "ServiceUnavailable",
        };
        json!({"kind": "Status", "status": "Failure", "reason": reason, "message": "", "code": code})
    }

    async fn terms<const N: usize>(
        rounds: usize,
        answers: [(&'static str, u16, Value); N],
    ) -> Vec<(bool, u64)> {
        let client = scripted(answers);
        let (mut election, _, leader) =
            Election::new(&client, "default", "lead".to_owned(), "a".to_owned(), None);
        let mut seen = Vec::new();
        for _ in 0..rounds {
            election.round().await;
            let leader = leader.borrow();
            seen.push((leader.is_us, leader.term));
        }
        seen
    }

    #[tokio::test]
    async fn who_leads_on_over_a_loss_of_all_data_begins_anew() {
        let lost = [
            ("GET", 404, failure(404)),
            ("POST", 201, lease("100", "a")),
            // Away, and back within the time in which it leads still.
            ("PUT", 503, failure(503)),
            ("GET", 404, failure(404)),
            ("POST", 201, lease("7", "a")),
            ("PUT", 200, lease("8", "a")),
        ];
        let seen = terms(4, lost).await;
        assert_eq!(seen, [(true, 0), (true, 0), (true, 1), (true, 1)]);
        // Data of yesterday, in which the Lease was ours as well.
        let restored = [
            ("GET", 404, failure(404)),
            ("POST", 201, lease("100", "a")),
            ("PUT", 409, failure(409)),
            ("GET", 200, lease("50", "a")),
            ("PUT", 200, lease("51", "a")),
            ("PUT", 200, lease("52", "a")),
        ];
        assert_eq!(terms(3, restored).await, [(true, 0), (true, 1), (true, 1)]);
    }

    #[tokio::test]
    async fn an_outage_and_a_lease_that_another_touched_change_nothing() {
        let answers = [
            ("GET", 404, failure(404)),
            ("POST", 201, lease("100", "a")),
            ("PUT", 503, failure(503)),
            ("GET", 200, lease("101", "a")),
            ("PUT", 200, lease("102", "a")),
            ("PUT", 409, failure(409)),
            ("GET", 200, lease("103", "a")),
            ("PUT", 200, lease("104", "a")),
        ];
        assert_eq!(terms(4, answers).await, [(true, 0); 4]);
    }
}
