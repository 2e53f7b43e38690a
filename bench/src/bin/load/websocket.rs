//! WebSocket messages to an echo: one under way on each connection.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::http;

/// The bytes of a message.
pub(crate) const MESSAGE: usize = 64;
/// The key of RFC 6455, section 1.3, and the answer to it: what is measured needs no SHA-1.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

pub(crate) async fn echo(to: SocketAddr, connections: usize, time: Duration) -> io::Result<Value> {
    let end = Instant::now() + time;
    let tasks: Vec<_> = (0..connections)
        .map(|_| tokio::spawn(messages(to, end)))
        .collect();
    let (mut echoed, mut errors) = (0, 0);
    for task in tasks {
        match task.await.map_err(io::Error::other)? {
            Ok(count) => echoed += count,
            Err(_) => errors += 1,
        }
    }
    Ok(json!({ "requests": echoed, "errors": errors }))
}

async fn messages(to: SocketAddr, end: Instant) -> io::Result<u64> {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n",
        http::HOST
    );
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = Vec::with_capacity(4096);
    let head = http::head(&mut stream, &mut buffer).await?;
    let switched = buffer.starts_with(b"HTTP/1.1 101") && buffer.len() == head;
    if !switched || http::field(&buffer, "sec-websocket-accept") != Some(ACCEPT) {
        return Err(io::Error::other(http::first_line(&buffer)));
    }
    let payload: [u8; MESSAGE] = std::array::from_fn(|at| b'a' + (at % 26) as u8);
    let sent = from_client(&payload);
    let mut answer = [0; 2 + MESSAGE];
    let mut echoed = 0;
    while Instant::now() < end {
        stream.write_all(&sent).await?;
        stream.read_exact(&mut answer).await?;
        if answer[2..] != payload {
            return Err(io::Error::other("another message came back"));
        }
        echoed += 1;
    }
    Ok(echoed)
}

/// A binary message as a client frames it: masked.
fn from_client(payload: &[u8; MESSAGE]) -> Vec<u8> {
    let mut frame = vec![0x82, 0x80 | MESSAGE as u8];
    frame.extend(MASK);
    frame.extend(payload);
    mask(&mut frame);
    frame
}

/// Masks or unmasks a client's message in place.
pub(crate) fn mask(frame: &mut [u8]) {
    let (head, payload) = frame.split_at_mut(6);
    for (at, byte) in payload.iter_mut().enumerate() {
        *byte ^= head[2 + at % 4];
    }
}
