//! Backends and clients that speak in datagrams.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::service;
use crate::wait::PATIENCE;

/// Answers each datagram with its name and the datagram; what begins with `later` only once it is
/// told to.
pub struct UdpBackend {
    address: SocketAddr,
    socket: UdpSocket,
    seen: Arc<Mutex<Vec<Datagram>>>,
}

/// Where one came from, and what it was.
pub type Datagram = (SocketAddr, Vec<u8>);

impl UdpBackend {
    #[track_caller]
    pub fn named(name: &str) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = socket.local_addr().expect("bound");
        let answering = socket.try_clone().expect("a descriptor");
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let (noted, name) = (Arc::clone(&seen), name.to_owned());
        std::thread::spawn(move || {
            let mut bytes = vec![0; 65536];
            // Until the test's process ends: an answer that nobody takes is an error of the next
            // reading.
            loop {
                let Ok((count, from)) = answering.recv_from(&mut bytes) else {
                    continue;
                };
                let datagram = bytes[..count].to_vec();
                let later = datagram.starts_with(b"later");
                let whole = datagram.len() > 60_000;
                let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                noted.push((from, datagram.clone()));
                drop(noted);
                let answer = match whole {
                    // A name would make it longer than a datagram can be.
                    true => datagram,
                    false => [name.as_bytes(), b" ", &datagram].concat(),
                };
                if !later {
                    let _ = answering.send_to(&answer, from);
                }
            }
        });
        Self {
            address,
            socket,
            seen,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came, and from where.
    pub fn seen(&self) -> Vec<Datagram> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }

    /// Says something to whoever sent this.
    #[track_caller]
    pub fn say_to_sender_of(&self, datagram: &[u8], text: &[u8]) {
        let seen = self.seen();
        let found = seen.iter().find(|(_, bytes)| bytes == datagram);
        let (to, _) = found.expect("it came");
        self.socket.send_to(text, to).expect("sent");
    }
}

/// A Service of datagrams with these endpoints.
pub fn udp_service(name: &str, endpoints: &[SocketAddr]) -> String {
    service(name, endpoints)
        .replace("targetPort: 8080", "protocol: UDP")
        .replace("protocol: TCP", "protocol: UDP")
}

/// A client that hears one address alone.
#[track_caller]
pub fn client(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    socket
        .connect((Ipv4Addr::LOCALHOST, port))
        .expect("an address");
    socket
}

/// Sends and waits for an answer: none after so long, or where nobody listens.
pub fn try_ask(socket: &UdpSocket, datagram: &[u8], within: Duration) -> Option<Vec<u8>> {
    socket.set_read_timeout(Some(within)).ok()?;
    socket.send(datagram).ok()?;
    let mut bytes = vec![0; 65536];
    let count = socket.recv(&mut bytes).ok()?;
    Some(bytes[..count].to_vec())
}

/// The same, of text, and there has to be one.
#[track_caller]
pub fn ask(socket: &UdpSocket, text: &str) -> String {
    let answer = try_ask(socket, text.as_bytes(), PATIENCE).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}
