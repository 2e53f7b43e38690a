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
    head.start(code, phrase(code).as_bytes());
    worker
        .date
        .with(|date| head.headers.push_known(Name::Date, b"Date", date));
    if let Form::Given(given) = form {
        return send_given(head, sink, given, keep, edit).await;
    }
    let phrase = phrase(status(reason));
    let mut text = [0; 64];
    let text = match form {
        Form::Text => plain_text(&mut text, code, phrase),
        Form::Redirect(_, location) => {
            head.headers.push(b"Location", location);
            plain_text(&mut text, code, self::phrase(code))
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
        head.headers
            .push(b"Content-Type", b"text/plain; charset=utf-8");
    }
    if code == 405 {
        head.headers
            .push(b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    }
    edit(&mut head.headers);
    let length = match text.len() {
        0 => Length::Absent,
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
    keep: bool,
    edit: impl FnOnce(&mut Headers),
) -> Result<usize, ClientFault> {
    for (token, name, value) in given.headers.iter() {
        head.headers.push_known(token, name, value);
    }
    edit(&mut head.headers);
    let length = match (given.status, given.body.len()) {
        (204 | 304, _) => Length::Absent,
        (_, length) => Length::Known(length as u64),
    };
    sink.head(head, length, keep).await?;
    if length != Length::Absent {
        sink.data(&given.body, true).await?;
    }
    sink.end(&Headers::default()).await?;
    Ok(given.body.len())
}

fn plain_text<'a>(to: &'a mut [u8; 64], status: u16, phrase: &str) -> &'a [u8] {
    use std::io::Write as _;
    // Three digits, a space and a newline around the phrase.
    let mut rest = &mut to[..];
    // The longest phrase has 31 bytes.
    let _ = writeln!(rest, "{status} {phrase}");
    let left = rest.len();
    &to[..64 - left]
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
            let mut to = [0; 64];
            assert!(
                plain_text(&mut to, status, phrase(status)).ends_with(b"\n"),
                "{status}"
            );
        }
    }
}
