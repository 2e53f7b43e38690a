//! HTTP/2 frames written by hand (RFC 9113, section 4), for what no library would send.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::http1::dial;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame's length");
    let mut out = length.to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// A field that HPACK neither indexes nor compresses (RFC 7541, section 6.2.2).
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        let mut left = text.len();
        if left < 127 {
            out.push(u8::try_from(left).expect("small"));
        } else {
            out.push(127);
            left -= 127;
            while left >= 128 {
                out.push(0x80 | u8::try_from(left % 128).expect("small"));
                left /= 128;
            }
            out.push(u8::try_from(left).expect("small"));
        }
        out.extend_from_slice(text.as_bytes());
    }
    out
}

/// The fields of a GET, or of another method.
pub fn request(method: &str, host: &str, path: &str) -> Vec<u8> {
    [
        field(":method", method),
        field(":scheme", "http"),
        field(":authority", host),
        field(":path", path),
    ]
    .concat()
}

/// A SETTINGS frame with one setting.
pub fn setting(identifier: u16, value: u32) -> Vec<u8> {
    let payload = [&identifier.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &payload)
}

/// A frame as it came.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// How sending went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// All of it.
    All,
    /// The other side ended the connection.
    Ended,
    /// The other side does not read any more.
    Held,
}

/// A connection with prior knowledge whose frames from the other side a thread reads, unless the
/// test wants them unread.
pub struct Attack {
    tcp: TcpStream,
    frames: Arc<Mutex<Vec<Frame>>>,
    reader: Option<JoinHandle<()>>,
}

impl Attack {
    /// Connected, the preface and empty settings sent.
    #[track_caller]
    pub fn start(port: u16) -> Self {
        let mut attack = Self::unread(port);
        let mut from = attack.tcp.try_clone().expect("a socket");
        let frames = Arc::clone(&attack.frames);
        attack.reader = Some(std::thread::spawn(move || {
            while let Ok(frame) = read_frame(&mut from) {
                lock(&frames).push(frame);
            }
        }));
        attack
    }

    /// The same, but nothing is ever read.
    #[track_caller]
    pub fn unread(port: u16) -> Self {
        let tcp = dial(([127, 0, 0, 1], port).into()).expect("the listener accepts");
        tcp.set_write_timeout(Some(Duration::from_secs(2)))
            .expect("not zero");
        tcp.set_read_timeout(Some(Duration::from_secs(40)))
            .expect("not zero");
        let mut attack = Self {
            tcp,
            frames: Arc::default(),
            reader: None,
        };
        assert_eq!(attack.send(PREFACE), Sent::All);
        assert_eq!(attack.send(&frame(SETTINGS, 0, 0, &[])), Sent::All);
        attack
    }

    pub fn send(&mut self, bytes: &[u8]) -> Sent {
        match self.tcp.write_all(bytes) {
            Ok(()) => Sent::All,
            Err(error) if is_time_out(&error) => Sent::Held,
            Err(_) => Sent::Ended,
        }
    }

    /// Sends what `make` gives for 0, 1, … `count`, in pieces of some KiB.
    pub fn flood(&mut self, count: u32, mut make: impl FnMut(u32) -> Vec<u8>) -> Sent {
        let mut bytes = Vec::new();
        for index in 0..count {
            bytes.extend(make(index));
            if bytes.len() > 16 * 1024 || index + 1 == count {
                match self.send(&bytes) {
                    Sent::All => bytes.clear(),
                    other => return other,
                }
            }
        }
        Sent::All
    }

    /// The frames that came so far.
    pub fn frames(&self) -> Vec<Frame> {
        lock(&self.frames).clone()
    }

    /// Whether the other side has ended the connection within `span`.
    pub fn ends_within(&self, span: Duration) -> bool {
        let reader = self.reader.as_ref().expect("a connection that is read");
        let deadline = Instant::now() + span;
        while !reader.is_finished() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// The error code of the GOAWAY that came, if any.
    pub fn goaway(&self) -> Option<u32> {
        let frames = lock(&self.frames);
        let goaway = frames.iter().rev().find(|frame| frame.kind == GOAWAY)?;
        Some(u32::from_be_bytes(goaway.payload[4..8].try_into().ok()?))
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        // Ends the reading thread as well.
        let _ = self.tcp.shutdown(Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

pub(crate) fn read_frame(from: &mut impl Read) -> io::Result<Frame> {
    let mut head = [0; 9];
    from.read_exact(&mut head)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    from.read_exact(&mut payload)?;
    // What a flood of data says is not kept.
    if head[3] == DATA {
        payload = Vec::new();
    }
    Ok(Frame {
        kind: head[3],
        flags: head[4],
        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff,
        payload,
    })
}

fn is_time_out(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
