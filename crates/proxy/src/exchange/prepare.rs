//! The phases before anything is sent: client, host, path, route, filters, limits.

use std::rc::Rc;

use model::{Action, HostName, NormalPath};

use super::parts::{Facts, Parts};
use crate::client::{Length, RequestBody};
use crate::filters;
use crate::forwarded;
use crate::headers::{Name, Names, RequestHead, list, write_field};
use crate::record::{Reason, Version};
use crate::respond;
use crate::worker::HeldRule;

/// What routing decided.
pub(super) struct Routed {
    pub(super) rule: Rc<HeldRule>,
    pub(super) redirect: Option<Vec<u8>>,
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
    let client = forwarded::apply(request, connection, &worker.settings.trusted_proxies);
    facts.client.set(Some(client.address));
    check_method(request, parts.tunnel.is_some())?;
    check_expectation(request, body.length())?;

    let view = worker.view();
    let listener = view
        .snapshot
        .listener(connection.port)
        .ok_or(Reason::NoRoute)?;
    let host = read_host(request)?;
    let host = host.as_ref().map_or("", HostName::as_str);
    if request.version == Version::Http2
        && let (Some(tls), Some(certificates)) = (&connection.tls, &listener.certificates)
        && certificates.misdirected(&tls.certificates, tls.server_name.as_deref(), host)
    {
        return Err(Reason::Misdirected);
    }
    // A fragment never goes over the wire; who sends one means something else by it.
    if request.query().contains(&b'#') {
        return Err(Reason::BadRequest);
    }
    let path = NormalPath::parse(request.path()).map_err(Reason::BadPath)?;
    let selection = listener
        .select(host, &path)
        .map_err(|_| Reason::AmbiguousPath)?;
    facts.host_slot.set(selection.host.metrics_slot);
    let rule = view.hold(selection.rule);

    let total = rule.rule().timeouts.total;
    parts.timer.total = (!total.is_zero()).then(|| (parts.start.clock + total).into());
    let redirect = filters::run(&selection, client, host, request.query());
    if redirect.is_none() {
        let most = rule.rule().max_body;
        if most > 0 && matches!(body.length(), Length::Known(length) if length > most) {
            return Err(Reason::BodyTooLarge);
        }
        let hop = match &parts.tunnel {
            Some(protocol) => Hop::Upgrade(protocol),
            None if trailers => Hop::Trailers,
            None => Hop::Plain,
        };
        write_head(
            parts.upstream_out,
            request,
            selection.path,
            body.length(),
            hop,
        );
        if let Action::Forward(backend) = &rule.rule().action
            && !backend.transport.is_plain_http1()
        {
            let target = [selection.path, request.query()].concat();
            request.set_upstream_target(&target);
        }
    }
    Ok(Routed { rule, redirect })
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

fn read_host(request: &RequestHead) -> Result<Option<HostName>, Reason> {
    match request.authority() {
        b"" if request.version == Version::Http10 => Ok(None),
        authority => HostName::parse(authority).map(Some).ok_or(Reason::BadHost),
    }
}

/// What the backend's connection is told of itself.
enum Hop<'a> {
    Plain,
    /// Trailers are welcome (RFC 9110, section 10.1.4); gRPC asks for them.
    Trailers,
    /// It is to change to this protocol.
    Upgrade(&'a [u8]),
}

/// Writes the head for the backend anew, from what was understood.
fn write_head(out: &mut Vec<u8>, request: &RequestHead, path: &[u8], length: Length, hop: Hop<'_>) {
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
    write_field(out, b"Host", request.authority());
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
