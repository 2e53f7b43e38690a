//! Steady requests while something changes, counting every one.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::http1::{Conn, Response};
use crate::wait;

/// Clients that ask one after another on kept connections, as browsers and load balancers do.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// A refused connection ends the client instead of failing: the program is to go away.
    refusal_ends: AtomicBool,
    good: AtomicU64,
    failures: Mutex<Vec<String>>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub good: u64,
    pub failures: Vec<String>,
}

impl Load {
    /// `clients` connections asking for `host` and `path`; an answer is good if `accept` says so.
    pub fn start(
        port: u16,
        clients: usize,
        host: &str,
        path: &str,
        accept: fn(&Response) -> bool,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let threads = (0..clients)
            .map(|_| {
                let (shared, request) = (Arc::clone(&shared), request.clone());
                std::thread::spawn(move || shared.ask(port, &request, accept))
            })
            .collect();
        Self { shared, threads }
    }

    pub fn good(&self) -> u64 {
        self.shared.good.load(Ordering::Relaxed)
    }

    /// How many requests failed so far.
    pub fn failures(&self) -> usize {
        self.shared.lock().len()
    }

    /// Waits until `more` further requests were answered well.
    #[track_caller]
    pub fn until_more(&self, more: u64) {
        let goal = self.good() + more;
        wait::until("the load goes on", || {
            self.good() >= goal || !self.shared.lock().is_empty()
        });
    }

    /// From now on a refused connection ends a client and is no failure.
    pub fn expect_refusal(&self) {
        self.shared.refusal_ends.store(true, Ordering::SeqCst);
    }

    /// Stops all clients.
    pub fn stop(self) -> Outcome {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.join()
    }

    /// Waits until all clients ended by refusal.
    pub fn join(self) -> Outcome {
        for thread in self.threads {
            thread.join().expect("a client thread");
        }
        let failures = self.shared.lock().clone();
        Outcome {
            good: self.shared.good.load(Ordering::Relaxed),
            failures,
        }
    }
}

impl Shared {
    fn ask(&self, port: u16, request: &str, accept: fn(&Response) -> bool) {
        let mut kept: Option<Conn> = None;
        while !self.stop.load(Ordering::SeqCst) {
            let place = if kept.is_some() { "a kept" } else { "a new" };
            let mut conn = match kept.take() {
                Some(conn) => conn,
                None => match Conn::to(SocketAddr::from(([127, 0, 0, 1], port))) {
                    Ok(conn) => conn,
                    Err(_) if self.refusal_ends.load(Ordering::SeqCst) => return,
                    Err(error) => {
                        self.fail(format!("connect: {error}"));
                        continue;
                    }
                },
            };
            let answer = conn
                .write_all(request.as_bytes())
                .and_then(|()| conn.try_response(false));
            match answer {
                Ok(response) if accept(&response) => {
                    self.good.fetch_add(1, Ordering::Relaxed);
                    let closes = response
                        .header("connection")
                        .is_some_and(|value| value == "close");
                    kept = (!closes).then_some(conn);
                }
                Ok(response) => {
                    self.fail(format!("answer: {} {}", response.status, response.text()));
                }
                Err(error) => self.fail(format!("on {place} connection: {error}")),
            }
        }
    }

    fn fail(&self, what: String) {
        self.lock().push(what);
        // A broken product must not fill the memory with its failures.
        std::thread::sleep(Duration::from_millis(20));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outcome {
    /// Every request was answered well, and there were some.
    #[track_caller]
    pub fn assert_perfect(&self) {
        let first: Vec<_> = self.failures.iter().take(5).collect();
        assert!(
            self.failures.is_empty(),
            "{} failed of {}: {first:?}",
            self.failures.len(),
            self.good
        );
        assert!(self.good > 0, "no request was made");
    }
}
