//! Answers of our own.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::client::{ClientFault, Length, ResponseSink};
use crate::headers::{Headers, Name, ResponseHead, write_field};
use crate::record::Reason;
use crate::worker::Worker;

/// The status that answers a request for this reason.
pub(crate) fn status(reason: Reason) -> u16 {
    match reason {
        Reason::NoRoute => 404,
        Reason::Unavailable(_) => 503,
        Reason::ConnectFailed | Reason::UpstreamClosed | Reason::UpstreamProtocol | Reason::UpstreamTruncated => 502,
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
    worker.date.with(|date| head.headers.push_known(Name::Date, b"Date", date));
    head.headers.push(b"Content-Type", b"text/plain; charset=utf-8");
    if let Some((_, location)) = location {
        head.headers.push(b"Location", location);
    }
    if status == 405 {
        head.headers.push(b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    }
    // Three digits, a space and a newline around the phrase.
    let mut text = [0; 64];
    let text = plain_text(&mut text, status, phrase);
    sink.head(head, Length::Known(text.len() as u64), keep).await?;
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

/// The value of the Date field, made anew once a second.
#[derive(Debug, Default)]
pub(crate) struct Date {
    cached: RefCell<(u64, Vec<u8>)>,
}

impl Date {
    /// Calls `use_it` with the date of now (RFC 9110, section 5.6.7).
    pub(crate) fn with<T>(&self, use_it: impl FnOnce(&[u8]) -> T) -> T {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut cached = self.cached.borrow_mut();
        if cached.0 != now {
            *cached = (now, http_date(now).into_bytes());
        }
        use_it(&cached.1)
    }
}

/// Civil date from days since 1970 (the algorithm is Howard Hinnant's `civil_from_days`).
pub(crate) fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

fn http_date(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = seconds / 86_400;
    let (year, month, day) = civil(days);
    let weekday = DAYS[usize::try_from(days % 7).unwrap_or_default()];
    let month = MONTHS[usize::try_from(month - 1).unwrap_or_default() % 12];
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_http_dates() {
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(1_709_164_800), "Thu, 29 Feb 2024 00:00:00 GMT");
    }

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
            assert!(plain_text(&mut to, status, phrase(status)).ends_with(b"\n"), "{status}");
        }
    }
}
