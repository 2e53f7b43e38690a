//! The phases before anything is sent: client, host, path, route, filters, limits.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use model::backend::Discovery;
use model::canary::CanaryView;
use model::policy::Affinity;
use model::{
    Action, Backend, Extras, FieldNames, HostName, Listener, NormalPath, Rule, Service, Share,
    Site, Target, TlsSite,
};

use super::parts::{Facts, Parts};
use super::{clients, gather};
use crate::client::{Connection, Length, RequestBody};
use crate::filters::{self, Answer};
use crate::forwarded::{self, Claims, Client};
use crate::headers::{Name, Names, RequestHead, list, write_field};
use crate::record::{Reason, Version};
use crate::respond;
use crate::telemetry;
use crate::upstream::balance;
use crate::worker::{HeldRule, Worker};

/// What routing decided.
pub(super) struct Routed {
    pub(super) rule: Rc<HeldRule>,
    /// What follows.
    pub(super) next: Next,
}

/// What follows routing.
pub(super) enum Next {
    /// The request goes upstream as it was written.
    Forward,
    /// A filter has answered.
    Answer(Answer),
    /// Filters have more to do first.
    Filter(Box<Pending>),
}

/// What filters need, and nothing is written upstream before.
pub(super) struct Pending {
    pub(super) client: Client,
    pub(super) host: Box<str>,
    /// What goes upstream, without the query.
    pub(super) path: Vec<u8>,
    pub(super) trailers: bool,
    /// Why it is not let pass, where somebody else says so.
    pub(super) refused: Option<Reason>,
    /// What it is answered, unless a snippet says something else.
    pub(super) answer: Option<Answer>,
}

/// The phases before anything is sent: client, host, path, route, filters, limits. Leaves the
/// head for the backend in `upstream_out`.
pub(super) fn prepare<B: RequestBody>(
    parts: &mut Parts<'_>,
    body: &B,
    facts: &Facts,
) -> Result<Routed, Reason> {
    let Parts {
        worker,
        connection,
        request,
        ..
    } = parts;
    if parts.tunnel.is_none() && body.length() == Length::Absent {
        parts.tunnel = wanted_upgrade(request);
    }
    let trailers = request
        .headers
        .get_all(Name::Te)
        .flat_map(list)
        .any(|te| te.eq_ignore_ascii_case(b"trailers"));
    facts.trailers_wanted.set(trailers);
    // First, so that Connection cannot name what we are about to say.
    request.headers.remove_hop_by_hop();
    // The body tells its length from here on.
    request.headers.remove(Names::of(&[Name::ContentLength]));
    let named = forwarded::is_named(request, connection);
    let claims = Claims::of(request);
    let client = forwarded::apply(request, connection, &worker.settings());
    facts.client.set(Some(client.address));
    facts.secure.set(client.secure);
    check_method(request, parts.tunnel.is_some())?;
    check_expectation(request, body.length())?;

    let view = worker.view();
    let listener = view.snapshot.listener(connection.entrance);
    let listener = listener.ok_or(Reason::NoRoute)?;
    let mut host = HostName::default();
    read_host(&mut host, request)?;
    let host = host.as_str();
    let site = site(listener, connection, request.version, host)?;
    let admitted = match site.asks_clients {
        true => clients::admit(site.host(host), connection, request),
        false => Ok(None),
    };
    // A fragment never goes over the wire; who sends one means something else by it.
    if request.query().contains(&b'#') {
        return Err(Reason::BadRequest);
    }
    let path = NormalPath::parse(request.path()).map_err(Reason::BadPath)?;
    let selection = site
        .select(host, &path, &**request)
        .map_err(|_| Reason::AmbiguousPath)?;
    facts.host_slot.set(selection.host.metrics_slot);
    if let Some(trail) = facts.trail.borrow_mut().as_mut() {
        trail.routed(host, &selection.host.name);
    }
    let rule = view.hold(selection.rule);
    facts.take_extras(&rule);
    let extras = rule.rule().extras.as_ref();
    if extras.is_some_and(|extras| extras.hsts.is_some()) {
        // In ingress-nginx, it is told to who came with TLS to us, unless the path is closed.
        let is_closed = matches!(rule.rule().action, Action::Denied);
        facts.secure.set(connection.tls.is_some() && !is_closed);
    }
    let keeps = extras.is_some_and(|extras| extras.keeps_request_id);
    let tells = extras.is_some_and(|extras| extras.tells_more);
    let renamed = named && !keeps;
    let blocked = extras.is_some_and(|extras| is_blocked(extras, request));
    let traced = extras.and_then(|extras| extras.traced.as_deref());
    let path = match renamed || tells || traced.is_some() {
        true => {
            let path = selection.path.to_vec();
            if renamed {
                forwarded::rename(request);
            }
            if tells {
                let fields = extras.map(|extras| extras.fields).unwrap_or_default();
                take_out(request, fields);
                let rehosts = worker.settings().forwarding.rehosts;
                let told = extras.and_then(|extras| extras.told.as_deref());
                forwarded::tell_more(request, connection, claims, told, rehosts);
            }
            if let Some(traced) = traced {
                let settings = worker.settings();
                let trace = telemetry::begin(&settings.tracing, traced, &mut request.headers);
                facts.trace.set(trace);
            }
            Cow::Owned(path)
        }
        false => Cow::Borrowed(selection.path),
    };

    let timeouts = &rule.rule().timeouts;
    let total = timeouts.total;
    parts.timer.total = (!total.is_zero()).then(|| (parts.start.clock + total).into());
    let filters = &rule.rule().filters;
    let most = rule.rule().max_body;
    let too_large = most > 0 && matches!(body.length(), Length::Known(length) if length > most);
    // Before anybody is sent elsewhere, as nginx does.
    let refused = match (blocked, too_large) {
        (true, _) => Some((Reason::Blocked, 403)),
        (false, true) => Some((Reason::BodyTooLarge, 413)),
        (false, false) => None,
    };
    let mut answer = match refused {
        None if !clients::is_foremost(&admitted) => {
            filters::to_https(filters, request, &path, client, host)
        }
        _ => None,
    };
    // What a snippet says comes first, in its turn.
    let waits = || filters::snippet(filters).is_some();
    if answer.is_some() && !waits() {
        if filters::touch_response(filters) {
            facts.edit_with(&rule, connection, request, host);
        }
    } else if answer.is_none() && !blocked {
        answer = admitted?;
    }
    if let Some(answer) = answer.take_if(|_| !waits()) {
        let next = Next::Answer(answer);
        return Ok(Routed { rule, next });
    }
    if let Some((reason, status)) = refused
        && !filters::touch_response(filters)
        && !filters::error_pages(filters).is_some_and(|pages| pages.replaces(status))
    {
        return Err(reason);
    }
    let refused = refused.map(|(reason, _)| reason);
    let special = refused.is_some()
        || answer.is_some()
        || gather::concerns(rule.rule().extras.as_deref(), body.length());
    let simple = !special && filters::are_simple(filters) && {
        choose(worker, request, connection, facts, rule.rule());
        let share = facts.share_of(rule.rule());
        share.is_none_or(|share| share.filters.is_empty())
    };
    if !simple {
        let pending = Box::new(Pending {
            client,
            host: host.into(),
            path: path.into_owned(),
            trailers,
            refused,
            answer,
        });
        let next = Next::Filter(pending);
        return Ok(Routed { rule, next });
    }
    let hop = Hop::of(parts.tunnel.as_deref(), trailers);
    write_head(parts.upstream_out, request, &path, body.length(), hop);
    if let Ok(backend) = backend(rule.rule(), facts)
        && !backend.transport.is_plain_http1()
    {
        let target = [&path, request.query()].concat();
        request.set_upstream_target(&target);
    }
    let next = Next::Forward;
    Ok(Routed { rule, next })
}

/// Whether a rule does not answer whoever asks like this.
fn is_blocked(extras: &Extras, request: &RequestHead) -> bool {
    let Some(blocked) = &extras.blocked else {
        return false;
    };
    let field = |name| request.headers.get(name).unwrap_or_default();
    blocked.blocks(field(Name::UserAgent), field(Name::Referer))
}

/// Takes out the fields that do not go on for their names.
fn take_out(request: &mut RequestHead, fields: FieldNames) {
    let goes_on = |token, name: &[u8]| token != Name::Other || fields.takes(name);
    if !request
        .headers
        .iter()
        .all(|(token, name, _)| goes_on(token, name))
    {
        request.headers.retain(goes_on);
    }
}

/// Whose business a request is.
fn site<'a>(
    listener: &'a Listener,
    connection: &Connection,
    version: Version,
    host: &str,
) -> Result<&'a Arc<Site>, Reason> {
    let (sites, tls) = match (&listener.service, &connection.tls) {
        (Service::Http(sites), None) => return sites.find(host).ok_or(Reason::NoRoute),
        (Service::Tls(sites), Some(tls)) => (sites, tls),
        // The port was another one when the connection began.
        _ => return Err(Reason::NoRoute),
    };
    let name = tls.server_name.as_deref();
    // It was there at the handshake; another connection will find what is there now.
    let own = sites.find(name).ok_or(Reason::Misdirected)?;
    let TlsSite::Https(site) = &**own else {
        return Err(Reason::Misdirected);
    };
    // TLS of this host ends at its backend, which does not expect what was in another host's.
    if !sites.sealed.is_empty() && sites.passed_on(Some(host)).is_some() {
        return Err(Reason::Misdirected);
    }
    // Each listener is a world of its own, which a connection to another one does not open
    // (Gateway API, listener isolation; RFC 9110, section 15.5.20).
    if !sites.gateways.is_empty()
        && !host.is_empty()
        && let Some(wanted) = sites.find(Some(host))
        && !Arc::ptr_eq(own, wanted)
    {
        return Err(Reason::Misdirected);
    }
    let is_ingress = || {
        let ingress = sites.ingress.as_ref();
        ingress.is_some_and(|ingress| Arc::ptr_eq(ingress, own))
    };
    if version == Version::Http2
        && is_ingress()
        && site.certificates.misdirected(&tls.certificates, name, host)
    {
        return Err(Reason::Misdirected);
    }
    Ok(&site.site)
}

/// Chooses one of a rule's backends, where it has several: the one that has the client's session,
/// else the one that the request asks for, else by weight.
pub(super) fn choose(
    worker: &Worker,
    request: &RequestHead,
    connection: &Connection,
    facts: &Facts,
    rule: &Rule,
) {
    let Action::Split(split) = &rule.action else {
        return;
    };
    if let Some(share) = split.of_scheme(connection.tls.is_some()) {
        facts.share.set(u16::try_from(share).ok());
        return;
    }
    let own = rule.affinity.as_ref();
    let own = own.map(|affinity| (affinity, balance::session(affinity, request)));
    let has_session = |share: &Share| match &share.target {
        Target::Backend(backend) => has_session(worker, request, own, backend),
        Target::Invalid => false,
    };
    let mut shares = split.shares().iter().enumerate();
    let session = shares.find(|(index, share)| split.keeps_sessions(*index) && has_session(share));
    let session = session.map(|(index, _)| index);
    let asked = || Some(usize::from(split.canary()?.decides(&Asking(request))?));
    let share = session
        .or_else(asked)
        .unwrap_or_else(|| split.index(fastrand::u32(..split.total())));
    // Without endpoints a canary gets nothing; beside a main backend without any it is not asked
    // either, as by ingress-nginx.
    let share = match split.canary() {
        Some(_) if share > 0 && split.shares().iter().any(has_nobody) => 0,
        _ => share,
    };
    facts.share.set(u16::try_from(share).ok());
}

/// Whether it is known that nobody gets what would be a share's part. Of a name that is resolved
/// nothing is known before somebody asks.
fn has_nobody(share: &Share) -> bool {
    match &share.target {
        Target::Backend(backend) => {
            backend.discovery == Discovery::Listed && backend.endpoints().ready.is_empty()
        }
        Target::Invalid => true,
    }
}

/// A request as canaries look at it.
struct Asking<'a>(&'a RequestHead);

impl CanaryView for Asking<'_> {
    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.0.headers.joined(name.as_bytes())
    }

    fn cookie(&self, name: &str) -> Option<&[u8]> {
        balance::cookie_in_any_case(self.0, name.as_bytes())
    }
}

/// Whether a backend has the client's session: the rule's `own`, or the backend's, of which each
/// has one or none (GEP-1619).
fn has_session(
    worker: &Worker,
    request: &RequestHead,
    own: Option<(&Arc<Affinity>, Option<u64>)>,
    backend: &Arc<Backend>,
) -> bool {
    let name = match own {
        Some((_, name)) => name,
        None => {
            let endpoints = backend.endpoints();
            let affinity = endpoints.policy.affinity.as_ref();
            affinity.and_then(|affinity| balance::session(affinity, request))
        }
    };
    let Some(name) = name else {
        return false;
    };
    let state = worker.upstreams.backend(backend);
    let members = state.members(&worker.upstreams, backend);
    let own = own.map(|(affinity, _)| affinity);
    let mark = own.filter(|affinity| affinity.is_balanced());
    let mark = mark.map(|_| balance::mark(&backend.name));
    members.has_session(own, name, mark)
}

/// Who gets a request, once one of several was chosen.
pub(super) fn backend<'a>(rule: &'a Rule, facts: &Facts) -> Result<&'a Arc<Backend>, Reason> {
    match &rule.action {
        Action::Forward(backend) => Ok(backend),
        Action::NotFound => Err(Reason::NoRoute),
        Action::Invalid => Err(Reason::InvalidBackend),
        Action::Denied => Err(Reason::Unguarded),
        Action::Split(_) => match facts.share_of(rule).map(|share| &share.target) {
            Some(Target::Backend(backend)) => Ok(backend),
            Some(Target::Invalid) | None => Err(Reason::InvalidBackend),
        },
    }
}

/// TRACE would show a backend's view of the request to scripts; CONNECT is for forward proxies.
fn check_method(request: &RequestHead, tunnel: bool) -> Result<(), Reason> {
    match request.method() {
        // Extended CONNECT (RFC 8441) opens a WebSocket.
        b"CONNECT" if tunnel => Ok(()),
        b"TRACE" | b"TRACK" | b"CONNECT" => Err(Reason::Method),
        _ => Ok(()),
    }
}

/// RFC 9110, section 10.1.1: the one expectation there is goes to the backend where it means
/// something.
fn check_expectation(request: &mut RequestHead, length: Length) -> Result<(), Reason> {
    let Some(expectation) = request.headers.get(Name::Expect) else {
        return Ok(());
    };
    if !expectation.eq_ignore_ascii_case(b"100-continue") {
        return Err(Reason::Expectation);
    }
    let bodiless = matches!(length, Length::Absent | Length::Known(0));
    if bodiless || request.version == Version::Http10 {
        request.headers.remove(Names::of(&[Name::Expect]));
    }
    Ok(())
}

/// The protocol of an HTTP/1.1 upgrade (RFC 9110, section 7.8).
fn wanted_upgrade(request: &RequestHead) -> Option<Vec<u8>> {
    let protocol = request.headers.get(Name::Upgrade)?;
    let asked = request.version == Version::Http11 && request.headers.connection_has(b"upgrade");
    // h2c would hand our framing to the client: never upgraded (RFC 9113, section 3.1).
    let refused = list(protocol).any(|name| name.to_ascii_lowercase().starts_with(b"h2c"));
    (asked && !refused).then(|| protocol.to_vec())
}

/// Reads the host that is asked for; HTTP/1.0 need not name one.
fn read_host(host: &mut HostName, request: &RequestHead) -> Result<(), Reason> {
    match request.authority() {
        b"" if request.version == Version::Http10 => Ok(()),
        authority => host.read(authority).ok_or(Reason::BadHost),
    }
}

/// What the backend's connection is told of itself.
pub(super) enum Hop<'a> {
    Plain,
    /// Trailers are welcome (RFC 9110, section 10.1.4); gRPC asks for them.
    Trailers,
    /// It is to change to this protocol.
    Upgrade(&'a [u8]),
}

impl<'a> Hop<'a> {
    /// For a request that may become a tunnel, or else take trailers.
    pub(super) fn of(tunnel: Option<&'a [u8]>, trailers: bool) -> Self {
        match tunnel {
            Some(protocol) => Self::Upgrade(protocol),
            None if trailers => Self::Trailers,
            None => Self::Plain,
        }
    }
}

/// Writes the head for the backend anew, from what was understood.
pub(super) fn write_head(
    out: &mut Vec<u8>,
    request: &RequestHead,
    path: &[u8],
    length: Length,
    hop: Hop<'_>,
) {
    out.clear();
    let method = if matches!(hop, Hop::Upgrade(_)) {
        b"GET"
    } else {
        request.method()
    };
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(path);
    out.extend_from_slice(request.query());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_field(out, b"Host", request.upstream_authority());
    request.headers.write_to(out);
    match length {
        Length::Absent => {}
        Length::Known(length) => respond::write_content_length(out, length),
        Length::Unknown => write_field(out, b"Transfer-Encoding", b"chunked"),
    }
    match hop {
        Hop::Plain => {}
        Hop::Trailers => out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n"),
        Hop::Upgrade(protocol) => {
            out.extend_from_slice(b"Connection: Upgrade\r\n");
            write_field(out, b"Upgrade", protocol);
        }
    }
    out.extend_from_slice(b"\r\n");
}
