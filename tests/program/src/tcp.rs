//! Backends that take connections for what they are, and clients of them.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::server::Acceptor;

use crate::wait::PATIENCE;

/// Sends back what it gets, and its name once its client has ended.
pub struct TcpBackend {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    hellos: Arc<Mutex<Vec<Hello>>>,
}

/// What a client of TLS asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    pub server_name: Option<String>,
    pub alpn: Vec<String>,
}

/// What a backend keeps of its connections.
#[derive(Clone)]
struct Notes {
    open: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    hellos: Arc<Mutex<Vec<Hello>>>,
    name: String,
    tls: Option<Arc<ServerConfig>>,
}

impl TcpBackend {
    #[track_caller]
    pub fn named(name: &str) -> Self {
        Self::start(name, None)
    }

    /// The same inside TLS.
    #[track_caller]
    pub fn secure(name: &str, config: Arc<ServerConfig>) -> Self {
        Self::start(name, Some(config))
    }

    #[track_caller]
    fn start(name: &str, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let notes = Notes {
            open: Arc::default(),
            seen: Arc::default(),
            hellos: Arc::default(),
            name: name.to_owned(),
            tls,
        };
        let backend = Self {
            address: listener.local_addr().expect("bound"),
            open: Arc::clone(&notes.open),
            seen: Arc::clone(&notes.seen),
            hellos: Arc::clone(&notes.hellos),
        };
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let notes = notes.clone();
                std::thread::spawn(move || {
                    notes.open.fetch_add(1, Ordering::SeqCst);
                    // However it ends: the client is who looks.
                    let _ = serve(socket, &notes);
                    notes.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        backend
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// What came on each connection.
    pub fn seen(&self) -> Vec<Vec<u8>> {
        lock(&self.seen).clone()
    }

    /// What clients of TLS asked for.
    pub fn hellos(&self) -> Vec<Hello> {
        lock(&self.hellos).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut socket: TcpStream, notes: &Notes) -> io::Result<()> {
    let Some(config) = &notes.tls else {
        return echo(&mut socket, notes);
    };
    let mut acceptor = Acceptor::default();
    let accepted = loop {
        if acceptor.read_tls(&mut socket)? == 0 {
            return Ok(());
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => break accepted,
            Ok(None) => {}
            Err((error, _)) => return Err(io::Error::other(error)),
        }
    };
    let hello = accepted.client_hello();
    let alpn = hello.alpn().into_iter().flatten();
    lock(&notes.hellos).push(Hello {
        server_name: hello.server_name().map(str::to_owned),
        alpn: alpn
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect(),
    });
    let connection = accepted.into_connection(Arc::clone(config));
    let connection = connection.map_err(|(error, _)| io::Error::other(error))?;
    echo(&mut rustls::StreamOwned::new(connection, socket), notes)
}

fn echo(socket: &mut (impl Read + Write), notes: &Notes) -> io::Result<()> {
    let index = {
        let mut seen = lock(&notes.seen);
        seen.push(Vec::new());
        seen.len() - 1
    };
    let mut bytes = [0; 16 * 1024];
    loop {
        let count = socket.read(&mut bytes)?;
        if count == 0 {
            break;
        }
        lock(&notes.seen)[index].extend_from_slice(&bytes[..count]);
        socket.write_all(&bytes[..count])?;
        socket.flush()?;
    }
    socket.write_all(notes.name.as_bytes())?;
    socket.flush()
}

/// A connection to a port of this machine, on which no wait is without end.
#[track_caller]
pub fn connect(port: u16) -> TcpStream {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it is open");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    socket.set_write_timeout(Some(PATIENCE)).expect("a limit");
    socket.set_nodelay(true).expect("TCP");
    socket
}

/// Says something, and hears it back.
#[track_caller]
pub fn exchange(socket: &mut (impl Read + Write), text: &[u8]) {
    socket.write_all(text).expect("taken");
    socket.flush().expect("taken");
    let mut back = vec![0; text.len()];
    socket.read_exact(&mut back).expect("it comes back");
    assert!(back == text, "what was sent comes back");
}

/// Whether the other side has ended the connection.
pub fn is_over(socket: &mut TcpStream) -> bool {
    loop {
        match socket.read(&mut [0; 1024]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                );
            }
        }
    }
}
