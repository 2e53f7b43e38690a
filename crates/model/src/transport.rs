//! What is spoken to a backend's endpoints, and over what.

use std::sync::Arc;

use rustls::SupportedCipherSuite;
use rustls::pki_types::CertificateDer;

use crate::certificate::Certificate;
use crate::text::Text;

/// What is spoken to an endpoint, and over what. The default is HTTP/1.1 in clear text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transport {
    /// The version of HTTP.
    pub http: HttpVersion,
    /// Without it, clear text.
    pub tls: Option<Arc<BackendTls>>,
    /// FastCGI in the place of HTTP.
    pub fastcgi: Option<Arc<FastCgi>>,
}

/// What servers that speak FastCGI are told besides the request (ingress-nginx: `fastcgi-index`,
/// `fastcgi-params-configmap`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FastCgi {
    /// What is added to paths that end with a slash.
    pub index: Option<Box<str>>,
    /// Those that take the place of ours, and come besides.
    pub params: Box<[FastCgiParam]>,
}

/// A parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FastCgiParam {
    /// Its name.
    pub name: Box<str>,
    /// The parts of its value.
    pub value: Box<[FastCgiPart]>,
}

/// A part of a parameter's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FastCgiPart {
    /// A text with variables in it.
    Text(Text),
    /// The script of the request's path (nginx: `$fastcgi_script_name`).
    ScriptName,
}

impl FastCgi {
    /// What nginx says of itself where nothing is configured (`$document_root`).
    pub const DOCUMENT_ROOT: &str = "/usr/local/nginx/html";
}

impl Transport {
    /// The same version of HTTP inside TLS.
    #[must_use]
    pub fn over(self, tls: Arc<BackendTls>) -> Self {
        let http = match self.http {
            HttpVersion::Http1 if self.tls.is_none() => HttpVersion::Negotiated,
            http => http,
        };
        Self {
            http,
            tls: Some(tls),
            ..self
        }
    }

    /// Whether it is HTTP/1.1 in clear text.
    pub fn is_plain_http1(&self) -> bool {
        self.http == HttpVersion::Http1 && self.tls.is_none() && self.fastcgi.is_none()
    }
}

/// The version of HTTP that is spoken to a backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: in clear text with prior knowledge (RFC 9113, section 3.3).
    Http2,
    /// Whichever the endpoint takes by ALPN; in clear text, HTTP/1.1.
    Negotiated,
}

/// TLS towards a backend.
#[derive(Debug, Clone)]
pub struct BackendTls {
    /// The name in the handshake (SNI), and the one that the certificate has to have: a DNS name
    /// or an address.
    pub server_name: Box<str>,
    /// Whether the name is told in the handshake.
    pub tells_name: bool,
    /// Whether the certificate is verified.
    pub verify: bool,
    /// Who may have issued it; none is everybody that the process trusts.
    pub authorities: Option<Arc<[CertificateDer<'static>]>>,
    /// Whether a certificate that OpenSSL takes is enough: one whose subject's common name is the
    /// right one and that names no hosts, of X.509's first version, or an authority's own.
    pub as_openssl: bool,
    /// What we show if the backend asks for a certificate.
    pub client: Option<Arc<Certificate>>,
    /// What the certificate has to have one of instead of `server_name`; none is that one.
    pub names: Box<[SubjectName]>,
    /// The versions that are spoken.
    pub versions: Versions,
    /// The suites of TLS 1.2, and of 1.3, that are offered; of a version that none is of, all.
    pub suites: Box<[SupportedCipherSuite]>,
}

/// Versions of TLS, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// TLS 1.2.
    pub tls12: bool,
    /// TLS 1.3.
    pub tls13: bool,
}

impl Default for Versions {
    fn default() -> Self {
        Self {
            tls12: true,
            tls13: true,
        }
    }
}

/// A subject alternative name (RFC 5280, section 4.2.1.6).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SubjectName {
    /// A DNS name.
    Host(Box<str>),
    /// A URI, as SPIFFE's identities are.
    Uri(Box<str>),
}

impl BackendTls {
    /// Verified against everybody that the process trusts, with no certificate of our own.
    pub fn new(server_name: impl Into<Box<str>>) -> Self {
        Self {
            server_name: server_name.into(),
            tells_name: true,
            verify: true,
            authorities: None,
            as_openssl: false,
            client: None,
            names: Box::default(),
            versions: Versions::default(),
            suites: Box::default(),
        }
    }
}

impl PartialEq for BackendTls {
    fn eq(&self, other: &Self) -> bool {
        let same_client = match (&self.client, &other.client) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (None, None) => true,
            _ => false,
        };
        self.server_name == other.server_name
            && self.tells_name == other.tells_name
            && self.verify == other.verify
            && self.authorities == other.authorities
            && self.as_openssl == other.as_openssl
            && self.names == other.names
            && self.versions == other.versions
            && self.suites == other.suites
            && same_client
    }
}

impl Eq for BackendTls {}
