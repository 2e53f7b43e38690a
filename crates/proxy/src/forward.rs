//! Forwarding: pick an endpoint, send the request, relay the response.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use model::{Backend, Rule, Timeouts};

use crate::balance;
use crate::client::{ClientFault, Closed, Length, RequestBody, ResponseSink};
use crate::exchange::{Facts, Parts, late};
use crate::headers::{Name, ResponseHead};
use crate::http1::parse::{self, EndFinder, Framing, Parsed};
use crate::http1::stream::{ReadError, Reader, Writer};
use crate::record::{Reason, Version};
use crate::timer::{Elapsed, Timer};
use crate::upstream::{ConnectError, Upstream};
use crate::worker::Worker;

/// The most endpoints that one request tries.
const MAX_ATTEMPTS: usize = 3;

/// The most interim responses (1xx) before the response.
const MAX_INTERIM: usize = 16;

/// How long a client that has closed its direction waits for more of an answer.
const HALF_CLOSED: Duration = Duration::from_secs(5);

/// The largest head of a response.
const MAX_RESPONSE_HEAD: usize = 60 * 1024;

/// Why an attempt failed, and whether another may be made.
struct Failed {
    reason: Reason,
    retry: bool,
}

/// Sends the request to one of the backend's endpoints and relays the response.
pub(crate) async fn forward<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &mut B,
    sink: &mut S,
    facts: &Facts,
    rule: &Rule,
    backend: &Backend,
) -> Result<(), Reason> {
    let mut tried: [u64; MAX_ATTEMPTS] = [0; MAX_ATTEMPTS];
    let mut fresh = false;
    let mut last = None;
    for attempt in 0..=MAX_ATTEMPTS {
        // A pooled connection that had died is no attempt at an endpoint: the last round is for it.
        let Some(endpoint) = balance::pick(parts.worker, backend, &tried) else {
            let why = || backend.endpoints().unavailable.map(Reason::Unavailable);
            return Err(last.or_else(why).unwrap_or(Reason::ConnectFailed));
        };
        facts.endpoint.set(Some(endpoint.address()));
        facts.attempts.set(facts.attempts.get().saturating_add(1));
        let id = endpoint.id();
        let upstream = match parts.worker.upstreams.connect(endpoint, fresh, rule.timeouts.connect).await {
            Ok(upstream) => upstream,
            Err(error) => {
                parts.worker.metrics.upstream_connect_failed();
                last = Some(match error {
                    ConnectError::Failed => Reason::ConnectFailed,
                    ConnectError::Timeout => Reason::ConnectTimeout,
                });
                if let Some(slot) = tried.get_mut(attempt) {
                    *slot = id;
                }
                continue;
            }
        };
        let reused = upstream.reused;
        if reused {
            parts.worker.metrics.upstream_reused();
        } else {
            parts.worker.metrics.upstream_connected();
        }
        let bodiless = matches!(body.length(), Length::Absent | Length::Known(0));
        let result = if bodiless {
            without_body(parts, body, sink, facts, &rule.timeouts, upstream).await
        } else {
            with_body(parts, body, sink, facts, rule, upstream).await
        };
        match result {
            Err(Failed { reason, retry: true }) if attempt < MAX_ATTEMPTS => {
                last = Some(reason);
                if reused {
                    fresh = true;
                } else {
                    tried[attempt] = id;
                }
            }
            result => return result.map_err(|failed| failed.reason),
        }
    }
    Err(last.unwrap_or(Reason::ConnectFailed))
}

/// A request without a body, which may also open a tunnel.
async fn without_body<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &mut B,
    sink: &mut S,
    facts: &Facts,
    timeouts: &Timeouts,
    mut upstream: Upstream,
) -> Result<(), Failed> {
    let worker = parts.worker;
    let begin = Instant::now();
    let idempotent = matches!(parts.request.method(), b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE");
    let written = parts.timer.limit(timeouts.send, upstream.stream.write_all(parts.upstream_out, &[])).await;
    match written {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return Err(Failed { reason: Reason::UpstreamClosed, retry: idempotent }),
        Err(elapsed) => return Err(Failed { reason: late(elapsed, Reason::ResponseTimeout), retry: false }),
    }
    let head_request = parts.request.method() == b"HEAD";
    let mut download = Download { worker, timeouts, timer: parts.timer, response: parts.response, sink, facts };
    let exchange = async {
        let parsed = download.read_head(&mut upstream, head_request, begin).await?;
        if download.response.status != 101 {
            download.relay(&mut upstream, parsed).await?;
        }
        Ok(parsed)
    };
    let result = match parts.tunnel {
        // What the client sends from here on may be the tunnel's.
        Some(_) => exchange.await,
        None => while_wanted(exchange, gone(body, facts)).await,
    };
    // Without a byte of a response, the request may not have been seen at all.
    let parsed = result.map_err(|reason| Failed { reason, retry: idempotent && reason == Reason::UpstreamClosed })?;
    if parts.response.status == 101 {
        let switched = match parts.tunnel {
            Some(_) => tunnel(parts, body, sink, facts, upstream).await,
            None => Err(Reason::UpstreamProtocol),
        };
        return switched.map_err(|reason| Failed { reason, retry: false });
    }
    if parsed.persistent {
        upstream.keep(worker);
    }
    Ok(())
}

/// A request with a body: it is sent while the response may already come back.
async fn with_body<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &mut B,
    sink: &mut S,
    facts: &Facts,
    rule: &Rule,
    mut upstream: Upstream,
) -> Result<(), Failed> {
    let worker = parts.worker;
    let begin = Instant::now();
    let head_request = parts.request.method() == b"HEAD";
    let (stream, mut receiving) = upstream.split();
    let upload = Upload {
        timer: Timer::until(parts.timer.total),
        body_limit: worker.settings.timeouts.body,
        send_limit: rule.timeouts.send,
        max_body: rule.max_body,
        facts,
    };
    let mut writer = Writer::new(stream, parts.upstream_out);
    writer.chunked = body.length() == Length::Unknown;
    let mut download =
        Download { worker, timeouts: &rule.timeouts, timer: parts.timer, response: parts.response, sink, facts };
    let result = {
        let upload = upload.run(body, &mut writer);
        let download = async {
            let parsed = download.read_head(&mut receiving, head_request, begin).await?;
            if download.response.status == 101 {
                return Err(Reason::UpstreamProtocol);
            }
            download.relay(&mut receiving, parsed).await?;
            Ok(parsed)
        };
        both(upload, download).await
    };
    let parsed = result.map_err(|reason| Failed { reason, retry: false })?;
    if parsed.persistent && facts.body_done.get() {
        upstream.keep(worker);
    }
    Ok(())
}

/// Runs both directions until the response has ended. The client's faults end both; the
/// backend's refusal to read more does not, for its answer may say why.
async fn both<T>(
    upload: impl Future<Output = Result<(), UploadEnd>>,
    download: impl Future<Output = Result<T, Reason>>,
) -> Result<T, Reason> {
    let (mut upload, mut download) = (pin!(upload), pin!(download));
    let mut uploading = true;
    poll_fn(|cx| {
        if uploading && let Poll::Ready(end) = upload.as_mut().poll(cx) {
            uploading = false;
            if let Err(UploadEnd::Exchange(reason)) = end {
                return Poll::Ready(Err(reason));
            }
        }
        download.as_mut().poll(cx)
    })
    .await
}

/// Runs an operation until the client is gone.
async fn while_wanted<T>(
    operation: impl Future<Output = Result<T, Reason>>,
    gone: impl Future<Output = ()>,
) -> Result<T, Reason> {
    tokio::select! {
        biased;
        result = operation => result,
        () = gone => Err(Reason::ClientClosed),
    }
}

/// Waits until the client is gone: it has closed, or it has closed its direction and nothing has
/// come for it for a while.
async fn gone<B: RequestBody>(body: &mut B, facts: &Facts) {
    if body.closed().await == Closed::Connection {
        return;
    }
    let progress = || (facts.status.get(), facts.bytes_out.get());
    loop {
        let before = progress();
        tokio::time::sleep(HALF_CLOSED).await;
        if progress() == before {
            return;
        }
    }
}

/// Why an upload ended early.
enum UploadEnd {
    /// The exchange is over, for this reason.
    Exchange(Reason),
    /// The backend takes no more.
    Refused,
}

struct Upload<'a> {
    timer: Timer,
    body_limit: Duration,
    send_limit: Duration,
    max_body: u64,
    facts: &'a Facts,
}

impl Upload<'_> {
    async fn run<B: RequestBody>(mut self, body: &mut B, writer: &mut Writer<'_>) -> Result<(), UploadEnd> {
        loop {
            if !body.has_buffered() {
                // The head must not wait for a body that may wait for an answer (100-continue).
                self.send(writer.flush()).await?;
            }
            let bytes = match self.timer.limit(self.body_limit, body.fill()).await {
                Ok(bytes) => bytes.map_err(|fault| UploadEnd::Exchange(fault.reason()))?,
                Err(elapsed) => return Err(UploadEnd::Exchange(late(elapsed, Reason::BodyTimeout))),
            };
            if bytes.is_empty() {
                self.facts.body_done.set(true);
                self.send(writer.end(body.trailers())).await?;
                gone(body, self.facts).await;
                return Err(UploadEnd::Exchange(Reason::ClientClosed));
            }
            let count = bytes.len();
            Facts::add(&self.facts.bytes_in, count);
            if self.max_body > 0 && self.facts.bytes_in.get() > self.max_body {
                return Err(UploadEnd::Exchange(Reason::BodyTooLarge));
            }
            let Self { timer, send_limit, .. } = &mut self;
            Self::sent(timer.limit(*send_limit, writer.data(bytes)).await)?;
            body.consume(count);
        }
    }

    async fn send(&mut self, operation: impl Future<Output = std::io::Result<()>>) -> Result<(), UploadEnd> {
        Self::sent(self.timer.limit(self.send_limit, operation).await)
    }

    fn sent(result: Result<std::io::Result<()>, Elapsed>) -> Result<(), UploadEnd> {
        match result {
            Ok(result) => result.map_err(|_| UploadEnd::Refused),
            Err(elapsed) => Err(UploadEnd::Exchange(late(elapsed, Reason::ResponseTimeout))),
        }
    }
}

struct Download<'a, S> {
    worker: &'a Worker,
    timeouts: &'a Timeouts,
    timer: &'a mut Timer,
    response: &'a mut ResponseHead,
    sink: &'a mut S,
    facts: &'a Facts,
}

impl<S: ResponseSink> Download<'_, S> {
    /// Reads the head of the response into `self.response`; interim ones go to the client.
    async fn read_head(
        &mut self,
        upstream: &mut impl Receive,
        head_request: bool,
        begin: Instant,
    ) -> Result<Parsed, Reason> {
        for _ in 0..=MAX_INTERIM {
            let Self { sink, timer, .. } = self;
            let find = while_wanted(find_head(upstream, self.worker), poll_fn(|cx| sink.poll_closed(cx)));
            let len = match timer.limit(self.timeouts.read, find).await {
                Ok(found) => found?,
                Err(elapsed) => return Err(late(elapsed, Reason::ResponseTimeout)),
            };
            let (_, buffer) = upstream.receive();
            let parsed = parse::response(&buffer.bytes()[..len], self.response, head_request)
                .map_err(|_| Reason::UpstreamProtocol)?;
            buffer.consume(len);
            match self.response.status {
                status @ (100 | 102..=199) => {
                    self.response.headers.remove_hop_by_hop();
                    tracing::trace!(status, "interim response");
                    self.answer(|sink, head| sink.interim(head)).await?;
                }
                _ => {
                    buffer.release(&self.worker.buffers);
                    self.facts.upstream.set(Some(begin.elapsed()));
                    return Ok(parsed);
                }
            }
        }
        Err(Reason::UpstreamProtocol)
    }

    /// Sends the response's head and body to the client.
    async fn relay(&mut self, upstream: &mut impl Receive, parsed: Parsed) -> Result<(), Reason> {
        let status = self.response.status;
        self.facts.status.set(status);
        self.prepare_head(parsed.framing);
        let keep = self.facts.body_done.get() && !self.worker.is_draining();
        let length = match parsed.framing {
            Framing::Length(length) => Length::Known(length),
            Framing::Chunked | Framing::UntilClose => Length::Unknown,
        };
        self.sink.head(self.response, length, keep).await.map_err(ClientFault::reason)?;
        let (stream, buffer) = upstream.receive();
        let mut reader = Reader::new(stream, buffer, &self.worker.buffers, parsed.framing);
        loop {
            if !reader.has_buffered() && !reader.is_done() {
                self.answer(|sink, _| sink.flush()).await?;
            }
            let bytes = match self.timer.limit(self.timeouts.read, reader.fill()).await {
                Ok(bytes) => bytes.map_err(response_fault)?,
                Err(elapsed) => return Err(late(elapsed, Reason::ResponseTimeout)),
            };
            if bytes.is_empty() {
                break;
            }
            let count = bytes.len();
            let last = parsed.framing == Framing::Length(self.facts.bytes_out.get() + count as u64);
            self.answer(|sink, _| sink.data(bytes, last)).await?;
            Facts::add(&self.facts.bytes_out, count);
            reader.consume(count);
        }
        let trailers = std::mem::take(&mut reader.trailers);
        self.answer(|sink, _| sink.end(&trailers)).await
    }

    /// Takes out what ends at this hop; the framing is written anew.
    fn prepare_head(&mut self, framing: Framing) {
        let status = self.response.status;
        let headers = &mut self.response.headers;
        headers.remove_hop_by_hop();
        // Without a body, Content-Length tells what there would be; to HEAD and 304 only.
        let tells = framing == Framing::NONE && status != 204;
        headers.retain(|name, _| name != Name::ContentLength || tells);
        if headers.get(Name::Date).is_none() {
            self.worker.date.with(|date| headers.push_known(Name::Date, b"Date", date));
        }
    }

    async fn answer<'b, F>(
        &'b mut self,
        operation: impl FnOnce(&'b mut S, &'b ResponseHead) -> F,
    ) -> Result<(), Reason>
    where
        F: Future<Output = Result<(), ClientFault>>,
    {
        let limit = self.worker.settings.timeouts.write;
        match self.timer.limit(limit, operation(self.sink, self.response)).await {
            Ok(result) => result.map_err(ClientFault::reason),
            Err(elapsed) => Err(late(elapsed, Reason::ClientWriteTimeout)),
        }
    }
}

/// What a response is read from.
pub(crate) trait Receive {
    fn receive(&mut self) -> (&crate::io::Stream, &mut crate::buffer::Buffer);
}

/// Reads until a whole head is in the buffer, and tells its length.
async fn find_head(upstream: &mut impl Receive, worker: &Worker) -> Result<usize, Reason> {
    let (stream, buffer) = upstream.receive();
    let mut finder = EndFinder::default();
    loop {
        match finder.find(buffer.bytes()) {
            Ok(Some(len)) => return Ok(len),
            Ok(None) if buffer.bytes().len() > MAX_RESPONSE_HEAD => return Err(Reason::UpstreamProtocol),
            Ok(None) => {}
            Err(_) => return Err(Reason::UpstreamProtocol),
        }
        match crate::buffer::fill(buffer, stream, &worker.buffers).await {
            Ok(0) | Err(_) if buffer.is_empty() => return Err(Reason::UpstreamClosed),
            Ok(0) | Err(_) => return Err(Reason::UpstreamProtocol),
            Ok(_) => {}
        }
    }
}

fn response_fault(error: ReadError) -> Reason {
    match error {
        ReadError::Malformed => Reason::UpstreamProtocol,
        ReadError::Closed | ReadError::Io => Reason::UpstreamTruncated,
    }
}

/// Opens a tunnel after the backend's 101, and relays bytes until both directions have ended.
async fn tunnel<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &mut B,
    sink: &mut S,
    facts: &Facts,
    mut upstream: Upstream,
) -> Result<(), Reason> {
    let worker = parts.worker;
    // RFC 8441, section 5: where there is no upgrade, success is a 200.
    facts.status.set(if parts.request.version == Version::Http2 { 200 } else { 101 });
    parts.timer.total = None;
    let response = &mut *parts.response;
    let protocol = response.headers.get(Name::Upgrade).map(<[u8]>::to_vec).ok_or(Reason::UpstreamProtocol)?;
    response.headers.remove_hop_by_hop();
    response.headers.retain(|name, _| name != Name::ContentLength);
    response.headers.push_known(Name::Upgrade, b"Upgrade", &protocol);
    sink.open_tunnel(response).await.map_err(ClientFault::reason)?;
    body.become_tunnel();
    parts.upstream_out.clear();

    let idle = worker.settings.timeouts.tunnel_idle;
    let activity = std::cell::Cell::new(Instant::now());
    let (stream, mut receiving) = upstream.split();
    let mut writer = Writer::new(stream, parts.upstream_out);
    let up = async {
        let mut timer = Timer::default();
        while let Some(count) = active(&mut timer, idle, &activity, body).await? {
            let bytes = body.fill().await.map_err(ClientFault::reason)?;
            writer.data(&bytes[..count]).await.map_err(|_| Reason::UpstreamClosed)?;
            writer.flush().await.map_err(|_| Reason::UpstreamClosed)?;
            body.consume(count);
            Facts::add(&facts.bytes_in, count);
        }
        writer.shutdown().await.map_err(|_| Reason::UpstreamClosed)
    };
    let timer = &mut *parts.timer;
    let down = async {
        let (stream, buffer) = receiving.receive();
        let mut reader = Reader::new(stream, buffer, &worker.buffers, Framing::UntilClose);
        while let Some(count) = active(timer, idle, &activity, &mut reader).await? {
            let bytes = reader.fill().await.map_err(response_fault)?;
            sink.data(&bytes[..count], false).await.map_err(ClientFault::reason)?;
            sink.flush().await.map_err(ClientFault::reason)?;
            reader.consume(count);
            Facts::add(&facts.bytes_out, count);
        }
        sink.end(&crate::headers::Headers::default()).await.map_err(ClientFault::reason)
    };
    // The client may end its direction and go on reading; once the backend has ended, all is said.
    let up = async {
        match up.await {
            Ok(()) => std::future::pending().await,
            Err(reason) => reason,
        }
    };
    tokio::select! {
        result = down => result,
        reason = up => Err(reason),
    }
}

/// One direction of a tunnel.
trait Source {
    /// How many bytes there are, once there are any; none at the end.
    async fn ready(&mut self) -> Result<usize, Reason>;
}

impl<B: RequestBody> Source for B {
    async fn ready(&mut self) -> Result<usize, Reason> {
        self.fill().await.map(<[u8]>::len).map_err(ClientFault::reason)
    }
}

impl Source for Reader<'_> {
    async fn ready(&mut self) -> Result<usize, Reason> {
        self.fill().await.map(<[u8]>::len).map_err(response_fault)
    }
}

/// Waits for the next bytes, for as long as either direction is active.
async fn active(
    timer: &mut Timer,
    idle: Duration,
    activity: &std::cell::Cell<Instant>,
    source: &mut impl Source,
) -> Result<Option<usize>, Reason> {
    let mut limit = idle;
    loop {
        match timer.limit(limit, source.ready()).await {
            Ok(count) => {
                activity.set(Instant::now());
                return count.map(|count| (count > 0).then_some(count));
            }
            Err(_) => match idle.checked_sub(activity.get().elapsed()) {
                Some(left) if !left.is_zero() => limit = left,
                _ => return Err(Reason::ClientClosed),
            },
        }
    }
}
