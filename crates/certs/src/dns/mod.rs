//! TXT records at the DNS servers of a zone, by whoever may set them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

mod ask;
mod hook;
mod place;
mod tsig;
mod update;

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
    /// Asked for the record instead of the zone's own servers, if there are any.
    pub servers: Vec<SocketAddr>,
    /// Where a zone's own servers answer.
    pub port: u16,
    /// The longest that is waited for all of a zone's servers to have a record.
    pub longest: Duration,
    /// Waits as long as `longest` and asks nobody, for zones whose servers cannot be reached.
    pub blind: bool,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            resolvers: Vec::new(),
            servers: Vec::new(),
            port: 53,
            longest: Duration::from_secs(120),
            blind: false,
        }
    }
}

/// A text at a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// With a dot at its end.
    pub(crate) name: String,
    pub(crate) value: String,
}

/// What is to become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Add,
    Remove,
}

impl Change {
    /// As programs and webhooks are told.
    fn word(self) -> &'static str {
        match self {
            Self::Add => "present",
            Self::Remove => "cleanup",
        }
    }
}

impl Dns {
    /// Sets a record beside those that are there, or takes it away.
    pub(crate) async fn change(
        &self,
        change: Change,
        record: &Record,
        watch: &Watch,
    ) -> Result<(), String> {
        match self {
            Self::Rfc2136 { server, zone, tsig } => {
                let zone = match zone {
                    Some(zone) => zone.clone(),
                    None => watch.zone(&record.name).await?,
                };
                update::update(server, &zone, tsig.as_ref(), change, record).await
            }
            Self::Exec { program } => hook::exec(program, change, record).await,
            Self::Webhook { url, login } => {
                hook::webhook(url, login.as_ref(), change, record).await
            }
        }
    }
}

impl Watch {
    /// Where a record that is asked for at `name` is to be: at the end of its aliases.
    pub(crate) async fn target(&self, name: &str) -> Result<String, String> {
        place::target(self, name).await
    }

    async fn zone(&self, name: &str) -> Result<String, String> {
        place::zone(self, name).await
    }

    /// Whether some text at `name` has `part` in it.
    pub(crate) async fn has_text(&self, name: &str, part: &str) -> Result<bool, String> {
        place::has_text(self, name, part).await
    }

    /// Waits until all servers of the records' zones have them; for a while only, where they
    /// cannot be asked.
    pub(crate) async fn until_seen(&self, records: &[Record]) -> Result<(), String> {
        place::until_seen(self, records).await
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
