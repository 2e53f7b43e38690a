//! The floor: forwards bytes unread, one connection to the backend for each client's. What it
//! costs is what the kernel, the runtime and the copying cost; a proxy that reads what it forwards
//! is measured by how little it adds.
//!
//! `bench-floor LISTEN BACKEND`, two addresses.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BUFFER: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse());
    let (Some(Ok(listen)), Some(Ok(backend))) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: bench-floor LISTEN BACKEND");
        std::process::exit(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(listen, backend))
}

async fn serve(listen: SocketAddr, backend: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(async move {
            // A broken connection ends its own forwarding and nothing else.
            let _ = forward(client, backend).await;
        });
    }
}

async fn forward(mut client: TcpStream, backend: SocketAddr) -> io::Result<()> {
    let mut backend = TcpStream::connect(backend).await?;
    client.set_nodelay(true)?;
    backend.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_backend, to_backend) = backend.split();
    tokio::try_join!(copy(from_client, to_backend), copy(from_backend, to_client))?;
    Ok(())
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer).await? {
            0 => return to.shutdown().await,
            count => to.write_all(&buffer[..count]).await?,
        }
    }
}
