//! A request's way, from its head to its line in the log. [`run`] names the phases in order.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use model::{Action, Filter, HostName, HttpsRedirect, NormalPath, Rule, Selection};

use crate::client::{Connection, Length, RequestBody, ResponseSink};
use crate::forward;
use crate::forwarded::{self, Client};
use crate::headers::{Name, RequestHead, ResponseHead, list, write_field};
use crate::record::{Reason, Record, Version};
use crate::respond;
use crate::timer::{Elapsed, Timer};
use crate::worker::{HeldRule, Worker};

/// Memory for one exchange, used again by the next.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) request: RequestHead,
    pub(crate) response: ResponseHead,
    pub(crate) upstream_out: Vec<u8>,
    pub(crate) client_out: Vec<u8>,
}

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
    client: Cell<Option<IpAddr>>,
    host_slot: Cell<u16>,
    /// The request's body has been read to its end.
    pub(crate) body_done: Cell<bool>,
}

impl Facts {
    pub(crate) fn add(counter: &Cell<u64>, count: usize) {
        counter.set(counter.get() + count as u64);
    }
}

/// What routing decided.
struct Routed {
    rule: Rc<HeldRule>,
    redirect: Option<Vec<u8>>,
}

/// Answers one request. True if the response went out whole.
pub(crate) async fn run<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &mut B,
    sink: &mut S,
) -> bool {
    let facts = Facts::default();
    facts.body_done.set(body.is_done());
    parts.timer.total = None;
    let mut rule = None;
    let mut redirect = None;
    let result = match prepare(parts, body, &facts) {
        Ok(routed) => {
            let held = rule.insert(routed.rule);
            redirect = routed.redirect;
            match (&redirect, &held.rule().action) {
                (Some(_), _) => Err(Reason::HttpsRedirect),
                (None, Action::NotFound) => Err(Reason::NoRoute),
                (None, Action::Forward(backend)) => {
                    forward::forward(parts, body, sink, &facts, held.rule(), backend).await
                }
            }
        }
        Err(reason) => Err(reason),
    };
    let (whole, reason) = match result {
        Ok(()) => (true, None),
        Err(reason) if sink.is_begun() || reason == Reason::ClientClosed => {
            sink.abort();
            (false, Some(reason))
        }
        Err(reason) => (answer(parts, body, sink, &facts, reason, redirect).await, Some(reason)),
    };
    record(parts, &facts, rule.as_ref().map(|held| held.rule()), reason);
    whole
}

/// The phases before anything is sent: client, host, path, route, filters, limits. Leaves the
/// head for the backend in `upstream_out`.
fn prepare<B: RequestBody>(parts: &mut Parts<'_>, body: &B, facts: &Facts) -> Result<Routed, Reason> {
    let Parts { worker, connection, request, .. } = parts;
    if parts.tunnel.is_none() && body.length() == Length::Absent {
        parts.tunnel = wanted_upgrade(request);
    }
    let trailers = request.headers.get_all(Name::Te).flat_map(list).any(|te| te.eq_ignore_ascii_case(b"trailers"));
    // First, so that Connection cannot name what we are about to say.
    request.headers.remove_hop_by_hop();
    let client = forwarded::apply(request, connection, &worker.settings.trusted_proxies);
    facts.client.set(Some(client.address));
    check_method(request, parts.tunnel.is_some())?;
    check_expectation(request, body.length())?;

    let view = worker.view();
    let listener = view.snapshot.listener(connection.port).ok_or(Reason::NoRoute)?;
    let host = read_host(request)?;
    let host = host.as_ref().map_or("", HostName::as_str);
    if request.version == Version::Http2
        && let (Some(tls), Some(certificates)) = (&connection.tls, &listener.certificates)
        && certificates.misdirected(&tls.certificates, host)
    {
        return Err(Reason::Misdirected);
    }
    let path = NormalPath::parse(request.path()).map_err(Reason::BadPath)?;
    let selection = listener.select(host, &path).map_err(|_| Reason::AmbiguousPath)?;
    facts.host_slot.set(selection.host.metrics_slot);
    let rule = view.hold(selection.rule);

    let total = rule.rule().timeouts.total;
    parts.timer.total = (!total.is_zero()).then(|| (parts.start.clock + total).into());
    let redirect = filter(&selection, client, host, request.query());
    if redirect.is_none() {
        let most = rule.rule().max_body;
        if most > 0 && matches!(body.length(), Length::Known(length) if length > most) {
            return Err(Reason::BodyTooLarge);
        }
        let hop = match &parts.tunnel {
            Some(protocol) => Hop::Upgrade(protocol),
            None if trailers => Hop::Trailers,
            None => Hop::Plain,
        };
        write_head(parts.upstream_out, request, selection.path, body.length(), hop);
    }
    Ok(Routed { rule, redirect })
}

/// TRACE would show a backend's view of the request to scripts; CONNECT is for forward proxies.
fn check_method(request: &RequestHead, tunnel: bool) -> Result<(), Reason> {
    match request.method() {
        // Extended CONNECT (RFC 8441) opens a WebSocket.
        b"CONNECT" if tunnel => Ok(()),
        b"TRACE" | b"TRACK" | b"CONNECT" => Err(Reason::Method),
        _ => Ok(()),
    }
}

/// RFC 9110, section 10.1.1: the one expectation there is goes to the backend where it means
/// something.
fn check_expectation(request: &mut RequestHead, length: Length) -> Result<(), Reason> {
    let Some(expectation) = request.headers.get(Name::Expect) else {
        return Ok(());
    };
    if !expectation.eq_ignore_ascii_case(b"100-continue") {
        return Err(Reason::Expectation);
    }
    let bodiless = matches!(length, Length::Absent | Length::Known(0));
    if bodiless || request.version == Version::Http10 {
        request.headers.retain(|name, _| name != Name::Expect);
    }
    Ok(())
}

/// The protocol of an HTTP/1.1 upgrade (RFC 9110, section 7.8).
fn wanted_upgrade(request: &RequestHead) -> Option<Vec<u8>> {
    let protocol = request.headers.get(Name::Upgrade)?;
    let asked = request.version == Version::Http11 && request.headers.connection_has(b"upgrade");
    // h2c would hand our framing to the client: never upgraded (RFC 9113, section 3.1).
    let refused = list(protocol).any(|name| name.to_ascii_lowercase().starts_with(b"h2c"));
    (asked && !refused).then(|| protocol.to_vec())
}

fn read_host(request: &RequestHead) -> Result<Option<HostName>, Reason> {
    match request.authority() {
        b"" if request.version == Version::Http10 => Ok(None),
        authority => HostName::parse(authority).map(Some).ok_or(Reason::BadHost),
    }
}

/// Runs the filters. The target of a redirect, if one of them wants it.
fn filter(selection: &Selection<'_>, client: Client, host: &str, query: &[u8]) -> Option<Vec<u8>> {
    selection.rule.filters.iter().find_map(|filter| match filter {
        Filter::HttpsRedirect(redirect) => https_redirect(*redirect, selection.path, client, host, query),
    })
}

fn https_redirect(
    redirect: HttpsRedirect,
    path: &[u8],
    client: Client,
    host: &str,
    query: &[u8],
) -> Option<Vec<u8>> {
    // A CA asks here before there is a certificate (RFC 8555, section 8.3).
    if client.secure || host.is_empty() || path.starts_with(b"/.well-known/acme-challenge/") {
        return None;
    }
    let mut location = b"https://".to_vec();
    if host.contains(':') {
        location.extend([b"[", host.as_bytes(), b"]"].concat());
    } else {
        location.extend_from_slice(host.as_bytes());
    }
    if redirect.port != 443 {
        location.push(b':');
        location.extend_from_slice(respond::decimal(&mut [0; 20], u64::from(redirect.port)));
    }
    location.extend_from_slice(path);
    location.extend_from_slice(query);
    Some(location)
}

/// What the backend's connection is told of itself.
enum Hop<'a> {
    Plain,
    /// Trailers are welcome (RFC 9110, section 10.1.4); gRPC asks for them.
    Trailers,
    /// It is to change to this protocol.
    Upgrade(&'a [u8]),
}

/// Writes the head for the backend anew, from what was understood.
fn write_head(out: &mut Vec<u8>, request: &RequestHead, path: &[u8], length: Length, hop: Hop<'_>) {
    out.clear();
    let method = if matches!(hop, Hop::Upgrade(_)) { b"GET" } else { request.method() };
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(path);
    out.extend_from_slice(request.query());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_field(out, b"Host", request.authority());
    for (token, name, value) in request.headers.iter() {
        if token != Name::ContentLength {
            write_field(out, name, value);
        }
    }
    match length {
        Length::Absent => {}
        Length::Known(length) => respond::write_content_length(out, length),
        Length::Unknown => write_field(out, b"Transfer-Encoding", b"chunked"),
    }
    match hop {
        Hop::Plain => {}
        Hop::Trailers => out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n"),
        Hop::Upgrade(protocol) => {
            out.extend_from_slice(b"Connection: Upgrade\r\n");
            write_field(out, b"Upgrade", protocol);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Sends an answer of our own. True if it went out whole.
async fn answer<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &B,
    sink: &mut S,
    facts: &Facts,
    reason: Reason,
    redirect: Option<Vec<u8>>,
) -> bool {
    let worker = parts.worker;
    let location = redirect.as_deref().map(|location| (308, location));
    facts.status.set(location.map_or_else(|| respond::status(reason), |(status, _)| status));
    // What was refused for its form may go on in a form that we misread.
    let suspicious = matches!(facts.status.get(), 400 | 408 | 413 | 417);
    let keep = body.is_done() && !suspicious && !worker.is_draining();
    parts.timer.total = None;
    let send = respond::send(worker, parts.response, sink, reason, location, keep);
    let sent = parts.timer.limit(worker.settings.timeouts.write, send).await;
    let Ok(Ok(length)) = sent else {
        sink.abort();
        return false;
    };
    if parts.request.method() != b"HEAD" {
        Facts::add(&facts.bytes_out, length);
    }
    true
}

/// The reason for a time limit that has passed.
pub(crate) fn late(elapsed: Elapsed, operation: Reason) -> Reason {
    match elapsed {
        Elapsed::Operation => operation,
        Elapsed::Total => Reason::RequestTimeout,
    }
}

fn record(parts: &Parts<'_>, facts: &Facts, rule: Option<&Rule>, reason: Option<Reason>) {
    let Parts { worker, connection, request, start, .. } = parts;
    let backend = rule.map_or("", |rule| match &rule.action {
        Action::Forward(backend) => &*backend.name,
        Action::NotFound => "",
    });
    let field = |name| request.headers.get(name).unwrap_or_default();
    worker.record(&Record {
        port: connection.port,
        start: start.time,
        client: facts.client.get().unwrap_or_else(|| connection.peer.ip()),
        method: request.method(),
        host: request.authority(),
        target: request.target(),
        version: request.version,
        tls: connection.tls.as_ref().map(|tls| tls.version),
        status: facts.status.get(),
        reason,
        route: rule.map_or("", |rule| &rule.route),
        backend,
        endpoint: facts.endpoint.get(),
        attempts: facts.attempts.get(),
        duration: start.clock.elapsed(),
        upstream: facts.upstream.get(),
        bytes_in: facts.bytes_in.get(),
        bytes_out: facts.bytes_out.get(),
        request_id: field(Name::XRequestId),
        user_agent: field(Name::UserAgent),
        referer: field(Name::Referer),
        host_slot: facts.host_slot.get(),
    });
}

/// Records what was no request.
pub(crate) fn record_refusal(
    worker: &Worker,
    connection: &Connection,
    request: &RequestHead,
    start: Start,
    status: u16,
    reason: Reason,
) {
    worker.record(&Record {
        port: connection.port,
        start: start.time,
        client: connection.peer.ip(),
        method: request.method(),
        host: request.authority(),
        target: request.target(),
        version: request.version,
        tls: connection.tls.as_ref().map(|tls| tls.version),
        status,
        reason: Some(reason),
        route: "",
        backend: "",
        endpoint: None,
        attempts: 0,
        duration: start.clock.elapsed(),
        upstream: None,
        bytes_in: 0,
        bytes_out: 0,
        request_id: b"",
        user_agent: b"",
        referer: b"",
        host_slot: 0,
    });
}
