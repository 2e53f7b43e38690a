//! Forwarding: pick an endpoint, send the request, relay the response.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use model::policy::Retry;
use model::{Backend, HttpVersion, Rule};

use super::course::{Course, Next};
use super::download::Limits;
use super::parts::{Facts, Parts};
use super::replay::Kept;
use super::{fastcgi, http1, http2, trace};
use crate::client::{Length, RequestBody, ResponseSink};
use crate::filters;
use crate::proxy_header;
use crate::record::Reason;
use crate::timer::Timer;
use crate::upstream::Connected;
use crate::upstream::balance::Members;

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
    let mut course = Course::new(worker, backend, rule, parts.start.clock);
    let _permit = match course.members.policy().max_requests {
        0 => None,
        most => Some(backend.admit(most).ok_or(Reason::Overloaded)?),
    };
    let bodiless = matches!(body.length(), Length::Absent | Length::Known(0));
    course.about(parts, facts, !bodiless && !body.rewind());
    let opening = opening(parts, facts, &course.members);
    let mut kept: Option<Box<Kept>> = None;
    let total = parts.timer.total;
    let attempt = rule.timeouts.attempt;
    loop {
        let endpoint = course.choose(parts, facts)?;
        trace::attempt(parts, facts, endpoint.address());
        let (fresh, begun) = (course.fresh, course.now);
        let limit = tighter(rule.timeouts.connect, course.retry.per_try);
        let limit = tighter(limit, attempt);
        let announced = opening.as_ref().filter(|_| !endpoint.shares_connections());
        let mut connected = if let Some(opening) = announced {
            let endpoint = Rc::clone(&endpoint);
            let offer = HttpVersion::Http1.into();
            let connect = worker.upstreams.announced(endpoint, opening, offer, limit);
            let connected = Box::pin(in_time(total, connect)).await?;
            connected.map(Connected::Http1)
        } else if endpoint.is_plain_http1() {
            match worker.upstreams.idle(&endpoint, fresh) {
                Some(upstream) => Ok(Connected::Http1(upstream)),
                None => {
                    let connect = worker.upstreams.connect(Rc::clone(&endpoint), limit);
                    // Boxed: most requests find a connection, and have no such future to carry.
                    let connected = Box::pin(in_time(total, connect)).await?;
                    connected.map(Connected::Http1)
                }
            }
        } else {
            let upgrade = parts.tunnel.is_some();
            let endpoint = Rc::clone(&endpoint);
            let negotiate = worker.upstreams.negotiate(endpoint, fresh, upgrade, limit);
            // A handshake's future is several times as large as all else here.
            Box::pin(in_time(total, negotiate)).await?
        };
        let reused = connected.as_ref().is_ok_and(Connected::is_reused);
        if connected.is_ok() {
            worker.metrics.upstream_used(reused);
        }
        if let Ok(Connected::Http1(upstream)) = &mut connected
            && rule
                .extras
                .as_ref()
                .is_some_and(|extras| extras.ends_connections())
        {
            upstream.end_after();
        }
        let begin = Instant::now();
        let retry = match bodiless || rule.retry.is_some() {
            true => course.retry,
            false => Retry::NONE,
        };
        let limits = limits(rule, &retry, &course);
        if !attempt.is_zero() {
            let end = (begun + attempt).into();
            parts.timer.total = Some(total.map_or(end, |total| total.min(end)));
        }
        // One match for all, as each binding that holds a connection makes the future larger.
        let result = match connected {
            Err(error) => Err(error),
            Ok(Connected::Http1(upstream)) if let Some(settings) = endpoint.fastcgi() => {
                let kept = kept.get_or_insert_default();
                let way = fastcgi::Way {
                    rule,
                    backend: &backend.name,
                    settings,
                    upstream,
                };
                // As with HTTP/2.
                let exchange = fastcgi::exchange(parts, body, sink, facts, &limits, way, kept);
                Ok(Box::pin(exchange).await)
            }
            // An endpoint that took HTTP/2 before: what was sent then is here no more.
            Ok(Connected::Http1(_))
                if rule.retry.is_none() && kept.as_ref().is_some_and(|kept| !kept.is_empty()) =>
            {
                Ok(Err(Failed {
                    reason: course.last.unwrap_or(Reason::UpstreamClosed),
                    retry: false,
                }))
            }
            Ok(Connected::Http1(upstream)) if bodiless => {
                Ok(http1::without_body(parts, body, sink, facts, &limits, upstream, begin).await)
            }
            Ok(Connected::Http1(upstream)) if rule.retry.is_some() => {
                let kept = kept.get_or_insert_default();
                // As with HTTP/2.
                Ok(Box::pin(http1::replayed(
                    parts,
                    body,
                    sink,
                    facts,
                    &limits,
                    (upstream, kept),
                ))
                .await)
            }
            Ok(Connected::Http1(upstream)) => {
                Ok(http1::with_body(parts, body, sink, facts, &limits, upstream, begin).await)
            }
            Ok(Connected::Http2(stream)) => {
                let kept = kept.get_or_insert_default();
                let way = http2::Way { limits, stream };
                // A future of its own: exchanges by HTTP/1, of which there are many, stay small.
                Ok(Box::pin(http2::exchange(parts, body, sink, facts, way, kept)).await)
            }
        };
        parts.timer.total = total;
        let whole = kept.as_ref().is_none_or(|kept| kept.is_whole());
        let late = |failed| late(failed, rule, total, whole && !facts.is_answering());
        let result = result.map(|result| result.map_err(late));
        match &result {
            Ok(Ok(())) => facts.end_attempt(Some(begin), None),
            Ok(Err(failed)) => facts.end_attempt(Some(begin), Some(failed.reason)),
            Err(error) => facts.end_attempt(None, Some(error.reason())),
        }
        let failed = match result {
            Ok(result) => match course.weigh(&endpoint, facts, result, reused, begin) {
                Next::End(result) => return result,
                Next::Reconnect => {
                    trace::failed(facts, Reason::UpstreamClosed);
                    continue;
                }
                Next::Retry(failed) => failed,
            },
            Err(error) => {
                worker.metrics.upstream_connect_failed();
                let reason = error.reason();
                course.judge(&endpoint, facts, Err(reason), begun);
                reason
            }
        };
        trace::failed(facts, failed);
        course.go_on(&endpoint, failed)?;
        if rule.retry.is_some() {
            begin_again(facts);
            let pause = course.pause();
            if !pause.is_zero() {
                // A timer of its own, which few exchanges need.
                Box::pin(in_time(total, tokio::time::sleep(pause))).await?;
                course.now = Instant::now();
            }
        }
    }
}

/// What a time limit of one attempt has ended, where that is not the end of the whole exchange.
fn late(failed: Failed, rule: &Rule, total: Option<tokio::time::Instant>, again: bool) -> Failed {
    let ended = || total.is_some_and(|total| tokio::time::Instant::now() >= total);
    if failed.reason != Reason::RequestTimeout || rule.timeouts.attempt.is_zero() || ended() {
        return failed;
    }
    Failed {
        reason: Reason::ResponseTimeout,
        retry: rule.retry.as_ref().is_some_and(|retry| retry.on.timeout) && again,
    }
}

/// Forgets what an attempt came to.
fn begin_again(facts: &Facts) {
    facts.upstream.set(None);
    facts.sent_at.set(None);
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
fn limits<'a>(rule: &'a Rule, retry: &Retry, course: &Course<'a>) -> Limits<'a> {
    let timeouts = &rule.timeouts;
    Limits {
        send: tighter(timeouts.send, retry.per_try),
        head: tighter(timeouts.read, retry.per_try),
        read: timeouts.read,
        max_body: rule.max_body,
        late_again: !retry.per_try.is_zero(),
        route: rule.retry.as_ref().map(|retry| retry.on),
        repeatable: course.repeatable,
        until: course.until(),
        codes: course.codes(),
        errors: filters::error_pages(&rule.filters),
    }
}
