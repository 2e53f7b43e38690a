//! What is told of one request: a span of its own, and one for each attempt at an endpoint, with
//! attributes as OpenTelemetry names them (Semantic Conventions for HTTP, 1.x).

use std::net::SocketAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::context::{self, Context};
use super::otlp::{KIND_CLIENT, KIND_SERVER, KeyValue, STATUS_ERROR, Span, Status};
use crate::client::Connection;
use crate::exchange::Start;
use crate::headers::Headers;
use crate::record::{Reason, Record, Version};

/// The most bytes of a text that a client chose.
const MOST_TEXT: usize = 1024;

/// `Span.flags`: it is known whether the parent is somebody else's …
const KNOWS_PARENT: u32 = 0x100;
/// … and it is.
const FOREIGN_PARENT: u32 = 0x200;

/// What is noted of a request whose trace is told.
#[derive(Debug)]
pub(crate) struct Trace {
    context: Context,
    /// The client's span.
    parent: Option<u64>,
    state: Option<Vec<u8>>,
    attempts: Vec<Attempt>,
}

/// One attempt at an endpoint.
#[derive(Debug)]
struct Attempt {
    span: u64,
    endpoint: SocketAddr,
    begun: Instant,
    /// When it failed, where another followed, and why.
    failed: Option<(Instant, Reason)>,
}

/// What is known of an exchange at its end.
pub(crate) struct Ended<'a> {
    pub(crate) record: &'a Record<'a>,
    pub(crate) connection: &'a Connection,
    pub(crate) start: Start,
    /// The path of the rule, as it is written.
    pub(crate) path: Option<&'a str>,
    /// What the rule calls the span.
    pub(crate) operation: Option<Vec<u8>>,
    /// Whether the backend speaks TLS.
    pub(crate) secure_backend: bool,
}

/// A number that no other span has.
pub(super) fn id() -> u64 {
    fastrand::u64(1..)
}

impl Trace {
    pub(super) fn new(context: Context, parent: Option<u64>, state: Option<Vec<u8>>) -> Self {
        Self {
            context,
            parent,
            state,
            attempts: Vec::new(),
        }
    }

    /// Begins an attempt at an endpoint, which is told that it is in this attempt: by the head as
    /// it was written, and by the fields of which others are made.
    pub(crate) fn attempt(&mut self, endpoint: SocketAddr, head: &mut [u8], headers: &mut Headers) {
        let last = self.attempts.last().map_or(self.context.span, |it| it.span);
        let span = id();
        let told = self.within(last).text();
        let tell = self.within(span).text();
        // Nobody else knows our span's number, and could have put it elsewhere.
        if let Some(at) = memchr::memmem::find(head, &told) {
            head[at..at + tell.len()].copy_from_slice(&tell);
        }
        headers.remove_named(context::PARENT);
        headers.push(context::PARENT, &tell);
        self.attempts.push(Attempt {
            span,
            endpoint,
            begun: Instant::now(),
            failed: None,
        });
    }

    /// The last attempt has failed, and is perhaps not the last.
    pub(crate) fn failed(&mut self, reason: Reason) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.failed = Some((Instant::now(), reason));
        }
    }

    fn within(&self, span: u64) -> Context {
        Context {
            span,
            ..self.context
        }
    }

    /// What is told.
    pub(super) fn spans(mut self, ended: &Ended<'_>) -> Vec<Span> {
        let attempts = std::mem::take(&mut self.attempts);
        let mut spans = Vec::with_capacity(1 + attempts.len());
        let count = attempts.len();
        for (index, attempt) in attempts.into_iter().enumerate() {
            spans.push(self.asked(ended, &attempt, index, index + 1 == count));
        }
        spans.push(self.served(ended));
        spans
    }

    /// The request, as its client made it.
    fn served(&self, ended: &Ended<'_>) -> Span {
        let Ended {
            record, connection, ..
        } = ended;
        let method = method(record.method);
        let mut attributes = Vec::with_capacity(18);
        attributes.push(KeyValue::text("http.request.method", method));
        if method == OTHER {
            let original = text(record.method);
            attributes.push(KeyValue::text("http.request.method_original", original));
        }
        let scheme = if record.tls.is_some() {
            "https"
        } else {
            "http"
        };
        attributes.push(KeyValue::text("url.scheme", scheme));
        let (path, query) = split(record.target);
        attributes.push(KeyValue::text("url.path", text(path)));
        if !query.is_empty() {
            attributes.push(KeyValue::text("url.query", text(query)));
        }
        let host = record.host;
        // The port follows the last colon, unless that is within the brackets of an IPv6 address.
        let end = memchr::memrchr(b':', host).filter(|&at| !host[at..].contains(&b']'));
        let host = &host[..end.unwrap_or(host.len())];
        if !host.is_empty() {
            attributes.push(KeyValue::text("server.address", text(host)));
            let port = i64::from(connection.public_port);
            attributes.push(KeyValue::number("server.port", port));
        }
        if let Some(path) = ended.path {
            attributes.push(KeyValue::text("http.route", path));
        }
        attributes.push(KeyValue::text("client.address", record.client.to_string()));
        let peer = connection.peer;
        attributes.push(KeyValue::text(
            "network.peer.address",
            peer.ip().to_string(),
        ));
        attributes.push(KeyValue::number("network.peer.port", peer.port().into()));
        let version = match record.version {
            Version::Http10 => "1.0",
            Version::Http2 => "2",
            Version::Http11 | Version::Tcp | Version::Udp => "1.1",
        };
        attributes.push(KeyValue::text("network.protocol.version", version));
        if !record.user_agent.is_empty() {
            let agent = text(record.user_agent);
            attributes.push(KeyValue::text("user_agent.original", agent));
        }
        if !record.request_id.is_empty() {
            attributes.push(KeyValue::text(
                "narthex.request_id",
                text(record.request_id),
            ));
        }
        if !record.route.is_empty() {
            attributes.push(KeyValue::text("narthex.route", record.route));
        }
        let failed = outcome(record.status, record.reason, 500, &mut attributes);
        let name = match &ended.operation {
            Some(name) if !name.is_empty() => text(name),
            _ => match ended.path {
                Some(path) => format!("{} {path}", named(method)),
                None => named(method).to_owned(),
            },
        };
        let foreign = match self.parent {
            Some(_) => FOREIGN_PARENT,
            None => 0,
        };
        Span {
            name,
            kind: KIND_SERVER,
            start_time_unix_nano: nanos(record.start),
            end_time_unix_nano: nanos(record.start + record.duration),
            attributes,
            status: failed,
            flags: 1 | KNOWS_PARENT | foreign,
            ..self.span(self.context.span, self.parent)
        }
    }

    /// An attempt at an endpoint.
    fn asked(&self, ended: &Ended<'_>, attempt: &Attempt, index: usize, last: bool) -> Span {
        let Ended { record, start, .. } = ended;
        let time = |at: Instant| start.time + at.saturating_duration_since(start.clock);
        let method = method(record.method);
        let endpoint = attempt.endpoint;
        let scheme = if ended.secure_backend {
            "https"
        } else {
            "http"
        };
        let mut attributes = vec![
            KeyValue::text("http.request.method", method),
            KeyValue::text("server.address", endpoint.ip().to_string()),
            KeyValue::number("server.port", endpoint.port().into()),
            KeyValue::text(
                "url.full",
                format!("{scheme}://{endpoint}{}", text(record.target)),
            ),
        ];
        if !record.backend.is_empty() {
            attributes.push(KeyValue::text("narthex.backend", record.backend));
        }
        if index > 0 {
            let again = i64::try_from(index).unwrap_or(i64::MAX);
            attributes.push(KeyValue::number("http.request.resend_count", again));
        }
        let (end, status, reason) = match attempt.failed {
            Some((at, Reason::UpstreamStatus(status) | Reason::ErrorPage(status))) => {
                (time(at), status, None)
            }
            Some((at, reason)) => (time(at), 0, Some(reason)),
            None if last => {
                let end = record.start + record.duration;
                (end, record.status, record.reason)
            }
            None => (record.start + record.duration, 0, None),
        };
        let failed = outcome(status, reason, 400, &mut attributes);
        Span {
            name: named(method).to_owned(),
            kind: KIND_CLIENT,
            start_time_unix_nano: nanos(time(attempt.begun)),
            end_time_unix_nano: nanos(end),
            attributes,
            status: failed,
            flags: 1 | KNOWS_PARENT,
            ..self.span(attempt.span, Some(self.context.span))
        }
    }

    fn span(&self, span: u64, parent: Option<u64>) -> Span {
        let state = self.state.as_deref().unwrap_or_default();
        Span {
            trace_id: self.context.trace.to_be_bytes().into(),
            span_id: span.to_be_bytes().into(),
            parent_span_id: parent.map_or_else(Vec::new, |parent| parent.to_be_bytes().into()),
            trace_state: String::from_utf8_lossy(state).into_owned(),
            ..Span::default()
        }
    }
}

/// Tells status and error, where there are any. Statuses from `wrong` on are errors.
fn outcome(
    status: u16,
    reason: Option<Reason>,
    wrong: u16,
    attributes: &mut Vec<KeyValue>,
) -> Option<Status> {
    if status > 0 {
        attributes.push(KeyValue::number("http.response.status_code", status.into()));
    }
    // An answer of ours is an error only where its status is one.
    let failed = match (status, reason) {
        (0, Some(reason)) => reason.as_str().to_owned(),
        (status, Some(reason)) if status >= wrong => reason.as_str().to_owned(),
        (status, None) if status >= wrong => status.to_string(),
        _ => return None,
    };
    attributes.push(KeyValue::text("error.type", failed));
    Some(Status {
        message: String::new(),
        code: STATUS_ERROR,
    })
}

/// What stands for methods that few know, so that there are not too many names.
const OTHER: &str = "_OTHER";

fn method(method: &[u8]) -> &'static str {
    const KNOWN: [&str; 10] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY",
    ];
    let mut known = KNOWN.into_iter();
    known
        .find(|known| known.as_bytes() == method)
        .unwrap_or(OTHER)
}

/// A method in a span's name.
fn named(method: &'static str) -> &'static str {
    match method {
        OTHER => "HTTP",
        known => known,
    }
}

fn split(target: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, b""),
    }
}

fn text(bytes: &[u8]) -> String {
    let bytes = bytes.get(..MOST_TEXT).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).into_owned()
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
