//! The connection to a CA: bounded in time and size, and what errors say is kept.

use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient, Problem};
use rustls::{ClientConfig, RootCertStore};

use super::trouble::{Refused, Unreached};

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

    /// Over another client.
    pub(super) fn over(client: impl HttpClient) -> Self {
        Self(Arc::new(client))
    }
}

impl HttpClient for Wire {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Answer {
        let is_get = request.method() == Method::GET;
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
