//! The client's side of an exchange, whatever its protocol.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use model::{CertificateSet, Entrance};
use rustls::CipherSuite;

use crate::geo::Databases;
use crate::headers::{Headers, ResponseHead};
use crate::record::Reason;
use crate::tls::Presented;

/// A client's connection.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// Where it came in; the port is the configured one.
    pub(crate) entrance: Entrance,
    /// The port as the client knows it.
    pub(crate) public_port: u16,
    /// The other end; never an IPv4 address in IPv6 clothes.
    pub(crate) peer: SocketAddr,
    /// This end: the address that the client, or the load balancer before us, connected to.
    pub(crate) local: SocketAddr,
    /// The peer's address as text, made once.
    pub(crate) peer_text: Box<str>,
    /// Whether the peer's forwarding fields are believed.
    pub(crate) trusted: bool,
    /// Whether a load balancer has announced it as one to the port of HTTPS (ingress-nginx:
    /// `use-proxy-protocol`).
    pub(crate) announced_https: bool,
    /// What is known of addresses.
    pub(crate) geo: Option<Arc<Databases>>,
    /// Boxed, as most connections inside of a cluster have none.
    pub(crate) tls: Option<Box<Tls>>,
}

/// What the handshake settled.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    /// As `TLSv1.3`.
    pub(crate) version: &'static str,
    /// Which suite, once the handshake is over.
    pub(crate) suite: Option<CipherSuite>,
    /// The name that the client asked for (SNI).
    pub(crate) server_name: Option<Box<str>>,
    /// The certificates that the server name selected.
    pub(crate) certificates: Arc<CertificateSet>,
    /// What the client has shown, where it was asked.
    pub(crate) presented: Option<Arc<Presented>>,
}

/// The length of a message's body, as its head announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// No body, and no word of one.
    Absent,
    /// So many bytes.
    Known(u64),
    /// The body's own framing tells.
    Unknown,
}

/// Why the client's side failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientFault {
    /// It closed, or reset the stream.
    Closed,
    /// Its body is no body.
    Malformed,
}

impl ClientFault {
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Closed => Reason::ClientClosed,
            Self::Malformed => Reason::BadRequest,
        }
    }
}

impl From<io::Error> for ClientFault {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// How much of a connection its other end has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Its direction: it may still want an answer.
    Direction,
    /// All.
    Connection,
}

/// A request's body.
pub(crate) trait RequestBody {
    /// Its length as announced.
    fn length(&self) -> Length;

    /// The next of it; nothing at the end.
    async fn fill(&mut self) -> Result<&[u8], ClientFault>;

    /// Says that so much of what `fill` gave has been taken.
    fn consume(&mut self, count: usize);

    /// Whether it has been read to its end.
    fn is_done(&self) -> bool;

    /// Whether `fill` would not wait.
    fn has_buffered(&mut self) -> bool;

    /// Waits until the client goes away, as far as this side of it shows.
    async fn closed(&mut self) -> Closed;

    /// What followed it.
    fn trailers(&self) -> &Headers;

    /// From here on it is one direction of a tunnel.
    fn become_tunnel(&mut self);

    /// Begins anew, if all of it is held for that. Whether it is.
    fn rewind(&mut self) -> bool {
        false
    }
}

/// Where a response goes.
pub(crate) trait ResponseSink {
    /// An interim response (1xx).
    async fn interim(&mut self, head: &ResponseHead) -> Result<(), ClientFault>;

    /// The head. `keep` is whether the connection can be used again after this exchange.
    /// May wait for `flush` to be sent.
    async fn head(
        &mut self,
        head: &ResponseHead,
        length: Length,
        keep: bool,
    ) -> Result<(), ClientFault>;

    /// A piece of the body; `last` if `end` follows without trailers. May wait for `flush`.
    async fn data(&mut self, bytes: &[u8], last: bool) -> Result<(), ClientFault>;

    /// Sends what waits.
    async fn flush(&mut self) -> Result<(), ClientFault>;

    /// The end of the body; sends all.
    async fn end(&mut self, trailers: &Headers) -> Result<(), ClientFault>;

    /// The head that opens a tunnel; sent at once.
    async fn open_tunnel(&mut self, head: &ResponseHead) -> Result<(), ClientFault>;

    /// Whether the client has gone away, as far as this side of it shows.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Whether the head has been given.
    fn is_begun(&self) -> bool;

    /// Cuts the response, so that the client sees that it is not whole.
    fn abort(&mut self);
}

/// What a sink that only changes heads and bodies leaves to the one behind it, its field `sink`.
macro_rules! passes_on {
    () => {
        async fn interim(
            &mut self,
            head: &$crate::headers::ResponseHead,
        ) -> Result<(), $crate::client::ClientFault> {
            self.sink.interim(head).await
        }

        async fn open_tunnel(
            &mut self,
            head: &$crate::headers::ResponseHead,
        ) -> Result<(), $crate::client::ClientFault> {
            self.sink.open_tunnel(head).await
        }

        fn poll_closed(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
            self.sink.poll_closed(cx)
        }

        fn is_begun(&self) -> bool {
            self.sink.is_begun()
        }

        fn abort(&mut self) {
            self.sink.abort();
        }
    };
}
pub(crate) use passes_on;

/// The address without IPv4-in-IPv6 clothes.
pub(crate) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(plain_ip(address.ip()), address.port())
}

pub(crate) fn plain_ip(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
