//! What the configuration says of the whole process, in the place of the command line
//! (ingress-nginx: keys of its ConfigMap).

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::SupportedCipherSuite;
use rustls::crypto::SupportedKxGroup;

use crate::tracing::Tracing;

use crate::access_log::AccessLogs;

/// What the configuration says of the whole process. None of it is as the command line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tuning {
    /// Who is believed of what clients are (`use-forwarded-headers`, `enable-real-ip`).
    pub forwarding: Option<Forwarding>,
    /// Whether each connection begins with a PROXY protocol header (`use-proxy-protocol`).
    pub proxy_protocol: Option<bool>,
    /// How long a connection is kept without a request (`keep-alive`).
    pub keep_alive: Option<Duration>,
    /// After how many requests a connection is closed; 0 is never (`keep-alive-requests`).
    pub requests_per_connection: Option<u64>,
    /// From a request's first byte to the end of its head (`client-header-timeout`).
    pub header_timeout: Option<Duration>,
    /// Between two reads of a request's body (`client-body-timeout`).
    pub body_timeout: Option<Duration>,
    /// The largest head in bytes (`large-client-header-buffers`).
    pub header_bytes: Option<usize>,
    /// The longest line of a head in bytes (`large-client-header-buffers`).
    pub header_line: Option<usize>,
    /// Whether Ingresses of ingress-nginx's classes are served, whose clients know nginx's pages
    /// and limits.
    pub as_nginx: bool,
    /// The most concurrent HTTP/2 streams of a connection (`http2-max-concurrent-streams`).
    pub h2_streams: Option<u32>,
    /// How long a PROXY protocol header may take (`proxy-protocol-header-timeout`).
    pub announcement_timeout: Option<Duration>,
    /// What is negotiated with clients that come with TLS.
    pub tls: TlsTuning,
    /// Whether CAs are asked about certificates, for clients to be shown (`enable-ocsp`).
    pub stapling: Option<bool>,
    /// Whom traces are told, and which (`otlp-…`, `otel-…`).
    pub tracing: Option<Box<Tracing>>,
    /// What is logged of requests and connections, and how (`log-format-upstream` and others).
    pub access_logs: Option<Arc<AccessLogs>>,
}

/// What is negotiated with clients that come with TLS. None of it is as the command line says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TlsTuning {
    /// Whether TLS 1.2 is spoken, and whether 1.3 is; one of them is (`ssl-protocols`).
    pub versions: Option<(bool, bool)>,
    /// The cipher suites, the preferred one first; those of a version that none is of stay
    /// (`ssl-ciphers`).
    pub suites: Option<Box<[SupportedCipherSuite]>>,
    /// The groups of key exchange (`ssl-ecdh-curve`).
    pub groups: Option<Groups>,
    /// Whether HTTP/2 is offered (`use-http2`).
    pub http2: Option<bool>,
    /// Whether handshakes for hosts that no Ingress has are refused (`ssl-reject-handshake`).
    pub known_hosts_only: Option<bool>,
}

// Suites are what they are.
impl Eq for TlsTuning {}

/// Groups of key exchange.
#[derive(Debug, Clone)]
pub struct Groups(pub Box<[&'static dyn SupportedKxGroup]>);

impl PartialEq for Groups {
    fn eq(&self, other: &Self) -> bool {
        let names = |all: &Self| -> Vec<_> { all.0.iter().map(|group| group.name()).collect() };
        names(self) == names(other)
    }
}

impl Eq for Groups {}

/// Who is believed of what clients are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarding {
    /// Peers that are believed (`proxy-real-ip-cidr`).
    pub trusted: Box<[IpNet]>,
    /// The field with the client's address in lower case, if it is not X-Forwarded-For
    /// (`forwarded-for-header`).
    pub header: Option<Box<str>>,
    /// Whether they are believed of the address alone, and not of scheme, host and port
    /// (`enable-real-ip` without `use-forwarded-headers`).
    pub address_only: bool,
    /// Whether the client is who the PROXY protocol tells, whatever a field says
    /// (`use-proxy-protocol` without `use-forwarded-headers`).
    pub announced: bool,
    /// Whether backends are told the client's address alone, and not those that it came by
    /// (without `compute-full-forwarded-for`).
    pub alone: bool,
}
