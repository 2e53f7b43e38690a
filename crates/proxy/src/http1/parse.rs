//! Heads, and the framing that they announce.
//!
//! Whatever two parsers could read in two ways is refused: both Content-Length and
//! Transfer-Encoding, more than one of either, any coding but `chunked`, a bare CR or LF, folded
//! lines, white space before a colon.

use std::mem::MaybeUninit;

use httparse::Status;

use crate::headers::{Headers, Name, RequestHead, ResponseHead};
use crate::record::{Reason, Version};
use crate::settings::Limits;

/// More fields than this are never parsed, whatever the settings say.
pub(crate) const MAX_HEADERS: usize = 256;

/// How the end of a body is found (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Until the sender closes; responses only.
    UntilClose,
}

impl Framing {
    /// No body.
    pub(crate) const NONE: Self = Self::Length(0);
}

/// What the head of a response says about what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) framing: Framing,
    /// Whether the connection may be used again after the body.
    pub(crate) persistent: bool,
}

/// Finds the end of a head as more of it arrives, looking at each byte once.
#[derive(Debug, Default)]
pub(crate) struct EndFinder {
    seen: usize,
    line_start: usize,
    /// The start line has begun: the next empty line is the end.
    begun: bool,
}

impl EndFinder {
    /// The length of the head at the beginning of `bytes` (which hold what the last call's held),
    /// with its empty line; `None` if there is more to come.
    ///
    /// # Errors
    /// [`Malformed`] for a line that does not end in CRLF.
    pub(crate) fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        while let Some(at) = memchr::memchr(b'\n', &bytes[self.seen..]) {
            let at = self.seen + at;
            if at == self.line_start || bytes[at - 1] != b'\r' {
                return Err(Malformed);
            }
            let empty = at == self.line_start + 1;
            self.seen = at + 1;
            self.line_start = at + 1;
            if empty && self.begun {
                return Ok(Some(at + 1));
            }
            // An empty line before the start line is ignored (RFC 9112, section 2.2).
            self.begun |= !empty;
        }
        self.seen = bytes.len();
        Ok(None)
    }
}

/// The bytes are no HTTP/1 message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads the whole head of a request, `bytes`, into `head`. Without a framing it has no body.
///
/// # Errors
/// The reason to refuse the request.
#[inline(never)] // The instruction counts name it.
pub(crate) fn request(
    bytes: &[u8],
    head: &mut RequestHead,
    limits: &Limits,
) -> Result<Option<Framing>, Reason> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let wanted = limits.headers.min(MAX_HEADERS);
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut fields[..wanted]) {
        Ok(Status::Complete(len)) if len == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Reason::HeaderTooLarge),
        _ => return Err(Reason::BadRequest),
    }
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(Reason::BadRequest);
    };
    let version = if version == 0 {
        Version::Http10
    } else {
        Version::Http11
    };
    // Of a line that fits in any case nobody has to know how long it is.
    let start = method.len() + target.len() + " HTTP/1.1\r\n".len() + 1;
    if target.len() > limits.uri_bytes || start > limits.line_bytes {
        return Err(Reason::UriTooLong);
    }
    if bytes.len() > limits.line_bytes {
        let mut lines = request.headers.iter();
        let ends = ": \r\n".len();
        if lines.any(|it| it.name.len() + it.value.len() + ends > limits.line_bytes) {
            return Err(Reason::HeaderTooLarge);
        }
    }
    let (authority, target) = split_target(method, target)?;
    head.load(version, bytes, method.as_bytes(), target);
    for field in request.headers.iter() {
        let name = field.name.as_bytes();
        match Name::undisguised(name) {
            Ok(token) => head.headers.push_loaded(token, bytes, name, field.value),
            Err(Name::ContentLength | Name::TransferEncoding | Name::Host) => {
                return Err(Reason::BadRequest);
            }
            // Nobody smuggles a field that we set past us in another spelling.
            Err(_) => {}
        }
    }
    take_host(head, authority)?;
    framing(&head.headers, version).map_err(|Malformed| Reason::BadRequest)
}

/// Reads the whole head of a response, `bytes`, into `head`.
///
/// # Errors
/// [`Malformed`] if it is no response, or its framing is ambiguous.
#[inline(never)] // The instruction counts name it.
pub(crate) fn response(
    bytes: &[u8],
    head: &mut ResponseHead,
    head_request: bool,
) -> Result<Parsed, Malformed> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut fields,
    );
    match parsed {
        Ok(Status::Complete(len)) if len == bytes.len() => {}
        _ => return Err(Malformed),
    }
    let (Some(status), Some(version)) = (response.code, response.version) else {
        return Err(Malformed);
    };
    if !(100..=599).contains(&status) {
        return Err(Malformed);
    }
    head.load(
        status,
        bytes,
        response.reason.unwrap_or_default().as_bytes(),
    );
    for field in response.headers.iter() {
        let name = field.name.as_bytes();
        head.headers
            .push_loaded(Name::of(name), bytes, name, field.value);
    }
    let version = if version == 0 {
        Version::Http10
    } else {
        Version::Http11
    };
    let framing = framing(&head.headers, version)?;
    let framing = if status < 200 || status == 204 || status == 304 || head_request {
        Framing::NONE
    } else {
        framing.unwrap_or(Framing::UntilClose)
    };
    let persistent = match version {
        Version::Http10 => head.headers.connection_has(b"keep-alive"),
        _ => !head.headers.connection_has(b"close"),
    };
    Ok(Parsed {
        framing,
        persistent: persistent && framing != Framing::UntilClose,
    })
}

/// The framing that the fields announce, if any.
fn framing(headers: &Headers, version: Version) -> Result<Option<Framing>, Malformed> {
    let mut lengths = headers.get_all(Name::ContentLength);
    let mut codings = headers.get_all(Name::TransferEncoding);
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(None),
        (Some(length), None) if lengths.next().is_none() => parse_length(length)
            .map(|length| Some(Framing::Length(length)))
            .ok_or(Malformed),
        (None, Some(coding)) if codings.next().is_none() => {
            let chunked = coding.eq_ignore_ascii_case(b"chunked") && version == Version::Http11;
            if chunked {
                Ok(Some(Framing::Chunked))
            } else {
                Err(Malformed)
            }
        }
        _ => Err(Malformed),
    }
}

/// Digits only; 19 of them cannot overflow.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Splits an absolute target into authority and path (RFC 9112, section 3.2.2).
fn split_target<'a>(method: &str, target: &'a str) -> Result<(Option<&'a [u8]>, &'a [u8]), Reason> {
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok((None, target.as_bytes()));
    }
    if method == "CONNECT" {
        return Err(Reason::Method);
    }
    let is_scheme =
        |scheme: &str| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let Some((scheme, rest)) = target.split_once("://") else {
        return Err(Reason::BadRequest);
    };
    if !is_scheme(scheme) {
        return Err(Reason::BadRequest);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    match target.as_bytes() {
        [] => Ok((Some(authority.as_bytes()), b"/")),
        [b'/', ..] => Ok((Some(authority.as_bytes()), target.as_bytes())),
        // `http://host?query` has an empty path; what goes upstream would have to be made up.
        _ => Err(Reason::BadRequest),
    }
}

/// Takes Host out of the fields: exactly one from HTTP/1.1, and none that contradicts the target.
fn take_host(head: &mut RequestHead, authority: Option<&[u8]>) -> Result<(), Reason> {
    let hosts = head.take_hosts();
    if hosts > 1 || (hosts == 0 && head.version == Version::Http11) {
        return Err(Reason::BadHost);
    }
    if let Some(authority) = authority {
        if hosts == 1 && !authority.eq_ignore_ascii_case(head.authority()) {
            return Err(Reason::BadHost);
        }
        head.set_authority(authority);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<(Option<Framing>, String), Reason> {
        let mut finder = EndFinder::default();
        match finder.find(text.as_bytes()) {
            Ok(Some(len)) if len == text.len() => {}
            _ => return Err(Reason::BadRequest),
        }
        let mut head = RequestHead::default();
        let framing = request(text.as_bytes(), &mut head, &Limits::default())?;
        let parts = [head.method(), head.authority(), head.target()];
        let text = parts
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .join(" ");
        Ok((framing, text))
    }

    #[test]
    fn requests_that_are_read_one_way_only_pass() {
        for (head, framing, summary) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", None, "GET a /"),
            ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", None, "GET a /"),
            (
                "GET http://A/b?c HTTP/1.1\r\nHost: a\r\n\r\n",
                None,
                "GET A /b?c",
            ),
            ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", None, "GET a /"),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", None, "OPTIONS a *"),
            ("GET / HTTP/1.0\r\n\r\n", None, "GET  /"),
            (
                "PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
                Some(Framing::Length(5)),
                "PUT a /x",
            ),
            (
                "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
                Some(Framing::Chunked),
                "PUT a /x",
            ),
        ] {
            assert_eq!(parse(head), Ok((framing, summary.to_owned())), "{head:?}");
        }
    }

    #[test]
    fn requests_that_could_be_read_two_ways_are_refused() {
        let with = |field: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
        for head in [
            with("Content-Length: 5\r\nTransfer-Encoding: chunked"),
            with("Content-Length: 5\r\nContent-Length: 5"),
            with("Content-Length: 5, 5"),
            with("Content-Length: +5"),
            with("Content-Length: -5"),
            with("Content-Length: 0x5"),
            with("Content-Length: "),
            with("Content-Length: 99999999999999999999"),
            with("Content_Length: 5\r\nContent-Length: 6"),
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            with("Transfer-Encoding: gzip, chunked"),
            with("Transfer-Encoding: chunked, identity"),
            with("Transfer-Encoding: xchunked"),
            with("Transfer-Encoding: \u{b}chunked"),
            with("Transfer-Encoding : chunked"),
            with("X: a\r\n folded"),
            with("X: a\rb"),
            with("X: a\0b"),
            with("No colon"),
            with(": empty name"),
            with("Host: b"),
            "GET / HTTP/1.1\nHost: a\n\n".to_owned(),
            "GET / HTTP/1.1\r\nHost: a\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\n\r\n".to_owned(),
            "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "GET a HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "GET / HTTP/1.2\r\nHost: a\r\n\r\n".to_owned(),
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(),
            "GET /\r\nHost: a\r\n\r\n".to_owned(),
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        ] {
            assert!(parse(&head).is_err(), "{head:?}");
        }
    }

    #[test]
    fn responses_without_a_body_have_none_whatever_they_announce() {
        let mut head = ResponseHead::default();
        let mut framing = |text: &str, head_request| {
            response(text.as_bytes(), &mut head, head_request).map(|parsed| parsed.framing)
        };
        assert_eq!(
            framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true),
            Ok(Framing::NONE)
        );
        assert_eq!(
            framing(
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
                false
            ),
            Ok(Framing::NONE)
        );
        assert_eq!(
            framing("HTTP/1.1 200 OK\r\n\r\n", false),
            Ok(Framing::UntilClose)
        );
        assert_eq!(
            framing("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            Ok(Framing::Chunked)
        );
        assert_eq!(
            framing(
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                false
            ),
            Err(Malformed)
        );
        assert_eq!(framing("HTTP/1.1 999 Huh\r\n\r\n", false), Err(Malformed));
    }

    proptest! {
        #[test]
        fn the_end_is_found_however_the_bytes_arrive(
            text in "(\r\n)?GET /[a-z]{0,8} HTTP/1.1\r\n(a: b\r\n){0,4}\r\nrest",
            cuts in prop::collection::vec(0usize..64, 0..6),
        ) {
            let whole = EndFinder::default().find(text.as_bytes());
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|&cut| cut <= text.len()).collect();
            cuts.push(text.len());
            cuts.sort_unstable();
            let mut finder = EndFinder::default();
            let mut found = Ok(None);
            for cut in cuts {
                found = finder.find(&text.as_bytes()[..cut]);
                if found != Ok(None) {
                    break;
                }
            }
            prop_assert_eq!(found, whole);
            prop_assert_eq!(whole, Ok(Some(text.len() - 4)));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = EndFinder::default().find(&bytes);
            let _ = request(&bytes, &mut RequestHead::default(), &Limits::default());
            let _ = response(&bytes, &mut ResponseHead::default(), false);
        }
    }
}
