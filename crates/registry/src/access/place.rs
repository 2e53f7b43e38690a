//! From where a client asks, and by which URL it knows us.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{FORWARDED, HOST, HeaderName, ORIGIN, VIA};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What only those send that speak for somebody else.
const ELSEWHERE: [HeaderName; 8] = [
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
    X_REAL_IP,
    FORWARDED,
    VIA,
    ORIGIN,
    SEC_FETCH_SITE,
];

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Whether the connection is TLS.
    pub is_tls: bool,
    /// The names of its certificate, which was verified, if it has shown one.
    pub certificate: Option<Vec<String>>,
}

/// Whom we believe what it says of others, and what we are called.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Whose forwarding header fields count.
    pub trusted: Vec<IpNet>,
    /// `https://registry.example`, without a slash at its end: by whatever way a client comes.
    pub external_url: Option<String>,
}

impl Proxies {
    fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|it| it.contains(&address))
    }

    /// The address that asks: the last one of `X-Forwarded-For` that is no trusted proxy's.
    pub(crate) fn client(&self, peer: &Peer, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.address.to_canonical();
        let fields = headers.get_all(X_FORWARDED_FOR).iter();
        let fields: Vec<_> = fields.filter_map(|it| it.to_str().ok()).collect();
        let hops = fields.iter().rev().flat_map(|it| it.rsplit(','));
        for hop in hops {
            if !self.trust(client) {
                break;
            }
            let Ok(address) = hop.trim().parse::<IpAddr>() else {
                break;
            };
            client = address.to_canonical();
        }
        client
    }

    /// Whether a client on this host asks: nobody through a proxy on it, and no page of another
    /// site in a browser on it, which says where it comes from (RFC 6454, section 7) with whatever
    /// changes something.
    pub(crate) fn is_local(peer: &Peer, headers: &HeaderMap) -> bool {
        peer.address.to_canonical().is_loopback()
            && !ELSEWHERE.iter().any(|name| headers.contains_key(name))
    }

    /// The URL of our root as the client has it, without a slash at its end; none if the client
    /// names no host.
    pub(crate) fn root(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        authority: Option<&str>,
    ) -> Option<String> {
        if let Some(url) = &self.external_url {
            return Some(url.clone());
        }
        let is_trusted = self.trust(peer.address);
        let forwarded = |name: HeaderName| {
            let value = headers.get(name).filter(|_| is_trusted)?.to_str().ok()?;
            value.split(',').next().map(str::trim)
        };
        let scheme = match forwarded(X_FORWARDED_PROTO) {
            Some("https" | "wss") => "https",
            Some("http" | "ws") => "http",
            _ if peer.is_tls => "https",
            _ => "http",
        };
        let host = forwarded(X_FORWARDED_HOST)
            .filter(|it| is_host(it))
            .or_else(|| {
                let own = headers
                    .get(HOST)
                    .and_then(|it| it.to_str().ok())
                    .or(authority);
                own.filter(|it| is_host(it))
            })?;
        Some(format!("{scheme}://{host}"))
    }
}

/// Whether it is a host with or without a port, and nothing that could be taken for more.
fn is_host(text: &str) -> bool {
    let is_of = |it: u8| it.is_ascii_alphanumeric() || b".-_:[]".contains(&it);
    !text.is_empty() && text.len() <= 261 && text.bytes().all(is_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer {
            address: address.parse().expect("an address"),
            is_tls: false,
            certificate: None,
        }
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in fields {
            headers.append(name, value.parse().expect("a value"));
        }
        headers
    }

    fn proxies() -> Proxies {
        Proxies {
            trusted: vec!["10.0.0.0/8".parse().expect("a network")],
            external_url: None,
        }
    }

    #[test]
    fn who_asks_is_the_last_that_no_trusted_proxy_is() {
        let fields = headers(&[
            ("x-forwarded-for", "1.1.1.1, 2.2.2.2"),
            ("x-forwarded-for", "10.0.0.2"),
        ]);
        let client = |from: &str| proxies().client(&peer(from), &fields).to_string();
        assert_eq!(client("10.0.0.1"), "2.2.2.2");
        assert_eq!(client("::ffff:10.0.0.1"), "2.2.2.2");
        assert_eq!(client("9.9.9.9"), "9.9.9.9");
    }

    #[test]
    fn what_we_are_called_is_believed_of_trusted_proxies_alone() {
        let fields = headers(&[
            ("host", "inside:5000"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "registry.example"),
        ]);
        let root = |from: &str| proxies().root(&peer(from), &fields, None);
        assert_eq!(
            root("10.0.0.1").as_deref(),
            Some("https://registry.example")
        );
        assert_eq!(root("9.9.9.9").as_deref(), Some("http://inside:5000"));
        let strange = headers(&[("host", "a\"b")]);
        assert_eq!(proxies().root(&peer("9.9.9.9"), &strange, None), None);
    }

    #[test]
    fn who_comes_through_a_proxy_of_this_host_is_not_of_this_host() {
        assert!(Proxies::is_local(&peer("::1"), &HeaderMap::new()));
        assert!(!Proxies::is_local(&peer("10.0.0.1"), &HeaderMap::new()));
        let forwarded = headers(&[("x-forwarded-for", "1.1.1.1")]);
        assert!(!Proxies::is_local(&peer("127.0.0.1"), &forwarded));
    }
}
