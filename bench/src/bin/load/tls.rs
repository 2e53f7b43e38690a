//! TLS 1.3 clients: one handshake a connection, and the configuration that makes all servers do
//! the same work (X25519, AES-128-GCM).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::http;

pub(crate) fn configuration(resume: bool) -> Arc<ClientConfig> {
    let provider = Arc::new(CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..aws_lc_rs::default_provider()
    });
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the suite is of TLS 1.3");
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    if !resume {
        config.resumption = Resumption::disabled();
    }
    Arc::new(config)
}

pub(crate) async fn connect(
    to: SocketAddr,
    config: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(http::HOST).expect("a DNS name");
    TlsConnector::from(config).connect(name, stream).await
}

/// Connections one after another on each of `connections` tasks.
pub(crate) async fn handshakes(
    to: SocketAddr,
    connections: usize,
    time: Duration,
    resume: bool,
) -> io::Result<Value> {
    let end = Instant::now() + time;
    let tasks: Vec<_> = (0..connections)
        .map(|_| {
            tokio::spawn(async move {
                let config = configuration(resume);
                let mut made = Made::default();
                while Instant::now() < end {
                    made.one(to, &config).await;
                }
                made
            })
        })
        .collect();
    let mut total = Made::default();
    for task in tasks {
        let made = task.await.map_err(io::Error::other)?;
        total.full += made.full;
        total.resumed += made.resumed;
        total.errors += made.errors;
    }
    let (wanted, other) = match resume {
        true => (total.resumed, total.full),
        false => (total.full, total.resumed),
    };
    // The first connection of each task has nothing to resume.
    if other > wanted / 20 + connections {
        let said = format!("{wanted} handshakes of the wanted kind, {other} of the other");
        return Err(io::Error::other(said));
    }
    Ok(json!({ "requests": wanted + other, "errors": total.errors }))
}

#[derive(Default)]
struct Made {
    full: usize,
    resumed: usize,
    errors: usize,
}

impl Made {
    async fn one(&mut self, to: SocketAddr, config: &Arc<ClientConfig>) {
        match exchange(to, Arc::clone(config)).await {
            Ok(Some(HandshakeKind::Resumed)) => self.resumed += 1,
            Ok(_) => self.full += 1,
            Err(_) => {
                self.errors += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

async fn exchange(to: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Option<HandshakeKind>> {
    let mut stream = connect(to, config).await?;
    let mut buffer = Vec::with_capacity(4096);
    http::ask(&mut stream, http::get("close").as_bytes(), &mut buffer).await?;
    // To the end, where tickets are; servers that end without close_notify end all the same.
    let _ = stream.read_to_end(&mut buffer).await;
    Ok(stream.get_ref().1.handshake_kind())
}

/// Verifies signatures, as a client must to know whom it talks to, but trusts every certificate.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General(
            "only TLS 1.3 is measured".to_owned(),
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
