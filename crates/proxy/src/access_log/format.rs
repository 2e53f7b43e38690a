//! How a line looks. Everything is appended to one buffer, with no text in between.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::record::Record;

/// What a client sent is shown up to this many bytes.
const MAX_FIELD: usize = 8 * 1024;
/// Stands for what was cut off.
const CUT: &str = "\u{2026}";

/// Writes times, of which many fall into the same second.
#[derive(Debug, Default)]
pub(super) struct Clock {
    second: u64,
    json: [u8; 19],
    common: [u8; 26],
    known: bool,
}

impl Clock {
    /// Makes the texts those of `time`. Returns the milliseconds within the second.
    pub(super) fn set(&mut self, time: SystemTime) -> u32 {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        // The last second of the year 9999: the texts have four digits for the year.
        let second = since.as_secs().min(253_402_300_799);
        if !self.known || second != self.second {
            self.second = second;
            self.known = true;
            self.write(&Civil::from_unix(second));
        }
        since.subsec_millis()
    }

    /// As `31/Jan/2026:12:00:00 +0000`.
    pub(super) fn common(&self) -> &[u8] {
        &self.common
    }

    /// As `2026-01-31T12:00:00`.
    pub(super) fn json(&self) -> &[u8] {
        &self.json
    }

    /// Since 1970.
    pub(super) fn second(&self) -> u64 {
        self.second
    }

    fn write(&mut self, at: &Civil) {
        const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
        self.json = *b"0000-00-00T00:00:00";
        digits(&mut self.json[0..4], at.year);
        digits(&mut self.json[5..7], at.month);
        digits(&mut self.json[8..10], at.day);
        digits(&mut self.json[11..13], at.hour);
        digits(&mut self.json[14..16], at.minute);
        digits(&mut self.json[17..19], at.second);
        self.common = *b"00/Jan/0000:00:00:00 +0000";
        let month = (at.month as usize - 1) * 3;
        self.common[3..6].copy_from_slice(&MONTHS[month..month + 3]);
        digits(&mut self.common[0..2], at.day);
        digits(&mut self.common[7..11], at.year);
        digits(&mut self.common[12..14], at.hour);
        digits(&mut self.common[15..17], at.minute);
        digits(&mut self.common[18..20], at.second);
    }
}

/// A moment in the Gregorian calendar, UTC.
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Civil {
    /// Seconds since 1970. Years are counted from 1 March, so that the leap day comes last, and in
    /// eras of 400 years, after which the calendar repeats.
    fn from_unix(second: u64) -> Self {
        const DAYS_TO_1970: u64 = 719_468; // from 0000-03-01
        const DAYS_OF_ERA: u64 = 146_097;
        let days = second / 86_400 + DAYS_TO_1970;
        let era = days / DAYS_OF_ERA;
        let day_of_era = days % DAYS_OF_ERA;
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * from_march + 2) / 5 + 1,
            hour: second / 3600 % 24,
            minute: second / 60 % 60,
            second: second % 60,
        }
    }
}

/// One JSON object.
pub(super) fn json(out: &mut Vec<u8>, clock: &mut Clock, record: &Record<'_>) {
    let millis = clock.set(record.start);
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(&clock.json);
    out.push(b'.');
    number_padded(out, u64::from(millis), 3);
    out.extend_from_slice(b"Z\",\"client\":\"");
    address(out, record.client);
    out.push(b'"');
    let is_http = record.version.is_http();
    if is_http {
        text(out, "method", record.method);
        text(out, "host", record.host);
        text(out, "path", record.target);
    } else {
        key(out, "port");
        number(out, u64::from(record.port));
        text_if_any(out, "host", record.host);
    }
    text(out, "protocol", record.version.as_str().as_bytes());
    if is_http {
        key(out, "status");
        number(out, u64::from(record.status));
    }
    if let Some(reason) = record.reason {
        text(out, "reason", reason.as_str().as_bytes());
    }
    text_if_any(out, "route", record.route.as_bytes());
    text_if_any(out, "backend", record.backend.as_bytes());
    if let Some(endpoint) = record.endpoint {
        key(out, "endpoint");
        out.push(b'"');
        socket_address(out, endpoint);
        out.push(b'"');
    }
    key(out, "attempts");
    number(out, u64::from(record.attempts));
    key(out, "duration_ms");
    milliseconds(out, record.duration);
    if let Some(upstream) = record.upstream {
        key(out, "upstream_ms");
        milliseconds(out, upstream);
    }
    key(out, "bytes_in");
    number(out, record.bytes_in);
    key(out, "bytes_out");
    number(out, record.bytes_out);
    if is_http {
        text(out, "request_id", record.request_id);
    }
    text_if_any(out, "user_agent", record.user_agent);
    text_if_any(out, "referer", record.referer);
    if let Some(tls) = record.tls {
        text(out, "tls", tls.as_bytes());
    }
    out.extend_from_slice(b"}\n");
}

/// The Common Log Format.
pub(super) fn common(out: &mut Vec<u8>, clock: &mut Clock, record: &Record<'_>) {
    clock.set(record.start);
    address(out, record.client);
    out.extend_from_slice(b" - - [");
    out.extend_from_slice(&clock.common);
    out.extend_from_slice(b"] \"");
    escape_common(out, record.method);
    out.push(b' ');
    escape_common(out, record.target);
    out.push(b' ');
    out.extend_from_slice(record.version.as_str().as_bytes());
    out.extend_from_slice(b"\" ");
    number(out, u64::from(record.status));
    out.push(b' ');
    number(out, record.bytes_out);
    out.push(b'\n');
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn text(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    key(out, name);
    out.push(b'"');
    escape_json(out, value);
    out.push(b'"');
}

fn text_if_any(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    if !value.is_empty() {
        text(out, name, value);
    }
}

fn escape_json(out: &mut Vec<u8>, value: &[u8]) {
    let (value, cut) = bounded(value);
    if value.iter().all(|&byte| is_plain(byte)) {
        out.extend_from_slice(value);
    } else {
        for chunk in value.utf8_chunks() {
            for character in chunk.valid().chars() {
                escape_char(out, character);
            }
            if !chunk.invalid().is_empty() {
                out.extend_from_slice("\u{FFFD}".as_bytes());
            }
        }
    }
    if cut {
        out.extend_from_slice(CUT.as_bytes());
    }
}

fn is_plain(byte: u8) -> bool {
    (b' '..0x7f).contains(&byte) && byte != b'"' && byte != b'\\'
}

fn escape_char(out: &mut Vec<u8>, character: char) {
    match character {
        '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
        // Controls of both ranges: a terminal that shows the log must not obey them.
        _ if character.is_control() => {
            let code = character as u32;
            out.extend_from_slice(b"\\u00");
            hex(out, (code & 0xff) as u8);
        }
        _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

fn escape_common(out: &mut Vec<u8>, value: &[u8]) {
    let (value, cut) = bounded(value);
    for &byte in value {
        if is_plain(byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(b"\\x");
            hex(out, byte);
        }
    }
    if cut {
        out.extend_from_slice(b"...");
    }
}

/// The beginning of a value, whole UTF-8 sequences of it, and whether there is more.
fn bounded(value: &[u8]) -> (&[u8], bool) {
    if value.len() <= MAX_FIELD {
        return (value, false);
    }
    let mut end = MAX_FIELD;
    while end > MAX_FIELD - 3 && value[end] & 0b1100_0000 == 0b1000_0000 {
        end -= 1;
    }
    (&value[..end], true)
}

fn hex(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 15)]);
}

pub(super) fn address(out: &mut Vec<u8>, address: IpAddr) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{}", address.to_canonical());
}

pub(super) fn socket_address(out: &mut Vec<u8>, address: SocketAddr) {
    let canonical = SocketAddr::new(address.ip().to_canonical(), address.port());
    let _ = write!(out, "{canonical}");
}

fn number(out: &mut Vec<u8>, value: u64) {
    number_padded(out, value, 1);
}

/// With at least `width` digits.
fn number_padded(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let mut text = [b'0'; 20];
    let mut at = text.len();
    while value > 0 {
        at -= 1;
        text[at] = digit(value % 10);
        value /= 10;
    }
    out.extend_from_slice(&text[at.min(text.len() - width)..]);
}

fn milliseconds(out: &mut Vec<u8>, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    number(out, micros / 1000);
    out.push(b'.');
    number_padded(out, micros % 1000, 3);
}

/// Fills `to` with the last digits of `value`.
fn digits(to: &mut [u8], mut value: u64) {
    for place in to.iter_mut().rev() {
        *place = digit(value % 10);
        value /= 10;
    }
}

fn digit(value: u64) -> u8 {
    // Below ten, so nothing is cut off.
    b'0' + (value % 10) as u8
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;

    use model::Unavailable;
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Reason, Version};

    pub(in crate::access_log) fn record() -> Record<'static> {
        Record {
            port: 8080,
            start: UNIX_EPOCH + Duration::from_millis(971_184_936_042),
            client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
            method: b"GET",
            host: b"example.com",
            target: b"/x?y=1",
            version: Version::Http11,
            tls: None,
            status: 200,
            reason: None,
            route: "",
            backend: "",
            endpoint: None,
            attempts: 0,
            duration: Duration::from_micros(12_034),
            upstream: None,
            bytes_in: 0,
            bytes_out: 123,
            request_id: b"abc",
            user_agent: b"",
            referer: b"",
            host_slot: 0,
            unlogged: false,
        }
    }

    fn json_line(record: &Record<'_>) -> String {
        let mut out = Vec::new();
        json(&mut out, &mut Clock::default(), record);
        String::from_utf8(out).unwrap()
    }

    fn common_line(record: &Record<'_>) -> String {
        let mut out = Vec::new();
        common(&mut out, &mut Clock::default(), record);
        String::from_utf8(out).unwrap()
    }

    fn json_path(target: &[u8]) -> String {
        let line = json_line(&Record { target, ..record() });
        let start = line.find("\"path\":\"").unwrap() + 8;
        line[start..line.find("\",\"protocol\"").unwrap()].to_owned()
    }

    #[test]
    fn a_json_line_omits_what_is_absent() {
        assert_eq!(
            json_line(&record()),
            "{\"time\":\"2000-10-10T13:35:36.042Z\",\"client\":\"192.0.2.7\",\"method\":\"GET\",\
             \"host\":\"example.com\",\"path\":\"/x?y=1\",\"protocol\":\"HTTP/1.1\",\"status\":200,\
             \"attempts\":0,\"duration_ms\":12.034,\"bytes_in\":0,\"bytes_out\":123,\
             \"request_id\":\"abc\"}\n"
        );
    }

    #[test]
    fn a_json_line_shows_all_there_is_in_order() {
        let full = Record {
            client: "::ffff:192.0.2.7".parse().unwrap(),
            version: Version::Http2,
            tls: Some("TLSv1.3"),
            status: 503,
            reason: Some(Reason::Unavailable(Unavailable::NoReadyEndpoints)),
            route: "default/web",
            backend: "default/web:80",
            endpoint: Some("[2001:db8::1]:8080".parse().unwrap()),
            attempts: 2,
            upstream: Some(Duration::from_millis(7)),
            user_agent: b"curl/8",
            referer: b"https://example.org/",
            ..record()
        };
        assert_eq!(
            json_line(&full),
            "{\"time\":\"2000-10-10T13:35:36.042Z\",\"client\":\"192.0.2.7\",\"method\":\"GET\",\
             \"host\":\"example.com\",\"path\":\"/x?y=1\",\"protocol\":\"HTTP/2.0\",\"status\":503,\
             \"reason\":\"no_ready_endpoints\",\"route\":\"default/web\",\
             \"backend\":\"default/web:80\",\"endpoint\":\"[2001:db8::1]:8080\",\"attempts\":2,\
             \"duration_ms\":12.034,\"upstream_ms\":7.000,\"bytes_in\":0,\"bytes_out\":123,\
             \"request_id\":\"abc\",\"user_agent\":\"curl/8\",\
             \"referer\":\"https://example.org/\",\"tls\":\"TLSv1.3\"}\n"
        );
    }

    #[test]
    fn a_common_line_is_the_common_log_format() {
        assert_eq!(
            common_line(&record()),
            "192.0.2.7 - - [10/Oct/2000:13:35:36 +0000] \"GET /x?y=1 HTTP/1.1\" 200 123\n"
        );
        let hostile = Record {
            target: b"/\"\\\x1b[2J\n\xff",
            ..record()
        };
        assert!(common_line(&hostile).contains("\"GET /\\x22\\x5C\\x1B[2J\\x0A\\xFF HTTP/1.1\""));
    }

    #[test]
    fn what_clients_send_is_escaped() {
        assert_eq!(json_path(b"/a\"b\\c"), "/a\\\"b\\\\c");
        assert_eq!(json_path(b"\0\x1b\n\x7f"), "\\u0000\\u001B\\u000A\\u007F");
        assert_eq!(json_path(b"/\xff\xc3/"), "/\u{FFFD}\u{FFFD}/");
        assert_eq!(json_path("/ä\u{9b}2J".as_bytes()), "/ä\\u009B2J");
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let long = "€".repeat(MAX_FIELD);
        let shown = json_path(long.as_bytes());
        assert_eq!(shown, "€".repeat(MAX_FIELD / 3) + CUT);
        assert_eq!(json_path(&vec![b'a'; MAX_FIELD]), "a".repeat(MAX_FIELD));
    }

    #[test]
    fn times_are_right_on_special_days() {
        let mut clock = Clock::default();
        for (second, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_709_164_800, "2024-02-29T00:00:00"),
            (1_735_689_599, "2024-12-31T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (253_402_300_799, "9999-12-31T23:59:59"),
            (253_402_300_800, "9999-12-31T23:59:59"),
        ] {
            clock.set(UNIX_EPOCH + Duration::from_secs(second));
            assert_eq!(std::str::from_utf8(&clock.json).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_one_line_of_json(
            method in any::<Vec<u8>>(),
            host in any::<Vec<u8>>(),
            target in proptest::collection::vec(any::<u8>(), 0..10_000),
            agent in any::<Vec<u8>>(),
            referer in any::<String>(),
            duration in any::<Duration>(),
        ) {
            let line = json_line(&Record {
                method: &method,
                host: &host,
                target: &target,
                user_agent: &agent,
                referer: referer.as_bytes(),
                request_id: &agent,
                duration,
                ..record()
            });
            prop_assert!(line.ends_with('\n'));
            prop_assert!(!line[..line.len() - 1].contains(char::is_control));
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            if target.len() <= MAX_FIELD {
                let shown = value["path"].as_str().unwrap();
                prop_assert_eq!(shown, String::from_utf8_lossy(&target));
            }
            if !referer.is_empty() {
                prop_assert_eq!(value["referer"].as_str(), Some(referer.as_str()));
            }
        }

        #[test]
        fn any_bytes_give_one_line_of_printable_ascii(
            method in any::<Vec<u8>>(),
            target in any::<Vec<u8>>(),
        ) {
            let line = common_line(&Record { method: &method, target: &target, ..record() });
            prop_assert!(line.ends_with('\n'));
            prop_assert!(line[..line.len() - 1].bytes().all(|byte| (b' '..0x7f).contains(&byte)));
            prop_assert_eq!(line.matches('"').count(), 2);
        }
    }
}
