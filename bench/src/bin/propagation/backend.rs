//! The endpoint of all routes: answers every request at once.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::Error;

/// Where it listens, on every address.
pub(crate) const PORT: u16 = 3_000;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Begins to answer.
pub(crate) async fn start() -> Result<(), Error> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await;
    let listener = listener.map_err(|error| format!("port {PORT}: {error}"))?;
    tokio::spawn(async move {
        // A connection that breaks off is the proxy's affair.
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    Ok(())
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 4_096];
    let mut held = 0;
    loop {
        let read = stream.read(&mut buffer[held..]).await?;
        if read == 0 {
            return Ok(());
        }
        held += read;
        if buffer[..held].ends_with(b"\r\n\r\n") {
            held = 0;
            stream.write_all(ANSWER).await?;
        }
    }
}
