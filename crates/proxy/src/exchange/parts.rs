//! What an exchange works with, and what is known of it so far.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use crate::client::Connection;
use crate::headers::{Headers, RequestHead, ResponseHead};
use crate::record::Reason;
use crate::timer::{Elapsed, Timer};
use crate::worker::Worker;

/// When a request's first byte was read, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    pub(crate) clock: Instant,
    pub(crate) time: SystemTime,
}

/// What an exchange works with.
pub(crate) struct Parts<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) connection: &'a Connection,
    pub(crate) start: Start,
    pub(crate) timer: &'a mut Timer,
    pub(crate) request: &'a mut RequestHead,
    pub(crate) response: &'a mut ResponseHead,
    /// What is written to the backend: the head, made once for all attempts.
    pub(crate) upstream_out: &'a mut Vec<u8>,
    /// The protocol that the client wants the connection to change to.
    pub(crate) tunnel: Option<Vec<u8>>,
}

/// What is known of the exchange so far. Both directions write it.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) status: Cell<u16>,
    pub(crate) attempts: Cell<u8>,
    pub(crate) endpoint: Cell<Option<SocketAddr>>,
    pub(crate) upstream: Cell<Option<Duration>>,
    pub(crate) bytes_in: Cell<u64>,
    pub(crate) bytes_out: Cell<u64>,
    pub(super) client: Cell<Option<IpAddr>>,
    pub(super) host_slot: Cell<u16>,
    /// The Set-Cookie field that keeps the client with its endpoint.
    pub(super) set_cookie: RefCell<Option<Vec<u8>>>,
    /// The request's body has been read to its end.
    pub(crate) body_done: Cell<bool>,
    /// An interim response (1xx) has gone to the client.
    pub(super) interim: Cell<bool>,
    /// When the request had been written to the backend to its end.
    pub(super) sent_at: Cell<Option<Instant>>,
}

impl Facts {
    /// Has the response keep the client with its endpoint.
    pub(super) fn add_cookie(&self, headers: &mut Headers) {
        if let Some(cookie) = self.set_cookie.take() {
            headers.push(b"Set-Cookie", &cookie);
        }
    }

    /// Whether any of a backend's response has gone to the client.
    pub(super) fn is_answering(&self) -> bool {
        self.interim.get() || self.status.get() != 0
    }

    pub(crate) fn add(counter: &Cell<u64>, count: usize) {
        counter.set(counter.get() + count as u64);
    }
}

/// The reason for a time limit that has passed.
pub(crate) fn late(elapsed: Elapsed, operation: Reason) -> Reason {
    match elapsed {
        Elapsed::Operation => operation,
        Elapsed::Total => Reason::RequestTimeout,
    }
}
