//! A door before pebble, for what pebble does not do: rate limits, a directory without ARI, and answers
//! that do not come.
//!
//! Whoever asks by the door's URL stays behind it: pebble's answers have URLs with the host that it
//! was asked by.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::Acme;
use crate::http1::{READ_TIMEOUT, Response};
use crate::tls::Client;

/// pebble's path of a resource that may be limited.
pub const NEW_ORDER: &str = "/order-plz";
/// The same.
pub const NEW_ACCOUNT: &str = "/sign-me-up";
/// How pebble's paths of challenges begin.
pub const CHALLENGE: &str = "/chalZ/";
/// The same of where an order's certificate is asked for.
pub const FINALIZE: &str = "/finalize-order/";
/// The same of certificates.
pub const CERTIFICATE: &str = "/certZ/";

/// An open door; it is shut when dropped.
pub struct Door {
    shared: Arc<Shared>,
}

struct Shared {
    /// Where the door is.
    port: u16,
    /// Where pebble is.
    behind: u16,
    trusting: Client,
    limits: Mutex<Vec<Limit>>,
    refused: AtomicUsize,
    /// Whose requests are kept from whom.
    stuck: Mutex<Option<(&'static str, Stuck)>>,
    held: AtomicUsize,
    without_ari: AtomicBool,
    shut: AtomicBool,
}

/// What does not come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stuck {
    /// The request: pebble hears nothing of it.
    Request,
    /// The answer: pebble has done what it was asked for.
    Answer,
}

struct Limit {
    path: &'static str,
    left: usize,
    retry_after: u32,
}

impl Door {
    /// Before a running server, with its certificate.
    pub fn before(acme: &Acme) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let shared = Arc::new(Shared {
            port: listener.local_addr().expect("bound").port(),
            behind: acme.port,
            trusting: acme.trusting.clone(),
            limits: Mutex::default(),
            refused: AtomicUsize::new(0),
            stuck: Mutex::default(),
            held: AtomicUsize::new(0),
            without_ari: AtomicBool::new(false),
            shut: AtomicBool::new(false),
        });
        let config = Arc::new(server_config(acme));
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accepting.accept(&listener, &config));
        Self { shared }
    }

    /// The directory's URL, by the door.
    pub fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.shared.port)
    }

    /// Answers the next requests for a resource with 429, `rateLimited`, and when to come again.
    pub fn limit(&self, path: &'static str, times: usize, retry_after: u32) {
        let limits = &self.shared.limits;
        limits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Limit {
                path,
                left: times,
                retry_after,
            });
    }

    /// Lets the next request for a path that begins so, or the answer to it, not come through, for
    /// as long as the door is there. Its client waits.
    pub fn hold(&self, path: &'static str, what: Stuck) {
        *self.shared.stuck() = Some((path, what));
    }

    /// How many are held.
    pub fn held(&self) -> usize {
        self.shared.held.load(Ordering::SeqCst)
    }

    /// Leaves ARI out of the directory from now on.
    pub fn without_ari(&self) {
        self.shared.without_ari.store(true, Ordering::SeqCst);
    }

    /// How many requests were answered with 429.
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shared.shut.store(true, Ordering::SeqCst);
        // Wakes the accepting thread; if nothing listens any more, it has ended already.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.shared.port));
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &TcpListener, config: &Arc<ServerConfig>) {
        for stream in listener.incoming() {
            if self.shut.load(Ordering::SeqCst) {
                return;
            }
            let (Ok(stream), shared) = (stream, Arc::clone(&self)) else {
                continue;
            };
            let config = Arc::clone(config);
            std::thread::spawn(move || {
                // What goes wrong on a connection shows at the client, which is where tests look.
                let _ = shared.converse(stream, config);
            });
        }
    }

    fn converse(&self, stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        let tls = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut client = BufReader::new(StreamOwned::new(tls, stream));
        while let Some((head, body)) = read_request(&mut client)? {
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let stuck = self.take_stuck(&path);
            if stuck == Some(Stuck::Request) {
                self.keep_waiting();
                return Ok(());
            }
            let answer = match self.limit_of(&path) {
                Some(retry_after) => self.refuse(retry_after)?,
                None => self.pass_on(&path, &head, &body)?,
            };
            if stuck.is_some() {
                self.keep_waiting();
                return Ok(());
            }
            client.get_mut().write_all(&answer)?;
            client.get_mut().flush()?;
        }
        Ok(())
    }

    fn stuck(&self) -> MutexGuard<'_, Option<(&'static str, Stuck)>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_stuck(&self, path: &str) -> Option<Stuck> {
        let stuck = self.stuck().take_if(|(start, _)| path.starts_with(*start));
        stuck.map(|(_, what)| what)
    }

    fn keep_waiting(&self) {
        self.held.fetch_add(1, Ordering::SeqCst);
        while !self.shut.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn limit_of(&self, path: &str) -> Option<u32> {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = limits
            .iter_mut()
            .find(|limit| limit.path == path && limit.left > 0)?;
        limit.left -= 1;
        self.refused.fetch_add(1, Ordering::SeqCst);
        Some(limit.retry_after)
    }

    /// RFC 8555, section 6.5: an error brings a nonce too.
    fn refuse(&self, retry_after: u32) -> io::Result<Vec<u8>> {
        let (port, host) = (self.behind, self.port);
        let fresh = format!(
            "HEAD /nonce-plz HTTP/1.1\r\nHost: 127.0.0.1:{host}\r\nUser-Agent: door\r\n\r\n"
        );
        let (mut conn, _) = self.trusting.connect(port, "127.0.0.1")?;
        conn.write_all(fresh.as_bytes())?;
        let nonce = conn.try_response(true)?;
        let body = json!({
            "type": "urn:ietf:params:acme:error:rateLimited",
            "detail": "the door lets nobody through for now",
            "status": 429,
        })
        .to_string();
        Ok(format!(
            "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/problem+json\r\n\
             Retry-After: {retry_after}\r\nReplay-Nonce: {}\r\nContent-Length: {}\r\n\r\n{body}",
            nonce.header("replay-nonce").unwrap_or_default(),
            body.len(),
        )
        .into_bytes())
    }

    fn pass_on(&self, path: &str, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
        let (mut conn, _) = self.trusting.connect(self.behind, "127.0.0.1")?;
        conn.write_all(&[head.as_bytes(), body].concat())?;
        let to_head = head.starts_with("HEAD ");
        let mut answer = conn.try_response(to_head)?;
        if path == "/dir" && self.without_ari.load(Ordering::SeqCst) {
            let mut directory: Value = serde_json::from_slice(&answer.body)?;
            if let Some(resources) = directory.as_object_mut() {
                resources.remove("renewalInfo");
            }
            answer.body = directory.to_string().into_bytes();
        }
        Ok(written(&answer, to_head))
    }
}

/// An answer as bytes, with the length that its body has now.
fn written(answer: &Response, to_head: bool) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {} {}\r\n", answer.status, answer.reason);
    let framing = ["content-length", "transfer-encoding"];
    for (name, value) in &answer.headers {
        if !framing.contains(&name.to_ascii_lowercase().as_str()) {
            text += &format!("{name}: {value}\r\n");
        }
    }
    if !to_head && answer.status != 204 {
        text += &format!("Content-Length: {}\r\n", answer.body.len());
    }
    text += "\r\n";
    [text.as_bytes(), &answer.body].concat()
}

/// The head with its empty line, and the body; none at the end of the connection.
fn read_request(client: &mut impl BufRead) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if client.by_ref().take(64 * 1024).read_line(&mut head)? == 0 {
            return Ok(None);
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    client.read_exact(&mut body)?;
    Ok(Some((head, body)))
}

fn server_config(acme: &Acme) -> ServerConfig {
    let path = |name: &str| acme.folder.path().join(name);
    let chain = CertificateDer::pem_file_iter(path("tls.crt"))
        .expect("written before the start")
        .collect::<Result<Vec<_>, _>>()
        .expect("PEM");
    let key = PrivateKeyDer::from_pem_file(path("tls.key")).expect("written before the start");
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions and suites that fit")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate and its key")
}
