//! Forwarding: pick an endpoint, send the request, relay the response.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use model::endpoint::Failure;
use model::policy::Retry;
use model::{Backend, Rule, Timeouts};

use super::download::{Download, Limits};
use super::parts::{Facts, Parts, late};
use super::tunnel::tunnel;
use super::upload::{Upload, UploadEnd};
use crate::client::{Closed, Length, RequestBody, ResponseSink};
use crate::http1::stream::Writer;
use crate::record::Reason;
use crate::timer::Timer;
use crate::upstream::balance::{self, Affinity, Ask, Choice, Members};
use crate::upstream::{ConnectError, EndpointState, Upstream};
use crate::worker::Worker;

/// How long a client that has closed its direction waits for more of an answer.
const HALF_CLOSED: Duration = Duration::from_secs(5);

/// Why an attempt failed, and whether another may be made.
struct Failed {
    reason: Reason,
    retry: bool,
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
    let mut tried = Tried::default();
    let mut now = parts.start.clock;
    let mut fresh = false;
    let mut last = None;
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
        let connect = worker.upstreams.connect(Rc::clone(&endpoint), fresh, limit);
        let failed = match in_time(parts.timer.total, connect).await? {
            Ok(upstream) => {
                let reused = upstream.reused;
                worker.metrics.upstream_used(reused);
                let begin = Instant::now();
                let bodiless = matches!(body.length(), Length::Absent | Length::Known(0));
                let result = if bodiless {
                    let limits = limits(&rule.timeouts, &retry);
                    without_body(parts, body, sink, facts, &limits, upstream, begin).await
                } else {
                    with_body(parts, body, sink, facts, rule, upstream, begin).await
                };
                let outcome = result.as_ref().map_err(|failed| failed.reason).copied();
                // That a kept connection was closed meanwhile is nobody's fault.
                let closed = reused && outcome == Err(Reason::UpstreamClosed);
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
                let reason = match error {
                    ConnectError::Failed => Reason::ConnectFailed,
                    ConnectError::Timeout => Reason::ConnectTimeout,
                };
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
fn limits(timeouts: &Timeouts, retry: &Retry) -> Limits {
    Limits {
        send: tighter(timeouts.send, retry.per_try),
        head: tighter(timeouts.read, retry.per_try),
        read: timeouts.read,
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
    let idempotent = matches!(
        parts.request.method(),
        b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE"
    );
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
    let exchange = async {
        let parsed = download
            .read_head(&mut upstream, head_request, begin)
            .await?;
        if let Some(took) = facts.upstream.get() {
            upstream.answered(took, download.response.status, begin);
        }
        if download.response.status != 101 {
            download.relay(&mut upstream, parsed, head_request).await?;
        }
        Ok(parsed)
    };
    let result = match parts.tunnel {
        // What the client sends from here on may be the tunnel's.
        Some(_) => exchange.await,
        None => while_wanted(exchange, gone(body, facts)).await,
    };
    let parsed = result.map_err(|reason| {
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
    if parsed.persistent {
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
    rule: &Rule,
    mut upstream: Upstream,
    begin: Instant,
) -> Result<(), Failed> {
    let worker = parts.worker;
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
    let mut download = Download {
        worker,
        limits: limits(&rule.timeouts, &Retry::NONE),
        timer: parts.timer,
        response: parts.response,
        sink,
        facts,
    };
    let result = {
        let upload = upload.run(body, &mut writer);
        let download = async {
            let parsed = download
                .read_head(&mut receiving, head_request, begin)
                .await?;
            if download.response.status == 101 {
                return Err(Reason::UpstreamProtocol);
            }
            // A response to half a request: the backend may take the other half for another
            // request, and its answer for that one must not wait for whoever comes next.
            let in_step = facts.sent_at.get().is_some();
            download.relay(&mut receiving, parsed, head_request).await?;
            Ok(parsed.persistent && in_step)
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
        upstream.answered(took, parts.response.status, sent);
    }
    if reusable {
        worker.keep(upstream);
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
