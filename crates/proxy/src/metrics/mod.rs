//! What the data plane counts.
//!
//! Each worker counts for itself, with plain loads and stores of atomics that no other thread
//! writes: no locked instruction, no cache line that two cores fight for, no hash table on the
//! request's way. [`Metrics`] adds the workers up when somebody scrapes.

mod by_ingress;
mod collect;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use model::Unavailable;
use model::path::PathError;

pub(crate) use by_ingress::{All, ByIngress};
pub use collect::Connections;
pub(crate) use collect::Metrics;

use crate::record::{Reason, Record, Version};
use crate::upstream::tls::TlsFault;

/// Listeners that have series of their own; the rest share the last one's.
const LISTENERS: usize = 16;
/// Virtual hosts that have counters of their own; the rest share slot 0.
const HOSTS: usize = 1024;
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "other",
];
const FIRST_STATUS: usize = 100;
const LAST_STATUS: usize = 599;
/// Every status there is, and one place for what is none.
const STATUSES: usize = LAST_STATUS - FIRST_STATUS + 2;
/// The classes 1xx to 5xx, after one place for what is none.
const CLASSES: usize = 6;
/// Upper bounds of the histograms' buckets, in microseconds: those of ingress-nginx, and 1 ms.
const BOUNDS: [u64; 12] = [
    1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];
const REASONS: usize = 64;
/// What [`Refused`] counts, by its discriminant.
const REFUSALS: [&str; 2] = ["connections", "connections_per_client"];

/// Why a client's connection was closed as soon as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// As many as there may be in all.
    Connections,
    /// As many as one client may have.
    ConnectionsPerClient,
}

/// A counter that one thread writes and others read.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, n: u64) {
        // Not `fetch_add`: with one writer nothing can come in between, and a locked instruction
        // costs twenty times as much.
        let value = self.0.load(Ordering::Relaxed);
        self.0.store(value.wrapping_add(n), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one worker counts. Only that worker's thread calls the methods that count: a second thread
/// would do no harm but to lose counts.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct WorkerMetrics {
    listeners: [Listener; LISTENERS],
    hosts: Box<[[Counter; CLASSES]]>,
    upstream_duration: Histogram,
    request_bytes: Counter,
    response_bytes: Counter,
    errors: [Counter; REASONS],
    refused: [Counter; REFUSALS.len()],
    handshake_failures: Counter,
    http2_abuse: Counter,
    accept_errors: Counter,
    upstream_new: Counter,
    upstream_reused: Counter,
    upstream_failed: Counter,
    retries: Counter,
    retries_refused: Counter,
    ejections: Counter,
    mirrored: Counter,
    mirrors_refused: Counter,
    streams: Counter,
    sessions: Counter,
}

/// What is counted for each port.
#[derive(Debug, Default)]
struct Listener {
    /// 0 as long as the place is free.
    port: AtomicU32,
    opened: Counter,
    closed: Counter,
    duration: Histogram,
    /// By method, then by status. Allocated with a method's first request: 4 KB each.
    responses: [OnceLock<Box<[Counter; STATUSES]>>; METHODS.len()],
}

#[derive(Debug, Default)]
struct Histogram {
    /// One for each of [`BOUNDS`], and one for what is above all.
    buckets: [Counter; BOUNDS.len() + 1],
    sum_micros: Counter,
}

impl Histogram {
    fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|&bound| bound < micros);
        self.buckets[bucket].add(1);
        self.sum_micros.add(micros);
    }
}

impl WorkerMetrics {
    /// Counters of a new worker.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            listeners: Default::default(),
            hosts: std::iter::repeat_with(Default::default)
                .take(HOSTS)
                .collect(),
            upstream_duration: Histogram::default(),
            request_bytes: Counter::default(),
            response_bytes: Counter::default(),
            errors: [const { Counter(AtomicU64::new(0)) }; REASONS],
            refused: Default::default(),
            handshake_failures: Counter::default(),
            http2_abuse: Counter::default(),
            accept_errors: Counter::default(),
            upstream_new: Counter::default(),
            upstream_reused: Counter::default(),
            upstream_failed: Counter::default(),
            retries: Counter::default(),
            retries_refused: Counter::default(),
            ejections: Counter::default(),
            mirrored: Counter::default(),
            mirrors_refused: Counter::default(),
            streams: Counter::default(),
            sessions: Counter::default(),
        })
    }

    /// Counts an exchange that has ended.
    pub(crate) fn exchange(&self, record: &Record<'_>) {
        let listener = self.listener(record.port);
        listener.duration.observe(record.duration);
        listener.responses[method_index(record.method)]
            .get_or_init(|| Box::new([const { Counter(AtomicU64::new(0)) }; STATUSES]))
            [status_index(record.status)]
        .add(1);
        let host = self
            .hosts
            .get(usize::from(record.host_slot))
            .unwrap_or(&self.hosts[0]);
        host[class_index(record.status)].add(1);
        if let Some(upstream) = record.upstream {
            self.upstream_duration.observe(upstream);
        }
        self.request_bytes.add(record.bytes_in);
        self.response_bytes.add(record.bytes_out);
        if let Some(reason) = record.reason {
            self.errors[reason_index(reason)].add(1);
        }
    }

    /// Counts what was passed on byte for byte and has ended.
    pub(crate) fn stream(&self, record: &Record<'_>) {
        match record.version {
            Version::Udp => self.sessions.add(1),
            _ => self.streams.add(1),
        }
        self.request_bytes.add(record.bytes_in);
        self.response_bytes.add(record.bytes_out);
        if let Some(reason) = record.reason {
            self.errors[reason_index(reason)].add(1);
        }
    }

    /// Counts a datagram that nobody got.
    pub(crate) fn datagram_dropped(&self, reason: Reason) {
        self.errors[reason_index(reason)].add(1);
    }

    /// Counts a copy of a request.
    pub(crate) fn mirrored(&self) {
        self.mirrored.add(1);
    }

    /// Counts a copy that was not made, for want of room.
    pub(crate) fn mirror_refused(&self) {
        self.mirrors_refused.add(1);
    }

    /// Counts a connection that a client opened to a listener's configured port.
    pub(crate) fn connection_opened(&self, port: u16) {
        self.listener(port).opened.add(1);
    }

    /// Counts the end of a connection that was counted as opened, on this worker or another.
    pub(crate) fn connection_closed(&self, port: u16) {
        self.listener(port).closed.add(1);
    }

    /// Counts a connection that was closed as soon as it came.
    pub(crate) fn connection_refused(&self, why: Refused) {
        self.refused[why as usize].add(1);
    }

    /// Counts a TLS handshake that failed.
    pub(crate) fn handshake_failed(&self) {
        self.handshake_failures.add(1);
    }

    /// Counts an HTTP/2 connection that was ended because of what its client did.
    pub(crate) fn http2_abuse(&self) {
        self.http2_abuse.add(1);
    }

    /// Counts an error of `accept`.
    pub(crate) fn accept_error(&self) {
        self.accept_errors.add(1);
    }

    /// Counts the use of a connection to an endpoint, a new one or one that was kept.
    pub(crate) fn upstream_used(&self, reused: bool) {
        if reused {
            self.upstream_reused.add(1);
        } else {
            self.upstream_new.add(1);
        }
    }

    /// Counts a connection to an endpoint that could not be made.
    pub(crate) fn upstream_connect_failed(&self) {
        self.upstream_failed.add(1);
    }

    /// Counts a request that was sent again.
    pub(crate) fn retried(&self) {
        self.retries.add(1);
    }

    /// Counts a request that could have been sent again, were the budget not spent.
    pub(crate) fn retry_refused(&self) {
        self.retries_refused.add(1);
    }

    /// Counts an endpoint that failures took out for a while.
    pub(crate) fn endpoint_ejected(&self) {
        self.ejections.add(1);
    }

    fn listener(&self, port: u16) -> &Listener {
        let port = u32::from(port);
        for listener in &self.listeners[..LISTENERS - 1] {
            let taken_by = listener.port.load(Ordering::Relaxed);
            if taken_by == port {
                return listener;
            }
            if taken_by == 0 {
                listener.port.store(port, Ordering::Relaxed);
                return listener;
            }
        }
        &self.listeners[LISTENERS - 1]
    }
}

fn method_index(method: &[u8]) -> usize {
    match method {
        b"GET" => 0,
        b"HEAD" => 1,
        b"POST" => 2,
        b"PUT" => 3,
        b"PATCH" => 4,
        b"DELETE" => 5,
        b"OPTIONS" => 6,
        b"CONNECT" => 7,
        b"TRACE" => 8,
        _ => 9,
    }
}

fn status_index(status: u16) -> usize {
    match usize::from(status) {
        status @ FIRST_STATUS..=LAST_STATUS => status - FIRST_STATUS,
        _ => STATUSES - 1,
    }
}

fn class_index(status: u16) -> usize {
    match usize::from(status) {
        status @ FIRST_STATUS..=LAST_STATUS => status / 100,
        _ => 0,
    }
}

/// A match and no table, so that the compiler asks for each new reason's place.
fn reason_index(reason: Reason) -> usize {
    match reason {
        Reason::NoRoute => 0,
        Reason::Unavailable(Unavailable::NoService) => 1,
        Reason::Unavailable(Unavailable::NoPort) => 2,
        Reason::Unavailable(Unavailable::NoEndpoints) => 3,
        Reason::Unavailable(Unavailable::NoReadyEndpoints) => 4,
        Reason::Unavailable(Unavailable::Unresolved) => 5,
        Reason::Unavailable(Unavailable::ForbiddenAddress) => 6,
        Reason::ConnectFailed => 7,
        Reason::ConnectTimeout => 8,
        Reason::ResponseTimeout => 9,
        Reason::RequestTimeout => 10,
        Reason::UpstreamClosed => 11,
        Reason::UpstreamProtocol => 12,
        Reason::UpstreamTruncated => 13,
        Reason::BadRequest => 14,
        Reason::BadPath(PathError::NotAbsolute) => 15,
        Reason::BadPath(PathError::ForbiddenByte) => 16,
        Reason::BadPath(PathError::BadEscape) => 17,
        Reason::BadPath(PathError::Nul) => 18,
        Reason::BadPath(PathError::EncodedTraversal) => 19,
        Reason::BadPath(PathError::AboveRoot) => 20,
        Reason::AmbiguousPath => 21,
        Reason::BadHost => 22,
        Reason::HeaderTooLarge => 23,
        Reason::UriTooLong => 24,
        Reason::BodyTooLarge => 25,
        Reason::HeaderTimeout => 26,
        Reason::BodyTimeout => 27,
        Reason::Expectation => 28,
        Reason::Method => 29,
        Reason::Misdirected => 30,
        Reason::HttpsRedirect => 31,
        Reason::ClientClosed => 32,
        Reason::ClientWriteTimeout => 33,
        Reason::Overloaded => 34,
        Reason::UpstreamBusy => 35,
        Reason::UpstreamTls(TlsFault::Handshake) => 36,
        Reason::UpstreamTls(TlsFault::Expired) => 37,
        Reason::UpstreamTls(TlsFault::Name) => 38,
        Reason::UpstreamTls(TlsFault::Issuer) => 39,
        Reason::UpstreamTls(TlsFault::Certificate) => 40,
        Reason::UpstreamReset => 41,
        Reason::UpstreamUpgrade => 42,
        Reason::Redirect => 43,
        Reason::CorsPreflight => 44,
        Reason::AuthDenied => 45,
        Reason::AuthFailed => 46,
        Reason::InvalidBackend => 47,
        Reason::UpstreamStatus(_) => 48,
        Reason::IdleTimeout => 49,
        Reason::Draining => 50,
        Reason::RetryBudget => 51,
        Reason::ClientCertificateMissing => 52,
        Reason::ClientCertificateInvalid => 53,
        Reason::ClientCertificateDenied => 54,
        Reason::AcmeChallenge => 55,
        Reason::Unguarded => 56,
        Reason::RequestLimit => 57,
        Reason::ConnectionLimit => 58,
        Reason::AddressDenied => 59,
        Reason::PasswordRequired => 60,
        Reason::ErrorPage(_) => 61,
        Reason::Returned => 62,
        Reason::Blocked => 63,
    }
}

/// The reasons in the order of [`reason_index`].
const REASON_ORDER: [Reason; REASONS] = [
    Reason::NoRoute,
    Reason::Unavailable(Unavailable::NoService),
    Reason::Unavailable(Unavailable::NoPort),
    Reason::Unavailable(Unavailable::NoEndpoints),
    Reason::Unavailable(Unavailable::NoReadyEndpoints),
    Reason::Unavailable(Unavailable::Unresolved),
    Reason::Unavailable(Unavailable::ForbiddenAddress),
    Reason::ConnectFailed,
    Reason::ConnectTimeout,
    Reason::ResponseTimeout,
    Reason::RequestTimeout,
    Reason::UpstreamClosed,
    Reason::UpstreamProtocol,
    Reason::UpstreamTruncated,
    Reason::BadRequest,
    Reason::BadPath(PathError::NotAbsolute),
    Reason::BadPath(PathError::ForbiddenByte),
    Reason::BadPath(PathError::BadEscape),
    Reason::BadPath(PathError::Nul),
    Reason::BadPath(PathError::EncodedTraversal),
    Reason::BadPath(PathError::AboveRoot),
    Reason::AmbiguousPath,
    Reason::BadHost,
    Reason::HeaderTooLarge,
    Reason::UriTooLong,
    Reason::BodyTooLarge,
    Reason::HeaderTimeout,
    Reason::BodyTimeout,
    Reason::Expectation,
    Reason::Method,
    Reason::Misdirected,
    Reason::HttpsRedirect,
    Reason::ClientClosed,
    Reason::ClientWriteTimeout,
    Reason::Overloaded,
    Reason::UpstreamBusy,
    Reason::UpstreamTls(TlsFault::Handshake),
    Reason::UpstreamTls(TlsFault::Expired),
    Reason::UpstreamTls(TlsFault::Name),
    Reason::UpstreamTls(TlsFault::Issuer),
    Reason::UpstreamTls(TlsFault::Certificate),
    Reason::UpstreamReset,
    Reason::UpstreamUpgrade,
    Reason::Redirect,
    Reason::CorsPreflight,
    Reason::AuthDenied,
    Reason::AuthFailed,
    Reason::InvalidBackend,
    Reason::UpstreamStatus(0),
    Reason::IdleTimeout,
    Reason::Draining,
    Reason::RetryBudget,
    Reason::ClientCertificateMissing,
    Reason::ClientCertificateInvalid,
    Reason::ClientCertificateDenied,
    Reason::AcmeChallenge,
    Reason::Unguarded,
    Reason::RequestLimit,
    Reason::ConnectionLimit,
    Reason::AddressDenied,
    Reason::PasswordRequired,
    Reason::ErrorPage(0),
    Reason::Returned,
    Reason::Blocked,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_place_of_its_own() {
        for (index, reason) in REASON_ORDER.into_iter().enumerate() {
            assert_eq!(reason_index(reason), index, "{reason:?}");
        }
    }

    #[test]
    fn every_refusal_has_its_word() {
        assert_eq!(REFUSALS[Refused::Connections as usize], "connections");
        assert_eq!(
            REFUSALS[Refused::ConnectionsPerClient as usize],
            "connections_per_client"
        );
    }

    #[test]
    fn methods_and_statuses_that_are_none_share_a_place() {
        for (index, method) in METHODS.iter().enumerate() {
            assert_eq!(method_index(method.as_bytes()), index);
        }
        assert_eq!(METHODS[method_index(b"get")], "other");
        for status in [0, 99, 600, 999, u16::MAX] {
            assert_eq!(status_index(status), STATUSES - 1);
            assert_eq!(class_index(status), 0);
        }
        assert_eq!(status_index(100), 0);
        assert_eq!(status_index(599), STATUSES - 2);
        assert_eq!(class_index(404), 4);
    }

    #[test]
    fn a_worker_with_two_listeners_takes_less_than_200_kb() {
        let fixed = size_of::<WorkerMetrics>() + HOSTS * size_of::<[Counter; CLASSES]>();
        let responses = 2 * METHODS.len() * size_of::<[Counter; STATUSES]>();
        assert!(fixed + responses < 200_000, "{fixed} + {responses}");
    }
}
