//! What of a request its endpoint depends on.

use std::net::IpAddr;

use model::policy::{self, Algorithm, HashKey};
use model::{Policy, maglev};

use crate::headers::{Name, RequestHead};

/// What of a request its endpoint depends on, if it is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    /// Of consistent hashing.
    pub(crate) hash: Option<u64>,
    /// What the affinity cookie calls the endpoint.
    pub(crate) name: Option<u64>,
}

/// Reads what the policy asks for, which for most is nothing.
pub(crate) fn keys(policy: &Policy, request: &RequestHead, client: Option<IpAddr>) -> Keys {
    let hash = match &policy.algorithm {
        Algorithm::Hash(key) => hash(key, request, client),
        _ => None,
    };
    let name = policy
        .affinity
        .as_ref()
        .and_then(|affinity| cookie(request, affinity.cookie.as_bytes()))
        .and_then(|value| u64::from_str_radix(str::from_utf8(value).ok()?, 16).ok());
    Keys { hash, name }
}

fn hash(key: &HashKey, request: &RequestHead, client: Option<IpAddr>) -> Option<u64> {
    Some(match key {
        HashKey::Header(name) => maglev::hash(header(request, name.as_bytes())?),
        HashKey::Cookie(name) => maglev::hash(cookie(request, name.as_bytes())?),
        HashKey::Source => match client? {
            IpAddr::V4(address) => maglev::hash(&address.octets()),
            IpAddr::V6(address) => maglev::hash(&address.octets()),
        },
        HashKey::Uri => maglev::hash(request.target()),
    })
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
fn cookie<'a>(request: &'a RequestHead, name: &[u8]) -> Option<&'a [u8]> {
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

/// The cookie that a response is to set.
pub(crate) struct Affinity<'a> {
    pub(crate) policy: &'a policy::Affinity,
    /// What it calls the endpoint.
    pub(crate) name: u64,
    /// Whether the client came with TLS.
    pub(crate) secure: bool,
}

impl Affinity<'_> {
    /// The value of Set-Cookie.
    pub(crate) fn set_cookie(&self) -> Vec<u8> {
        let Self {
            policy,
            name,
            secure,
        } = self;
        let mut text = format!("{}={name:016x}; Path=/; HttpOnly", policy.cookie);
        if !policy.max_age.is_zero() {
            text += &format!("; Max-Age={}", policy.max_age.as_secs());
        }
        if *secure {
            text += "; Secure";
        }
        text.into_bytes()
    }
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
                max_age: std::time::Duration::from_secs(60),
                key: "".into(),
            }),
            ..Policy::default()
        };
        let expected = Keys {
            hash: None,
            name: Some(255),
        };
        assert_eq!(keys(&policy, &request, client), expected);
        assert_eq!(keys(&Policy::default(), &request, client), Keys::default());
        let affinity = Affinity {
            policy: policy.affinity.as_ref().expect("just set"),
            name: 255,
            secure: true,
        };
        assert_eq!(
            affinity.set_cookie(),
            b"at=00000000000000ff; Path=/; HttpOnly; Max-Age=60; Secure"
        );
    }
}
