//! One question to an endpoint: how it is asked, and what a good answer is.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use model::policy::{Check, Probe};
use model::{Endpoint, HttpVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::proxy_header;
use crate::upstream::tls::Trust;

/// All that is read of an answer.
const ANSWER: usize = 1024;
const AGENT: &str = "narthex-health-check";
/// `ServingStatus.SERVING` of `grpc.health.v1.HealthCheckResponse`.
const SERVING: u64 = 1;

/// Whether one question was answered well, by what the endpoint speaks. The caller limits its time.
pub(super) async fn ask(endpoint: &Endpoint, check: &Check, trust: &Trust) -> bool {
    let probe = &check.probe;
    let address = endpoint.address;
    let Ok(mut socket) = TcpStream::connect(address).await else {
        return false;
    };
    if let Some(version) = check.proxy_header
        && endpoint.transport.http != HttpVersion::Http2
        && let Err(_) = socket.write_all(&proxy_header::of_nobody(version)).await
    {
        return false;
    }
    let http = match probe {
        Probe::Tcp => return true,
        Probe::Http(_) => endpoint.transport.http,
        Probe::Grpc(_) => HttpVersion::Http2,
    };
    match &endpoint.transport.tls {
        None => answers(address, socket, http == HttpVersion::Http2, probe).await,
        Some(tls) => match trust.connect(socket, tls, http).await {
            Ok((stream, is_http2)) => answers(address, stream, is_http2, probe).await,
            Err(_) => false,
        },
    }
}

async fn answers(
    address: SocketAddr,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    is_http2: bool,
    probe: &Probe,
) -> bool {
    let is_good = |status: Option<u16>| status.is_some_and(|status| (200..400).contains(&status));
    match probe {
        Probe::Tcp => true,
        Probe::Http(path) if is_http2 => is_good(http2(address, stream, path).await),
        Probe::Http(path) => is_good(http(address, &mut stream, path).await),
        Probe::Grpc(service) => grpc(address, stream, service).await == Some(SERVING),
    }
}

/// The status of an answer, once enough of it is there.
async fn http(
    address: SocketAddr,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    path: &str,
) -> Option<u16> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: {AGENT}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = [0; ANSWER];
    let mut len = 0;
    while len < ANSWER {
        let count = stream.read(&mut answer[len..]).await.ok()?;
        len += count;
        let line_ends = answer[..len].contains(&b'\n');
        if line_ends || count == 0 {
            break;
        }
    }
    let rest = answer[..len].strip_prefix(b"HTTP/1.")?;
    let digits = rest.get(2..5)?;
    str::from_utf8(digits).ok()?.parse().ok()
}

/// The status of an answer in HTTP/2.
async fn http2(
    address: SocketAddr,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
) -> Option<u16> {
    let request = http::Request::get(format!("http://{address}{path}"))
        .header("user-agent", AGENT)
        .body(())
        .ok()?;
    let exchange = async |mut send: SendRequest<Bytes>| {
        let (response, _) = send.send_request(request, true).ok()?;
        Some(response.await.ok()?.status().as_u16())
    };
    by_http2(stream, exchange).await
}

/// The status of `grpc.health.v1.Health/Check`, where the call succeeds.
async fn grpc(
    address: SocketAddr,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    service: &str,
) -> Option<u64> {
    let request = http::Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", AGENT)
        .body(())
        .ok()?;
    let exchange = async |mut send: SendRequest<Bytes>| {
        let (response, mut body) = send.send_request(request, false).ok()?;
        body.send_data(question(service), true).ok()?;
        let (head, mut body) = response.await.ok()?.into_parts();
        let mut answer = BytesMut::new();
        while let Some(chunk) = body.data().await {
            answer.extend_from_slice(&chunk.ok()?);
            if answer.len() > ANSWER {
                return None;
            }
        }
        let trailers = body.trailers().await.ok()?.unwrap_or_default();
        // An answer without a message may have its status in its only head.
        let status = trailers
            .get("grpc-status")
            .or_else(|| head.headers.get("grpc-status"))?;
        (head.status == 200 && status == "0").then(|| serving_status(&answer))?
    };
    by_http2(stream, exchange).await
}

/// Runs one exchange on a connection of its own.
async fn by_http2<T>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    exchange: impl AsyncFnOnce(SendRequest<Bytes>) -> Option<T>,
) -> Option<T> {
    let mut builder = h2::client::Builder::new();
    builder.enable_push(false).max_header_list_size(16 * 1024);
    let (send, connection) = builder.handshake::<_, Bytes>(stream).await.ok()?;
    let driven = async {
        // Its end is seen by the exchange, which may have all that it needs by then.
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        biased;
        answer = exchange(send) => answer,
        () = driven => None,
    }
}

/// `HealthCheckRequest` in gRPC's framing: not compressed, its length, the message.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a); // Field 1, a string.
        let mut len = service.len();
        while len >= 0x80 {
            message.put_u8((len & 0x7f) as u8 | 0x80);
            len >>= 7;
        }
        message.put_u8(len as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put(message);
    framed.freeze()
}

/// Field 1 of a `HealthCheckResponse`; what is left out is 0, UNKNOWN.
fn serving_status(framed: &[u8]) -> Option<u64> {
    let (head, mut message) = framed.split_at_checked(5)?;
    let length = u32::from_be_bytes(head[1..].try_into().ok()?);
    if head[0] != 0 || length as usize != message.len() {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let value = varint(&mut message)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = value,
            (_, 0) => {}
            // Of another field, `value` is the length.
            (_, 2) => message = message.get(usize::try_from(value).ok()?..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;

    fn check(probe: Probe) -> Check {
        Check {
            probe,
            interval: std::time::Duration::from_secs(1),
            timeout: std::time::Duration::from_secs(1),
            proxy_header: None,
        }
    }

    #[tokio::test]
    async fn a_connection_is_enough_for_tcp_and_none_for_the_others() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (endpoint, trust) = (Endpoint::new(address), Trust::new(Vec::new()));
        assert!(ask(&endpoint, &check(Probe::Tcp), &trust).await);
        for probe in [Probe::Http("/".into()), Probe::Grpc("".into())] {
            let check = check(probe);
            let asked = ask(&endpoint, &check, &trust);
            let limit = Duration::from_millis(50);
            assert!(tokio::time::timeout(limit, asked).await.is_err());
        }
        drop(listener);
        assert!(!ask(&endpoint, &check(Probe::Tcp), &trust).await);
    }

    #[test]
    fn messages_are_framed_as_grpc_wants_them() {
        assert_eq!(&question("")[..], [0; 5]);
        assert_eq!(&question("ab")[..], b"\0\0\0\0\x04\x0a\x02ab");
        assert_eq!(question(&"a".repeat(200))[5..8], [0x0a, 0xc8, 1]);
        for (answer, status) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], Some(1)),
            (b"\0\0\0\0\0", Some(0)),
            (b"\0\0\0\0\x06\x12\x02xx\x08\x02", Some(2)),
            (b"\x01\0\0\0\x02\x08\x01", None),
            (b"\0\0\0\0\x03\x08\x01", None),
            (b"\0\0\0\0\x02\x08\x81", None),
            (b"\0\0\0\0\x02\x12\x7f", None),
            (b"\0\0\0", None),
        ] {
            assert_eq!(serving_status(answer), status, "{answer:?}");
        }
    }
}
