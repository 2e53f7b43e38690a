//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): what a load balancer
//! says of the client before the client's first byte.
//!
//! Strict: what is not exactly the header ends the connection, and nothing is guessed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpStream;

/// What version 2 begins with.
pub(crate) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1, with its CRLF.
const MAX_LINE: usize = 107;

/// The most that version 2 may carry: addresses and what is known of TLS take a few hundred bytes.
const MAX_PAYLOAD: usize = 4096;

/// Who a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// From this client, through the load balancer, and to this port of that one.
    Client(SocketAddr, u16),
    /// From the load balancer itself (a health check), or from what has no IP address: the
    /// connection's own addresses stand.
    Connection,
}

/// The bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Why a connection has no header.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// Its other end closed before a byte: somebody looked whether the port is open.
    NothingSent,
    /// It closed, or failed, in the middle.
    Io,
    /// What it sent is no header.
    Malformed,
}

impl From<Malformed> for ReadError {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

impl From<io::Error> for ReadError {
    fn from(_: io::Error) -> Self {
        Self::Io
    }
}

/// Reads the header off a connection, and not a byte of what follows it.
///
/// # Errors
/// See [`ReadError`].
pub(crate) async fn read(socket: &TcpStream) -> Result<Source, ReadError> {
    let mut held: Vec<u8> = Vec::new();
    let mut room = [0; 256];
    loop {
        let count = socket.peek(&mut room).await?;
        if count == 0 {
            return Err(if held.is_empty() {
                ReadError::NothingSent
            } else {
                ReadError::Io
            });
        }
        let before = held.len();
        held.extend_from_slice(&room[..count]);
        if let Some((source, len)) = parse(&held)? {
            take(socket, &mut room[..len - before]).await?;
            return Ok(source);
        }
        // All of it belongs to the header.
        take(socket, &mut room[..count]).await?;
    }
}

/// Takes what was peeked at.
async fn take(socket: &TcpStream, mut room: &mut [u8]) -> io::Result<()> {
    while !room.is_empty() {
        match socket.try_read(room) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => room = &mut room[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.readable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The header at the beginning of `bytes`, with its length; `None` if it is not whole yet.
///
/// # Errors
/// [`Malformed`] as soon as no more bytes could make it a header.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Source, usize)>, Malformed> {
    let common = bytes.len().min(SIGNATURE.len());
    if bytes[..common] == SIGNATURE[..common] {
        return parse_binary(bytes);
    }
    const START: &[u8] = b"PROXY ";
    let common = bytes.len().min(START.len());
    if bytes[..common] != START[..common] {
        return Err(Malformed);
    }
    let window = &bytes[..bytes.len().min(MAX_LINE)];
    match window.iter().position(|&byte| byte == b'\n') {
        Some(end) => {
            let line = bytes[..end].strip_suffix(b"\r").ok_or(Malformed)?;
            Ok(Some((parse_line(line)?, end + 1)))
        }
        None if bytes.len() >= MAX_LINE => Err(Malformed),
        None => Ok(None),
    }
}

/// Version 1, without its CRLF.
fn parse_line(line: &[u8]) -> Result<Source, Malformed> {
    let line = std::str::from_utf8(line).map_err(|_| Malformed)?;
    if !line
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic())
    {
        return Err(Malformed);
    }
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        // "The receiver must ignore anything presented before the CRLF is found."
        ["PROXY", "UNKNOWN", ..] => Ok(Source::Connection),
        ["PROXY", "TCP4", source, target, source_port, target_port] => {
            let source: Ipv4Addr = source.parse().map_err(|_| Malformed)?;
            let _: Ipv4Addr = target.parse().map_err(|_| Malformed)?;
            client(source.into(), source_port, target_port)
        }
        ["PROXY", "TCP6", source, target, source_port, target_port] => {
            let source: Ipv6Addr = source.parse().map_err(|_| Malformed)?;
            let _: Ipv6Addr = target.parse().map_err(|_| Malformed)?;
            client(source.into(), source_port, target_port)
        }
        _ => Err(Malformed),
    }
}

fn client(address: IpAddr, source_port: &str, target_port: &str) -> Result<Source, Malformed> {
    let target = parse_port(target_port)?;
    let port = parse_port(source_port)?;
    Ok(Source::Client(SocketAddr::new(address, port), target))
}

/// Digits only, none to spare.
fn parse_port(text: &str) -> Result<u16, Malformed> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let short = text == "0" || !text.starts_with('0');
    text.parse()
        .ok()
        .filter(|_| plain && short)
        .ok_or(Malformed)
}

/// Version 2, whose beginning is the signature or a part of it.
fn parse_binary(bytes: &[u8]) -> Result<Option<(Source, usize)>, Malformed> {
    let rest = bytes.get(SIGNATURE.len()..).unwrap_or_default();
    let is_local = match rest {
        [] => return Ok(None),
        [0x20, ..] => true,
        [0x21, ..] => false,
        _ => return Err(Malformed),
    };
    let addresses = match rest.get(1) {
        None => return Ok(None),
        Some(0x00) => 0,
        Some(0x11 | 0x12) => 12,
        Some(0x21 | 0x22) => 36,
        Some(0x31 | 0x32) => 216,
        Some(_) => return Err(Malformed),
    };
    let &[_, family, high, low, ref payload @ ..] = rest else {
        return Ok(None);
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    // "The receiver must ignore the address family" of LOCAL, and with it what it would take.
    if len > MAX_PAYLOAD || (!is_local && len < addresses) {
        return Err(Malformed);
    }
    let Some(payload) = payload.get(..len) else {
        return Ok(None);
    };
    let source = match (is_local, family, payload) {
        (false, 0x11, &[a, b, c, d, _, _, _, _, high, low, to_high, to_low, ..]) => Source::Client(
            SocketAddr::new(
                Ipv4Addr::new(a, b, c, d).into(),
                u16::from_be_bytes([high, low]),
            ),
            u16::from_be_bytes([to_high, to_low]),
        ),
        (false, 0x21, payload) => {
            let address: [u8; 16] = payload[..16].try_into().map_err(|_| Malformed)?;
            Source::Client(
                SocketAddr::new(
                    Ipv6Addr::from(address).into(),
                    u16::from_be_bytes([payload[32], payload[33]]),
                ),
                u16::from_be_bytes([payload[34], payload[35]]),
            )
        }
        // LOCAL, unspecified, a datagram's or a Unix socket's: none is a TCP client's address.
        _ => Source::Connection,
    };
    Ok(Some((source, SIGNATURE.len() + 4 + len)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binary(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let len = u16::try_from(payload.len()).expect("short");
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(len.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn from(text: &str, port: u16) -> Source {
        Source::Client(text.parse().expect("an address"), port)
    }

    #[test]
    fn lines_of_version_1_tell_the_client() {
        for (line, source) in [
            (
                "PROXY TCP4 192.0.2.1 198.51.100.1 1234 80",
                from("192.0.2.1:1234", 80),
            ),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535",
                from("255.255.255.255:65535", 65535),
            ),
            (
                "PROXY TCP6 2001:db8::1 ::1 0 80",
                from("[2001:db8::1]:0", 80),
            ),
            ("PROXY UNKNOWN", Source::Connection),
            ("PROXY UNKNOWN whatever  else", Source::Connection),
        ] {
            let whole = format!("{line}\r\nGET");
            assert_eq!(
                parse(whole.as_bytes()),
                Ok(Some((source, line.len() + 2))),
                "{line}"
            );
        }
    }

    #[test]
    fn lines_that_are_not_exactly_version_1_are_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_LINE));
        for line in [
            "GET / HTTP/1.1\r\n",
            "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            " PROXY UNKNOWN\r\n",
            "PROXY\r\n",
            "PROXY \r\n",
            "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
            "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2 1 2\r\n",
            "PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP6 2001:db8:::1 ::1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n",
            "PROXY TCP4 192.0.2.1\t192.0.2.2 1 2\r\n",
            "PROXY UNKNOWN\0\r\n",
            "PROXY UNKNOWNX\r\n",
            &long,
        ] {
            assert_eq!(parse(line.as_bytes()), Err(Malformed), "{line:?}");
        }
    }

    #[test]
    fn version_2_tells_the_client_and_carries_what_is_skipped() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0x04, 0xd2, 0, 80];
        let mut v6 = [0; 36];
        v6[15] = 1;
        v6[32..].copy_from_slice(&[0x04, 0xd2, 0x01, 0xbb]);
        let with_tlvs = [&v4[..], &[0x03, 0, 4, 1, 2, 3, 4], &[0x20; 40]].concat();
        for (bytes, source) in [
            (binary(0x21, 0x11, &v4), from("192.0.2.1:1234", 80)),
            (binary(0x21, 0x11, &with_tlvs), from("192.0.2.1:1234", 80)),
            (binary(0x21, 0x21, &v6), from("[::1]:1234", 443)),
            (binary(0x21, 0x00, b""), Source::Connection),
            (binary(0x21, 0x00, b"anything"), Source::Connection),
            (binary(0x21, 0x12, &v4), Source::Connection),
            (binary(0x21, 0x31, &[b'x'; 216]), Source::Connection),
            (binary(0x20, 0x00, b""), Source::Connection),
            (binary(0x20, 0x11, &v4), Source::Connection),
            (binary(0x20, 0x21, b""), Source::Connection),
        ] {
            let whole = [&bytes[..], b"GET"].concat();
            assert_eq!(parse(&whole), Ok(Some((source, bytes.len()))), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_not_exactly_version_2_is_refused() {
        for bytes in [
            binary(0x22, 0x11, &[0; 12]),
            binary(0x11, 0x11, &[0; 12]),
            binary(0x31, 0x11, &[0; 12]),
            binary(0x21, 0x13, &[0; 12]),
            binary(0x21, 0x41, &[0; 12]),
            binary(0x21, 0x10, &[0; 12]),
            binary(0x21, 0x11, &[0; 11]),
            binary(0x21, 0x21, &[0; 35]),
            binary(0x21, 0x31, &[0; 215]),
            binary(0x21, 0x11, &[0; MAX_PAYLOAD + 1]),
        ] {
            assert_eq!(parse(&bytes), Err(Malformed), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn a_header_is_whole_at_its_last_byte_and_not_before(
            octets in any::<[u8; 4]>(),
            port in any::<u16>(),
            tlvs in prop::collection::vec(any::<u8>(), 0..64),
            text in any::<bool>(),
        ) {
            let source = SocketAddr::new(IpAddr::from(octets), port);
            let bytes = if text {
                format!("PROXY TCP4 {} 192.0.2.1 {port} 80\r\n", source.ip()).into_bytes()
            } else {
                let [high, low] = port.to_be_bytes();
                let addresses = [&octets[..], &[192, 0, 2, 1, high, low, 0, 80], &tlvs].concat();
                binary(0x21, 0x11, &addresses)
            };
            for end in 0..bytes.len() {
                prop_assert_eq!(parse(&bytes[..end]), Ok(None));
            }
            prop_assert_eq!(parse(&bytes), Ok(Some((Source::Client(source, 80), bytes.len()))));
        }

        #[test]
        fn no_bytes_make_it_panic_or_take_more_than_there_is(
            start in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP6 ", &SIGNATURE[..], b"\r\n\r\n\0\r\nQUIT\n\x21\x21"]),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [start, &bytes].concat();
            if let Ok(Some((_, len))) = parse(&bytes) {
                prop_assert!(len <= bytes.len());
            }
        }
    }
}
