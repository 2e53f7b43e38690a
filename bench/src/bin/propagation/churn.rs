//! Endpoints that change all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::Error;
use crate::api::Api;
use crate::objects::{collection, endpoints, name};

/// Requests under way at a time: one that is slow must not slow the others.
const AT_ONCE: usize = 8;

/// Endpoints that change until it is ended.
pub(crate) struct Churn {
    begun: Instant,
    ends: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Result<(), Error>>>,
}

impl Churn {
    /// One endpoint of another route changes `per_second` times a second.
    pub(crate) fn start(api: Api, routes: usize, per_second: u32) -> Self {
        let (ends, count) = (Arc::default(), Arc::default());
        let every =
            Duration::from_secs(1) * u32::try_from(AT_ONCE).unwrap_or(1) / per_second.max(1);
        let tasks = (0..AT_ONCE).map(|_| {
            let (api, ends, count) = (api.clone(), Arc::clone(&ends), Arc::clone(&count));
            tokio::spawn(change(api, routes, every, ends, count))
        });
        Self {
            begun: Instant::now(),
            tasks: tasks.collect(),
            ends,
            count,
        }
    }

    /// How many changes a second it came to.
    pub(crate) async fn end(self) -> Result<f64, Error> {
        let took = self.begun.elapsed();
        let count = self.count.load(Ordering::Relaxed);
        self.ends.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.map_err(|error| error.to_string())??;
        }
        Ok(count as f64 / took.as_secs_f64())
    }
}

async fn change(
    api: Api,
    routes: usize,
    every: Duration,
    ends: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
) -> Result<(), Error> {
    tokio::time::sleep(every.mul_f64(fastrand::f64())).await;
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while !ends.load(Ordering::Relaxed) {
        ticks.tick().await;
        let turn = count.fetch_add(1, Ordering::Relaxed) + 1;
        // A prime, so that all routes have their turn; another endpoint whenever they have it again.
        let route = turn * 7_919 % routes;
        let path = format!("{}/{}-x7k2p", collection("EndpointSlice"), name(route));
        let change = json!({"endpoints": endpoints(route, 1 + turn / routes)});
        api.patch(&path, &change).await?;
    }
    Ok(())
}
