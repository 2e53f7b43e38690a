//! The connection to a CA: bounded in time and size, and what errors say is kept.

use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{self, RETRY_AFTER};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient, Problem};
use rustls::{ClientConfig, RootCertStore};

use super::trouble::{Refused, Unreached};

/// Who asks (RFC 8555, section 6.1: CAs may refuse whoever does not say).
const USER_AGENT: &str = concat!("narthex/", env!("CARGO_PKG_VERSION"));

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest answer, in bytes: chains are a few thousand.
const MAX_BODY: usize = 1024 * 1024;

/// What a renewal window's answer is taken to ask for if it does not say, in seconds: instant-acme
/// takes such an answer for none (RFC 9773, section 4.3.3).
const DEFAULT_RETRY_AFTER: &str = "21600";

type Answer = Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>>;

/// A connection to a CA, cheap to clone.
#[derive(Clone)]
pub struct Wire(Arc<dyn HttpClient>);

impl Wire {
    /// HTTPS to a CA that one of `roots` stands for.
    ///
    /// # Errors
    /// TLS cannot be set up, for people.
    pub fn https(roots: RootCertStore) -> Result<Self, String> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let tls = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("no TLS to the CA: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .enable_http2()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(https);
        Ok(Self::over(Https(client)))
    }

    /// Whether it is the same one, or a clone of it.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Over another client.
    pub(crate) fn over(client: impl HttpClient) -> Self {
        Self(Arc::new(client))
    }
}

impl HttpClient for Wire {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Answer {
        let is_get = request.method() == Method::GET;
        let mut request = request;
        let agent = HeaderValue::from_static(USER_AGENT);
        request.headers_mut().insert(header::USER_AGENT, agent);
        let answer = self.0.request(request);
        Box::pin(async move {
            let late = || Error::Other(Box::new(Unreached("the CA does not answer".to_owned())));
            let answer = tokio::time::timeout(TIMEOUT, answer);
            let mut answer = answer.await.map_err(|_| late())??;
            let status = answer.parts.status;
            if !status.is_client_error() && !status.is_server_error() {
                if is_get && !answer.parts.headers.contains_key(RETRY_AFTER) {
                    let default = HeaderValue::from_static(DEFAULT_RETRY_AFTER);
                    answer.parts.headers.insert(RETRY_AFTER, default);
                }
                return Ok(answer);
            }
            let body = answer.body.into_bytes().await.map_err(Error::Other)?;
            let problem = serde_json::from_slice::<Problem>(&body).ok();
            let kind = problem.as_ref().and_then(|it| it.r#type.as_deref());
            if kind.is_some_and(|kind| kind.ends_with(":badNonce")) {
                // Is tried again above, with the nonce that came with it.
                let body = Box::new(body);
                return Ok(BytesResponse { body, ..answer });
            }
            Err(Error::Other(Box::new(Refused {
                status: status.as_u16(),
                problem,
                text: String::from_utf8_lossy(&body).into_owned(),
                retry_after: retry_after(&answer, SystemTime::now()),
            })))
        })
    }
}

/// `Retry-After` as a time (RFC 9110, section 10.2.3).
fn retry_after(answer: &BytesResponse, now: SystemTime) -> Option<SystemTime> {
    let value = answer.parts.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse() {
        Ok(seconds) => now.checked_add(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(value).ok(),
    }
}

struct Https(Client<hyper_rustls::HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

impl HttpClient for Https {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Answer {
        let answer = self.0.request(request);
        Box::pin(async move {
            let answer = answer.await.map_err(|error| {
                let mut text = format!("the CA cannot be reached: {error}");
                let mut source = error.source();
                while let Some(error) = source {
                    text.push_str(": ");
                    text.push_str(&error.to_string());
                    source = error.source();
                }
                Error::Other(Box::new(Unreached(text)))
            })?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, MAX_BODY).collect().await;
            let cut = |error| Unreached(format!("the CA's answer was cut off: {error}"));
            let body = body.map_err(|error| Error::Other(Box::new(cut(error))))?;
            Ok(BytesResponse {
                parts,
                body: Box::new(body.to_bytes()),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};

    use super::super::{Kind, Trouble, directory};
    use super::*;
    use crate::ca::{Authority, Request as Wanted, Terms, Usage};

    /// Answers one connection over TLS with a body of this length; tells where.
    fn serve(authority: &Authority, length: usize) -> (String, JoinHandle<()>) {
        let wanted = Wanted {
            names: &["127.0.0.1".to_owned()],
            common_name: None,
            usage: Usage::Server,
            lifetime: Duration::from_secs(60 * 60),
            key: crate::ca::KeyKind::default(),
        };
        let issued = authority.issue(&wanted, SystemTime::now()).expect("issued");
        let chain = CertificateDer::pem_slice_iter(issued.chain.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain.map(|der| der.expect("PEM")).collect(), key)
            .expect("they fit");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("https://{}/dir", listener.local_addr().expect("bound"));
        let server = thread::spawn(move || {
            let (socket, _) = listener.accept().expect("a client");
            let tls = ServerConnection::new(Arc::new(config)).expect("TLS");
            let mut stream = StreamOwned::new(tls, socket);
            // A client that trusts or reads no further leaves, which is what is tested.
            if stream.read(&mut [0; 4096]).is_ok() {
                let body = format!("{{{}}}", " ".repeat(length));
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all((head + &body).as_bytes());
                let _ = stream.flush();
            }
        });
        (url, server)
    }

    fn read(trusted: &Authority, length: usize, server: &Authority) -> Result<(), Trouble> {
        let (url, server) = serve(server, length);
        let mut roots = RootCertStore::empty();
        for der in CertificateDer::pem_slice_iter(trusted.bundle().as_bytes()) {
            roots.add(der.expect("PEM")).expect("a root");
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let wire = Wire::https(roots).expect("TLS");
        let read = runtime.expect("a runtime").block_on(directory(&wire, &url));
        server.join().expect("no panic");
        read.map(|_| ())
    }

    fn authority() -> Authority {
        Authority::new(&Terms::default(), SystemTime::now()).expect("made")
    }

    #[test]
    fn a_directory_is_read_from_a_ca_that_is_trusted_and_from_no_other() {
        let (one, other) = (authority(), authority());
        assert_eq!(read(&one, 10, &one), Ok(()));
        let trouble = read(&other, 10, &one).expect_err("not trusted");
        assert_eq!(trouble.kind, Kind::Network);
        assert!(trouble.to_string().contains("certificate"), "{trouble}");
    }

    #[test]
    fn an_answer_that_does_not_end_is_cut_off() {
        let one = authority();
        assert_eq!(read(&one, MAX_BODY / 2, &one), Ok(()));
        let trouble = read(&one, 2 * MAX_BODY, &one).expect_err("too long");
        assert!(trouble.to_string().contains("cut off"), "{trouble}");
    }
}
