//! TLS towards backends: whom we trust, and the handshake.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};

use crate::tls::plain;
use model::{BackendTls, HttpVersion};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedCipherSuite,
};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::common::Common;
use super::subject::OneOf;

/// The most configurations that one worker keeps; beyond, they are made again as needed.
const MAX_CONFIGS: usize = 1024;

/// Why there is no TLS connection to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsFault {
    /// It speaks no TLS, or none that we do.
    Handshake,
    /// Its certificate's time is over, or has not come.
    Expired,
    /// Its certificate is for another name.
    Name,
    /// Its certificate is from somebody whom we do not trust.
    Issuer,
    /// Its certificate is no good in another way.
    Certificate,
}

impl TlsFault {
    /// The word that the access log and the metrics show.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "upstream_tls_failed",
            Self::Expired => "upstream_certificate_expired",
            Self::Name => "upstream_certificate_name",
            Self::Issuer => "upstream_certificate_issuer",
            Self::Certificate => "upstream_certificate_invalid",
        }
    }

    fn of(error: &io::Error) -> Self {
        let error = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match error {
            Some(rustls::Error::InvalidCertificate(error)) => match error {
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => Self::Expired,
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => Self::Name,
                // Signed by another key than that of the issuer that we know by this name.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::Issuer,
                _ => Self::Certificate,
            },
            _ => Self::Handshake,
        }
    }
}

/// What an endpoint is offered by ALPN (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Offer {
    /// A version of HTTP, or whichever it takes.
    Http(HttpVersion),
    /// Nothing: what is inside is the client's business, who named no protocol to us.
    Nothing,
}

impl From<HttpVersion> for Offer {
    fn from(http: HttpVersion) -> Self {
        Self::Http(http)
    }
}

impl Offer {
    fn protocols(self) -> &'static [&'static [u8]] {
        match self {
            Self::Http(HttpVersion::Http1) => &[b"http/1.1"],
            Self::Http(HttpVersion::Http2) => &[b"h2"],
            Self::Http(HttpVersion::Negotiated) => &[b"h2", b"http/1.1"],
            Self::Nothing => &[],
        }
    }
}

/// Whom the process trusts to say who backends are. All workers share it.
#[derive(Debug)]
pub(crate) struct Trust {
    /// Besides the system's.
    given: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
    /// Read when the first backend needs them: most need none.
    roots: OnceCell<Arc<RootCertStore>>,
}

impl Trust {
    pub(crate) fn new(given: Vec<CertificateDer<'static>>) -> Self {
        Self {
            given,
            provider: Arc::new(default_provider()),
            roots: OnceCell::new(),
        }
    }

    /// What is offered: of a version that no suite is named of, all stay.
    fn provider(&self, tls: &BackendTls) -> Arc<CryptoProvider> {
        if tls.suites.is_empty() {
            return Arc::clone(&self.provider);
        }
        let of_13 = |suite: &SupportedCipherSuite| suite.tls13().is_some();
        let unnamed = |suite: &&SupportedCipherSuite| {
            !tls.suites.iter().any(|named| of_13(named) == of_13(suite))
        };
        let others = self.provider.cipher_suites.iter().filter(unnamed);
        Arc::new(CryptoProvider {
            cipher_suites: tls.suites.iter().chain(others).copied().collect(),
            ..(*self.provider).clone()
        })
    }

    async fn roots(&self) -> Arc<RootCertStore> {
        let read = || async {
            // Reads files, and parses some hundred certificates.
            let system = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs);
            let mut roots = RootCertStore::empty();
            match system.await {
                Ok(system) => {
                    for error in &system.errors {
                        tracing::warn!(%error, "some of the system's authorities cannot be read");
                    }
                    roots.add_parsable_certificates(system.certs);
                }
                Err(error) => tracing::error!(%error, "the system's authorities cannot be read"),
            }
            roots.add_parsable_certificates(self.given.iter().cloned());
            Arc::new(roots)
        };
        Arc::clone(self.roots.get_or_init(read).await)
    }

    /// Does a handshake whose session nobody will resume; tells whether HTTP/2 was agreed on.
    pub(crate) async fn connect(
        &self,
        socket: TcpStream,
        tls: &BackendTls,
        offer: impl Into<Offer>,
    ) -> Result<(TlsStream<TcpStream>, bool), TlsFault> {
        let offer = offer.into();
        let config = self.config(tls, offer).await;
        let config = config.map_err(|error| TlsFault::of(&io::Error::other(error)))?;
        handshake(Arc::new(config), socket, tls, offer).await
    }

    async fn config(&self, tls: &BackendTls, offer: Offer) -> Result<ClientConfig, rustls::Error> {
        let roots = match &tls.authorities {
            _ if !tls.verify => Arc::new(RootCertStore::empty()),
            None => self.roots().await,
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(authorities.iter().cloned());
                Arc::new(roots)
            }
        };
        let verifier: Arc<dyn ServerCertVerifier> = if tls.verify {
            let builder =
                WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&self.provider));
            // There is nobody at all whom we trust.
            let chain = builder
                .build()
                .map_err(|_| CertificateError::UnknownIssuer)?;
            match &tls.authorities {
                Some(authorities) if tls.as_openssl => Arc::new(Common {
                    authorities: Arc::clone(authorities),
                    chain,
                    provider: Arc::clone(&self.provider),
                }),
                _ if tls.names.is_empty() => chain,
                _ => {
                    let names = tls.names.clone();
                    Arc::new(OneOf { names, chain })
                }
            }
        } else {
            Arc::new(Unverified(Arc::clone(&self.provider)))
        };
        let mut versions = Vec::with_capacity(2);
        if tls.versions.tls13 {
            versions.push(&rustls::version::TLS13);
        }
        if tls.versions.tls12 {
            versions.push(&rustls::version::TLS12);
        }
        let builder = ClientConfig::builder_with_provider(self.provider(tls))
            .with_protocol_versions(&versions)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &tls.client {
            Some(client) => {
                let key = client.key.as_ref().clone();
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
            }
            None => builder.with_no_client_auth(),
        };
        config.enable_sni = tls.tells_name;
        let protocols = offer.protocols().iter();
        config.alpn_protocols = protocols.map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

/// One worker's way to connect by TLS.
#[derive(Debug)]
pub(crate) struct Connector {
    trust: Arc<Trust>,
    /// By the settings' address, which is not used again as long as the `Weak` is kept. Each keeps
    /// sessions to resume, which are of no use under other settings.
    configs: RefCell<HashMap<(usize, Offer), Configured>>,
}

type Configured = (Weak<BackendTls>, Arc<ClientConfig>);

impl Connector {
    pub(crate) fn new(trust: Arc<Trust>) -> Self {
        Self {
            trust,
            configs: RefCell::default(),
        }
    }

    /// Does the handshake; tells whether HTTP/2 was agreed on. The caller sets the limit.
    pub(crate) async fn connect(
        &self,
        socket: TcpStream,
        tls: &Arc<BackendTls>,
        offer: impl Into<Offer>,
    ) -> Result<(TlsStream<TcpStream>, bool), TlsFault> {
        let offer = offer.into();
        let config = self.config(tls, offer).await.map_err(|error| {
            tracing::warn!(server_name = %tls.server_name, %error, "no TLS to a backend");
            TlsFault::of(&io::Error::other(error))
        })?;
        handshake(config, socket, tls, offer).await
    }

    async fn config(
        &self,
        tls: &Arc<BackendTls>,
        offer: Offer,
    ) -> Result<Arc<ClientConfig>, rustls::Error> {
        let key = (Arc::as_ptr(tls).addr(), offer);
        if let Some((_, config)) = self.configs.borrow().get(&key) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.trust.config(tls, offer).await?);
        let mut configs = self.configs.borrow_mut();
        if configs.len() >= MAX_CONFIGS {
            configs.retain(|_, (tls, _)| tls.strong_count() > 0);
            if configs.len() >= MAX_CONFIGS {
                configs.clear();
            }
        }
        configs.insert(key, (Arc::downgrade(tls), Arc::clone(&config)));
        Ok(config)
    }

    /// Forgets the settings that nobody uses any more.
    pub(crate) fn prune(&self) {
        self.configs
            .borrow_mut()
            .retain(|_, (tls, _)| tls.strong_count() > 0);
    }
}

async fn handshake(
    config: Arc<ClientConfig>,
    socket: TcpStream,
    tls: &BackendTls,
    offer: Offer,
) -> Result<(TlsStream<TcpStream>, bool), TlsFault> {
    let name = ServerName::try_from(tls.server_name.to_string());
    let name = name.map_err(|_| TlsFault::Name)?;
    let connected = TlsConnector::from(config).connect(name, socket).await;
    let stream = connected.map_err(|error| {
        tracing::debug!(server_name = %tls.server_name, %error, "TLS to a backend failed");
        TlsFault::of(&error)
    })?;
    let is_http2 = match (offer, stream.get_ref().1.alpn_protocol()) {
        (_, Some(b"h2")) => true,
        // Who was asked for HTTP/2 alone and names nothing may still speak it.
        (Offer::Http(HttpVersion::Http2), None) => true,
        _ => false,
    };
    Ok((stream, is_http2))
}

/// Believes every certificate, as a Service's annotation asked for; but only from whoever has its
/// key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        plain::verify_tls12(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        plain::verify_tls13(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use model::Certificate;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::server::WebPkiClientVerifier;
    use rustls::sign::CertifiedKey;
    use tokio::net::TcpListener;

    use super::*;

    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        der: CertificateDer<'static>,
    }

    impl Authority {
        fn new() -> Self {
            let key = KeyPair::generate().unwrap();
            let mut parameters = CertificateParams::new([]).unwrap();
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let der = parameters.self_signed(&key).unwrap().der().clone();
            Self {
                issuer: Issuer::new(parameters, key),
                der,
            }
        }

        fn issue(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
            let key = KeyPair::generate().unwrap();
            let parameters = CertificateParams::new([name.to_owned()]).unwrap();
            let made = parameters.signed_by(&key, &self.issuer).unwrap();
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            (made.der().clone(), key)
        }
    }

    /// A server that asks for a certificate of `clients`, and how a connection to it goes.
    async fn connect(tls: BackendTls, servers: &Authority, clients: &Authority) -> bool {
        let provider = Arc::new(default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(clients.der.clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let (certificate, key) = servers.issue("backend.example");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accept = async {
            let (socket, _) = listener.accept().await.unwrap();
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
            // In TLS 1.3 it is the server who knows whether the client's certificate is good.
            acceptor.accept(socket).await.is_ok()
        };
        let trust = Trust::new(Vec::new());
        let dial = async {
            let socket = TcpStream::connect(address).await.unwrap();
            let connected = trust.connect(socket, &tls, HttpVersion::Http1).await;
            connected.is_ok()
        };
        let (accepted, dialled) = tokio::join!(accept, dial);
        accepted && dialled
    }

    #[tokio::test]
    async fn a_bundle_and_a_client_certificate_of_the_backends_own_are_used() {
        let (servers, clients) = (Authority::new(), Authority::new());
        let (certificate, key) = clients.issue("narthex.example");
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        let client = Arc::new(Certificate {
            key: Arc::new(CertifiedKey::new(vec![certificate], key)),
            source: "a test".into(),
            not_after: i64::MAX,
            staple: model::Staple::default(),
        });
        let whole = BackendTls {
            authorities: Some(vec![servers.der.clone()].into()),
            client: Some(client),
            ..BackendTls::new("backend.example")
        };
        assert!(connect(whole.clone(), &servers, &clients).await);
        let without_client = BackendTls {
            client: None,
            ..whole.clone()
        };
        assert!(!connect(without_client, &servers, &clients).await);
        let without_bundle = BackendTls {
            authorities: None,
            ..whole.clone()
        };
        assert!(!connect(without_bundle, &servers, &clients).await);
        let another = BackendTls {
            server_name: "other.example".into(),
            ..whole
        };
        assert!(!connect(another, &servers, &clients).await);
    }
}
