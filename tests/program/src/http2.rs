//! HTTP/2 by the `h2` crate over TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::backend::Echo;
use crate::tls::Client;

/// A response, read to its end.
#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl Response {
    #[track_caller]
    pub fn echo(&self) -> Echo {
        serde_json::from_slice(&self.body).expect("a backend's echo")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// A connection.
#[derive(Clone)]
pub struct H2 {
    pub send: SendRequest<Bytes>,
}

/// Runs a test's future, two minutes at most.
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(120), future)
            .await
            .expect("within two minutes")
    })
}

impl H2 {
    /// TLS with `sni`, ALPN `h2`.
    pub async fn connect(port: u16, sni: &str) -> Self {
        let connection = Self::builder_connect(port, sni, &h2::client::Builder::new()).await;
        connection.expect("an HTTP/2 connection")
    }

    /// The same with the client's settings given.
    pub async fn builder_connect(
        port: u16,
        sni: &str,
        builder: &h2::client::Builder,
    ) -> Result<Self, h2::Error> {
        let client = Client::trusting_anything().alpn(&["h2"]);
        let tcp = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await;
        let tcp = tcp.expect("the listener accepts");
        tcp.set_nodelay(true).expect("a socket");
        let name = rustls::pki_types::ServerName::try_from(sni.to_owned()).expect("a name");
        let tls = TlsConnector::from(Arc::new(client.config))
            .connect(name, tcp)
            .await;
        let tls = tls.expect("a TLS handshake");
        assert_eq!(
            tls.get_ref().1.alpn_protocol(),
            Some(&b"h2"[..]),
            "HTTP/2 by ALPN"
        );
        let (send, connection) = builder.handshake(tls).await?;
        tokio::spawn(async move {
            // An error of the connection shows in its streams, which tests look at.
            let _ = connection.await;
        });
        Ok(Self { send })
    }

    /// Clear text, with prior knowledge.
    pub async fn plain(port: u16) -> Self {
        let tcp = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await;
        let tcp = tcp.expect("the listener accepts");
        tcp.set_nodelay(true).expect("a socket");
        let (send, connection) = h2::client::handshake(tcp).await.expect("HTTP/2");
        tokio::spawn(async move {
            // An error of the connection shows in its streams, which tests look at.
            let _ = connection.await;
        });
        Self { send }
    }

    /// Opens a stream; `end` says that there is no body.
    pub async fn open(
        &self,
        request: Request<()>,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.send.clone().ready().await?.send_request(request, end)
    }

    /// A GET.
    pub async fn get(&self, host: &str, path: &str) -> Result<Response, h2::Error> {
        let request = Request::get(format!("https://{host}{path}"))
            .body(())
            .expect("a request");
        let (response, _) = self.open(request, true).await?;
        finish(response).await
    }

    /// A POST with body and trailers.
    pub async fn post(
        &self,
        host: &str,
        path: &str,
        body: Bytes,
        trailers: Option<HeaderMap>,
    ) -> Result<Response, h2::Error> {
        let request = Request::post(format!("https://{host}{path}"))
            .body(())
            .expect("a request");
        let (response, mut stream) = self.open(request, false).await?;
        send_all(&mut stream, body, trailers.is_none()).await?;
        if let Some(trailers) = trailers {
            stream.send_trailers(trailers)?;
        }
        finish(response).await
    }
}

/// Sends all of `body` as flow control lets it.
pub async fn send_all(
    stream: &mut SendStream<Bytes>,
    mut body: Bytes,
    end: bool,
) -> Result<(), h2::Error> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let Some(capacity) = std::future::poll_fn(|context| stream.poll_capacity(context)).await
        else {
            return Ok(());
        };
        let part = body.split_to(capacity?.min(body.len()));
        stream.send_data(part, false)?;
    }
    if end {
        stream.send_data(Bytes::new(), true)
    } else {
        Ok(())
    }
}

/// Reads a response to its end.
pub async fn finish(response: ResponseFuture) -> Result<Response, h2::Error> {
    let (head, mut body) = response.await?.into_parts();
    let mut bytes = Vec::new();
    while let Some(part) = next(&mut body).await? {
        bytes.extend_from_slice(&part);
    }
    let trailers = body.trailers().await?;
    Ok(Response {
        status: head.status,
        headers: head.headers,
        body: bytes.into(),
        trailers,
    })
}

/// The next part of a body, its flow control given back.
pub async fn next(body: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
    let Some(part) = body.data().await else {
        return Ok(None);
    };
    let part = part?;
    body.flow_control().release_capacity(part.len())?;
    Ok(Some(part))
}
