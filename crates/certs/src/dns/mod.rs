//! TXT records at the DNS servers of a zone, by whoever may set them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Who sets records.
#[derive(Clone, PartialEq, Eq)]
pub enum Dns {
    /// Dynamic updates (RFC 2136), over TCP.
    Rfc2136 {
        /// The primary: a host or an address, with a port if it is not 53.
        server: String,
        /// The zone's name; found by its SOA record if none.
        zone: Option<String>,
        /// Signed so (RFC 8945).
        tsig: Option<Tsig>,
    },
    /// A program, which is run as `PROGRAM present|cleanup NAME VALUE`, without a shell and with
    /// nothing of the environment but `PATH`. It ends well when the record is set.
    Exec {
        /// Its path.
        program: PathBuf,
    },
    /// Somebody who is told by HTTP: `POST URL/present` and `POST URL/cleanup` with
    /// `{"fqdn": …, "value": …}`, as lego's `httpreq` does.
    Webhook {
        /// `http` or `https`.
        url: String,
        /// Basic authentication: user and password.
        login: Option<(String, String)>,
    },
}

/// A key that updates are signed with (RFC 8945).
#[derive(Clone, PartialEq, Eq)]
pub struct Tsig {
    /// The key's name.
    pub name: String,
    /// `hmac-sha256` and the like.
    pub algorithm: String,
    /// The key itself.
    pub key: Vec<u8>,
}

/// How it is waited for until a record is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// The resolvers that are asked for a zone's servers; the system's if none.
    pub resolvers: Vec<SocketAddr>,
    /// The longest that is waited for all of a zone's servers to have a record.
    pub longest: Duration,
    /// Waits as long as `longest` and asks nobody, for zones whose servers cannot be reached.
    pub blind: bool,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            resolvers: Vec::new(),
            longest: Duration::from_secs(120),
            blind: false,
        }
    }
}

// Keys and passwords are nobody's to see in a log.
impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rfc2136 { server, zone, .. } => f
                .debug_struct("Rfc2136")
                .field("server", server)
                .field("zone", zone)
                .finish_non_exhaustive(),
            Self::Exec { program } => f.debug_struct("Exec").field("program", program).finish(),
            Self::Webhook { url, .. } => f
                .debug_struct("Webhook")
                .field("url", url)
                .finish_non_exhaustive(),
        }
    }
}
