//! Backends that speak HTTP/2 by the `h2` crate.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::Certificate;
use crate::backend::{Echo, Hash};
use crate::http2::{next, send_all};

/// One request at a backend, to be answered.
pub struct Asked {
    pub request: Request<()>,
    pub body: RecvStream,
    pub respond: SendResponse<Bytes>,
    /// Which of the backend's connections it came on, from 0.
    pub connection: usize,
}

type Answer = Pin<Box<dyn Future<Output = Result<(), h2::Error>> + Send>>;
type Handler = dyn Fn(Asked) -> Answer + Send + Sync;

/// How an [`H2Backend`] behaves.
#[derive(Clone, Default)]
pub struct Behaviour {
    /// Without it, clear text and prior knowledge.
    pub tls: Option<Arc<ServerConfig>>,
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub max_streams: Option<u32>,
    /// What a stream may be sent that it has not read.
    pub window: Option<u32>,
}

/// A running backend; it ends with its connections when dropped.
pub struct H2Backend {
    address: SocketAddr,
    counts: Arc<Counts>,
    stop: Option<oneshot::Sender<()>>,
}

/// What came so far.
#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    open: AtomicUsize,
    streams: AtomicUsize,
    busy: AtomicUsize,
    most_busy: AtomicUsize,
    protocols: Mutex<Vec<String>>,
    names: Mutex<Vec<String>>,
    resumed: AtomicUsize,
}

impl H2Backend {
    /// Echoes each request as JSON, in clear text.
    pub fn echo() -> Self {
        Self::with(Behaviour::default(), |asked| echo("h2", asked))
    }

    /// Echoes each request as JSON, by TLS.
    pub fn secure(certificate: &Certificate, alpn: &[&str]) -> Self {
        let behaviour = Behaviour {
            tls: Some(server_config(certificate, alpn)),
            ..Behaviour::default()
        };
        Self::with(behaviour, |asked| echo("h2", asked))
    }

    /// Answers as `handler` says.
    pub fn answering<F>(handler: impl Fn(Asked) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), h2::Error>> + Send + 'static,
    {
        Self::with(Behaviour::default(), handler)
    }

    /// Behaves and answers as said.
    pub fn with<F>(
        behaviour: Behaviour,
        handler: impl Fn(Asked) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), h2::Error>> + Send + 'static,
    {
        let handler: Arc<Handler> = Arc::new(move |asked| Box::pin(handler(asked)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("bound");
        let counts = Arc::new(Counts::default());
        let (stop, stopped) = oneshot::channel();
        let counted = Arc::clone(&counts);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                tokio::select! {
                    () = accept(listener, behaviour, handler, counted) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            counts,
            stop: Some(stop),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were ever accepted.
    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    /// How many requests ever came.
    pub fn streams(&self) -> usize {
        self.counts.streams.load(Ordering::SeqCst)
    }

    /// How many requests are being answered now.
    pub fn busy(&self) -> usize {
        self.counts.busy.load(Ordering::SeqCst)
    }

    /// How many requests were there at once, at most.
    pub fn most_busy(&self) -> usize {
        self.counts.most_busy.load(Ordering::SeqCst)
    }

    /// The server names of all handshakes.
    pub fn server_names(&self) -> Vec<String> {
        lock(&self.counts.names).clone()
    }

    /// The protocols agreed on in all handshakes.
    pub fn protocols(&self) -> Vec<String> {
        lock(&self.counts.protocols).clone()
    }

    /// How many handshakes resumed a session.
    pub fn resumed(&self) -> usize {
        self.counts.resumed.load(Ordering::SeqCst)
    }
}

impl Drop for H2Backend {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread may have ended.
            let _ = stop.send(());
        }
    }
}

async fn accept(
    listener: tokio::net::TcpListener,
    behaviour: Behaviour,
    handler: Arc<Handler>,
    counts: Arc<Counts>,
) {
    while let Ok((socket, _)) = listener.accept().await {
        let number = counts.connections.fetch_add(1, Ordering::SeqCst);
        let (behaviour, handler) = (behaviour.clone(), Arc::clone(&handler));
        let counts = Arc::clone(&counts);
        tokio::spawn(async move {
            counts.open.fetch_add(1, Ordering::SeqCst);
            socket.set_nodelay(true).expect("a socket");
            match &behaviour.tls {
                None => serve(socket, &behaviour, number, &handler, &counts).await,
                Some(config) => {
                    let accepted = TlsAcceptor::from(Arc::clone(config)).accept(socket).await;
                    if let Ok(stream) = accepted {
                        let session = stream.get_ref().1;
                        let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
                        let alpn = String::from_utf8(alpn.unwrap_or_default()).expect("text");
                        if session.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
                            counts.resumed.fetch_add(1, Ordering::SeqCst);
                        }
                        let name = session.server_name().unwrap_or_default().to_owned();
                        lock(&counts.names).push(name);
                        lock(&counts.protocols).push(alpn.clone());
                        if alpn == "h2" {
                            serve(stream, &behaviour, number, &handler, &counts).await;
                        } else {
                            serve_http1(stream, &counts).await;
                        }
                    }
                }
            }
            counts.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin,
    behaviour: &Behaviour,
    number: usize,
    handler: &Arc<Handler>,
    counts: &Arc<Counts>,
) {
    let mut builder = h2::server::Builder::new();
    // The crate's own takes a burst of a hundred small frames that it has not read for an attack;
    // whether a burst comes depends on how busy the machine is.
    builder.data_frame_budget(64 * 1024 * 1024);
    if let Some(most) = behaviour.max_streams {
        builder.max_concurrent_streams(most);
    }
    if let Some(window) = behaviour.window {
        builder.initial_window_size(window);
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(io).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        counts.streams.fetch_add(1, Ordering::SeqCst);
        let busy = counts.busy.fetch_add(1, Ordering::SeqCst) + 1;
        counts.most_busy.fetch_max(busy, Ordering::SeqCst);
        let (head, body) = request.into_parts();
        let answer = handler(Asked {
            request: Request::from_parts(head, ()),
            body,
            respond,
            connection: number,
        });
        let counts = Arc::clone(counts);
        tokio::spawn(async move {
            // A stream that fails shows at the client, which is where tests look.
            let _ = answer.await;
            counts.busy.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Just enough of HTTP/1 to see that it was agreed on: requests without body, and WebSocket's
/// echo of what follows the handshake.
async fn serve_http1(mut io: impl AsyncRead + AsyncWrite + Unpin, counts: &Counts) {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    loop {
        while !head.ends_with(b"\r\n\r\n") {
            match io.read(&mut piece).await {
                Ok(count @ 1..) => head.extend_from_slice(&piece[..count]),
                _ => return,
            }
        }
        counts.streams.fetch_add(1, Ordering::SeqCst);
        let text = String::from_utf8_lossy(&head).into_owned();
        if text.to_ascii_lowercase().contains("upgrade: websocket") {
            let accept = crate::websocket::ACCEPT;
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            if io.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
            while let Ok(count @ 1..) = io.read(&mut piece).await {
                if io.write_all(&piece[..count]).await.is_err() || io.flush().await.is_err() {
                    return;
                }
            }
            return;
        }
        let body = format!("HTTP/1.1 behind TLS: {}", text.lines().next().unwrap_or(""));
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if io.write_all(answer.as_bytes()).await.is_err() || io.flush().await.is_err() {
            return;
        }
        head.clear();
    }
}

/// A server's TLS settings.
pub fn server_config(certificate: &Certificate, alpn: &[&str]) -> Arc<ServerConfig> {
    asking_config(certificate, alpn, WebPkiClientVerifier::no_client_auth())
}

/// The same of one that asks clients who they are.
pub fn asking_config(
    certificate: &Certificate,
    alpn: &[&str],
    verifier: Arc<dyn ClientCertVerifier>,
) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .expect("certificates");
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).expect("a key");
    let key = any_supported_type(&key).expect("a key that is known");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        // Whatever webpki would say of it.
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(
            chain, key,
        ))));
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// Reads all of a request's body.
pub async fn read_all(body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(part) = next(body).await? {
        all.extend_from_slice(&part);
    }
    Ok((all, body.trailers().await?))
}

/// Answers with what was asked, as JSON.
pub async fn echo(name: &str, mut asked: Asked) -> Result<(), h2::Error> {
    let (body, trailers) = read_all(&mut asked.body).await?;
    let listed = |map: &HeaderMap| {
        map.iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.to_string(), value)
            })
            .collect::<Vec<_>>()
    };
    let request = &asked.request;
    let mut headers = listed(request.headers());
    let pseudo = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let uri = request.uri();
    headers.push(pseudo(
        ":authority",
        uri.authority().map_or("", |name| name.as_str()),
    ));
    headers.push(pseudo(":scheme", uri.scheme_str().unwrap_or("")));
    let text = String::from_utf8(body.clone()).unwrap_or_default();
    let echo = Echo {
        backend: name.to_owned(),
        method: request.method().to_string(),
        target: uri
            .path_and_query()
            .map_or("", |path| path.as_str())
            .to_owned(),
        version: "HTTP/2".to_owned(),
        headers,
        body_length: body.len() as u64,
        body_hash: Hash::of(Hash::START, &body),
        body: if text.len() < 4096 {
            text
        } else {
            String::new()
        },
        trailers: trailers.as_ref().map(listed).unwrap_or_default(),
        connection: asked.connection,
    };
    let json = serde_json::to_vec(&echo).expect("JSON");
    let is_head = request.method() == http::Method::HEAD;
    let response = Response::builder()
        .header("content-type", "application/json")
        .header("content-length", json.len())
        .body(())
        .expect("a response");
    let mut stream = asked.respond.send_response(response, is_head)?;
    if is_head {
        return Ok(());
    }
    send_all(&mut stream, json.into(), true).await
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
