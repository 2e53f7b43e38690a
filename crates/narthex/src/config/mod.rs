//! What the command line means: every default filled in, everything checked that can be before
//! anything is started.

mod certificates;
mod gateways;
mod source;
mod tls;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use compile::{EndpointOverride, GatewayPorts, GatewayScope, Risk};
use model::policy::{Asked, Retry};
use model::{Certificate, Ratio, Sampler, Timeouts};
use proxy::{AccessLogFormat, ClientTimeouts, Limits, TraceSettings, UpstreamHttp2};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

pub(crate) use certificates::{CHALLENGES, Certificates, NAMESPACE, TICKETS};
pub(crate) use gateways::Gateways;
pub(crate) use source::{Cluster, Source};

use crate::{flags, workers};

/// The port on which a pod tells how it is.
const HEALTH_PORT: u16 = 10254;

/// How long a connection that is passed on as it is may be idle where nothing is served.
const STREAM_IDLE: Duration = Duration::from_secs(3600);

/// The same of a session of UDP.
const DATAGRAM_IDLE: Duration = Duration::from_secs(60);

/// What is wrong with the command line as a whole, for people.
#[derive(Debug)]
pub(crate) struct Invalid(pub(crate) String);

/// What `serve` does.
#[derive(Debug)]
pub(crate) struct Serve {
    /// Where the objects come from.
    pub(crate) source: Source,
    /// What they mean.
    pub(crate) compilation: Compilation,
    /// How they are served.
    pub(crate) settings: proxy::Settings,
    /// Whether CAs are asked about the certificates that are served, and where they may be.
    pub(crate) stapling: Stapling,
    /// Whether IPv6 is left out of the addresses because this machine has none.
    pub(crate) without_ipv6: bool,
    /// Databases of addresses that nobody named and that are of no use.
    pub(crate) useless_databases: Vec<proxy::BadDatabase>,
    /// Where health, metrics and the API are.
    pub(crate) admin_address: SocketAddr,
    /// Where health and metrics are besides.
    pub(crate) health_address: Option<SocketAddr>,
    /// Where health is answered besides `/healthz`.
    pub(crate) health_path: String,
    /// How long the process stays after everything has ended.
    pub(crate) post_shutdown: Duration,
    /// Where state is kept, if anywhere.
    pub(crate) state_dir: Option<PathBuf>,
    /// How long new connections are still taken after the end was asked for.
    pub(crate) shutdown_grace_period: Duration,
    /// How long requests may go on after that.
    pub(crate) shutdown_timeout: Duration,
    /// Whether it ends with its terminal; else SIGHUP reads the manifests again.
    pub(crate) ends_on_hang_up: bool,
    /// How it comes to its ports, and who may have them after it.
    pub(crate) succession: Succession,
    /// The registry of images that is served besides, if any.
    pub(crate) registry: Option<crate::registry_command::Plan>,
    /// Credentials of outside registries, if they are brought into namespaces.
    pub(crate) registry_credentials: Option<crate::registry_credentials::Options>,
}

/// Whom to ask about certificates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stapling {
    /// Whether they are asked where the configuration does not say.
    pub(crate) on: bool,
    /// Whether it may say so (ingress-nginx: `enable-ocsp`).
    pub(crate) configurable: bool,
    /// Whether responders may be at loopback, link-local and metadata addresses.
    pub(crate) allow_local: bool,
}

/// How a process comes to its ports, and who may have them after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Succession {
    /// It binds them, and closes them at its end.
    None,
    /// It binds them, and hands them over to whoever is started with `--upgrade`.
    HandsOver,
    /// It takes them over from the process that has them, if there is one; and hands them over.
    TakesOver,
}

impl Serve {
    /// Reads the flags of `serve` and `quickstart`.
    pub(crate) fn new(
        source: Source,
        compilation: &flags::Compilation,
        serving: flags::Serving,
    ) -> Result<Self, Invalid> {
        if serving.proxy_protocol && serving.trusted_proxies.is_empty() {
            return Err(Invalid(
                "--proxy-protocol is for --trusted-proxies, and there are none: name the networks \
                 of your load balancers"
                    .to_owned(),
            ));
        }
        let admin = serving.admin_address;
        if serving.health_address == Some(admin) && admin.port() != 0 {
            return Err(Invalid(format!(
                "--health-address and --admin-address are both {admin}: give one of them another \
                 port"
            )));
        }
        let compiled = Compilation {
            in_cluster: matches!(source, Source::Cluster(_)),
            gateway_scope: source.gateway_scope(),
            stream_idle: serving.tunnel_idle_timeout,
            datagram_idle: serving.udp_idle_timeout,
            ..Compilation::new(compilation)?
        };
        if compiled.certificates.on_demand.is_some() && !compiled.obtains_certificates() {
            let message = "certificates on demand are obtained where certificates are: give \
                --obtain-certificates";
            return Err(Invalid(message.to_owned()));
        }
        let (bind_addresses, without_ipv6) = bind_addresses(serving.bind_address.clone());
        let (geo, useless_databases) = databases(&serving.geoip2_database, Path::new(GEOIP2))?;
        Ok(Self {
            compilation: compiled,
            without_ipv6,
            useless_databases,
            admin_address: serving.admin_address,
            health_address: serving.health_address.or_else(|| {
                source
                    .is_own_cluster()
                    .then(|| health_address(without_ipv6))
            }),
            source,
            health_path: "/healthz".to_owned(),
            post_shutdown: Duration::ZERO,
            shutdown_grace_period: serving.shutdown_grace_period,
            shutdown_timeout: serving.shutdown_timeout,
            ends_on_hang_up: false,
            succession: Succession::None,
            registry: None,
            registry_credentials: None,
            stapling: Stapling {
                on: compilation.ocsp_stapling,
                configurable: compilation.ingress_nginx.configmap.is_some(),
                allow_local: serving.tls.ocsp_allow_local,
            },
            settings: proxy::Settings {
                bind_addresses,
                allow_local_external_names: compilation.allow_local_external_names,
                tracing: tracing(&compilation.tracing),
                backend_authorities: authorities(&serving.backend_ca_file)?,
                geo,
                access_log: access_log(
                    serving.access_log_format,
                    compilation.ingress_nginx.configmap.is_some(),
                ),
                ..settings(&serving)
            },
            state_dir: state_dir_of(serving.state_dir),
        })
    }
}

impl Serve {
    /// Brings credentials of outside registries into namespaces, if the flags ask for it.
    pub(crate) fn set_registry_credentials(
        &mut self,
        flags: flags::registry::creds::CredentialsBeside,
    ) -> Result<(), Invalid> {
        if !flags.registry_credentials {
            return Ok(());
        }
        if matches!(self.source, Source::Files(_)) {
            let message = "--registry-credentials is for a cluster, and a PATH is served";
            return Err(Invalid(message.to_owned()));
        }
        let options = crate::registry_credentials::Options::new(flags.credentials)?;
        self.registry_credentials = Some(options);
        Ok(())
    }

    /// The same, with what ingress-nginx's flags say of the process.
    pub(crate) fn with_ingress_nginx(self, flags: &flags::ingress_nginx::Process) -> Self {
        let port = flags.healthz_port;
        let health_address = match (flags.healthz_host, port) {
            (None, None) => self.health_address,
            (Some(host), _) => Some(SocketAddr::new(host, port.unwrap_or(HEALTH_PORT))),
            (None, Some(port)) => {
                let mut address = health_address(self.without_ipv6);
                address.set_port(port);
                Some(address)
            }
        };
        let per_host = self.compilation.flags.ingress_nginx.metrics_per_host;
        Self {
            health_address,
            health_path: flags.health_check_path.clone(),
            post_shutdown: flags.post_shutdown_grace_period,
            settings: proxy::Settings {
                ingress_metrics: flags.metrics.ingress_nginx(per_host).map(Arc::new),
                ..self.settings
            },
            ..self
        }
    }
}

/// What decides the meaning of manifests.
#[derive(Debug)]
pub(crate) struct Compilation {
    flags: flags::Compilation,
    /// Which certificates are obtained.
    pub(crate) certificates: Certificates,
    /// Whether there may be other controllers beside this one.
    in_cluster: bool,
    /// Which Gateways are this process's.
    gateway_scope: GatewayScope,
    endpoints: Vec<EndpointOverride>,
    /// After so long without a byte a connection that is passed on as it is ends.
    stream_idle: Duration,
    /// The same of a session of UDP.
    datagram_idle: Duration,
}

impl Compilation {
    /// Reads the flags that all commands share.
    pub(crate) fn new(flags: &flags::Compilation) -> Result<Self, Invalid> {
        if flags.http_port == flags.https_port {
            let port = flags.http_port;
            return Err(Invalid(format!(
                "--http-port and --https-port are both {port}: give them different ports"
            )));
        }
        let endpoints = flags.endpoint.iter().map(endpoint_override);
        Ok(Self {
            endpoints: endpoints.collect::<Result<_, _>>()?,
            certificates: Certificates::new(&flags.certificates)?,
            flags: flags.clone(),
            in_cluster: false,
            gateway_scope: GatewayScope::All,
            stream_idle: STREAM_IDLE,
            datagram_idle: DATAGRAM_IDLE,
        })
    }

    /// The same, beside whatever other controllers a cluster has.
    pub(crate) fn in_cluster(self) -> Self {
        Self {
            in_cluster: true,
            ..self
        }
    }

    /// Whether certificates are obtained.
    pub(crate) fn obtains_certificates(&self) -> bool {
        self.certificates.are_obtained(self.in_cluster)
    }

    /// The node that this process is on, if it was told.
    pub(crate) fn node_name(&self) -> Option<&str> {
        self.flags.balancing.node_name.as_deref()
    }

    /// The port of the listener without TLS.
    pub(crate) fn http_port(&self) -> u16 {
        self.flags.http_port
    }

    /// The port of the listener with TLS.
    pub(crate) fn https_port(&self) -> u16 {
        self.flags.https_port
    }

    /// For the compiler; `fallback` is the certificate for names that have no other, and
    /// `namespace` that of this pod, if a cluster is served.
    pub(crate) fn options(
        &self,
        fallback: Arc<Certificate>,
        namespace: Option<&str>,
    ) -> compile::Options {
        let flags = &self.flags;
        let nginx = &flags.ingress_nginx;
        let pair =
            |name: &flags::values::NamespacedName| (name.namespace.clone(), name.name.clone());
        compile::Options {
            controller_classes: flags.controller_class.clone(),
            ingress_class: flags.ingress_class.clone(),
            watch_without_class: flags
                .watch_ingress_without_class
                .unwrap_or(!self.in_cluster),
            // Whoever names the class that is ours says of the others that they are not.
            serve_unknown_classes: !self.in_cluster && flags.ingress_class.is_none(),
            default_backend_service: flags.default_backend_service.as_ref().map(pair),
            default_certificate: flags.default_ssl_certificate.as_ref().map(pair),
            config_map: nginx.configmap.as_ref().map(pair),
            tcp_services: nginx.tcp_services_configmap.as_ref().map(pair),
            udp_services: nginx.udp_services_configmap.as_ref().map(pair),
            annotations_prefix: nginx.annotations_prefix.clone(),
            validates_annotations: nginx.enable_annotation_validation,
            catch_alls: !nginx.disable_catch_all,
            external_names: !nginx.disable_svc_external_name,
            class_by_name: nginx.ingress_class_by_name,
            ssl_passthrough: flags.enable_ssl_passthrough,
            session_ticket_secret: flags.session_ticket_secret.as_ref().map(pair),
            ocsp_stapling: flags.ocsp_stapling,
            ssl_redirect: flags.ssl_redirect,
            http_port: flags.http_port,
            https_port: flags.https_port,
            public_https_port: flags.public_https_port.unwrap_or(flags.https_port),
            timeouts: Arc::new(Timeouts {
                connect: flags.connect_timeout,
                send: flags.send_timeout,
                read: flags.read_timeout,
                total: flags.request_timeout,
                attempt: Duration::ZERO,
            }),
            max_body: flags.max_body_bytes,
            traces: flags.tracing.otlp_endpoint.is_some(),
            endpoints: self.endpoints.clone(),
            node_name: flags.balancing.node_name.clone(),
            zone: flags.balancing.zone.clone(),
            max_backend_requests: flags.balancing.max_backend_requests,
            most_tries: flags.balancing.max_next_upstream_tries,
            retry: Retry {
                attempts: flags.balancing.max_attempts,
                per_try: flags.balancing.try_timeout,
                budget: flags.balancing.retry_budget,
                min_per_second: flags.balancing.min_retries_per_second,
                asked: Asked::Nobody,
            },
            metrics_hosts: match nginx.metrics_per_host {
                true => flags.metrics_hosts,
                false => 0,
            },
            gateway_controller: flags.gateway_controller_name.clone(),
            gateway_ports: match self.in_cluster {
                true => GatewayPorts::Range(flags.gateway_port_range.clone()),
                false => GatewayPorts::Own(flags.gateway_address.clone().into()),
            },
            gateway_scope: self.gateway_scope.clone(),
            lowest_port: lowest_port(),
            stream_idle: self.stream_idle,
            datagram_idle: self.datagram_idle,
            certificates: self.certificates.options(namespace),
            annotations_risk: match flags.allow_snippet_annotations {
                true => Risk::Critical,
                false => Risk::High,
            },
            allow_snippets: flags.allow_snippet_annotations,
            ..compile::Options::new(fallback)
        }
    }
}

/// The lowest port that this process can bind.
fn lowest_port() -> u16 {
    const BIND_SERVICE: u64 = 1 << 10;

    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let status = read("/proc/self/status");
    let mut lines = status.lines();
    let effective = lines.find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    if effective.is_some_and(|bits| bits & BIND_SERVICE != 0) {
        return 0;
    }
    let start = read("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    start.trim().parse().unwrap_or(1024)
}

fn endpoint_override(typed: &flags::values::Endpoint) -> Result<EndpointOverride, Invalid> {
    let (host, port) = (typed.host.as_str(), typed.port);
    let addresses: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| Invalid(format!("--endpoint …={host}:{port}: {error}")))?
        .collect();
    // A name such as localhost has addresses of both families, and a server often only one:
    // the first one that the system would try is the one that is meant.
    Ok(EndpointOverride {
        namespace: typed.service.namespace.clone(),
        service: typed.service.name.clone(),
        port: typed.service.port.clone(),
        addresses: prefer_ipv4(&addresses).into_iter().collect(),
    })
}

fn prefer_ipv4(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    addresses
        .iter()
        .find(|address| address.is_ipv4())
        .or_else(|| addresses.first())
        .copied()
}

/// Who gives ingress-nginx's ConfigMap wants its log, unless another was asked for.
fn access_log(given: Option<flags::AccessLogFormat>, config_map: bool) -> AccessLogFormat {
    match given {
        Some(flags::AccessLogFormat::Json) => AccessLogFormat::Json,
        Some(flags::AccessLogFormat::Common) => AccessLogFormat::Common,
        Some(flags::AccessLogFormat::IngressNginx) => AccessLogFormat::IngressNginx,
        Some(flags::AccessLogFormat::Off) => AccessLogFormat::Off,
        None if config_map => AccessLogFormat::IngressNginx,
        None => AccessLogFormat::Json,
    }
}

fn settings(serving: &flags::Serving) -> proxy::Settings {
    proxy::Settings {
        workers: serving.workers.map_or_else(workers::available, usize::from),
        trusted_proxies: serving.trusted_proxies.clone(),
        proxy_protocol: serving.proxy_protocol,
        limits: Limits {
            header_bytes: serving.max_header_bytes,
            line_bytes: usize::MAX,
            headers: serving.max_headers.into(),
            uri_bytes: serving.max_uri_bytes,
            connections: serving.max_connections,
            connections_per_client: serving.max_connections_per_client,
            client_hello_bytes: serving.max_client_hello,
            h2_streams: serving.max_h2_streams,
            h2_control_frames: serving.max_h2_control_frames,
            requests_per_connection: serving.max_requests_per_connection,
            udp_sessions: serving.max_udp_sessions,
            mirrors: serving.max_mirrored_requests,
            mirror_body: serving.max_mirrored_body,
        },
        timeouts: ClientTimeouts {
            handshake: serving.tls_handshake_timeout,
            announcement: Duration::ZERO,
            header: serving.client_header_timeout,
            body: serving.client_body_timeout,
            keep_alive: serving.keep_alive_timeout,
            write: serving.write_timeout,
            tunnel_idle: serving.tunnel_idle_timeout,
        },
        idle_per_endpoint: serving.max_idle_upstream,
        upstream_idle: serving.upstream_idle_timeout,
        upstream_http2: UpstreamHttp2 {
            streams: usize::try_from(serving.upstream_http2_streams).unwrap_or(usize::MAX),
            connections: serving.upstream_http2_connections.into(),
            ping_after: serving.upstream_ping_after,
            ping_timeout: serving.upstream_ping_timeout,
        },
        tls: tls::settings(&serving.tls),
        hsts: tls::hsts(&serving.tls),
        ..proxy::Settings::default()
    }
}

/// Whom traces are told: as the flags say, else as OpenTelemetry's own variables do, which turn
/// nothing on.
fn tracing(flags: &flags::Tracing) -> Arc<TraceSettings> {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let collector = match (&flags.otlp_endpoint, variable(ENDPOINT)) {
        (Some(given), _) => Some(given.clone()),
        // Somebody else may have set it for all processes: what cannot be used is no error.
        (None, Some(text)) => flags::values::collector(&text).ok(),
        (None, None) => None,
    };
    let service = flags.otel_service_name.clone();
    let service = service.or_else(|| variable("OTEL_SERVICE_NAME"));
    let sampler = match flags.trace_sampling == Ratio::ALL {
        true => Sampler::AlwaysOn,
        false => Sampler::TraceIdRatioBased,
    };
    let defaults = TraceSettings::default();
    Arc::new(TraceSettings {
        collector,
        service: service.map_or(defaults.service, String::into_boxed_str),
        sampler,
        ratio: flags.trace_sampling,
        ..defaults
    })
}

/// The certificates in these files.
fn authorities(files: &[PathBuf]) -> Result<Vec<CertificateDer<'static>>, Invalid> {
    let mut all = Vec::new();
    for file in files {
        let wrong = |what: String| Invalid(format!("--backend-ca-file {}: {what}", file.display()));
        let text = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
        let before = all.len();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            rustls::RootCertStore::empty()
                .add(certificate.clone())
                .map_err(|error| wrong(error.to_string()))?;
            all.push(certificate);
        }
        if all.len() == before {
            return Err(wrong("there is no CERTIFICATE in PEM in it".to_owned()));
        }
    }
    Ok(all)
}

/// Where ingress-nginx has its databases.
const GEOIP2: &str = "/etc/ingress-controller/geoip";

/// What is known of clients' addresses: by the databases that are named, else by those that lie
/// where ingress-nginx looks. Nobody asked for these: one that is of no use is left out, and why.
fn databases(
    named: &[PathBuf],
    folder: &Path,
) -> Result<(Option<Arc<proxy::Databases>>, Vec<proxy::BadDatabase>), Invalid> {
    let (databases, left_out) = match named {
        [] => {
            let there = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let paths = there.map(|entry| entry.path());
            let is_database = |path: &PathBuf| path.extension().is_some_and(|end| end == "mmdb");
            let mut found: Vec<PathBuf> = paths.filter(is_database).collect();
            found.sort();
            proxy::Databases::open_usable(&found)
        }
        named => {
            let databases = proxy::Databases::open(named);
            let wrong = |error| Invalid(format!("--geoip2-database {error}"));
            (databases.map_err(wrong)?, Vec::new())
        }
    };
    let databases = (!databases.is_empty()).then(|| Arc::new(databases));
    Ok((databases, left_out))
}

/// Where a pod tells how it is, if nothing else is said; the port is ingress-nginx's.
fn health_address(without_ipv6: bool) -> SocketAddr {
    match without_ipv6 {
        true => (Ipv4Addr::UNSPECIFIED, HEALTH_PORT).into(),
        false => (Ipv6Addr::UNSPECIFIED, HEALTH_PORT).into(),
    }
}

/// The addresses as given, or all of this machine; and whether IPv6 had to be left out of these.
fn bind_addresses(typed: Vec<IpAddr>) -> (Vec<IpAddr>, bool) {
    if !typed.is_empty() {
        return (typed, false);
    }
    let v4 = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    let v6 = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    match TcpListener::bind((v6, 0)) {
        Ok(_) => (vec![v4, v6], false),
        Err(_) => (vec![v4], true),
    }
}

/// `--state-dir`, else what systemd gives a service, else the user's own where the XDG base
/// directories are set. The home directory is nobody's to write in unasked.
/// The state folder, as the flag or the environment says.
pub(crate) fn state_dir_of(typed: Option<PathBuf>) -> Option<PathBuf> {
    state_dir(typed, |name| std::env::var_os(name).map(PathBuf::from))
}

fn state_dir(
    typed: Option<PathBuf>,
    environment: impl Fn(&str) -> Option<PathBuf>,
) -> Option<PathBuf> {
    // Of several state directories, separated by colons, the first is the service's main one.
    let systemd = || {
        let list = environment("STATE_DIRECTORY")?;
        std::env::split_paths(&list).next()
    };
    let xdg = || Some(environment("XDG_STATE_HOME")?.join("narthex"));
    typed
        .or_else(systemd)
        .or_else(xdg)
        .filter(|path| !path.as_os_str().is_empty())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn compilation(arguments: &[&str]) -> Result<Compilation, Invalid> {
        let command = ["narthex", "check", "dir"].iter().chain(arguments);
        let cli = flags::Cli::try_parse_from(command).expect("the flags parse");
        let flags::Command::Check(check) = cli.command else {
            panic!("check was asked for");
        };
        Compilation::new(&check.compilation)
    }

    #[test]
    fn the_state_folder_is_found_in_order() {
        let environment = |name: &str| match name {
            "STATE_DIRECTORY" => Some(PathBuf::from("/var/lib/a:/var/lib/b")),
            "XDG_STATE_HOME" => Some(PathBuf::from("/home/x/.state")),
            _ => None,
        };
        let found = |typed: Option<&str>| state_dir(typed.map(PathBuf::from), environment);
        assert_eq!(found(Some("here")), Some("here".into()));
        assert_eq!(found(None), Some("/var/lib/a".into()));
        let xdg = |name: &str| environment(name).filter(|_| name == "XDG_STATE_HOME");
        assert_eq!(state_dir(None, xdg), Some("/home/x/.state/narthex".into()));
        assert_eq!(state_dir(None, |_| None), None);
    }

    #[test]
    fn databases_that_nobody_named_are_left_out_if_they_are_of_no_use() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("text.mmdb");
        std::fs::write(&file, "text").expect("the folder is writable");
        let (found, left_out) = databases(&[], folder.path()).expect("nobody named it");
        assert!(found.is_none());
        assert_eq!(left_out[0].path, file);
        assert!(databases(&[file], folder.path()).is_err());
    }

    #[test]
    fn endpoints_are_addresses_or_names() {
        let flags = [
            "--endpoint=default/web:http=[::1]:80",
            "--endpoint",
            "a/b=localhost:3000",
        ];
        let endpoints = compilation(&flags).expect("right").endpoints;
        assert_eq!(endpoints[0].port.as_deref(), Some("http"));
        assert_eq!(
            endpoints[0].addresses,
            ["[::1]:80".parse().expect("an address")]
        );
        assert_eq!(
            endpoints[1].addresses,
            ["127.0.0.1:3000".parse().expect("an address")]
        );
    }

    #[test]
    fn one_port_cannot_be_both() {
        let Invalid(message) = compilation(&["--http-port=1", "--https-port=1"]).expect_err("same");
        assert!(message.contains("both 1"), "{message}");
    }

    #[test]
    fn addresses_that_were_given_are_kept() {
        let given: Vec<IpAddr> = vec![Ipv6Addr::LOCALHOST.into()];
        assert_eq!(bind_addresses(given.clone()), (given, false));
        assert!(!bind_addresses(Vec::new()).0.is_empty());
    }
}
