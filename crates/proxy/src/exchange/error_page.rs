//! Somebody else answers in the place of a backend that fails, or that has no endpoint (ingress-nginx:
//! `custom-http-errors`, `default-backend`).

use std::rc::Rc;
use std::sync::Arc;

use model::filter::ErrorPages;
use model::{Backend, PathMatch, Rule};

use super::aside::Whole;
use super::detour::Ended;
use super::forward;
use super::parts::{Facts, Parts};
use super::prepare::{Hop, write_head};
use crate::client::{Length, ResponseSink};
use crate::filters::{Answer, snippet};
use crate::headers::{Name, Names, RequestHead};
use crate::record::Reason;
use crate::respond::{self, Given, decimal};
use crate::worker::HeldRule;

/// The status for which somebody else may answer.
pub(super) fn status_of(ended: &Ended) -> Option<u16> {
    match ended {
        Ended::Reason(Reason::ErrorPage(status) | Reason::UpstreamStatus(status)) => Some(*status),
        // Nobody is there to be told.
        Ended::Reason(Reason::ClientClosed | Reason::ClientWriteTimeout) => None,
        Ended::Reason(reason) => Some(respond::status(*reason)),
        // What was said with a text stays as it is.
        Ended::Answer(Answer::Given(given, Reason::Returned)) if !snippet::is_page(given) => None,
        Ended::Answer(Answer::Given(given, _)) => Some(given.status),
        Ended::Answer(Answer::Redirect { .. }) => None,
    }
}

/// How to be let in, where that is what has failed.
fn challenges(ended: &Ended) -> Vec<Vec<u8>> {
    match ended {
        Ended::Answer(Answer::Given(given, _)) => {
            let fields = given.headers.iter();
            let fields =
                fields.filter(|(_, name, _)| name.eq_ignore_ascii_case(b"www-authenticate"));
            fields.map(|(_, _, value)| value.to_vec()).collect()
        }
        _ => Vec::new(),
    }
}

/// What the request for an error's page, or for who stands in, is told of the request that failed.
pub(super) struct Failed<'a> {
    pub(super) rule: &'a Rule,
    /// The backend that failed, as `namespace/service:port`.
    pub(super) backend: &'a str,
    pub(super) status: u16,
}

/// Asks for the page of an error, and sends it to the client, with whatever status it has.
pub(super) async fn answer<S: ResponseSink>(
    pages: &ErrorPages,
    failed: Failed<'_>,
    (held, ended): (&Rc<HeldRule>, &Ended),
    parts: &mut Parts<'_>,
    sink: &mut S,
    facts: &Facts,
) -> Result<(), Ended> {
    // The page is no word of the host's.
    facts.secure.set(false);
    let Some(backend) = pages.backend() else {
        return Err(Ended::Answer(not_found()));
    };
    if parts.request.method() == b"CONNECT" {
        *parts.request = asked_with_get(parts.request);
    }
    tell(parts, &failed);
    let target = parts.request.target().to_vec();
    set(parts.request, "X-Original-URI", &target);
    let address = facts.client.get().map(|address| address.to_string());
    set(
        parts.request,
        "X-Forwarded-For",
        address.unwrap_or_default().as_bytes(),
    );
    // Whoever makes it is told of the error alone.
    parts.request.headers.remove(UNTOLD);
    parts.request.set_upstream_authority(b"");
    let query = parts.request.query().to_vec();
    write_head(
        parts.upstream_out,
        parts.request,
        b"/",
        Length::Absent,
        Hop::Plain,
    );
    parts.request.set_upstream_target(&[b"/", &*query].concat());
    parts.tunnel = None;
    facts.begin_anew();
    facts.challenge(held, challenges(ended));
    let rule = rule(failed.rule);
    let mut body = Whole::new(&[]);
    forward::forward(parts, &mut body, sink, facts, &rule, backend).await?;
    Ok(())
}

/// What only the backend itself is told of the client's connection.
const UNTOLD: Names = Names::of(&[
    Name::XForwardedHost,
    Name::XForwardedPort,
    Name::XForwardedProto,
    Name::XForwardedScheme,
    Name::XScheme,
]);

/// Who takes the request itself, for want of an endpoint of its own backend.
pub(super) fn stand_in(pages: &ErrorPages, reason: Reason) -> Option<&Arc<Backend>> {
    match reason {
        Reason::Unavailable(_) => pages.own(),
        _ => None,
    }
}

/// Tells whoever answers instead what has failed.
pub(super) fn tell(parts: &mut Parts<'_>, failed: &Failed<'_>) {
    let (namespace, ingress) = split(&failed.rule.route, '/');
    let (_, service) = split(failed.backend, '/');
    let (service, port) = split(service, ':');
    let mut digits = [0; 20];
    let code = decimal(&mut digits, failed.status.into());
    let request = &mut *parts.request;
    set(request, "X-Code", code);
    let accept = request.headers.joined(b"accept");
    let accept = accept.map(|accept| accept.into_owned()).unwrap_or_default();
    set(request, "X-Format", &accept);
    set(request, "X-Namespace", namespace.as_bytes());
    set(request, "X-Ingress-Name", ingress.as_bytes());
    set(request, "X-Service-Name", service.as_bytes());
    set(request, "X-Service-Port", port.as_bytes());
}

/// The head of a request that was to open a tunnel, as one that does not.
fn asked_with_get(request: &RequestHead) -> RequestHead {
    let mut head = RequestHead::default();
    head.start(request.version, b"GET", request.target());
    head.set_authority(request.authority());
    for (token, name, value) in request.headers.iter() {
        head.headers.push_known(token, name, value);
    }
    head
}

/// Puts a field in the place of what there is; an empty one is none, as nginx has it.
fn set(request: &mut RequestHead, name: &str, value: &[u8]) {
    request.headers.remove_named(name.as_bytes());
    if !value.is_empty() {
        request.headers.push(name.as_bytes(), value);
    }
}

fn split(text: &str, separator: char) -> (&str, &str) {
    text.split_once(separator).unwrap_or((text, ""))
}

/// What holds for the request for a page: the rule's limits, and nothing else of it.
fn rule(of: &Rule) -> Rule {
    Rule {
        route: of.route.clone(),
        field: Arc::clone(&of.field),
        path: PathMatch::Prefix(Box::default()),
        conditions: None,
        filters: Box::default(),
        action: of.action.clone(),
        timeouts: Arc::clone(&of.timeouts),
        max_body: 0,
        retry: None,
        affinity: None,
        extras: None,
    }
}

/// What ingress-nginx's own default backend says.
fn not_found() -> Answer {
    Answer::Given(Box::new(Given::page(404)), Reason::ErrorPage(404))
}
