//! Ports for the program under test.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Below the kernel's ephemeral range (32768 and up), so that no outgoing connection of another
/// test takes a port between its choice here and the program's bind.
const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;

static NEXT: AtomicU32 = AtomicU32::new(0);
/// What marks this process's ports as taken, to its end.
static CLAIMS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// A port that nobody listens on, handed out once in this process, and to no other test's process
/// as long as this one lives.
pub fn free() -> u16 {
    let start = std::process::id().wrapping_mul(257);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + start.wrapping_add(step) % COUNT).expect("below 65536");
        // Claimed before it is looked at: looking takes it for a moment.
        if !claim(port) {
            continue;
        }
        let v4 = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
        if v4.is_err() {
            continue;
        }
        drop(v4);
        // A machine without IPv6 says so with another error than "in use".
        match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => continue,
            _ => return port,
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

/// Takes a name that only one process of this network namespace can have, and that leaves no file.
fn claim(port: u16) -> bool {
    let name = format!("narthex-tests-port-{port}");
    let address = SocketAddr::from_abstract_name(name).expect("a short name");
    let claim = UnixListener::bind_addr(&address);
    let mut claims = CLAIMS.lock().unwrap_or_else(PoisonError::into_inner);
    claim.map(|claim| claims.push(claim)).is_ok()
}

/// Whether this machine has IPv6 on its loopback interface.
pub fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}
