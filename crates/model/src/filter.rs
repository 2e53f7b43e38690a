//! Filters: what is done to a request before it is forwarded, and to its response.

pub mod access;
pub mod error_pages;
pub mod ingress_cors;
pub mod limit;
pub mod mirror_to;
pub mod response_rewrite;
pub mod snippet;

use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;
use crate::condition::Pattern;
use crate::text::Text;

pub mod send;
mod substitute;

pub use send::Send;
pub use substitute::Substitute;

pub use access::Access;
pub use error_pages::ErrorPages;
pub use ingress_cors::IngressCors;
pub use limit::{ClientLimits, Pace};
pub use mirror_to::MirrorTo;
pub use response_rewrite::ResponseRewrite;
pub use snippet::Snippet;

/// A step between routing and forwarding, or one on the way back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Clients that came without TLS are sent to HTTPS.
    HttpsRedirect(HttpsRedirect),
    /// Header fields of the request.
    RequestHeaders(Box<HeaderEdit>),
    /// Header fields of the response.
    ResponseHeaders(Box<HeaderEdit>),
    /// The client is sent elsewhere.
    Redirect(Box<Redirect>),
    /// The request goes on with another host or path.
    Rewrite(Box<Rewrite>),
    /// A copy of the request goes to another backend, whose response nobody reads.
    Mirror(Box<Mirror>),
    /// Scripts of other origins (Fetch standard, CORS protocol).
    Cors(Box<Cors>),
    /// Somebody else decides whether the request may pass.
    Auth(Box<ExternalAuth>),
    /// Responses are compressed for clients that take it.
    Compress(Arc<Compression>),
    /// One client does not ask too often, nor too much at once (ingress-nginx).
    Limit(Arc<ClientLimits>),
    /// Responses go out no quicker than this (ingress-nginx).
    Pace(Box<Pace>),
    /// Not everybody comes in (ingress-nginx).
    Access(Arc<Access>),
    /// Scripts of other origins, as ingress-nginx tells of them.
    IngressCors(Arc<IngressCors>),
    /// Somebody else answers in the place of a backend that fails.
    ErrorPages(Arc<ErrorPages>),
    /// What responses say of where things are.
    ResponseRewrite(Arc<ResponseRewrite>),
    /// A copy of the request goes somewhere else, whose response nobody reads.
    MirrorTo(Arc<MirrorTo>),
    /// What snippets of nginx's configuration say.
    Snippet(Arc<Snippet>),
    /// The client is sent where a text says.
    Send(Box<Send>),
    /// The request goes on with a path that a text says.
    Substitute(Box<Substitute>),
    /// The request goes on with the host that a text says (nginx: `proxy_set_header Host`).
    UpstreamHost(Box<Text>),
}

/// Sends clients that came without TLS to HTTPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpsRedirect {
    /// The status, 308 by default.
    pub status: u16,
    /// The port to name in `Location`; 443 is left out.
    pub port: u16,
    /// What follows host and port in `Location`.
    pub target: RedirectTarget,
}

/// What follows host and port in the `Location` of a redirect to HTTPS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RedirectTarget {
    /// The path as it is routed, and the query.
    #[default]
    Normalised,
    /// The request's target as it was sent (nginx: `$request_uri`).
    Sent {
        /// Whether a slash that it ends in stays (ingress-nginx: `preserve-trailing-slash`).
        keeps_slash: bool,
        /// Whether port 443 is named, too (ingress-nginx: `use-port-in-redirects`).
        names_port: bool,
    },
}

/// Changes to header fields (Gateway API: HTTPHeaderFilter), in this order: taken out, put in place
/// of what there is, added to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdit {
    /// Names to take out, in any case.
    pub remove: Box<[Box<str>]>,
    /// Names and values that take the place of what there is.
    pub set: Box<[(Box<str>, Box<str>)]>,
    /// Names and values that come after what there is.
    pub add: Box<[(Box<str>, Box<str>)]>,
}

/// Sends the client elsewhere (Gateway API: HTTPRequestRedirectFilter).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`; none is the request's own.
    pub scheme: Option<Box<str>>,
    /// None is the request's own, without its port.
    pub host: Option<Box<str>>,
    /// None is the request's own.
    pub path: Option<PathEdit>,
    /// None is the well-known one of `scheme`, if there is one, else the listener's. The port that
    /// the scheme means by itself is left out of `Location`.
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// Another path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathEdit {
    /// In place of the whole path.
    Full(Box<str>),
    /// In place of the prefix that the rule has matched, and of that only. The rule's path is a
    /// [`PathMatch::Prefix`](crate::PathMatch::Prefix).
    Prefix(Box<str>),
}

/// Another host or path for the backend (Gateway API: HTTPURLRewriteFilter).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// In place of the Host field.
    pub host: Option<Box<str>>,
    /// In place of the path.
    pub path: Option<PathEdit>,
}

/// A copy of the request for another backend (Gateway API: HTTPRequestMirrorFilter).
#[derive(Debug, Clone)]
pub struct Mirror {
    /// Who gets it.
    pub backend: Arc<Backend>,
    /// Of `denominator` requests, so many are copied.
    pub numerator: u32,
    /// At least 1.
    pub denominator: u32,
}

impl PartialEq for Mirror {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.backend, &other.backend)
            && (self.numerator, self.denominator) == (other.numerator, other.denominator)
    }
}

impl Eq for Mirror {}

/// What scripts of other origins may do (Gateway API: HTTPCORSFilter; Fetch standard).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// From where.
    pub origins: Box<[OriginMatch]>,
    /// Methods beyond those that need no permission; `*` is all.
    pub methods: Box<[Box<str>]>,
    /// Request header fields beyond those that need no permission; `*` is all.
    pub headers: Box<[Box<str>]>,
    /// Response header fields that scripts may read; `*` is all.
    pub expose: Box<[Box<str>]>,
    /// How long a permission may be remembered, in seconds.
    pub max_age: u32,
    /// Whether cookies and the like may be sent.
    pub credentials: bool,
}

/// An origin or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginMatch {
    /// Every origin (`*`).
    Any,
    /// This one, as `https://example.com:8443`, in lower case.
    Exact(Box<str>),
    /// `scheme://*.suffix[:port]`: what is before and after the asterisk, which stands for at least
    /// one character, any number of labels.
    Wildcard {
        /// As `https://`.
        before: Box<str>,
        /// As `.example.com:8443`.
        after: Box<str>,
    },
}

impl OriginMatch {
    /// Whether an `Origin` field's value is meant.
    pub fn matches(&self, origin: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => origin.eq_ignore_ascii_case(exact.as_bytes()),
            Self::Wildcard { before, after } => {
                let (before, after) = (before.as_bytes(), after.as_bytes());
                let Some(labels) = origin.len().checked_sub(before.len() + after.len()) else {
                    return false;
                };
                let (start, rest) = origin.split_at(before.len());
                let (middle, end) = rest.split_at(labels);
                !middle.is_empty()
                    && middle
                        .iter()
                        .all(|byte| !matches!(byte, b'/' | b':' | b'@'))
                    && start.eq_ignore_ascii_case(before)
                    && end.eq_ignore_ascii_case(after)
            }
        }
    }
}

/// Somebody who decides whether a request may pass (GEP-1494).
#[derive(Debug, Clone)]
pub struct ExternalAuth {
    /// Who.
    pub backend: Arc<Backend>,
    /// How it is asked.
    pub protocol: AuthProtocol,
    /// How many bytes of the body it is shown; 0 is none.
    pub body: u32,
    /// How long it may take.
    pub timeout: Duration,
}

impl PartialEq for ExternalAuth {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.backend, &other.backend)
            && self.protocol == other.protocol
            && (self.body, self.timeout) == (other.body, other.timeout)
    }
}

impl Eq for ExternalAuth {}

/// How an authorisation server is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthProtocol {
    /// Envoy's `envoy.service.auth.v3.Authorization/Check`.
    Grpc {
        /// The request header fields that it is shown, in lower case; none is all.
        headers: Box<[Box<str>]>,
    },
    /// A request with the client's own method and path; 200 lets it pass.
    Http {
        /// What its path begins with.
        path: Box<str>,
        /// The request header fields that it is shown besides Host, Method, Path, Content-Length
        /// and Authorization, in lower case.
        headers: Box<[Box<str>]>,
        /// Fields of its response that the request gets, in lower case.
        response_headers: Box<[Box<str>]>,
    },
}

/// How responses are compressed for clients that take it (RFC 9110, section 12.5.3). Of several
/// codings that a client takes, the first in this order is used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compression {
    /// `br` (RFC 7932).
    pub brotli: Option<Coding>,
    /// `zstd` (RFC 8878).
    pub zstd: Option<Coding>,
    /// `gzip` (RFC 1952).
    pub gzip: Option<Coding>,
    /// Clients that are sent no gzip, whatever they take (ingress-nginx: `gzip-disable`).
    pub not_gzip: Option<Agents>,
}

/// Clients by what their User-Agent says (nginx: `gzip_disable`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agents {
    /// Internet Explorer 4 to 6, but for 6 with the service pack that mended it (`msie6`).
    OldExplorers,
    /// Those that match.
    Matching(Pattern),
}

impl Agents {
    /// Whether a client is one of them.
    pub fn has(&self, agent: &[u8]) -> bool {
        let Self::Matching(pattern) = self else {
            let find = |what: &[u8]| agent.windows(what.len()).position(|at| at == what);
            let Some(at) = find(b"MSIE ") else {
                return false;
            };
            return match agent.get(at + 5..at + 7) {
                Some(b"4." | b"5.") => true,
                Some(b"6.") => find(b"SV1").is_none(),
                _ => false,
            };
        };
        pattern.is_match(agent)
    }
}

/// What is compressed in a way, and how much work it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coding {
    /// The library's own measure: from 1 to 9 for gzip, to 11 for brotli, to 19 for zstd.
    pub level: u8,
    /// Responses that say that they are shorter, in bytes, are left alone.
    pub least: u64,
    /// Types of content in lower case, without parameters; `*` is all.
    pub types: Box<[Box<str>]>,
}

impl Coding {
    /// Whether content of a type is compressed: the value of a Content-Type field.
    pub fn takes(&self, content_type: &[u8]) -> bool {
        let end = content_type.iter().position(|byte| b"; \t".contains(byte));
        let content_type = &content_type[..end.unwrap_or(content_type.len())];
        let mut types = self.types.iter();
        types.any(|known| **known == *"*" || known.as_bytes().eq_ignore_ascii_case(content_type))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_matched_as_a_whole() {
        let wildcard = OriginMatch::Wildcard {
            before: "https://".into(),
            after: ".example.com".into(),
        };
        for (origin, matches) in [
            ("https://a.example.com", true),
            ("https://a.b.Example.com", true),
            ("https://.example.com", false),
            ("http://a.example.com", false),
            ("https://example.com", false),
            ("https://evil.com/.example.com", false),
            ("https://evil.com:80.example.com", false),
            ("", false),
        ] {
            assert_eq!(wildcard.matches(origin.as_bytes()), matches, "{origin}");
        }
        let exact = OriginMatch::Exact("https://example.com".into());
        assert!(exact.matches(b"https://Example.com"));
        assert!(!exact.matches(b"https://example.com:444"));
    }
}
