//! Answers of our own.

use crate::client::{ClientFault, Length, ResponseSink};
use crate::headers::{Headers, Name, ResponseHead, write_field};
use crate::record::Reason;
use crate::worker::Worker;

/// The status that answers a request for this reason.
pub(crate) fn status(reason: Reason) -> u16 {
    match reason {
        Reason::NoRoute => 404,
        Reason::Unavailable(_) | Reason::Overloaded => 503,
        Reason::ConnectFailed
        | Reason::UpstreamClosed
        | Reason::UpstreamProtocol
        | Reason::UpstreamTruncated => 502,
        Reason::ConnectTimeout | Reason::ResponseTimeout | Reason::RequestTimeout => 504,
        Reason::BadRequest | Reason::BadPath(_) | Reason::AmbiguousPath | Reason::BadHost => 400,
        Reason::HeaderTooLarge => 431,
        Reason::UriTooLong => 414,
        Reason::BodyTooLarge => 413,
        Reason::HeaderTimeout | Reason::BodyTimeout => 408,
        Reason::Expectation => 417,
        Reason::Method => 405,
        Reason::Misdirected => 421,
        Reason::HttpsRedirect => 308,
        Reason::ClientClosed | Reason::ClientWriteTimeout => 499,
    }
}

/// The standard phrase of a status that we send.
pub(crate) fn phrase(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default()
}

/// Sends an answer: the status of the reason with a line of plain text. Tells the text's length.
pub(crate) async fn send<S: ResponseSink>(
    worker: &Worker,
    head: &mut ResponseHead,
    sink: &mut S,
    reason: Reason,
    location: Option<(u16, &[u8])>,
    keep: bool,
) -> Result<usize, ClientFault> {
    let status = location.map_or_else(|| status(reason), |(status, _)| status);
    let phrase = phrase(status);
    head.start(status, phrase.as_bytes());
    worker
        .date
        .with(|date| head.headers.push_known(Name::Date, b"Date", date));
    head.headers
        .push(b"Content-Type", b"text/plain; charset=utf-8");
    if let Some((_, location)) = location {
        head.headers.push(b"Location", location);
    }
    if status == 405 {
        head.headers
            .push(b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    }
    // Three digits, a space and a newline around the phrase.
    let mut text = [0; 64];
    let text = plain_text(&mut text, status, phrase);
    sink.head(head, Length::Known(text.len() as u64), keep)
        .await?;
    sink.data(text, true).await?;
    sink.end(&Headers::default()).await?;
    Ok(text.len())
}

fn plain_text<'a>(to: &'a mut [u8; 64], status: u16, phrase: &str) -> &'a [u8] {
    use std::io::Write as _;
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
