//! By what a client is known again: the session in its cookie or header field.
//!
//! It calls the endpoint by a name that tells nothing of it. Where sessions end after a time
//! (GEP-1619: `absoluteTimeout`), it also has the time of its beginning, and an HMAC of both, so that
//! no client has a longer one: `<name>.<milliseconds>.<mac>`, in hexadecimal.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::policy::{Affinity, CookieTerms, SameSite};
use model::{PathMatch, maglev};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::tls13::OkmBlock;

use crate::date::http_date;

/// By how much the clocks of two replicas may differ.
const SKEW: Duration = Duration::from_secs(60);

/// How much of an HMAC there is.
const MAC: usize = 16;

/// By what a response has its client be known again.
pub(crate) struct Token<'a> {
    pub(crate) policy: &'a Affinity,
    /// What it calls the endpoint.
    pub(crate) name: u64,
    /// When the session begins.
    pub(crate) now: SystemTime,
    /// The paths that it is for.
    pub(crate) path: Option<&'a PathMatch>,
    /// Whether the client came with TLS.
    pub(crate) secure: bool,
    /// The client's browser, as it calls itself.
    pub(crate) user_agent: &'a [u8],
}

impl Token<'_> {
    /// The name of the response's field.
    pub(crate) fn field(&self) -> &str {
        match self.policy.header {
            true => &self.policy.cookie,
            false => "Set-Cookie",
        }
    }

    /// Its value.
    pub(crate) fn value(&self) -> Vec<u8> {
        let Self { policy, name, .. } = self;
        let mut session = format!("{name:016x}");
        if !policy.absolute.is_zero() {
            let begun = since_epoch(self.now);
            let mac = mac(policy, *name, begun);
            session += &format!(".{begun:x}.{mac:032x}");
        }
        if policy.header {
            return session.into_bytes();
        }
        if let Some(terms) = &policy.cookie_terms {
            return self.cookie(terms, &session).into_bytes();
        }
        let path = self.path.map_or("/", cookie_path);
        let mut text = format!("{}={session}; Path={path}; HttpOnly", policy.cookie);
        if !policy.max_age.is_zero() {
            // Never less than there is; what is too late, we tell.
            let seconds = policy.max_age.as_millis().div_ceil(1000);
            text += &format!("; Max-Age={seconds}");
        }
        if self.secure {
            text += "; Secure";
        }
        text.into_bytes()
    }

    /// The cookie as ingress-nginx writes it, in the order of its attributes.
    fn cookie(&self, terms: &CookieTerms, session: &str) -> String {
        let mut text = format!("{}={session}", self.policy.cookie);
        if let Some(seconds) = terms.expires {
            text += &format!("; Expires={}", cookie_time(self.now, seconds));
        }
        if let Some(seconds) = terms.max_age {
            text += &format!("; Max-Age={seconds}");
        }
        if let Some(domain) = &terms.domain {
            text += &format!("; Domain={domain}");
        }
        let own = || match self.path {
            // Other paths may make patterns of plain ones, which then match as they did.
            Some(PathMatch::Pattern(path)) if is_plain(path.as_str()) => path.as_str(),
            path => path.map_or("/", cookie_path),
        };
        text += &format!("; Path={}", terms.path.as_deref().unwrap_or_else(own));
        if terms.secure || self.secure {
            text += "; Secure";
        }
        text += "; HttpOnly";
        match terms.same_site {
            Some(SameSite::None)
                if terms.spare_old_browsers && misreads_same_site(self.user_agent) => {}
            Some(same_site) => text += &format!("; SameSite={}", same_site.as_str()),
            None => {}
        }
        text
    }
}

/// The time so many seconds from `now`, as `Expires` has it: `Thu, 18-Nov-10 11:27:35 GMT`.
fn cookie_time(now: SystemTime, seconds: i64) -> String {
    /// The end of the year 9999: browsers understand nothing later.
    const LATEST: u64 = 253_402_300_799;
    let now = since_epoch(now) / 1000;
    let at = now.saturating_add_signed(seconds).min(LATEST);
    let text = http_date(at);
    // As `Thu, 18 Nov 2010 11:27:35 GMT`, whose places are all the same.
    match (text.get(..7), text.get(8..11), text.get(14..)) {
        (Some(day), Some(month), Some(rest)) => format!("{day}-{month}-{rest}"),
        _ => text,
    }
}

/// Whether a browser is one of those that take `SameSite=None` for another word, or refuse the
/// cookie (Chromium: "SameSite=None: Known Incompatible Clients"; ingress-nginx's choice of them).
fn misreads_same_site(user_agent: &[u8]) -> bool {
    let has = |text: &[u8]| memchr::memmem::find(user_agent, text).is_some();
    let old: [&[u8]; 5] = [
        b"Chrome/4",
        b"Chrome/5",
        b"Chrome/6",
        b"CPU iPhone OS 12",
        b"iPad; CPU OS 12",
    ];
    let mojave = || {
        let all: [&[u8]; 3] = [b"Macintosh", b"Intel Mac OS X 10_14", b"Safari"];
        all.iter().all(|text| has(text)) && !has(b"Chrome")
    };
    old.iter().any(|text| has(text)) || mojave()
}

/// What a session calls its endpoint; none if it is not ours, or over.
pub(super) fn read(
    policy: &Affinity,
    value: &[u8],
    now: impl FnOnce() -> SystemTime,
) -> Option<u64> {
    if policy.is_balanced() {
        return key(value);
    }
    let text = str::from_utf8(value).ok()?;
    if policy.absolute.is_zero() {
        return u64::from_str_radix(text, 16).ok();
    }
    let mut parts = text.split('.');
    let (name, begun, mac) = (parts.next()?, parts.next()?, parts.next()?);
    let name = u64::from_str_radix(name, 16).ok()?;
    let begun = u64::from_str_radix(begun, 16).ok()?;
    let mac = u128::from_str_radix(mac, 16).ok()?;
    let now = since_epoch(now());
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let age = now.saturating_sub(begun);
    let is_fresh = age < millis(policy.absolute) && begun <= now.saturating_add(millis(SKEW));
    let is_ours = || constant_time_eq(mac, self::mac(policy, name, begun));
    (parts.next().is_none() && is_fresh && is_ours()).then_some(name)
}

/// What decides by itself where a session is; anything does, as in ingress-nginx.
fn key(value: &[u8]) -> Option<u64> {
    let text = str::from_utf8(value).ok();
    let own = text.filter(|text| text.len() == 16);
    let own = own.and_then(|text| u64::from_str_radix(text, 16).ok());
    let other = || (!value.is_empty()).then(|| maglev::hash(value));
    own.or_else(other)
}

fn since_epoch(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// HMAC-SHA-256 (RFC 2104), cut to its first half.
fn mac(policy: &Affinity, name: u64, begun: u64) -> u128 {
    let message = [name.to_be_bytes(), begun.to_be_bytes()].concat();
    // The suite is one of TLS 1.3, whose hash is SHA-256.
    let Some(suite) = TLS13_AES_128_GCM_SHA256.tls13() else {
        return 0;
    };
    // As HMAC does with keys that are longer than a block, and here with all.
    let key = suite.common.hash_provider.hash(policy.key.as_bytes());
    let key = OkmBlock::new(key.as_ref());
    let tag = suite.hkdf_provider.hmac_sign(&key, &message);
    let mut first = [0; MAC];
    first.copy_from_slice(&tag.as_ref()[..MAC]);
    u128::from_be_bytes(first)
}

/// Tells not how much of it is right by how long it takes: there is one comparison.
fn constant_time_eq(one: u128, two: u128) -> bool {
    std::hint::black_box(one ^ two) == 0
}

/// The paths that browsers send a cookie with (GEP-1619, "Path"). All, where what matches is none
/// that a cookie can have.
fn cookie_path(path: &PathMatch) -> &str {
    let path = match path {
        PathMatch::Exact(path) | PathMatch::Prefix(path) => &**path,
        PathMatch::Pattern(_) => "",
    };
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b';';
    match path.starts_with('/') && path.bytes().all(plain) {
        true => path,
        false => "/",
    }
}

/// Whether a pattern is only what it says.
fn is_plain(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-~%".contains(&byte);
    path.starts_with('/') && path.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(absolute: u64) -> Affinity {
        Affinity {
            cookie: "at".into(),
            header: true,
            max_age: Duration::ZERO,
            absolute: Duration::from_millis(absolute),
            key: "secret".into(),
            cookie_terms: None,
        }
    }

    fn token(policy: &Affinity, now: SystemTime) -> Token<'_> {
        Token {
            policy,
            name: 255,
            now,
            path: None,
            secure: false,
            user_agent: b"",
        }
    }

    #[test]
    fn a_session_is_honoured_until_its_time_is_over_and_no_longer() {
        let begin = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let limited = policy(1500);
        let value = token(&limited, begin).value();
        let at = |millis| read(&limited, &value, || begin + Duration::from_millis(millis));
        assert_eq!((at(0), at(1499)), (Some(255), Some(255)));
        assert_eq!((at(1500), at(1_000_000)), (None, None));
        // Another replica's clock may be behind, and not by much.
        let before = |seconds| read(&limited, &value, || begin - Duration::from_secs(seconds));
        assert_eq!((before(59), before(61)), (Some(255), None));
    }

    #[test]
    fn nothing_of_a_session_can_be_changed() {
        let begin = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let limited = policy(1500);
        let value = token(&limited, begin).value();
        for index in 0..value.len() {
            let mut changed = value.clone();
            changed[index] = if changed[index] == b'1' { b'2' } else { b'1' };
            assert_eq!(read(&limited, &changed, || begin), None, "{index}");
        }
        let other = Affinity {
            key: "another".into(),
            ..limited.clone()
        };
        assert_eq!(read(&other, &value, || begin), None);
        for wrong in ["", "ff", "ff.1", "ff.1.2", "x.1.2", "ff.1.2.3"] {
            assert_eq!(read(&limited, wrong.as_bytes(), || begin), None, "{wrong}");
        }
        // One without a time is good where there is no limit, and only there.
        let unlimited = policy(0);
        assert_eq!(read(&unlimited, b"ff", || begin), Some(255));
        assert_eq!(read(&unlimited, &value, || begin), None);
    }

    #[test]
    fn cookies_are_for_the_rules_paths() {
        let path = |path: PathMatch| cookie_path(&path).to_owned();
        assert_eq!(path(PathMatch::Prefix("/a/b".into())), "/a/b");
        assert_eq!(path(PathMatch::Exact("/x".into())), "/x");
        assert_eq!(path(PathMatch::Prefix("".into())), "/");
        assert_eq!(path(PathMatch::Exact("/a;b".into())), "/");
        let limited = Affinity {
            header: false,
            max_age: Duration::from_millis(1500),
            ..policy(0)
        };
        let prefix = PathMatch::Prefix("/a".into());
        let token = Token {
            path: Some(&prefix),
            secure: true,
            ..token(&limited, UNIX_EPOCH)
        };
        let value = "at=00000000000000ff; Path=/a; HttpOnly; Max-Age=2; Secure";
        assert_eq!(token.value(), value.as_bytes());
    }

    #[test]
    fn ingress_nginxs_cookies_have_its_attributes_in_its_order() {
        let terms = CookieTerms {
            expires: Some(60),
            max_age: Some(120),
            domain: Some("a.example".into()),
            same_site: Some(SameSite::None),
            spare_old_browsers: true,
            ..CookieTerms::default()
        };
        let policy = Affinity {
            header: false,
            cookie_terms: Some(Box::new(terms)),
            ..policy(0)
        };
        let now = UNIX_EPOCH + Duration::from_secs(1_290_079_595);
        let prefix = PathMatch::Prefix("/a".into());
        let token = Token {
            path: Some(&prefix),
            ..token(&policy, now)
        };
        let common = "at=00000000000000ff; Expires=Thu, 18-Nov-10 11:27:35 GMT; Max-Age=120; \
                      Domain=a.example; Path=/a; HttpOnly";
        let value = |token: &Token<'_>| String::from_utf8(token.value()).expect("text");
        assert_eq!(value(&token), format!("{common}; SameSite=None"));
        let old = Token {
            user_agent: b"Mozilla/5.0 (X11) Chrome/51.0 Safari/537",
            ..token
        };
        assert_eq!(value(&old), common);
    }
}
