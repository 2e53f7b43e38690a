//! What a proxy does for whoever proves names: it answers HTTP-01 and TLS-ALPN-01 as it was told.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};

use crate::backend::{Backend, Then};

/// A running board; its listeners end when it is dropped.
pub struct Board {
    notes: Arc<Notes>,
    http: Backend,
    tls: u16,
}

#[derive(Debug, Default)]
struct Notes {
    /// Texts by name and token.
    files: Mutex<HashMap<(String, String), String>>,
    certificates: Mutex<HashMap<String, Arc<CertifiedKey>>>,
    gone: AtomicBool,
}

impl Board {
    /// An empty one, on ports of its own.
    #[track_caller]
    pub fn start() -> Self {
        let notes: Arc<Notes> = Arc::default();
        let files = Arc::clone(&notes);
        let http = Backend::scripted("board", move |exchange| {
            let host = exchange.header("host").unwrap_or_default();
            let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
            let path = exchange.request.target.as_str();
            let token = path.strip_prefix("/.well-known/acme-challenge/");
            let key = (host.to_owned(), token.unwrap_or_default().to_owned());
            let text = lock(&files.files).get(&key).cloned();
            match text {
                Some(text) => exchange.reply(&text),
                None => {
                    exchange.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
                    Ok(Then::Keep)
                }
            }
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let tls = listener.local_addr().expect("bound").port();
        let answering = Arc::clone(&notes);
        std::thread::spawn(move || answering.answer(&listener));
        Self { notes, http, tls }
    }

    /// Where HTTP-01 is answered.
    pub fn http(&self) -> u16 {
        self.http.address().port()
    }

    /// Where TLS-ALPN-01 is answered.
    pub fn tls(&self) -> u16 {
        self.tls
    }

    /// Answers a token at a name with a text.
    pub fn file(&self, name: &str, token: &str, text: &str) {
        let key = (name.to_owned(), token.to_owned());
        lock(&self.notes.files).insert(key, text.to_owned());
    }

    /// Answers handshakes for a name with a certificate (PEM).
    #[track_caller]
    pub fn certificate(&self, name: &str, chain: &str, key: &str) {
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes());
        let chain = chain.map(|der| der.expect("PEM")).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
        let key = aws_lc_rs::sign::any_supported_type(&key).expect("a key that can sign");
        // Unchecked: its critical extension is one that rustls does not know.
        let made = Arc::new(CertifiedKey::new(chain, key));
        lock(&self.notes.certificates).insert(name.to_owned(), made);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        lock(&self.notes.files).clear();
        lock(&self.notes.certificates).clear();
    }

    /// Whether there is nothing on it.
    pub fn is_empty(&self) -> bool {
        lock(&self.notes.files).is_empty() && lock(&self.notes.certificates).is_empty()
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.notes.gone.store(true, Ordering::SeqCst);
        // Wakes the accepting thread; if nothing listens any more, it has ended already.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.tls));
    }
}

impl Notes {
    fn answer(self: Arc<Self>, listener: &TcpListener) {
        let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
        let config = Arc::new(config);
        for stream in listener.incoming() {
            if self.gone.load(Ordering::SeqCst) {
                return;
            }
            let Ok(mut stream) = stream else { return };
            // One that says nothing is not waited for.
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            if let Ok(mut tls) = ServerConnection::new(Arc::clone(&config)) {
                // A handshake that fails is the client's to tell.
                while tls.is_handshaking() && tls.complete_io(&mut stream).is_ok() {}
            }
        }
    }
}

impl ResolvesServerCert for Notes {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        lock(&self.certificates).get(hello.server_name()?).cloned()
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
