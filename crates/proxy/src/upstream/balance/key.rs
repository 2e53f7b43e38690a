//! What of a request its endpoint depends on.

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use model::policy::{self, Algorithm, HashKey};
use model::{Policy, maglev};

use super::token;
use crate::headers::{Name, RequestHead};

/// What of a request its endpoint depends on, if it is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    /// Of consistent hashing.
    pub(crate) hash: Option<u64>,
    /// What the affinity cookie calls the endpoint.
    pub(crate) name: Option<u64>,
    /// Of a session of datagrams: where the policy leaves the choice to us, it depends on this
    /// alone.
    pub(crate) flow: Option<u64>,
    /// What sessions of this backend have in common, where they are spread anew when endpoints
    /// change.
    pub(crate) mark: Option<u32>,
}

/// Reads what the policy asks for, which for most is nothing. `affinity` is the rule's own, `text`
/// what a text with variables comes to.
pub(crate) fn keys(
    policy: &Policy,
    affinity: Option<&policy::Affinity>,
    request: &RequestHead,
    client: Option<IpAddr>,
    text: Option<u64>,
) -> Keys {
    let hash = match &policy.algorithm {
        Algorithm::Hash(HashKey::Text(_))
        | Algorithm::Subset {
            key: HashKey::Text(_),
            ..
        } => text,
        Algorithm::Hash(key) | Algorithm::Subset { key, .. } => hash(key, request, client),
        _ => None,
    };
    let affinity = affinity.or(policy.affinity.as_ref());
    let name = affinity.and_then(|affinity| session(affinity, request));
    Keys {
        hash,
        name,
        flow: None,
        mark: None,
    }
}

/// The same of a connection that is passed on, of which only the client is known.
pub(crate) fn stream_keys(policy: &Policy, client: IpAddr) -> Keys {
    let hash = match policy.algorithm {
        Algorithm::Hash(HashKey::Source) => Some(of_address(client)),
        _ => None,
    };
    Keys {
        hash,
        ..Keys::default()
    }
}

/// The same of a session of datagrams, of which [`flow`] is known, too.
pub(crate) fn flow_keys(policy: &Policy, client: IpAddr, flow: u64) -> Keys {
    Keys {
        flow: Some(flow),
        ..stream_keys(policy, client)
    }
}

/// A session of datagrams by its four-tuple: the same in every process and on every machine.
pub(crate) fn flow(client: SocketAddr, local: Option<IpAddr>, port: u16) -> u64 {
    let local = local.map_or(0, of_address);
    maglev::mix(of_socket(client) ^ maglev::mix(local ^ u64::from(port)))
}

/// An address with its port.
pub(super) fn of_socket(address: SocketAddr) -> u64 {
    maglev::mix(of_address(address.ip()) ^ maglev::mix(u64::from(address.port()) + 1))
}

/// What a client that is to be known again calls its endpoint.
pub(crate) fn session(affinity: &policy::Affinity, request: &RequestHead) -> Option<u64> {
    let name = affinity.cookie.as_bytes();
    let value = match affinity.header {
        true => header(request, name),
        false => cookie(request, name),
    };
    token::read(affinity, value?, SystemTime::now)
}

fn hash(key: &HashKey, request: &RequestHead, client: Option<IpAddr>) -> Option<u64> {
    Some(match key {
        HashKey::Header(name) => maglev::hash(header(request, name.as_bytes())?),
        HashKey::Cookie(name) => maglev::hash(cookie(request, name.as_bytes())?),
        HashKey::Source => of_address(client?),
        HashKey::Uri => maglev::hash(request.target()),
        // Who knows what its variables stand for has put it together.
        HashKey::Text(_) => return None,
    })
}

fn of_address(client: IpAddr) -> u64 {
    match client {
        IpAddr::V4(address) => maglev::hash(&address.octets()),
        IpAddr::V6(address) => maglev::hash(&address.octets()),
    }
}

fn header<'a>(request: &'a RequestHead, name: &[u8]) -> Option<&'a [u8]> {
    if name.eq_ignore_ascii_case(b"host") {
        return Some(request.authority());
    }
    let mut fields = request.headers.iter();
    fields
        .find(|(_, field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, _, value)| value)
}

/// A cookie's value (RFC 6265, section 4.2.1; HTTP/2 may send several fields).
pub(crate) fn cookie<'a>(request: &'a RequestHead, name: &[u8]) -> Option<&'a [u8]> {
    let fields = request.headers.iter();
    fields
        .filter(|(token, field, _)| *token == Name::Other && field.eq_ignore_ascii_case(b"cookie"))
        .flat_map(|(_, _, value)| value.split(|&byte| byte == b';'))
        .find_map(|pair| {
            let rest = pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"=")?;
            Some(
                rest.strip_prefix(b"\"")
                    .and_then(|rest| rest.strip_suffix(b"\""))
                    .unwrap_or(rest),
            )
        })
}

/// The same whatever the case of its name is (nginx: `$cookie_name`).
pub(crate) fn cookie_in_any_case<'a>(request: &'a RequestHead, name: &[u8]) -> Option<&'a [u8]> {
    let fields = request.headers.iter();
    fields
        .filter(|(token, field, _)| *token == Name::Other && field.eq_ignore_ascii_case(b"cookie"))
        .flat_map(|(_, _, value)| value.split(|&byte| byte == b';'))
        .find_map(|pair| value_in_any_case(pair, name))
}

/// The value of one `name=value` among cookies, if the name is the one, in any case.
pub(crate) fn value_in_any_case<'a>(pair: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (own, value) = pair.trim_ascii().split_at_checked(name.len())?;
    let value = value.strip_prefix(b"=")?;
    own.eq_ignore_ascii_case(name).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Version;

    fn request(fields: &[(&str, &str)]) -> RequestHead {
        let mut request = RequestHead::default();
        request.start(Version::Http11, b"GET", b"/a?b");
        for (name, value) in fields {
            request.headers.push(name.as_bytes(), value.as_bytes());
        }
        request
    }

    #[test]
    fn a_cookie_is_found_among_others_by_its_whole_name() {
        let request = request(&[("Cookie", "xa=0; aa=1;  a=7; a=8"), ("cookie", "b=\"9\"")]);
        let value = |name: &[u8]| cookie(&request, name).map(<[u8]>::to_vec);
        assert_eq!(value(b"a"), Some(b"7".to_vec()));
        assert_eq!(value(b"b"), Some(b"9".to_vec()));
        assert_eq!(value(b"c"), None);
    }

    #[test]
    fn keys_are_read_from_where_the_policy_says() {
        let request = request(&[("X-User", "kim"), ("Cookie", "s=1; at=00ff")]);
        let client = Some(IpAddr::from([192, 0, 2, 1]));
        let hashed = |key: HashKey| hash(&key, &request, client);
        assert_eq!(
            hashed(HashKey::Header("x-user".into())),
            Some(maglev::hash(b"kim"))
        );
        assert_eq!(hashed(HashKey::Header("x-other".into())), None);
        assert_eq!(
            hashed(HashKey::Cookie("s".into())),
            Some(maglev::hash(b"1"))
        );
        assert_eq!(hashed(HashKey::Uri), Some(maglev::hash(b"/a?b")));
        assert_eq!(hashed(HashKey::Source), Some(maglev::hash(&[192, 0, 2, 1])));
        let policy = Policy {
            affinity: Some(policy::Affinity {
                cookie: "at".into(),
                header: false,
                max_age: std::time::Duration::from_secs(60),
                absolute: std::time::Duration::ZERO,
                key: "".into(),
                cookie_terms: None,
            }),
            ..Policy::default()
        };
        let expected = Keys {
            name: Some(255),
            ..Keys::default()
        };
        assert_eq!(keys(&policy, None, &request, client, None), expected);
        let of_none = keys(&Policy::default(), None, &request, client, None);
        assert_eq!(of_none, Keys::default());
        let affinity = policy.affinity.as_ref().expect("just set");
        // A rule's own goes before the backend's.
        let own = policy::Affinity {
            cookie: "X-Session".into(),
            header: true,
            ..affinity.clone()
        };
        assert_eq!(keys(&policy, Some(&own), &request, client, None), of_none);
        let mut request = request;
        request.headers.push(b"x-session", b"00000000000000fe");
        assert_eq!(
            keys(&policy, Some(&own), &request, client, None).name,
            Some(254)
        );
    }
}
