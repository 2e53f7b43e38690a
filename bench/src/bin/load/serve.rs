//! The backend for what nginx answers too early or not at all: request bodies, WebSockets.

use std::io;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::http;
use crate::websocket::{ACCEPT, MESSAGE, mask};

pub(crate) async fn run(listen: SocketAddr) -> io::Result<Value> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            // The client is gone; so are its requests.
            let _ = connection(stream).await;
        });
    }
}

async fn connection(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        let head = http::head(&mut stream, &mut buffer).await?;
        if http::field(&buffer[..head], "upgrade").is_some() {
            return echo(stream).await;
        }
        let length = http::content_length(&buffer[..head]).unwrap_or(0);
        while buffer.len() < head + length {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
            .await?;
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut frame = [0; 6 + MESSAGE];
    let mut answer = [0; 2 + MESSAGE];
    loop {
        stream.read_exact(&mut frame).await?;
        mask(&mut frame);
        answer[0] = 0x82;
        answer[1] = MESSAGE as u8;
        answer[2..].copy_from_slice(&frame[6..]);
        stream.write_all(&answer).await?;
    }
}
