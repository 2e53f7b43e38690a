//! Rules: what is matched, and what is done.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;
use crate::condition::{Conditions, Pattern, RequestView};
use crate::filter::Filter;
use crate::policy::{Affinity, RouteRetry};
use crate::split::Split;
use crate::told::{Blocked, FieldNames, Told};
use crate::tracing::Traced;

/// One path of one host, and what answers it.
#[derive(Debug)]
pub struct Rule {
    /// `namespace/name` of the object that the rule comes from, as logs show it.
    pub route: Box<str>,
    /// Where in that object, as `spec.rules[0].http.paths[1]`, for people.
    pub field: Arc<str>,
    /// The path that it answers.
    pub path: PathMatch,
    /// What else a request has to be like.
    pub conditions: Option<Box<Conditions>>,
    /// Filters, in the order in which they run.
    pub filters: Box<[Filter]>,
    /// What answers.
    pub action: Action,
    /// Time limits towards the backend.
    pub timeouts: Arc<Timeouts>,
    /// The largest request body in bytes; 0 is no limit.
    pub max_body: u64,
    /// When requests are sent again, where the rule says so and not the backend.
    pub retry: Option<Arc<RouteRetry>>,
    /// What keeps clients with an endpoint, where the rule says so and not the backend.
    pub affinity: Option<Arc<Affinity>>,
    /// What few rules say.
    pub extras: Option<Arc<Extras>>,
}

/// What few rules say, and no request's way has to be another one for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    /// What `Strict-Transport-Security` tells clients that came with TLS, instead of what the
    /// process tells all (RFC 6797); the empty text is nothing.
    pub hsts: Option<Box<str>>,
    /// Whether requests keep the X-Request-ID that their client has chosen, whoever it is.
    pub keeps_request_id: bool,
    /// Whether backends are told X-Scheme, X-Forwarded-Scheme, and what the client itself has said
    /// of whom it forwards for, in X-Original-Forwarded-For; as ingress-nginx tells them.
    pub tells_more: bool,
    /// Whether clients are not told what server a backend is (the field Server).
    pub hides_server: bool,
    /// Whether clients are told that they are answered as nginx would (the field Server), where they
    /// are told nothing else.
    pub names_server: bool,
    /// Whether its requests have no line in the access log.
    pub unlogged: bool,
    /// Whether it is logged when a request goes on with another path.
    pub logs_rewrites: bool,
    /// How much of a request's body is read before any of it goes to a backend, in bytes; 0 is
    /// nothing (ingress-nginx: `proxy-request-buffering`).
    pub gather: u32,
    /// Backends are spoken to in HTTP/1.0 (ingress-nginx: `proxy-http-version`).
    pub http10: bool,
    /// What backends are told of the connection (ingress-nginx: `connection-proxy-header`).
    pub connection: Option<ConnectionHeader>,
    /// Which fields of requests go on.
    pub fields: FieldNames,
    /// What backends are told otherwise than by default, where `tells_more`.
    pub told: Option<Arc<Told>>,
    /// Whose requests are not answered.
    pub blocked: Option<Arc<Blocked>>,
    /// What texts are that a snippet says and nothing says the type of; none is `text/html`
    /// (ingress-nginx: `default-type`).
    pub default_type: Option<Box<str>>,
    /// Whether its requests are traced, and how.
    pub traced: Option<Arc<Traced>>,
}

impl Extras {
    /// Whether a backend is told, or takes it for granted, that its connection ends after a request.
    pub fn ends_connections(&self) -> bool {
        self.http10 || self.connection == Some(ConnectionHeader::Close)
    }
}

/// What the Connection field tells a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionHeader {
    /// `close`.
    Close,
    /// `keep-alive`.
    KeepAlive,
}

impl ConnectionHeader {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::KeepAlive => "keep-alive",
        }
    }
}

impl Rule {
    /// Whether a request meets all conditions.
    #[inline]
    pub fn holds(&self, request: &impl RequestView) -> bool {
        let conditions = self.conditions.as_ref();
        conditions.is_none_or(|conditions| conditions.hold(request))
    }
}

/// How a rule's path is compared with a request's normalised path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathMatch {
    /// Byte for byte (Ingress `Exact`).
    Exact(Box<str>),
    /// By path element (Ingress `Prefix`); without its trailing slash, so `/` is the empty text.
    Prefix(Box<str>),
    /// As a regular expression says, from its beginning (Gateway API `RegularExpression`).
    Pattern(Pattern),
}

impl PathMatch {
    /// Whether this alone, without regard to other rules, matches `path`. The router must agree.
    pub fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => path == exact.as_bytes(),
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_bytes())
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/'),
            Self::Pattern(pattern) => pattern.is_match(path),
        }
    }
}

impl std::fmt::Display for PathMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "Exact {path}"),
            Self::Prefix(path) if path.is_empty() => f.write_str("Prefix /"),
            Self::Prefix(path) => write!(f, "Prefix {path}"),
            Self::Pattern(pattern) if pattern.is_location() => {
                write!(f, "Pattern ~* ^{}", pattern.as_str())
            }
            Self::Pattern(pattern) => write!(f, "Pattern {}", pattern.as_str()),
        }
    }
}

/// What answers a request.
#[derive(Debug, Clone)]
pub enum Action {
    /// A backend.
    Forward(Arc<Backend>),
    /// One of several backends, or one with filters of its own.
    Split(Arc<Split>),
    /// Nobody: what it refers to is wrong, or not allowed. 500.
    Invalid,
    /// Nobody: what was to guard it is broken (ingress-nginx: location denied). 503.
    Denied,
    /// The built-in page for what nobody claims: 404.
    NotFound,
}

/// Time limits of a rule towards its backend; zero is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To establish a connection.
    pub connect: Duration,
    /// Between two writes of the request.
    pub send: Duration,
    /// Until the first byte of the response, then between two reads of it.
    pub read: Duration,
    /// The whole exchange.
    pub total: Duration,
    /// One attempt at a backend, from its beginning to the end of the response (Gateway API:
    /// `timeouts.backendRequest`).
    pub attempt: Duration,
}
