//! Exchanges with endpoints that speak FastCGI.

use std::io::Write as _;
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
        body_limit: worker.settings.timeouts.body,
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
    let target = request.upstream_target();
    let path = target
        .split(|&byte| byte == b'?')
        .next()
        .unwrap_or_default();
    let decoded = NormalPath::parse(path);
    let path = decoded.as_ref().map_or(path, |path| path.routed());
    let script = script_name(path, way.settings);
    let host = HostName::parse(request.authority());
    let client = facts.client.get().unwrap_or_else(|| connection.peer.ip());
    let scope = Scope {
        request,
        connection,
        client: Client {
            address: client,
            secure: facts.secure.get(),
        },
        host: host.as_ref().map_or("", HostName::as_str),
        path,
        rule: way.rule,
        backend: way.backend,
        captures: &[],
        response: None,
    };
    let own = |name: &[u8]| {
        let mut own = way.settings.params.iter();
        own.any(|(known, _)| known.as_bytes() == name)
    };
    let mut params = Params::default();
    let mut text = Vec::new();
    let mut push = |params: &mut Params, name: &str, write: &dyn Fn(&mut Vec<u8>)| {
        if !own(name.as_bytes()) {
            text.clear();
            write(&mut text);
            params.push(name.as_bytes(), &text);
        }
    };
    let query = request.query().strip_prefix(b"?").unwrap_or_default();
    let field = |name| request.headers.get(name).unwrap_or_default();
    let tls = connection.tls.is_some();
    push(&mut params, "QUERY_STRING", &|out| {
        out.extend_from_slice(query)
    });
    push(&mut params, "REQUEST_METHOD", &|out| {
        out.extend_from_slice(request.method());
    });
    push(&mut params, "CONTENT_TYPE", &|out| {
        out.extend_from_slice(field(Name::ContentType));
    });
    push(&mut params, "CONTENT_LENGTH", &|out| {
        if let Length::Known(length) = length {
            show(out, length);
        }
    });
    push(&mut params, "SCRIPT_NAME", &|out| {
        out.extend_from_slice(&script)
    });
    push(&mut params, "REQUEST_URI", &|out| {
        out.extend_from_slice(request.target());
    });
    push(&mut params, "DOCUMENT_URI", &|out| {
        out.extend_from_slice(path)
    });
    push(&mut params, "DOCUMENT_ROOT", &|out| {
        out.extend_from_slice(FastCgi::DOCUMENT_ROOT.as_bytes());
    });
    push(&mut params, "SERVER_PROTOCOL", &|out| {
        out.extend_from_slice(request.version.as_str().as_bytes());
    });
    push(&mut params, "REQUEST_SCHEME", &|out| {
        out.extend_from_slice(if tls { b"https" } else { b"http" });
    });
    if tls {
        push(&mut params, "HTTPS", &|out| out.extend_from_slice(b"on"));
    }
    push(&mut params, "GATEWAY_INTERFACE", &|out| {
        out.extend_from_slice(b"CGI/1.1");
    });
    push(&mut params, "SERVER_SOFTWARE", &|out| {
        out.extend_from_slice(b"narthex");
    });
    push(&mut params, "REMOTE_ADDR", &|out| show(out, client));
    push(&mut params, "REMOTE_PORT", &|out| {
        show(out, connection.peer.port())
    });
    push(&mut params, "SERVER_ADDR", &|out| {
        show(out, connection.local.ip())
    });
    push(&mut params, "SERVER_PORT", &|out| {
        show(out, connection.public_port)
    });
    push(&mut params, "SERVER_NAME", &|out| {
        out.extend_from_slice(scope.host.as_bytes());
    });
    push(&mut params, "REDIRECT_STATUS", &|out| {
        out.extend_from_slice(b"200")
    });
    for (name, value) in &way.settings.params {
        let mut text = Vec::new();
        for part in value {
            match part {
                FastCgiPart::Text(part) => text.extend(expand(part, &scope)),
                FastCgiPart::ScriptName => text.extend_from_slice(&script),
            }
        }
        params.push(name.as_bytes(), &text);
    }
    params.push(b"HTTP_HOST", request.upstream_authority());
    for (_, name, value) in request.headers.iter() {
        params.push_field(name, value);
    }
    params
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

fn show(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{value}");
}
