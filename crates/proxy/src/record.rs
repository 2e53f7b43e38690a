//! What is known of one exchange when it has ended: the source of the access log and of metrics.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use model::Unavailable;
use model::endpoint::Failure;
use model::path::PathError;

use crate::upstream::tls::TlsFault;

/// The protocol version of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
    Http2,
    /// No HTTP: a connection that is passed on.
    Tcp,
    /// No HTTP: a session of datagrams.
    Udp,
}

impl Version {
    /// Whether it is one of HTTP.
    pub(crate) fn is_http(self) -> bool {
        !matches!(self, Self::Tcp | Self::Udp)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// Why an answer is ours and not the backend's, or what ended an exchange early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Nobody claims the host and path (404).
    NoRoute,
    /// The backend has no endpoint (503).
    Unavailable(Unavailable),
    /// The backend has as many requests as it may have (503).
    Overloaded,
    /// No connection to any endpoint that was tried (502).
    ConnectFailed,
    /// No connection in time (504).
    ConnectTimeout,
    /// No response in time (504).
    ResponseTimeout,
    /// The whole exchange took too long (504).
    RequestTimeout,
    /// Every connection has all the streams that it may have (503).
    UpstreamBusy,
    /// No TLS with the backend, or not with whom it should be (502).
    UpstreamTls(TlsFault),
    /// The backend closed before it answered (502).
    UpstreamClosed,
    /// The backend gave up the request (502), or its response.
    UpstreamReset,
    /// The backend speaks HTTP/2, in which there are no such tunnels (502).
    UpstreamUpgrade,
    /// The backend's response is no valid HTTP (502).
    UpstreamProtocol,
    /// The backend's response ended before its body did; the client's connection was cut.
    UpstreamTruncated,
    /// The request is no valid HTTP (400).
    BadRequest,
    /// The path cannot be read in one way (400).
    BadPath(PathError),
    /// The path means different routes to different readers (400).
    AmbiguousPath,
    /// There is no usable Host (400).
    BadHost,
    /// Head or field count over the limit (431).
    HeaderTooLarge,
    /// Request target over the limit (414).
    UriTooLong,
    /// Body over the limit (413).
    BodyTooLarge,
    /// The head did not arrive in time (408).
    HeaderTimeout,
    /// The body did not arrive in time (408).
    BodyTimeout,
    /// An expectation other than 100-continue (417).
    Expectation,
    /// A method that is not served: CONNECT, TRACE (405).
    Method,
    /// The request belongs on another connection (421).
    Misdirected,
    /// What an ACME server asked (200).
    AcmeChallenge,
    /// The host is for who shows a certificate, and none was shown (400).
    ClientCertificateMissing,
    /// The same, and one was shown that is not valid (400).
    ClientCertificateInvalid,
    /// The same, and it is somebody else's than the host is for (403).
    ClientCertificateDenied,
    /// Sent to HTTPS by a filter (308).
    HttpsRedirect,
    /// Sent elsewhere by a filter.
    Redirect,
    /// A browser's question whether it may ask (204, or 403).
    CorsPreflight,
    /// Whom the rule asks does not let it pass.
    AuthDenied,
    /// Whom the rule asks cannot be asked (403).
    AuthFailed,
    /// The rule refers to something that is not there or not allowed (500).
    InvalidBackend,
    /// What was to guard the rule is broken (503).
    Unguarded,
    /// The client asks more often than it may (503, or what the rule says).
    RequestLimit,
    /// The client has as many requests at once as it may have (503, or what the rule says).
    ConnectionLimit,
    /// The client's address is not one of those that may come (403).
    AddressDenied,
    /// The request says that it comes from who is not answered (403).
    Blocked,
    /// A name and a password are asked for (401).
    PasswordRequired,
    /// Another backend answers in the place of one that failed with this status.
    ErrorPage(u16),
    /// The rule itself says what the answer is.
    Returned,
    /// A connection that is passed on was silent for too long.
    IdleTimeout,
    /// The backend answered with a status that is followed by another attempt.
    UpstreamStatus(u16),
    /// The client went away before the end (499).
    ClientClosed,
    /// The client did not take the response in time.
    ClientWriteTimeout,
    /// The request would have been sent again, and a constraint on that forbids it (503).
    RetryBudget,
    /// The process ends, and begins no session any more.
    Draining,
}

impl Reason {
    /// What it tells against the endpoint, if anything.
    pub(crate) fn endpoints_fault(self) -> Option<Failure> {
        match self {
            Self::ConnectFailed
            | Self::ConnectTimeout
            | Self::UpstreamTls(_)
            | Self::UpstreamClosed => Some(Failure::Unreachable),
            Self::ResponseTimeout
            | Self::UpstreamProtocol
            | Self::UpstreamReset
            | Self::UpstreamTruncated => Some(Failure::Bad),
            _ => None,
        }
    }

    /// Whether no byte of the request was sent, for want of a connection.
    pub(crate) fn is_connect_error(self) -> bool {
        matches!(
            self,
            Self::ConnectFailed | Self::ConnectTimeout | Self::UpstreamTls(_)
        )
    }

    /// The word that the access log and the metrics show.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::Unavailable(why) => why.as_str(),
            Self::Overloaded => "backend_overloaded",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::ResponseTimeout => "response_timeout",
            Self::RequestTimeout => "request_timeout",
            Self::UpstreamBusy => "upstream_busy",
            Self::UpstreamTls(fault) => fault.as_str(),
            Self::UpstreamClosed => "upstream_closed",
            Self::UpstreamReset => "upstream_reset",
            Self::UpstreamUpgrade => "upstream_upgrade",
            Self::UpstreamProtocol => "upstream_protocol_error",
            Self::UpstreamTruncated => "upstream_truncated",
            Self::BadRequest => "bad_request",
            Self::BadPath(error) => error.as_str(),
            Self::AmbiguousPath => "path_ambiguous",
            Self::BadHost => "bad_host",
            Self::HeaderTooLarge => "header_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::BodyTooLarge => "body_too_large",
            Self::HeaderTimeout => "header_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::Expectation => "expectation_failed",
            Self::Method => "method_not_allowed",
            Self::Misdirected => "misdirected",
            Self::AcmeChallenge => "acme_challenge",
            Self::ClientCertificateMissing => "client_certificate_missing",
            Self::ClientCertificateInvalid => "client_certificate_invalid",
            Self::ClientCertificateDenied => "client_certificate_denied",
            Self::HttpsRedirect => "https_redirect",
            Self::Redirect => "redirect",
            Self::CorsPreflight => "cors_preflight",
            Self::AuthDenied => "auth_denied",
            Self::AuthFailed => "auth_failed",
            Self::InvalidBackend => "invalid_backend",
            Self::Unguarded => "guard_broken",
            Self::RequestLimit => "request_limit",
            Self::ConnectionLimit => "connection_limit",
            Self::AddressDenied => "address_denied",
            Self::Blocked => "blocked",
            Self::PasswordRequired => "password_required",
            Self::ErrorPage(_) => "error_page",
            Self::Returned => "returned",
            Self::IdleTimeout => "idle_timeout",
            Self::UpstreamStatus(_) => "upstream_status",
            Self::ClientClosed => "client_closed",
            Self::ClientWriteTimeout => "client_write_timeout",
            Self::RetryBudget => "retry_budget",
            Self::Draining => "draining",
        }
    }
}

/// One exchange, at its end. Texts that clients chose are unescaped here.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    /// The listener's configured port.
    pub(crate) port: u16,
    /// When the request's first byte was read.
    pub(crate) start: SystemTime,
    /// The client, behind trusted proxies.
    pub(crate) client: IpAddr,
    pub(crate) method: &'a [u8],
    pub(crate) host: &'a [u8],
    /// The request target as the client sent it, with its query.
    pub(crate) target: &'a [u8],
    pub(crate) version: Version,
    /// The TLS version, as `TLSv1.3`.
    pub(crate) tls: Option<&'static str>,
    /// The status sent, 0 if none was.
    pub(crate) status: u16,
    pub(crate) reason: Option<Reason>,
    /// `namespace/name` of the Ingress or the route, empty if none.
    pub(crate) route: &'a str,
    /// `namespace/service:port`, empty if none.
    pub(crate) backend: &'a str,
    pub(crate) endpoint: Option<SocketAddr>,
    /// Attempts at an endpoint, 0 if the answer is ours.
    pub(crate) attempts: u8,
    pub(crate) duration: Duration,
    /// From the request's being sent upstream to the end of the response head.
    pub(crate) upstream: Option<Duration>,
    /// Bytes of the request's body.
    pub(crate) bytes_in: u64,
    /// Bytes of the response's body.
    pub(crate) bytes_out: u64,
    pub(crate) request_id: &'a [u8],
    pub(crate) user_agent: &'a [u8],
    pub(crate) referer: &'a [u8],
    /// The metrics slot of the virtual host.
    pub(crate) host_slot: u16,
    /// Whether there is to be no line in the log.
    pub(crate) unlogged: bool,
}
