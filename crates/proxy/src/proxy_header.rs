//! The PROXY protocol towards endpoints (HAProxy's `proxy-protocol.txt`): who the client is, before
//! the first byte of the first request.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use model::policy::ProxyHeader;

use crate::proxy_protocol::SIGNATURE;

/// The header of a connection that carries the requests of `client`, who came to `listener`.
pub(crate) fn of_client(version: ProxyHeader, client: SocketAddr, listener: SocketAddr) -> Vec<u8> {
    let (client, listener) = of_one_family(client, listener);
    match version {
        ProxyHeader::V1 => {
            let family = if client.is_ipv4() { 4 } else { 6 };
            let mut line = Vec::with_capacity(108);
            // Writing to memory does not fail.
            let _ = write!(
                line,
                "PROXY TCP{family} {} {} {} {}\r\n",
                client.ip(),
                listener.ip(),
                client.port(),
                listener.port()
            );
            line
        }
        ProxyHeader::V2 => {
            let family = if client.is_ipv4() { 0x11 } else { 0x21 };
            let mut addresses = Vec::with_capacity(36);
            for address in [client, listener] {
                match address.ip() {
                    IpAddr::V4(ip) => addresses.extend(ip.octets()),
                    IpAddr::V6(ip) => addresses.extend(ip.octets()),
                }
            }
            addresses.extend(client.port().to_be_bytes());
            addresses.extend(listener.port().to_be_bytes());
            binary(0x21, family, &addresses)
        }
    }
}

/// The header of a connection of our own, such as a health check.
pub(crate) fn of_nobody(version: ProxyHeader) -> Vec<u8> {
    match version {
        ProxyHeader::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
        ProxyHeader::V2 => binary(0x20, 0, &[]),
    }
}

fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let length = u16::try_from(addresses.len()).unwrap_or_default();
    let mut header = SIGNATURE.to_vec();
    header.extend([command, family]);
    header.extend(length.to_be_bytes());
    header.extend_from_slice(addresses);
    header
}

/// A header has one family. Where a trusted proxy names a client of the other one, both are told as
/// IPv6 (RFC 4291, section 2.5.5.2).
fn of_one_family(client: SocketAddr, listener: SocketAddr) -> (SocketAddr, SocketAddr) {
    let (client, listener) = (crate::client::plain(client), crate::client::plain(listener));
    if client.is_ipv4() == listener.is_ipv4() {
        return (client, listener);
    }
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    (mapped(client), mapped(listener))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy_protocol::{Source, parse};

    #[test]
    fn what_is_written_can_be_read() {
        for version in [ProxyHeader::V1, ProxyHeader::V2] {
            for (client, listener, read) in [
                ("192.0.2.1:1234", "198.51.100.1:443", "192.0.2.1:1234"),
                ("[2001:db8::1]:1234", "[::1]:443", "[2001:db8::1]:1234"),
                ("192.0.2.1:0", "[::1]:443", "[::ffff:192.0.2.1]:0"),
                ("[::ffff:192.0.2.1]:9", "198.51.100.1:443", "192.0.2.1:9"),
                ("[2001:db8::1]:0", "198.51.100.1:443", "[2001:db8::1]:0"),
            ] {
                let parsed = |text: &str| text.parse::<SocketAddr>().expect("an address");
                let header = of_client(version, parsed(client), parsed(listener));
                let source = Source::Client(parsed(read), 443);
                assert_eq!(
                    parse(&header),
                    Ok(Some((source, header.len()))),
                    "{header:?}"
                );
            }
            let header = of_nobody(version);
            assert_eq!(parse(&header), Ok(Some((Source::Connection, header.len()))));
        }
    }

    #[test]
    fn lines_are_exactly_as_the_protocol_has_them() {
        let [client, listener] =
            ["192.0.2.1:1234", "198.51.100.1:443"].map(|text| text.parse().expect("an address"));
        let header = of_client(ProxyHeader::V1, client, listener);
        assert_eq!(header, b"PROXY TCP4 192.0.2.1 198.51.100.1 1234 443\r\n");
        let header = of_client(ProxyHeader::V2, client, listener);
        let rest = [
            0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 1, 4, 210, 1, 187,
        ];
        assert_eq!(header, [&SIGNATURE[..], &rest].concat());
    }
}
