//! Requests of which the whole body is read before any of it goes to a backend (ingress-nginx:
//! `proxy-request-buffering`): slow clients keep no backend busy, and what was read can be sent
//! again. It is held in memory, so much of one request and of a worker's requests at once; what is
//! more goes on as it comes.

use std::cell::Cell;
use std::rc::Rc;

use model::{Backend, Extras, HttpVersion, Rule};

use super::detour::Spool;
use super::parts::{Facts, Parts, late};
use super::prepare::{Hop, write_head};
use crate::client::{Length, RequestBody, ResponseSink};
use crate::headers::{Name, Names, write_field};
use crate::record::{Reason, Version};

/// The most that a worker holds of all bodies together, in bytes.
const MOST_IN_ALL: usize = 64 * 1024 * 1024;

/// The most that is held for backends of HTTP/1.0, which cannot be told a length later.
const MOST_FOR_HTTP10: u32 = 1024 * 1024;

/// What bodies a worker holds, in bytes.
pub(crate) type Gathered = Rc<Cell<usize>>;

/// A part of what a worker holds, until it is dropped.
#[derive(Debug)]
pub(super) struct Holding {
    all: Gathered,
    bytes: usize,
}

impl Holding {
    pub(super) fn new(all: &Gathered) -> Self {
        Self {
            all: Rc::clone(all),
            bytes: 0,
        }
    }

    /// Whether so much more may be held.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let all = self.all.get().saturating_add(bytes);
        if all > MOST_IN_ALL {
            return false;
        }
        self.all.set(all);
        self.bytes += bytes;
        true
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.all.set(self.all.get().saturating_sub(self.bytes));
    }
}

/// Whether a rule's extras have requests with such a body be treated in another way than most.
pub(super) fn concerns(extras: Option<&Extras>, length: Length) -> bool {
    extras.is_some_and(|extras| {
        extras.http10
            || extras.connection.is_some()
            || (extras.gather > 0 && !matches!(length, Length::Absent | Length::Known(0)))
    })
}

/// Reads the body ahead, as far as the rule wants it.
pub(super) async fn gather<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    spool: &mut Spool<'_, B>,
    sink: &mut S,
    facts: &Facts,
    rule: &Rule,
    backend: &Backend,
) -> Result<(), Reason> {
    let Some(extras) = rule.extras.as_deref() else {
        return Ok(());
    };
    let length = spool.length();
    let mut most = extras.gather;
    if extras.http10 && length == Length::Unknown {
        most = most.max(MOST_FOR_HTTP10);
    }
    // Calls have two directions at once, and tunnels no body.
    let streams = backend.transport.http == HttpVersion::Http2 || parts.tunnel.is_some();
    if most == 0 || streams || matches!(length, Length::Absent | Length::Known(0)) {
        return Ok(());
    }
    // It would only be held in part, and be sent as it comes then.
    if matches!(length, Length::Known(length) if length > u64::from(most)) {
        return Ok(());
    }
    invite(parts, spool, sink).await?;
    let limit = parts.worker.settings().timeouts.body;
    let max_body = rule.max_body;
    let mut holding = Holding::new(&parts.worker.gathered);
    loop {
        let read = parts.timer.limit(limit, spool.read_ahead()).await;
        let read = read.map_err(|elapsed| late(elapsed, Reason::BodyTimeout))??;
        if read == 0 {
            facts.body_done.set(true);
            spool.hold(holding);
            return Ok(());
        }
        let held = spool.held_bytes();
        if max_body > 0 && held as u64 > max_body {
            return Err(Reason::BodyTooLarge);
        }
        if !holding.take(read) || held > most as usize {
            // The rest goes on as it comes.
            spool.keep_for(holding);
            return Ok(());
        }
    }
}

/// Asks a client for the body that waits to be asked (RFC 9110, section 10.1.1).
async fn invite<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    spool: &mut Spool<'_, B>,
    sink: &mut S,
) -> Result<(), Reason> {
    if parts.request.headers.get(Name::Expect).is_none() {
        return Ok(());
    }
    parts.request.headers.remove(Names::of(&[Name::Expect]));
    if spool.has_buffered() || parts.request.version == Version::Http10 {
        return Ok(());
    }
    parts.response.start(100, b"Continue");
    let limit = parts.worker.settings().timeouts.write;
    let asked = parts.timer.limit(limit, sink.interim(parts.response)).await;
    match asked {
        Ok(asked) => asked.map_err(|fault| fault.reason()),
        Err(elapsed) => Err(late(elapsed, Reason::ClientWriteTimeout)),
    }
}

/// Writes the head for the backend, as the rule wants it.
pub(super) fn write(
    parts: &mut Parts<'_>,
    rule: &Rule,
    path: &[u8],
    length: Length,
    trailers: bool,
) {
    let tunnel = parts.tunnel.as_deref();
    let extras = rule.extras.as_deref();
    // What upgrades is told of no other connection.
    let extras = extras.filter(|_| tunnel.is_none());
    let connection = extras.and_then(|extras| extras.connection);
    let hop = Hop::of(tunnel, trailers && connection.is_none());
    let out = &mut *parts.upstream_out;
    write_head(out, parts.request, path, length, hop);
    if let Some(connection) = connection {
        // In place of the empty line.
        out.truncate(out.len() - 2);
        write_field(out, b"Connection", connection.as_str().as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    // Without a length, an old version has no way to say where a body ends.
    let may = length != Length::Unknown;
    if extras.is_some_and(|extras| extras.http10 && may)
        && let Some(end) = memchr::memchr(b'\r', out)
    {
        out[end - 1] = b'0';
    }
}
