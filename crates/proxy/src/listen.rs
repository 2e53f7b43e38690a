//! Binding ports: all addresses, one socket a worker.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use model::{Entrance, Layer};
use socket2::{Domain, Protocol, Type};

use crate::inherit::Inherited;

/// Added to a privileged port that cannot be bound.
const UNPRIVILEGED_OFFSET: u16 = 8000;

/// Connections that wait to be accepted; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How many sockets a worker may have of one address, because an earlier process with more workers
/// opened them, before their number is left as it is.
const MOST_PER_WORKER: usize = 4;

/// A port that is listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// As configured.
    pub entrance: Entrance,
    /// As bound: the same, or 8000 more where a privileged port may not be bound.
    pub bound_port: u16,
    /// The addresses it is bound on.
    pub addresses: Vec<IpAddr>,
}

/// What a configuration listens on, and what it was to listen on.
#[derive(Debug, Default)]
pub struct Listening {
    /// Every entrance that is open, whenever it was opened.
    pub bound: Vec<Bound>,
    /// What could not be opened. All else is served.
    pub failed: Vec<BindError>,
}

/// A port that could not be bound.
#[derive(Debug)]
pub struct BindError {
    /// What was to be opened.
    pub entrance: Entrance,
    /// The port.
    pub port: u16,
    /// The address.
    pub address: IpAddr,
    /// Why.
    pub source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            entrance,
            port,
            address,
            source,
        } = self;
        match source.kind() {
            io::ErrorKind::AddrInUse => {
                write!(f, "port {port} on {address} is in use by another process")?;
                if let Some(holder) = holder(*port, entrance.layer) {
                    write!(f, " ({holder})")?;
                }
                f.write_str("; stop it, or choose another port")
            }
            io::ErrorKind::PermissionDenied => {
                write!(f, "port {port} on {address} may not be bound: {source}")
            }
            _ => write!(f, "cannot listen on port {port} of {address}: {source}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A socket of one worker.
#[derive(Debug)]
pub(crate) enum Socket {
    /// Connections come in.
    Tcp(TcpListener),
    /// Datagrams come in.
    Udp(UdpSocket),
}

impl Socket {
    /// Of what.
    pub(crate) fn layer(&self) -> Layer {
        match self {
            Self::Tcp(_) => Layer::Tcp,
            Self::Udp(_) => Layer::Udp,
        }
    }
}

/// The sockets of one entrance, a list for each worker.
pub(crate) struct Group {
    pub(crate) bound: Bound,
    pub(crate) sockets: Vec<Vec<Socket>>,
}

/// Binds an entrance on its address, or on all of `addresses`, for so many workers. What was
/// inherited of it is used.
pub(crate) fn bind(
    addresses: &[IpAddr],
    entrance: Entrance,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Group, BindError> {
    let port = entrance.port;
    let one = entrance.address.map(|address| [address]);
    let addresses = one.as_ref().map_or(addresses, <[_; 1]>::as_slice);
    match bind_exactly(addresses, entrance, port, workers, inherited) {
        Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied && port < 1024 => {
            tracing::warn!(
                port,
                bound_port = port + UNPRIVILEGED_OFFSET,
                "an unprivileged process may not bind this port; binding another"
            );
            let bound_port = port + UNPRIVILEGED_OFFSET;
            bind_exactly(addresses, entrance, bound_port, workers, inherited)
        }
        result => result,
    }
}

fn bind_exactly(
    addresses: &[IpAddr],
    entrance: Entrance,
    bound_port: u16,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Group, BindError> {
    let layer = entrance.layer;
    let mut sockets: Vec<Vec<Socket>> = (0..workers).map(|_| Vec::new()).collect();
    let mut bound = Vec::new();
    let mut unavailable = None;
    for &address in addresses {
        let fail = |source| BindError {
            entrance,
            port: bound_port,
            address,
            source,
        };
        let address_and_port = SocketAddr::new(address, bound_port);
        let mut held = inherited.take_of(layer, address_and_port);
        let probed = if held.is_empty() {
            probe(layer, address_and_port)
        } else {
            Ok(())
        };
        match probed {
            Ok(()) => {}
            // A host without IPv6 (or IPv4): the other family is enough.
            Err(error) if address.is_unspecified() && is_unavailable(&error) => {
                unavailable = Some(fail(error));
                continue;
            }
            Err(error) => return Err(fail(error)),
        }
        let count = group_size(held.len(), workers);
        for index in 0..count {
            let socket = match held.pop() {
                Some(socket) => socket,
                None => open(layer, address_and_port, true).map_err(fail)?,
            };
            sockets[index % workers].push(socket);
        }
        bound.push(address);
    }
    match unavailable {
        Some(error) if bound.is_empty() => Err(error),
        _ => Ok(Group {
            bound: Bound {
                entrance,
                bound_port,
                addresses: bound,
            },
            sockets,
        }),
    }
}

/// How many sockets one address has. None that was inherited is closed, since its queue may hold
/// connections or datagrams; and every worker has as many as the others, since the kernel spreads connections
/// over sockets.
fn group_size(inherited: usize, workers: usize) -> usize {
    match inherited.div_ceil(workers).max(1) {
        each @ ..=MOST_PER_WORKER => each * workers,
        _ => inherited,
    }
}

/// Binds plainly first: a group opened at once would share the port silently with another process
/// of the same user.
fn probe(layer: Layer, address: SocketAddr) -> io::Result<()> {
    open(layer, address, false).map(drop)
}

fn open(layer: Layer, address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let (kind, protocol) = match layer {
        Layer::Tcp => (Type::STREAM, Protocol::TCP),
        Layer::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = socket2::Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if layer == Layer::Tcp {
        // For datagrams it would let two share a port that may not.
        socket.set_reuse_address(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    match layer {
        Layer::Tcp => {
            socket.listen(BACKLOG)?;
            Ok(Socket::Tcp(socket.into()))
        }
        Layer::Udp => Ok(Socket::Udp(socket.into())),
    }
}

fn is_unavailable(error: &io::Error) -> bool {
    // EAFNOSUPPORT has no kind of its own.
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

/// Which process listens on a port, as far as this user may see.
fn holder(port: u16, layer: Layer) -> Option<String> {
    let tables = match layer {
        Layer::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Layer::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    let inode = tables
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .find_map(|table| listening_inode(&table, port).map(str::to_owned))?;
    let wanted = format!("socket:[{inode}]");
    let is_process = |name: &std::ffi::OsStr| {
        name.to_str()
            .is_some_and(|name| name.parse::<u32>().is_ok())
    };
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    for process in processes.filter(|entry| is_process(&entry.file_name())) {
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let has = |link: std::path::PathBuf| {
            std::fs::read_link(link).is_ok_and(|to| to.as_os_str() == wanted.as_str())
        };
        if files.flatten().any(|file| has(file.path())) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!(
                "pid {}, {}",
                process.file_name().display(),
                name.trim()
            ));
        }
    }
    None
}

/// The inode of the socket that listens on a port, from a table of /proc/net.
fn listening_inode(table: &str, port: u16) -> Option<&str> {
    // Of TCP, and of UDP that is not connected.
    const LISTEN: [&str; 2] = ["0A", "07"];
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
        let listens =
            u16::from_str_radix(local_port, 16).ok()? == port && LISTEN.contains(fields.get(3)?);
        listens.then(|| fields.get(9).copied()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(address: SocketAddr, shared: bool) -> TcpListener {
        match open(Layer::Tcp, address, shared).expect("a socket") {
            Socket::Tcp(socket) => socket,
            Socket::Udp(_) => panic!("no socket of TCP"),
        }
    }

    #[test]
    fn a_port_in_use_is_named_with_its_holder() {
        let localhost = IpAddr::from([127, 0, 0, 1]);
        // With SO_REUSEPORT, as another Narthex of the same user would.
        let taken = listening(SocketAddr::new(localhost, 0), true);
        let port = taken.local_addr().expect("an address").port();
        let error = bind(
            &[localhost],
            Entrance::tcp(port),
            2,
            &mut Inherited::default(),
        )
        .err()
        .expect("an error")
        .to_string();
        assert!(
            error.contains(&format!("port {port} on 127.0.0.1 is in use")),
            "{error}"
        );
        assert!(
            error.contains(&format!("pid {}", std::process::id())),
            "{error}"
        );
    }

    #[test]
    fn every_worker_gets_a_socket_for_every_address() {
        let addresses = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
        let free = listening(SocketAddr::new(addresses[0], 0), false);
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let entrance = Entrance::tcp(port);
        let group = bind(&addresses, entrance, 3, &mut Inherited::default()).expect("a group");
        assert_eq!(
            group.sockets.iter().map(Vec::len).collect::<Vec<_>>(),
            [2, 2, 2]
        );
        assert_eq!(
            group.bound,
            Bound {
                entrance,
                bound_port: port,
                addresses: addresses.to_vec()
            }
        );
    }

    #[test]
    fn inherited_sockets_are_all_used_and_spread_evenly() {
        let localhost = [IpAddr::from([127, 0, 0, 1])];
        for (old, new, expected) in [
            (2, 2, vec![1, 1]),
            (2, 3, vec![1, 1, 1]),
            (4, 3, vec![2, 2, 2]),
            (3, 1, vec![3]),
            (5, 1, vec![5]),
            (10, 2, vec![5, 5]),
            (11, 2, vec![6, 5]),
        ] {
            let free = listening(SocketAddr::new(localhost[0], 0), false);
            let at = Entrance::tcp(free.local_addr().expect("an address").port());
            drop(free);
            let first = bind(&localhost, at, old, &mut Inherited::default()).expect("a group");
            let handed = first.sockets.iter().flatten().map(|socket| match socket {
                Socket::Tcp(socket) => socket.try_clone().expect("a descriptor").into(),
                Socket::Udp(_) => panic!("no socket of TCP"),
            });
            let mut inherited = Inherited::new(handed.collect()).expect("listening");
            let second = bind(&localhost, at, new, &mut inherited).expect("a group");
            assert!(inherited.is_empty(), "{old} to {new}");
            let spread: Vec<_> = second.sockets.iter().map(Vec::len).collect();
            assert_eq!(spread, expected, "{old} to {new}");
        }
    }
}
