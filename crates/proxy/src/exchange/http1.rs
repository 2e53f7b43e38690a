//! Exchanges with endpoints that speak HTTP/1.

use std::time::Instant;

use super::concurrent::{both, gone, while_wanted};
use super::download::{Download, Limits};
use super::forward::Failed;
use super::parts::{Facts, Parts, late};
use super::replay::{Kept, Replay};
use super::tunnel::tunnel;
use super::upload::Upload;
use crate::client::{Length, RequestBody, ResponseSink};
use crate::http1::stream::Writer;
use crate::record::Reason;
use crate::timer::Timer;
use crate::upstream::Upstream;

/// Whether a request may be made again though it may have been served (RFC 9110, section 9.2.2).
pub(super) fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE")
}

/// A request without a body, which may also open a tunnel.
pub(super) async fn without_body<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &mut B,
    sink: &mut S,
    facts: &Facts,
    limits: &Limits<'_>,
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
                retry: limits.again(Reason::UpstreamClosed, idempotent),
            });
        }
        Err(elapsed) => {
            let reason = late(elapsed, Reason::ResponseTimeout);
            return Err(Failed {
                reason,
                retry: limits.again(reason, idempotent),
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
            limits.unwanted(download.response.status)?;
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
    let announced = result.map_err(|reason| Failed {
        reason,
        // Where nothing of a response has gone out, the client cannot tell the difference.
        retry: limits.again(reason, idempotent) && !facts.is_answering(),
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

/// A request with a body that may have to be sent again, as far as it is kept.
pub(super) async fn replayed<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &mut B,
    sink: &mut S,
    facts: &Facts,
    limits: &Limits<'_>,
    (upstream, kept): (Upstream, &mut Kept),
) -> Result<(), Failed> {
    let begin = Instant::now();
    // Of what was sent before nothing counts.
    facts.bytes_in.set(0);
    kept.keep_head(parts.upstream_out);
    let mut body = Replay::new(body, kept, facts);
    let sent = with_body(parts, &mut body, sink, facts, limits, upstream, begin).await;
    sent.map_err(|failed| Failed {
        retry: failed.retry && kept.is_whole(),
        ..failed
    })
}

/// A request with a body: it is sent while the response may already come back.
pub(super) async fn with_body<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &mut B,
    sink: &mut S,
    facts: &Facts,
    limits: &Limits<'_>,
    mut upstream: Upstream,
    begin: Instant,
) -> Result<(), Failed> {
    let worker = parts.worker;
    let head_request = parts.request.method() == b"HEAD";
    let (lease, stream, mut reader) = upstream.split(&worker.buffers);
    let upload = Upload {
        timer: Timer::until(parts.timer.total),
        body_limit: worker.settings().timeouts.body,
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
            limits.unwanted(download.response.status)?;
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
        retry: limits.route.is_some() && limits.again(reason, false) && !facts.is_answering(),
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
