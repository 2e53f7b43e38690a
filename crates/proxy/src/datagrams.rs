//! Datagrams that are passed on (UDPRoute).
//!
//! The kernel spreads clients over the workers' sockets by their addresses, so that all of one
//! client's datagrams come to one worker. There, a session is what came from one address and port
//! to one address of ours: it has a socket of its own, connected to an endpoint, and what that one
//! answers goes back from the address that the client had asked. A session ends when nothing has
//! been said for a while, when its endpoint is gone, or with the listener.
//!
//! When the process ends, sessions go on until they are idle or its time is over, and none begins.
//! Where another process takes the sockets over, it hears the clients from then on and begins
//! sessions of its own, to the same endpoints: which one a session gets depends on its four-tuple
//! alone, as long as both see the same endpoints. What endpoints answer to the former socket is
//! passed on here.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use model::endpoint::Failure;
use model::{Backend, Entrance, Service};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, spawn_local};

use crate::accept::Ending;
use crate::admission::SessionPermit;
use crate::client::plain;
use crate::record::{Reason, Record, Version};
use crate::streams::choose;
use crate::upstream::balance::{Ask, flow, flow_keys};
use crate::upstream::{EndpointState, Lease};
use crate::worker::Worker;

/// The largest datagram, or several of one client that the kernel hands over at once.
const LARGEST: usize = 64 * 1024;

/// How many buffers of that size a socket reads into at once.
const BATCH: usize = 4;

/// How long a session lives without a datagram, where nothing is said.
const IDLE: Duration = Duration::from_secs(60);

/// How often a session looks whether its endpoint is still one of the route's.
const LOOK: Duration = Duration::from_secs(1);

/// A listening socket, with what the kernel can do for it.
struct Socket {
    socket: Rc<UdpSocket>,
    state: UdpSocketState,
    /// Where answers are read into: one after the other, each sent on before the next.
    answer: RefCell<Box<[u8]>>,
}

impl Socket {
    fn new(socket: Rc<UdpSocket>) -> io::Result<Self> {
        let state = UdpSocketState::new((&*socket).into())?;
        Ok(Self {
            socket,
            state,
            answer: RefCell::new(vec![0; LARGEST].into()),
        })
    }

    async fn receive(
        &self,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> io::Result<usize> {
        let receive = || self.state.recv((&*self.socket).into(), buffers, metas);
        self.socket.async_io(Interest::READABLE, receive).await
    }

    /// Sends to a client from the address that it knows. What finds no room is lost, as it is in
    /// networks.
    fn send(&self, to: SocketAddr, from: Option<IpAddr>, contents: &[u8]) -> io::Result<()> {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents,
            segment_size: None,
            src_ip: from,
        };
        let send = || self.state.try_send((&*self.socket).into(), &transmit);
        self.socket.try_io(Interest::WRITABLE, send)
    }
}

/// Whose datagrams are one session's.
type Key = (SocketAddr, Option<IpAddr>);

/// The sessions of one socket.
type Sessions = RefCell<HashMap<Key, Rc<Session>>>;

/// What is passed on between one client and one endpoint.
struct Session {
    upstream: UdpSocket,
    endpoint: Rc<EndpointState>,
    backend: Arc<Backend>,
    route: Arc<model::Stream>,
    client: SocketAddr,
    begun: (Instant, SystemTime),
    /// When a datagram last came, from either side.
    moved: Cell<Instant>,
    looked: Cell<Instant>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    /// Ends the task that passes answers on.
    answers: RefCell<Option<AbortHandle>>,
    _lease: Lease,
    _permit: SessionPermit,
}

/// Passes datagrams on until the socket is to be given up.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    socket: Rc<UdpSocket>,
    entrance: Entrance,
    mut stopped: oneshot::Receiver<Ending>,
) {
    let socket = match Socket::new(socket) {
        Ok(socket) => Rc::new(socket),
        Err(error) => {
            tracing::error!(port = entrance.port, %error, "cannot receive datagrams");
            return;
        }
    };
    let sessions = Rc::new(Sessions::default());
    let mut memory = vec![0; LARGEST * BATCH];
    let mut metas = [RecvMeta::default(); BATCH];
    let mut draining = false;
    loop {
        let mut pieces = memory.chunks_mut(LARGEST);
        let mut buffers: [IoSliceMut<'_>; BATCH] =
            std::array::from_fn(|_| IoSliceMut::new(pieces.next().unwrap_or_default()));
        let received = tokio::select! {
            biased;
            ending = &mut stopped, if !draining => match ending {
                Ok(Ending::Drain) => {
                    draining = true;
                    continue;
                }
                // Endpoints' answers go on for as long as there are sessions.
                Ok(Ending::Release) => return,
                Ok(Ending::Close) | Err(_) => break,
            },
            received = socket.receive(&mut buffers, &mut metas) => received,
        };
        let count = match received {
            Ok(count) => count,
            Err(error) => {
                worker.metrics.accept_error();
                tracing::debug!(port = entrance.port, %error, "cannot receive datagrams");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        for (meta, buffer) in metas.iter().zip(&buffers).take(count) {
            let key = (meta.addr, meta.dst_ip);
            let all = &buffer[..meta.len.min(buffer.len())];
            // One is empty, which is a datagram too.
            let mut rest = Some(all);
            while let Some(now) = rest {
                let (first, more) = now.split_at(meta.stride.clamp(1, LARGEST).min(now.len()));
                pass_on(&worker, &socket, &sessions, entrance, key, first);
                rest = (!more.is_empty()).then_some(more);
            }
        }
    }
    for (_, session) in sessions.borrow_mut().drain() {
        session.stop();
        session.record(&worker, entrance, None);
    }
}

/// Passes one datagram of a client on.
fn pass_on(
    worker: &Rc<Worker>,
    socket: &Rc<Socket>,
    sessions: &Rc<Sessions>,
    entrance: Entrance,
    key: Key,
    datagram: &[u8],
) {
    let known = sessions.borrow().get(&key).map(Rc::clone);
    let known = known.filter(|session| {
        let good = session.is_good(worker, entrance);
        if !good {
            end(worker, sessions, entrance, key, session, None);
        }
        good
    });
    let session = match known {
        Some(session) => session,
        None if worker.is_draining() => {
            worker.metrics.datagram_dropped(Reason::Draining);
            return;
        }
        None => match begin(worker, socket, sessions, entrance, key, &[]) {
            Ok(session) => session,
            Err(reason) => {
                worker.metrics.datagram_dropped(reason);
                return;
            }
        },
    };
    session.moved.set(Instant::now());
    if session.send(datagram).is_err()
        && let Some(another) = move_on(worker, socket, sessions, entrance, key, &session)
    {
        // What was sent before was refused, and not this. Whatever comes of it is told later.
        let _ = another.send(datagram);
    }
}

/// Ends a session whose endpoint refuses, and begins another at an endpoint that may not, so that
/// nothing more is lost than what was refused.
fn move_on(
    worker: &Rc<Worker>,
    socket: &Rc<Socket>,
    sessions: &Rc<Sessions>,
    entrance: Entrance,
    key: Key,
    session: &Rc<Session>,
) -> Option<Rc<Session>> {
    session.fail(worker);
    let reason = Some(Reason::ConnectFailed);
    end(worker, sessions, entrance, key, session, reason);
    let tried = [session.endpoint.id()];
    begin(worker, socket, sessions, entrance, key, &tried).ok()
}

/// A new session for a client, at none of the endpoints that it has tried.
fn begin(
    worker: &Rc<Worker>,
    socket: &Rc<Socket>,
    sessions: &Rc<Sessions>,
    entrance: Entrance,
    key: Key,
    tried: &[u64],
) -> Result<Rc<Session>, Reason> {
    worker.keep_in_step();
    let view = worker.view();
    let route = match view.snapshot.listener(entrance).map(|one| &one.service) {
        Some(Service::Udp(route)) => Arc::clone(route),
        _ => return Err(Reason::NoRoute),
    };
    drop(view);
    let permit = worker.admission.admit_session().ok_or(Reason::Overloaded)?;
    let client = plain(key.0);
    let flow = flow(client, key.1, entrance.port);
    let backend = choose(&route, |total| share_of(flow, total))?;
    let state = worker.upstreams.backend(&backend);
    let members = state.members(&worker.upstreams, &backend);
    let now = Instant::now();
    let ask = Ask {
        now,
        keys: flow_keys(members.policy(), client.ip(), flow),
        tried,
        affinity: None,
    };
    let choice = state.pick(&members, &ask);
    let unavailable = || {
        members
            .unavailable()
            .map_or(Reason::ConnectFailed, Reason::Unavailable)
    };
    let endpoint = choice.ok_or_else(unavailable)?.endpoint;
    let upstream = connected(endpoint.address()).map_err(|_| Reason::ConnectFailed)?;
    let session = Rc::new(Session {
        upstream,
        backend,
        client,
        begun: (now, SystemTime::now()),
        moved: Cell::new(now),
        looked: Cell::new(now),
        bytes_in: Cell::new(0),
        bytes_out: Cell::new(0),
        answers: RefCell::default(),
        _lease: Lease::new(Rc::clone(&endpoint)),
        _permit: permit,
        endpoint,
        route,
    });
    let answers = answers(
        Rc::clone(worker),
        Rc::clone(socket),
        Rc::clone(sessions),
        entrance,
        key,
        Rc::clone(&session),
    );
    let task = spawn_local(answers).abort_handle();
    session.answers.replace(Some(task));
    sessions.borrow_mut().insert(key, Rc::clone(&session));
    Ok(session)
}

/// A flow's number below `total`, for the choice by weight: of other bits than those that decide
/// on the endpoint.
fn share_of(flow: u64, total: u32) -> u32 {
    let product = (flow >> 32) * u64::from(total);
    // Below `total`.
    u32::try_from(product >> 32).unwrap_or_default()
}

/// A socket that sends to an endpoint, and hears of nobody else.
fn connected(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Passes an endpoint's answers on, until nothing has been said for too long.
async fn answers(
    worker: Rc<Worker>,
    socket: Rc<Socket>,
    sessions: Rc<Sessions>,
    entrance: Entrance,
    key: Key,
    session: Rc<Session>,
) {
    let idle = match session.route.idle {
        Duration::ZERO => IDLE,
        idle => idle,
    };
    let refused = loop {
        let end = session.moved.get() + idle;
        let received = tokio::time::timeout_at(end.into(), session.upstream.readable()).await;
        match received {
            // Unless the client has said something meanwhile.
            Err(_) if session.moved.get() + idle <= Instant::now() => break false,
            Err(_) => continue,
            Ok(Err(_)) => break true,
            Ok(Ok(())) => {}
        }
        let mut answer = socket.answer.borrow_mut();
        match session.upstream.try_recv(&mut answer) {
            Ok(count) => {
                if session.bytes_out.get() == 0 {
                    let members = worker.upstreams.backend(&session.backend);
                    let members = members.members(&worker.upstreams, &session.backend);
                    let ejection = &members.policy().ejection;
                    session.endpoint.succeeded(ejection, Instant::now);
                }
                session.moved.set(Instant::now());
                // A client that cannot be reached is as good as one that does not listen.
                if socket.send(key.0, key.1, &answer[..count]).is_ok() {
                    add(&session.bytes_out, count);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => break true,
        }
    };
    // This task ends by itself.
    session.answers.take();
    if refused {
        move_on(&worker, &socket, &sessions, entrance, key, &session);
    } else {
        end(&worker, &sessions, entrance, key, &session, None);
    }
}

/// Ends a session, unless somebody has done so already.
fn end(
    worker: &Worker,
    sessions: &Sessions,
    entrance: Entrance,
    key: Key,
    session: &Rc<Session>,
    reason: Option<Reason>,
) {
    let mut sessions = sessions.borrow_mut();
    if sessions
        .get(&key)
        .is_some_and(|known| Rc::ptr_eq(known, session))
    {
        sessions.remove(&key);
        drop(sessions);
        session.stop();
        session.record(worker, entrance, reason);
    }
}

impl Session {
    /// Whether the endpoint is still one of those that the route leads to.
    fn is_good(&self, worker: &Worker, entrance: Entrance) -> bool {
        let now = Instant::now();
        if now.saturating_duration_since(self.looked.get()) < LOOK {
            return true;
        }
        self.looked.set(now);
        let view = worker.view();
        let listener = view.snapshot.listener(entrance);
        let Some(Service::Udp(route)) = listener.map(|one| &one.service) else {
            return false;
        };
        let mut shares = route.split.iter().flat_map(|split| split.shares());
        // Who has no weight any more keeps no sessions of datagrams, which would have no end.
        let is_ours = shares.any(|share| match &share.target {
            _ if share.weight == 0 => false,
            model::Target::Backend(backend) => backend.id == self.backend.id,
            model::Target::Invalid => false,
        });
        let endpoints = self.backend.endpoints();
        is_ours
            && endpoints
                .ready
                .iter()
                .any(|one| one.id == self.endpoint.id())
    }

    /// Sends a client's datagram on. What finds no room is lost, as it is in networks. The runtime is
    /// not asked, for it knows nothing yet of a socket that is new.
    ///
    /// # Errors
    /// If what was sent before was refused. This one was not sent.
    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        match SockRef::from(&self.upstream).send(datagram) {
            Ok(_) => add(&self.bytes_in, datagram.len()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn fail(&self, worker: &Worker) {
        let members = worker.upstreams.backend(&self.backend);
        let members = members.members(&worker.upstreams, &self.backend);
        let ejection = &members.policy().ejection;
        worker.metrics.upstream_connect_failed();
        let now = Instant::now();
        if (self.endpoint).failed(ejection, Failure::Unreachable, Duration::ZERO, now) {
            worker.metrics.endpoint_ejected();
            let address = self.endpoint.address();
            tracing::warn!(%address, "the endpoint is left out for a while: it failed again and again");
        }
    }

    fn stop(&self) {
        if let Some(task) = self.answers.take() {
            task.abort();
        }
    }

    fn record(&self, worker: &Worker, entrance: Entrance, reason: Option<Reason>) {
        worker.record_stream(&Record {
            port: entrance.port,
            start: self.begun.1,
            client: self.client.ip(),
            method: b"",
            host: b"",
            target: b"",
            version: Version::Udp,
            tls: None,
            status: 0,
            reason,
            route: &self.route.route,
            backend: &self.backend.name,
            endpoint: Some(self.endpoint.address()),
            attempts: 1,
            duration: self.begun.0.elapsed(),
            upstream: None,
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            request_id: b"",
            user_agent: b"",
            referer: b"",
            host_slot: 0,
            unlogged: false,
        });
    }
}

fn add(counter: &Cell<u64>, count: usize) {
    counter.set(counter.get() + count as u64);
}
