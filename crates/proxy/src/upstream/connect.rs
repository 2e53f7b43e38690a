//! Connections that are more than a TCP connection: TLS, HTTP/2, or whichever is agreed on.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use model::HttpVersion;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::http2::Http2Stream;
use super::tls::{Offer, TlsFault};
use super::{EndpointState, Lease, Pool, Upstream};
use crate::io::Stream;
use crate::record::Reason;
use crate::timer::Timer;

/// What one exchange has of an endpoint.
#[derive(Debug)]
pub(crate) enum Connected {
    /// A connection.
    Http1(Upstream),
    /// A stream of a connection.
    Http2(Http2Stream),
}

impl Connected {
    /// Whether the connection has carried an exchange before.
    pub(crate) fn is_reused(&self) -> bool {
        match self {
            Self::Http1(upstream) => upstream.reused,
            Self::Http2(stream) => stream.reused,
        }
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectError {
    Failed,
    Timeout,
    /// There are as many connections as may be, and each has all the streams that it may have.
    Busy,
    Tls(TlsFault),
}

impl ConnectError {
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Failed => Reason::ConnectFailed,
            Self::Timeout => Reason::ConnectTimeout,
            Self::Busy => Reason::UpstreamBusy,
            Self::Tls(fault) => Reason::UpstreamTls(fault),
        }
    }
}

/// A TCP connection.
pub(super) async fn tcp(address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let connected = TcpStream::connect(address).await;
    let socket = connected.map_err(|_| ConnectError::Failed)?;
    // Without it, the last piece of a body could wait for an acknowledgement.
    let _ = socket.set_nodelay(true);
    Ok(socket)
}

impl Pool {
    /// A connection to an endpoint, or a stream of one, as its transport says. `upgrade` is
    /// whether the exchange may become a tunnel, which HTTP/1 alone has here.
    pub(crate) async fn negotiate(
        &self,
        endpoint: Rc<EndpointState>,
        fresh: bool,
        upgrade: bool,
        limit: Duration,
    ) -> Result<Connected, ConnectError> {
        let lease = Lease::new(endpoint);
        let mut busy = false;
        let result = {
            let http = lease.0.endpoint.transport.http;
            let connect = async {
                match http {
                    HttpVersion::Http1 => self.http1(&lease, fresh).await.map(Connected::Http1),
                    HttpVersion::Negotiated if upgrade => {
                        self.http1(&lease, fresh).await.map(Connected::Http1)
                    }
                    _ => self.either(&lease, fresh, &mut busy).await,
                }
            };
            Timer::default().limit(limit, connect).await
        };
        result.unwrap_or(Err(if busy {
            ConnectError::Busy
        } else {
            ConnectError::Timeout
        }))
    }

    /// A new connection for one client, that begins with `opening`, by which the endpoint is told
    /// of the client. Of HTTP it speaks version 1, as the streams of HTTP/2 would be many clients',
    /// and carries one exchange.
    pub(crate) async fn announced(
        &self,
        endpoint: Rc<EndpointState>,
        opening: &[u8],
        offer: Offer,
        limit: Duration,
    ) -> Result<Upstream, ConnectError> {
        let lease = Lease::new(endpoint);
        let connect = async {
            let mut socket = tcp(lease.0.address()).await?;
            let opened = socket.write_all(opening).await;
            opened.map_err(|_| ConnectError::Failed)?;
            let (stream, _) = self.secure(socket, &lease, offer).await?;
            Ok(Upstream {
                exclusive: true,
                ..Upstream::new(stream, lease.again())
            })
        };
        let connected = Timer::default().limit(limit, connect).await;
        connected.unwrap_or(Err(ConnectError::Timeout))
    }

    async fn http1(&self, lease: &Lease, fresh: bool) -> Result<Upstream, ConnectError> {
        if let Some(idle) = self.idle(&lease.0, fresh) {
            return Ok(idle);
        }
        let (stream, _) = self.dial(lease, HttpVersion::Http1).await?;
        Ok(Upstream::new(stream, lease.again()))
    }

    /// A stream of an HTTP/2 connection; or a connection of HTTP/1, if the endpoint prefers that.
    async fn either(
        &self,
        lease: &Lease,
        fresh: bool,
        busy: &mut bool,
    ) -> Result<Connected, ConnectError> {
        let http = lease.0.endpoint.transport.http;
        let connections = &**lease.0.http2.get_or_init(Box::default);
        loop {
            // Which of them are dead is known: none needs another in its place.
            if let Some(stream) = connections.take(lease, &self.http2) {
                return Ok(Connected::Http2(stream));
            }
            if connections.prefers_http1()
                && let Some(idle) = self.idle(&lease.0, fresh)
            {
                return Ok(Connected::Http1(idle));
            }
            let Some(opening) = connections.may_open(&self.http2) else {
                *busy = !connections.is_opening();
                connections.changed().await;
                continue;
            };
            *busy = false;
            let (stream, is_http2) = self.dial(lease, http).await?;
            if !is_http2 {
                opening.settle_for_http1();
                return Ok(Connected::Http1(Upstream::new(stream, lease.again())));
            }
            let stream = opening.begin(stream, lease, &self.http2).await;
            return stream.map(Connected::Http2).ok_or(ConnectError::Failed);
        }
    }

    /// A new connection; tells whether it is one of HTTP/2.
    async fn dial(&self, lease: &Lease, http: HttpVersion) -> Result<(Stream, bool), ConnectError> {
        let socket = tcp(lease.0.address()).await?;
        self.secure(socket, lease, http.into()).await
    }

    /// The connection with TLS, if the endpoint has it.
    async fn secure(
        &self,
        socket: TcpStream,
        lease: &Lease,
        offer: Offer,
    ) -> Result<(Stream, bool), ConnectError> {
        let Some(tls) = &lease.0.endpoint.transport.tls else {
            let is_http2 = offer == Offer::Http(HttpVersion::Http2);
            return Ok((socket.into(), is_http2));
        };
        let connected = self.connector.connect(socket, tls, offer).await;
        let (stream, is_http2) = connected.map_err(ConnectError::Tls)?;
        Ok((stream.into(), is_http2))
    }
}
