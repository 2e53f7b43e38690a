//! Just enough of RFC 6455 to see that a WebSocket lives.

use std::io::{self, Read, Write};

use crate::http1::Conn;

/// The key and its answer from RFC 6455, section 1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;

/// One frame as bytes; clients mask.
pub fn frame(opcode: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    let mask_bit = if masked { 0x80 } else { 0 };
    match payload.len() {
        length @ 0..=125 => out.push(mask_bit | u8::try_from(length).expect("small")),
        length @ 126..=0xffff => {
            out.push(mask_bit | 126);
            out.extend(u16::try_from(length).expect("fits").to_be_bytes());
        }
        length => {
            out.push(mask_bit | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    if masked {
        let mask = [0x12, 0x34, 0x56, 0x78];
        out.extend(mask);
        out.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
    } else {
        out.extend_from_slice(payload);
    }
    out
}

/// Reads one frame and unmasks it.
pub fn read_frame(from: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    from.read_exact(&mut head)?;
    let length = match head[1] & 0x7f {
        126 => {
            let mut bytes = [0; 2];
            from.read_exact(&mut bytes)?;
            u64::from(u16::from_be_bytes(bytes))
        }
        127 => {
            let mut bytes = [0; 8];
            from.read_exact(&mut bytes)?;
            u64::from_be_bytes(bytes)
        }
        length => u64::from(length),
    };
    let mut mask = [0; 4];
    if head[1] & 0x80 != 0 {
        from.read_exact(&mut mask)?;
    }
    let mut payload = vec![0; usize::try_from(length).expect("a test's frame")];
    from.read_exact(&mut payload)?;
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok((head[0] & 0x0f, payload))
}

/// A client's WebSocket on an HTTP/1.1 connection.
pub struct WebSocket(Conn);

impl WebSocket {
    /// Sends the handshake and expects 101.
    #[track_caller]
    pub fn open(mut conn: Conn, host: &str, path: &str) -> Self {
        let answer = conn.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        ));
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(answer.header("sec-websocket-accept"), Some(ACCEPT));
        assert_eq!(
            answer
                .header("upgrade")
                .map(str::to_ascii_lowercase)
                .as_deref(),
            Some("websocket")
        );
        Self(conn)
    }

    pub fn send(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(&frame(TEXT, text.as_bytes(), true))
    }

    pub fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        read_frame(&mut self.0)
    }

    /// Sends `text` and expects it back.
    #[track_caller]
    pub fn echo(&mut self, text: &str) {
        self.send(text).expect("the WebSocket takes a frame");
        let (opcode, payload) = self.receive().expect("the WebSocket answers");
        assert_eq!((opcode, payload), (TEXT, text.as_bytes().to_vec()));
    }

    /// The connection below, for what a WebSocket library would not do.
    pub fn into_inner(self) -> Conn {
        self.0
    }
}
