//! Asks somebody whether a request may pass (GEP-1494).

use std::time::Duration;

use model::filter::{AuthProtocol, ExternalAuth};

use super::aside::{Aside, Reply};
use super::detour::{Ended, Spool};
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
            let limit = parts.worker.settings.timeouts.body;
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
            };
            let reply = aside.make(&auth.backend).await;
            let Reply { given, .. } = reply.map_err(|reason| failed(auth, reason))?;
            if given.status != 200 {
                return Err(denied(given));
            }
            take_over(&mut parts.request.headers, &given.headers, response_headers);
            Ok(())
        }
        AuthProtocol::Grpc { .. } => Err(failed(auth, Reason::UpstreamProtocol)),
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
        let is_named = |named: &Box<str>| name.eq_ignore_ascii_case(named.as_bytes());
        if name.eq_ignore_ascii_case(b"authorization") || headers.iter().any(is_named) {
            question.headers.push_known(token, name, value);
        }
    }
    question
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
    let is_wanted = |name: &[u8]| {
        named.is_empty()
            || named
                .iter()
                .any(|one| name.eq_ignore_ascii_case(one.as_bytes()))
    };
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
