//! A socket that records every byte and reads only the plainest form of HTTP/1.1: what a proxy
//! that writes messages anew has no reason to leave.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Understood;

/// A whole message, or what kept it from being one.
#[derive(Clone, Debug)]
pub struct Message {
    pub raw: Vec<u8>,
    /// The error names what is not plain.
    pub read: Result<Understood, String>,
}

/// A running recorder; it ends when dropped.
pub struct Recorder {
    pub address: SocketAddr,
    messages: Arc<Mutex<Vec<Message>>>,
    stopped: Arc<AtomicBool>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::start()
    }
}

impl Recorder {
    #[track_caller]
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
        let recorder = Self {
            address: listener.local_addr().expect("bound"),
            messages: Arc::default(),
            stopped: Arc::default(),
        };
        let (messages, stopped) = (
            Arc::clone(&recorder.messages),
            Arc::clone(&recorder.stopped),
        );
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let messages = Arc::clone(&messages);
                std::thread::spawn(move || {
                    // A connection that breaks has recorded what it had.
                    let _ = record(stream, &messages);
                });
            }
        });
        recorder
    }

    /// Messages since the last call, whole ones and wrong ones.
    pub fn take_seen(&self) -> Vec<Message> {
        std::mem::take(&mut lock(&self.messages))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

fn record(mut stream: TcpStream, messages: &Mutex<Vec<Message>>) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut raw = Vec::new();
    let mut piece = [0; 8192];
    loop {
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        raw.extend_from_slice(&piece[..count]);
        let (read, len) = match read_plain(&raw) {
            Ok(None) => continue,
            Ok(Some((understood, len))) => (Ok(understood), len),
            Err(what) => (Err(what), raw.len()),
        };
        let broken = read.is_err();
        let extra = raw.split_off(len);
        let message = Message {
            raw: std::mem::replace(&mut raw, extra),
            read,
        };
        // The answer goes out after the message is on record: who has the answer may look.
        lock(messages).push(message);
        if broken {
            return Ok(());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
}

/// Reads one message; `None` if it is not whole yet.
fn read_plain(raw: &[u8]) -> Result<Option<(Understood, usize)>, String> {
    let Some(end) = raw.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = text(&raw[..end]);
    let mut lines = head.split("\r\n");
    let start = lines.next().unwrap_or_default();
    let [method, target, "HTTP/1.1"] = start.split(' ').collect::<Vec<_>>()[..] else {
        return Err(format!("request line {start:?}"));
    };
    let mut framing = Vec::new();
    let mut hosts = 0;
    for line in lines {
        let (name, value) = line
            .split_once(": ")
            .ok_or_else(|| format!("field {line:?}"))?;
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(format!("field name {name:?}"));
        }
        if value.trim() != value || value.chars().any(|c| c.is_ascii_control() && c != '\t') {
            return Err(format!("field value {value:?}"));
        }
        match name.to_ascii_lowercase().replace('_', "-").as_str() {
            "content-length" | "transfer-encoding" => framing.push((name, value)),
            "host" => hosts += 1,
            _ => {}
        }
    }
    if hosts != 1 {
        return Err(format!("{hosts} hosts"));
    }
    let rest = &raw[end + 4..];
    let body = match framing[..] {
        [] => Some((String::new(), 0)),
        [("Content-Length", length)] => {
            let length: usize = length.parse().map_err(|_| format!("length {length:?}"))?;
            (rest.len() >= length).then(|| (text(&rest[..length]), length))
        }
        [("Transfer-Encoding", "chunked")] => read_chunks(rest)?,
        _ => return Err(format!("framing {framing:?}")),
    };
    Ok(body.map(|(body, len)| {
        let understood = Understood {
            method: method.to_owned(),
            target: target.to_owned(),
            body,
        };
        (understood, end + 4 + len)
    }))
}

fn read_chunks(bytes: &[u8]) -> Result<Option<(String, usize)>, String> {
    let (mut body, mut at) = (String::new(), 0);
    loop {
        let Some(end) = bytes[at..].windows(2).position(|window| window == b"\r\n") else {
            return Ok(None);
        };
        let line = text(&bytes[at..at + end]);
        let plain = line.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
        let size = usize::from_str_radix(&line, 16).ok().filter(|_| plain);
        let size = size.ok_or_else(|| format!("chunk line {line:?}"))?;
        at += end + 2;
        if size == 0 {
            break;
        }
        if bytes.len() < at + size + 2 {
            return Ok(None);
        }
        body += &text(&bytes[at..at + size]);
        if &bytes[at + size..at + size + 2] != b"\r\n" {
            return Err("chunk end".to_owned());
        }
        at += size + 2;
    }
    loop {
        let Some(end) = bytes[at..].windows(2).position(|window| window == b"\r\n") else {
            return Ok(None);
        };
        let line = text(&bytes[at..at + end]);
        at += end + 2;
        if line.is_empty() {
            return Ok(Some((body, at)));
        }
        if !line.contains(": ") || line.starts_with([' ', '\t']) || line.contains(['\r', '\n']) {
            return Err(format!("trailer {line:?}"));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
