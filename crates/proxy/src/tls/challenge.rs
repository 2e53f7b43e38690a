//! Handshakes by which an ACME server looks whether a name is ours (TLS-ALPN-01, RFC 8737).

use std::sync::Arc;

use model::Challenges;
use rustls::crypto::CryptoProvider;
use rustls::server::{
    Accepted, ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig,
};
use rustls::sign::CertifiedKey;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::server::StartHandshake;

use super::{HandshakeError, VERSIONS};

/// The one protocol that such a handshake offers (RFC 8737, section 3).
const PROTOCOL: &[u8] = b"acme-tls/1";

/// What such a handshake is to be shown. None of any other, and of one whose name has nothing here.
pub(super) fn wanted(
    challenges: &Challenges,
    hello: &ClientHello<'_>,
) -> Option<Arc<CertifiedKey>> {
    let mut offered = hello.alpn()?;
    if offered.next() != Some(PROTOCOL) || offered.next().is_some() {
        return None;
    }
    let shown = challenges.alpn.get(hello.server_name()?)?;
    Some(Arc::clone(shown))
}

/// Ends the handshake, and with it the connection: nothing is said inside.
pub(super) async fn show(
    provider: &Arc<CryptoProvider>,
    shown: Arc<CertifiedKey>,
    accepted: Accepted,
    tcp: TcpStream,
) -> HandshakeError {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider));
    let mut config = match builder.with_protocol_versions(VERSIONS) {
        Ok(builder) => builder
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Shown(shown))),
        Err(error) => return HandshakeError::Failed(std::io::Error::other(error)),
    };
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    let handshake = StartHandshake::from_parts(accepted, tcp).into_stream(Arc::new(config));
    match handshake.await {
        Ok(mut stream) => {
            // The server has seen what it came for, whether it hears this or not.
            let _ = stream.shutdown().await;
            HandshakeError::AcmeChallenge
        }
        Err(error) => HandshakeError::Failed(error),
    }
}

#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
