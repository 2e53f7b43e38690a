//! Asks somebody whether a request may pass, by a request of our own (ingress-nginx: `auth-url`;
//! nginx: `auth_request`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use model::PathMatch;
use model::filter::access::{AuthCache, AuthRequest};
use model::text::Text;

use super::aside::{Aside, Logged};
use super::detour::Ended;
use super::guard::{Refusal, Verdict, page};
use super::named_host;
use super::parts::{Cookies, Facts, Parts};
use super::prepare::Pending;
use crate::filters::{Answer, snippet};
use crate::headers::{Headers, Name, RequestHead};
use crate::record::{Reason, Version};
use crate::respond::Given;
use crate::variables::{Scope, expand};
use crate::worker::HeldRule;

/// Asks. What the answer says of the request's fields is done, and its cookies are remembered for
/// the client; whoever cannot be asked has not said yes.
pub(super) async fn ask(
    auth: &AuthRequest,
    parts: &mut Parts<'_>,
    facts: &Facts,
    held: &Rc<HeldRule>,
    pending: &Pending,
) -> Result<Verdict, Ended> {
    let answer = match &auth.cache {
        Some(cache) => {
            let key = key(cache, parts, held, pending);
            let answers = &parts.worker.admission.guards.answers;
            match answers.get(&key) {
                Some(known) => known,
                None => {
                    let answer = Arc::new(make(auth, parts, held, pending).await?);
                    if let Some(time) = lifetime(cache, &answer) {
                        answers.put(&key, &answer, time);
                    }
                    answer
                }
            }
        }
        None => Arc::new(make(auth, parts, held, pending).await?),
    };
    let cookies: Vec<_> = values(&answer.headers, b"set-cookie").collect();
    if !cookies.is_empty() {
        facts.give_cookies(
            held,
            Cookies {
                values: cookies,
                always: auth.always_cookies,
            },
        );
    }
    match answer.status {
        200..=299 => {
            take_over(auth, parts.request, &answer.headers);
            Ok(Verdict::Pass)
        }
        status @ (401 | 403) => Ok(Verdict::Refuse(Refusal {
            status,
            challenges: match status {
                401 => values(&answer.headers, b"www-authenticate").collect(),
                _ => Vec::new(),
            },
            reason: Reason::AuthDenied,
        })),
        status => {
            let backend = &auth.backend.name;
            tracing::debug!(%backend, status, "who was asked says neither yes nor no");
            Err(page(500, Reason::AuthFailed, Vec::new()))
        }
    }
}

/// Where a client is sent that is to sign in.
pub(super) fn signin(
    to: &Text,
    parts: &Parts<'_>,
    held: &Rc<HeldRule>,
    pending: &Pending,
) -> Vec<u8> {
    let mut location = expand(to, &scope(parts, held, pending));
    // It becomes one line, whatever the client's own fields are.
    location.retain(|byte| !byte.is_ascii_control());
    if location.starts_with(b"/") && !location.starts_with(b"//") {
        let scheme: &[u8] = match parts.connection.tls {
            Some(_) => b"https://",
            None => b"http://",
        };
        location = [scheme, pending.host.as_bytes(), &location].concat();
    }
    location
}

async fn make(
    auth: &AuthRequest,
    parts: &Parts<'_>,
    held: &Rc<HeldRule>,
    pending: &Pending,
) -> Result<Given, Ended> {
    let mut asking = None;
    if let Some(snippet) = &auth.snippet {
        let frame = snippet::Frame {
            connection: parts.connection,
            client: pending.client,
            host: &pending.host,
            rule: held.rule(),
        };
        let request = asking.insert(parts.request.clone());
        let done = snippet::run(snippet, request, &mut pending.path.clone(), frame);
        snippet::tell(done.told, request);
        match done.answer {
            Some(Answer::Given(given, _)) => return Ok(*given),
            Some(Answer::Redirect { status, .. }) => {
                return Ok(Given {
                    status,
                    ..Given::default()
                });
            }
            None => {}
        }
    }
    let asking = asking.as_ref().unwrap_or(parts.request);
    let mut question = question(auth, asking, parts, held, pending);
    let target = question.target().to_vec();
    let found = match &auth.named {
        None => None,
        Some(named) => {
            let authority = expand(&named.authority, &scope(parts, held, pending));
            let find = named_host::find(parts.worker, named, &authority);
            // Boxed, and within the time that the answer may take.
            let found = tokio::time::timeout(auth.timeout, Box::pin(find)).await;
            let Ok(Some(found)) = found else {
                return Err(page(500, Reason::AuthFailed, Vec::new()));
            };
            Some(found)
        }
    };
    let backend = found.as_ref().unwrap_or(&auth.backend);
    let aside = Aside {
        worker: parts.worker,
        connection: parts.connection,
        request: &mut question,
        target: &target,
        body: &[],
        limit: auth.timeout,
        most: 0,
        logged: parts
            .worker
            .log
            .trail_of_question(parts.request)
            .map(|trail| Logged {
                trail,
                request: parts.request,
                rule: held.rule(),
                client: pending.client,
            }),
    };
    // Boxed: it is a whole exchange within ours.
    let reply = Box::pin(aside.make(backend)).await;
    reply.map(|reply| reply.given).map_err(|reason| {
        let (backend, reason) = (&backend.name, reason.as_str());
        tracing::debug!(%backend, reason, "nobody says whether a request may pass");
        page(500, Reason::AuthFailed, Vec::new())
    })
}

/// The client's fields, and what ingress-nginx tells besides.
fn question(
    auth: &AuthRequest,
    request: &RequestHead,
    parts: &Parts<'_>,
    held: &Rc<HeldRule>,
    pending: &Pending,
) -> RequestHead {
    let is_said = |name: &[u8]| {
        let snippet = auth.snippet.as_ref();
        let mut edits = snippet.iter().flat_map(|it| &it.location.edits.request);
        edits.any(|edit| edit.name.as_bytes().eq_ignore_ascii_case(name))
    };
    let scope = scope(parts, held, pending);
    let mut target = match &auth.target {
        Some(target) => expand(target, &scope),
        None => location(&held.rule().path),
    };
    target.retain(|byte| byte.is_ascii_graphic());
    let mut question = RequestHead::default();
    let method = auth.method.as_deref().unwrap_or("GET");
    question.start(Version::Http11, method.as_bytes(), &target);
    question.set_authority(&match is_said(b"host") {
        true => request.upstream_authority().to_vec(),
        false => clean(expand(&auth.host, &scope)),
    });

    let scheme: &[u8] = match parts.connection.tls {
        Some(_) => b"https",
        None => b"http",
    };
    let url = [scheme, b"://", request.authority(), request.target()].concat();
    let redirect = auth.redirect.as_ref();
    let redirect = redirect.map(|redirect| clean(expand(redirect, &scope)));
    let client = pending.client.address.to_string();
    let pass_scheme: &[u8] = if pending.client.secure {
        b"https"
    } else {
        b"http"
    };
    let mut told: Vec<(&[u8], &[u8])> = vec![
        (b"X-Original-URL", &url),
        (b"X-Original-Method", request.method()),
        (b"X-Sent-From", b"nginx-ingress-controller"),
        (b"X-Real-IP", client.as_bytes()),
        (b"X-Forwarded-For", client.as_bytes()),
        (
            b"X-Auth-Request-Redirect",
            redirect.as_deref().unwrap_or_else(|| request.target()),
        ),
    ];
    if auth.method.is_some() {
        told.push((b"X-Original-URI", request.target()));
        told.push((b"X-Scheme", pass_scheme));
    }
    let more = auth.fields.iter();
    let more: Vec<(&[u8], Vec<u8>)> = more
        .map(|(name, value)| (name.as_bytes(), clean(expand(value, &scope))))
        .collect();
    told.retain(|(name, _)| !more.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)));
    told.extend(more.iter().map(|(name, value)| (*name, &**value)));
    told.retain(|(name, _)| !is_said(name));

    for (token, name, value) in request.headers.iter() {
        let is_ours = matches!(
            token,
            Name::Expect
                | Name::XForwardedFor
                | Name::XForwardedHost
                | Name::XForwardedPort
                | Name::XForwardedProto
                | Name::XForwardedScheme
                | Name::XRealIp
                | Name::XScheme
        );
        let is_ours = is_ours && !is_said(name);
        if !is_ours && !told.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)) {
            question.headers.push_known(token, name, value);
        }
    }
    for (name, value) in told {
        // An empty one is none, as for nginx.
        if !value.is_empty() {
            question.headers.push(name, value);
        }
    }
    question
}

/// What nginx calls the location that asks, where the URL has no path of its own.
fn location(path: &PathMatch) -> Vec<u8> {
    let (path, kind) = match path {
        PathMatch::Exact(path) => (&**path, "Exact"),
        PathMatch::Prefix(path) if path.is_empty() => ("/", "Prefix"),
        PathMatch::Prefix(path) => (&**path, "Prefix"),
        PathMatch::Pattern(pattern) => (pattern.as_str(), "ImplementationSpecific"),
    };
    let path = BASE64_URL_SAFE_NO_PAD.encode(path);
    format!("/_external-auth-{path}-{kind}").into_bytes()
}

/// What can stand in one line.
fn clean(mut text: Vec<u8>) -> Vec<u8> {
    text.retain(|byte| !byte.is_ascii_control());
    text
}

fn scope<'a>(parts: &'a Parts<'_>, held: &'a Rc<HeldRule>, pending: &'a Pending) -> Scope<'a> {
    let rule = held.rule();
    Scope {
        request: parts.request,
        connection: parts.connection,
        client: pending.client,
        host: &pending.host,
        path: &pending.path,
        rule,
        backend: match &rule.action {
            model::Action::Forward(backend) => &backend.name,
            _ => "",
        },
        captures: &[],
        response: None,
    }
}

/// Gives the request the fields of the answer that it is to have, and nobody else's of that name.
fn take_over(auth: &AuthRequest, request: &mut RequestHead, from: &Headers) {
    for name in &auth.response_headers {
        let token = Name::of(name.as_bytes());
        if token.is_hop_by_hop() || matches!(token, Name::Host | Name::ContentLength) {
            continue;
        }
        request.headers.remove_named(name.as_bytes());
        if let Some(value) = from.joined(name.to_ascii_lowercase().as_bytes())
            && !value.is_empty()
        {
            request.headers.push_known(token, name.as_bytes(), &value);
        }
    }
}

fn values(headers: &Headers, wanted: &'static [u8]) -> impl Iterator<Item = Vec<u8>> {
    let fields = headers.iter();
    let fields = fields.filter(|(_, name, _)| name.eq_ignore_ascii_case(wanted));
    fields.map(|(_, _, value)| value.to_vec())
}

/// What an answer is remembered under: it is good for one rule of one host.
fn key(cache: &AuthCache, parts: &Parts<'_>, held: &Rc<HeldRule>, pending: &Pending) -> Vec<u8> {
    let rule = held.rule();
    let own = expand(&cache.key, &scope(parts, held, pending));
    let parts: [&[u8]; 4] = [
        pending.host.as_bytes(),
        rule.route.as_bytes(),
        rule.field.as_bytes(),
        &own,
    ];
    parts.join(&0)
}

/// How long an answer may be remembered, if at all: as it says itself, else as the annotation says.
fn lifetime(cache: &AuthCache, answer: &Given) -> Option<Duration> {
    let field = |name: &str| answer.headers.joined(name.as_bytes());
    if field("set-cookie").is_some() || field("vary").is_some() {
        return None;
    }
    if let Some(control) = field("cache-control") {
        let control = control.to_ascii_lowercase();
        for word in crate::headers::list(&control) {
            if [&b"no-cache"[..], b"no-store", b"private"].contains(&word) {
                return None;
            }
            let age = word.strip_prefix(b"s-maxage=");
            if let Some(age) = age.or_else(|| word.strip_prefix(b"max-age=")) {
                let age = std::str::from_utf8(age).ok()?.parse().ok()?;
                return (age > 0).then(|| Duration::from_secs(age));
            }
        }
    }
    match field("expires") {
        Some(_) => None,
        None => cache.validity(answer.status),
    }
}

#[cfg(test)]
mod tests {
    use model::filter::access::Validity;

    use super::*;

    #[test]
    fn an_answer_is_remembered_as_it_says_and_else_as_its_status_says() {
        let cache = AuthCache {
            key: Text::literal("key"),
            valid: [
                Validity {
                    codes: Some([200, 401].into()),
                    time: Duration::from_secs(60),
                },
                Validity {
                    codes: None,
                    time: Duration::from_secs(5),
                },
            ]
            .into(),
        };
        let of = |status, fields: &[(&str, &str)]| {
            let mut given = Given {
                status,
                ..Given::default()
            };
            for (name, value) in fields {
                given.headers.push(name.as_bytes(), value.as_bytes());
            }
            lifetime(&cache, &given).map(|time| time.as_secs())
        };
        assert_eq!(of(200, &[]), Some(60));
        assert_eq!(of(403, &[]), Some(5));
        assert_eq!(of(200, &[("Set-Cookie", "a=b")]), None);
        assert_eq!(of(200, &[("Cache-Control", "No-Store")]), None);
        assert_eq!(of(200, &[("Cache-Control", "public, max-age=7")]), Some(7));
        assert_eq!(of(200, &[("Cache-Control", "max-age=0")]), None);
        assert_eq!(of(200, &[("Expires", "0")]), None);
    }

    #[test]
    fn a_location_is_called_as_in_nginx() {
        let name = |path| String::from_utf8(location(&path)).expect("text");
        assert_eq!(
            name(PathMatch::Prefix("".into())),
            "/_external-auth-Lw-Prefix"
        );
        assert_eq!(
            name(PathMatch::Exact("/foo".into())),
            "/_external-auth-L2Zvbw-Exact"
        );
    }
}
