//! What holds for the whole process, whatever the configuration says.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use model::{Ratio, Sampler, TlsTuning, Tracing, Tuning};
use rustls::SupportedCipherSuite;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{DEFAULT_KX_GROUPS, cipher_suite};
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;

use crate::geo::Databases;
use crate::tls::Wanted;

/// What holds for the whole process. Every limit and time-out that is zero is off.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Worker threads, at least 1.
    pub workers: usize,
    /// The addresses on which listeners are bound.
    pub bind_addresses: Vec<IpAddr>,
    /// Peers whose forwarding headers (X-Forwarded-*, X-Request-ID) are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What they are believed of, and what backends are told of it.
    pub forwarding: Forwarding,
    /// Whether trusted proxies begin each connection with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Whether the others do, too, who are not believed (ingress-nginx: `use-proxy-protocol`).
    pub all_announce: bool,
    /// The format of the access log.
    pub access_log: AccessLogFormat,
    /// What is counted by Ingress, if anything.
    pub ingress_metrics: Option<Arc<IngressMetrics>>,
    /// Limits on what clients send and hold.
    pub limits: Limits,
    /// Time limits towards clients.
    pub timeouts: ClientTimeouts,
    /// Idle connections kept to one endpoint by one worker.
    pub idle_per_endpoint: usize,
    /// How long an idle connection to an endpoint is kept.
    pub upstream_idle: Duration,
    /// HTTP/2 towards endpoints.
    pub upstream_http2: UpstreamHttp2,
    /// Who may have issued backends' certificates, besides those whom the system trusts.
    pub backend_authorities: Vec<CertificateDer<'static>>,
    /// TLS towards clients.
    pub tls: TlsSettings,
    /// What every answer over HTTPS has as Strict-Transport-Security (RFC 6797), unless the backend
    /// has said so itself.
    pub hsts: Option<Box<str>>,
    /// Whether names of ExternalName Services may resolve to loopback, link-local and metadata
    /// addresses.
    pub allow_local_external_names: bool,
    /// Whom traces are told, and which.
    pub tracing: Arc<TraceSettings>,
    /// What is known of clients' addresses.
    pub geo: Option<Arc<Databases>>,
    /// Whether pages of ours are nginx's, and a head that is too large is answered as nginx does.
    pub as_nginx: bool,
}

/// Whom traces are told, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSettings {
    /// Who takes OTLP by gRPC. None is nobody.
    pub collector: Option<Collector>,
    /// What we are called (OpenTelemetry: `service.name`).
    pub service: Box<str>,
    /// Which traces are told that begin here.
    pub sampler: Sampler,
    /// What part of them, where the sampler asks.
    pub ratio: Ratio,
    /// Whether a trace that goes on is told if whoever began it tells it.
    pub parent_based: bool,
    /// How many spans may wait to be told; more are dropped.
    pub queue: usize,
    /// How many are told at once, at least 1.
    pub batch: usize,
    /// How long the first of them waits for others.
    pub delay: Duration,
}

/// Who takes traces: OTLP by gRPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// A name or an address.
    pub host: Box<str>,
    /// Its port.
    pub port: u16,
    /// Whether it speaks TLS, with a certificate for its host of somebody whom the system or
    /// [`Settings::backend_authorities`] trusts.
    pub tls: bool,
}

impl Default for TraceSettings {
    fn default() -> Self {
        Self {
            collector: None,
            service: "narthex".into(),
            sampler: Sampler::AlwaysOn,
            ratio: Ratio::ALL,
            parent_based: true,
            queue: 2048,
            batch: 512,
            delay: Duration::from_secs(5),
        }
    }
}

/// The port at which collectors take OTLP by gRPC.
pub(crate) const OTLP_PORT: u16 = 4317;

impl TraceSettings {
    /// The same, but for what the configuration says.
    pub(crate) fn tuned(&self, tracing: &Tracing) -> Self {
        let mut tuned = self.clone();
        if let Some(host) = &tracing.host {
            tuned.collector = (!host.is_empty()).then(|| Collector {
                host: host.clone(),
                port: tracing.port.unwrap_or(OTLP_PORT),
                tls: false,
            });
        } else if let (Some(collector), Some(port)) = (&mut tuned.collector, tracing.port) {
            collector.port = port;
        }
        if let Some(service) = &tracing.service {
            tuned.service = service.clone();
        }
        set(&mut tuned.sampler, tracing.sampler);
        set(&mut tuned.ratio, tracing.ratio);
        set(&mut tuned.parent_based, tracing.parent_based);
        set(&mut tuned.queue, tracing.queue);
        set(&mut tuned.batch, tracing.batch);
        set(&mut tuned.delay, tracing.delay);
        tuned
    }
}

/// What trusted proxies are believed of, and what backends are told of it.
#[derive(Debug, Clone, Default)]
pub struct Forwarding {
    /// The field with the client's address in lower case, if it is not X-Forwarded-For.
    pub header: Option<Box<str>>,
    /// Whether they are believed of the client's address alone.
    pub address_only: bool,
    /// Whether not even of that: it is who the PROXY protocol tells.
    pub announced: bool,
    /// Whether backends are told the client's address alone, and not those that it came by.
    pub alone: bool,
    /// Whether the host that trusted proxies tell is what backends are asked for, and any scheme
    /// but `http` is as good as HTTPS (ingress-nginx: `use-forwarded-headers`).
    pub rehosts: bool,
}

impl Settings {
    /// The same, but for what the configuration says.
    pub(crate) fn tuned(&self, tuning: &Tuning) -> Self {
        let mut tuned = self.clone();
        if let Some(forwarding) = &tuning.forwarding {
            tuned.trusted_proxies = forwarding.trusted.to_vec();
            tuned.forwarding = Forwarding {
                header: forwarding.header.clone(),
                address_only: forwarding.address_only,
                announced: forwarding.announced,
                alone: forwarding.alone,
                rehosts: !forwarding.address_only,
            };
        }
        tuned.all_announce = tuning.proxy_protocol == Some(true);
        tuned.tls.tune(&tuning.tls);
        let (limits, timeouts) = (&mut tuned.limits, &mut tuned.timeouts);
        set(&mut tuned.proxy_protocol, tuning.proxy_protocol);
        set(
            &mut limits.requests_per_connection,
            tuning.requests_per_connection,
        );
        set(&mut limits.header_bytes, tuning.header_bytes);
        tuned.as_nginx = tuning.as_nginx;
        if tuning.as_nginx {
            limits.line_bytes = tuning.header_line.unwrap_or(NGINX_LINE);
        }
        set(&mut limits.h2_streams, tuning.h2_streams);
        set(&mut timeouts.keep_alive, tuning.keep_alive);
        set(&mut timeouts.announcement, tuning.announcement_timeout);
        set(&mut timeouts.header, tuning.header_timeout);
        set(&mut timeouts.body, tuning.body_timeout);
        if let Some(tracing) = &tuning.tracing {
            tuned.tracing = Arc::new(tuned.tracing.tuned(tracing));
        }
        tuned
    }
}

/// The size of each of nginx's buffers for what is large in a head.
const NGINX_LINE: usize = 8 << 10;

fn set<T>(value: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *value = given;
    }
}

/// All cipher suites, the quickest on today's machines first; none of them is weak.
const CIPHER_SUITES: &[SupportedCipherSuite] = &[
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// TLS towards clients.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// Whether TLS 1.2 is spoken.
    pub tls12: bool,
    /// Whether TLS 1.3 is; one of them is.
    pub tls13: bool,
    /// The cipher suites, the preferred one first; at least one of each version that is spoken.
    pub cipher_suites: Vec<SupportedCipherSuite>,
    /// The groups of key exchange, at least one. Of those, the client's order decides.
    pub groups: Vec<&'static dyn SupportedKxGroup>,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// Whether Ingress refuses handshakes for names that no certificate is for, and without a name.
    pub strict_sni: bool,
    /// Whether it refuses those for names that none of its hosts has, and without a name
    /// (ingress-nginx: `ssl-reject-handshake`).
    pub known_hosts_only: bool,
    /// Who is told of names that clients ask Ingress for and no certificate is for, if they are
    /// obtained then.
    pub on_demand: Option<mpsc::Sender<Wanted>>,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            tls12: true,
            tls13: true,
            cipher_suites: CIPHER_SUITES.to_vec(),
            groups: DEFAULT_KX_GROUPS.to_vec(),
            http2: true,
            strict_sni: false,
            known_hosts_only: false,
            on_demand: None,
        }
    }
}

impl TlsSettings {
    /// Takes over what the configuration says.
    fn tune(&mut self, tuning: &TlsTuning) {
        if let Some((tls12, tls13)) = tuning.versions {
            (self.tls12, self.tls13) = (tls12, tls13);
        }
        if let Some(named) = &tuning.suites {
            self.cipher_suites = in_place_of(named, &self.cipher_suites);
        }
        if let Some(groups) = &tuning.groups {
            self.groups = groups.0.to_vec();
        }
        set(&mut self.http2, tuning.http2);
        set(&mut self.known_hosts_only, tuning.known_hosts_only);
    }
}

/// The suites that were named, and those of `former` of the version that none was named of: as with
/// OpenSSL's lists, one for TLS 1.2 says nothing about 1.3.
fn in_place_of(
    named: &[SupportedCipherSuite],
    former: &[SupportedCipherSuite],
) -> Vec<SupportedCipherSuite> {
    let of_13 = |suite: &SupportedCipherSuite| suite.tls13().is_some();
    let others = former
        .iter()
        .filter(|suite| !named.iter().any(|named| of_13(named) == of_13(suite)));
    named.iter().chain(others).copied().collect()
}

/// HTTP/2 towards endpoints.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamHttp2 {
    /// The most streams on one connection, if the endpoint takes so many; at least 1.
    pub streams: usize,
    /// The most connections of one worker to one endpoint; at least 1.
    pub connections: usize,
    /// After how much silence a connection is asked, together with the next request, whether its
    /// other end is there. Zero is never.
    pub ping_after: Duration,
    /// How long the other end may be silent once it was asked.
    pub ping_timeout: Duration,
}

impl Default for UpstreamHttp2 {
    fn default() -> Self {
        Self {
            streams: 100,
            connections: 8,
            ping_after: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(10),
        }
    }
}

/// The format of the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// One JSON object a line.
    Json,
    /// The Common Log Format.
    Common,
    /// As ingress-nginx writes it, or as its ConfigMap says.
    IngressNginx,
    /// None.
    Off,
}

/// What is counted by Ingress, under ingress-nginx's names.
#[derive(Debug, Clone, PartialEq)]
pub struct IngressMetrics {
    /// Whether hosts are told apart.
    pub per_host: bool,
    /// Whether requests are counted for hosts that nobody claims, where hosts are told apart.
    pub undefined_hosts: bool,
    /// Whether statuses are told apart by their class alone.
    pub status_classes: bool,
    /// Names that are left out, without `nginx_ingress_controller_`.
    pub excluded: Box<[Box<str>]>,
    /// Upper bounds of the buckets of times, in seconds, rising.
    pub time_buckets: Box<[f64]>,
    /// The same of requests and responses, in bytes.
    pub length_buckets: Box<[f64]>,
    /// The same of bytes that were sent.
    pub size_buckets: Box<[f64]>,
}

impl IngressMetrics {
    /// Whether a metric is left out.
    pub(crate) fn leaves_out(&self, name: &str) -> bool {
        self.excluded.iter().any(|excluded| **excluded == *name)
    }
}

impl Default for IngressMetrics {
    fn default() -> Self {
        Self {
            per_host: true,
            undefined_hosts: false,
            status_classes: false,
            excluded: [].into(),
            time_buckets: [
                0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ]
            .into(),
            length_buckets: (1..=10).map(|bound| f64::from(bound) * 10.0).collect(),
            size_buckets: (1..=7).map(|power| 10_f64.powi(power)).collect(),
        }
    }
}

/// Limits on what clients send and hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest request head in bytes, beyond which the answer is 431.
    pub header_bytes: usize,
    /// The longest line of a head in bytes with its end, beyond which the answer is 414 or 431.
    pub line_bytes: usize,
    /// The most header fields, beyond which the answer is 431.
    pub headers: usize,
    /// The longest request target in bytes, beyond which the answer is 414.
    pub uri_bytes: usize,
    /// The most client connections in all.
    pub connections: usize,
    /// The most connections of one client address.
    pub connections_per_client: usize,
    /// The largest ClientHello in bytes with the records that it comes in, beyond which the
    /// connection is closed; at most 64 KiB are understood where TLS ends here.
    pub client_hello_bytes: usize,
    /// The most concurrent HTTP/2 streams of one connection.
    pub h2_streams: u32,
    /// The most HTTP/2 frames of one connection that are not useful, in ten seconds and beyond what
    /// requests and responses excuse, after which it is closed; 0 is no limit.
    pub h2_control_frames: u32,
    /// The most requests on one connection, after which it is closed.
    pub requests_per_connection: u64,
    /// The most sessions of UDP in all, beyond which new clients' datagrams are dropped.
    pub udp_sessions: usize,
    /// The most copies of requests (mirrors) that one worker sends at once.
    pub mirrors: usize,
    /// The longest body in bytes of a request that is copied. One worker holds 16 times as much at
    /// the most.
    pub mirror_body: usize,
}

/// Time limits towards clients.
#[derive(Debug, Clone, Copy)]
pub struct ClientTimeouts {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For a PROXY protocol header; zero is as `header`.
    pub announcement: Duration,
    /// From a request's first byte to the end of its head.
    pub header: Duration,
    /// Between two reads of a request's body.
    pub body: Duration,
    /// Without a request.
    pub keep_alive: Duration,
    /// In which a client that reads slowly must take something of the response.
    pub write: Duration,
    /// Without a byte in either direction of a tunnel (WebSocket) or a gRPC call.
    pub tunnel_idle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: 1,
            bind_addresses: vec![
                IpAddr::from(std::net::Ipv4Addr::UNSPECIFIED),
                IpAddr::from(std::net::Ipv6Addr::UNSPECIFIED),
            ],
            trusted_proxies: Vec::new(),
            forwarding: Forwarding::default(),
            proxy_protocol: false,
            all_announce: false,
            access_log: AccessLogFormat::Json,
            ingress_metrics: None,
            limits: Limits::default(),
            timeouts: ClientTimeouts::default(),
            idle_per_endpoint: 64,
            upstream_idle: Duration::from_secs(60),
            upstream_http2: UpstreamHttp2::default(),
            backend_authorities: Vec::new(),
            tls: TlsSettings::default(),
            hsts: None,
            allow_local_external_names: false,
            tracing: Arc::default(),
            geo: None,
            as_nginx: false,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 32 * 1024,
            line_bytes: usize::MAX,
            headers: 100,
            uri_bytes: 16 * 1024,
            connections: 20_000,
            connections_per_client: 0,
            client_hello_bytes: 64 * 1024,
            h2_streams: 128,
            h2_control_frames: 1000,
            requests_per_connection: 0,
            udp_sessions: 10_000,
            mirrors: 128,
            mirror_body: 1024 * 1024,
        }
    }
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            announcement: Duration::ZERO,
            header: Duration::from_secs(60),
            body: Duration::from_secs(60),
            keep_alive: Duration::from_secs(75),
            write: Duration::from_secs(60),
            tunnel_idle: Duration::from_secs(3600),
        }
    }
}
