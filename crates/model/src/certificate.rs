//! Certificates, and which one a handshake gets.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwapOption;
use hashbrown::HashMap;
use rustls::sign::CertifiedKey;
use rustls::{SignatureScheme, SupportedCipherSuite};

use crate::host::HostTable;

/// A certificate chain with its private key.
#[derive(Debug)]
pub struct Certificate {
    /// What the handshake uses.
    pub key: Arc<CertifiedKey>,
    /// Where it comes from, as `Secret default/web-tls`.
    pub source: Box<str>,
    /// The end of its validity, in seconds since 1970.
    pub not_after: i64,
    /// What its CA says of it, if handshakes show that.
    pub staple: Staple,
}

/// An OCSP answer that handshakes show with a certificate (RFC 6066, section 8), while there is one.
/// It comes and goes without a new configuration.
#[derive(Debug, Default)]
pub struct Staple {
    shown: ArcSwapOption<CertifiedKey>,
    /// Whether the certificate demands one (RFC 7633): clients that know this refuse it without.
    pub is_demanded: bool,
}

impl Staple {
    /// None so far, which is demanded or is not.
    pub fn new(is_demanded: bool) -> Self {
        Self {
            is_demanded,
            ..Self::default()
        }
    }
}

impl Certificate {
    /// What a handshake shows: the chain, with the answer that is stapled, if there is one.
    pub fn shown(&self) -> Arc<CertifiedKey> {
        let stapled = self.staple.shown.load_full();
        stapled.unwrap_or_else(|| Arc::clone(&self.key))
    }

    /// Shows an answer from the next handshake on, or none.
    pub fn set_staple(&self, answer: Option<&[u8]>) {
        self.staple.shown.store(answer.map(|answer| {
            let mut stapled = CertifiedKey::clone(&self.key);
            stapled.ocsp = Some(answer.to_vec());
            Arc::new(stapled)
        }));
    }

    /// Shows what another one shows, which has the same chain.
    pub fn take_staple(&self, other: &Self) {
        let stapled = other.staple.shown.load_full();
        self.set_staple(stapled.and_then(|it| it.ocsp.clone()).as_deref());
    }
}

/// The certificates of one host, the preferred one first (ECDSA before RSA).
#[derive(Debug)]
pub struct CertificateSet {
    /// At least one.
    pub certificates: Box<[Arc<Certificate>]>,
    /// Set by each handshake that gets them, for whoever wants to know whether any does.
    pub used: Option<Arc<AtomicBool>>,
    /// What is negotiated with clients of the host, where that is not what the process does.
    pub suites: Option<Arc<Suites>>,
}

/// What is negotiated with clients (ingress-nginx: `ssl-ciphers`, `ssl-prefer-server-ciphers`).
#[derive(Debug, Clone, Default)]
pub struct Suites {
    /// The suites of TLS 1.2, and of 1.3, the preferred one first; of a version that none is of,
    /// those of the process.
    pub suites: Box<[SupportedCipherSuite]>,
    /// Whether the client's order decides; none is as the process does.
    pub client_order: Option<bool>,
}

impl PartialEq for Suites {
    fn eq(&self, other: &Self) -> bool {
        self.suites == other.suites && self.client_order == other.client_order
    }
}

// Suites are what they are.
impl Eq for Suites {}

impl CertificateSet {
    /// The first certificate whose key can sign with a scheme that the client offers.
    pub fn choose(&self, offered: &[SignatureScheme]) -> Option<&Arc<Certificate>> {
        self.certificates
            .iter()
            .find(|certificate| certificate.key.key.choose_scheme(offered).is_some())
    }
}

/// What an ACME server is to be shown while it looks whether names are ours.
#[derive(Debug, Default)]
pub struct Challenges {
    /// Key authorizations by token (HTTP-01; RFC 8555, section 8.3).
    pub http: HashMap<Box<str>, Box<str>>,
    /// Certificates by name in lower case (TLS-ALPN-01, RFC 8737); an address by its name in reverse
    /// DNS (RFC 8738, section 6).
    pub alpn: HashMap<Box<str>, Arc<CertifiedKey>>,
}

impl Challenges {
    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.http.is_empty() && self.alpn.is_empty()
    }
}

/// Certificates by the server name that the client asks for (SNI, RFC 6066, section 3).
#[derive(Debug)]
pub struct CertificateTable {
    /// By host.
    pub hosts: HostTable<CertificateSet>,
    /// For every other name, and for clients that name none.
    pub default: Arc<CertificateSet>,
}

impl CertificateTable {
    /// The certificates for a server name.
    pub fn find(&self, server_name: Option<&str>) -> &Arc<CertificateSet> {
        server_name
            .and_then(|name| self.hosts.find(name))
            .unwrap_or(&self.default)
    }

    /// Whether a request for `host` on a connection whose handshake got `used` for `server_name`
    /// belongs on another connection (421, RFC 9110, section 15.5.20): both have certificates of
    /// their own, and they differ. The default certificate's catch-all is nobody's own. A name
    /// whose certificate was renewed meanwhile is still the name that the client asked for.
    pub fn misdirected(
        &self,
        used: &Arc<CertificateSet>,
        server_name: Option<&str>,
        host: &str,
    ) -> bool {
        if Arc::ptr_eq(used, &self.default) {
            return false;
        }
        let Some(wanted) = self.hosts.find(host) else {
            return false;
        };
        let renewed = || server_name.and_then(|name| self.hosts.find(name));
        !same(used, wanted) && !renewed().is_some_and(|renewed| same(renewed, wanted))
    }
}

fn same(a: &Arc<CertificateSet>, b: &Arc<CertificateSet>) -> bool {
    Arc::ptr_eq(a, b)
        || (a.certificates.len() == b.certificates.len()
            && a.certificates
                .iter()
                .zip(&b.certificates)
                .all(|(a, b)| Arc::ptr_eq(&a.key, &b.key) || a.key.cert == b.key.cert))
}
