//! Flags of the process that serves.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use ipnet::IpNet;
use tracing_subscriber::filter::Targets;

use super::tls::Tls;
use super::values;

/// Flags of the process that serves.
#[derive(Debug, Clone, Args)]
pub(crate) struct Serving {
    /// An address on which the ports are opened; repeatable.
    /// [default: 0.0.0.0 and ::]
    #[arg(
        long,
        env = "NARTHEX_BIND_ADDRESS",
        value_name = "IP",
        value_delimiter = ','
    )]
    #[arg(help_heading = "Process")]
    pub(crate) bind_address: Vec<IpAddr>,

    /// Health, metrics and the API; not for the public.
    #[arg(long, env = "NARTHEX_ADMIN_ADDRESS", value_name = "IP:PORT")]
    #[arg(default_value = "127.0.0.1:9090", value_parser = values::admin_address)]
    #[arg(help_heading = "Process")]
    pub(crate) admin_address: SocketAddr,

    /// Health and metrics alone, for probes and Prometheus. [default: :10254 in a pod, else none]
    #[arg(long, env = "NARTHEX_HEALTH_ADDRESS", value_name = "IP:PORT")]
    #[arg(value_parser = values::admin_address, help_heading = "Process")]
    pub(crate) health_address: Option<SocketAddr>,

    /// Where the self-signed certificate is kept, and where --upgrade finds the running process.
    /// [default: $STATE_DIRECTORY, else $XDG_STATE_HOME/narthex, else memory]
    #[arg(
        long,
        env = "NARTHEX_STATE_DIR",
        value_name = "DIR",
        help_heading = "Process"
    )]
    pub(crate) state_dir: Option<PathBuf>,

    /// Threads that serve.
    /// [default: the CPUs that this process may use]
    #[arg(
        long,
        env = "NARTHEX_WORKERS",
        value_name = "N",
        help_heading = "Process"
    )]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,

    /// How long new connections are still taken after SIGTERM, while /readyz says 503: as long as
    /// load balancers take to notice.
    #[arg(long, env = "NARTHEX_SHUTDOWN_GRACE_PERIOD", value_name = "DURATION")]
    #[arg(default_value = "0s", value_parser = values::duration, help_heading = "Process")]
    pub(crate) shutdown_grace_period: Duration,

    /// How long requests may go on after that.
    #[arg(long, env = "NARTHEX_SHUTDOWN_TIMEOUT", value_name = "DURATION")]
    #[arg(default_value = "30s", value_parser = values::duration, help_heading = "Process")]
    pub(crate) shutdown_timeout: Duration,

    /// Peers whose X-Forwarded-* and X-Request-ID headers are believed.
    #[arg(
        long,
        env = "NARTHEX_TRUSTED_PROXIES",
        value_name = "CIDR,…",
        value_delimiter = ','
    )]
    #[arg(value_parser = values::network, help_heading = "Clients: limits")]
    pub(crate) trusted_proxies: Vec<IpNet>,

    /// Trusted proxies begin each connection with a PROXY protocol header (version 1 or 2).
    #[arg(long, env = "NARTHEX_PROXY_PROTOCOL", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, help_heading = "Clients: limits")]
    pub(crate) proxy_protocol: bool,

    /// The largest request head (431 beyond).
    #[arg(
        long,
        env = "NARTHEX_MAX_HEADER_BYTES",
        value_name = "SIZE",
        default_value = "32KiB"
    )]
    #[arg(value_parser = values::memory_size, help_heading = "Clients: limits")]
    pub(crate) max_header_bytes: usize,

    /// The most header fields of a request (431 beyond).
    #[arg(
        long,
        env = "NARTHEX_MAX_HEADERS",
        value_name = "N",
        default_value_t = 100
    )]
    #[arg(value_parser = clap::value_parser!(u16).range(1..), help_heading = "Clients: limits")]
    pub(crate) max_headers: u16,

    /// The longest request target (414 beyond).
    #[arg(
        long,
        env = "NARTHEX_MAX_URI_BYTES",
        value_name = "SIZE",
        default_value = "16KiB"
    )]
    #[arg(value_parser = values::memory_size, help_heading = "Clients: limits")]
    pub(crate) max_uri_bytes: usize,

    /// The most client connections in all; 0 is no limit.
    #[arg(
        long,
        env = "NARTHEX_MAX_CONNECTIONS",
        value_name = "N",
        default_value_t = 20_000
    )]
    #[arg(help_heading = "Clients: limits")]
    pub(crate) max_connections: usize,

    /// The most connections of one client address; 0 is no limit.
    #[arg(long, env = "NARTHEX_MAX_CONNECTIONS_PER_CLIENT", value_name = "N")]
    #[arg(default_value_t = 0, help_heading = "Clients: limits")]
    pub(crate) max_connections_per_client: usize,

    /// The largest ClientHello, the first message of TLS; connections with a larger one are closed
    /// and counted.
    #[arg(
        long,
        env = "NARTHEX_MAX_CLIENT_HELLO",
        value_name = "SIZE",
        default_value = "64KiB"
    )]
    #[arg(value_parser = values::memory_size, help_heading = "Clients: limits")]
    pub(crate) max_client_hello: usize,

    /// The most concurrent streams of one HTTP/2 connection.
    #[arg(
        long,
        env = "NARTHEX_MAX_H2_STREAMS",
        value_name = "N",
        default_value_t = 128
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..), help_heading = "Clients: limits")]
    pub(crate) max_h2_streams: u32,

    /// The most HTTP/2 frames of one connection in ten seconds that serve no request (SETTINGS,
    /// PING, empty ones, …), beyond what requests and responses excuse; 0 is no limit.
    #[arg(long, env = "NARTHEX_MAX_H2_CONTROL_FRAMES", value_name = "N")]
    #[arg(default_value_t = 1000, help_heading = "Clients: limits")]
    pub(crate) max_h2_control_frames: u32,

    /// The most requests on one connection, after which it is closed; 0 is no limit.
    #[arg(long, env = "NARTHEX_MAX_REQUESTS_PER_CONNECTION", value_name = "N")]
    #[arg(default_value_t = 0, help_heading = "Clients: limits")]
    pub(crate) max_requests_per_connection: u64,

    /// The most sessions of UDP in all; datagrams of further clients are dropped. 0 is no limit.
    #[arg(long, env = "NARTHEX_MAX_UDP_SESSIONS", value_name = "N")]
    #[arg(default_value_t = 10_000, help_heading = "Clients: limits")]
    pub(crate) max_udp_sessions: usize,

    /// The most copies of requests (mirrors) that one worker sends at once; beyond it requests are
    /// not copied.
    #[arg(long, env = "NARTHEX_MAX_MIRRORED_REQUESTS", value_name = "N")]
    #[arg(default_value_t = 128, help_heading = "Backends: connections")]
    pub(crate) max_mirrored_requests: usize,

    /// The longest body in bytes of a request that is copied (mirrored). One worker holds up to 16
    /// times as much.
    #[arg(long, env = "NARTHEX_MAX_MIRRORED_BODY", value_name = "BYTES")]
    #[arg(default_value_t = 1024 * 1024, help_heading = "Backends: connections")]
    pub(crate) max_mirrored_body: usize,

    /// The most idle connections that one worker keeps to an endpoint.
    #[arg(long, env = "NARTHEX_MAX_IDLE_UPSTREAM", value_name = "N")]
    #[arg(default_value_t = 64, help_heading = "Backends: connections")]
    pub(crate) max_idle_upstream: usize,

    /// How long an idle connection to an endpoint is kept.
    #[arg(long, env = "NARTHEX_UPSTREAM_IDLE_TIMEOUT", value_name = "DURATION")]
    #[arg(default_value = "60s", value_parser = values::duration)]
    #[arg(help_heading = "Backends: connections")]
    pub(crate) upstream_idle_timeout: Duration,

    /// The most streams on one HTTP/2 connection to an endpoint, if that takes so many.
    #[arg(long, env = "NARTHEX_UPSTREAM_HTTP2_STREAMS", value_name = "N")]
    #[arg(default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help_heading = "Backends: connections")]
    pub(crate) upstream_http2_streams: u32,

    /// The most HTTP/2 connections of one worker to an endpoint; requests that find no stream free
    /// wait as long as for a connection, and are then answered 503.
    #[arg(long, env = "NARTHEX_UPSTREAM_HTTP2_CONNECTIONS", value_name = "N")]
    #[arg(default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    #[arg(help_heading = "Backends: connections")]
    pub(crate) upstream_http2_connections: u16,

    /// After how much silence the next request on an HTTP/2 connection goes with a PING, to find
    /// out whether the endpoint is still there; 0 is never.
    #[arg(long, env = "NARTHEX_UPSTREAM_PING_AFTER", value_name = "DURATION")]
    #[arg(default_value = "10s", value_parser = values::duration)]
    #[arg(help_heading = "Backends: connections")]
    pub(crate) upstream_ping_after: Duration,

    /// How long an endpoint may be silent after a PING before its connection is given up.
    #[arg(long, env = "NARTHEX_UPSTREAM_PING_TIMEOUT", value_name = "DURATION")]
    #[arg(default_value = "10s", value_parser = values::duration)]
    #[arg(help_heading = "Backends: connections")]
    pub(crate) upstream_ping_timeout: Duration,

    /// A database in MaxMind's format of where clients' addresses are, for the variables $geoip2_… of
    /// access logs and annotations; repeatable. Read again when the file changes. [default: what is
    /// in /etc/ingress-controller/geoip]
    #[arg(long, env = "NARTHEX_GEOIP2_DATABASE", value_name = "FILE")]
    #[arg(value_delimiter = ',', help_heading = "Logs and metrics")]
    pub(crate) geoip2_database: Vec<PathBuf>,

    /// Certificates (PEM) of those who may have issued backends' certificates, besides those whom
    /// the system trusts; repeatable.
    #[arg(long, env = "NARTHEX_BACKEND_CA_FILE", value_name = "FILE")]
    #[arg(value_delimiter = ',', help_heading = "Backends: connections")]
    pub(crate) backend_ca_file: Vec<PathBuf>,

    /// For the TLS handshake.
    #[arg(long, env = "NARTHEX_TLS_HANDSHAKE_TIMEOUT", value_name = "DURATION")]
    #[arg(default_value = "10s", value_parser = values::duration)]
    #[arg(help_heading = "Clients: time limits (0 is off)")]
    pub(crate) tls_handshake_timeout: Duration,

    #[command(flatten)]
    pub(crate) tls: Tls,

    /// From a request's first byte to the end of its head.
    #[arg(long, env = "NARTHEX_CLIENT_HEADER_TIMEOUT", value_name = "DURATION")]
    #[arg(default_value = "60s", value_parser = values::duration)]
    #[arg(help_heading = "Clients: time limits (0 is off)")]
    pub(crate) client_header_timeout: Duration,

    /// Between two reads of a request's body.
    #[arg(long, env = "NARTHEX_CLIENT_BODY_TIMEOUT", value_name = "DURATION")]
    #[arg(default_value = "60s", value_parser = values::duration)]
    #[arg(help_heading = "Clients: time limits (0 is off)")]
    pub(crate) client_body_timeout: Duration,

    /// Between two requests on one connection.
    #[arg(long, env = "NARTHEX_KEEP_ALIVE_TIMEOUT", value_name = "DURATION")]
    #[arg(default_value = "75s", value_parser = values::duration)]
    #[arg(help_heading = "Clients: time limits (0 is off)")]
    pub(crate) keep_alive_timeout: Duration,

    /// For a slow client to take something of a response.
    #[arg(long, env = "NARTHEX_WRITE_TIMEOUT", value_name = "DURATION")]
    #[arg(default_value = "60s", value_parser = values::duration)]
    #[arg(help_heading = "Clients: time limits (0 is off)")]
    pub(crate) write_timeout: Duration,

    /// For a WebSocket or a gRPC call on which nothing moves in either direction.
    #[arg(long, env = "NARTHEX_TUNNEL_IDLE_TIMEOUT", value_name = "DURATION")]
    #[arg(default_value = "1h", value_parser = values::duration)]
    #[arg(help_heading = "Clients: time limits (0 is off)")]
    pub(crate) tunnel_idle_timeout: Duration,

    /// For a session of UDP: after so long without a datagram in either direction it ends, and the
    /// client's next datagram begins another. None is without end: 0 is 60s.
    #[arg(long, env = "NARTHEX_UDP_IDLE_TIMEOUT", value_name = "DURATION")]
    #[arg(default_value = "60s", value_parser = values::duration)]
    #[arg(help_heading = "Clients: time limits (0 is off)")]
    pub(crate) udp_idle_timeout: Duration,

    /// How each request is written to standard output. [default: ingress-nginx with --configmap,
    /// else json]
    #[arg(long, env = "NARTHEX_ACCESS_LOG_FORMAT", value_name = "FORMAT")]
    #[arg(help_heading = "Logs and metrics")]
    pub(crate) access_log_format: Option<AccessLogFormat>,

    /// How the program's own log is written to standard error.
    #[arg(long, env = "NARTHEX_LOG_FORMAT", value_name = "FORMAT")]
    #[arg(default_value = "text", help_heading = "Logs and metrics")]
    pub(crate) log_format: LogFormat,

    /// How much the program's own log says: error, warn, info, debug, trace.
    #[arg(
        long,
        env = "NARTHEX_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info"
    )]
    #[arg(value_parser = values::log_filter, help_heading = "Logs and metrics")]
    pub(crate) log_level: Targets,
}

/// How each request is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccessLogFormat {
    /// One JSON object a line.
    Json,
    /// The Common Log Format.
    Common,
    /// As ingress-nginx does it, or as its ConfigMap (--configmap) says.
    IngressNginx,
    /// Not at all.
    Off,
}

/// How the program's own log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
