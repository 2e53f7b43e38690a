//! Connections that were used once and wait.

use std::io::{self, Read as _};
use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::http;

pub(crate) async fn hold(to: SocketAddr, connections: usize) -> io::Result<Value> {
    let request = http::get("keep-alive");
    let mut buffer = Vec::with_capacity(4096);
    let mut held = Vec::with_capacity(connections);
    // One after another: what is measured is waiting, not a rush.
    for _ in 0..connections {
        let mut stream = TcpStream::connect(to).await?;
        http::ask(&mut stream, request.as_bytes(), &mut buffer).await?;
        held.push(stream);
    }
    println!("{}", json!({ "held": held.len() }));
    let mut rest = Vec::new();
    io::stdin().read_to_end(&mut rest)?;
    // A connection that was closed meanwhile was not held.
    let closed = held
        .iter()
        .filter(|stream| stream.try_read(&mut [0; 1]).is_ok())
        .count();
    Ok(json!({ "requests": connections, "errors": closed }))
}
