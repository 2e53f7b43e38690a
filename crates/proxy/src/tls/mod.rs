//! TLS towards clients: from the first byte of a connection to the end of the handshake.
//!
//! The ClientHello is read before anything is decided, so that the certificate table that holds at
//! that moment decides: a changed Secret is served on the next handshake and no configuration is
//! built anew for it.
//!
//! # Resumption
//!
//! Workers share one rotating ticket key, since a client's next connection may come to any of
//! them. A ticket resumes a session without showing a certificate, so it must not carry a client
//! over to another identity: not after the Secret changed, and not to another host's certificates.
//! rustls compares the server name alone. Therefore each ticket holds, under its encryption and
//! authentication, a digest of the certificates that the full handshake could have shown; where
//! today's differ, the ticket is as good as none and a full handshake follows. A policy by host (as
//! of client certificates) must become part of that digest. Sessions are kept in tickets alone:
//! rustls' session storage for TLS 1.2 would know nothing of the digest, so it is off.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use model::{CertificateSet, CertificateTable};
use rustls::crypto::aws_lc_rs::{Ticketer, cipher_suite, default_provider};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert,
    ResolvesServerCertUsingSni,
};
use rustls::sign::CertifiedKey;
use rustls::{ProtocolVersion, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::{StartHandshake, TlsStream};

/// The most bytes that may come before a ClientHello is complete. The largest that browsers send,
/// with post-quantum key shares and a ticket, are below 3 KiB.
const MAX_HELLO: usize = 16 * 1024;
/// The most configurations that one worker keeps; beyond, they are made again as needed.
const MAX_CONFIGS: usize = 1024;
/// How long a client that was sent an error may take to read it.
const LINGER: Duration = Duration::from_secs(1);
/// How much of what such a client still sends is thrown away.
const LINGER_BYTES: usize = 64 * 1024;

const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 23\r\n\
    Connection: close\r\n\r\n\
    this port speaks HTTPS\n";
/// A fatal `record_overflow` (RFC 8446, section 6), in the clear as before any key.
const TOO_LARGE: &[u8] = &[21, 3, 3, 0, 2, 2, 22];

/// What all workers share: the settings and the ticket keys.
#[derive(Debug)]
pub(crate) struct Context {
    base: ServerConfig,
    tickets: Arc<dyn ProducesTickets>,
}

impl Context {
    /// Settings for TLS 1.2 and 1.3 with new ticket keys.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub(crate) fn new() -> Result<Arc<Self>, rustls::Error> {
        // Of the key exchange groups the client's order decides; post-quantum X25519MLKEM768 is
        // among the provider's.
        let mut base = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        base.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        base.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(Self {
            base,
            tickets: Ticketer::new()?,
        }))
    }

    fn config(&self, set: &Arc<CertificateSet>) -> Arc<ServerConfig> {
        let mut config = self.base.clone();
        config.cert_resolver = Arc::new(OneSet(Arc::downgrade(set)));
        config.ticketer = Arc::new(BoundTickets {
            tickets: Arc::clone(&self.tickets),
            binding: digest(set),
        });
        Arc::new(config)
    }
}

/// One worker's way to accept TLS connections.
#[derive(Debug)]
pub(crate) struct Acceptor {
    context: Arc<Context>,
    /// By the set's address, which is not used again as long as the `Weak` is kept.
    configs: RefCell<HashMap<usize, Configured>>,
}

/// The configuration of one set of certificates.
type Configured = (Weak<CertificateSet>, Arc<ServerConfig>);

/// A connection whose handshake is done.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// What to read from and write to.
    pub(crate) stream: TlsStream<TcpStream>,
    /// Those of which the handshake showed one, or could have if a session was resumed.
    pub(crate) certificates: Arc<CertificateSet>,
    /// Whether HTTP/2 was agreed on.
    pub(crate) alpn_h2: bool,
    /// The name that the client asked for (SNI).
    pub(crate) server_name: Option<Box<str>>,
    /// The TLS version, as `TLSv1.3`.
    pub(crate) version: &'static str,
}

/// Why there is no connection. What there was to tell the client has been told.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// The client closed before it sent anything, as load balancers' checks do.
    NothingSent,
    /// The client spoke HTTP without TLS. It was answered 400.
    PlainHttp,
    /// The ClientHello is too long.
    HelloTooLarge,
    /// The client's TLS, or the connection.
    Failed(io::Error),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingSent => f.write_str("the client closed the connection at once"),
            Self::PlainHttp => f.write_str("the client spoke HTTP without TLS"),
            Self::HelloTooLarge => f.write_str("the ClientHello is too long"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Acceptor {
    /// An acceptor for one worker.
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            configs: RefCell::default(),
        }
    }

    /// Does the handshake. Takes as long as the client does: the caller sets the limit.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub(crate) async fn accept(
        &self,
        mut tcp: TcpStream,
        table: &CertificateTable,
    ) -> Result<Accepted, HandshakeError> {
        let mut hello = Hello::default();
        let accepted = loop {
            tcp.readable().await?;
            match hello.read(&tcp) {
                Ok(Some(accepted)) => break accepted,
                Ok(None) => {}
                Err(refusal) => {
                    send_last(&mut tcp, &refusal.answer).await;
                    return Err(refusal.error);
                }
            }
        };
        let server_name = server_name(&accepted.client_hello());
        let certificates = Arc::clone(table.find(server_name.as_deref()));
        let config = self.config(&certificates);
        let stream = StartHandshake::from_parts(accepted, tcp)
            .into_stream(config)
            .await?;
        let session = stream.get_ref().1;
        Ok(Accepted {
            alpn_h2: session.alpn_protocol() == Some(b"h2"),
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            stream,
            certificates,
            server_name,
        })
    }

    fn config(&self, set: &Arc<CertificateSet>) -> Arc<ServerConfig> {
        let mut configs = self.configs.borrow_mut();
        let address = Arc::as_ptr(set).addr();
        if let Some((_, config)) = configs.get(&address) {
            return Arc::clone(config);
        }
        if configs.len() >= MAX_CONFIGS {
            configs.retain(|_, (set, _)| set.strong_count() > 0);
            if configs.len() >= MAX_CONFIGS {
                configs.clear();
            }
        }
        let config = self.context.config(set);
        configs.insert(address, (Arc::downgrade(set), Arc::clone(&config)));
        config
    }
}

/// rustls has validated the name, put it into lower case and left out addresses.
fn server_name(hello: &ClientHello<'_>) -> Option<Box<str>> {
    let name = hello.server_name()?;
    Some(name.strip_suffix('.').unwrap_or(name).into())
}

/// What has been read of a ClientHello.
#[derive(Default)]
struct Hello {
    acceptor: rustls::server::Acceptor,
    received: usize,
}

/// Why a ClientHello is none, and what the client is told.
struct Refusal {
    answer: Vec<u8>,
    error: HandshakeError,
}

impl Refusal {
    fn new(answer: &[u8], error: HandshakeError) -> Self {
        Self {
            answer: answer.to_owned(),
            error,
        }
    }

    fn silent(error: impl Into<HandshakeError>) -> Self {
        Self::new(&[], error.into())
    }
}

impl Hello {
    /// Reads what there is to read. `None` if that is not all of it.
    fn read(&mut self, tcp: &TcpStream) -> Result<Option<rustls::server::Accepted>, Refusal> {
        let mut source = Source { tcp, first: None };
        let read = match self.acceptor.read_tls(&mut source) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(Refusal::silent(error)),
        };
        if read == 0 {
            return Err(Refusal::silent(match self.received {
                0 => HandshakeError::NothingSent,
                _ => io::Error::from(io::ErrorKind::UnexpectedEof).into(),
            }));
        }
        // A TLS record begins with its type, 22 here; a request line with a letter.
        let first = source.first.unwrap_or_default();
        if self.received == 0 && first.is_ascii_alphabetic() {
            return Err(Refusal::new(PLAIN_HTTP, HandshakeError::PlainHttp));
        }
        self.received += read;
        match self.acceptor.accept() {
            Ok(None) if self.received > MAX_HELLO => {
                Err(Refusal::new(TOO_LARGE, HandshakeError::HelloTooLarge))
            }
            Ok(accepted) => Ok(accepted),
            Err((error, mut alert)) => {
                let mut answer = Vec::new();
                // Writing to a vector cannot fail.
                let _ = alert.write_all(&mut answer);
                let error = io::Error::new(io::ErrorKind::InvalidData, error);
                Err(Refusal::new(&answer, error.into()))
            }
        }
    }
}

/// Reads a socket without waiting, and notes the first byte.
struct Source<'a> {
    tcp: &'a TcpStream,
    first: Option<u8>,
}

impl io::Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.tcp.try_read(buffer)?;
        self.first = self.first.or_else(|| buffer[..read].first().copied());
        Ok(read)
    }
}

/// Sends the last there is to say and waits a moment for the client to close: closing at once,
/// with unread bytes in the socket, would be a reset, which may overtake the answer.
async fn send_last(tcp: &mut TcpStream, answer: &[u8]) {
    if answer.is_empty() {
        return;
    }
    let farewell = async {
        tcp.write_all(answer).await?;
        tcp.shutdown().await?;
        let mut thrown_away = Vec::with_capacity(1024);
        let mut rest = LINGER_BYTES;
        while rest > 0 {
            thrown_away.clear();
            match tcp.read_buf(&mut thrown_away).await? {
                0 => break,
                read => rest = rest.saturating_sub(read),
            }
        }
        io::Result::Ok(())
    };
    // The client has been refused already: whether it hears so is its own matter.
    let _ = tokio::time::timeout(LINGER, farewell).await;
}

/// Chooses among one set's certificates. `Weak`, so that a cached configuration does not keep
/// private keys in memory that no snapshot has any more; [`Acceptor::accept`] holds the set.
#[derive(Debug)]
struct OneSet(Weak<CertificateSet>);

impl ResolvesServerCert for OneSet {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let set = self.0.upgrade()?;
        // With one that the client cannot use, rustls finds so and sends `handshake_failure`;
        // without any it would send `access_denied`, which is not what went wrong.
        let certificate = set
            .choose(hello.signature_schemes())
            .or_else(|| set.certificates.first())?;
        Some(Arc::clone(&certificate.key))
    }
}

const DIGEST: usize = 32;

/// Tickets that are good for one set of certificates only: see [Resumption](self#resumption).
#[derive(Debug)]
struct BoundTickets {
    tickets: Arc<dyn ProducesTickets>,
    binding: [u8; DIGEST],
}

impl ProducesTickets for BoundTickets {
    fn enabled(&self) -> bool {
        self.tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.encrypt(&[&self.binding, plain].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let mut plain = self.tickets.decrypt(cipher)?;
        if !plain.starts_with(&self.binding) {
            return None;
        }
        plain.drain(..DIGEST);
        Some(plain)
    }
}

/// SHA-256 over all chains, with lengths, so that no two sets give the same input.
fn digest(set: &CertificateSet) -> [u8; DIGEST] {
    let mut all = Vec::new();
    for certificate in &set.certificates {
        let chain = &certificate.key.cert;
        all.extend_from_slice(&(chain.len() as u64).to_be_bytes());
        for der in chain {
            all.extend_from_slice(&(der.len() as u64).to_be_bytes());
            all.extend_from_slice(der);
        }
    }
    let mut digest = [0; DIGEST];
    // The suite is one of TLS 1.3 whose hash is SHA-256, of 32 bytes.
    if let Some(suite) = cipher_suite::TLS13_AES_128_GCM_SHA256.tls13() {
        digest.copy_from_slice(suite.common.hash_provider.hash(&all).as_ref());
    }
    digest
}

#[cfg(test)]
mod tests;
