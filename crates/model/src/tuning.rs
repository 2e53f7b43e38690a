//! What the configuration says of the whole process, in the place of the command line
//! (ingress-nginx: keys of its ConfigMap).

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

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
    /// The most concurrent HTTP/2 streams of a connection (`http2-max-concurrent-streams`).
    pub h2_streams: Option<u32>,
    /// What is logged of requests and connections, and how (`log-format-upstream` and others).
    pub access_logs: Option<Arc<AccessLogs>>,
}

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
    /// Whether backends are told the client's address alone, and not those that it came by
    /// (without `compute-full-forwarded-for`).
    pub alone: bool,
}
