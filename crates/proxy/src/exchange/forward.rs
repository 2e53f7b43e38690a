//! Forwarding: pick an endpoint, send the request, relay the response.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use model::endpoint::Failure;
use model::policy::Retry;
use model::{Backend, Rule};

use super::download::{Download, Limits};
use super::http2;
use super::parts::{Facts, Parts, late};
use super::replay::Kept;
use super::tunnel::tunnel;
use super::upload::{Upload, UploadEnd};
use crate::client::{Closed, Length, RequestBody, ResponseSink};
use crate::http1::stream::Writer;
use crate::proxy_header;
use crate::record::Reason;
use crate::timer::Timer;
use crate::upstream::balance::{self, Affinity, Ask, Choice, Members};
use crate::upstream::{Connected, EndpointState, Upstream};
use crate::worker::Worker;

/// How long a client that has closed its direction waits for more of an answer.
const HALF_CLOSED: Duration = Duration::from_secs(5);

/// Why an attempt failed, and whether another may be made.
pub(super) struct Failed {
    pub(super) reason: Reason,
    pub(super) retry: bool,
}

/// Sends the request to one of the backend's endpoints and relays the response.
pub(super) async fn forward<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &mut B,
    sink: &mut S,
    facts: &Facts,
    rule: &Rule,
    backend: &Backend,
) -> Result<(), Reason> {
    let worker = parts.worker;
    let balancer = worker.upstreams.backend(backend);
    let mut members = balancer.members(&worker.upstreams, backend);
    let retry = members.policy().retry;
    balancer.budget.earn(&retry);
    let _permit = match members.policy().max_requests {
        0 => None,
        most => Some(backend.admit(most).ok_or(Reason::Overloaded)?),
    };
    let opening = opening(parts, facts, &members);
    let mut tried = Tried::default();
    let mut now = parts.start.clock;
    let mut fresh = false;
    let mut last = None;
    let mut kept: Option<Box<Kept>> = None;
    loop {
        let ask = Ask {
            now,
            keys: balance::keys(members.policy(), parts.request, facts.client.get()),
            tried: tried.ids(),
        };
        let Some(choice) = balancer.pick(&members, &ask) else {
            let why = || members.unavailable().map(Reason::Unavailable);
            return Err(last.or_else(why).unwrap_or(Reason::ConnectFailed));
        };
        remember(parts, facts, &members, &choice, &ask);
        let endpoint = choice.endpoint;
        facts.endpoint.set(Some(endpoint.address()));
        facts.attempts.set(facts.attempts.get().saturating_add(1));
        let limit = tighter(rule.timeouts.connect, retry.per_try);
        let announced = opening.as_ref().filter(|_| !endpoint.shares_connections());
        let connected = if let Some(opening) = announced {
            let endpoint = Rc::clone(&endpoint);
            let connect = worker.upstreams.announced(endpoint, opening, limit);
            let connected = Box::pin(in_time(parts.timer.total, connect)).await?;
            connected.map(Connected::Http1)
        } else if endpoint.is_plain_http1() {
            let connect = worker.upstreams.connect(Rc::clone(&endpoint), fresh, limit);
            in_time(parts.timer.total, connect)
                .await?
                .map(Connected::Http1)
        } else {
            let upgrade = parts.tunnel.is_some();
            let endpoint = Rc::clone(&endpoint);
            let negotiate = worker.upstreams.negotiate(endpoint, fresh, upgrade, limit);
            // A handshake's future is several times as large as all else here.
            Box::pin(in_time(parts.timer.total, negotiate)).await?
        };
        let reused = connected.as_ref().is_ok_and(Connected::is_reused);
        if connected.is_ok() {
            worker.metrics.upstream_used(reused);
        }
        let begin = Instant::now();
        let bodiless = matches!(body.length(), Length::Absent | Length::Known(0));
        let repeated = if bodiless { &retry } else { &Retry::NONE };
        let limits = limits(rule, repeated);
        // One match for all, as each binding that holds a connection makes the future larger.
        let result = match connected {
            Err(error) => Err(error),
            // An endpoint that took HTTP/2 before: what was sent then is here no more.
            Ok(Connected::Http1(_)) if kept.as_ref().is_some_and(|kept| !kept.is_empty()) => {
                Ok(Err(Failed {
                    reason: last.unwrap_or(Reason::UpstreamClosed),
                    retry: false,
                }))
            }
            Ok(Connected::Http1(upstream)) if bodiless => {
                Ok(without_body(parts, body, sink, facts, &limits, upstream, begin).await)
            }
            Ok(Connected::Http1(upstream)) => {
                Ok(with_body(parts, body, sink, facts, &limits, upstream, begin).await)
            }
            Ok(Connected::Http2(stream)) => {
                let kept = kept.get_or_insert_default();
                let way = http2::Way { limits, stream };
                // A future of its own: exchanges by HTTP/1, of which there are many, stay small.
                Ok(Box::pin(http2::exchange(parts, body, sink, facts, way, kept)).await)
            }
        };
        let failed = match result {
            Ok(result) => {
                let outcome = result.as_ref().map_err(|failed| failed.reason).copied();
                // That a kept connection was closed meanwhile is nobody's fault, and no more is
                // one that takes no more requests.
                let closed = reused && outcome == Err(Reason::UpstreamClosed);
                let closed = !fresh && (closed || facts.unprocessed.take());
                if !closed {
                    judge(worker, &members, &endpoint, facts, outcome, begin);
                }
                match result {
                    // It was no attempt at an endpoint, and is made up for on a new connection.
                    Err(failed) if failed.retry && closed => {
                        fresh = true;
                        last = Some(failed.reason);
                        worker.metrics.retried();
                        now = Instant::now();
                        continue;
                    }
                    Err(failed) if failed.retry => failed,
                    result => return result.map_err(|failed| failed.reason),
                }
            }
            Err(error) => {
                worker.metrics.upstream_connect_failed();
                let reason = error.reason();
                judge(worker, &members, &endpoint, facts, Err(reason), now);
                Failed {
                    reason,
                    retry: true,
                }
            }
        };
        now = Instant::now();
        // A connection that failed was no work for any backend: once more is always right.
        let free = tried.is_empty() && failed.reason.is_connect_error();
        if !tried.add(endpoint.id(), retry.attempts) {
            return Err(failed.reason);
        }
        if !balancer.budget.spend(&retry, now) && !free {
            worker.metrics.retry_refused();
            return Err(failed.reason);
        }
        last = Some(failed.reason);
        worker.metrics.retried();
        members = balancer.members(&worker.upstreams, backend);
    }
}

/// What each connection begins with, if the Service wants to be told of the client.
fn opening(parts: &Parts<'_>, facts: &Facts, members: &Members) -> Option<Vec<u8>> {
    let version = members.policy().proxy_header?;
    let connection = parts.connection;
    let client = match facts.client.get() {
        // Whoever forwards for a client does not say from which port it came.
        Some(ip) if ip != connection.peer.ip() => SocketAddr::new(ip, 0),
        _ => connection.peer,
    };
    Some(proxy_header::of_client(version, client, connection.local))
}

/// The ids of the endpoints that failed a request.
#[derive(Default)]
struct Tried {
    ids: [u64; Retry::MOST_ATTEMPTS as usize],
    count: u8,
}

impl Tried {
    fn ids(&self) -> &[u64] {
        &self.ids[..usize::from(self.count)]
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Notes one more. Whether another may be tried, where there may be `most` in all.
    fn add(&mut self, id: u64, most: u8) -> bool {
        if let Some(slot) = self.ids.get_mut(usize::from(self.count)) {
            *slot = id;
            self.count += 1;
        }
        self.count < most.min(Retry::MOST_ATTEMPTS)
    }
}

/// Runs an operation until the whole exchange's time is over.
async fn in_time<T>(
    total: Option<tokio::time::Instant>,
    operation: impl Future<Output = T>,
) -> Result<T, Reason> {
    let limit = Timer::until(total).limit(Duration::ZERO, operation).await;
    limit.map_err(|_| Reason::RequestTimeout)
}

/// The smaller of two limits, of which zero is none.
fn tighter(one: Duration, two: Duration) -> Duration {
    match (one.is_zero(), two.is_zero()) {
        (false, false) => one.min(two),
        (true, _) => two,
        (_, true) => one,
    }
}

/// The time limits of an attempt that can be repeated.
fn limits(rule: &Rule, retry: &Retry) -> Limits {
    let timeouts = &rule.timeouts;
    Limits {
        send: tighter(timeouts.send, retry.per_try),
        head: tighter(timeouts.read, retry.per_try),
        read: timeouts.read,
        max_body: rule.max_body,
        late_again: !retry.per_try.is_zero(),
    }
}

/// Has the response set the cookie that keeps the client with its endpoint, if it has another.
fn remember(parts: &Parts<'_>, facts: &Facts, members: &Members, choice: &Choice, ask: &Ask<'_>) {
    let Some(policy) = &members.policy().affinity else {
        return;
    };
    let cookie = choice.new_name(members, ask.keys).map(|name| {
        let secure = parts.connection.tls.is_some();
        let affinity = Affinity {
            policy,
            name,
            secure,
        };
        affinity.set_cookie()
    });
    facts.set_cookie.replace(cookie);
}

/// Notes how an endpoint did, for those who choose after us.
fn judge(
    worker: &Worker,
    members: &Members,
    endpoint: &EndpointState,
    facts: &Facts,
    outcome: Result<(), Reason>,
    begin: Instant,
) {
    let ejection = &members.policy().ejection;
    let failure = match outcome {
        Ok(()) if ejection.is_failure(facts.status.get()) => Failure::Bad,
        Ok(()) => return endpoint.succeeded(ejection, Instant::now),
        Err(reason) => match reason.endpoints_fault() {
            Some(failure) => failure,
            // The whole time went by at this one endpoint, which had all of the request.
            None if reason == Reason::RequestTimeout
                && facts.attempts.get() == 1
                && facts.body_done.get()
                && facts.upstream.get().is_none() =>
            {
                Failure::Bad
            }
            // The client's fault, or ours, tells nothing.
            None => return,
        },
    };
    let now = Instant::now();
    let took = now.saturating_duration_since(begin);
    if endpoint.failed(ejection, failure, took, now) {
        worker.metrics.endpoint_ejected();
        let address = endpoint.address();
        tracing::warn!(%address, "the endpoint is left out for a while: it failed again and again");
    }
}

/// Whether a request may be made again though it may have been served (RFC 9110, section 9.2.2).
pub(super) fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE")
}

/// A request without a body, which may also open a tunnel.
async fn without_body<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &mut B,
    sink: &mut S,
    facts: &Facts,
    limits: &Limits,
    mut upstream: Upstream,
    begin: Instant,
) -> Result<(), Failed> {
    let worker = parts.worker;
    let idempotent = is_idempotent(parts.request.method());
    let written = parts
        .timer
        .limit(
            limits.send,
            upstream.stream.write_all(parts.upstream_out, &[]),
        )
        .await;
    match written {
        Ok(Ok(())) => {}
        Ok(Err(_)) => {
            return Err(Failed {
                reason: Reason::UpstreamClosed,
                retry: idempotent,
            });
        }
        Err(elapsed) => {
            let reason = late(elapsed, Reason::ResponseTimeout);
            return Err(Failed {
                reason,
                retry: idempotent && limits.late_again && reason == Reason::ResponseTimeout,
            });
        }
    }
    let head_request = parts.request.method() == b"HEAD";
    let mut download = Download {
        worker,
        limits: *limits,
        timer: parts.timer,
        response: parts.response,
        sink,
        facts,
    };
    let result = {
        let (lease, _, mut reader) = upstream.split(&worker.buffers);
        let exchange = async {
            let announced = download.read_head(&mut reader, head_request, begin).await?;
            if let Some(took) = facts.upstream.get() {
                lease.answered(took, download.response.status, begin);
            }
            if download.response.status != 101 {
                download.relay(&mut reader, announced, head_request).await?;
            }
            Ok(announced)
        };
        match parts.tunnel {
            // What the client sends from here on may be the tunnel's.
            Some(_) => exchange.await,
            None => while_wanted(exchange, gone(body, facts)).await,
        }
    };
    let announced = result.map_err(|reason| {
        let again = match reason {
            Reason::UpstreamClosed => true,
            Reason::ResponseTimeout => limits.late_again,
            _ => false,
        };
        Failed {
            reason,
            // Where nothing of a response has gone out, the client cannot tell the difference.
            retry: again && idempotent && !facts.is_answering(),
        }
    })?;
    if parts.response.status == 101 {
        let switched = match parts.tunnel {
            Some(_) => tunnel(parts, body, sink, facts, upstream).await,
            None => Err(Reason::UpstreamProtocol),
        };
        return switched.map_err(|reason| Failed {
            reason,
            retry: false,
        });
    }
    if announced.persistent {
        worker.keep(upstream);
    }
    Ok(())
}

/// A request with a body: it is sent while the response may already come back.
async fn with_body<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &mut B,
    sink: &mut S,
    facts: &Facts,
    limits: &Limits,
    mut upstream: Upstream,
    begin: Instant,
) -> Result<(), Failed> {
    let worker = parts.worker;
    let head_request = parts.request.method() == b"HEAD";
    let (lease, stream, mut reader) = upstream.split(&worker.buffers);
    let upload = Upload {
        timer: Timer::until(parts.timer.total),
        body_limit: worker.settings.timeouts.body,
        send_limit: limits.send,
        max_body: limits.max_body,
        facts,
    };
    let mut writer = Writer::new(stream, parts.upstream_out);
    writer.chunked = body.length() == Length::Unknown;
    let mut download = Download {
        worker,
        limits: *limits,
        timer: parts.timer,
        response: parts.response,
        sink,
        facts,
    };
    let result = {
        let upload = upload.run(body, &mut writer);
        let download = async {
            let announced = download.read_head(&mut reader, head_request, begin).await?;
            if download.response.status == 101 {
                return Err(Reason::UpstreamProtocol);
            }
            // A response to half a request: the backend may take the other half for another
            // request, and its answer for that one must not wait for whoever comes next.
            let in_step = facts.sent_at.get().is_some();
            download.relay(&mut reader, announced, head_request).await?;
            Ok(announced.persistent && in_step)
        };
        both(upload, download).await
    };
    let reusable = result.map_err(|reason| Failed {
        reason,
        retry: false,
    })?;
    // How long the client took to send its body is not the endpoint's doing.
    let answered = facts.upstream.get().map(|took| begin + took);
    if let (Some(at), Some(sent)) = (answered, facts.sent_at.get())
        && let Some(took) = at.checked_duration_since(sent)
    {
        lease.answered(took, parts.response.status, sent);
    }
    if reusable {
        worker.keep(upstream);
    }
    Ok(())
}

/// Runs both directions until the response has ended. The client's faults end both; the
/// backend's refusal to read more does not, for its answer may say why.
pub(super) async fn both<T>(
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
pub(super) async fn while_wanted<T>(
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
pub(super) async fn gone<B: RequestBody>(body: &mut B, facts: &Facts) {
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
