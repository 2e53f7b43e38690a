//! Who may come in: by address, by name and password, or because somebody else says so
//! (ingress-nginx: lists of ranges, `auth-type`, `auth-url`, `satisfy`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use crate::address::AddressSet;
use crate::backend::Backend;
use crate::filter::snippet::Snippet;
use crate::text::Text;

/// What a client has to be or to have to come in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Whether one of them is enough (`satisfy: any`).
    pub any: bool,
    /// Who may not come, whatever else is said (`denylist-source-range`).
    pub deny: AddressSet,
    /// Who may come, and nobody else (`allowlist-source-range`).
    pub allow: Option<AddressSet>,
    /// Names and passwords (`auth-type`).
    pub password: Option<Arc<Password>>,
    /// Who is asked (`auth-url`).
    pub external: Option<Arc<AuthRequest>>,
}

/// Names and passwords.
#[derive(Debug, PartialEq, Eq)]
pub struct Password {
    /// What people are told that the password is for, in characters that need no escape.
    pub realm: Box<str>,
    /// How passwords are sent.
    pub scheme: PasswordScheme,
    /// Who there is.
    pub users: Users,
}

/// How passwords are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordScheme {
    /// As they are (RFC 7617).
    Basic,
    /// As digests, with MD5 and quality `auth` (RFC 7616).
    Digest,
}

/// What is kept of each user's password: for [`PasswordScheme::Basic`] a hash as htpasswd writes
/// it, for [`PasswordScheme::Digest`] the hexadecimal MD5 of name, realm and password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Users(HashMap<Box<[u8]>, Box<[u8]>>);

impl Users {
    /// Takes one in; the first of a name stays.
    pub fn add(&mut self, name: &[u8], secret: &[u8]) {
        self.0.entry(name.into()).or_insert_with(|| secret.into());
    }

    /// What is kept of a user's password.
    pub fn secret(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.get(name).map(|secret| &**secret)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

// By hand, so that no hash can reach a log.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} users", self.0.len())
    }
}

/// Somebody who is asked by a request of our own, as nginx's `auth_request` does.
#[derive(Debug)]
pub struct AuthRequest {
    /// Who; where that is found for each request, only its name counts.
    pub backend: Arc<Backend>,
    /// Who, where the request says so.
    pub named: Option<Box<NamedHost>>,
    /// The Host field.
    pub host: Text,
    /// Path and query; none is what nginx calls the location.
    pub target: Option<Text>,
    /// None is GET (`auth-method`).
    pub method: Option<Box<str>>,
    /// What `X-Auth-Request-Redirect` says; none is the request's own target
    /// (`auth-request-redirect`).
    pub redirect: Option<Text>,
    /// Fields that are set besides (`auth-proxy-set-headers`).
    pub fields: Box<[(Box<str>, Text)]>,
    /// Fields of the answer that the request gets in the place of its own
    /// (`auth-response-headers`).
    pub response_headers: Box<[Box<str>]>,
    /// Whether clients get the answer's cookies with every status (`auth-always-set-cookie`).
    pub always_cookies: bool,
    /// Where clients are sent in the place of a 401 (`auth-signin`).
    pub signin: Option<Text>,
    /// Whether answers are remembered (`auth-cache-key`).
    pub cache: Option<AuthCache>,
    /// How long it may take.
    pub timeout: Duration,
    /// What is done to the question first (`auth-snippet`).
    pub snippet: Option<Box<Snippet>>,
}

/// A host that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedHost {
    /// The host, and perhaps a port.
    pub authority: Text,
    /// Whether it speaks TLS.
    pub tls: bool,
}

impl PartialEq for AuthRequest {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.backend, &other.backend)
            && self.named == other.named
            && self.host == other.host
            && self.target == other.target
            && self.method == other.method
            && self.redirect == other.redirect
            && self.fields == other.fields
            && self.response_headers == other.response_headers
            && self.always_cookies == other.always_cookies
            && self.signin == other.signin
            && self.cache == other.cache
            && self.timeout == other.timeout
            && self.snippet == other.snippet
    }
}

impl Eq for AuthRequest {}

/// How answers are remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthCache {
    /// What tells one request from another, besides host and path of the rule.
    pub key: Text,
    /// How long each status is good; the first that has it counts (`auth-cache-duration`).
    pub valid: Box<[Validity]>,
}

/// How long some statuses are good (nginx: `proxy_cache_valid`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    /// None is all.
    pub codes: Option<Box<[u16]>>,
    /// So long.
    pub time: Duration,
}

impl AuthCache {
    /// How long a status is good, if at all.
    pub fn validity(&self, status: u16) -> Option<Duration> {
        let has = |codes: &[u16]| codes.contains(&status);
        let valid = self.valid.iter().find(|valid| {
            let codes = valid.codes.as_ref();
            codes.is_none_or(|codes| has(codes))
        });
        valid.map(|valid| valid.time)
    }
}
