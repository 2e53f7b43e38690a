//! Flags that decide what the manifests mean; `serve`, `check` and `explain` share them.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::Tracing;
use super::balancing::Balancing;
use super::certificates::Certificates;
use super::ingress_nginx;
use super::values::{self, Endpoint, NamespacedName};

/// Flags that decide what the manifests mean.
#[derive(Debug, Clone, Args)]
pub(crate) struct Compilation {
    /// The port on which Ingresses are served without TLS.
    #[arg(
        long,
        env = "NARTHEX_HTTP_PORT",
        value_name = "PORT",
        default_value_t = 8080
    )]
    #[arg(value_parser = clap::value_parser!(u16).range(1..), help_heading = "Ports")]
    pub(crate) http_port: u16,

    /// The port on which Ingresses are served with TLS.
    #[arg(
        long,
        env = "NARTHEX_HTTPS_PORT",
        value_name = "PORT",
        default_value_t = 8443
    )]
    #[arg(value_parser = clap::value_parser!(u16).range(1..), help_heading = "Ports")]
    pub(crate) https_port: u16,

    /// The HTTPS port as clients see it, for redirects; 443 is left out of them.
    /// [default: as --https-port]
    #[arg(long, env = "NARTHEX_PUBLIC_HTTPS_PORT", value_name = "PORT")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..), help_heading = "Ports")]
    pub(crate) public_https_port: Option<u16>,

    /// Controllers whose classes are served: `spec.controller` of IngressClass; repeatable.
    #[arg(long, env = "NARTHEX_CONTROLLER_CLASS", value_name = "CONTROLLER")]
    #[arg(value_delimiter = ',', help_heading = "Which Ingresses")]
    #[arg(default_value = "narthex.dev/ingress,k8s.io/ingress-nginx")]
    pub(crate) controller_class: Vec<String>,

    /// The class that is served whatever IngressClass objects say: a value of the old annotation
    /// kubernetes.io/ingress.class, or of spec.ingressClassName where no IngressClass has that
    /// name.
    #[arg(long, env = "NARTHEX_INGRESS_CLASS", value_name = "NAME")]
    #[arg(help_heading = "Which Ingresses")]
    pub(crate) ingress_class: Option<String>,

    /// Serve Ingresses that name no class where no IngressClass is the default.
    /// [default: true, and false in a cluster]
    #[arg(long, env = "NARTHEX_WATCH_INGRESS_WITHOUT_CLASS", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = ArgAction::Set, help_heading = "Which Ingresses")]
    pub(crate) watch_ingress_without_class: Option<bool>,

    /// The controller whose GatewayClasses are served: `spec.controllerName`.
    #[arg(
        long,
        env = "NARTHEX_GATEWAY_CONTROLLER_NAME",
        value_name = "CONTROLLER"
    )]
    #[arg(default_value = "narthex.dev/gateway", help_heading = "Gateways")]
    pub(crate) gateway_controller_name: String,

    /// Where Gateways are served without a cluster; repeatable. Each Gateway is served on those of
    /// its spec.addresses, else on all of them. [default: as --bind-address]
    #[arg(long, env = "NARTHEX_GATEWAY_ADDRESS", value_name = "ADDRESS")]
    #[arg(value_delimiter = ',', help_heading = "Gateways")]
    pub(crate) gateway_address: Vec<IpAddr>,

    /// In a cluster, the ports to which Gateways' Services lead: each Gateway has some of its own,
    /// the same on every replica.
    #[arg(
        long,
        env = "NARTHEX_GATEWAY_PORT_RANGE",
        value_name = "FIRST-LAST",
        default_value = "20000-29999"
    )]
    #[arg(value_parser = values::port_range, help_heading = "Gateways")]
    pub(crate) gateway_port_range: RangeInclusive<u16>,

    /// Answers hosts and paths that nobody claims. [default: a plain 404]
    #[arg(long, env = "NARTHEX_DEFAULT_BACKEND_SERVICE", value_name = "NS/NAME")]
    #[arg(value_parser = values::namespaced_name, help_heading = "Defaults of all routes")]
    pub(crate) default_backend_service: Option<NamespacedName>,

    /// The TLS Secret for names that have no certificate of their own. [default: self-signed]
    #[arg(long, env = "NARTHEX_DEFAULT_SSL_CERTIFICATE", value_name = "NS/NAME")]
    #[arg(value_parser = values::namespaced_name, help_heading = "Defaults of all routes")]
    pub(crate) default_ssl_certificate: Option<NamespacedName>,

    /// Let Ingresses have TLS passed on to their backends as it is, by the annotation
    /// ssl-passthrough.
    #[arg(long, env = "NARTHEX_ENABLE_SSL_PASSTHROUGH", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, help_heading = "Which Ingresses")]
    pub(crate) enable_ssl_passthrough: bool,

    /// Let Ingresses say in words of nginx's configuration what is done with their requests, by the
    /// annotations configuration-snippet and server-snippet.
    #[arg(long, env = "NARTHEX_ALLOW_SNIPPET_ANNOTATIONS", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, help_heading = "Which Ingresses")]
    pub(crate) allow_snippet_annotations: bool,

    /// The Secret with the keys of session tickets, by which all replicas resume each other's
    /// sessions of TLS. [default: each its own]
    #[arg(long, env = "NARTHEX_SESSION_TICKET_SECRET", value_name = "NS/NAME")]
    #[arg(value_parser = values::namespaced_name, help_heading = "Defaults of all routes")]
    pub(crate) session_ticket_secret: Option<NamespacedName>,

    /// Send clients of hosts that have TLS from HTTP to HTTPS (308).
    #[arg(
        long,
        env = "NARTHEX_SSL_REDIRECT",
        value_name = "BOOL",
        default_value_t = true
    )]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = ArgAction::Set, help_heading = "Defaults of all routes")]
    pub(crate) ssl_redirect: bool,

    /// The largest request body (413 beyond); 0 is no limit.
    #[arg(
        long,
        env = "NARTHEX_MAX_BODY_BYTES",
        value_name = "SIZE",
        default_value = "0"
    )]
    #[arg(value_parser = values::size, help_heading = "Defaults of all routes")]
    pub(crate) max_body_bytes: u64,

    /// An endpoint of a Service, in place of those that manifests name; repeatable.
    ///
    /// For example --endpoint default/web=127.0.0.1:3000
    #[arg(
        long,
        env = "NARTHEX_ENDPOINT",
        value_name = "NS/SERVICE[:PORT]=HOST:PORT"
    )]
    #[arg(value_parser = values::endpoint, value_delimiter = ',', help_heading = "Backends")]
    pub(crate) endpoint: Vec<Endpoint>,

    #[command(flatten)]
    pub(crate) ingress_nginx: ingress_nginx::Meaning,

    #[command(flatten)]
    pub(crate) tracing: Tracing,

    #[command(flatten)]
    pub(crate) balancing: Balancing,

    #[command(flatten)]
    pub(crate) certificates: Certificates,

    /// Show clients in handshakes what the CA answers about a certificate's revocation, where the
    /// certificate says whom to ask (OCSP stapling).
    #[arg(long, env = "NARTHEX_OCSP_STAPLING", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, help_heading = "Clients: TLS")]
    pub(crate) ocsp_stapling: bool,

    /// Let ExternalName Services lead to loopback, link-local and metadata addresses.
    #[arg(long, env = "NARTHEX_ALLOW_LOCAL_EXTERNAL_NAMES", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, help_heading = "Backends")]
    pub(crate) allow_local_external_names: bool,

    /// To establish a connection to a backend.
    #[arg(
        long,
        env = "NARTHEX_CONNECT_TIMEOUT",
        value_name = "DURATION",
        default_value = "5s"
    )]
    #[arg(value_parser = values::duration, help_heading = "Backends")]
    pub(crate) connect_timeout: Duration,

    /// Until a backend's first byte, then between two reads from it.
    #[arg(
        long,
        env = "NARTHEX_READ_TIMEOUT",
        value_name = "DURATION",
        default_value = "60s"
    )]
    #[arg(value_parser = values::duration, help_heading = "Backends")]
    pub(crate) read_timeout: Duration,

    /// Between two writes to a backend.
    #[arg(
        long,
        env = "NARTHEX_SEND_TIMEOUT",
        value_name = "DURATION",
        default_value = "60s"
    )]
    #[arg(value_parser = values::duration, help_heading = "Backends")]
    pub(crate) send_timeout: Duration,

    /// For a whole request with its response; 0 is no limit.
    #[arg(
        long,
        env = "NARTHEX_REQUEST_TIMEOUT",
        value_name = "DURATION",
        default_value = "0"
    )]
    #[arg(value_parser = values::duration, help_heading = "Backends")]
    pub(crate) request_timeout: Duration,

    /// How many hosts have metrics of their own; all others share one value.
    #[arg(
        long,
        env = "NARTHEX_METRICS_HOSTS",
        value_name = "N",
        default_value_t = 100
    )]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=10_000), help_heading = "Logs and metrics")]
    pub(crate) metrics_hosts: u16,
}
