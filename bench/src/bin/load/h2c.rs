//! The backend that speaks HTTP/2 without TLS: small answers, unary gRPC, and what a proxy said
//! of the client.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

/// As long as nginx's small answer.
static SMALL: [u8; 100] = [b'a'; 100];

/// The field names that all proxies have to add.
const SAID: [&str; 6] = [
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Real-IP",
    "X-Request-ID",
];

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

async fn connection(stream: TcpStream) -> Result<(), h2::Error> {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(1000);
    let mut connection = builder.handshake::<_, Bytes>(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        if request.body().is_end_stream() {
            answer(&request, respond)?;
        } else {
            tokio::spawn(async move {
                // As above.
                let _ = call(request, respond).await;
            });
        }
    }
    Ok(())
}

/// Answers a request without a body.
fn answer(
    request: &Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let body = if request.uri().path() == "/said" {
        let said = |name: &str| {
            let value = request.headers().get(name.to_ascii_lowercase());
            let value = value.and_then(|value| value.to_str().ok());
            format!("{name}={}\n", value.unwrap_or_default())
        };
        Bytes::from(SAID.map(said).concat())
    } else {
        Bytes::from_static(&SMALL)
    };
    let mut stream = respond.send_response(Response::new(()), false)?;
    stream.send_data(body, true)
}

/// Answers a unary gRPC call: one message for one message.
async fn call(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let mut body = request.into_body();
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    let mut response = Response::new(());
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    let mut stream = respond.send_response(response, false)?;
    let mut message = vec![0, 0, 0, 0, SMALL.len() as u8];
    message.extend_from_slice(&SMALL);
    stream.send_data(message.into(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}
