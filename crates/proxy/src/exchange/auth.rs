//! Asks somebody whether a request may pass (GEP-1494).

use std::time::Duration;

use model::filter::{AuthProtocol, ExternalAuth};

use super::aside::{Aside, Reply};
use super::detour::{Ended, Spool};
use super::ext_authz::{self, Check, Verdict};
use super::parts::Parts;
use crate::client::RequestBody;
use crate::filters::Answer;
use crate::headers::{Headers, Name, Names, RequestHead};
use crate::record::{Reason, Version};
use crate::respond::Given;

/// How much of a refusal's body the client is shown.
const MOST_BODY: usize = 64 * 1024;

/// How long an answer may take where nothing is said.
const LIMIT: Duration = Duration::from_secs(10);

/// Asks; what the answer says of the request's fields is done. Whoever cannot be asked has not
/// said yes.
pub(super) async fn ask<B: RequestBody>(
    auth: &ExternalAuth,
    parts: &mut Parts<'_>,
    body: &mut Spool<'_, B>,
) -> Result<(), Ended> {
    let most = usize::try_from(auth.body).unwrap_or(usize::MAX);
    let limit = match auth.timeout {
        Duration::ZERO => LIMIT,
        limit => limit,
    };
    let shown = match most {
        0 => &[][..],
        most => {
            let read = body.peek(most);
            let limit = parts.worker.settings().timeouts.body;
            let read = parts.timer.limit(limit, read).await;
            read.map_err(|_| Reason::BodyTimeout)??
        }
    };
    match &auth.protocol {
        AuthProtocol::Http {
            path,
            headers,
            response_headers,
        } => {
            let mut question = question(parts.request, headers);
            let target = [
                path.trim_end_matches('/').as_bytes(),
                parts.request.target(),
            ]
            .concat();
            let aside = Aside {
                worker: parts.worker,
                connection: parts.connection,
                request: &mut question,
                target: &target,
                body: shown,
                limit,
                most: MOST_BODY,
                logged: None,
            };
            let reply = aside.make(&auth.backend).await;
            let Reply { given, .. } = reply.map_err(|reason| failed(auth, reason))?;
            if given.status != 200 {
                return Err(denied(given));
            }
            take_over(&mut parts.request.headers, &given.headers, response_headers);
            Ok(())
        }
        AuthProtocol::Grpc { headers } => {
            let message = check(parts, headers, shown).encode();
            let aside = Aside {
                worker: parts.worker,
                connection: parts.connection,
                request: &mut call(),
                target: CHECK,
                body: &message,
                limit,
                most: MOST_BODY,
                logged: None,
            };
            let reply = aside.make(&auth.backend).await;
            let reply = reply.map_err(|reason| failed(auth, reason))?;
            let verdict = Some(&reply)
                .filter(|reply| is_answered(reply))
                .and_then(|reply| ext_authz::decode(&reply.given.body));
            match verdict {
                Some(Verdict::Pass(pass)) => {
                    pass.apply(&mut parts.request.headers);
                    Ok(())
                }
                Some(Verdict::Deny(given)) => Err(denied(given)),
                None => Err(failed(auth, Reason::UpstreamProtocol)),
            }
        }
    }
}

/// Whether a field of an answer may go further: it frames no message, and stays in its line.
pub(super) fn may_be_given(name: &[u8], value: &[u8]) -> bool {
    let token = Name::of(name);
    !token.is_hop_by_hop()
        && !matches!(token, Name::Host | Name::ContentLength | Name::Trailer)
        && http::HeaderName::from_bytes(name).is_ok()
        && http::HeaderValue::from_bytes(value).is_ok()
}

/// The method that is called.
const CHECK: &[u8] = b"/envoy.service.auth.v3.Authorization/Check";

/// The head of such a call.
fn call() -> RequestHead {
    let mut call = RequestHead::default();
    call.start(Version::Http11, b"POST", CHECK);
    call.set_authority(b"ext-authz");
    let fields = &mut call.headers;
    fields.push_known(Name::ContentType, b"Content-Type", b"application/grpc");
    call
}

/// Whether a call has succeeded; its status is in the trailers, or in the head if there is nothing
/// else.
fn is_answered(reply: &Reply) -> bool {
    let status = |headers: &Headers| {
        headers
            .joined(b"grpc-status")
            .map(|status| status == &b"0"[..])
    };
    let status = status(&reply.trailers).or_else(|| status(&reply.given.headers));
    reply.given.status == 200 && status == Some(true)
}

/// What is told of a request: the fields that are named, or all.
fn check<'a>(parts: &'a Parts<'_>, named: &[Box<str>], body: &'a [u8]) -> Check<'a> {
    let request = &*parts.request;
    let mut headers: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for (_, name, _) in request.headers.iter() {
        let name = name.to_ascii_lowercase();
        let wanted = named.is_empty() || has(named, &name);
        if wanted && !headers.iter().any(|(known, _)| *known == name) {
            let value = request.headers.joined(&name).unwrap_or_default();
            headers.push((name, value.into_owned()));
        }
    }
    Check {
        source: parts.connection.peer,
        destination: parts.connection.local,
        id: request.headers.get(Name::XRequestId).unwrap_or_default(),
        method: request.method(),
        path: request.target(),
        host: request.authority(),
        scheme: match parts.connection.tls {
            Some(_) => "https",
            None => "http",
        },
        protocol: request.version.as_str(),
        headers,
        body,
    }
}

/// The client's method, host and credentials, and what fields it is to be shown besides.
fn question(request: &RequestHead, headers: &[Box<str>]) -> RequestHead {
    let mut question = RequestHead::default();
    let method = match request.method() {
        // Which opens a WebSocket; here it would open a tunnel.
        b"CONNECT" => b"GET",
        method => method,
    };
    question.start(Version::Http11, method, request.target());
    question.set_authority(request.authority());
    for (token, name, value) in request.headers.iter() {
        if name.eq_ignore_ascii_case(b"authorization") || has(headers, name) {
            question.headers.push_known(token, name, value);
        }
    }
    question
}

/// Whether a name is among these.
fn has(names: &[Box<str>], name: &[u8]) -> bool {
    let mut names = names.iter();
    names.any(|one| name.eq_ignore_ascii_case(one.as_bytes()))
}

/// Gives the request the fields of an answer that it is to have: those that are named, or all.
fn take_over(to: &mut Headers, from: &Headers, named: &[Box<str>]) {
    // About the answer itself.
    const NEVER: Names = Names::of(&[
        Name::Host,
        Name::ContentLength,
        Name::ContentType,
        Name::Date,
        Name::Trailer,
    ]);
    let is_wanted = |name: &[u8]| named.is_empty() || has(named, name);
    let wanted = || {
        let fields = from.iter();
        fields.filter(|&(token, name, _)| {
            !token.is_hop_by_hop() && !NEVER.has(token) && is_wanted(name)
        })
    };
    for (_, name, _) in wanted() {
        to.remove_named(name);
    }
    for (token, name, value) in wanted() {
        to.push_known(token, name, value);
    }
}

/// What the client hears of a refusal.
fn denied(mut given: Given) -> Ended {
    if given.status < 300 {
        given.status = 403;
    }
    Ended::Answer(Answer::Given(Box::new(given), Reason::AuthDenied))
}

fn failed(auth: &ExternalAuth, reason: Reason) -> Ended {
    let (backend, reason) = (&auth.backend.name, reason.as_str());
    tracing::debug!(%backend, reason, "nobody says whether a request may pass");
    Ended::Reason(Reason::AuthFailed)
}
