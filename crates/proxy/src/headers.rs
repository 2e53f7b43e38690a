//! Message heads: one type in the whole proxy, whatever the protocol.
//!
//! A flat, ordered, case-preserving list over one block of bytes. Most messages have about ten
//! fields, which a scan finds faster than a hash does, and a head that is used again allocates
//! nothing.

use std::borrow::Cow;
use std::ops::Range;

use model::RequestView;

use crate::record::Version;

/// Field names that the proxy itself looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Connection,
    ContentLength,
    ContentType,
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
        match Self::candidate(name) {
            Some((token, expected)) if is_spelled(name, expected) => token,
            _ => Self::Other,
        }
    }

    /// The same for a request's field. An error is the name of the proxy's own that this one is
    /// to readers who take an underscore for a hyphen, as CGI-like backends do.
    #[inline]
    pub(crate) fn undisguised(name: &[u8]) -> Result<Self, Self> {
        match Self::candidate(name) {
            Some((token, expected)) if is_spelled(name, expected) => Ok(token),
            Some((token, expected)) if is_disguised(name, expected) => match token {
                // The proxy says nothing of it itself: there is nothing to guard.
                Self::ContentType => Ok(Self::Other),
                token => Err(token),
            },
            _ => Ok(Self::Other),
        }
    }

    /// The one name of ours that a name of this length and first letter can be.
    #[inline]
    fn candidate(name: &[u8]) -> Option<(Self, &'static [u8])> {
        use Name::*;
        let first = name.first()? | 0x20;
        let candidate: (Self, &[u8]) = match (name.len(), first) {
            (2, b't') => (Te, b"te"),
            (4, b'h') => (Host, b"host"),
            (4, b'd') => (Date, b"date"),
            (6, b'e') => (Expect, b"expect"),
            (7, b'r') => (Referer, b"referer"),
            (7, b'u') => (Upgrade, b"upgrade"),
            (7, b't') => (Trailer, b"trailer"),
            (8, b'x') => (XScheme, b"x-scheme"),
            (9, b'x') => (XRealIp, b"x-real-ip"),
            (9, b'f') => (Forwarded, b"forwarded"),
            (10, b'c') => (Connection, b"connection"),
            (10, b'u') => (UserAgent, b"user-agent"),
            (10, b'k') => (KeepAlive, b"keep-alive"),
            (12, b'x') => (XRequestId, b"x-request-id"),
            (12, b'c') => (ContentType, b"content-type"),
            (14, b'c') => (ContentLength, b"content-length"),
            (15, b'x') => (XForwardedFor, b"x-forwarded-for"),
            (16, b'x') if name[12] | 0x20 == b'h' => (XForwardedHost, b"x-forwarded-host"),
            (16, b'x') => (XForwardedPort, b"x-forwarded-port"),
            (16, b'p') => (ProxyConnection, b"proxy-connection"),
            (17, b'x') => (XForwardedProto, b"x-forwarded-proto"),
            (17, b't') => (TransferEncoding, b"transfer-encoding"),
            (17, b's') => (SecWebSocketKey, b"sec-websocket-key"),
            (18, b'x') => (XForwardedScheme, b"x-forwarded-scheme"),
            (18, b'p') => (ProxyAuthenticate, b"proxy-authenticate"),
            (19, b'p') => (ProxyAuthorization, b"proxy-authorization"),
            (20, b's') => (SecWebSocketAccept, b"sec-websocket-accept"),
            _ => return None,
        };
        Some(candidate)
    }

    /// The fields that end at each hop (RFC 9110, section 7.6.1).
    const HOP_BY_HOP: Names = Names::of(&[
        Self::Connection,
        Self::KeepAlive,
        Self::ProxyAuthenticate,
        Self::ProxyAuthorization,
        Self::ProxyConnection,
        Self::Te,
        Self::TransferEncoding,
        Self::Upgrade,
    ]);

    /// Whether fields of this name end at each hop.
    pub(crate) fn is_hop_by_hop(self) -> bool {
        Self::HOP_BY_HOP.has(self)
    }

    /// Whether a trailer section may not carry the field (RFC 9110, section 6.5.1): it frames,
    /// routes or authenticates the message.
    pub(crate) fn is_forbidden_in_trailers(self) -> bool {
        !matches!(self, Self::Other | Self::Date)
    }
}

/// Whether two names of one length are the same; `expected` has small letters and hyphens only.
/// Without a branch for each byte, for it is asked of nearly every field.
#[inline]
fn is_spelled(name: &[u8], expected: &[u8]) -> bool {
    let differ = |differ: u8, (byte, expected): (&u8, &u8)| differ | ((byte | 0x20) ^ expected);
    name.iter().zip(expected).fold(0, differ) == 0
}

/// The same if underscores stand for hyphens.
fn is_disguised(name: &[u8], expected: &[u8]) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte | 0x20 };
    let disguised = name.iter().map(|&byte| plain(byte));
    disguised.eq(expected.iter().copied())
}

/// A set of names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Names(u64);

impl Names {
    /// The set of these.
    pub(crate) const fn of(names: &[Name]) -> Self {
        let mut set = 0;
        let mut at = 0;
        while at < names.len() {
            set |= Self::bit(names[at]);
            at += 1;
        }
        Self(set)
    }

    pub(crate) fn has(self, name: Name) -> bool {
        self.0 & Self::bit(name) != 0
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    const fn bit(name: Name) -> u64 {
        1 << name as u32
    }
}

/// A place in a head's text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    len: u32,
}

impl Span {
    fn new(start: usize, len: usize) -> Self {
        // Heads are limited to far less than 4 GiB before they come here.
        Self {
            start: u32::try_from(start).unwrap_or(u32::MAX),
            len: u32::try_from(len).unwrap_or(u32::MAX),
        }
    }

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
#[derive(Debug, Default, Clone)]
pub(crate) struct Headers {
    text: Vec<u8>,
    fields: Vec<Field>,
    /// Every name that is there, and perhaps some that were: what is not in it need not be sought.
    names: Names,
}

impl Headers {
    /// Takes everything out; the memory stays.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.fields.clear();
        self.names = Names::default();
    }

    /// Adds a field at the end.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        self.push_known(Name::of(name), name, value);
    }

    /// Adds a field whose name is known.
    pub(crate) fn push_known(&mut self, token: Name, name: &[u8], value: &[u8]) {
        // As HTTP/1 writes it: what is written is then copied in one piece.
        self.text.reserve(name.len() + value.len() + 4);
        let name = self.add_text(name);
        self.text.extend_from_slice(b": ");
        let value = self.add_text(value);
        self.text.extend_from_slice(b"\r\n");
        self.push_field(token, name, value);
    }

    /// Adds a field with a value that stands here already.
    fn push_copy(&mut self, token: Name, name: &[u8], value: Span) {
        let name = self.add_text(name);
        self.text.extend_from_slice(b": ");
        let start = self.text.len();
        self.text.extend_from_within(value.range());
        let value = Span::new(start, value.range().len());
        self.text.extend_from_slice(b"\r\n");
        self.push_field(token, name, value);
    }

    /// Adds a field of `whole`, the head that [`Self::load`] has taken over.
    #[inline]
    pub(crate) fn push_loaded(&mut self, token: Name, whole: &[u8], name: &[u8], value: &[u8]) {
        let (name, value) = (self.loaded(whole, name), self.loaded(whole, value));
        self.push_field(token, name, value);
    }

    /// Begins anew with the bytes of a head, so that its fields are copied at once.
    fn load(&mut self, whole: &[u8]) {
        self.clear();
        self.text.extend_from_slice(whole);
    }

    /// Where `part` is, if it is a part of `whole`, which has been loaded; else it is added.
    #[inline]
    fn loaded(&mut self, whole: &[u8], part: &[u8]) -> Span {
        let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        if start <= whole.len() && part.len() <= whole.len() - start {
            return Span::new(start, part.len());
        }
        self.add_text(part)
    }

    fn push_field(&mut self, token: Name, name: Span, value: Span) {
        self.names.0 |= Names::bit(token);
        self.fields.push(Field { token, name, value });
    }

    /// The value of the first field of a name.
    pub(crate) fn get(&self, token: Name) -> Option<&[u8]> {
        self.get_all(token).next()
    }

    /// The values of all fields of a name, in order.
    pub(crate) fn get_all(&self, token: Name) -> impl Iterator<Item = &[u8]> {
        let fields = if self.names.has(token) {
            &self.fields[..]
        } else {
            &[]
        };
        fields
            .iter()
            .filter(move |field| field.token == token)
            .map(|field| self.text(field.value))
    }

    /// The value of a field by its name in any case; those of several of one name with commas in
    /// between (RFC 9110, section 5.3; cookies: RFC 9113, section 8.2.3).
    pub(crate) fn joined(&self, name: &[u8]) -> Option<Cow<'_, [u8]>> {
        let named = |field: &&Field| self.text(field.name).eq_ignore_ascii_case(name);
        let mut values = self.fields.iter().filter(named);
        let first = self.text(values.next()?.value);
        let Some(second) = values.next() else {
            return Some(Cow::Borrowed(first));
        };
        let between: &[u8] = if name == b"cookie" { b"; " } else { b"," };
        let mut all = first.to_vec();
        for field in std::iter::once(second).chain(values) {
            all.extend_from_slice(between);
            all.extend_from_slice(self.text(field.value));
        }
        Some(Cow::Owned(all))
    }

    /// Takes out every field of a name, in any case.
    pub(crate) fn remove_named(&mut self, name: &[u8]) {
        self.retain(|_, field| !field.eq_ignore_ascii_case(name));
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

    /// Whether one of these names may be there; if not, none is.
    #[inline]
    pub(crate) fn has_any(&self, names: Names) -> bool {
        self.names.meets(names)
    }

    /// Takes out every field of these names.
    pub(crate) fn remove(&mut self, names: Names) {
        if self.names.meets(names) {
            self.fields.retain(|field| !names.has(field.token));
            self.names.0 &= !names.0;
        }
    }

    /// Bytes of the head, as far as it came in one piece, and of what was added.
    pub(crate) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// How many fields there are.
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    /// Appends the fields as HTTP/1 writes them, without the empty line.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        // Fields that stand behind each other are copied in one piece.
        let mut run = 0..0;
        for field in &self.fields {
            match self.line(field) {
                Some(line) if line.start == run.end => run.end = line.end,
                Some(line) => {
                    out.extend_from_slice(&self.text[run]);
                    run = line;
                }
                None => {
                    out.extend_from_slice(&self.text[run]);
                    run = 0..0;
                    write_field(out, self.text(field.name), self.text(field.value));
                }
            }
        }
        out.extend_from_slice(&self.text[run]);
    }

    /// Where a field stands exactly as [`write_field`] writes it.
    fn line(&self, field: &Field) -> Option<Range<usize>> {
        let (name, value) = (field.name.range(), field.value.range());
        let end = value.end + 2;
        let written = value.start == name.end + 2
            && self.text[name.end..value.start] == *b": "
            && self.text.get(value.end..end) == Some(b"\r\n");
        written.then_some(name.start..end)
    }

    /// Removes the fields that end at this hop: the standard ones and those that Connection
    /// names, except for those that the message cannot do without.
    pub(crate) fn remove_hop_by_hop(&mut self) {
        let mut named: Vec<Vec<u8>> = Vec::new();
        for value in self.get_all(Name::Connection) {
            // As nearly all say.
            if value.eq_ignore_ascii_case(b"keep-alive") {
                continue;
            }
            for token in list(value) {
                let known = Name::of(token);
                let essential = matches!(known, Name::Host | Name::ContentLength);
                let standard = known.is_hop_by_hop() || token.eq_ignore_ascii_case(b"close");
                if !essential && !standard {
                    named.push(token.to_vec());
                }
            }
        }
        self.remove(Name::HOP_BY_HOP);
        if !named.is_empty() {
            self.retain(|_, name| !named.iter().any(|named| named.eq_ignore_ascii_case(name)));
        }
    }

    /// Whether Connection holds this option.
    pub(crate) fn connection_has(&self, option: &[u8]) -> bool {
        self.get_all(Name::Connection)
            .flat_map(list)
            .any(|token| token.eq_ignore_ascii_case(option))
    }

    fn add_text(&mut self, text: &[u8]) -> Span {
        let span = Span::new(self.text.len(), text.len());
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
#[derive(Debug, Clone)]
pub(crate) struct RequestHead {
    pub(crate) version: Version,
    method: Span,
    target: Span,
    /// The authority: from Host, an absolute target, or `:authority`.
    authority: Span,
    /// What a backend is sent in the place of `target`, where that is not HTTP/1.
    upstream_target: Span,
    /// What a backend is sent in the place of `authority`, if anything.
    upstream_authority: Span,
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
            upstream_target: Span::default(),
            upstream_authority: Span::default(),
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
        self.upstream_target = Span::default();
        self.upstream_authority = Span::default();
    }

    /// Has backends sent this path and query.
    pub(crate) fn set_upstream_target(&mut self, target: &[u8]) {
        self.upstream_target = self.headers.add_text(target);
    }

    /// What backends are sent, if it was set.
    pub(crate) fn upstream_target(&self) -> &[u8] {
        self.headers.text(self.upstream_target)
    }

    /// Begins a new head with the bytes of `whole`, whose fields follow by
    /// [`Headers::push_loaded`].
    pub(crate) fn load(&mut self, version: Version, whole: &[u8], method: &[u8], target: &[u8]) {
        self.headers.load(whole);
        self.version = version;
        self.method = self.headers.loaded(whole, method);
        self.target = self.headers.loaded(whole, target);
        self.authority = Span::default();
        self.upstream_target = Span::default();
        self.upstream_authority = Span::default();
    }

    /// Has backends be asked for another host.
    pub(crate) fn set_upstream_authority(&mut self, authority: &[u8]) {
        self.upstream_authority = self.headers.add_text(authority);
    }

    /// The host that backends are asked for.
    pub(crate) fn upstream_authority(&self) -> &[u8] {
        match self.headers.text(self.upstream_authority) {
            b"" => self.authority(),
            other => other,
        }
    }

    /// The host that they are asked for in the place of the request's own, without its port.
    pub(crate) fn told_host(&self) -> Option<&str> {
        let told = std::str::from_utf8(self.headers.text(self.upstream_authority)).ok()?;
        let host = match told.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => told,
        };
        Some(host).filter(|host| !host.is_empty())
    }

    pub(crate) fn set_authority(&mut self, authority: &[u8]) {
        self.authority = self.headers.add_text(authority);
    }

    /// Adds a field that says the authority.
    pub(crate) fn push_authority(&mut self, token: Name, name: &[u8]) {
        self.headers.push_copy(token, name, self.authority);
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
            self.headers.remove(Names::of(&[Name::Host]));
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

    /// Has this be a request for a path of our own, as nginx's `error_page` has it.
    pub(crate) fn divert(&mut self, path: &[u8]) {
        if self.method() != b"HEAD" {
            self.method = self.headers.add_text(b"GET");
        }
        self.target = self.headers.add_text(path);
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

impl RequestView for RequestHead {
    fn method(&self) -> &[u8] {
        Self::method(self)
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match name {
            "host" => Some(Cow::Borrowed(self.authority())).filter(|host| !host.is_empty()),
            _ => self.headers.joined(name.as_bytes()),
        }
    }

    fn query(&self) -> &[u8] {
        Self::query(self)
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

    /// Begins a new head with the bytes of `whole`, whose fields follow by
    /// [`Headers::push_loaded`].
    pub(crate) fn load(&mut self, status: u16, whole: &[u8], reason: &[u8]) {
        self.headers.load(whole);
        self.status = status;
        self.reason = self.headers.loaded(whole, reason);
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
        let read = Name::undisguised;
        assert_eq!(read(b"X_Forwarded-For"), Err(Name::XForwardedFor));
        assert_eq!(read(b"Content_Length"), Err(Name::ContentLength));
        assert_eq!(read(b"Content_Type"), Ok(Name::Other));
        assert_eq!(read(b"Content-Type"), Ok(Name::ContentType));
        assert_eq!(read(b"X-Forwarded-For"), Ok(Name::XForwardedFor));
        assert_eq!(read(b"X_Other"), Ok(Name::Other));
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
