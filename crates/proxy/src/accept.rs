//! Accepting connections, and finding out what they speak.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use model::{Challenges, Entrance, Layer, Service, TlsSites};
use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_local};

use crate::admission::Permit;
use crate::client::{Connection, plain};
use crate::datagrams;
use crate::forwarded;
use crate::http1;
use crate::http2;
use crate::io::{Owned, Stream};
use crate::listen::Socket;
use crate::proxy_protocol::{self, ReadError, Source};
use crate::spread::{Accepted, Place};
use crate::streams;
use crate::timer::Timer;
use crate::tls::{HandshakeError, Secured};
use crate::worker::Worker;

/// The pause after an error that is not one connection's own (no file descriptors left).
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long handshakes that have begun may take once a socket is to be closed: a few round trips.
const HANDSHAKE_GRACE: Duration = Duration::from_millis(200);

/// Drops TCP segments with SYN set. A filter sees a segment from its TCP header on, where the
/// flags are the byte at 13 (RFC 9293, section 3.1). The client tries again, and is refused.
const NO_NEW_HANDSHAKES: [SockFilter; 4] = {
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(JUMP_IF_SET, 0, 1, 0x02),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
};

/// A socket that is accepted on.
#[derive(Debug)]
pub(crate) struct Listening {
    socket: Held,
    stop: oneshot::Sender<Ending>,
    task: JoinHandle<()>,
}

/// The socket of one.
#[derive(Debug)]
enum Held {
    Tcp(Rc<TcpListener>),
    Udp(Rc<UdpSocket>),
}

/// How a listening socket is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is closed, once what its clients take for connected is accepted.
    Close,
    /// It is left to the other process that holds it, with what waits in its queue.
    Release,
    /// Of datagrams: the sessions that there are go on, and no new one begins.
    Drain,
}

impl Listening {
    /// Gives the socket up. Await the handle for the end of that; with [`Ending::Drain`] that is
    /// the worker's end.
    pub(crate) fn end(self, ending: Ending) -> JoinHandle<()> {
        // The task holds it alone from here on, so that it can close it.
        drop(self.socket);
        // The task is there until it is told, or was cut with the worker.
        let _ = self.stop.send(ending);
        self.task
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            Held::Tcp(socket) => socket.local_addr(),
            Held::Udp(socket) => socket.local_addr(),
        }
    }

    /// Of what.
    pub(crate) fn layer(&self) -> Layer {
        match &self.socket {
            Held::Tcp(_) => Layer::Tcp,
            Held::Udp(_) => Layer::Udp,
        }
    }

    /// A second hold of the socket, for another process.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        match &self.socket {
            Held::Tcp(socket) => socket.as_fd().try_clone_to_owned(),
            Held::Udp(socket) => socket.as_fd().try_clone_to_owned(),
        }
    }
}

/// Begins to take what comes in at an entrance.
pub(crate) fn start(worker: &Rc<Worker>, socket: Socket, entrance: Entrance) -> Option<Listening> {
    let (stop, stopped) = oneshot::channel();
    let started = match socket {
        Socket::Tcp(socket) => TcpListener::from_std(socket).map(|socket| {
            let socket = Rc::new(socket);
            let accepting = accept_until(Rc::clone(worker), Rc::clone(&socket), entrance, stopped);
            (Held::Tcp(socket), spawn_local(accepting))
        }),
        Socket::Udp(socket) => UdpSocket::from_std(socket).map(|socket| {
            let socket = Rc::new(socket);
            let shared = Rc::clone(&socket);
            let relaying = datagrams::serve(Rc::clone(worker), shared, entrance, stopped);
            (Held::Udp(socket), spawn_local(relaying))
        }),
    };
    match started {
        Ok((socket, task)) => Some(Listening { socket, stop, task }),
        Err(error) => {
            tracing::error!(port = entrance.port, %error, "cannot accept");
            None
        }
    }
}

async fn accept_until(
    worker: Rc<Worker>,
    socket: Rc<TcpListener>,
    entrance: Entrance,
    mut stopped: oneshot::Receiver<Ending>,
) {
    let mut pause = FIRST_PAUSE;
    let ending = loop {
        let accepted = tokio::select! {
            biased;
            // Without a word: the worker is gone, and the socket with it.
            ending = &mut stopped => break ending.unwrap_or(Ending::Release),
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = FIRST_PAUSE;
                admit(&worker, stream, peer, entrance);
            }
            Err(error) if is_of_one_connection(&error) => worker.metrics.accept_error(),
            Err(error) => {
                worker.metrics.accept_error();
                if pause == FIRST_PAUSE || pause == LONGEST_PAUSE {
                    tracing::error!(port = entrance.port, %error, "cannot accept connections; trying again");
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    };
    if ending == Ending::Close
        && let Some(socket) = Rc::into_inner(socket)
    {
        leave(&worker, socket, entrance).await;
    }
}

/// Closes a listening socket without cutting anyone off: a client is connected, for all it knows,
/// once the kernel has answered it. So no new handshake is begun, those on their way end, and all
/// of them are accepted.
async fn leave(worker: &Rc<Worker>, socket: TcpListener, entrance: Entrance) {
    if let Err(error) = SockRef::from(&socket).attach_filter(&NO_NEW_HANDSHAKES) {
        tracing::debug!(port = entrance.port, %error, "cannot filter new connections");
    }
    let accept = async {
        loop {
            match socket.accept().await {
                Ok((stream, peer)) => admit(worker, stream, peer, entrance),
                Err(_) => tokio::time::sleep(FIRST_PAUSE).await,
            }
        }
    };
    let _: Result<(), _> = tokio::time::timeout(HANDSHAKE_GRACE, accept).await;
    // What the runtime has not been told of yet.
    let Ok(socket) = socket.into_std() else {
        return;
    };
    while let Ok((stream, peer)) = socket.accept() {
        if let Ok(stream) = stream
            .set_nonblocking(true)
            .and_then(|()| TcpStream::from_std(stream))
        {
            admit(worker, stream, peer, entrance);
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

fn admit(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, entrance: Entrance) {
    let peer = plain(peer);
    let admitted = if is_announced(worker, peer, entrance) {
        worker.admission.admit_unknown()
    } else {
        worker.admission.admit(peer.ip())
    };
    let permit = match admitted {
        Ok(permit) => permit,
        Err(refused) => {
            worker.metrics.connection_refused(refused);
            return;
        }
    };
    let place = worker.share.place();
    if worker.share.is_here(&place) {
        return begin(worker, stream, peer, entrance, permit, place);
    }
    // Off this worker's runtime, and onto the other's.
    if let Ok(socket) = stream.into_std() {
        let accepted = Accepted {
            socket,
            peer,
            entrance,
            permit,
            place,
        };
        if let Err(mut back) = worker.share.spread.hand_over(accepted) {
            back.place = worker.share.place_here();
            take(worker, *back);
        }
    }
}

/// Whether a connection begins with a PROXY protocol header.
fn is_announced(worker: &Worker, peer: SocketAddr, entrance: Entrance) -> bool {
    let settings = worker.settings();
    if settings.all_announce {
        return passed_on(worker, entrance).unwrap_or(true);
    }
    if settings.proxy_protocol && forwarded::is_trusted(peer.ip(), &settings.trusted_proxies) {
        return true;
    }
    passed_on(worker, entrance).unwrap_or_default()
}

/// Whether connections that are passed on begin with a PROXY protocol header there; none if they
/// are not passed on.
fn passed_on(worker: &Worker, entrance: Entrance) -> Option<bool> {
    match &worker.view().snapshot.listener(entrance)?.service {
        Service::Tcp(stream) => Some(stream.announced),
        _ => None,
    }
}

/// Serves a connection that was accepted elsewhere.
pub(crate) fn take(worker: &Rc<Worker>, accepted: Accepted) {
    let Accepted {
        socket,
        peer,
        entrance,
        permit,
        place,
    } = accepted;
    match TcpStream::from_std(socket) {
        Ok(stream) => begin(worker, stream, peer, entrance, permit, place),
        Err(error) => {
            worker.metrics.accept_error();
            tracing::debug!(%peer, %error, "cannot serve a connection");
        }
    }
}

fn begin(
    worker: &Rc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    entrance: Entrance,
    mut permit: Permit,
    place: Place,
) {
    worker.keep_in_step();
    let announced = is_announced(worker, peer, entrance);
    let worker = Rc::clone(worker);
    // Boxed, because on its way into the runtime a task is moved several times, and it is large.
    spawn_local(Box::pin(async move {
        worker.metrics.connection_opened(entrance.port);
        let wake = worker.wake_to_drain().await;
        let client = if announced {
            announced_client(&worker, &stream, peer, entrance, &mut permit).await
        } else {
            Some((peer, None))
        };
        if let Some((client, port)) = client {
            connection(&worker, stream, client, port, entrance).await;
        }
        worker.metrics.connection_closed(entrance.port);
        drop((wake, permit, place));
    }));
}

/// The client as the PROXY protocol's header tells it, with the port that it asked for if that
/// counts; none if the connection is to be closed.
async fn announced_client(
    worker: &Worker,
    socket: &TcpStream,
    peer: SocketAddr,
    entrance: Entrance,
    permit: &mut Permit,
) -> Option<(SocketAddr, Option<u16>)> {
    let read = proxy_protocol::read(socket);
    let settings = worker.settings();
    let limit = match settings.timeouts.announcement {
        Duration::ZERO => settings.timeouts.header,
        limit => limit,
    };
    let read = Timer::default().limit(limit, read).await;
    let (client, port) = match read {
        Ok(Ok(Source::Client(client, port))) => {
            let counts = settings.all_announce && passed_on(worker, entrance).is_none();
            let port = counts.then_some(port);
            match port.is_none() || forwarded::is_trusted(peer.ip(), &settings.trusted_proxies) {
                true => (plain(client), port),
                // Who is not believed still has to say it.
                false => (peer, port),
            }
        }
        Ok(Ok(Source::Connection)) => (peer, None),
        Ok(Err(ReadError::NothingSent)) => return None,
        Ok(Err(error)) => {
            tracing::debug!(%peer, ?error, "no PROXY protocol header");
            return None;
        }
        Err(_) => {
            tracing::debug!(%peer, "no PROXY protocol header in time");
            return None;
        }
    };
    match permit.count_for(client.ip()) {
        Ok(()) => Some((client, port)),
        Err(refused) => {
            worker.metrics.connection_refused(refused);
            None
        }
    }
}

async fn connection(
    worker: &Rc<Worker>,
    socket: TcpStream,
    peer: SocketAddr,
    announced: Option<u16>,
    entrance: Entrance,
) {
    // Our writes are whole messages: waiting to fill segments would only delay them.
    let _ = socket.set_nodelay(true);
    let Ok(local) = socket.local_addr() else {
        return;
    };
    worker.keep_in_step();
    let view = worker.view();
    let Some(listener) = view.snapshot.listener(entrance) else {
        return;
    };
    let connection = Connection {
        entrance,
        public_port: announced.unwrap_or(listener.public_port),
        peer,
        local: plain(local),
        peer_text: peer.ip().to_string().into(),
        trusted: forwarded::is_trusted(peer.ip(), &worker.settings().trusted_proxies),
        announced_https: announced == Some(443),
        geo: worker.settings().geo.clone(),
        tls: None,
    };
    let sites = match &listener.service {
        Service::Http(_) => {
            drop(view);
            return http1::server::serve(Rc::clone(worker), Stream::from(socket), connection).await;
        }
        Service::Tls(sites) => Arc::clone(sites),
        Service::Tcp(route) => {
            let route = Arc::clone(route);
            drop(view);
            let client = streams::Client::of(socket.into(), connection);
            return Box::pin(streams::serve(worker, client, &route)).await;
        }
        // Datagrams are nobody's connection.
        Service::Udp(_) => return,
    };
    let challenges = &view.snapshot.challenges;
    let challenges = (!challenges.alpn.is_empty()).then(|| Arc::clone(challenges));
    drop(view);
    secured(worker, socket, connection, &sites, challenges).await;
}

/// Serves what comes with TLS.
async fn secured(
    worker: &Rc<Worker>,
    socket: TcpStream,
    mut connection: Connection,
    sites: &TlsSites,
    challenges: Option<Arc<Challenges>>,
) {
    let entrance = connection.entrance;
    let current = || match &worker.view().snapshot.listener(entrance)?.service {
        Service::Tls(sites) => Some(Arc::clone(sites)),
        _ => None,
    };
    let handshake = worker
        .acceptor
        .accept(socket, sites, challenges.as_deref(), &current);
    let accepted = match Timer::default()
        .limit(worker.settings().timeouts.handshake, handshake)
        .await
    {
        Ok(Ok(accepted)) => accepted,
        // Load balancers look whether the port is open.
        Ok(Err(HandshakeError::NothingSent | HandshakeError::AcmeChallenge)) => return,
        Ok(Err(error)) => {
            worker.metrics.handshake_failed();
            tracing::debug!(peer = %connection.peer, %error, "TLS handshake failed");
            return;
        }
        Err(_) => return worker.metrics.handshake_failed(),
    };
    let accepted = match accepted {
        Secured::Https(accepted) => accepted,
        // Boxed: of another kind than most connections, whose task is to stay small.
        Secured::Stream(accepted, route) => {
            connection.tls = Some(Box::new(accepted.tls));
            let client = streams::Client::of(accepted.stream.into(), connection);
            return Box::pin(streams::serve(worker, client, &route)).await;
        }
        Secured::Passthrough(socket, hello, route) => {
            let client = streams::Client::of(socket.into(), connection).having_sent(hello);
            return Box::pin(streams::serve(worker, client, &route)).await;
        }
    };
    connection.tls = Some(Box::new(accepted.tls));
    let stream = Stream::from(accepted.stream);
    if accepted.alpn_h2 {
        http2::serve(
            Rc::clone(worker),
            Owned::new(stream, Vec::new()),
            connection,
        )
        .await;
    } else {
        http1::server::serve(Rc::clone(worker), stream, connection).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, F: Future>(_: fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// What each connection holds besides its buffers. If one has become smaller: good, lower the
    /// bound. If larger: find out why, for there may be 15,000 of them.
    #[test]
    fn connections_stay_small() {
        let http1 = size(http1::server::serve);
        let http2 = size(http2::serve);
        assert!((3000..=6000).contains(&http1), "HTTP/1: {http1} bytes");
        assert!((1000..=6000).contains(&http2), "HTTP/2: {http2} bytes");
    }
}
