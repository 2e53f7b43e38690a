//! The server name in a ClientHello, for connections that are passed on as they are.
//!
//! Whoever ends TLS reads all of the ClientHello, and refuses what it does not like. Who passes it
//! on needs the server name alone, and is to pass on whatever the backend may like: any size up to
//! the limit, in any number of records and segments, with extensions that nobody here knows. What
//! leaves no doubt about the name is enough; where there is doubt, the connection is nobody's.
//!
//! Of an encrypted ClientHello (RFC 9849) the outer one is read, which is what routing is to see.

use rustls::pki_types::{DnsName, ServerName};

/// The header of a record: type, version, length (RFC 8446, section 5.1).
const RECORD_HEADER: usize = 5;
/// The largest record (RFC 8446, section 5.1).
const MAX_RECORD: usize = 1 << 14;
/// The header of a handshake message: type and length (RFC 8446, section 4).
const MESSAGE_HEADER: usize = 4;
/// The content type of handshake records.
const HANDSHAKE: u8 = 22;
/// The handshake message's type.
const CLIENT_HELLO: u8 = 1;
/// The extension's type (RFC 6066, section 3).
const SERVER_NAME: u16 = 0;
/// The only type of a server name.
const HOST_NAME: u8 = 0;

/// Reads records until the ClientHello is complete.
#[derive(Debug)]
pub(crate) struct Reader {
    /// All that came.
    bytes: Vec<u8>,
    /// What the records hold, one after the other.
    message: Vec<u8>,
    /// Where the record begins that is not complete.
    record: usize,
    /// The most bytes that may come.
    most: usize,
}

/// What a ClientHello says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientHello {
    /// The host name that is asked for, in lower case and without a dot at its end. None if none
    /// is, or an address, which is none (RFC 6066, section 3).
    pub(crate) server_name: Option<Box<str>>,
}

/// Why something is no ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It is more than may come.
    TooLarge,
    /// It is not as the protocol has it.
    Malformed,
}

impl Reader {
    /// A reader of so many bytes at the most, records' headers counted.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            bytes: Vec::new(),
            message: Vec::new(),
            record: 0,
            most,
        }
    }

    /// How many bytes may be read and added: never what comes after the ClientHello, which may be
    /// somebody else's to read. At least 1.
    pub(crate) fn wanted(&self) -> usize {
        let have = self.bytes.len() - self.record;
        match self.record_length() {
            None => RECORD_HEADER - have,
            Some(length) => RECORD_HEADER + length - have,
        }
    }

    /// Adds no more bytes than are [`wanted`](Self::wanted). None if that is not all.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<Option<ClientHello>, Wrong> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > self.most {
            return Err(Wrong::TooLarge);
        }
        let Some(length) = self.record_length() else {
            return Ok(None);
        };
        let header = &self.bytes[self.record..];
        // Empty ones are not allowed, and would be without end.
        if header[0] != HANDSHAKE || header[1] != 3 || !(1..=MAX_RECORD).contains(&length) {
            return Err(Wrong::Malformed);
        }
        let begin = self.record + RECORD_HEADER;
        let Some(content) = self.bytes.get(begin..begin + length) else {
            return Ok(None);
        };
        self.message.extend_from_slice(content);
        self.record = begin + length;
        self.finish()
    }

    /// All that came.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, when it has been read.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The length of the record that is not complete, once its header is.
    fn record_length(&self) -> Option<usize> {
        match self.bytes.get(self.record..)? {
            [_, _, _, high, low, ..] => Some(u16::from_be_bytes([*high, *low]).into()),
            _ => None,
        }
    }

    fn finish(&self) -> Result<Option<ClientHello>, Wrong> {
        if self.message[0] != CLIENT_HELLO {
            return Err(Wrong::Malformed);
        }
        let Some((header, body)) = self.message.split_at_checked(MESSAGE_HEADER) else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([0, header[1], header[2], header[3]]);
        let length = usize::try_from(length).map_err(|_| Wrong::TooLarge)?;
        if length > self.most {
            return Err(Wrong::TooLarge);
        }
        match body.len() {
            have if have < length => Ok(None),
            // The server's answer comes before anything else of the client's.
            have if have > length => Err(Wrong::Malformed),
            _ => client_hello(body).map(Some).ok_or(Wrong::Malformed),
        }
    }
}

/// Reads the message (RFC 8446, section 4.1.2, and RFC 5246, section 7.4.1.2).
fn client_hello(body: &[u8]) -> Option<ClientHello> {
    let mut rest = Bytes(body);
    let _version = rest.u16()?;
    let _random = rest.take(32)?;
    let session = rest.vector8()?;
    let suites = rest.vector16()?;
    let compressions = rest.vector8()?;
    let good = session.len() <= 32
        && !suites.is_empty()
        && suites.len().is_multiple_of(2)
        && !compressions.is_empty();
    if !good {
        return None;
    }
    let mut name = None;
    // Clients before TLS 1.3 may have no extensions at all.
    if !rest.is_empty() {
        let mut extensions = Bytes(rest.vector16()?);
        while !extensions.is_empty() {
            let (kind, content) = (extensions.u16()?, extensions.vector16()?);
            // Of two, others might read the other one.
            if kind == SERVER_NAME && name.replace(server_name(content)?).is_some() {
                return None;
            }
        }
    }
    rest.is_empty().then_some(ClientHello {
        server_name: name.flatten(),
    })
}

/// Reads the extension's content (RFC 6066, section 3).
fn server_name(content: &[u8]) -> Option<Option<Box<str>>> {
    let mut content = Bytes(content);
    let mut names = Bytes(content.vector16()?);
    if !content.is_empty() || names.is_empty() {
        return None;
    }
    let mut found = None;
    while !names.is_empty() {
        let (kind, name) = (names.take(1)?[0], names.vector16()?);
        // No more than one name of a type is allowed.
        if kind == HOST_NAME && found.replace(name).is_some() {
            return None;
        }
    }
    found.map_or(Some(None), host_name)
}

fn host_name(name: &[u8]) -> Option<Option<Box<str>>> {
    let text = str::from_utf8(name).ok()?;
    match ServerName::try_from(text).ok()? {
        ServerName::DnsName(name) => {
            let name: DnsName<'_> = name.to_lowercase_owned();
            let name = name.as_ref();
            Some(Some(name.strip_suffix('.').unwrap_or(name).into()))
        }
        _ => Some(None),
    }
}

/// Bytes that are read from their beginning.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// What its length in one byte comes before.
    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = self.take(1)?[0];
        self.take(length.into())
    }

    /// What its length in two bytes comes before.
    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }
}

/// Reads what comes in pieces of `size` at the most; and how much of it was read.
#[cfg(test)]
pub(crate) fn read_in_pieces(
    bytes: &[u8],
    size: usize,
    most: usize,
) -> (Result<Option<ClientHello>, Wrong>, usize) {
    let mut reader = Reader::new(most);
    let mut end = 0;
    while end < bytes.len() {
        let count = reader.wanted().min(size).min(bytes.len() - end);
        let read = reader.add(&bytes[end..end + count]);
        end += count;
        if read != Ok(None) {
            return (read, end);
        }
    }
    (Ok(None), end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 64 * 1024;

    fn vector16(content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).expect("short");
        [&length.to_be_bytes(), content].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &vector16(content)].concat()
    }

    fn sni(name: &[u8]) -> Vec<u8> {
        let entry = [&[HOST_NAME][..], &vector16(name)].concat();
        extension(SERVER_NAME, &vector16(&entry))
    }

    /// A ClientHello with these extensions, as one handshake message.
    fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend(vector16(&extensions.concat()));
        let length = u32::try_from(body.len()).expect("short").to_be_bytes();
        [&[CLIENT_HELLO], &length[1..], &body].concat()
    }

    /// The same in records of `size`.
    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let record = |content: &[u8]| [&[HANDSHAKE, 3, 1][..], &vector16(content)].concat();
        message.chunks(size).flat_map(record).collect()
    }

    fn read(extensions: &[Vec<u8>]) -> Result<Option<ClientHello>, Wrong> {
        read_in_pieces(&records(&message(extensions), MAX_RECORD), MOST, MOST).0
    }

    fn name(text: &str) -> Result<Option<ClientHello>, Wrong> {
        let server_name = Some(text.into());
        Ok(Some(ClientHello { server_name }))
    }

    #[test]
    fn the_name_is_read_as_hosts_are_written() {
        assert_eq!(read(&[sni(b"A.Example")]), name("a.example"));
        assert_eq!(read(&[sni(b"a.example.")]), name("a.example"));
        let none = Ok(Some(ClientHello { server_name: None }));
        assert_eq!(read(&[]), none);
        assert_eq!(read(&[sni(b"192.0.2.1")]), none);
        // An extension that nobody knows, and an encrypted ClientHello: the outer name counts.
        let ech = extension(0xfe0d, &[0; 300]);
        assert_eq!(
            read(&[extension(0x1a1a, &[]), ech, sni(b"outer.example")]),
            name("outer.example")
        );
        // A type of name that is not known yet.
        let both = [&[9, 0, 1, 1][..], &[HOST_NAME, 0, 1, b'a']].concat();
        assert_eq!(read(&[extension(SERVER_NAME, &vector16(&both))]), name("a"));
    }

    #[test]
    fn where_there_is_doubt_there_is_no_name() {
        let two = [&[HOST_NAME, 0, 1, b'a'][..], &[HOST_NAME, 0, 1, b'b']].concat();
        for extensions in [
            vec![sni(b"a.example"), sni(b"b.example")],
            vec![extension(SERVER_NAME, &vector16(&two))],
            vec![extension(SERVER_NAME, &[])],
            vec![extension(SERVER_NAME, &[0, 0])],
            vec![extension(SERVER_NAME, &[0, 4, HOST_NAME, 0, 1, b'a', 0])],
            vec![sni(b"")],
            vec![sni(b"a..example")],
            vec![sni(b"a/b")],
            vec![sni(&[0xff])],
            vec![vec![0, 0, 0, 9, 1]],
        ] {
            assert_eq!(read(&extensions), Err(Wrong::Malformed), "{extensions:?}");
        }
    }

    #[test]
    fn what_is_no_client_hello_is_refused_at_once() {
        let good = records(&message(&[]), MAX_RECORD);
        let with = |at: usize, byte| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            read_in_pieces(&bytes, 1, MOST)
        };
        assert_eq!(with(0, 21).0, Err(Wrong::Malformed), "no handshake");
        assert_eq!(with(1, 2), (Err(Wrong::Malformed), 5), "no TLS");
        assert_eq!(with(3, 0x7f).0, Err(Wrong::Malformed), "too long a record");
        assert_eq!(with(4, 0).0, Err(Wrong::Malformed), "an empty record");
        assert_eq!(with(5, 2).0, Err(Wrong::Malformed), "a ServerHello");
        assert_eq!(with(8, 1).0, Err(Wrong::Malformed), "more follows");
        assert_eq!(with(6, 2).0, Err(Wrong::TooLarge), "131,072 bytes");
        let get = b"GET / HTTP/1.1\r\n\r\n";
        assert_eq!(read_in_pieces(get, 100, MOST).0, Err(Wrong::Malformed));
    }

    #[test]
    fn what_is_too_large_is_refused_without_being_kept() {
        let padding = extension(21, &[0; 40_000]);
        let long = records(&message(&[padding, sni(b"a.example")]), 9000);
        assert_eq!(read_in_pieces(&long, MOST, MOST).0, name("a.example"));
        let (read, taken) = read_in_pieces(&long, MOST, 30_000);
        assert_eq!(read, Err(Wrong::TooLarge));
        assert!(taken <= 9005, "its length says so: {taken}");
        // Headers count, too: bytes in records of their own are six times as many.
        let crumbs = records(&message(&[extension(21, &[0; 9000])]), 1);
        let (read, taken) = read_in_pieces(&crumbs, MOST, 30_000);
        assert_eq!(read, Err(Wrong::TooLarge));
        assert!(taken <= 30_006, "{taken}");
    }

    proptest! {
        #[test]
        fn however_it_comes_the_name_is_the_same(
            host in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\\.[a-z][a-z0-9]{0,10}){0,4}",
            before in proptest::collection::vec(any::<u8>(), 0..20_000),
            after in proptest::collection::vec(any::<u8>(), 0..3000),
            record in 1_usize..=MAX_RECORD,
            size in 1_usize..5000,
        ) {
            let extensions = [extension(51, &before), sni(host.as_bytes()), extension(41, &after)];
            let message = message(&extensions);
            // Records no smaller than leave the whole below the limit.
            let bytes = records(&message, record.max(message.len() / 1000));
            let (read, taken) = read_in_pieces(&bytes, size, MOST);
            prop_assert_eq!(taken, bytes.len());
            let expected = match host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
                // A number alone is no name.
                true => return Ok(()),
                false => name(&host),
            };
            prop_assert_eq!(read, expected);
            // No beginning of it is one.
            let cut = bytes.len() - 1 - size % bytes.len();
            prop_assert_eq!(read_in_pieces(&bytes[..cut], size, MOST).0, Ok(None));
        }
    }
}
