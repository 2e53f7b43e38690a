//! Services whose annotations say how their requests are spread.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpSocket;

use crate::frames::{ACK, DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, field, frame};
use crate::{Backend, Conn, Exchange, HOST, Ingress, Narthex, Response, Then, service};

/// An Ingress that sends all of [`HOST`] to the Service `web`.
pub fn ingress() -> String {
    Ingress::named("web").host(HOST).prefix("/", "web").yaml()
}

/// The Service `web` with annotations, as name and value without the prefix.
pub fn annotated(addresses: &[SocketAddr], annotations: &[(&str, &str)]) -> String {
    let annotations: String = annotations
        .iter()
        .map(|(name, value)| format!("    narthex.dev/{name}: {value:?}\n"))
        .collect();
    service("web", addresses).replacen(
        "  namespace: default\n",
        &format!("  namespace: default\n  annotations:\n{annotations}"),
        1,
    )
}

pub fn addresses<const N: usize>(backends: &[Backend; N]) -> [SocketAddr; N] {
    backends.each_ref().map(Backend::address)
}

/// How many requests reached these backends.
pub fn seen(backends: &[&Backend]) -> usize {
    backends.iter().map(|backend| backend.seen().len()).sum()
}

/// An address that refuses connections, and is nobody else's as long as this lives.
pub struct Dead {
    address: SocketAddr,
    /// Bound, and never listened on.
    _socket: TcpSocket,
}

impl Dead {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it take connections from now on.
    #[track_caller]
    pub fn revive(self) -> TcpListener {
        let Self { address, _socket } = self;
        drop(_socket);
        TcpListener::bind(address).expect("it was ours until now")
    }
}

pub fn dead() -> Dead {
    let socket = TcpSocket::new_v4().expect("a socket");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(any).expect("a port");
    Dead {
        address: socket.local_addr().expect("bound"),
        _socket: socket,
    }
}

/// An address where connections are begun and never completed: as many as it holds wait already.
pub struct Deaf {
    address: SocketAddr,
    _listener: Socket,
    _waiting: Vec<TcpStream>,
}

impl Deaf {
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

pub fn deaf() -> Deaf {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    listener.bind(&any.into()).expect("a port");
    listener.listen(0).expect("a queue");
    let address = listener.local_addr().expect("bound");
    let address = address.as_socket().expect("an address of IPv4");
    let patience = Duration::from_secs(1);
    let waiting = std::iter::from_fn(|| TcpStream::connect_timeout(&address, patience).ok());
    let waiting = waiting.take(100).collect();
    Deaf {
        address,
        _listener: listener,
        _waiting: waiting,
    }
}

/// A backend that closes on each request without an answer.
pub fn closing(name: &str) -> Backend {
    Backend::scripted(name, |exchange| {
        exchange.read_body()?;
        Ok(Then::Close)
    })
}

/// A backend that answers 503 as long as the switch is on, and echoes then.
pub fn failing(name: &str) -> (Backend, Arc<AtomicBool>) {
    let ill = Arc::new(AtomicBool::new(true));
    let is_ill = Arc::clone(&ill);
    let backend = Backend::scripted(name, move |exchange| {
        if !is_ill.load(Ordering::SeqCst) {
            return exchange.echo();
        }
        exchange.read_body()?;
        exchange.send("HTTP/1.1 503 Ill\r\nContent-Length: 0\r\n\r\n")?;
        Ok(Then::Keep)
    });
    (backend, ill)
}

/// A GET with a field of its own, on a connection of its own.
#[track_caller]
pub fn ask(narthex: &Narthex, field: &str) -> Response {
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{field}\r\n\r\n");
    Conn::plain(narthex.http).ask(&request)
}

/// The value of a metric by its name, with its labels as they are written; 0 if it is not there.
#[track_caller]
pub fn counter(narthex: &Narthex, name: &str) -> u64 {
    let metrics = narthex.metrics();
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Answers the gRPC health check that follows a request `PRI`, which is HTTP/2's preface as
/// HTTP/1 reads it: `SERVING` or not, if the service asked for is this one.
pub fn grpc_health(exchange: &mut Exchange<'_>, service: &str, serving: bool) -> io::Result<Then> {
    let mut rest = [0; 6];
    exchange.socket().read_exact(&mut rest)?;
    exchange.send(frame(SETTINGS, 0, 0, &[]))?;
    let mut question = Vec::new();
    loop {
        let mut head = [0; 9];
        exchange.socket().read_exact(&mut head)?;
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        exchange.socket().read_exact(&mut payload)?;
        let (kind, flags, stream) = (head[3], head[4], u32::from(head[8]));
        if kind == SETTINGS && flags & ACK == 0 {
            exchange.send(frame(SETTINGS, ACK, 0, &[]))?;
        }
        if kind == DATA {
            question.extend(payload);
        }
        if kind == DATA && flags & END_STREAM != 0 {
            let mut wanted = vec![0x0a, u8::try_from(service.len()).expect("short")];
            wanted.extend(service.as_bytes());
            let known = question.get(5..) == Some(&wanted[..]);
            let status = if serving && known { 1 } else { 2 };
            // 0x88 is `:status: 200` of HPACK's static table.
            let fields = [vec![0x88], field("content-type", "application/grpc")].concat();
            let answer = [
                frame(HEADERS, END_HEADERS, stream, &fields),
                frame(DATA, 0, stream, &[0, 0, 0, 0, 2, 8, status]),
                frame(
                    HEADERS,
                    END_HEADERS | END_STREAM,
                    stream,
                    &field("grpc-status", "0"),
                ),
            ];
            exchange.send(answer.concat())?;
        }
    }
}
