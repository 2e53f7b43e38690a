//! Backends of which a test writes every byte, for what no library would send.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::frames::{self, Frame};

/// A backend of which a test writes every byte.
pub struct RawBackend {
    address: SocketAddr,
    shared: Arc<RawShared>,
}

#[derive(Default)]
struct RawShared {
    accepted: AtomicUsize,
    stopped: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

/// The other end of one connection of a [`RawBackend`].
pub struct Peer {
    pub tcp: TcpStream,
    /// Which connection this is, from 0.
    pub number: usize,
}

impl RawBackend {
    /// Runs `script` on each connection.
    pub fn start(script: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(RawShared::default());
        let (accepting, script) = (Arc::clone(&shared), Arc::new(script));
        std::thread::spawn(move || {
            for tcp in listener.incoming() {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(tcp) = tcp else { continue };
                let number = accepting.accepted.fetch_add(1, Ordering::SeqCst);
                if let Ok(kept) = tcp.try_clone() {
                    lock(&accepting.open).push(kept);
                }
                let script = Arc::clone(&script);
                std::thread::spawn(move || {
                    tcp.set_nodelay(true).expect("a socket");
                    tcp.set_read_timeout(Some(Duration::from_secs(40)))
                        .expect("not zero");
                    tcp.set_write_timeout(Some(Duration::from_secs(10)))
                        .expect("not zero");
                    let mut peer = Peer { tcp, number };
                    // What goes wrong shows at the client, which is where tests look.
                    let _ = script(&mut peer);
                    let _ = peer.tcp.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were ever accepted.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for RawBackend {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        for tcp in lock(&self.shared.open).iter() {
            let _ = tcp.shutdown(Shutdown::Both);
        }
    }
}

impl Peer {
    /// Reads the preface and sends settings of its own, given as identifier and value.
    pub fn greet(&mut self, settings: &[(u16, u32)]) -> io::Result<()> {
        let mut preface = [0; frames::PREFACE.len()];
        self.tcp.read_exact(&mut preface)?;
        if preface != *frames::PREFACE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        self.send(&frames::frame(frames::SETTINGS, 0, 0, &payload))
    }

    /// The next frame.
    pub fn frame(&mut self) -> io::Result<Frame> {
        frames::read_frame(&mut self.tcp)
    }

    /// Reads until a frame of a kind comes, and acknowledges settings on the way.
    pub fn until(&mut self, kind: u8) -> io::Result<Frame> {
        loop {
            let frame = self.frame()?;
            if frame.kind == frames::SETTINGS && frame.flags & frames::ACK == 0 {
                self.send(&frames::frame(frames::SETTINGS, frames::ACK, 0, &[]))?;
            }
            if frame.kind == kind {
                return Ok(frame);
            }
        }
    }

    /// Waits for the next request, and tells its stream.
    pub fn request(&mut self) -> io::Result<u32> {
        Ok(self.until(frames::HEADERS)?.stream)
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tcp.write_all(bytes)
    }

    /// A head with a status and fields that is all of a response, or only its beginning.
    pub fn respond(
        &mut self,
        stream: u32,
        status: &str,
        fields: &[(&str, &str)],
        end: bool,
    ) -> io::Result<()> {
        let mut block = frames::field(":status", status);
        for (name, value) in fields {
            block.extend(frames::field(name, value));
        }
        let flags = frames::END_HEADERS | if end { frames::END_STREAM } else { 0 };
        self.send(&frames::frame(frames::HEADERS, flags, stream, &block))
    }

    /// A piece of a body.
    pub fn data(&mut self, stream: u32, bytes: &[u8], end: bool) -> io::Result<()> {
        let flags = if end { frames::END_STREAM } else { 0 };
        self.send(&frames::frame(frames::DATA, flags, stream, bytes))
    }

    /// Reads until the other side ends the connection.
    pub fn drain(&mut self) -> io::Result<()> {
        loop {
            self.frame()?;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
