//! Who the client is, and what the backend is told of it.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use model::Told;

use crate::client::{Connection, plain_ip};
use crate::headers::{Headers, Name, Names, RequestHead, list};
use crate::respond::decimal;
use crate::settings::{Forwarding, Settings};

/// What is known of the client behind proxies that are trusted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    /// Whether it came with TLS, to us or to a trusted proxy.
    pub(crate) secure: bool,
}

/// Whether forwarding fields of a peer are believed.
pub(crate) fn is_trusted(peer: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&peer))
}

/// Finds the client, and makes the forwarding fields anew: those of a trusted peer are kept and
/// added to, those of any other are replaced.
pub(crate) fn apply(
    request: &mut RequestHead,
    connection: &Connection,
    settings: &Settings,
) -> Client {
    let Forwarding {
        header,
        address_only,
        announced,
        alone,
        rehosts,
    } = &settings.forwarding;
    if !connection.trusted {
        request.headers.remove(OURS);
    }
    let trusted = &settings.trusted_proxies;
    let address = match announced {
        true => connection.peer.ip(),
        false => client_address(request, connection, header.as_deref(), trusted),
    };
    if *address_only {
        request.headers.remove(OURS);
    }
    if connection.announced_https {
        request.headers.remove(Names::of(&[Name::XForwardedProto]));
    }
    let client = Client {
        address,
        secure: match request.headers.get(Name::XForwardedProto) {
            Some(scheme) if *rehosts => scheme != b"http",
            Some(scheme) => scheme.eq_ignore_ascii_case(b"https"),
            None => connection.tls.is_some() || connection.announced_https,
        },
    };
    if *alone {
        let headers = &mut request.headers;
        headers.remove(Names::of(&[Name::XForwardedFor, Name::XRealIp]));
        let text = address.to_string();
        headers.push_known(Name::XForwardedFor, b"X-Forwarded-For", text.as_bytes());
    } else {
        append_forwarded_for(request, connection);
    }
    set_missing(request, connection, client.address);
    client
}

/// What a client says of itself, believed or not.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// Whom it forwards for.
    client: Option<Vec<u8>>,
    /// The host that it was asked for.
    host: Option<Vec<u8>>,
    /// `Forwarded`, which ingress-nginx knows nothing of.
    forwarded: Option<Vec<u8>>,
    /// Whether it has named its request.
    names_request: bool,
}

impl Claims {
    /// Of a request as it came, if it says any.
    pub(crate) fn of(request: &RequestHead) -> Option<Box<Self>> {
        const CLAIMS: Names = Names::of(&[
            Name::Forwarded,
            Name::XForwardedFor,
            Name::XForwardedHost,
            Name::XRequestId,
        ]);
        request
            .headers
            .has_any(CLAIMS)
            .then(|| Box::new(Self::read(request)))
    }

    #[cold]
    fn read(request: &RequestHead) -> Self {
        let said = |name: Name, text: &[u8]| {
            request.headers.get(name)?;
            request.headers.joined(text).map(Cow::into_owned)
        };
        Self {
            client: said(Name::XForwardedFor, b"x-forwarded-for"),
            host: said(Name::XForwardedHost, b"x-forwarded-host"),
            forwarded: said(Name::Forwarded, b"forwarded"),
            names_request: request.headers.get(Name::XRequestId).is_some(),
        }
    }
}

/// Tells what ingress-nginx tells besides: the scheme by two more names, what the client itself
/// says that it forwards for and was asked for, and what `told` says. Takes out what CGI-like
/// backends take for their own proxy.
pub(crate) fn tell_more(
    request: &mut RequestHead,
    connection: &Connection,
    claims: Option<Box<Claims>>,
    told: Option<&Told>,
    rehosts: bool,
) {
    const FOR: &[u8] = b"X-Original-Forwarded-For";
    const HOST: &[u8] = b"X-Original-Forwarded-Host";

    let claims = claims.map(|claims| *claims).unwrap_or_default();
    if rehosts && connection.trusted {
        rehost(request);
    }
    let headers = &mut request.headers;
    headers.remove(Names::of(&[Name::XForwardedScheme, Name::XScheme]));
    let not_theirs = [FOR, HOST, b"Proxy"];
    headers.retain(|token, field| {
        token != Name::Other
            || !not_theirs
                .iter()
                .any(|name| field.eq_ignore_ascii_case(name))
    });
    let scheme = headers.get(Name::XForwardedProto).unwrap_or_default();
    let scheme = scheme.to_vec();
    headers.push_known(Name::XForwardedScheme, b"X-Forwarded-Scheme", &scheme);
    headers.push_known(Name::XScheme, b"X-Scheme", &scheme);
    name_port(headers, connection);
    let field = |field: Option<&str>| field.and_then(|name| headers.joined(name.as_bytes()));
    let client_field = told.and_then(|told| told.client_field.as_deref());
    let host_field = told.and_then(|told| told.host_field.as_deref());
    let owned = |value: Option<Cow<'_, [u8]>>| value.map(Cow::into_owned);
    let client = match client_field {
        Some(_) => owned(field(client_field)),
        None => claims.client,
    };
    let host = match host_field {
        Some(_) => owned(field(host_field)),
        None => claims.host,
    };
    if let Some(client) = &client {
        headers.push(FOR, client);
    }
    if let Some(host) = host {
        headers.push(HOST, &host);
    }
    if let Some(forwarded) = claims.forwarded
        && headers.get(Name::Forwarded).is_none()
    {
        headers.push_known(Name::Forwarded, b"Forwarded", &forwarded);
    }
    if let Some(told) = told {
        tell(request, connection, told, client, claims.names_request);
    }
}

/// Tells what a ConfigMap asks for.
fn tell(
    request: &mut RequestHead,
    connection: &Connection,
    told: &Told,
    client: Option<Vec<u8>>,
    names_request: bool,
) {
    const TARGET: &[u8] = b"X-Original-URI";

    if let Some(field) = &told.announced_field {
        let headers = &mut request.headers;
        headers.remove_named(field.as_bytes());
        let value = match connection.trusted {
            true => client,
            false => Some(connection.peer_text.as_bytes().to_vec()),
        };
        if let Some(value) = value {
            headers.push(field.as_bytes(), &value);
        }
    }
    if told.target {
        let target = request.target().to_vec();
        request.headers.remove_named(TARGET);
        request.headers.push(TARGET, &target);
    }
    if !told.names_requests && !names_request {
        request.headers.remove(Names::of(&[Name::XRequestId]));
    }
}

/// Has backends be asked for the first host that X-Forwarded-Host names.
fn rehost(request: &mut RequestHead) {
    let told = request.headers.get(Name::XForwardedHost);
    let first = told.and_then(|told| told.split(|&byte| byte == b',').next());
    let Some(first) = first.map(<[u8]>::trim_ascii).filter(|it| !it.is_empty()) else {
        return;
    };
    let first = first.to_vec();
    request.set_upstream_authority(&first);
    let headers = &mut request.headers;
    headers.remove(Names::of(&[Name::XForwardedHost]));
    headers.push_known(Name::XForwardedHost, b"X-Forwarded-Host", &first);
}

/// The port of HTTPS is told as 443, whatever it is here.
fn name_port(headers: &mut Headers, connection: &Connection) {
    let mut digits = [0; 20];
    let own = decimal(&mut digits, u64::from(connection.entrance.port));
    if connection.tls.is_some()
        && own != b"443"
        && headers
            .get(Name::XForwardedPort)
            .is_some_and(|port| port == own)
    {
        headers.remove(Names::of(&[Name::XForwardedPort]));
        headers.push_known(Name::XForwardedPort, b"X-Forwarded-Port", b"443");
    }
}

/// Whether somebody has chosen the request's id who may not, unless whoever routes it lets all.
pub(crate) fn is_named(request: &RequestHead, connection: &Connection) -> bool {
    !connection.trusted && request.headers.get(Name::XRequestId).is_some()
}

/// Gives the request an id of ours in the place of the one that it has.
pub(crate) fn rename(request: &mut RequestHead) {
    let headers = &mut request.headers;
    headers.remove(Names::of(&[Name::XRequestId]));
    headers.push_known(Name::XRequestId, b"X-Request-ID", &new_request_id());
}

/// The fields that only a trusted peer may set, besides X-Request-ID.
const OURS: Names = Names::of(&[
    Name::Forwarded,
    Name::XForwardedFor,
    Name::XForwardedHost,
    Name::XForwardedPort,
    Name::XForwardedProto,
    Name::XForwardedScheme,
    Name::XRealIp,
    Name::XScheme,
]);

/// The last address in X-Forwarded-For that is no trusted proxy's.
///
/// Where another field has the address (`header`), in that.
fn client_address(
    request: &RequestHead,
    connection: &Connection,
    header: Option<&str>,
    trusted: &[IpNet],
) -> IpAddr {
    let mut client = connection.peer.ip();
    if !connection.trusted {
        return client;
    }
    let named = |name: &str| request.headers.joined(name.as_bytes());
    let joined = header.and_then(named);
    let fields: Vec<&[u8]> = match header {
        Some(_) => joined.as_deref().into_iter().collect(),
        None => request.headers.get_all(Name::XForwardedFor).collect(),
    };
    let hops = fields.iter().rev().flat_map(|value| {
        let mut hops: Vec<&[u8]> = list(value).collect();
        hops.reverse();
        hops
    });
    for hop in hops {
        let Some(address) = parse_hop(hop) else {
            return client;
        };
        client = address;
        if !is_trusted(address, trusted) {
            return client;
        }
    }
    client
}

/// An address, perhaps with brackets and a port.
fn parse_hop(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?;
    let address = hop
        .parse::<IpAddr>()
        .or_else(|_| {
            hop.parse::<std::net::SocketAddr>()
                .map(|address| address.ip())
        })
        .or_else(|_| hop.trim_start_matches('[').trim_end_matches(']').parse());
    address.ok().map(plain_ip)
}

fn append_forwarded_for(request: &mut RequestHead, connection: &Connection) {
    let mut chain = Vec::new();
    for value in request.headers.get_all(Name::XForwardedFor) {
        chain.extend_from_slice(value);
        chain.extend_from_slice(b", ");
    }
    let peer = connection.peer_text.as_bytes();
    if chain.is_empty() {
        request
            .headers
            .push_known(Name::XForwardedFor, b"X-Forwarded-For", peer);
        return;
    }
    chain.extend_from_slice(peer);
    request.headers.remove(Names::of(&[Name::XForwardedFor]));
    request
        .headers
        .push_known(Name::XForwardedFor, b"X-Forwarded-For", &chain);
}

fn set_missing(request: &mut RequestHead, connection: &Connection, client: IpAddr) {
    let headers = &request.headers;
    let has = |name| headers.get(name).is_some();
    let (host, port, proto) = (
        has(Name::XForwardedHost),
        has(Name::XForwardedPort),
        has(Name::XForwardedProto),
    );
    let (real_ip, request_id) = (
        has(Name::XRealIp) && connection.trusted,
        has(Name::XRequestId),
    );
    let headers = &mut request.headers;
    if !real_ip {
        headers.remove(Names::of(&[Name::XRealIp]));
        if client == connection.peer.ip() {
            headers.push_known(Name::XRealIp, b"X-Real-IP", connection.peer_text.as_bytes());
        } else {
            headers.push_known(Name::XRealIp, b"X-Real-IP", client.to_string().as_bytes());
        }
    }
    if !host && !request.authority().is_empty() {
        request.push_authority(Name::XForwardedHost, b"X-Forwarded-Host");
    }
    let headers = &mut request.headers;
    if !port {
        let mut digits = [0; 20];
        let digits = decimal(&mut digits, u64::from(connection.public_port));
        headers.push_known(Name::XForwardedPort, b"X-Forwarded-Port", digits);
    }
    if !proto {
        let scheme: &[u8] = if connection.tls.is_some() || connection.announced_https {
            b"https"
        } else {
            b"http"
        };
        headers.push_known(Name::XForwardedProto, b"X-Forwarded-Proto", scheme);
    }
    if !request_id {
        headers.push_known(Name::XRequestId, b"X-Request-ID", &new_request_id());
    }
}

/// 128 random bits in hexadecimal.
fn new_request_id() -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut id = [0; 32];
    for (digits, byte) in id.chunks_exact_mut(2).zip(fastrand::u128(..).to_be_bytes()) {
        digits[0] = DIGITS[usize::from(byte >> 4)];
        digits[1] = DIGITS[usize::from(byte & 15)];
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Version;

    fn apply_to(fields: &[(&str, &str)], trusted: &[&str]) -> (Client, Vec<String>) {
        let trusted: Vec<IpNet> = trusted
            .iter()
            .map(|net| net.parse().expect("a net"))
            .collect();
        let peer = "192.0.2.1:1234"
            .parse::<std::net::SocketAddr>()
            .expect("an address");
        let connection = Connection {
            entrance: model::Entrance::tcp(8080),
            public_port: 8080,
            peer,
            local: peer,
            peer_text: "192.0.2.1".into(),
            trusted: is_trusted(peer.ip(), &trusted),
            announced_https: false,
            geo: None,
            tls: None,
        };
        let mut request = RequestHead::default();
        request.start(Version::Http11, b"GET", b"/");
        request.set_authority(b"example:8080");
        for (name, value) in fields {
            request.headers.push(name.as_bytes(), value.as_bytes());
        }
        let settings = Settings {
            trusted_proxies: trusted,
            ..Settings::default()
        };
        let client = apply(&mut request, &connection, &settings);
        let fields = request
            .headers
            .iter()
            .filter(|(name, ..)| *name != Name::XRequestId);
        let fields = fields.map(|(_, name, value)| {
            format!(
                "{}: {}",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(value)
            )
        });
        (client, fields.collect())
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let spoofed = [
            ("x-forwarded-for", "10.0.0.1"),
            ("X-Forwarded-Proto", "https"),
            ("X-Real-Ip", "10.0.0.1"),
            ("Forwarded", "for=10.0.0.1"),
            ("X-Forwarded-Host", "evil"),
        ];
        let (client, fields) = apply_to(&spoofed, &[]);
        assert_eq!(
            (client.address.to_string().as_str(), client.secure),
            ("192.0.2.1", false)
        );
        assert_eq!(
            fields,
            [
                "X-Forwarded-For: 192.0.2.1",
                "X-Real-IP: 192.0.2.1",
                "X-Forwarded-Host: example:8080",
                "X-Forwarded-Port: 8080",
                "X-Forwarded-Proto: http"
            ]
        );
    }

    #[test]
    fn the_client_is_the_last_hop_that_is_not_trusted() {
        let fields = [
            ("X-Forwarded-For", "10.9.9.9, 2001:db8::1, 192.0.2.7"),
            ("X-Forwarded-Proto", "https"),
        ];
        let (client, fields) = apply_to(&fields, &["192.0.2.0/24"]);
        assert_eq!(
            (client.address.to_string().as_str(), client.secure),
            ("2001:db8::1", true)
        );
        assert_eq!(fields[0], "X-Forwarded-Proto: https");
        assert_eq!(
            fields[1],
            "X-Forwarded-For: 10.9.9.9, 2001:db8::1, 192.0.2.7, 192.0.2.1"
        );
        assert_eq!(fields[2], "X-Real-IP: 2001:db8::1");
    }

    #[test]
    fn hops_may_have_ports_and_brackets() {
        for (hop, address) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(
                parse_hop(hop.as_bytes())
                    .map(|address| address.to_string())
                    .as_deref(),
                Some(address)
            );
        }
        assert_eq!(parse_hop(b"unknown"), None);
    }
}
