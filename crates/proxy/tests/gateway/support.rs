//! A running proxy, backends that do as they are told, and clients that write bytes.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::backend::Discovery;
use model::{
    Action, Backend, Endpoint, EndpointSet, Entrance, Filter, HostTable, HttpSites, Layer,
    Listener, PathMatch, Policy, Rule, Service, Share, Site, Snapshot, Split, Stream, Target,
    Timeouts, Unavailable, VirtualHost,
};
use narthex_proxy::{AccessLogFormat, Listening, Proxy, Settings};
use tokio::runtime::Runtime;

pub(crate) const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Longer than anything takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A proxy on ports of its own.
pub(crate) struct Plane {
    runtime: Runtime,
    proxy: Option<Proxy>,
    generation: std::cell::Cell<u64>,
}

impl Plane {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let settings = Settings {
            workers: 2,
            bind_addresses: vec![LOCALHOST],
            access_log: AccessLogFormat::Off,
            ..settings
        };
        Self {
            runtime,
            proxy: Some(Proxy::start(settings, None).expect("threads")),
            generation: std::cell::Cell::new(0),
        }
    }

    /// Serves these, and nothing else.
    pub(crate) fn publish(&self, services: Vec<(Entrance, Service)>) -> Listening {
        let listeners = services.into_iter().map(|(entrance, service)| {
            Arc::new(Listener {
                entrance,
                public_port: 80,
                service,
            })
        });
        let mut listeners: Vec<_> = listeners.collect();
        listeners.sort_by_key(|listener| listener.entrance);
        self.generation.set(self.generation.get() + 1);
        let snapshot = Arc::new(Snapshot {
            generation: self.generation.get(),
            listeners: listeners.into(),
            ..Snapshot::default()
        });
        let proxy = self.proxy.as_ref().expect("runs");
        let published = self.runtime.block_on(proxy.publish(snapshot));
        published.expect("nothing of Ingress is refused")
    }

    /// Serves one thing, and tells where.
    pub(crate) fn serve(&self, service: Service) -> SocketAddr {
        let entrance = free(match service {
            Service::Udp(_) => Layer::Udp,
            _ => Layer::Tcp,
        });
        let listening = self.publish(vec![(entrance, service)]);
        assert!(listening.failed.is_empty(), "{:?}", listening.failed);
        SocketAddr::new(LOCALHOST, entrance.port)
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if let Some(proxy) = self.proxy.take() {
            self.runtime.block_on(proxy.stop());
        }
    }
}

/// What marks this process's ports as taken, to its end.
static CLAIMS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// Takes a name that only one process of this network namespace can have, and that leaves no file.
fn claim(port: u16) -> bool {
    let name = format!("narthex-proxy-tests-port-{port}");
    let address = UnixAddress::from_abstract_name(name).expect("a short name");
    let claim = UnixListener::bind_addr(&address);
    let mut claims = CLAIMS.lock().expect("no panic");
    claim.map(|claim| claims.push(claim)).is_ok()
}

/// An entrance that nobody has, handed out once: below the ports that outgoing connections and the
/// whole program's tests have, and to no other process of these tests as long as this one lives, so
/// that nobody takes it between its choice here and its use.
pub(crate) fn free(layer: Layer) -> Entrance {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(257);
    let ports = std::iter::repeat_with(|| {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        u16::try_from(2_000 + start.wrapping_add(step) % 10_000).expect("below 12,000")
    });
    // Claimed before it is looked at: looking takes it for a moment.
    let is_free = |port: &u16| {
        claim(*port)
            && match layer {
                Layer::Tcp => TcpListener::bind((LOCALHOST, *port)).is_ok(),
                Layer::Udp => std::net::UdpSocket::bind((LOCALHOST, *port)).is_ok(),
            }
    };
    Entrance {
        port: ports.take(10_000).find(is_free).expect("one of them"),
        address: None,
        layer,
    }
}

pub(crate) fn timeouts() -> Timeouts {
    Timeouts {
        connect: Duration::from_secs(5),
        send: PATIENCE,
        read: PATIENCE,
        total: Duration::ZERO,
        attempt: Duration::ZERO,
    }
}

/// A rule for all paths.
pub(crate) fn rule(action: Action) -> Rule {
    Rule {
        route: "default/route".into(),
        field: "spec.rules[0]".into(),
        path: PathMatch::Prefix("".into()),
        conditions: None,
        filters: [].into(),
        action,
        timeouts: Arc::new(timeouts()),
        max_body: 0,
        retry: None,
        affinity: None,
        extras: None,
    }
}

/// A rule for all paths with filters.
pub(crate) fn filtered(action: Action, filters: Vec<Filter>) -> Rule {
    Rule {
        filters: filters.into(),
        ..rule(action)
    }
}

/// A site in which these rules are every host's.
pub(crate) fn site(rules: Vec<Rule>) -> Arc<Site> {
    let rules = rules.into_iter().map(Arc::new).collect();
    let mut hosts = HostTable::default();
    hosts.insert("", Arc::new(VirtualHost::new("".into(), rules, None, 0)));
    Arc::new(Site {
        name: "default/gateway/http".into(),
        hosts: Arc::new(hosts),
        default: Arc::new(VirtualHost::new("".into(), vec![], None, 0)),
        nobody: Arc::new(rule(Action::NotFound)),
        asks_clients: false,
    })
}

/// A port without TLS that has one site for all hosts.
pub(crate) fn http(rules: Vec<Rule>) -> Service {
    let mut gateways = HostTable::default();
    gateways.insert("", site(rules));
    Service::Http(Arc::new(HttpSites {
        gateways,
        ingress: None,
    }))
}

pub(crate) fn backend(name: &str, endpoints: &[SocketAddr]) -> Arc<Backend> {
    backend_with(name, endpoints, Policy::default())
}

pub(crate) fn backend_with(name: &str, endpoints: &[SocketAddr], policy: Policy) -> Arc<Backend> {
    let members: Vec<_> = endpoints
        .iter()
        .map(|&address| Arc::new(Endpoint::new(address)).into())
        .collect();
    let set = match members.is_empty() {
        true => EndpointSet::none(Unavailable::NoEndpoints),
        false => EndpointSet::new(members, Arc::new(policy)),
    };
    Arc::new(Backend::new(name, Discovery::Listed, set))
}

pub(crate) fn share(weight: u32, target: Target) -> Share {
    Share {
        weight,
        target,
        filters: [].into(),
    }
}

pub(crate) fn split(shares: Vec<Share>) -> Arc<Split> {
    Arc::new(Split::new(shares).expect("weights"))
}

/// Where connections or datagrams of one backend go.
pub(crate) fn route(backend: &Arc<Backend>, idle: Duration) -> Arc<Stream> {
    Arc::new(Stream {
        route: "default/route".into(),
        field: "spec.rules[0]".into(),
        split: Some(split(vec![share(1, Target::Backend(Arc::clone(backend)))])),
        connect: Duration::from_secs(5),
        idle,
        tries: None,
        within: std::time::Duration::ZERO,
        announced: false,
        announces: None,
    })
}

/// An address at which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    SocketAddr::new(LOCALHOST, free(Layer::Tcp).port)
}

/// A request as a backend saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// With its last empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// The request line without the version.
    pub(crate) fn line(&self) -> &str {
        let line = self.head.lines().next().unwrap_or_default();
        line.trim_end_matches(" HTTP/1.1")
    }

    /// A field's values, with commas in between.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        field(&self.head, name)
    }
}

pub(crate) fn field(head: &str, name: &str) -> Option<String> {
    let values: Vec<&str> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// A backend that answers as a closure says: a status line and fields, and a body.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// An answer: what follows `HTTP/1.1 ` without the last empty line, and a body.
pub(crate) type Answer = (String, Vec<u8>);

pub(crate) fn ok(body: &str) -> Answer {
    ("200 OK\r\n".into(), body.into())
}

pub(crate) fn status(status: u16) -> Answer {
    (format!("{status} Whatever\r\n"), b"own".to_vec())
}

impl Server {
    /// One that answers with its name.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::new(move |_, _| Some(ok(name)))
    }

    /// `answer` gets the request and how many there were before it; none closes the connection.
    pub(crate) fn new(
        answer: impl Fn(&Seen, usize) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (answer, all) = (Arc::new(answer), Arc::clone(&seen));
        // It ends with the process: a test has a few of them.
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (answer, all) = (Arc::clone(&answer), Arc::clone(&all));
                std::thread::spawn(move || serve(socket, &*answer, &all));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }

    /// Waits until it has seen so many requests.
    pub(crate) fn wait(&self, count: usize) -> Vec<Seen> {
        eventually(|| {
            let seen = self.seen();
            (seen.len() >= count).then_some(seen)
        })
    }
}

/// Tries until there is something.
pub(crate) fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let begin = std::time::Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(begin.elapsed() < PATIENCE, "it does not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn serve(
    mut socket: TcpStream,
    answer: &dyn Fn(&Seen, usize) -> Option<Answer>,
    all: &Mutex<Vec<Seen>>,
) {
    while let Some(seen) = read_request(&mut socket) {
        let before = {
            let mut all = all.lock().expect("no panic");
            all.push(seen.clone());
            all.len() - 1
        };
        let Some((head, body)) = answer(&seen, before) else {
            return;
        };
        let head = format!("HTTP/1.1 {head}Content-Length: {}\r\n\r\n", body.len());
        let head_only = seen.head.starts_with("HEAD ");
        let body = if head_only { &[][..] } else { &body };
        let sent = socket.write_all(&[head.as_bytes(), body].concat());
        if sent.is_err() || seen.field("connection").as_deref() == Some("close") {
            return;
        }
    }
}

fn read_request(socket: &mut TcpStream) -> Option<Seen> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut body = Vec::new();
    if let Some(length) = field(&head, "content-length") {
        body.resize(length.parse().expect("a length"), 0);
        socket.read_exact(&mut body).ok()?;
    } else if field(&head, "transfer-encoding").is_some() {
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                socket.read_exact(&mut byte).ok()?;
                line.push(byte[0]);
            }
            let size = std::str::from_utf8(&line).expect("a size").trim();
            let size = usize::from_str_radix(size, 16).expect("a size");
            let mut chunk = vec![0; size + 2];
            socket.read_exact(&mut chunk).ok()?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
    Some(Seen { head, body })
}

/// A response as a client saw it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        field(&self.head, name)
    }
}

/// GET of a path with these lines of fields.
pub(crate) fn get(at: SocketAddr, path: &str, fields: &[&str]) -> Response {
    ask(at, "GET", path, fields, b"")
}

/// One request on a connection of its own.
pub(crate) fn ask(
    at: SocketAddr,
    method: &str,
    path: &str,
    fields: &[&str],
    body: &[u8],
) -> Response {
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !fields.iter().any(|field| field.starts_with("Host:")) {
        request += "Host: example.org\r\n";
    }
    for field in fields {
        request += &format!("{field}\r\n");
    }
    if !body.is_empty() {
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    request += "\r\n";
    let mut socket = TcpStream::connect(at).expect("connects");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    socket
        .write_all(&[request.as_bytes(), body].concat())
        .expect("takes it");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("an answer");
    response(&answer)
}

/// Reads an answer that ends with its connection.
pub(crate) fn response(answer: &[u8]) -> Response {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Response {
        status: status.expect("a status"),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}
