//! The messages of Envoy's external authorisation
//! (`envoy/service/auth/v3/external_auth.proto`), as far as they are used: a question about a
//! request, and an answer that lets it pass or not.
//!
//! Written and read by hand: two messages are no reason for a compiler of them.

use crate::headers::Headers;
use crate::respond::Given;

/// What the authority is told of a request.
pub(super) struct Check<'a> {
    /// The client's address and port.
    pub(super) source: std::net::SocketAddr,
    /// Ours.
    pub(super) destination: std::net::SocketAddr,
    pub(super) id: &'a [u8],
    pub(super) method: &'a [u8],
    /// Path and query.
    pub(super) path: &'a [u8],
    pub(super) host: &'a [u8],
    pub(super) scheme: &'a str,
    pub(super) protocol: &'a str,
    /// By name in lower case.
    pub(super) headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) body: &'a [u8],
}

/// What the authority says.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The request passes, with these changes.
    Pass(Pass),
    /// The client gets this.
    Deny(Given),
}

/// What becomes of the fields of a request that passes.
#[derive(Debug, Default)]
pub(super) struct Pass {
    set: Vec<Field>,
    remove: Vec<Vec<u8>>,
}

/// A HeaderValueOption.
#[derive(Debug, Default)]
struct Field {
    name: Vec<u8>,
    value: Vec<u8>,
    how: How,
}

/// What becomes of a field that is there already.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum How {
    #[default]
    Replace,
    Add,
    IfAbsent,
    IfPresent,
}

impl Check<'_> {
    /// The message, framed for gRPC.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut http = Vec::new();
        bytes(&mut http, 1, self.id);
        bytes(&mut http, 2, self.method);
        for (name, value) in &self.headers {
            let mut entry = Vec::new();
            bytes(&mut entry, 1, name);
            // Text of protocol buffers is UTF-8.
            bytes(&mut entry, 2, String::from_utf8_lossy(value).as_bytes());
            bytes(&mut http, 3, &entry);
        }
        bytes(&mut http, 4, String::from_utf8_lossy(self.path).as_bytes());
        bytes(&mut http, 5, self.host);
        bytes(&mut http, 6, self.scheme.as_bytes());
        varint_field(&mut http, 9, self.body.len() as u64);
        bytes(&mut http, 10, self.protocol.as_bytes());
        match std::str::from_utf8(self.body) {
            Ok(text) => bytes(&mut http, 11, text.as_bytes()),
            Err(_) => bytes(&mut http, 12, self.body),
        }
        let mut request = Vec::new();
        bytes(&mut request, 2, &http);
        let mut attributes = Vec::new();
        bytes(&mut attributes, 1, &peer(self.source));
        bytes(&mut attributes, 2, &peer(self.destination));
        bytes(&mut attributes, 4, &request);
        let mut message = Vec::new();
        bytes(&mut message, 1, &attributes);
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        [&[0][..], &length.to_be_bytes(), &message].concat()
    }
}

/// A Peer with its address.
fn peer(address: std::net::SocketAddr) -> Vec<u8> {
    let mut socket = Vec::new();
    bytes(&mut socket, 2, address.ip().to_string().as_bytes());
    varint_field(&mut socket, 3, address.port().into());
    let mut of_socket = Vec::new();
    bytes(&mut of_socket, 1, &socket);
    let mut peer = Vec::new();
    bytes(&mut peer, 1, &of_socket);
    peer
}

/// Reads an answer, framed for gRPC. None if it is none.
pub(super) fn decode(framed: &[u8]) -> Option<Verdict> {
    let (prefix, message) = framed.split_first_chunk::<5>()?;
    let [compressed, length @ ..] = *prefix;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    if compressed != 0 || message.len() != length {
        return None;
    }
    // Without a status it is none: a message of zeros is `OK`, and so is one of nothing.
    let mut code = 0;
    let mut denied = Given::default();
    let mut pass = Pass::default();
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(status)) => {
                for field in Fields(status) {
                    if let (1, Value::Number(number)) = field? {
                        code = number;
                    }
                }
            }
            (2, Value::Bytes(message)) => read_denied(message, &mut denied)?,
            (3, Value::Bytes(message)) => {
                for field in Fields(message) {
                    match field? {
                        (2, Value::Bytes(option)) => pass.set.push(read_field(option)?),
                        (5, Value::Bytes(name)) => pass.remove.push(name.to_vec()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if code == 0 {
        return Some(Verdict::Pass(pass));
    }
    if !(300..=599).contains(&denied.status) {
        denied.status = 403;
    }
    Some(Verdict::Deny(denied))
}

fn read_denied(message: &[u8], denied: &mut Given) -> Option<()> {
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(status)) => {
                for field in Fields(status) {
                    if let (1, Value::Number(number)) = field? {
                        denied.status = u16::try_from(number).unwrap_or_default();
                    }
                }
            }
            (2, Value::Bytes(option)) => {
                let field = read_field(option)?;
                if super::auth::may_be_given(&field.name, &field.value) {
                    denied.headers.push(&field.name, &field.value);
                }
            }
            (3, Value::Bytes(body)) => denied.body = body.to_vec(),
            _ => {}
        }
    }
    Some(())
}

fn read_field(option: &[u8]) -> Option<Field> {
    let mut read = Field::default();
    for field in Fields(option) {
        match field? {
            (1, Value::Bytes(header)) => {
                for field in Fields(header) {
                    match field? {
                        (1, Value::Bytes(name)) => read.name = name.to_vec(),
                        (2 | 3, Value::Bytes(value)) => read.value = value.to_vec(),
                        _ => {}
                    }
                }
            }
            (2, Value::Bytes(append)) => {
                for field in Fields(append) {
                    if let (1, Value::Number(1)) = field? {
                        read.how = How::Add;
                    }
                }
            }
            (3, Value::Number(1)) => read.how = How::IfAbsent,
            (3, Value::Number(3)) => read.how = How::IfPresent,
            _ => {}
        }
    }
    Some(read)
}

impl Pass {
    /// Changes the request's fields.
    pub(super) fn apply(&self, headers: &mut Headers) {
        for name in &self.remove {
            if super::auth::may_be_given(name, b"") {
                headers.remove_named(name);
            }
        }
        for Field { name, value, how } in &self.set {
            let is_there = headers.joined(name).is_some();
            let wanted = match how {
                How::Replace | How::Add => true,
                How::IfAbsent => !is_there,
                How::IfPresent => is_there,
            };
            if !wanted || !super::auth::may_be_given(name, value) {
                continue;
            }
            if *how != How::Add {
                headers.remove_named(name);
            }
            headers.push(name, value);
        }
    }
}

/// Appends a field of text, bytes or a message; what is empty is left out.
fn bytes(to: &mut Vec<u8>, number: u8, value: &[u8]) {
    if !value.is_empty() {
        to.push(number << 3 | 2);
        varint(to, value.len() as u64);
        to.extend_from_slice(value);
    }
}

fn varint_field(to: &mut Vec<u8>, number: u8, value: u64) {
    if value != 0 {
        to.push(number << 3);
        varint(to, value);
    }
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// The fields of a message, by their numbers. None for one that is broken, and nothing after it.
struct Fields<'a>(&'a [u8]);

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a kind that is not read.
    Other,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_none() {
            self.0 = &[];
        }
        Some(read)
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.number()?;
        let value = match key & 7 {
            0 => Value::Number(self.number()?),
            1 => self.take(8).map(|_| Value::Other)?,
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Other)?,
            _ => return None,
        };
        Some((key >> 3, value))
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message of fields of bytes.
    fn message(fields: &[(u8, &[u8])]) -> Vec<u8> {
        let mut message = Vec::new();
        for &(number, value) in fields {
            bytes(&mut message, number, value);
        }
        message
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).expect("short");
        [&[0][..], &length.to_be_bytes(), message].concat()
    }

    fn option(name: &[u8], value: &[u8], rest: &[u8]) -> Vec<u8> {
        let header = message(&[(1, name), (2, value)]);
        [message(&[(1, &header)]), rest.to_vec()].concat()
    }

    #[test]
    fn a_question_is_as_envoy_writes_it() {
        let check = Check {
            source: ([192, 0, 2, 1], 300).into(),
            destination: ([192, 0, 2, 2], 80).into(),
            id: b"i",
            method: b"GET",
            path: b"/a?b",
            host: b"h",
            scheme: "http",
            protocol: "HTTP/1.1",
            headers: vec![(b"x-a".to_vec(), b"1".to_vec())],
            body: b"",
        };
        let expected: Vec<u8> = [
            &b"\0\0\0\0\x58\x0a\x56"[..],
            b"\x0a\x12\x0a\x10\x0a\x0e\x12\x09192.0.2.1\x18\xac\x02",
            b"\x12\x11\x0a\x0f\x0a\x0d\x12\x09192.0.2.2\x18\x50",
            b"\x22\x2d\x12\x2b",
            b"\x0a\x01i\x12\x03GET\x1a\x08\x0a\x03x-a\x12\x011\x22\x04/a?b\x2a\x01h\x32\x04http",
            b"\x52\x08HTTP/1.1",
        ]
        .concat();
        let found = check.encode();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_status_other_than_ok_denies() {
        let status = message(&[(1, &[8, 7])]);
        assert_eq!(status, b"\x0a\x02\x08\x07");
        match decode(&framed(&status)) {
            Some(Verdict::Deny(given)) => assert_eq!(given.status, 403),
            other => panic!("{other:?}"),
        }
        let denied = message(&[
            (1, &[8, 0x91, 3]),
            (2, &option(b"WWW-Authenticate", b"Basic", &[])),
            (2, &option(b"Content-Length", b"9", &[])),
            (3, b"who?"),
        ]);
        let whole = message(&[(1, &[8, 16]), (2, &denied)]);
        match decode(&framed(&whole)) {
            Some(Verdict::Deny(given)) => {
                assert_eq!((given.status, &*given.body), (401, &b"who?"[..]));
                let field = given.headers.joined(b"www-authenticate");
                assert_eq!(field.as_deref(), Some(&b"Basic"[..]));
                assert_eq!(given.headers.len(), 1);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_that_lets_pass_changes_fields() {
        let pass = message(&[
            (2, &option(b"x-user", b"kim", &[])),
            (2, &option(b"x-more", b"2", &[0x12, 2, 8, 1])),
            (2, &option(b"x-old", b"new", &[0x18, 1])),
            (2, &option(b"x-none", b"new", &[0x18, 3])),
            (2, &option(b"host", b"evil", &[])),
            (5, b"x-gone"),
        ]);
        let whole = message(&[(3, &pass)]);
        let Some(Verdict::Pass(pass)) = decode(&framed(&whole)) else {
            panic!("it does not pass");
        };
        let mut headers = Headers::default();
        for (name, value) in [
            ("X-User", "forged"),
            ("x-more", "1"),
            ("x-old", "old"),
            ("x-gone", "1"),
        ] {
            headers.push(name.as_bytes(), value.as_bytes());
        }
        pass.apply(&mut headers);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = headers.iter();
        let fields: Vec<_> = fields
            .map(|(_, name, value)| format!("{}: {}", text(name), text(value)))
            .collect();
        assert_eq!(
            fields,
            ["x-more: 1", "x-old: old", "x-user: kim", "x-more: 2"]
        );
    }

    #[test]
    fn what_is_no_answer_lets_nothing_pass() {
        for bad in [
            &b""[..],
            b"\0\0\0\0",
            b"\0\0\0\0\x05\x0a",
            b"\x01\0\0\0\0",
            b"\0\0\0\0\x02\x0a\x05",
            b"\0\0\0\0\x01\xff",
        ] {
            assert!(decode(bad).is_none(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let _ = decode(&framed(&bytes));
        }
    }
}
