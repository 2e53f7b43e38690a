//! A request's way, from its head to its line in the log. [`run`] names the phases in order.

mod aside;
mod auth;
mod auth_request;
mod challenge;
mod clients;
mod concurrent;
mod course;
mod detour;
mod download;
mod error_page;
mod ext_authz;
mod fastcgi;
mod forward;
mod gather;
mod guard;
mod http1;
mod http2;
mod mirror;
mod named_host;
mod pace;
mod parts;
mod prepare;
mod replay;
mod trace;
mod tunnel;
mod upload;

use model::Rule;

use crate::access_log::{Detail, Ended as Done, Trail};
use crate::client::{Connection, RequestBody, ResponseSink};
use crate::filters::Answer;
use crate::forwarded;
use crate::grpc;
use crate::headers::{Headers, Name, RequestHead};
use crate::record::{Reason, Record};
use crate::respond::{self, Form};
use crate::worker::Worker;

use detour::Ended;
pub(crate) use gather::Gathered;
pub(crate) use mirror::Mirrors;
pub(crate) use named_host::NamedHosts;
pub(crate) use parts::{Facts, Parts, Start};
use prepare::{Next, Routed};

/// Answers one request. True if the response went out whole.
pub(crate) async fn run<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &mut B,
    sink: &mut S,
) -> bool {
    parts.worker.keep_in_step();
    let facts = Facts::default();
    facts.body_done.set(body.is_done());
    facts.trail.replace(parts.worker.trail(parts.request));
    parts.timer.total = None;
    let mut rule = None;
    let mut answer = None;
    let result = match begin(parts, body, &facts) {
        Ok(Routed { rule: held, next }) => {
            let held = rule.insert(held);
            match next {
                Next::Forward => match prepare::backend(held.rule(), &facts) {
                    Ok(backend) => {
                        forward::forward(parts, body, sink, &facts, held.rule(), backend).await
                    }
                    Err(reason) => Err(reason),
                },
                Next::Answer(given) => Err(answer.insert(given).reason()),
                // Boxed: most rules have no such filters, and their exchanges stay small.
                Next::Filter(pending) => {
                    let filtered = detour::run(parts, body, sink, &facts, held, *pending);
                    Box::pin(filtered).await.map_err(|ended| match ended {
                        Ended::Answer(given) => answer.insert(given).reason(),
                        Ended::Reason(reason) => reason,
                    })
                }
            }
        }
        Err(Ended::Answer(given)) => Err(answer.insert(given).reason()),
        Err(Ended::Reason(reason)) => Err(reason),
    };
    let (whole, reason) = match result {
        Ok(()) => (true, None),
        Err(reason) if sink.is_begun() || reason == Reason::ClientClosed => {
            sink.abort();
            (false, Some(reason))
        }
        Err(reason) => (
            send(parts, body, sink, &facts, reason, answer).await,
            Some(reason),
        ),
    };
    record(parts, &facts, rule.as_ref().map(|held| held.rule()), reason);
    whole
}

/// What comes before anything is sent.
#[inline]
fn begin<B: RequestBody>(parts: &mut Parts<'_>, body: &B, facts: &Facts) -> Result<Routed, Ended> {
    match challenge::answer(parts) {
        Some(answer) => Err(Ended::Answer(answer)),
        None => prepare::prepare(parts, body, facts).map_err(|reason| {
            if forwarded::is_named(parts.request, parts.connection) {
                forwarded::rename(parts.request);
            }
            Ended::Reason(reason)
        }),
    }
}

/// Sends an answer of our own. True if it went out whole.
async fn send<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &B,
    sink: &mut S,
    facts: &Facts,
    reason: Reason,
    answer: Option<Answer>,
) -> bool {
    let worker = parts.worker;
    let content_type = parts.request.headers.get(Name::ContentType);
    let form = match (&answer, content_type) {
        (
            Some(Answer::Redirect {
                status, location, ..
            }),
            _,
        ) => Form::Redirect(*status, location),
        (Some(Answer::Given(given, _)), _) => Form::Given(given),
        (None, Some(value)) if grpc::of_content_type(value).is_some() => Form::Grpc(value),
        (None, _) => Form::Text,
    };
    facts.status.set(form.status(reason));
    // What was refused for its form may go on in a form that we misread.
    let suspicious = matches!(respond::status(reason), 400 | 408 | 413 | 417);
    let keep = body.is_done() && !suspicious && !worker.is_draining();
    parts.timer.total = None;
    let edit = |headers: &mut Headers| facts.edit(worker, headers);
    let send = respond::send(worker, parts.response, sink, reason, form, keep, edit);
    let sent = parts
        .timer
        .limit(worker.settings().timeouts.write, send)
        .await;
    let Ok(Ok(length)) = sent else {
        sink.abort();
        return false;
    };
    if parts.request.method() != b"HEAD" {
        Facts::add(&facts.bytes_out, length);
    }
    true
}

fn record(parts: &Parts<'_>, facts: &Facts, rule: Option<&Rule>, reason: Option<Reason>) {
    let chosen = rule.and_then(|rule| prepare::backend(rule, facts).ok());
    let backend = chosen.map_or("", |backend| &*backend.name);
    let begun = begun(parts.connection, parts.request, parts.start);
    let record = Record {
        client: facts.client.get().unwrap_or(begun.client),
        status: facts.status.get(),
        reason,
        route: rule.map_or("", |rule| &rule.route),
        backend,
        endpoint: facts.endpoint.get(),
        attempts: facts.attempts.get(),
        upstream: facts.upstream.get(),
        bytes_in: facts.bytes_in.get(),
        bytes_out: facts.bytes_out.get(),
        host_slot: facts.host_slot.get(),
        unlogged: rule
            .and_then(|rule| rule.extras.as_ref())
            .is_some_and(|extras| extras.unlogged),
        ..begun
    };
    if let Some(trace) = facts.trace.take() {
        let secure = chosen.is_some_and(|backend| backend.transport.tls.is_some());
        trace::tell(parts, *trace, &record, rule, secure);
    }
    match facts.trail.take() {
        None => parts.worker.record(&record),
        Some(mut trail) => in_detail(parts, facts, rule, &record, &mut trail),
    }
}

/// Records what has a line in one of nginx's formats.
#[cold]
fn in_detail(
    parts: &Parts<'_>,
    facts: &Facts,
    rule: Option<&Rule>,
    record: &Record<'_>,
    trail: &mut Trail,
) {
    // An attempt during which the whole exchange's time was over has not been told of its end.
    trail.end(Done {
        status: record.reason.map_or(0, respond::status),
        ..Done::default()
    });
    let detail = Detail {
        trail,
        connection: parts.connection,
        request: parts.request,
        response: (record.status != 0).then_some(&*parts.response),
        rule,
        share: facts.share.get().map(usize::from),
        secure: facts.secure.get(),
    };
    parts.worker.record_in_detail(record, &detail);
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
        status,
        reason: Some(reason),
        ..begun(connection, request, start)
    });
}

/// What is known of a request before anything has come of it.
fn begun<'a>(connection: &'a Connection, request: &'a RequestHead, start: Start) -> Record<'a> {
    let field = |name| request.headers.get(name).unwrap_or_default();
    Record {
        port: connection.entrance.port,
        start: start.time,
        client: connection.peer.ip(),
        method: request.method(),
        host: request.authority(),
        target: request.target(),
        version: request.version,
        tls: connection.tls.as_ref().map(|tls| tls.version),
        status: 0,
        reason: None,
        route: "",
        backend: "",
        endpoint: None,
        attempts: 0,
        duration: start.clock.elapsed(),
        upstream: None,
        bytes_in: 0,
        bytes_out: 0,
        request_id: field(Name::XRequestId),
        user_agent: field(Name::UserAgent),
        referer: field(Name::Referer),
        host_slot: 0,
        unlogged: false,
    }
}
