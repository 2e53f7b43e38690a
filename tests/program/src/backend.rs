//! Backends: HTTP/1.1 servers that record what reaches them and answer as a test says.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

use crate::http1::{Headers, values};
use crate::websocket;

/// A request as a backend received it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The head's bytes, with the empty line.
    pub raw: Vec<u8>,
    pub method: String,
    pub target: String,
    pub version: String,
    /// In order, in the case they came in.
    pub headers: Headers,
    /// Which of this backend's connections it came on, from 0.
    pub connection: usize,
}

/// The echoing backend's answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Echo {
    pub backend: String,
    pub method: String,
    pub target: String,
    pub version: String,
    pub headers: Headers,
    pub body_length: u64,
    pub body_hash: u64,
    /// The body itself if it is text and not large.
    pub body: String,
    pub trailers: Headers,
    pub connection: usize,
}

/// What becomes of a connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Keep,
    Close,
}

type Script = dyn Fn(&mut Exchange<'_>) -> io::Result<Then> + Send + Sync;

/// A running backend; it ends with its connections when dropped.
pub struct Backend {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    address: SocketAddr,
    script: Box<Script>,
    seen: Mutex<Vec<Seen>>,
    accepted: AtomicUsize,
    open: Mutex<HashMap<usize, TcpStream>>,
    stopped: AtomicBool,
}

impl Backend {
    /// Echoes each request as JSON; speaks WebSocket when asked to.
    pub fn named(name: &str) -> Self {
        Self::on(IpAddr::V4(Ipv4Addr::LOCALHOST), name)
    }

    /// The same on an address of its own.
    pub fn on(ip: IpAddr, name: &str) -> Self {
        Self::start(ip, name, Box::new(|exchange| exchange.echo()))
    }

    /// Answers as `script` says.
    pub fn scripted(
        name: &str,
        script: impl Fn(&mut Exchange<'_>) -> io::Result<Then> + Send + Sync + 'static,
    ) -> Self {
        Self::start(IpAddr::V4(Ipv4Addr::LOCALHOST), name, Box::new(script))
    }

    /// Answers every request with these bytes, then closes.
    pub fn answering(name: &str, bytes: &'static [u8]) -> Self {
        Self::scripted(name, move |exchange| {
            exchange.read_body()?;
            exchange.send(bytes)?;
            Ok(Then::Close)
        })
    }

    fn start(ip: IpAddr, name: &str, script: Box<Script>) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("a loopback port");
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            address: listener.local_addr().expect("bound"),
            script,
            seen: Mutex::default(),
            accepted: AtomicUsize::new(0),
            open: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accepting.accept(&listener));
        Self { shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// How many connections were ever accepted.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> usize {
        lock(&self.shared.open).len()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread; if nothing listens any more, it has ended already.
        let _ = TcpStream::connect(self.shared.address);
        for stream in lock(&self.shared.open).values() {
            // A connection that is gone needs no shutdown.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { continue };
            let number = self.accepted.fetch_add(1, Ordering::SeqCst);
            let Ok(handle) = stream.try_clone() else {
                continue;
            };
            lock(&self.open).insert(number, handle);
            let shared = Arc::clone(&self);
            std::thread::spawn(move || {
                // What goes wrong on a connection shows at the client, which is where tests look.
                let _ = shared.converse(&stream, number);
                lock(&shared.open).remove(&number);
                let _ = stream.shutdown(Shutdown::Both);
            });
        }
    }

    fn converse(&self, stream: &TcpStream, connection: usize) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::with_capacity(64 * 1024, stream.try_clone()?);
        while let Some(mut request) = read_head(&mut reader)? {
            request.connection = connection;
            lock(&self.seen).push(request.clone());
            let mut exchange = Exchange {
                request,
                name: &self.name,
                reader: &mut reader,
                body: None,
            };
            if (self.script)(&mut exchange)? == Then::Close {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// One request being answered.
pub struct Exchange<'a> {
    pub request: Seen,
    name: &'a str,
    reader: &'a mut BufReader<TcpStream>,
    body: Option<Body>,
}

/// What a request's body was.
#[derive(Clone, Debug, Default)]
pub struct Body {
    pub length: u64,
    pub hash: u64,
    pub text: String,
    pub trailers: Headers,
}

impl Exchange<'_> {
    pub fn header(&self, name: &str) -> Option<&str> {
        values(&self.request.headers, name).next()
    }

    /// Writes bytes to the proxy as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes.as_ref())
    }

    /// Answers 200 with `body`.
    pub fn reply(&mut self, body: &str) -> io::Result<Then> {
        self.read_body()?;
        self.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))?;
        Ok(Then::Keep)
    }

    /// The socket, for scripts that leave HTTP.
    pub fn socket(&mut self) -> &mut BufReader<TcpStream> {
        self.reader
    }

    /// Reads the body to its end; the second call gives the same.
    pub fn read_body(&mut self) -> io::Result<Body> {
        if self.body.is_none() {
            self.body = Some(self.consume()?);
        }
        Ok(self.body.clone().unwrap_or_default())
    }

    fn consume(&mut self) -> io::Result<Body> {
        let mut body = Body {
            hash: Hash::START,
            ..Body::default()
        };
        let mut keep = Vec::new();
        let chunked = self.header("transfer-encoding").is_some();
        let length = self.header("content-length").map(str::parse::<u64>);
        match length {
            _ if chunked => {
                loop {
                    let size = line(self.reader)?;
                    let size = size.split(';').next().unwrap_or_default();
                    let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
                    if size == 0 {
                        break;
                    }
                    self.absorb(size, &mut body, &mut keep)?;
                    line(self.reader)?;
                }
                body.trailers = fields(self.reader)?;
            }
            Some(length) => self.absorb(length.map_err(io::Error::other)?, &mut body, &mut keep)?,
            None => {}
        }
        body.text = String::from_utf8_lossy(&keep).into_owned();
        Ok(body)
    }

    fn absorb(&mut self, mut size: u64, body: &mut Body, keep: &mut Vec<u8>) -> io::Result<()> {
        while size > 0 {
            let available = self.reader.fill_buf()?;
            if available.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let take = available
                .len()
                .min(usize::try_from(size).unwrap_or(usize::MAX));
            body.hash = Hash::of(body.hash, &available[..take]);
            body.length += take as u64;
            size -= take as u64;
            if keep.len() < 4096 {
                keep.extend_from_slice(&available[..take]);
            }
            self.reader.consume(take);
        }
        Ok(())
    }

    /// The default answer: what was received, as JSON; WebSocket frames come back as they are.
    pub fn echo(&mut self) -> io::Result<Then> {
        if self
            .header("upgrade")
            .is_some_and(|to| to.eq_ignore_ascii_case("websocket"))
        {
            return self.echo_websocket();
        }
        if self
            .header("expect")
            .is_some_and(|what| what.eq_ignore_ascii_case("100-continue"))
        {
            self.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = self.read_body()?;
        let request = self.request.clone();
        let head_only = request.method == "HEAD";
        let wants_close = self
            .header("connection")
            .is_some_and(|value| value.contains("close"));
        let echo = Echo {
            backend: self.name.to_owned(),
            method: request.method,
            target: request.target,
            version: request.version,
            headers: request.headers,
            body_length: body.length,
            body_hash: body.hash,
            body: body.text,
            trailers: body.trailers,
            connection: request.connection,
        };
        let json = serde_json::to_string(&echo).map_err(io::Error::other)?;
        self.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
            json.len(),
            if head_only { "" } else { &json }
        ))?;
        Ok(if wants_close { Then::Close } else { Then::Keep })
    }

    fn echo_websocket(&mut self) -> io::Result<Then> {
        self.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            websocket::ACCEPT
        ))?;
        loop {
            let (opcode, payload) = websocket::read_frame(self.reader)?;
            self.send(websocket::frame(opcode, &payload, false))?;
            if opcode == websocket::CLOSE {
                return Ok(Then::Close);
            }
        }
    }
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        values(&self.headers, name).next()
    }
}

impl Echo {
    /// The first value of a field that the backend received.
    pub fn header(&self, name: &str) -> Option<&str> {
        values(&self.headers, name).next()
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        values(&self.headers, name).collect()
    }
}

/// FNV-1a over eight bytes at a time would differ by how the bytes were cut; this one does not.
pub struct Hash;

impl Hash {
    pub const START: u64 = 0xcbf2_9ce4_8422_2325;

    /// Goes on from `state` over `bytes`.
    pub fn of(state: u64, bytes: &[u8]) -> u64 {
        bytes.iter().fold(state, |state, byte| {
            (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}

fn read_head(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Seen>> {
    let mut raw = Vec::new();
    while !raw.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut raw)? == 0 {
            return Ok(None);
        }
    }
    let text = String::from_utf8_lossy(&raw).into_owned();
    let mut lines = text.split("\r\n");
    let mut start = lines
        .next()
        .unwrap_or_default()
        .splitn(3, ' ')
        .map(str::to_owned);
    let mut next = || start.next().unwrap_or_default();
    let (method, target, version) = (next(), next(), next());
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Ok(Some(Seen {
        raw,
        method,
        target,
        version,
        headers,
        connection: 0,
    }))
}

fn fields(reader: &mut impl BufRead) -> io::Result<Headers> {
    let mut headers = Vec::new();
    loop {
        let line = line(reader)?;
        let Some((name, value)) = line.split_once(':') else {
            return Ok(headers);
        };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.by_ref().take(64 * 1024).read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
