//! An exchange with an endpoint that speaks HTTP/2.

use std::time::Instant;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Request, Uri};

use super::concurrent::{both, gone, while_wanted};
use super::download::{Download, Limits};
use super::forward::Failed;
use super::http1::is_idempotent;
use super::parts::{Facts, Parts};
use super::replay::{Kept, Replay};
use super::upload::Upload;
use crate::client::{Length, RequestBody, ResponseSink};
use crate::grpc::{self, Call, web};
use crate::headers::{Name, RequestHead};
use crate::record::Reason;
use crate::timer::Timer;
use crate::upstream::{Http2Stream, Opened};

/// Which way an exchange goes.
pub(super) struct Way<'a> {
    pub(super) limits: Limits<'a>,
    pub(super) stream: Http2Stream,
}

/// Sends the request on a stream of its own, and relays the response.
pub(super) async fn exchange<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &mut B,
    sink: &mut S,
    facts: &Facts,
    way: Way<'_>,
    kept: &mut Kept,
) -> Result<(), Failed> {
    // Of what was sent before nothing counts.
    facts.bytes_in.set(0);
    let call = grpc::call(parts.request);
    if call.is_some() {
        facts.idle_together(parts.worker.settings().timeouts.tunnel_idle);
    }
    let mut body = Replay::new(body, kept, facts);
    match call {
        Some(Call::Web(encoding)) => {
            let content_type = parts.request.headers.get(Name::ContentType);
            let content_type = content_type.unwrap_or_default().to_vec();
            let mut body = web::Body::new(&mut body, encoding);
            let mut sink = web::Sink::new(sink, encoding, &content_type);
            run(parts, &mut body, &mut sink, facts, &way, call).await
        }
        _ => run(parts, &mut body, sink, facts, &way, call).await,
    }
    .map_err(|(fault, refused)| Failed {
        reason: fault,
        retry: refused && kept.is_whole(),
    })
}

/// The reason of a failure, and whether the request may be sent again if its body still can.
type Ended = (Reason, bool);

async fn run<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &mut B,
    sink: &mut S,
    facts: &Facts,
    way: &Way<'_>,
    call: Option<Call>,
) -> Result<(), Ended> {
    let stream = &way.stream;
    let begin = Instant::now();
    let bodiless = matches!(body.length(), Length::Absent | Length::Known(0));
    let request = head(parts, facts, body.length(), stream.is_tls(), call);
    let request = request.map_err(|reason| (reason, false))?;
    let head_request = request.method() == Method::HEAD;
    let idempotent = bodiless && is_idempotent(parts.request.method());
    let opened = stream.open(request, bodiless);
    let Opened {
        mut sending,
        mut response,
    } = opened.map_err(|fault| {
        facts.unprocessed.set(fault.unprocessed);
        (fault.reason, fault.unprocessed)
    })?;
    let upload = Upload {
        timer: Timer::until(parts.timer.total),
        body_limit: parts.worker.settings().timeouts.body,
        send_limit: way.limits.send,
        max_body: way.limits.max_body,
        facts,
    };
    let mut download = Download {
        worker: parts.worker,
        limits: way.limits,
        timer: parts.timer,
        response: parts.response,
        sink,
        facts,
    };
    let result = {
        let download = async {
            let announced = download
                .read_head(&mut response, head_request, begin)
                .await?;
            // How long the client took to send its body is not the endpoint's doing.
            let sent = if bodiless {
                Some(begin)
            } else {
                facts.sent_at.get()
            };
            if let Some(sent) = sent {
                let status = download.response.status;
                stream.lease().answered(sent.elapsed(), status, sent);
            }
            way.limits.unwanted(download.response.status)?;
            download.relay(&mut response, announced, head_request).await
        };
        if bodiless {
            while_wanted(download, gone(body, facts)).await
        } else {
            both(upload.run(body, &mut sending), download).await
        }
    };
    result.map_err(|reason| {
        if reason == Reason::ResponseTimeout {
            stream.doubt();
        }
        let unprocessed = response.fault.is_some_and(|fault| fault.unprocessed);
        facts.unprocessed.set(unprocessed);
        let retry = unprocessed || way.limits.again(reason, idempotent);
        (reason, retry && !facts.is_answering())
    })
}

/// The head of the request as HTTP/2 has it.
fn head(
    parts: &Parts<'_>,
    facts: &Facts,
    length: Length,
    tls: bool,
    call: Option<Call>,
) -> Result<Request<()>, Reason> {
    let from = &*parts.request;
    if let Some(protocol) = &parts.tunnel
        && (from.method() == b"CONNECT" || protocol.eq_ignore_ascii_case(b"websocket"))
    {
        return Err(Reason::UpstreamUpgrade);
    }
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(from.method()).map_err(|_| Reason::BadRequest)?;
    *request.uri_mut() = uri(from, facts, tls)?;
    let to = request.headers_mut();
    to.reserve(from.headers.len() + 2);
    for (token, name, value) in from.headers.iter() {
        let name = HeaderName::from_bytes(name).map_err(|_| Reason::BadRequest)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Reason::BadRequest)?;
        match (token, call) {
            (Name::ContentLength, _) => {}
            (Name::ContentType, Some(Call::Web(_))) => {
                let value = web::plain_content_type(value.as_bytes());
                let value = HeaderValue::from_bytes(&value);
                to.append(name, value.map_err(|_| Reason::BadRequest)?);
            }
            _ => drop(to.append(name, value)),
        }
    }
    match (length, call) {
        // Another length than what is sent.
        (_, Some(Call::Web(_))) => {}
        (Length::Known(length), _) => {
            to.insert(http::header::CONTENT_LENGTH, length.into());
        }
        (Length::Absent | Length::Unknown, _) => {}
    }
    if facts.trailers_wanted.get() || call.is_some() {
        to.insert(http::header::TE, HeaderValue::from_static("trailers"));
    }
    Ok(request)
}

fn uri(from: &RequestHead, facts: &Facts, tls: bool) -> Result<Uri, Reason> {
    let target = from.upstream_target();
    let target = PathAndQuery::try_from(target)
        .or_else(|_| PathAndQuery::try_from(escaped(target)))
        .map_err(|_| Reason::BadRequest)?;
    let builder = Uri::builder()
        .scheme(if tls { "https" } else { "http" })
        .path_and_query(target);
    let builder = match (from.upstream_authority(), facts.endpoint.get()) {
        // HTTP/1.0 need not say whom it means.
        (b"", Some(endpoint)) => builder.authority(endpoint.to_string()),
        (authority, _) => builder.authority(authority),
    };
    builder.build().map_err(|_| Reason::BadHost)
}

/// The target with those bytes escaped that HTTP/1 lets pass, and the `http` crate does not.
fn escaped(target: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(target.len() + 16);
    for &byte in target {
        if byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"' | b'#') {
            out.push(byte);
        } else {
            let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
            out.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Version;

    #[test]
    fn every_target_that_http1_lets_pass_has_a_form_in_http2() {
        let facts = Facts::default();
        for (query, expected) in [
            ("?a=b&c", "http://a.example/x?a=b&c"),
            ("?<script>", "http://a.example/x?%3Cscript%3E"),
            ("?{a}|b^`", "http://a.example/x?{a}|b^`"),
        ] {
            let mut head = RequestHead::default();
            let target = format!("/y/../x{query}");
            head.start(Version::Http11, b"GET", target.as_bytes());
            head.set_authority(b"a.example");
            head.set_upstream_target(format!("/x{query}").as_bytes());
            let uri = uri(&head, &facts, false).expect("a URI");
            assert_eq!(uri.to_string(), expected);
            assert_eq!(head.target(), target.as_bytes());
        }
    }
}
