//! One question and its answer over HTTP (RFC 6960, appendix A).

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Responder;

/// How many bytes an answer may have. Those of CAs have some hundreds to a few thousands.
pub const LARGEST: usize = 64 * 1024;

/// How long connecting to one address may take, and then everything else.
const CONNECT: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(15);

/// Asks a responder at the first of these addresses that takes the connection. They are what
/// is connected to, whatever its name stands for by now; nobody is asked whom an answer sends us to.
///
/// # Errors
/// Why there is no answer, for people.
pub async fn ask(
    responder: &Responder,
    addresses: &[SocketAddr],
    request: Vec<u8>,
) -> Result<Vec<u8>, String> {
    let asking = async {
        let stream = connect(addresses).await?;
        exchange(responder, stream, request).await
    };
    let answer = timeout(WHOLE, asking).await;
    answer.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    let mut last = "it has no address".to_owned();
    for address in addresses {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = format!("{address}: {error}"),
            Err(_) => last = format!("{address}: no connection in time"),
        }
    }
    Err(last)
}

async fn exchange(
    responder: &Responder,
    stream: TcpStream,
    request: Vec<u8>,
) -> Result<Vec<u8>, String> {
    let text = |error: &dyn std::error::Error| match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let builder = http1::Builder::new().max_buf_size(LARGEST).to_owned();
    let made = builder.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = made.map_err(|error| text(&error))?;
    let request = Request::post(responder.path())
        .header(HOST, responder.authority())
        .header(USER_AGENT, "narthex")
        .header(CONTENT_TYPE, "application/ocsp-request")
        .header(ACCEPT, "application/ocsp-response")
        .body(Full::new(Bytes::from(request)))
        .map_err(|error| text(&error))?;
    let answer = async {
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| text(&error))?;
        let status = answer.status();
        if status != StatusCode::OK {
            return Err(format!("HTTP status {}", status.as_u16()));
        }
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => format!("more than {LARGEST} bytes"),
            false => error.to_string(),
        })?;
        Ok(body.to_bytes().into())
    };
    // The connection is driven beside, and ends with the answer.
    tokio::select! {
        answer = answer => answer,
        Err(error) = connection => Err(text(&error)),
    }
}
