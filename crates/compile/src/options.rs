//! What the command line decides about compiling.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use model::policy::Retry;
use model::{Certificate, Extras, Timeouts, Traced};

use crate::ingress::annotations::table::Risk;
use crate::issuance::AcmeIssuer;

/// What the command line decides about compiling.
#[derive(Debug, Clone)]
pub struct Options {
    /// The values of an IngressClass's `spec.controller` that mean us (`--controller-class`).
    pub controller_classes: Vec<String>,
    /// The value of the old annotation `kubernetes.io/ingress.class` that means us, whatever
    /// IngressClass objects there are; and of `spec.ingressClassName`, where no IngressClass has
    /// that name (`--ingress-class`).
    pub ingress_class: Option<String>,
    /// Whether Ingresses are served that name a class which no IngressClass defines: where there
    /// is no other controller whose they could be.
    pub serve_unknown_classes: bool,
    /// Whether Ingresses without a class are served where no IngressClass is the default
    /// (`--watch-ingress-without-class`).
    pub watch_without_class: bool,
    /// Namespace and name of the Service for requests that nobody claims, by its first port
    /// (`--default-backend-service`).
    pub default_backend_service: Option<(String, String)>,
    /// Namespace and name of ingress-nginx's ConfigMap (`--configmap`).
    pub config_map: Option<(String, String)>,
    /// Namespace and name of the ConfigMap that lists TCP ports of Services
    /// (`--tcp-services-configmap`).
    pub tcp_services: Option<(String, String)>,
    /// The same for UDP (`--udp-services-configmap`).
    pub udp_services: Option<(String, String)>,
    /// Namespace and name of the Secret for handshakes that nobody's certificate is for
    /// (`--default-ssl-certificate`).
    pub default_certificate: Option<(String, String)>,
    /// Whether Ingresses can have TLS passed on to their backends as it is
    /// (`--enable-ssl-passthrough`).
    pub ssl_passthrough: bool,
    /// Whether handshakes show what CAs answer about certificates (`--ocsp-stapling`).
    pub ocsp_stapling: bool,
    /// Namespace and name of the Secret with the keys of session tickets that all replicas share.
    pub session_ticket_secret: Option<(String, String)>,
    /// Used where there is no default certificate, or a broken one.
    pub fallback_certificate: Arc<Certificate>,
    /// Whether hosts with TLS send clients that came without it to HTTPS (`--ssl-redirect`).
    pub ssl_redirect: bool,
    /// The port of the listener without TLS.
    pub http_port: u16,
    /// The port of the listener with TLS.
    pub https_port: u16,
    /// The port that redirects to HTTPS name; what clients see may not be `https_port`.
    pub public_https_port: u16,
    /// Time limits towards backends.
    pub timeouts: Arc<Timeouts>,
    /// The largest request body in bytes; 0 is no limit.
    pub max_body: u64,
    /// Endpoints given on the command line (`--endpoint`); they replace a Service's own.
    pub endpoints: Vec<EndpointOverride>,
    /// The node that we are on, to prefer endpoints there (`--node-name`).
    pub node_name: Option<String>,
    /// The zone that we are in, to prefer endpoints there (`--zone`).
    pub zone: Option<String>,
    /// The most requests at once that a backend has (`--max-backend-requests`); 0 is no limit.
    pub max_backend_requests: u32,
    /// When requests are sent again (`--max-attempts` and its like).
    pub retry: Retry,
    /// The most attempts that an Ingress can ask for (`--max-next-upstream-tries`).
    pub most_tries: u8,
    /// How many hosts get metrics of their own; all others share one value.
    pub metrics_hosts: u16,
    /// The value of a GatewayClass's `spec.controllerName` that means us
    /// (`--gateway-controller-name`).
    pub gateway_controller: String,
    /// Which ports serve Gateways.
    pub gateway_ports: GatewayPorts,
    /// Which Gateways are this process's.
    pub gateway_scope: GatewayScope,
    /// The lowest port that can be bound; to those below, 8000 is added.
    pub lowest_port: u16,
    /// After so long without a byte in either direction a TCP connection of a TCPRoute or TLSRoute
    /// ends (`--tunnel-idle-timeout`).
    pub stream_idle: Duration,
    /// After so long without a datagram in either direction a session of a UDPRoute ends
    /// (`--udp-idle-timeout`).
    pub datagram_idle: Duration,
    /// What certificates are obtained.
    pub certificates: CertificateOptions,
    /// What ingress-nginx's annotations begin with, without the slash (`--annotations-prefix`).
    pub annotations_prefix: String,
    /// Whether Ingresses with a default backend are served; else they are left out
    /// (`--disable-catch-all`).
    pub catch_alls: bool,
    /// Whether Services of type ExternalName are served (`--disable-svc-external-name`).
    pub external_names: bool,
    /// Whether the IngressClass of the name in `ingress_class` is ours, whatever its controller
    /// (`--ingress-class-by-name`).
    pub class_by_name: bool,
    /// Whether a value that ingress-nginx's validation refuses leaves its Ingress out
    /// (`--enable-annotation-validation`).
    pub validates_annotations: bool,
    /// The most that annotations may risk; one that risks more leaves its Ingress out
    /// (`annotations-risk-level`).
    pub annotations_risk: Risk,
    /// Whether Ingresses may have text of nginx's configuration (`allow-snippet-annotations`).
    pub allow_snippets: bool,
    /// Whether requests are traced (OpenTelemetry) where nothing else is said (`--otlp-endpoint`).
    pub traces: bool,
}

impl Options {
    /// Where session tickets' keys are: as the flag says, or else where we keep them.
    pub(crate) fn ticket_secret(&self) -> Option<&(String, String)> {
        let given = self.session_ticket_secret.as_ref();
        given.or(self.certificates.tickets.as_ref())
    }

    /// What rules say besides, where nothing else does.
    pub(crate) fn extras(&self) -> Option<Arc<Extras>> {
        static TRACED: LazyLock<Arc<Extras>> = LazyLock::new(|| {
            Arc::new(Extras {
                traced: Some(Arc::new(Traced {
                    operation: None,
                    trusts: true,
                })),
                ..Extras::default()
            })
        });
        self.traces.then(|| Arc::clone(&TRACED))
    }

    /// The defaults, which are ingress-nginx's where it has any.
    pub fn new(fallback_certificate: Arc<Certificate>) -> Self {
        Self {
            controller_classes: vec!["narthex.dev/ingress".into(), "k8s.io/ingress-nginx".into()],
            ingress_class: None,
            serve_unknown_classes: true,
            watch_without_class: false,
            default_backend_service: None,
            config_map: None,
            tcp_services: None,
            udp_services: None,
            default_certificate: None,
            ssl_passthrough: false,
            ocsp_stapling: false,
            session_ticket_secret: None,
            fallback_certificate,
            ssl_redirect: true,
            http_port: 8080,
            https_port: 8443,
            public_https_port: 443,
            timeouts: Arc::new(Timeouts {
                connect: Duration::from_secs(5),
                send: Duration::from_secs(60),
                read: Duration::from_secs(60),
                total: Duration::ZERO,
                attempt: Duration::ZERO,
            }),
            max_body: 0,
            endpoints: Vec::new(),
            node_name: None,
            zone: None,
            max_backend_requests: 0,
            retry: Retry::default(),
            most_tries: 32,
            metrics_hosts: 100,
            gateway_controller: "narthex.dev/gateway".into(),
            gateway_ports: GatewayPorts::Own([].into()),
            gateway_scope: GatewayScope::All,
            lowest_port: 0,
            stream_idle: Duration::from_secs(3600),
            datagram_idle: Duration::from_secs(60),
            certificates: CertificateOptions::default(),
            annotations_prefix: "nginx.ingress.kubernetes.io".into(),
            catch_alls: true,
            external_names: true,
            class_by_name: false,
            validates_annotations: true,
            annotations_risk: Risk::High,
            allow_snippets: false,
            traces: false,
        }
    }
}

/// What certificates are obtained.
#[derive(Debug, Clone)]
pub struct CertificateOptions {
    /// The ACME server of the command line (`--acme-directory` and its like).
    pub acme: Option<Box<AcmeIssuer>>,
    /// The namespaces that may use it, with `*` for any letters; none is all
    /// (`--acme-namespaces`).
    pub acme_namespaces: Vec<String>,
    /// Namespace and name of the Secret with what ACME servers are to be shown.
    pub challenges: Option<(String, String)>,
    /// Namespace and name of the Secret with session tickets' keys that we make ourselves.
    pub tickets: Option<(String, String)>,
    /// Where the Secrets are that ClusterIssuers refer to (`--cluster-resource-namespace`).
    pub cluster_resources: String,
    /// Whether Certificate objects ask for certificates: where there is no cert-manager.
    pub serves_objects: bool,
}

impl Default for CertificateOptions {
    fn default() -> Self {
        Self {
            acme: None,
            acme_namespaces: Vec::new(),
            challenges: None,
            tickets: None,
            cluster_resources: "cert-manager".to_owned(),
            serves_objects: true,
        }
    }
}

/// Which ports serve Gateways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayPorts {
    /// Their own, on these addresses, or on all that the process listens on (`--gateway-address`).
    Own(Box<[IpAddr]>),
    /// Some of a range, to which each Gateway's Service leads (`--gateway-port-range`).
    Range(RangeInclusive<u16>),
}

/// Which Gateways are this process's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayScope {
    /// All of them: there is no cluster, and nobody else.
    All,
    /// Those that share a data plane.
    Shared {
        /// Whether others can have one of their own, which is made here (`--gateway-image`).
        dedicated: bool,
    },
    /// One, whose data plane this is, and nothing else: no Ingress either (`--gateway`).
    One {
        /// Its namespace.
        namespace: Box<str>,
        /// Its name.
        name: Box<str>,
    },
}

/// Where a Service's endpoints are, as the command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointOverride {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub service: String,
    /// The Service port, by name or number; none is every port.
    pub port: Option<String>,
    /// Where to connect.
    pub addresses: Vec<SocketAddr>,
}
