//! Addresses that no name from outside may stand for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Where clouds answer a machine about itself, its credentials among the rest, at addresses that
/// are not link-local: Alibaba, Oracle and Azure; AWS and Google over IPv6.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// Whether an address is of this machine, of its link, of all machines, or of a cloud's metadata
/// service, or leads to one of these through a translation from IPv6 to IPv4.
pub(super) fn is_forbidden(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_forbidden_v4(ip),
        IpAddr::V6(ip) => is_forbidden_v6(ip),
    }
}

fn is_forbidden_v4(ip: Ipv4Addr) -> bool {
    ip.octets()[0] == 0 // "this network": Linux takes 0.0.0.0 for itself
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.octets()[0] >= 224 // multicast, reserved, broadcast
        || METADATA_V4.contains(&ip)
}

fn is_forbidden_v6(ip: Ipv6Addr) -> bool {
    ip.is_unspecified()
        || ip.is_loopback()
        || ip.is_unicast_link_local()
        || ip.is_multicast()
        || METADATA_V6.contains(&ip)
        || embedded(ip).into_iter().flatten().any(is_forbidden_v4)
}

/// The IPv4 addresses that a gateway may read out of an IPv6 address.
fn embedded(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let s = ip.segments();
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    let last = v4(s[6], s[7]);
    match s {
        // IPv4-compatible and IPv4-mapped (RFC 4291), IPv4-translated (RFC 2765).
        [0, 0, 0, 0, 0, 0 | 0xffff, _, _] | [0, 0, 0, 0, 0xffff, 0, _, _] => [last, None],
        // NAT64, the well-known prefix (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => [last, None],
        // NAT64 within a site (RFC 8215): as long a prefix as the site likes, of 48 or 96 bits.
        [0x64, 0xff9b, 1, ..] => [last, v4(s[3], (s[4] << 8) | (s[5] >> 8))],
        // 6to4 (RFC 3056).
        [0x2002, ..] => [v4(s[1], s[2]), None],
        // Teredo (RFC 4380): the server, and the client with its bits turned over.
        [0x2001, 0, ..] => [v4(s[2], s[3]), v4(!s[6], !s[7])],
        // ISATAP (RFC 5214).
        [_, _, _, _, 0 | 0x200, 0x5efe, _, _] => [last, None],
        _ => [None, None],
    }
}

/// The address that a host is, if it is no name.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

/// Whether a name stands for this machine, whatever DNS says (RFC 6761, section 6.3).
pub(super) fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or(host);
    last.eq_ignore_ascii_case("localhost")
}

/// Where to connect to, of addresses that may be connected to: those that there is a way to, unless
/// there is none to any. In one order, whatever order a server rotates them into.
pub(super) fn usable(
    addresses: Vec<IpAddr>,
    port: u16,
    reachable: fn(SocketAddr) -> bool,
) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = addresses
        .into_iter()
        .map(|ip| SocketAddr::new(ip.to_canonical(), port))
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    // Where there is no IPv6, half of the attempts at a host with both would be in vain.
    if addresses.iter().any(|&address| reachable(address)) {
        addresses.retain(|&address| reachable(address));
    }
    addresses
}

/// Whether the machine knows a way to an address (RFC 6724, rule 1). Nothing is sent: `connect`
/// of a UDP socket only looks the route up.
pub(super) fn has_route(address: SocketAddr) -> bool {
    let local: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    UdpSocket::bind(local).is_ok_and(|socket| socket.connect(address).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_and_metadata_addresses_are_forbidden_in_every_form() {
        for forbidden in [
            "127.0.0.1",
            "127.255.0.3",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::127.0.0.1",
            "64:ff9b:1:7f00:0:100::",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2001:0:7f00:1::",
            "2001:0:c000:201::80ff:fffe",
            "2001:db8::5efe:127.0.0.1",
        ] {
            assert!(is_forbidden(forbidden.parse().unwrap()), "{forbidden}");
        }
    }

    #[test]
    fn other_addresses_are_allowed_private_ones_too() {
        for allowed in [
            "192.0.2.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "223.255.255.255",
            "2001:db8::1",
            "2606:4700::1111",
            "fd00::1",
            "::ffff:192.0.2.1",
            "64:ff9b::192.0.2.1",
            "2002:c000:201::1",
        ] {
            assert!(!is_forbidden(allowed.parse().unwrap()), "{allowed}");
        }
    }

    #[test]
    fn localhost_is_known_by_its_last_label() {
        for local in ["localhost", "LocalHost.", "a.localhost", "a.b.localhost."] {
            assert!(is_localhost(local), "{local}");
        }
        for other in ["localhost.example", "notlocalhost", "example", ""] {
            assert!(!is_localhost(other), "{other}");
        }
    }

    #[test]
    fn only_whole_addresses_are_literals() {
        assert_eq!(literal("192.0.2.1"), "192.0.2.1".parse().ok());
        assert_eq!(literal("::1"), "::1".parse().ok());
        assert_eq!(literal("[::1]"), "::1".parse().ok());
        for name in ["127.1", "0x7f000001", "2130706433", "[::1", "1.2.3.4."] {
            assert_eq!(literal(name), None, "{name}");
        }
    }

    #[test]
    fn there_is_a_way_to_this_machine() {
        assert!(has_route("127.0.0.1:80".parse().unwrap()));
    }
}
