//! Rules: what is matched, and what is done.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;

/// One path of one host, and what answers it.
#[derive(Debug)]
pub struct Rule {
    /// `namespace/name` of the object that the rule comes from, as logs show it.
    pub route: Box<str>,
    /// Where in that object, as `spec.rules[0].http.paths[1]`, for people.
    pub field: Arc<str>,
    /// The path that it answers.
    pub path: PathMatch,
    /// Filters, in the order in which they run.
    pub filters: Box<[Filter]>,
    /// What answers.
    pub action: Action,
    /// Time limits towards the backend.
    pub timeouts: Arc<Timeouts>,
    /// The largest request body in bytes; 0 is no limit.
    pub max_body: u64,
}

/// How a rule's path is compared with a request's normalised path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathMatch {
    /// Byte for byte (Ingress `Exact`).
    Exact(Box<str>),
    /// By path element (Ingress `Prefix`); without its trailing slash, so `/` is the empty text.
    Prefix(Box<str>),
}

impl PathMatch {
    /// Whether this alone, without regard to other rules, matches `path`. The router must agree.
    pub fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => path == exact.as_bytes(),
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_bytes())
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/'),
        }
    }
}

impl std::fmt::Display for PathMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "Exact {path}"),
            Self::Prefix(path) if path.is_empty() => f.write_str("Prefix /"),
            Self::Prefix(path) => write!(f, "Prefix {path}"),
        }
    }
}

/// What answers a request.
#[derive(Debug, Clone)]
pub enum Action {
    /// A backend.
    Forward(Arc<Backend>),
    /// The built-in page for what nobody claims: 404.
    NotFound,
}

/// A step between routing and forwarding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Clients that came without TLS are sent to HTTPS.
    HttpsRedirect(HttpsRedirect),
}

/// Sends clients that came without TLS to HTTPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpsRedirect {
    /// The status, 308 by default.
    pub status: u16,
    /// The port to name in `Location`; 443 is left out.
    pub port: u16,
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
}
