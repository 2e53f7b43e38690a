//! The first bytes of a connection: a ClientHello, or something that is none.

use std::io;
use std::time::Duration;

use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::HandshakeError;
use super::hello::{ClientHello, Reader, Wrong};

/// How long a client that was sent an error may take to read it.
const LINGER: Duration = Duration::from_secs(1);
/// How much of what such a client still sends is thrown away.
const LINGER_BYTES: usize = 64 * 1024;
/// How much is read at once.
const PIECE: usize = 4096;

const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 23\r\n\
    Connection: close\r\n\r\n\
    this port speaks HTTPS\n";
/// A fatal `record_overflow` (RFC 8446, section 6), in the clear as before any key.
pub(super) const TOO_LARGE: &[u8] = &[21, 3, 3, 0, 2, 2, 22];

/// What has been read of a ClientHello.
pub(super) struct Opening {
    reader: Reader,
    /// The most bytes that it may have.
    most: usize,
}

impl Opening {
    /// Of a connection from which nothing has been read.
    pub(super) fn new(most: usize) -> Self {
        let reader = Reader::new(most);
        Self { reader, most }
    }

    /// Reads the ClientHello as who passes it on does.
    pub(super) async fn read(&mut self, tcp: &TcpStream) -> Result<ClientHello, HandshakeError> {
        loop {
            tcp.readable().await?;
            match self.take(tcp) {
                Some(Ok(hello)) => return Ok(hello),
                Some(Err(error)) => return Err(error),
                None => {}
            }
        }
    }

    /// Takes what there is. None if that is not all.
    fn take(&mut self, tcp: &TcpStream) -> Option<Result<ClientHello, HandshakeError>> {
        // Not held while anything is waited for: a connection has none.
        let mut piece = [0; PIECE];
        let wanted = self.reader.wanted().min(PIECE);
        let read = match tcp.try_read(&mut piece[..wanted]) {
            Ok(0) => return Some(Err(ended(self.reader.bytes().len()))),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => return Some(Err(error.into())),
        };
        match self.reader.add(&piece[..read]) {
            Ok(Some(hello)) => Some(Ok(hello)),
            Ok(None) => None,
            Err(Wrong::TooLarge) => Some(Err(HandshakeError::HelloTooLarge)),
            Err(Wrong::Malformed) if is_plain_http(self.reader.bytes()) => {
                Some(Err(HandshakeError::PlainHttp))
            }
            Err(Wrong::Malformed) => {
                let why = "not a ClientHello whose server name is beyond doubt";
                let error = io::Error::new(io::ErrorKind::InvalidData, why);
                Some(Err(error.into()))
            }
        }
    }

    /// All that has been read, which is to be passed on.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.reader.into_bytes()
    }

    /// Reads the ClientHello, or the rest of it, as who ends TLS does. Clients are told what is
    /// wrong with theirs.
    pub(super) async fn accept(self, tcp: &mut TcpStream) -> Result<Accepted, HandshakeError> {
        let bytes = self.reader.into_bytes();
        let mut hello = Hello {
            acceptor: Acceptor::default(),
            received: 0,
            most: self.most,
        };
        let mut given = &*bytes;
        loop {
            let read = if given.is_empty() {
                tcp.readable().await?;
                hello.receive(tcp)
            } else {
                hello.read(&mut given)
            };
            match read {
                Ok(Some(accepted)) => return Ok(accepted),
                Ok(None) => {}
                Err(refusal) => {
                    send_last(tcp, &refusal.answer).await;
                    return Err(refusal.error);
                }
            }
        }
    }
}

/// A TLS record begins with its type, 22 here; a request line with a letter.
fn is_plain_http(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
}

/// The connection ended after so many bytes.
fn ended(received: usize) -> HandshakeError {
    match received {
        0 => HandshakeError::NothingSent,
        _ => io::Error::from(io::ErrorKind::UnexpectedEof).into(),
    }
}

/// What rustls has read of a ClientHello.
struct Hello {
    acceptor: Acceptor,
    received: usize,
    most: usize,
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
    /// Takes what there is. `None` if that is not all of it.
    fn receive(&mut self, tcp: &TcpStream) -> Result<Option<Accepted>, Refusal> {
        let mut piece = [0; PIECE];
        match tcp.try_read(&mut piece) {
            Ok(0) => Err(Refusal::silent(ended(self.received))),
            Ok(count) => self.read(&mut &piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(Refusal::silent(error)),
        }
    }

    /// Takes some of what is given. `None` if that is not all of it.
    fn read(&mut self, given: &mut &[u8]) -> Result<Option<Accepted>, Refusal> {
        if self.received == 0 && is_plain_http(given) {
            return Err(Refusal::new(PLAIN_HTTP, HandshakeError::PlainHttp));
        }
        match self.acceptor.read_tls(given) {
            Ok(read) => self.received += read,
            Err(error) => return Err(Refusal::silent(error)),
        }
        match self.acceptor.accept() {
            Ok(None) if self.received > self.most => {
                Err(Refusal::new(TOO_LARGE, HandshakeError::HelloTooLarge))
            }
            // What it has not taken would be lost. It takes whole pieces, unless it is full.
            Ok(Some(_)) if !given.is_empty() => {
                Err(Refusal::silent(io::Error::from(io::ErrorKind::InvalidData)))
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

/// Sends the last there is to say and waits a moment for the client to close: closing at once,
/// with unread bytes in the socket, would be a reset, which may overtake the answer.
pub(super) async fn send_last(tcp: &mut TcpStream, answer: &[u8]) {
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
