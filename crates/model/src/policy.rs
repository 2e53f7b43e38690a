//! How a backend's requests are spread over its endpoints.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::text::Text;

/// How a backend's requests are spread over its endpoints, and when one is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How an endpoint is chosen.
    pub algorithm: Algorithm,
    /// Whether clients stay with their endpoint.
    pub affinity: Option<Affinity>,
    /// The most requests at once, of the whole process; 0 is no limit.
    pub max_requests: u32,
    /// In how much time a new endpoint grows to its full share; zero is at once.
    pub slow_start: Duration,
    /// When failing endpoints are left out.
    pub ejection: Ejection,
    /// Whether endpoints are asked how they are.
    pub check: Option<Check>,
    /// When a request is sent again.
    pub retry: Retry,
    /// Whether each connection begins with who its client is.
    pub proxy_header: Option<ProxyHeader>,
}

/// The version of the PROXY protocol that endpoints expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// A line of text.
    V1,
    /// Bytes.
    V2,
}

impl Policy {
    /// What holds where nothing is said; one for all.
    pub fn shared_default() -> Arc<Self> {
        static DEFAULT: LazyLock<Arc<Policy>> = LazyLock::new(Arc::default);
        Arc::clone(&DEFAULT)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::P2c,
            affinity: None,
            max_requests: 0,
            slow_start: Duration::ZERO,
            ejection: Ejection::default(),
            check: None,
            retry: Retry::default(),
            proxy_header: None,
        }
    }
}

/// When a request is sent again to another endpoint, and how often at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The most endpoints that one request tries, from 1 to [`Self::MOST_ATTEMPTS`].
    pub attempts: u8,
    /// How long one attempt may take until the head of its response; zero is no limit of its own.
    pub per_try: Duration,
    /// What part of the requests may be sent again, in percent.
    pub budget: u8,
    /// And so many a second besides, by each worker.
    pub min_per_second: u16,
    /// Who asked for the budget.
    pub asked: Asked,
}

/// Who asked for a budget of retries, which decides whom it binds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Asked {
    /// Nobody: it is the process's. It binds retries that nobody asked for either, and no rule that
    /// says how often its requests are sent again ([`RouteRetry`]).
    #[default]
    Nobody,
    /// The Service, by its annotations. It binds all its requests.
    Service,
    /// An XBackendTrafficPolicy (`retryConstraint`). It binds all requests of the Service, and who
    /// is not sent again for it is answered 503 (GEP-3388).
    Constraint,
}

impl Retry {
    /// More attempts than this are not made, whatever is asked for.
    pub const MOST_ATTEMPTS: u8 = 8;

    /// A request that is sent once.
    pub const NONE: Self = Self {
        attempts: 1,
        per_try: Duration::ZERO,
        budget: 0,
        min_per_second: 0,
        asked: Asked::Nobody,
    };
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            per_try: Duration::ZERO,
            budget: 20,
            min_per_second: 10,
            asked: Asked::Nobody,
        }
    }
}

/// When a rule's requests are sent again (Gateway API: HTTPRouteRetry). It takes the place of the
/// backend's [`Retry`], but for the budget, if somebody asked for one ([`Asked`]): the API has none
/// where there is no `retryConstraint`, and does so often as the rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRetry {
    /// How often at the most, after the first attempt; 0 is never.
    pub attempts: u8,
    /// The statuses that are followed by another attempt, besides there being no response.
    pub codes: Box<[u16]>,
    /// The least time between two attempts.
    pub backoff: Duration,
    /// What else is followed by another attempt.
    pub on: RetryOn,
    /// How long after the first attempt began the last one may begin; zero is no limit
    /// (ingress-nginx: `proxy-next-upstream-timeout`).
    pub within: Duration,
}

/// What a rule has followed by another attempt, besides statuses (nginx: `proxy_next_upstream`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryOn {
    /// There is no connection, or it ends before the response.
    pub error: bool,
    /// There is no connection, or no response, in time.
    pub timeout: bool,
    /// The response is no HTTP.
    pub malformed: bool,
    /// Whether it holds for POST, LOCK and PATCH too, once they have been sent.
    pub non_idempotent: bool,
    /// Whether it holds, once they have been sent, for requests whose body went on as it came.
    pub streamed: bool,
}

impl RetryOn {
    /// Whatever the request is (Gateway API: HTTPRouteRetry).
    pub const ANY_REQUEST: Self = Self {
        error: true,
        timeout: true,
        malformed: false,
        non_idempotent: true,
        streamed: true,
    };

    /// What nginx does where nothing is said: `error timeout`.
    pub const NGINX: Self = Self {
        error: true,
        timeout: true,
        malformed: false,
        non_idempotent: false,
        streamed: false,
    };
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Algorithm {
    /// Of two at random, the one whose requests in flight would take less time.
    P2c,
    /// In turn.
    RoundRobin,
    /// The one with the fewest requests in flight.
    LeastRequest,
    /// By chance.
    Random,
    /// The same one for the same key, and few keys move when endpoints come and go.
    Hash(HashKey),
    /// By chance among the same few for the same key (ingress-nginx: `upstream-hash-by-subset`).
    Subset {
        /// The key.
        key: HashKey,
        /// How many they are, at least 1.
        size: u16,
    },
}

/// What requests have in common that go to the same endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The value of a header field.
    Header(Box<str>),
    /// The value of a cookie.
    Cookie(Box<str>),
    /// The client's address.
    Source,
    /// The request target, with its query.
    Uri,
    /// A text with variables in it (ingress-nginx: `upstream-hash-by`).
    Text(Arc<Text>),
}

/// What keeps a client with its endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affinity {
    /// The cookie's name, or the header field's.
    pub cookie: Box<str>,
    /// Whether it is a header field, which clients send back as it came (GEP-1619).
    pub header: bool,
    /// How long the browser keeps it; zero is until it is closed.
    pub max_age: Duration,
    /// How long a session lasts from its beginning, however the client keeps it; zero is without
    /// end. We tell by the token itself (Gateway API: `absoluteTimeout`).
    pub absolute: Duration,
    /// What endpoints' names in cookies are hashed with: the same in every replica, and unknown to
    /// clients, who shall neither learn addresses nor choose one.
    pub key: Box<str>,
    /// What ingress-nginx's annotations say besides.
    pub cookie_terms: Option<Box<CookieTerms>>,
}

/// What a session's cookie says, and how long a session holds (ingress-nginx: `session-cookie-…`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CookieTerms {
    /// The paths that it is for; none is the rule's own.
    pub path: Option<Box<str>>,
    /// The hosts that it is for; none is the request's.
    pub domain: Option<Box<str>>,
    /// `Expires`, in seconds from now.
    pub expires: Option<i64>,
    /// `Max-Age`, in seconds.
    pub max_age: Option<i64>,
    /// Whether other sites' pages send it.
    pub same_site: Option<SameSite>,
    /// Browsers that misread `SameSite=None` are not told it.
    pub spare_old_browsers: bool,
    /// `Secure`, even for clients that came without TLS.
    pub secure: bool,
    /// A session goes on elsewhere when a request of it fails; else it stays, come what may.
    pub moves_on_failure: bool,
    /// Sessions are spread anew when there are more endpoints, or fewer; else each stays where it
    /// is (`affinity-mode`).
    pub balanced: bool,
}

/// Whether pages of other sites send a cookie (RFC 6265bis, `SameSite`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// All may.
    None,
    /// Where the user goes from one to the other.
    Lax,
    /// Never.
    Strict,
}

impl SameSite {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Lax => "Lax",
            Self::Strict => "Strict",
        }
    }
}

impl Affinity {
    /// Whether a session stays with its endpoint even where that fails.
    pub fn stays(&self) -> bool {
        let terms = self.cookie_terms.as_ref();
        terms.is_some_and(|terms| !terms.moves_on_failure)
    }

    /// Whether sessions are spread anew when endpoints change.
    pub fn is_balanced(&self) -> bool {
        let terms = self.cookie_terms.as_ref();
        terms.is_some_and(|terms| terms.balanced)
    }
}

/// When a failing endpoint is left out (passive health).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// After so many failures in a row; 0 is never.
    pub failures: u32,
    /// Which statuses are failures, too.
    pub on: EjectOn,
    /// How long the first time; doubled with each further one.
    pub base: Duration,
    /// How long at most.
    pub longest: Duration,
}

/// Which of an endpoint's responses are failures, besides there being none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EjectOn {
    /// None.
    Errors,
    /// 502, 503 and 504.
    GatewayErrors,
    /// 500 and above.
    Any5xx,
}

impl Ejection {
    /// Whether a response of this status is a failure.
    pub fn is_failure(&self, status: u16) -> bool {
        match self.on {
            EjectOn::Errors => false,
            EjectOn::GatewayErrors => matches!(status, 502..=504),
            EjectOn::Any5xx => status >= 500,
        }
    }

    /// How long the `count`th ejection in a row lasts.
    pub(crate) fn length(&self, count: u32) -> Duration {
        let doubled = 1_u32.checked_shl(count.saturating_sub(1).min(20));
        self.base
            .saturating_mul(doubled.unwrap_or(1))
            .min(self.longest)
    }
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            failures: 5,
            on: EjectOn::GatewayErrors,
            base: Duration::from_secs(30),
            longest: Duration::from_secs(300),
        }
    }
}

/// How endpoints are asked how they are (active health).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What is asked.
    pub probe: Probe,
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// What each connection begins with.
    pub proxy_header: Option<ProxyHeader>,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// GET of this path; 200 to 399 is good.
    Http(Box<str>),
    /// A connection is good.
    Tcp,
    /// The gRPC health checking protocol (`grpc.health.v1.Health/Check`) over HTTP/2 without TLS;
    /// SERVING is good. The name of the service, empty for the server as a whole.
    Grpc(Box<str>),
}
