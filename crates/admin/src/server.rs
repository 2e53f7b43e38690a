//! The server: few connections, small heads, short time limits.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::request::{Head, MAX_HEAD, Method, Refused};
use crate::response::Response;
use crate::{AdminState, Pages, pages};

/// The most connections at one time; one more is answered with 503.
const MAX_CONNECTIONS: usize = 64;

/// The longest body of an order, in bytes: a chain and a key are a few thousand.
const MAX_BODY: usize = 256 * 1024;

/// For a head to arrive, for a connection to stay idle, and for an answer to be taken.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// The admin address or the health address, bound.
#[derive(Debug)]
pub struct AdminServer {
    pages: Pages,
    listener: std::net::TcpListener,
    address: SocketAddr,
}

/// An address cannot be bound.
#[derive(Debug)]
pub struct BindError {
    pages: Pages,
    address: SocketAddr,
    source: io::Error,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "cannot listen on the {} {}: ",
            self.pages.name(),
            self.address
        )?;
        match self.source.kind() {
            io::ErrorKind::AddrInUse => write!(
                f,
                "port {} is in use by another process; give another one with {}",
                self.address.port(),
                self.pages.flag()
            ),
            _ => self.source.fmt(f),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl AdminServer {
    /// Binds the address; connections wait until [`serve`](Self::serve).
    ///
    /// # Errors
    /// [`BindError`], which says what to do.
    pub fn bind(address: SocketAddr, pages: Pages) -> Result<Self, BindError> {
        let listener = std::net::TcpListener::bind(address);
        let listener = listener.map_err(|source| BindError {
            pages,
            address,
            source,
        })?;
        Self::of(listener, address, pages)
    }

    /// Serves on a socket that was bound to the address by another process.
    ///
    /// # Errors
    /// [`BindError`], if the system refuses it.
    pub fn of(
        listener: std::net::TcpListener,
        address: SocketAddr,
        pages: Pages,
    ) -> Result<Self, BindError> {
        let prepare = || {
            listener.set_nonblocking(true)?;
            listener.local_addr()
        };
        match prepare() {
            Ok(address) => Ok(Self {
                pages,
                listener,
                address,
            }),
            Err(source) => Err(BindError {
                pages,
                address,
                source,
            }),
        }
    }

    /// A second hold of the socket, for another process.
    ///
    /// # Errors
    /// If there are no more file descriptors.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.listener.try_clone().map(OwnedFd::from)
    }

    /// The address that is bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves for as long as the future is polled.
    ///
    /// # Errors
    /// If the listener cannot be used with the runtime.
    pub async fn serve(self, state: Arc<dyn AdminState>) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: some will be free soon.
                    let name = self.pages.name();
                    tracing::warn!(%error, "the {name} cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
                refuse(&stream);
                continue;
            };
            let state = Arc::clone(&state);
            tokio::spawn(async move {
                let _permit = permit;
                if let Err(error) = serve_connection(stream, self.pages, &state).await {
                    tracing::debug!(%error, "an admin connection broke");
                }
            });
        }
    }
}

/// Tells a client beyond the limit so, if that can be done without waiting.
fn refuse(stream: &TcpStream) {
    let answer = Response::text(503, "too many connections to this address");
    // A new connection's send buffer is empty, so the answer fits; if not, closing says enough.
    let _ = stream.try_write(&answer.into_bytes(false, true));
}

async fn serve_connection(
    mut stream: TcpStream,
    pages: Pages,
    state: &Arc<dyn AdminState>,
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(1024);
    loop {
        let head = match timeout(TIME_LIMIT, read_head(&mut stream, pages, &mut buffer)).await {
            Err(_) if buffer.is_empty() => return Ok(()),
            Err(_) => return send(&mut stream, Response::text(408, "too slow")).await,
            Ok(Err(error)) => return Err(error),
            Ok(Ok(Ok(None))) => return Ok(()),
            Ok(Ok(Err(refused))) => return send(&mut stream, refusal(&refused)).await,
            Ok(Ok(Ok(Some(head)))) => head,
        };
        buffer.drain(..head.len);
        let response = match head.method {
            Method::Post => {
                let response = order(&mut stream, pages, head, buffer, state).await?;
                return send(&mut stream, response).await;
            }
            Method::Other => return send(&mut stream, Response::method_not_allowed()).await,
            Method::Get | Method::Head => answer(pages, head.path, head.query, state).await,
        };
        let bytes = response.into_bytes(head.keep_alive, head.method == Method::Get);
        write(&mut stream, &bytes).await?;
        if !head.keep_alive {
            return finish(&mut stream).await;
        }
    }
}

/// The next head, `None` at the connection's end.
async fn read_head(
    stream: &mut TcpStream,
    pages: Pages,
    buffer: &mut Vec<u8>,
) -> io::Result<Result<Option<Head>, Refused>> {
    loop {
        match Head::parse(buffer, pages) {
            Ok(None) => {}
            parsed => return Ok(parsed),
        }
        let room = MAX_HEAD - buffer.len();
        let read = stream.take(room as u64).read_buf(buffer).await?;
        if read == 0 {
            return Ok(Ok(None));
        }
    }
}

/// Takes an order, with the body that tells of it, and has it done.
async fn order(
    stream: &mut TcpStream,
    pages: Pages,
    head: Head,
    mut body: Vec<u8>,
    state: &Arc<dyn AdminState>,
) -> io::Result<Response> {
    let Some(name) = pages::order(pages, &head.path) else {
        return Ok(Response::method_not_allowed());
    };
    let length = head.length.unwrap_or(0);
    if length > MAX_BODY {
        return Ok(Response::text(413, "the body is too long"));
    }
    let rest = async {
        while body.len() < length {
            if stream.read_buf(&mut body).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
        Ok(())
    };
    match timeout(TIME_LIMIT, rest).await {
        Err(_) => return Ok(Response::text(408, "too slow")),
        Ok(read) => read?,
    }
    body.truncate(length);
    let state = Arc::clone(state);
    // Whoever has something done may wait for long: for a CA, for example.
    let done = tokio::task::spawn_blocking(move || {
        pages::obey(name, &head.query, head.token.as_deref(), &body, &*state)
    });
    Ok(done
        .await
        .unwrap_or_else(|error| Response::text(500, &error.to_string())))
}

async fn answer(
    pages: Pages,
    path: String,
    query: String,
    state: &Arc<dyn AdminState>,
) -> Response {
    if pages::is_short(&path) {
        return pages::answer(pages, &path, &query, &**state);
    }
    let state = Arc::clone(state);
    tokio::task::spawn_blocking(move || pages::answer(pages, &path, &query, &*state))
        .await
        .unwrap_or_else(|error| Response::text(500, &error.to_string()))
}

fn refusal(refused: &Refused) -> Response {
    match refused {
        Refused::Malformed => Response::text(400, "this is no valid HTTP/1.1 request"),
        Refused::ForeignHost => Response::text(
            403,
            "the admin address answers to its IP address and to localhost, not to other names",
        ),
        Refused::TooLarge => Response::text(431, "the request's head is too large"),
    }
}

/// Sends the last answer of a connection.
async fn send(stream: &mut TcpStream, response: Response) -> io::Result<()> {
    write(stream, &response.into_bytes(false, true)).await?;
    finish(stream).await
}

async fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    // By pieces: a long answer may take longer in all, as long as it is being taken.
    for piece in bytes.chunks(64 * 1024) {
        timeout(TIME_LIMIT, stream.write_all(piece)).await??;
    }
    Ok(())
}

/// Ends a connection so that the answer arrives: what the client still sends is read for a
/// moment, because closing with unread bytes would reset the connection.
async fn finish(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut scratch = [0; 1024];
    let drain = async {
        for _ in 0..64 {
            if stream.read(&mut scratch).await? == 0 {
                break;
            }
        }
        Ok(())
    };
    timeout(Duration::from_millis(500), drain)
        .await
        .unwrap_or(Ok(()))
}
