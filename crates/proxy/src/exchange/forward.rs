//! Forwarding: pick an endpoint, send the request, relay the response.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use model::{Backend, Rule, Timeouts};

use super::download::Download;
use super::parts::{Facts, Parts, late};
use super::tunnel::tunnel;
use super::upload::{Upload, UploadEnd};
use crate::client::{Closed, Length, RequestBody, ResponseSink};
use crate::http1::stream::Writer;
use crate::record::Reason;
use crate::timer::Timer;
use crate::upstream::{ConnectError, Upstream, balance};

/// The most endpoints that one request tries.
const MAX_ATTEMPTS: usize = 3;

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
    let mut tried: [u64; MAX_ATTEMPTS] = [0; MAX_ATTEMPTS];
    let mut fresh = false;
    let mut last = None;
    for attempt in 0..=MAX_ATTEMPTS {
        // A pooled connection that had died is no attempt at an endpoint: the last round is for it.
        let Some(endpoint) = balance::pick(&parts.worker.upstreams, backend, &tried) else {
            let why = || backend.endpoints().unavailable.map(Reason::Unavailable);
            return Err(last.or_else(why).unwrap_or(Reason::ConnectFailed));
        };
        facts.endpoint.set(Some(endpoint.address()));
        facts.attempts.set(facts.attempts.get().saturating_add(1));
        let id = endpoint.id();
        let upstream = match parts
            .worker
            .upstreams
            .connect(endpoint, fresh, rule.timeouts.connect)
            .await
        {
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
            Err(Failed {
                reason,
                retry: true,
            }) if attempt < MAX_ATTEMPTS => {
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
    let idempotent = matches!(
        parts.request.method(),
        b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE"
    );
    let written = parts
        .timer
        .limit(
            timeouts.send,
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
            return Err(Failed {
                reason: late(elapsed, Reason::ResponseTimeout),
                retry: false,
            });
        }
    }
    let head_request = parts.request.method() == b"HEAD";
    let mut download = Download {
        worker,
        timeouts,
        timer: parts.timer,
        response: parts.response,
        sink,
        facts,
    };
    let exchange = async {
        let parsed = download
            .read_head(&mut upstream, head_request, begin)
            .await?;
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
    // Without a byte of a response, the request may not have been seen at all.
    let parsed = result.map_err(|reason| Failed {
        reason,
        retry: idempotent && reason == Reason::UpstreamClosed,
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
    let mut download = Download {
        worker,
        timeouts: &rule.timeouts,
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
            let in_step = facts.request_sent.get();
            download.relay(&mut receiving, parsed, head_request).await?;
            Ok(parsed.persistent && in_step)
        };
        both(upload, download).await
    };
    let reusable = result.map_err(|reason| Failed {
        reason,
        retry: false,
    })?;
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
