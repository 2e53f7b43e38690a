//! What is read of a request: its head, and no more than is needed of it.

use std::net::IpAddr;

use crate::Pages;

/// The largest head in bytes.
pub(crate) const MAX_HEAD: usize = 8 * 1024;

const MAX_HEADERS: usize = 64;

/// A request's head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: Method,
    /// Without the query.
    pub(crate) path: String,
    /// What follows the question mark, as it came.
    pub(crate) query: String,
    /// What `Authorization: Bearer` says.
    pub(crate) token: Option<String>,
    /// How long the body is, if it says so.
    pub(crate) length: Option<usize>,
    /// Whether another request may follow on the connection.
    pub(crate) keep_alive: bool,
    /// Its bytes, of those that were read.
    pub(crate) len: usize,
}

/// The methods that are served, and all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Post,
    Other,
}

/// Why a head is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// 400.
    Malformed,
    /// 403: the name that the client used is none of ours. A web page may have had its own name
    /// resolve to this address, to read what is here with its visitor's browser (DNS rebinding).
    ForeignHost,
    /// 431.
    TooLarge,
}

impl Head {
    /// Reads a head from what has arrived; `None` if its end has not.
    pub(crate) fn parse(bytes: &[u8], pages: Pages) -> Result<Option<Self>, Refused> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let len = match request.parse(bytes) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Err(Refused::TooLarge);
            }
            Err(_) => return Err(Refused::Malformed),
        };
        let http11 = request.version == Some(1);
        let mut hosts = values(request.headers, "host");
        match (hosts.next(), hosts.next()) {
            (Some(host), None) if pages == Pages::Health || is_own(host) => {}
            (Some(_), None) => return Err(Refused::ForeignHost),
            (None, None) if !http11 => {}
            _ => return Err(Refused::Malformed),
        }
        let method = match request.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            Some("POST") => Method::Post,
            _ => Method::Other,
        };
        let target = request.path.unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let token = values(request.headers, "authorization").next();
        let token =
            token.and_then(|value| std::str::from_utf8(value).ok()?.strip_prefix("Bearer "));
        let length = values(request.headers, "content-length").next();
        let length = length.and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok());
        let close = values(request.headers, "connection").any(|value| has_token(value, "close"));
        Ok(Some(Self {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            token: token.map(|token| token.trim().to_owned()),
            length,
            // A body would have to be read before the next request: no page here takes one.
            keep_alive: http11 && !close && !has_body(request.headers),
            len,
        }))
    }
}

fn values<'a>(
    headers: &'a [httparse::Header<'_>],
    name: &'static str,
) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value)
}

fn has_token(value: &[u8], token: &str) -> bool {
    value
        .split(|&byte| byte == b',')
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

fn has_body(headers: &[httparse::Header<'_>]) -> bool {
    values(headers, "content-length").any(|length| length != b"0")
        || values(headers, "transfer-encoding").next().is_some()
}

/// Whether a Host header names this address: by IP or as localhost, and with any port, because
/// forwarded ports differ.
fn is_own(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(name, _)| name),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Head>, Refused> {
        Head::parse(text.as_bytes(), Pages::All)
    }

    #[test]
    fn a_head_is_read_without_its_query() {
        let text = "GET /metrics?a=b HTTP/1.1\r\nHost: 127.0.0.1:9090\r\n\r\nrest";
        let expected = Head {
            method: Method::Get,
            path: "/metrics".to_owned(),
            query: "a=b".to_owned(),
            token: None,
            length: None,
            keep_alive: true,
            len: text.len() - 4,
        };
        assert_eq!(parse(text), Ok(Some(expected)));
        assert_eq!(parse("GET / HT"), Ok(None));
    }

    #[test]
    fn only_own_names_are_answered() {
        for host in [
            "127.0.0.1",
            "[::1]:9090",
            "localhost",
            "LocalHost:1",
            "10.0.0.7:10254",
        ] {
            let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert!(matches!(parse(&text), Ok(Some(_))), "{host}");
        }
        for host in [
            "example.com",
            "localhost.example.com:9090",
            "127.0.0.1.example.com",
            "",
        ] {
            let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(parse(&text), Err(Refused::ForeignHost), "{host}");
            let health = Head::parse(text.as_bytes(), Pages::Health);
            assert!(matches!(health, Ok(Some(_))), "{host}");
        }
        assert_eq!(parse("GET / HTTP/1.1\r\n\r\n"), Err(Refused::Malformed));
        assert!(matches!(parse("GET / HTTP/1.0\r\n\r\n"), Ok(Some(_))));
    }

    #[test]
    fn what_has_a_body_ends_the_connection() {
        let text = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n";
        let head = parse(text).expect("a head").expect("complete");
        assert!(!head.keep_alive);
        assert_eq!(head.method, Method::Post);
    }

    #[test]
    fn large_heads_are_refused() {
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(MAX_HEAD));
        assert_eq!(parse(&long), Err(Refused::TooLarge));
        let many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "a: b\r\n".repeat(MAX_HEADERS + 1)
        );
        assert_eq!(parse(&many), Err(Refused::TooLarge));
    }
}
