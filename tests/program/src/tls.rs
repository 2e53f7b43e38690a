//! TLS clients whose every choice a test can make and see.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, NamedGroup,
    RootCertStore, SignatureScheme, StreamOwned, SupportedProtocolVersion,
};

use crate::certificate::Certificate;
use crate::http1::{Conn, dial};

/// How a client behaves; cheap to change by field.
#[derive(Clone)]
pub struct Client {
    pub config: ClientConfig,
}

/// What a handshake settled.
#[derive(Clone, Debug)]
pub struct Handshake {
    pub certificate: CertificateDer<'static>,
    pub alpn: Option<String>,
    pub version: rustls::ProtocolVersion,
    pub kind: HandshakeKind,
    pub suite: rustls::CipherSuite,
}

impl Client {
    /// Takes any certificate: the test looks at it.
    pub fn trusting_anything() -> Self {
        Self::with(rustls::ALL_VERSIONS, aws_lc_rs::default_provider())
    }

    /// Takes any certificate but speaks only `versions`.
    pub fn speaking(versions: &[&'static SupportedProtocolVersion]) -> Self {
        Self::with(versions, aws_lc_rs::default_provider())
    }

    /// Offers TLS 1.2 with suites of one certificate type only: `ECDSA` or `RSA`.
    pub fn able_only(algorithm: &str) -> Self {
        let mut provider = aws_lc_rs::default_provider();
        let wanted = format!("_{algorithm}_");
        provider
            .cipher_suites
            .retain(|suite| format!("{:?}", suite.suite()).contains(&wanted));
        Self::with(&[&rustls::version::TLS12], provider)
    }

    /// Takes any certificate, and begins with a key share of more than a kilobyte, as browsers do.
    pub fn post_quantum() -> Self {
        let mut provider = aws_lc_rs::default_provider();
        provider
            .kx_groups
            .sort_by_key(|group| group.name() != NamedGroup::X25519MLKEM768);
        Self::with(rustls::ALL_VERSIONS, provider)
    }

    /// Verifies as browsers do, against one root.
    pub fn trusting(root: &CertificateDer<'static>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).expect("a root certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .expect("versions and suites that fit")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { config }
    }

    /// Takes any certificate, and can do what a provider can.
    pub fn able(provider: CryptoProvider) -> Self {
        Self::with(rustls::ALL_VERSIONS, provider)
    }

    fn with(versions: &[&'static SupportedProtocolVersion], provider: CryptoProvider) -> Self {
        let provider = Arc::new(provider);
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("versions and suites that fit")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anything(provider)))
            .with_no_client_auth();
        Self { config }
    }

    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        self
    }

    /// Shows a certificate to who asks for one.
    pub fn showing(mut self, certificate: &Certificate) -> Self {
        let chain = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes());
        let chain: Vec<_> = chain.collect::<Result<_, _>>().expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).expect("PEM");
        let key = aws_lc_rs::sign::any_supported_type(&key).expect("a key");
        let shown = SingleCertAndKey::from(CertifiedKey::new(chain, key));
        self.config.client_auth_cert_resolver = Arc::new(shown);
        // Sessions are for one identity.
        self.config.resumption = Resumption::default();
        self
    }

    /// No server name in the handshake.
    pub fn without_sni(mut self) -> Self {
        self.config.enable_sni = false;
        self
    }

    /// A handshake with `host` as server name on the loopback address.
    pub fn connect(&self, port: u16, host: &str) -> io::Result<(Conn, Handshake)> {
        self.connect_to(SocketAddr::from(([127, 0, 0, 1], port)), host)
    }

    pub fn connect_to(&self, address: SocketAddr, host: &str) -> io::Result<(Conn, Handshake)> {
        self.connect_over(dial(address)?, host)
    }

    /// The same on a connection that something was sent on before.
    pub fn connect_over(&self, mut tcp: TcpStream, host: &str) -> io::Result<(Conn, Handshake)> {
        let kept = tcp.try_clone()?;
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let mut tls =
            ClientConnection::new(Arc::new(self.config.clone()), name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        let handshake = Handshake {
            certificate: tls.peer_certificates().expect("a server shows one")[0]
                .clone()
                .into_owned(),
            alpn: tls
                .alpn_protocol()
                .map(|name| String::from_utf8_lossy(name).into_owned()),
            version: tls.protocol_version().expect("settled"),
            kind: tls.handshake_kind().expect("settled"),
            suite: tls.negotiated_cipher_suite().expect("settled").suite(),
        };
        Ok((
            Conn::over(Box::new(StreamOwned::new(tls, tcp)), kept),
            handshake,
        ))
    }

    /// The certificate shown for `host`.
    #[track_caller]
    pub fn certificate(&self, port: u16, host: &str) -> CertificateDer<'static> {
        self.connect(port, host).expect("a handshake").1.certificate
    }
}

/// Believes every certificate, but not every signature.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
