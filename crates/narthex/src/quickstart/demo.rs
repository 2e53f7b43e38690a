//! The example's backends: each says which Service it is, and what it was asked.
//!
//! A small HTTP/1.1 server on loopback; it is no part of what Narthex is for.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::folder::Service;
use super::page::{self, Asked};

/// The largest head that a backend reads, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// How long a backend keeps an idle connection: longer than whoever keeps connections to it, so
/// that it is not the one to close just when a request comes.
const IDLE: Duration = Duration::from_secs(300);

/// A backend of the example.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) service: Service,
    pub(super) address: SocketAddr,
}

/// Starts a backend for each Service, on a thread of their own, for as long as the process lives.
pub(super) fn start(services: &[Service]) -> io::Result<Vec<Backend>> {
    let mut backends = Vec::new();
    let mut listeners = Vec::new();
    for service in services {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        backends.push(Backend {
            service: service.clone(),
            address: listener.local_addr()?,
        });
        let name: Arc<str> = format!("{}/{}", service.namespace, service.name).into();
        listeners.push((name, listener));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("narthex-demo".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                for (name, listener) in listeners {
                    tokio::spawn(serve(name, listener));
                }
                std::future::pending::<()>().await;
            });
        })?;
    Ok(backends)
}

async fn serve(name: Arc<str>, listener: std::net::TcpListener) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the backend {name} cannot be served"),
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let name = Arc::clone(&name);
                // A connection that breaks has nobody left to tell.
                tokio::spawn(async move { drop(serve_connection(&name, stream).await) });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn serve_connection(name: &str, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let Some((asked, head_len)) = read_head(&mut stream, &mut buffer).await? else {
            return Ok(());
        };
        buffer.drain(..head_len);
        let keep_alive = !asked.has_body;
        let response = page::answer(name, &asked, keep_alive);
        stream.write_all(&response).await?;
        if !keep_alive {
            return finish(&mut stream).await;
        }
    }
}

/// The next request and the length of its head; `None` at the end, or if it is no HTTP.
async fn read_head(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<(Asked, usize)>> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 200];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(buffer) {
            Ok(httparse::Status::Complete(len)) => return Ok(Some((Asked::new(&request), len))),
            Ok(httparse::Status::Partial) if buffer.len() < MAX_HEAD => {}
            Ok(httparse::Status::Partial) | Err(_) => return Ok(None),
        }
        if timeout(IDLE, stream.read_buf(buffer)).await?? == 0 {
            return Ok(None);
        }
    }
}

/// The body of a request is of no interest, but must be read for the answer to arrive.
async fn finish(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut scratch = vec![0; 16 * 1024];
    while timeout(Duration::from_secs(5), stream.read(&mut scratch)).await?? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn ask(request: &str) -> String {
        let service = Service {
            namespace: "default".to_owned(),
            name: "hello".to_owned(),
            ports: vec![String::new()],
        };
        let backends = start(&[service]).expect("starts");
        let mut stream = std::net::TcpStream::connect(backends[0].address).expect("connects");
        stream.write_all(request.as_bytes()).expect("sends");
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("shuts down");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answers");
        answer
    }

    #[test]
    fn curl_gets_text_and_a_browser_a_page() {
        let answer = ask("GET /a?b HTTP/1.1\r\nHost: hello.localhost\r\n\r\n");
        assert!(answer.contains("Content-Type: text/plain"), "{answer}");
        assert!(
            answer.contains("default/hello") && answer.contains("GET /a?b"),
            "{answer}"
        );
        let page = ask("GET /<a> HTTP/1.1\r\nHost: x\r\nAccept: text/html,*/*\r\n\r\n");
        assert!(page.contains("Content-Type: text/html"), "{page}");
        assert!(
            page.contains("/&lt;a&gt;") && !page.contains("/<a>"),
            "{page}"
        );
    }

    #[test]
    fn a_body_is_taken_and_head_has_none() {
        let answer = ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let answer = ask("HEAD / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    }
}
