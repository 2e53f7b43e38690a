//! Message heads: one type in the whole proxy, whatever the protocol.
//!
//! A flat, ordered, case-preserving list over one block of bytes. Most messages have about ten
//! fields, which a scan finds faster than a hash does, and a head that is used again allocates
//! nothing.

use std::ops::Range;

use crate::record::Version;

/// Field names that the proxy itself looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Connection,
    ContentLength,
    Date,
    Expect,
    Forwarded,
    Host,
    KeepAlive,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    Referer,
    SecWebSocketAccept,
    SecWebSocketKey,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    UserAgent,
    XForwardedFor,
    XForwardedHost,
    XForwardedPort,
    XForwardedProto,
    XForwardedScheme,
    XRealIp,
    XRequestId,
    XScheme,
    /// Any other.
    Other,
}

impl Name {
    /// Classifies a field name.
    pub(crate) fn of(name: &[u8]) -> Self {
        use Name::*;
        let candidates: &[(Self, &[u8])] = match name.len() {
            2 => &[(Te, b"te")],
            4 => &[(Host, b"host"), (Date, b"date")],
            6 => &[(Expect, b"expect")],
            7 => &[
                (Referer, b"referer"),
                (Upgrade, b"upgrade"),
                (Trailer, b"trailer"),
            ],
            8 => &[(XScheme, b"x-scheme")],
            9 => &[(XRealIp, b"x-real-ip"), (Forwarded, b"forwarded")],
            10 => &[
                (Connection, b"connection"),
                (UserAgent, b"user-agent"),
                (KeepAlive, b"keep-alive"),
            ],
            12 => &[(XRequestId, b"x-request-id")],
            14 => &[(ContentLength, b"content-length")],
            15 => &[(XForwardedFor, b"x-forwarded-for")],
            16 => &[
                (XForwardedHost, b"x-forwarded-host"),
                (XForwardedPort, b"x-forwarded-port"),
                (ProxyConnection, b"proxy-connection"),
            ],
            17 => &[
                (XForwardedProto, b"x-forwarded-proto"),
                (TransferEncoding, b"transfer-encoding"),
                (SecWebSocketKey, b"sec-websocket-key"),
            ],
            18 => &[
                (XForwardedScheme, b"x-forwarded-scheme"),
                (ProxyAuthenticate, b"proxy-authenticate"),
            ],
            19 => &[(ProxyAuthorization, b"proxy-authorization")],
            20 => &[(SecWebSocketAccept, b"sec-websocket-accept")],
            _ => return Other,
        };
        candidates
            .iter()
            .find(|(_, expected)| name.eq_ignore_ascii_case(expected))
            .map_or(Other, |&(name, _)| name)
    }

    /// The name of the proxy's own that this one is to readers who take an underscore for a
    /// hyphen, as CGI-like backends do; `Other` for all others.
    pub(crate) fn disguised(name: &[u8]) -> Self {
        if !name.contains(&b'_') || name.len() > 32 {
            return Self::Other;
        }
        let mut plain = [0; 32];
        for (to, &from) in plain.iter_mut().zip(name) {
            *to = if from == b'_' { b'-' } else { from };
        }
        Self::of(&plain[..name.len()])
    }

    /// Whether fields of this name end at each hop (RFC 9110, section 7.6.1).
    pub(crate) fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyAuthenticate
                | Self::ProxyAuthorization
                | Self::ProxyConnection
                | Self::Te
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }

    /// Whether a trailer section may not carry the field (RFC 9110, section 6.5.1): it frames,
    /// routes or authenticates the message.
    pub(crate) fn is_forbidden_in_trailers(self) -> bool {
        !matches!(self, Self::Other | Self::Date)
    }
}

/// A place in a head's text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    len: u32,
}

impl Span {
    fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

#[derive(Debug, Clone, Copy)]
struct Field {
    token: Name,
    name: Span,
    value: Span,
}

/// Fields in their order, with the case of their names.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    text: Vec<u8>,
    fields: Vec<Field>,
}

impl Headers {
    /// Takes everything out; the memory stays.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.fields.clear();
    }

    /// Adds a field at the end.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        self.push_known(Name::of(name), name, value);
    }

    /// Adds a field whose name is known.
    pub(crate) fn push_known(&mut self, token: Name, name: &[u8], value: &[u8]) {
        let (name, value) = (self.add_text(name), self.add_text(value));
        self.fields.push(Field { token, name, value });
    }

    /// The value of the first field of a name.
    pub(crate) fn get(&self, token: Name) -> Option<&[u8]> {
        self.get_all(token).next()
    }

    /// The values of all fields of a name, in order.
    pub(crate) fn get_all(&self, token: Name) -> impl Iterator<Item = &[u8]> {
        self.fields
            .iter()
            .filter(move |field| field.token == token)
            .map(|field| self.text(field.value))
    }

    /// Names and values, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Name, &[u8], &[u8])> {
        self.fields
            .iter()
            .map(|field| (field.token, self.text(field.name), self.text(field.value)))
    }

    /// Takes out every field that `keep` does not want.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(Name, &[u8]) -> bool) {
        let text = &self.text;
        self.fields
            .retain(|field| keep(field.token, &text[field.name.range()]));
    }

    /// How many fields there are.
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    /// Appends the fields as HTTP/1 writes them, without the empty line.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        for (_, name, value) in self.iter() {
            write_field(out, name, value);
        }
    }

    /// Removes the fields that end at this hop: the standard ones and those that Connection
    /// names, except for those that the message cannot do without.
    pub(crate) fn remove_hop_by_hop(&mut self) {
        let mut named: Vec<Vec<u8>> = Vec::new();
        for value in self.get_all(Name::Connection) {
            for token in list(value) {
                let known = Name::of(token);
                let essential = matches!(known, Name::Host | Name::ContentLength);
                let standard = known.is_hop_by_hop()
                    || token.eq_ignore_ascii_case(b"close")
                    || token.eq_ignore_ascii_case(b"keep-alive");
                if !essential && !standard {
                    named.push(token.to_vec());
                }
            }
        }
        self.retain(|token, name| {
            !token.is_hop_by_hop() && !named.iter().any(|named| named.eq_ignore_ascii_case(name))
        });
    }

    /// Whether Connection holds this option.
    pub(crate) fn connection_has(&self, option: &[u8]) -> bool {
        self.get_all(Name::Connection)
            .flat_map(list)
            .any(|token| token.eq_ignore_ascii_case(option))
    }

    fn add_text(&mut self, text: &[u8]) -> Span {
        // Heads are limited to far less than 4 GiB before they come here.
        let span = Span {
            start: u32::try_from(self.text.len()).unwrap_or(u32::MAX),
            len: u32::try_from(text.len()).unwrap_or(u32::MAX),
        };
        self.text.extend_from_slice(text);
        span
    }

    fn text(&self, span: Span) -> &[u8] {
        &self.text[span.range()]
    }
}

/// Appends one field as HTTP/1 writes it.
pub(crate) fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The elements of a comma-separated list (RFC 9110, section 5.6.1).
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// The head of a request.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) version: Version,
    method: Span,
    target: Span,
    /// The authority: from Host, an absolute target, or `:authority`.
    authority: Span,
    /// Fields; HTTP/2's pseudo fields are not among them, nor is Host where it gave the authority.
    pub(crate) headers: Headers,
}

impl Default for RequestHead {
    fn default() -> Self {
        Self {
            version: Version::Http11,
            method: Span::default(),
            target: Span::default(),
            authority: Span::default(),
            headers: Headers::default(),
        }
    }
}

impl RequestHead {
    /// Begins a new head in the same memory.
    pub(crate) fn start(&mut self, version: Version, method: &[u8], target: &[u8]) {
        self.headers.clear();
        self.version = version;
        self.method = self.headers.add_text(method);
        self.target = self.headers.add_text(target);
        self.authority = Span::default();
    }

    pub(crate) fn set_authority(&mut self, authority: &[u8]) {
        self.authority = self.headers.add_text(authority);
    }

    /// Takes the Host fields out; the first is the authority. Tells how many there were.
    pub(crate) fn take_hosts(&mut self) -> usize {
        let before = self.headers.fields.len();
        let first = self
            .headers
            .fields
            .iter()
            .find(|field| field.token == Name::Host);
        if let Some(first) = first {
            self.authority = first.value;
            self.headers.retain(|name, _| name != Name::Host);
        }
        before - self.headers.fields.len()
    }

    pub(crate) fn method(&self) -> &[u8] {
        self.headers.text(self.method)
    }

    /// Path and query, or `*`.
    pub(crate) fn target(&self) -> &[u8] {
        self.headers.text(self.target)
    }

    /// The path without the query.
    pub(crate) fn path(&self) -> &[u8] {
        let target = self.target();
        let end = target.iter().position(|&byte| byte == b'?');
        &target[..end.unwrap_or(target.len())]
    }

    /// The query with its question mark, or nothing.
    pub(crate) fn query(&self) -> &[u8] {
        &self.target()[self.path().len()..]
    }

    pub(crate) fn authority(&self) -> &[u8] {
        self.headers.text(self.authority)
    }
}

/// The head of a response.
#[derive(Debug, Default)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    reason: Span,
    pub(crate) headers: Headers,
}

impl ResponseHead {
    /// Begins a new head in the same memory.
    pub(crate) fn start(&mut self, status: u16, reason: &[u8]) {
        self.headers.clear();
        self.status = status;
        self.reason = self.headers.add_text(reason);
    }

    pub(crate) fn reason(&self) -> &[u8] {
        self.headers.text(self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(headers: &Headers) -> Vec<String> {
        headers
            .iter()
            .map(|(_, name, _)| String::from_utf8_lossy(name).into_owned())
            .collect()
    }

    #[test]
    fn fields_that_connection_names_end_here() {
        let mut headers = Headers::default();
        for (name, value) in [
            ("Connection", "close, X-Once , Host,Content-Length"),
            ("X-Once", "1"),
            ("Host", "a"),
            ("Content-Length", "1"),
            ("Keep-Alive", "timeout=5"),
            ("TE", "trailers"),
            ("X-Stays", "1"),
        ] {
            headers.push(name.as_bytes(), value.as_bytes());
        }
        headers.remove_hop_by_hop();
        assert_eq!(names(&headers), ["Host", "Content-Length", "X-Stays"]);
    }

    #[test]
    fn names_are_known_in_any_case_and_in_disguise() {
        assert_eq!(Name::of(b"HOST"), Name::Host);
        assert_eq!(Name::of(b"X_Forwarded-For"), Name::Other);
        assert_eq!(Name::disguised(b"X_Forwarded-For"), Name::XForwardedFor);
        assert_eq!(Name::disguised(b"Content_Length"), Name::ContentLength);
        assert_eq!(Name::disguised(b"X-Forwarded-For"), Name::Other);
        assert_eq!(Name::of(b"Sec-WebSocket-Key"), Name::SecWebSocketKey);
        assert_eq!(Name::of(b"X-Forwarded-Proto"), Name::XForwardedProto);
        assert_eq!(Name::of(b"cookie"), Name::Other);
        assert_eq!(Name::of(b""), Name::Other);
    }

    #[test]
    fn a_target_has_a_path_and_a_query() {
        let mut head = RequestHead::default();
        head.start(Version::Http11, b"GET", b"/a?b?c");
        assert_eq!((head.path(), head.query()), (&b"/a"[..], &b"?b?c"[..]));
        head.start(Version::Http11, b"GET", b"/a");
        assert_eq!((head.path(), head.query()), (&b"/a"[..], &b""[..]));
    }
}
