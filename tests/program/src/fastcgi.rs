//! FastCGI servers: one by hand that answers as a test says, and Debian's `fcgiwrap`.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::ports;
use crate::wait::until;

pub const STDOUT: u8 = 6;
pub const STDERR: u8 = 7;
const END: u8 = 3;

/// A request as a server understood it.
#[derive(Clone, Debug, Default)]
pub struct Call {
    pub params: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Call {
    /// A parameter's value; nothing if it was not told.
    pub fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }
}

/// A server by hand; it ends with the test's process.
pub struct Server {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Server {
    /// Writes to each request what `answer` makes of it, then closes.
    pub fn answering(answer: impl Fn(&Call) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("bound");
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let (seen, answer) = (Arc::clone(&calls), Arc::new(answer));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                std::thread::spawn(move || {
                    // What goes wrong shows at the client, which is where tests look.
                    let _ = serve(socket, &seen, &*answer);
                });
            }
        });
        Self { address, calls }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far.
    pub fn calls(&self) -> Vec<Call> {
        let calls = self.calls.lock();
        calls.map_or_else(
            |poisoned| poisoned.into_inner().clone(),
            |calls| calls.clone(),
        )
    }
}

fn serve(
    mut socket: TcpStream,
    seen: &Mutex<Vec<Call>>,
    answer: &dyn Fn(&Call) -> Vec<u8>,
) -> io::Result<()> {
    let (mut call, mut params) = (Call::default(), Vec::new());
    loop {
        let mut header = [0; 8];
        socket.read_exact(&mut header)?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let mut content = vec![0; length + usize::from(header[6])];
        socket.read_exact(&mut content)?;
        content.truncate(length);
        match header[1] {
            4 => params.extend(content),
            5 if content.is_empty() => break,
            5 => call.body.extend(content),
            _ => {}
        }
    }
    call.params = pairs(&params);
    let text = answer(&call);
    if let Ok(mut seen) = seen.lock() {
        seen.push(call);
    }
    socket.write_all(&text)
}

fn pairs(mut bytes: &[u8]) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    let length = |bytes: &mut &[u8]| {
        let (first, rest) = bytes.split_first().expect("a length");
        if first & 0x80 == 0 {
            *bytes = rest;
            return usize::from(*first);
        }
        let (long, rest) = bytes.split_at(4);
        *bytes = rest;
        let long: [u8; 4] = long.try_into().expect("four");
        usize::try_from(u32::from_be_bytes(long) & 0x7fff_ffff).expect("it fits")
    };
    while !bytes.is_empty() {
        let (name, value) = (length(&mut bytes), length(&mut bytes));
        let (pair, rest) = bytes.split_at(name + value);
        bytes = rest;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        pairs.insert(text(&pair[..name]), text(&pair[name..]));
    }
    pairs
}

/// A record.
pub fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("short").to_be_bytes();
    let mut out = vec![1, kind, 0, 1, length[0], length[1], 3, 0];
    out.extend_from_slice(content);
    out.extend_from_slice(b"pad");
    out
}

/// The record that ends a request; of the protocol, 0 is that it is complete.
pub fn end(protocol: u8) -> Vec<u8> {
    record(END, &[0, 0, 0, 0, protocol, 0, 0, 0])
}

/// A whole answer.
pub fn whole(text: &str) -> Vec<u8> {
    let parts = text.as_bytes().chunks(60_000);
    let mut out: Vec<u8> = parts.flat_map(|part| record(STDOUT, part)).collect();
    out.extend(record(STDOUT, &[]));
    out.extend(end(0));
    out
}

/// Debian's `fcgiwrap`, which runs CGI scripts; killed when dropped.
pub struct Wrap {
    address: SocketAddr,
    child: Child,
}

impl Wrap {
    #[track_caller]
    pub fn start() -> Self {
        let port = ports::free();
        // Debian has it where not everybody's path leads.
        let usual = Path::new("/usr/sbin/fcgiwrap");
        let program = if usual.exists() {
            usual
        } else {
            Path::new("fcgiwrap")
        };
        let child = Command::new(program)
            .args(["-s", &format!("tcp:127.0.0.1:{port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("fcgiwrap, of Debian");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        until("fcgiwrap listens", || TcpStream::connect(address).is_ok());
        Self { address, child }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Wrap {
    fn drop(&mut self) {
        // It has ended already, otherwise.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
