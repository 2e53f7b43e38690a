//! Answers of our own.

use crate::client::{ClientFault, Length, ResponseSink};
use crate::grpc;
use crate::headers::{Headers, Name, ResponseHead, write_field};
use crate::record::Reason;
use crate::worker::Worker;

/// The status that answers a request for this reason.
pub(crate) fn status(reason: Reason) -> u16 {
    match reason {
        Reason::NoRoute => 404,
        Reason::Unavailable(_) | Reason::Overloaded | Reason::UpstreamBusy => 503,
        Reason::ConnectFailed
        | Reason::UpstreamTls(_)
        | Reason::UpstreamClosed
        | Reason::UpstreamReset
        | Reason::UpstreamUpgrade
        | Reason::UpstreamProtocol
        | Reason::UpstreamTruncated
        | Reason::UpstreamStatus(_) => 502,
        Reason::InvalidBackend => 500,
        Reason::ClientCertificateMissing | Reason::ClientCertificateInvalid => 400,
        Reason::AuthDenied
        | Reason::AuthFailed
        | Reason::CorsPreflight
        | Reason::AddressDenied
        | Reason::Blocked
        | Reason::ClientCertificateDenied => 403,
        Reason::ConnectTimeout
        | Reason::ResponseTimeout
        | Reason::RequestTimeout
        | Reason::IdleTimeout => 504,
        Reason::BadRequest | Reason::BadPath(_) | Reason::AmbiguousPath | Reason::BadHost => 400,
        Reason::HeaderTooLarge => 431,
        Reason::UriTooLong => 414,
        Reason::BodyTooLarge => 413,
        Reason::HeaderTimeout | Reason::BodyTimeout => 408,
        Reason::Expectation => 417,
        Reason::Method => 405,
        Reason::Misdirected => 421,
        Reason::PasswordRequired => 401,
        Reason::AcmeChallenge | Reason::Returned => 200,
        Reason::HttpsRedirect | Reason::Redirect => 308,
        Reason::ClientClosed | Reason::ClientWriteTimeout => 499,
        Reason::RetryBudget
        | Reason::Draining
        | Reason::Unguarded
        | Reason::RequestLimit
        | Reason::ConnectionLimit
        | Reason::ErrorPage(_) => 503,
    }
}

/// The standard phrase of a status that we send.
pub(crate) fn phrase(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default()
}

/// The phrase of a status line of ours, in nginx's words where they differ.
fn line(status: u16, as_nginx: bool) -> &'static str {
    match status {
        302 if as_nginx => "Moved Temporarily",
        401 => phrase(status),
        _ => words(status, as_nginx),
    }
}

/// What a page calls a status.
fn words(status: u16, as_nginx: bool) -> &'static str {
    match status {
        _ if !as_nginx => phrase(status),
        401 => "Authorization Required",
        405 => "Not Allowed",
        408 => "Request Time-out",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        _ => phrase(status),
    }
}

/// How an answer of our own looks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form<'a> {
    /// A line of plain text.
    Text,
    /// The same, for who is sent elsewhere: a status and a Location.
    Redirect(u16, &'a [u8]),
    /// What gRPC's clients understand, under the content type that they asked with.
    Grpc(&'a [u8]),
    /// What somebody else has said.
    Given(&'a Given),
}

/// An answer in somebody else's words.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) status: u16,
    /// Without those that are about one connection or the body's length.
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    /// Whether the body is a page of ours for the status.
    pub(crate) page: bool,
}

impl Given {
    /// A page of ours.
    pub(crate) fn page(status: u16) -> Self {
        Self {
            status,
            page: true,
            ..Self::default()
        }
    }

    /// What nginx says of a head that is too large.
    pub(crate) fn nginx_head_too_large() -> Self {
        let body: &[u8] = b"<html>\r\n<head><title>400 Request Header Or Cookie Too Large</title>\
            </head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n\
            <center>Request Header Or Cookie Too Large</center>\r\n\
            <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";
        let mut given = Self {
            status: 400,
            body: body.to_vec(),
            ..Self::default()
        };
        given.headers.push(b"Content-Type", b"text/html");
        given
    }
}

impl Form<'_> {
    /// The HTTP status of the answer to a request for this reason.
    pub(crate) fn status(self, reason: Reason) -> u16 {
        match self {
            Self::Text => status(reason),
            Self::Redirect(status, _) => status,
            Self::Given(given) => given.status,
            // In gRPC the status of HTTP says only that somebody answered.
            Self::Grpc(_) => 200,
        }
    }
}

/// Sends an answer, to whose fields `edit` is done. Tells the length of its text.
pub(crate) async fn send<S: ResponseSink>(
    worker: &Worker,
    head: &mut ResponseHead,
    sink: &mut S,
    reason: Reason,
    form: Form<'_>,
    keep: bool,
    edit: impl FnOnce(&mut Headers),
) -> Result<usize, ClientFault> {
    let code = form.status(reason);
    let as_nginx = worker.settings().as_nginx;
    head.start(code, line(code, as_nginx).as_bytes());
    worker
        .date
        .with(|date| head.headers.push_known(Name::Date, b"Date", date));
    if let Form::Given(given) = form {
        return send_given(head, sink, given, as_nginx, keep, edit).await;
    }
    let phrase = phrase(status(reason));
    let mut text = [0; PAGE];
    let text = match form {
        Form::Text => page(&mut text, code, as_nginx, about(reason)),
        Form::Redirect(_, location) => {
            head.headers.push(b"Location", location);
            page(&mut text, code, as_nginx, None)
        }
        Form::Grpc(content_type) => {
            let fields = &mut head.headers;
            fields.push_known(Name::ContentType, b"Content-Type", content_type);
            let mut digits = [0; 20];
            let status = decimal(&mut digits, grpc::status(reason).into());
            fields.push(b"Grpc-Status", status);
            // Neither has anything that would have to be escaped.
            let message = [phrase, ": ", reason.as_str()].concat();
            fields.push(b"Grpc-Message", message.as_bytes());
            &[]
        }
        Form::Given(_) => &[],
    };
    if !text.is_empty() {
        head.headers.push(b"Content-Type", page_type(as_nginx));
    }
    if code == 405 {
        head.headers
            .push(b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    }
    edit(&mut head.headers);
    let length = match text.len() {
        0 if matches!(form, Form::Grpc(_)) => Length::Absent,
        length => Length::Known(length as u64),
    };
    sink.head(head, length, keep).await?;
    sink.data(text, true).await?;
    sink.end(&Headers::default()).await?;
    Ok(text.len())
}

async fn send_given<S: ResponseSink>(
    head: &mut ResponseHead,
    sink: &mut S,
    given: &Given,
    as_nginx: bool,
    keep: bool,
    edit: impl FnOnce(&mut Headers),
) -> Result<usize, ClientFault> {
    for (token, name, value) in given.headers.iter() {
        head.headers.push_known(token, name, value);
    }
    let mut text = [0; PAGE];
    let body = match given.page {
        true => page(&mut text, given.status, as_nginx, None),
        false => &given.body,
    };
    if given.page && !body.is_empty() {
        let kind = page_type(as_nginx);
        head.headers
            .push_known(Name::ContentType, b"Content-Type", kind);
    }
    edit(&mut head.headers);
    let length = match (given.status, body.len()) {
        (204 | 304, _) => Length::Absent,
        (_, length) => Length::Known(length as u64),
    };
    sink.head(head, length, keep).await?;
    if length != Length::Absent {
        sink.data(body, true).await?;
    }
    sink.end(&Headers::default()).await?;
    Ok(body.len())
}

/// Room for a page of ours.
const PAGE: usize = 256;

/// What nginx's page says besides the status (its own 495 and 496).
fn about(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::ClientCertificateMissing => Some("No required SSL certificate was sent"),
        Reason::ClientCertificateInvalid => Some("The SSL certificate error"),
        _ => None,
    }
}

/// A page of ours: a line of plain text, or nginx's page.
fn page<'a>(to: &'a mut [u8; PAGE], status: u16, as_nginx: bool, about: Option<&str>) -> &'a [u8] {
    use std::io::Write as _;
    let words = words(status, as_nginx);
    if as_nginx && !has_page(status) {
        return &[];
    }
    let mut rest = &mut to[..];
    // The longest phrase has 36 bytes, and stands in nginx's page twice.
    let _ = match (as_nginx, about) {
        (false, _) => writeln!(rest, "{status} {words}"),
        (true, Some(about)) => write!(
            rest,
            "<html>\r\n<head><title>{status} {about}</title></head>\r\n<body>\r\n\
             <center><h1>{status} {words}</h1></center>\r\n<center>{about}</center>\r\n\
             <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
        ),
        (true, None) => write!(
            rest,
            "<html>\r\n<head><title>{status} {words}</title></head>\r\n<body>\r\n\
             <center><h1>{status} {words}</h1></center>\r\n<hr><center>nginx</center>\r\n\
             </body>\r\n</html>\r\n"
        ),
    };
    let left = rest.len();
    &to[..PAGE - left]
}

/// Whether nginx has a page for a status; it says nothing with the others.
fn has_page(status: u16) -> bool {
    matches!(
        status,
        301..=303 | 307 | 308 | 400..=416 | 421 | 429 | 431 | 500..=505 | 507
    )
}

fn page_type(as_nginx: bool) -> &'static [u8] {
    match as_nginx {
        true => b"text/html",
        false => b"text/plain; charset=utf-8",
    }
}

/// Appends Content-Length without formatting machinery.
pub(crate) fn write_content_length(out: &mut Vec<u8>, length: u64) {
    let mut digits = [0; 20];
    write_field(out, b"Content-Length", decimal(&mut digits, length));
}

/// The decimal digits of a number.
pub(crate) fn decimal(digits: &mut [u8; 20], number: u64) -> &[u8] {
    let mut at = digits.len();
    let mut left = number;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(left % 10).unwrap_or_default();
        left /= 10;
        if left == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 12_345, u64::MAX] {
            assert_eq!(decimal(&mut [0; 20], number), number.to_string().as_bytes());
        }
    }

    #[test]
    fn the_longest_text_fits() {
        for status in (100..=599).filter(|&status| !phrase(status).is_empty()) {
            for as_nginx in [false, true] {
                let mut to = [0; PAGE];
                let page = page(&mut to, status, as_nginx, None);
                let is_bare = as_nginx && !has_page(status);
                assert!(is_bare || page.ends_with(b"\n"), "{status}");
            }
        }
        for reason in [
            Reason::ClientCertificateMissing,
            Reason::ClientCertificateInvalid,
        ] {
            let mut to = [0; PAGE];
            let page = page(&mut to, 400, true, about(reason));
            assert!(page.ends_with(b"\n"), "{reason:?}");
        }
        let mut to = [0; PAGE];
        let page = page(&mut to, 400, true, about(Reason::ClientCertificateMissing));
        let page = String::from_utf8_lossy(page);
        let said = "<center>No required SSL certificate was sent</center>\r\n<hr>";
        assert!(page.contains(said), "{page}");
    }
}
