//! Exchanges with endpoints that speak FastCGI.

use std::borrow::Cow;
use std::time::Instant;

use model::transport::{FastCgi, FastCgiPart};
use model::{HostName, NormalPath, Rule};

use super::concurrent::both;
use super::download::{Download, Limits};
use super::forward::Failed;
use super::parts::{Facts, Parts};
use super::replay::{Kept, Replay};
use super::upload::Upload;
use crate::client::{Length, RequestBody, ResponseSink};
use crate::forwarded::Client;
use crate::headers::Name;
use crate::timer::Timer;
use crate::upstream::Upstream;
use crate::upstream::fastcgi::{Input, Output, Params, opening};
use crate::variables::{Scope, expand};

/// Who asks, and what it is asked about.
pub(super) struct Way<'a> {
    pub(super) rule: &'a Rule,
    pub(super) backend: &'a str,
    pub(super) settings: &'a FastCgi,
    pub(super) upstream: Upstream,
}

/// Sends the request and relays the response.
pub(super) async fn exchange<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &mut B,
    sink: &mut S,
    facts: &Facts,
    limits: &Limits<'_>,
    way: Way<'_>,
    kept: &mut Kept,
) -> Result<(), Failed> {
    let begin = Instant::now();
    let worker = parts.worker;
    // Of what was sent before nothing counts.
    facts.bytes_in.set(0);
    let bodiless = matches!(body.length(), Length::Absent | Length::Known(0));
    let opening = opening(&params(parts, facts, &way, body.length()));
    let mut body = Replay::new(body, kept, facts);
    let idempotent = super::http1::is_idempotent(parts.request.method());
    let head_request = parts.request.method() == b"HEAD";
    let mut upstream = way.upstream;
    let (lease, stream, reader) = upstream.split(&worker.buffers);
    let mut input = Input::new(stream, opening);
    let mut output = Output::new(reader);
    let upload = Upload {
        timer: Timer::until(parts.timer.total),
        body_limit: worker.settings().timeouts.body,
        send_limit: limits.send,
        max_body: limits.max_body,
        facts,
    };
    let mut download = Download {
        worker,
        limits: *limits,
        timer: parts.timer,
        response: parts.response,
        sink,
        facts,
    };
    let result = {
        let download = async {
            let announced = download.read_head(&mut output, head_request, begin).await?;
            if let Some(sent) = facts.sent_at.get() {
                lease.answered(sent.elapsed(), download.response.status, sent);
            }
            limits.unwanted(download.response.status)?;
            download.relay(&mut output, announced, head_request).await
        };
        both(upload.run(&mut body, &mut input), download).await
    };
    result.map_err(|reason| Failed {
        reason,
        retry: limits.again(reason, idempotent && bodiless)
            && kept.is_whole()
            && !facts.is_answering(),
    })
}

/// What the server is told (RFC 3875, section 4.1, and what nginx's `fastcgi_params` adds).
fn params(parts: &Parts<'_>, facts: &Facts, way: &Way<'_>, length: Length) -> Params {
    let (request, connection) = (&*parts.request, parts.connection);
    let mut target = request.upstream_target().split(|&byte| byte == b'?');
    let path = target.next().unwrap_or_default();
    let normal = NormalPath::parse(path);
    let path = normal.as_ref().map_or(path, |path| path.routed());
    let document = unescaped(path);
    let script = script_name(&document, way.settings);
    let host = HostName::parse(request.authority());
    let scope = Scope {
        request,
        connection,
        client: Client {
            address: facts.client.get().unwrap_or_else(|| connection.peer.ip()),
            secure: facts.secure.get(),
        },
        host: host.as_ref().map_or("", HostName::as_str),
        path,
        rule: way.rule,
        backend: way.backend,
        captures: &[],
        response: None,
    };
    let given = &way.settings.params;
    let mut params = Params::default();
    for (name, value) in standard(&scope, &document, &script, length) {
        if !given.iter().any(|own| &*own.name == name) {
            params.push(name.as_bytes(), &value);
        }
    }
    for param in given {
        let mut text = Vec::new();
        for part in &param.value {
            match part {
                FastCgiPart::Text(part) => text.extend(expand(part, &scope)),
                FastCgiPart::ScriptName => text.extend_from_slice(&script),
            }
        }
        params.push(param.name.as_bytes(), &text);
    }
    params.push(b"HTTP_HOST", request.upstream_authority());
    for (_, name, value) in request.headers.iter() {
        params.push_field(name, value);
    }
    params
}

/// What every server is told, where it is given nothing else of that name.
fn standard<'a>(
    scope: &Scope<'a>,
    document: &'a [u8],
    script: &'a [u8],
    length: Length,
) -> impl Iterator<Item = (&'static str, Cow<'a, [u8]>)> {
    let Scope {
        request,
        connection,
        ..
    } = *scope;
    let show = |value: &dyn std::fmt::Display| Cow::Owned(value.to_string().into_bytes());
    let known = |value: &'a [u8]| Cow::Borrowed(value);
    let field = |name| known(request.headers.get(name).unwrap_or_default());
    let tls = connection.tls.is_some();
    let length = match length {
        Length::Known(length) => show(&length),
        Length::Absent | Length::Unknown => known(b""),
    };
    let all = [
        (
            "QUERY_STRING",
            known(request.query().strip_prefix(b"?").unwrap_or_default()),
        ),
        ("REQUEST_METHOD", known(request.method())),
        ("CONTENT_TYPE", field(Name::ContentType)),
        ("CONTENT_LENGTH", length),
        ("SCRIPT_NAME", known(script)),
        ("REQUEST_URI", known(request.target())),
        ("DOCUMENT_URI", known(document)),
        ("DOCUMENT_ROOT", known(FastCgi::DOCUMENT_ROOT.as_bytes())),
        (
            "SERVER_PROTOCOL",
            known(request.version.as_str().as_bytes()),
        ),
        (
            "REQUEST_SCHEME",
            known(if tls { b"https" } else { b"http" }),
        ),
        ("HTTPS", known(b"on")),
        ("GATEWAY_INTERFACE", known(b"CGI/1.1")),
        ("SERVER_SOFTWARE", known(b"narthex")),
        ("REMOTE_ADDR", show(&scope.client.address)),
        ("REMOTE_PORT", show(&connection.peer.port())),
        ("SERVER_ADDR", show(&connection.local.ip())),
        ("SERVER_PORT", show(&connection.public_port)),
        ("SERVER_NAME", known(scope.host.as_bytes())),
        ("REDIRECT_STATUS", known(b"200")),
    ];
    all.into_iter()
        .filter(move |(name, _)| tls || *name != "HTTPS")
}

/// A path as files are named: servers look for the script by it.
fn unescaped(path: &[u8]) -> Vec<u8> {
    let digit = |at: usize| {
        let digit = path.get(at).and_then(|&byte| char::from(byte).to_digit(16));
        digit.and_then(|digit| u8::try_from(digit).ok())
    };
    let mut out = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// The script of a path: that of the index, where the path ends with a slash (nginx:
/// `fastcgi_index`).
fn script_name(path: &[u8], settings: &FastCgi) -> Vec<u8> {
    let mut script = path.to_vec();
    if let (Some(index), Some(b'/')) = (&settings.index, path.last()) {
        script.extend_from_slice(index.as_bytes());
    }
    script
}
