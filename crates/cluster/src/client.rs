//! Access to an API server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fmt};

use hyper_util::client::legacy::Builder;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::{UdpSocket, lookup_host};
use tower::util::MapRequestLayer;
use tower::{BoxError, ServiceBuilder};

use crate::token::TokenFile;

/// For a connection to be established.
const CONNECT: Duration = Duration::from_secs(5);

/// How often a silent connection is asked whether its other end is still there …
const PING: Duration = Duration::from_secs(10);
/// … and how long for the answer.
const PING_ANSWER: Duration = Duration::from_secs(10);

/// How much an API server may send before it is taken in, on a stream …
const STREAM_WINDOW: u32 = 256 << 10;
/// … and on a connection. Lists come faster than they are read, and what waits is memory; hyper's
/// own limits would be 2 and 5 MiB.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Where the API server is, and who we are to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// As a pod: by the ServiceAccount's token, which is read again as it is rotated.
    InCluster,
    /// By this kubeconfig file.
    File(PathBuf),
    /// By a URL, and by certificates of those who may have issued its own (PEM), if they are given.
    Url(String, Option<PathBuf>),
    /// By the files that the environment variable `KUBECONFIG` names.
    Environment,
}

impl Access {
    /// The access that there is without being told: a pod's own, else `KUBECONFIG`'s.
    pub fn find() -> Option<Self> {
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        if is_set("KUBERNETES_SERVICE_HOST") {
            Some(Self::InCluster)
        } else if is_set("KUBECONFIG") {
            Some(Self::Environment)
        } else {
            None
        }
    }
}

/// The API server at a URL, to which nothing is said of who asks.
fn at_url(url: &str, authority: Option<&Path>) -> Result<Config, NoAccess> {
    let wrong = |error: String| NoAccess(format!("the API server's URL {url:?}: {error}"));
    let mut config = Config::new(url.parse().map_err(|error| wrong(format!("{error}")))?);
    if let Some(path) = authority {
        let wrong = |error: String| {
            NoAccess(format!(
                "--certificate-authority {}: {error}",
                path.display()
            ))
        };
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| wrong(error.to_string()))?;
        if certificates.is_empty() {
            return Err(wrong("it has no CERTIFICATE in PEM".to_owned()));
        }
        config.root_cert = Some(certificates.iter().map(|it| it.to_vec()).collect());
    }
    Ok(config)
}

/// Why there is no access, for people.
#[derive(Debug)]
pub struct NoAccess(String);

impl fmt::Display for NoAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoAccess {}

/// Everything that connecting takes. Nothing is connected before the first request.
#[derive(Clone)]
pub struct Connection {
    config: Config,
    client: Client,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("url", &self.config.cluster_url)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Reads what `access` says.
    ///
    /// # Errors
    /// [`NoAccess`], which names the file and what is wrong with it.
    pub async fn open(access: &Access) -> Result<Self, NoAccess> {
        let options = KubeConfigOptions::default();
        let config = match access {
            Access::InCluster => Config::incluster().map_err(|error| {
                NoAccess(format!(
                    "the pod's access to the cluster: {}",
                    chain(&error)
                ))
            }),
            Access::File(path) => {
                let wrong = |error| {
                    NoAccess(format!(
                        "--kubeconfig {}: {}",
                        path.display(),
                        chain(&error)
                    ))
                };
                let file = Kubeconfig::read_from(path).map_err(wrong)?;
                Config::from_custom_kubeconfig(file, &options)
                    .await
                    .map_err(wrong)
            }
            Access::Url(url, authority) => at_url(url, authority.as_deref()),
            Access::Environment => Config::from_kubeconfig(&options)
                .await
                .map_err(|error| NoAccess(format!("KUBECONFIG: {}", chain(&error)))),
        }?;
        let client = connect(&config)?;
        Ok(Self { config, client })
    }

    /// The API server's address, for people.
    pub fn url(&self) -> String {
        self.config.cluster_url.to_string()
    }

    /// The client for all but very many watches. Over HTTP/2 it has one connection, on which an
    /// API server allows some hundred requests at once.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What tells this cluster from others: where it is, and whom it is believed.
    pub(crate) fn identity(&self) -> String {
        let mut authorities = match &self.config.root_cert_file {
            // Read again as it is rotated, as for connections.
            Some(file) => std::fs::read(file).unwrap_or_default(),
            None => self
                .config
                .root_cert
                .iter()
                .flatten()
                .flatten()
                .copied()
                .collect(),
        };
        authorities.extend(
            self.config
                .tls_server_name
                .iter()
                .flat_map(|name| name.bytes()),
        );
        format!("{} {}", self.config.cluster_url, sha256(&authorities))
    }

    /// The address from which the API server is reached.
    pub(crate) async fn own_address(&self) -> Option<IpAddr> {
        let url = &self.config.cluster_url;
        let host = url.host()?.trim_matches(['[', ']']);
        let mut found = lookup_host((host, url.port_u16().unwrap_or(443)))
            .await
            .ok()?;
        let server = found.next()?;
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        // Of UDP: nothing is sent.
        let socket = UdpSocket::bind((any, 0)).await.ok()?;
        socket.connect(server).await.ok()?;
        Some(socket.local_addr().ok()?.ip())
    }

    /// Another client, with a connection of its own.
    pub(crate) fn another(&self) -> Client {
        // It could be made of this once.
        connect(&self.config).unwrap_or_else(|_| self.client.clone())
    }
}

/// A client as kube's own, but that it speaks HTTP/2 where the API server does: a hundred watches
/// share a connection, and one that has silently died is noticed.
fn connect(config: &Config) -> Result<Client, NoAccess> {
    let wrong = |error: &kube::Error| NoAccess(format!("access to the cluster: {}", chain(error)));
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    // For connections that HTTP/2's pings do not watch over.
    tcp.set_keepalive(Some(PING));
    tcp.set_keepalive_interval(Some(PING));
    tcp.set_keepalive_retries(Some(2));
    let tls = config
        .rustls_client_config()
        .map_err(|error| wrong(&error))?;
    let mut https = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = rustls::pki_types::ServerName::try_from(name.clone())
            .map_err(|error| NoAccess(format!("tls-server-name {name}: {error}")))?;
        https = https.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name));
    }
    let client = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PING_ANSWER)
        .http2_keep_alive_while_idle(true)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .build(https.enable_all_versions().wrap_connector(tcp));
    let mut others = config.clone();
    let token = TokenFile::take(&mut others.auth_info);
    let token = token.map_err(|error| NoAccess(format!("access to the cluster: {error}")))?;
    let sign = token.map(|token| {
        MapRequestLayer::new(move |request: http::Request<kube::client::Body>| token.sign(request))
    });
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(sign)
        .option_layer(others.auth_layer().map_err(|error| wrong(&error))?)
        .layer(
            config
                .extra_headers_layer()
                .map_err(|error| wrong(&error))?,
        )
        .map_err(BoxError::from)
        .service(client);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// In hexadecimal digits.
pub(crate) fn sha256(data: &[u8]) -> String {
    use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256 as SUITE;

    // The hash that TLS has anyway.
    let hash = SUITE
        .tls13()
        .map(|suite| suite.common.hash_provider.hash(data));
    let hash = hash.iter().flat_map(|hash| hash.as_ref());
    hash.map(|byte| format!("{byte:02x}")).collect()
}

/// An error with what caused it, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some errors say already what caused them.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
