//! Spreading connections over workers.
//!
//! The kernel spreads new connections over the workers' sockets by a hash of their addresses, which
//! is even for thousands of short ones and uneven for a few that last: four HTTP/2 or WebSocket
//! connections may all come to one worker. So a worker that accepts while it has many more than the
//! least loaded one hands the connection over to that one, once, before a byte of it is read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::Entrance;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::admission::Permit;
use crate::in_step::Released;

/// How many more connections than the least loaded worker one may have. Below that many of its own,
/// a worker does not look at the others. As many short connections as this vary by chance, and
/// handing them over would cost more than it gains.
const SLACK: usize = 8;

/// Connections that wait for one worker to take them.
const QUEUE: usize = 256;

/// A connection that one worker accepted for another.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) socket: std::net::TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) entrance: Entrance,
    pub(crate) permit: Permit,
    pub(crate) place: Place,
}

/// The workers' connections, and the ways to hand them over.
#[derive(Debug)]
pub(crate) struct Spread {
    workers: Box<[Arc<Load>]>,
    queues: Box<[mpsc::Sender<Accepted>]>,
}

/// One worker's part in it.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) spread: Arc<Spread>,
    /// Which of the workers it is.
    pub(crate) worker: usize,
    /// What has all workers serve a change at once.
    pub(crate) released: Released,
}

/// The open connections of one worker, on a cache line that the others seldom look at.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Load(AtomicUsize);

/// Counts a connection for a worker until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    /// Of its own, so that short connections of different workers share no counter.
    load: Arc<Load>,
    worker: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Share {
    /// A place for a connection that this worker has accepted, here or elsewhere.
    pub(crate) fn place(&self) -> Place {
        self.spread.place(self.worker)
    }

    /// A place here.
    pub(crate) fn place_here(&self) -> Place {
        self.spread.place_at(self.worker)
    }

    /// Whether a place is here.
    pub(crate) fn is_here(&self, place: &Place) -> bool {
        place.worker == self.worker
    }
}

impl Spread {
    /// For so many workers; with the queue of each.
    pub(crate) fn new(workers: usize) -> (Arc<Self>, Vec<mpsc::Receiver<Accepted>>) {
        let (senders, receivers): (Vec<_>, _) = (0..workers).map(|_| mpsc::channel(QUEUE)).unzip();
        let spread = Self {
            workers: (0..workers).map(|_| Arc::default()).collect(),
            queues: senders.into(),
        };
        (Arc::new(spread), receivers)
    }

    /// How many connections a worker has.
    fn load(&self, worker: usize) -> usize {
        self.workers[worker].0.load(Ordering::Relaxed)
    }

    /// How many connections each worker has.
    pub(crate) fn loads(&self) -> impl Iterator<Item = usize> {
        self.workers
            .iter()
            .map(|load| load.0.load(Ordering::Relaxed))
    }

    /// A place at the worker that should have the connection which `own` has accepted: its own,
    /// unless it has many more than another.
    fn place(&self, own: usize) -> Place {
        let load = self.load(own);
        let worker = match load {
            0..=SLACK => own,
            _ => self
                .least()
                .filter(|&(least, _)| load > most(least))
                .map_or(own, |(_, worker)| worker),
        };
        self.place_at(worker)
    }

    /// A place at this worker.
    fn place_at(&self, worker: usize) -> Place {
        let load = Arc::clone(&self.workers[worker]);
        load.0.fetch_add(1, Ordering::Relaxed);
        Place { load, worker }
    }

    /// Hands a connection over to the worker that it has a place at. It comes back if that one
    /// takes no more.
    pub(crate) fn hand_over(&self, accepted: Accepted) -> Result<(), Box<Accepted>> {
        let queue = &self.queues[accepted.place.worker];
        queue.try_send(accepted).map_err(|error| {
            let (TrySendError::Full(back) | TrySendError::Closed(back)) = error;
            Box::new(back)
        })
    }

    fn least(&self) -> Option<(usize, usize)> {
        self.loads().zip(0..).min()
    }
}

/// Above how many connections a worker hands new ones over, if the least loaded has `least`.
fn most(least: usize) -> usize {
    least + least / 8 + SLACK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_connections_stay_where_they_came() {
        let (spread, _queues) = Spread::new(4);
        let places: Vec<_> = (0..=SLACK).map(|_| spread.place(1)).collect();
        assert!(places.iter().all(|place| place.worker == 1));
        assert_eq!(spread.loads().collect::<Vec<_>>(), [0, 9, 0, 0]);
        drop(places);
        assert_eq!(spread.loads().sum::<usize>(), 0);
    }

    #[test]
    fn connections_that_all_come_to_one_worker_end_up_on_all() {
        for (workers, connections) in [(2, 40), (4, 200), (16, 1000), (3, 10_000)] {
            let (spread, _queues) = Spread::new(workers);
            let _places: Vec<_> = (0..connections).map(|_| spread.place(0)).collect();
            let loads: Vec<_> = spread.loads().collect();
            let (least, most_of_all) = (loads.iter().min(), loads.iter().max());
            let (least, most_of_all) = (*least.expect("some"), *most_of_all.expect("some"));
            assert!(most_of_all <= most(least) + 1, "{loads:?}");
            assert_eq!(loads.iter().sum::<usize>(), connections);
        }
    }

    #[test]
    fn a_worker_with_the_fewest_keeps_what_comes_to_it() {
        let (spread, _queues) = Spread::new(2);
        let _busy: Vec<_> = (0..100).map(|_| spread.place_at(0)).collect();
        assert_eq!(spread.place(1).worker, 1);
        assert_eq!(spread.place(0).worker, 1);
    }
}
