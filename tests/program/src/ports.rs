//! Ports for the program under test.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the kernel's ephemeral range (32768 and up), so that no outgoing connection of another
/// test takes a port between its choice here and the program's bind.
const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port that nobody listens on, handed out once in this process.
pub fn free() -> u16 {
    let start = std::process::id().wrapping_mul(257);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + start.wrapping_add(step) % COUNT).expect("below 65536");
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

/// Whether this machine has IPv6 on its loopback interface.
pub fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}
