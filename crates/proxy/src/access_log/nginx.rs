//! Lines in nginx's formats (ingress-nginx: `log-format-upstream`, `log-format-stream`).

use std::io::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use model::access_log::{Escape, LogFormat};
use model::text::{Named, Piece, Variable};
use model::{Action, NormalPath, PathMatch, Rule, Target};

use super::format::{Clock, address, socket_address};
use super::trail::{Attempt, Step, Trail};
use crate::client::{Connection, Tls};
use crate::headers::{RequestHead, ResponseHead};
use crate::record::{Reason, Record};
use crate::respond;
use crate::upstream::balance::value_in_any_case;
use crate::variables::{argument, escape as escape_uri, scheme, split};

/// What only nginx's formats tell of a request, beside its record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Detail<'a> {
    pub(crate) trail: &'a Trail,
    pub(crate) connection: &'a Connection,
    pub(crate) request: &'a RequestHead,
    /// The response as it went to the client, if one did.
    pub(crate) response: Option<&'a ResponseHead>,
    pub(crate) rule: Option<&'a Rule>,
    /// Which of the rule's backends was chosen.
    pub(crate) share: Option<usize>,
    /// Whether the client came with TLS as far as it knows.
    pub(crate) secure: bool,
}

/// Puts lines together; the memory for one value is used again.
#[derive(Debug, Default)]
pub(super) struct Composer {
    value: Vec<u8>,
}

impl Composer {
    /// Appends a line.
    pub(super) fn line(
        &mut self,
        out: &mut Vec<u8>,
        clock: &mut Clock,
        format: &LogFormat,
        record: &Record<'_>,
        detail: Option<&Detail<'_>>,
    ) {
        let millis = clock.set(record.start + record.duration);
        let line = Line {
            clock,
            millis,
            record,
            detail,
        };
        for piece in format.text.pieces() {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Variable(variable) => {
                    self.value.clear();
                    match line.write(variable, &mut self.value) {
                        Some(()) => escape(format.escape, &self.value, out),
                        None if format.escape == Escape::Hex => out.push(b'-'),
                        None => {}
                    }
                }
            }
        }
        out.push(b'\n');
    }
}

/// One line's values.
struct Line<'a> {
    clock: &'a Clock,
    millis: u32,
    record: &'a Record<'a>,
    detail: Option<&'a Detail<'a>>,
}

impl Line<'_> {
    /// Appends a variable's value, if it has one.
    fn write(&self, variable: &Variable, out: &mut Vec<u8>) -> Option<()> {
        let detail = self.detail;
        match variable {
            Variable::Header(name) if **name == *"host" => some(out, self.record.host),
            Variable::Header(name) => self.field(name, out),
            Variable::SentHeader(name) => {
                let headers = &detail?.response?.headers;
                out.extend_from_slice(&headers.joined(name.as_bytes())?);
                Some(())
            }
            Variable::UpstreamHeader(name) => {
                out.extend_from_slice(detail?.trail.upstream_field(name)?);
                Some(())
            }
            Variable::Cookie(name) => {
                let cookies = detail?.trail.request_field("cookie")?;
                out.extend_from_slice(cookie_of(cookies, name.as_bytes())?);
                Some(())
            }
            Variable::Argument(name) => {
                let query = query(self.record.target)?;
                some(out, argument(query, name.as_bytes()))
            }
            Variable::Named(named) => self.named(*named, out),
            Variable::Geo(name) => {
                let geo = detail?.connection.geo.as_ref()?;
                geo.write(name, self.record.client, out)
            }
            // There is no pattern, and no such name.
            Variable::Capture(_) | Variable::Nothing(_) => None,
        }
    }

    /// A field of the request.
    fn field(&self, name: &str, out: &mut Vec<u8>) -> Option<()> {
        match self.detail {
            Some(detail) => out.extend_from_slice(detail.trail.request_field(name)?),
            // What was no request has no more than these.
            None => match name {
                "user-agent" => return some(out, self.record.user_agent),
                "referer" => return some(out, self.record.referer),
                _ => return None,
            },
        }
        Some(())
    }

    fn named(&self, named: Named, out: &mut Vec<u8>) -> Option<()> {
        let record = self.record;
        match named {
            Named::RemoteAddr => address(out, record.client),
            Named::RemoteUser => {
                return user(self.detail?.trail.request_field("authorization")?, out);
            }
            Named::ForwardedFor => {
                if self.field("x-forwarded-for", out).is_some() {
                    out.extend_from_slice(b", ");
                }
                address(out, record.client);
            }
            Named::TimeLocal => out.extend_from_slice(self.clock.common()),
            Named::TimeIso8601 => {
                out.extend_from_slice(self.clock.json());
                out.extend_from_slice(b"+00:00");
            }
            Named::Msec => {
                let _ = write!(out, "{}.{:03}", self.clock.second(), self.millis);
            }
            Named::RequestTime | Named::SessionTime => seconds(out, record.duration),
            Named::Status => {
                let _ = write!(out, "{:03}", status(record));
            }
            Named::BodyBytesSent => show(out, record.bytes_out),
            Named::BytesSent => {
                let head = self.detail.map_or(0, Detail::head_sent);
                show(out, record.bytes_out + head);
            }
            Named::BytesReceived => show(out, record.bytes_in),
            Named::RequestLength => {
                let head = self.detail.map_or(0, |detail| detail.trail.head_bytes());
                show(out, head + record.bytes_in);
            }
            Named::RequestId => return some(out, record.request_id),
            Named::Transport | Named::Protocol => {
                out.extend_from_slice(record.version.as_str().as_bytes());
            }
            Named::SslProtocol => return some(out, record.tls?.as_bytes()),
            Named::Pid => show(out, std::process::id()),
            Named::Pipe => out.push(b'.'),
            Named::RequestCompletion => {
                if record.reason.is_none() {
                    out.extend_from_slice(b"OK");
                }
            }
            _ if record.version.is_http() => return self.of_request(named, out),
            _ => return self.of_stream(named, out),
        }
        Some(())
    }

    fn of_request(&self, named: Named, out: &mut Vec<u8>) -> Option<()> {
        let record = self.record;
        match named {
            Named::Method => return some(out, record.method),
            Named::Request => {
                if record.method.is_empty() {
                    return None;
                }
                for part in [record.method, b" ", record.target, b" "] {
                    out.extend_from_slice(part);
                }
                out.extend_from_slice(record.version.as_str().as_bytes());
            }
            Named::RequestUri => return some(out, record.target),
            Named::EscapedRequestUri => escape_uri(record.target, out),
            Named::Args => return some(out, query(record.target)?),
            Named::IsArgs => {
                if query(record.target).is_some() {
                    out.push(b'?');
                }
            }
            Named::Uri => self.path(out),
            Named::Host => {
                let host = record.host.rsplitn(2, |&byte| byte == b':');
                let host = match record.host.ends_with(b"]") {
                    true => record.host,
                    false => host.last().unwrap_or_default(),
                };
                out.extend(host.iter().map(u8::to_ascii_lowercase));
            }
            Named::BestHost => return some(out, record.host),
            Named::ContentType => return self.field("content-type", out),
            Named::ContentLength => return self.field("content-length", out),
            Named::UpstreamName
            | Named::AlternativeUpstreamName
            | Named::Namespace
            | Named::IngressName
            | Named::ServiceName
            | Named::ServicePort
            | Named::LocationPath => self.of_rule(named, out),
            Named::UpstreamAddr
            | Named::UpstreamStatus
            | Named::UpstreamResponseTime
            | Named::UpstreamHeaderTime
            | Named::UpstreamConnectTime
            | Named::UpstreamResponseLength => {
                return attempts(&self.detail?.trail.attempts, named, out);
            }
            _ => return self.of_connection(named, out),
        }
        Some(())
    }

    /// The path, normalised, as the backend was asked for it.
    fn path(&self, out: &mut Vec<u8>) {
        let upstream = self
            .detail
            .map_or(&b""[..], |it| it.request.upstream_target());
        let target = match upstream {
            b"" => self.record.target,
            upstream => upstream,
        };
        let end = target.iter().position(|&byte| byte == b'?');
        let path = &target[..end.unwrap_or(target.len())];
        match NormalPath::parse(path) {
            Ok(normal) => out.extend_from_slice(normal.routed()),
            Err(_) => out.extend_from_slice(path),
        }
    }

    /// What the Ingress says. Of what nobody claims, it is empty.
    fn of_rule(&self, named: Named, out: &mut Vec<u8>) {
        let route = self.record.route;
        let (main, other) = self.detail.map_or(("", ""), Detail::backends);
        let claimed = |text: &str| if route.is_empty() { "" } else { text }.to_owned();
        let text = match named {
            Named::Namespace => claimed(split(route, '/').0),
            Named::IngressName => claimed(split(route, '/').1),
            Named::ServiceName => claimed(split(split(main, '/').1, ':').0),
            Named::ServicePort => claimed(split(main, ':').1),
            Named::LocationPath => claimed(self.detail.map_or("", Detail::location)),
            Named::AlternativeUpstreamName => other.replace(['/', ':'], "-"),
            _ if route.is_empty() && self.was_routed() => "upstream-default-backend".to_owned(),
            _ => main.replace(['/', ':'], "-"),
        };
        out.extend_from_slice(text.as_bytes());
    }

    /// Whether it was looked who answers.
    fn was_routed(&self) -> bool {
        self.record.reason == Some(Reason::NoRoute)
            || self.detail.is_some_and(|detail| detail.rule.is_some())
    }

    fn of_connection(&self, named: Named, out: &mut Vec<u8>) -> Option<()> {
        let detail = self.detail?;
        let connection = detail.connection;
        let tls = connection.tls.as_ref();
        match named {
            Named::Scheme => out.extend_from_slice(scheme(tls.is_some())),
            Named::PassScheme => out.extend_from_slice(scheme(detail.secure)),
            Named::PeerAddr => address(out, connection.peer.ip()),
            Named::RemotePort => show(out, connection.peer.port()),
            Named::ServerAddr => address(out, connection.local.ip()),
            Named::ServerPort => show(out, connection.local.port()),
            Named::PassPort => show(out, connection.public_port),
            Named::SslServerName => return some(out, tls?.server_name.as_deref()?.as_bytes()),
            _ => return of_tls(tls?, named, out),
        }
        Some(())
    }

    fn of_stream(&self, named: Named, out: &mut Vec<u8>) -> Option<()> {
        let record = self.record;
        match named {
            Named::UpstreamAddr => socket_address(out, record.endpoint?),
            Named::UpstreamBytesSent => show(out, record.bytes_in),
            Named::UpstreamBytesReceived => show(out, record.bytes_out),
            Named::ServerPort => show(out, record.port),
            Named::SslServerName | Named::Host => return some(out, record.host),
            Named::UpstreamName => {
                let name = record.backend.replace(['/', ':'], "-");
                return some(out, format!("tcp-{name}").as_bytes()).filter(|()| !name.is_empty());
            }
            _ => return None,
        }
        Some(())
    }
}

impl<'a> Detail<'a> {
    /// The status as nginx has it, which is never none.
    pub(crate) fn status(&self, record: &Record<'_>) -> u16 {
        status(record)
    }

    /// Bytes of the response's head, as HTTP/1 writes it.
    pub(crate) fn head_sent(&self) -> u64 {
        let Some(response) = self.response else {
            return 0;
        };
        let fields = response.headers.iter();
        let fields = fields.map(|(_, name, value)| name.len() + value.len() + 4);
        // `HTTP/1.1 200 ` and two ends of lines.
        (17 + response.reason().len() + fields.sum::<usize>()) as u64
    }

    /// The path of the Ingress's rule as it stands there.
    pub(crate) fn location(&self) -> &'a str {
        self.rule.map_or("", |rule| location(&rule.path))
    }

    /// The rule's own backend, and another that was chosen in its place, as
    /// `namespace/service:port`.
    pub(crate) fn backends(&self) -> (&'a str, &'a str) {
        self.rule
            .map_or(("", ""), |rule| backends(rule, self.share))
    }
}

fn status(record: &Record<'_>) -> u16 {
    match (record.status, record.reason) {
        (0, reason) if !record.version.is_http() => stream_status(reason),
        (0, Some(reason)) => respond::status(reason),
        (status, _) => status,
    }
}

fn backends(rule: &Rule, share: Option<usize>) -> (&str, &str) {
    match &rule.action {
        Action::Forward(backend) => (&backend.name, ""),
        Action::Split(split) => {
            let name = |index: usize| match split.shares().get(index).map(|share| &share.target) {
                Some(Target::Backend(backend)) => &*backend.name,
                Some(Target::Invalid) | None => "",
            };
            let chosen = share.unwrap_or_default();
            match split.canary() {
                Some(_) if chosen > 0 => (name(0), name(chosen)),
                _ => (name(chosen), ""),
            }
        }
        Action::Invalid | Action::Denied | Action::NotFound => ("", ""),
    }
}

/// What a handshake has settled, and whom the client has shown to be.
pub(crate) fn of_tls(tls: &Tls, named: Named, out: &mut Vec<u8>) -> Option<()> {
    let shown = || tls.presented.as_ref()?.shown.as_ref();
    match named {
        Named::SslCipher => {
            let name = model::suite::openssl(&model::suite::registered(tls.suite?));
            out.extend_from_slice(name.as_bytes());
        }
        Named::SslClientVerify => {
            let presented = tls.presented.as_ref();
            let found = presented.map(|presented| presented.found.for_backends());
            let found = found.unwrap_or_else(|| "NONE".to_owned());
            out.extend_from_slice(found.as_bytes());
        }
        Named::SslClientSubject => out.extend_from_slice(shown()?.subject.as_bytes()),
        Named::SslClientIssuer => out.extend_from_slice(shown()?.issuer.as_bytes()),
        _ => return None,
    }
    Some(())
}

/// A rule's path as its Ingress has it.
pub(crate) fn location(path: &PathMatch) -> &str {
    match path {
        PathMatch::Prefix(path) if path.is_empty() => "/",
        PathMatch::Exact(path) | PathMatch::Prefix(path) => path,
        PathMatch::Pattern(pattern) => pattern.as_str(),
    }
}

/// The name that basic authentication was given.
/// The name that basic authentication was given, in the field's value.
pub(crate) fn user(field: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (scheme, given) = field.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let pair = BASE64_STANDARD.decode(given.trim_ascii()).ok()?;
    let end = pair.iter().position(|&byte| byte == b':')?;
    some(out, &pair[..end])
}

/// A value of each attempt: commas between those at one backend's endpoints, colons between
/// backends.
fn attempts(steps: &[Step], named: Named, out: &mut Vec<u8>) -> Option<()> {
    if steps.is_empty() {
        return None;
    }
    let mut between: &[u8] = b"";
    for step in steps {
        match step {
            Step::Attempt(attempt) => {
                out.extend_from_slice(between);
                one(attempt, named, out);
                between = b", ";
            }
            Step::Turn => between = b" : ",
        }
    }
    Some(())
}

fn one(attempt: &Attempt, named: Named, out: &mut Vec<u8>) {
    let time = match named {
        Named::UpstreamConnectTime => attempt.connected,
        Named::UpstreamHeaderTime => attempt.head,
        Named::UpstreamAddr => return socket_address(out, attempt.address),
        Named::UpstreamResponseLength => return show(out, attempt.length),
        Named::UpstreamStatus => {
            return match attempt.status {
                0 => out.push(b'-'),
                status => show(out, status),
            };
        }
        _ => attempt.took,
    };
    match time {
        Some(time) => seconds(out, time),
        None => out.push(b'-'),
    }
}

/// What nginx calls the end of what was passed on.
fn stream_status(reason: Option<Reason>) -> u16 {
    match reason {
        None | Some(Reason::IdleTimeout | Reason::ClientClosed | Reason::ClientWriteTimeout) => 200,
        Some(Reason::AddressDenied) => 403,
        Some(Reason::InvalidBackend | Reason::NoRoute) => 500,
        Some(Reason::Overloaded | Reason::ConnectionLimit) => 503,
        Some(_) => 502,
    }
}

/// The query without its question mark, if there is one.
fn query(target: &[u8]) -> Option<&[u8]> {
    let start = target.iter().position(|&byte| byte == b'?')?;
    Some(&target[start + 1..]).filter(|query| !query.is_empty())
}

/// A cookie's value, its name in any case.
fn cookie_of<'a>(cookies: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut pairs = cookies.split(|&byte| matches!(byte, b';' | b','));
    pairs.find_map(|pair| value_in_any_case(pair, name))
}

/// Appends what is not empty.
fn some(out: &mut Vec<u8>, value: &[u8]) -> Option<()> {
    out.extend_from_slice(value);
    (!value.is_empty()).then_some(())
}

fn show(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{value}");
}

fn seconds(out: &mut Vec<u8>, time: Duration) {
    let _ = write!(out, "{}.{:03}", time.as_secs(), time.subsec_millis());
}

fn escape(how: Escape, value: &[u8], out: &mut Vec<u8>) {
    match how {
        Escape::None => out.extend_from_slice(value),
        Escape::Hex => {
            for &byte in value {
                match byte {
                    b'"' | b'\\' | ..0x20 | 0x7f.. => {
                        let _ = write!(out, "\\x{byte:02X}");
                    }
                    _ => out.push(byte),
                }
            }
        }
        Escape::Json => {
            for &byte in value {
                match byte {
                    b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                    b'\n' => out.extend_from_slice(b"\\n"),
                    b'\r' => out.extend_from_slice(b"\\r"),
                    b'\t' => out.extend_from_slice(b"\\t"),
                    0x08 => out.extend_from_slice(b"\\b"),
                    0x0c => out.extend_from_slice(b"\\f"),
                    ..0x20 => {
                        let _ = write!(out, "\\u{byte:04X}");
                    }
                    _ => out.push(byte),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::tests::record;
    use super::*;
    use crate::record::Version;

    fn line(text: &str, escape: Escape, record: &Record<'_>) -> String {
        let (format, unknown) = LogFormat::parse(text, escape);
        assert_eq!(unknown.is_empty(), !text.contains("$unknown"));
        let mut out = Vec::new();
        let mut clock = Clock::default();
        Composer::default().line(&mut out, &mut clock, &format, record, None);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn values_are_escaped_as_nginx_escapes_them() {
        let record = Record {
            user_agent: b"a\"b\\c\x01\td\x7f\xc3\xa9",
            ..record()
        };
        let text = "[$http_user_agent] [$http_referer] [$unknown]";
        for (escape, expected) in [
            (
                Escape::Hex,
                "[a\\x22b\\x5Cc\\x01\\x09d\\x7F\\xC3\\xA9] [-] [-]\n",
            ),
            (Escape::Json, "[a\\\"b\\\\c\\u0001\\td\u{7f}\u{e9}] [] []\n"),
            (Escape::None, "[a\"b\\c\u{1}\td\u{7f}\u{e9}] [] []\n"),
        ] {
            assert_eq!(line(text, escape, &record), expected);
        }
    }

    #[test]
    fn what_was_no_request_has_a_line_as_well() {
        let record = Record {
            status: 400,
            method: b"",
            target: b"",
            host: b"",
            reason: Some(Reason::BadRequest),
            ..record()
        };
        let mut out = Vec::new();
        let format = LogFormat::of_requests();
        let mut clock = Clock::default();
        Composer::default().line(&mut out, &mut clock, format, &record, None);
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            "192.0.2.7 - - [10/Oct/2000:13:35:36 +0000] \"-\" 400 123 \"-\" \"-\" 0 0.012 [] [] - - - - abc\n"
        );
    }

    #[test]
    fn lines_of_what_is_passed_on_are_ingress_nginxs() {
        let record = Record {
            version: Version::Tcp,
            status: 0,
            bytes_in: 7,
            ..record()
        };
        let mut out = Vec::new();
        let format = LogFormat::of_streams();
        let mut clock = Clock::default();
        Composer::default().line(&mut out, &mut clock, format, &record, None);
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            "[192.0.2.7] [10/Oct/2000:13:35:36 +0000] TCP 200 123 7 0.012\n"
        );
        assert_eq!(stream_status(Some(Reason::ConnectFailed)), 502);
    }
}
