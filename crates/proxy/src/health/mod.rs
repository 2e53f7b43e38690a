//! Active health checks: endpoints are asked how they are, once an endpoint and process, whatever
//! number of routes and workers use it.
//!
//! Runs on the control runtime and writes into the endpoints' shared health, which workers read.

mod probe;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::policy::Check;
use model::{Backend, Endpoint};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::upstream::tls::Trust;

/// How often endpoints that came or went are looked for.
const LOOK: Duration = Duration::from_millis(500);
/// Failures in a row that take an endpoint out …
const UNHEALTHY: u32 = 3;
/// … and successes in a row that bring it back.
const HEALTHY: u32 = 2;

/// What the metrics show of the checks.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) passed: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// How many endpoints are out now.
    pub(crate) down: AtomicU64,
}

/// A check that runs.
struct Running {
    task: AbortHandle,
    check: Check,
    endpoint: Arc<Endpoint>,
}

/// Checks the endpoints of those of `backends` whose policy says so, until the sender is gone.
pub(crate) async fn run(
    mut backends: watch::Receiver<Vec<Arc<Backend>>>,
    counts: Arc<Counts>,
    trust: Arc<Trust>,
) {
    let mut tasks = JoinSet::new();
    let mut running: HashMap<u64, Running> = HashMap::new();
    loop {
        let mut current = HashMap::new();
        for backend in backends.borrow_and_update().iter() {
            let set = backend.endpoints();
            let Some(check) = &set.policy.check else {
                continue;
            };
            for endpoint in &set.ready {
                // Two ports' references may lead to one endpoint.
                if current.contains_key(&endpoint.id) {
                    continue;
                }
                let entry = match running.remove(&endpoint.id) {
                    Some(same) if same.check == *check => same,
                    other => {
                        if let Some(other) = other {
                            other.task.abort();
                        }
                        let (endpoint, check) = (Arc::clone(endpoint), check.clone());
                        let follow = follow(
                            Arc::clone(&endpoint),
                            check.clone(),
                            Arc::clone(&counts),
                            Arc::clone(&trust),
                        );
                        Running {
                            task: tasks.spawn(follow),
                            check,
                            endpoint,
                        }
                    }
                };
                current.insert(endpoint.id, entry);
            }
        }
        for gone in running.values() {
            gone.task.abort();
            // Nobody would ever bring it back.
            if gone.endpoint.health.checked(true) {
                counts.down.fetch_sub(1, Ordering::Relaxed);
            }
        }
        running = current;
        let idle = running.is_empty();
        tokio::select! {
            changed = backends.changed() => if changed.is_err() {
                return;
            },
            // Names that are resolved change endpoints without a word.
            () = tokio::time::sleep(LOOK), if !idle => {}
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Never ends.
async fn follow(endpoint: Arc<Endpoint>, check: Check, counts: Arc<Counts>, trust: Arc<Trust>) {
    // Not all at once, as after the start.
    tokio::time::sleep(check.interval.min(LOOK).mul_f64(fastrand::f64())).await;
    let (mut good, mut row) = (true, 0);
    let mut known = false;
    loop {
        let probe = probe::ask(&endpoint, &check, &trust);
        let now_good = matches!(tokio::time::timeout(check.timeout, probe).await, Ok(true));
        let count = if now_good {
            &counts.passed
        } else {
            &counts.failed
        };
        count.fetch_add(1, Ordering::Relaxed);
        row = if now_good == good { 0 } else { row + 1 };
        // Of what was never asked before, the first answer says it all.
        let enough = match (known, good) {
            (false, _) => 1,
            (true, true) => UNHEALTHY,
            (true, false) => HEALTHY,
        };
        if row >= enough {
            (good, row) = (now_good, 0);
        }
        known = true;
        if endpoint.health.checked(good) {
            let address = endpoint.address;
            if good {
                counts.down.fetch_sub(1, Ordering::Relaxed);
                tracing::info!(%address, "the endpoint passes its health check again");
            } else {
                counts.down.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%address, "the endpoint fails its health check and is left out");
            }
        }
        let jitter = 0.9 + 0.2 * fastrand::f64();
        tokio::time::sleep(check.interval.mul_f64(jitter)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicU16, AtomicUsize};

    use model::backend::Discovery;
    use model::policy::Probe;
    use model::{EndpointSet, Policy};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[derive(Default)]
    struct Server {
        status: AtomicU16,
        asked: AtomicUsize,
    }

    async fn serve() -> (SocketAddr, Arc<Server>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::new(Server::default());
        let served = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 512];
                let _ = stream.read(&mut request).await;
                served.asked.fetch_add(1, Ordering::Relaxed);
                let status = served.status.load(Ordering::Relaxed);
                let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (address, server)
    }

    fn backend(name: &str, endpoint: &Arc<Endpoint>, check: Option<Check>) -> Arc<Backend> {
        let policy = Policy {
            check,
            ..Policy::default()
        };
        let set = EndpointSet::new(vec![Arc::clone(endpoint).into()], Arc::new(policy));
        Arc::new(Backend::new(name, Discovery::Listed, set))
    }

    async fn wait(what: &str, until: impl Fn() -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while !until() {
            assert!(tokio::time::Instant::now() < deadline, "{what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn an_endpoint_is_out_while_its_check_fails_and_no_longer_than_it_is_checked() {
        let (address, server) = serve().await;
        let endpoint = Arc::new(Endpoint::new(address));
        let check = Check {
            probe: Probe::Http("/healthz".into()),
            interval: Duration::from_millis(10),
            timeout: Duration::from_secs(5),
            proxy_header: None,
        };
        let (sender, receiver) = watch::channel(vec![backend("a", &endpoint, Some(check.clone()))]);
        let counts = Arc::new(Counts::default());
        let trust = Arc::new(Trust::new(Vec::new()));
        tokio::spawn(run(receiver, Arc::clone(&counts), trust));
        let out = || endpoint.health.is_out(|| 1);
        for round in 0..2 {
            server.status.store(503, Ordering::Relaxed);
            wait("503 takes it out", out).await;
            server.status.store(204, Ordering::Relaxed);
            wait(&format!("204 brings it back ({round})"), || !out()).await;
        }
        server.status.store(500, Ordering::Relaxed);
        wait("500 takes it out", out).await;
        let down = || counts.down.load(Ordering::Relaxed);
        wait("it is counted", || down() == 1).await;
        // As with references by name and by number, and with another interval.
        let other = Check {
            interval: Duration::from_millis(5),
            ..check.clone()
        };
        let twice = ["a", "b"].map(|name| backend(name, &endpoint, Some(other.clone())));
        sender.send_replace(twice.to_vec());
        tokio::time::sleep(2 * LOOK).await;
        sender.send_replace(vec![backend("a", &endpoint, None)]);
        wait("without a check it is not out", || !out()).await;
        wait("nor counted", || down() == 0).await;
        // Once what was under way has ended; it was asked every few milliseconds.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let asked = server.asked.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(300)).await;
            if server.asked.load(Ordering::Relaxed) == asked {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "nor asked");
        }
        assert!(counts.passed.load(Ordering::Relaxed) > 0);
        assert!(counts.failed.load(Ordering::Relaxed) > 0);
    }
}
