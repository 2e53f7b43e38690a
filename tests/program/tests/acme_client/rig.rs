//! Issuers beside an ACME server: papers and vault in memory, and a board where challenges are
//! answered.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use certs::acme::{Answer, External, Settings, Solver, Wire};
use certs::ca::{Issued, KeyKind, Usage};
use certs::dns::{Dns, Watch};
use certs::issuer::{self, Issuer, Issuers};
use certs::keeper::{Setback, Source, Wish};
use certs::methods::{Entry, Methods, Way};
use certs::renew::Schedule;
use certs::vault::{Entries, Lock, NotKept, Papers, Record, Vault};
use program_tests::acme::{Board, Starting};
use program_tests::{Acme, Named};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

pub(crate) const CA: &str = "ca";

/// What replicas share.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Store>>);

#[derive(Default)]
pub(crate) struct Store {
    papers: HashMap<String, (Entries, u64)>,
    pub(crate) records: HashMap<String, (Record, u64)>,
    locks: HashSet<String>,
}

impl Shared {
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.0.lock().expect("no test panics with it")
    }
}

fn put<T: Clone>(
    all: &mut HashMap<String, (T, u64)>,
    id: &str,
    new: &T,
    after: Option<&u64>,
) -> Result<(), NotKept> {
    let is = all.get(id).map(|(_, version)| *version);
    if is != after.copied() {
        return Err(NotKept::Changed);
    }
    all.insert(id.to_owned(), (new.clone(), is.unwrap_or(0) + 1));
    Ok(())
}

impl Papers for Shared {
    type Version = u64;

    async fn read(&self, id: &str) -> Result<Option<(Entries, u64)>, String> {
        Ok(self.store().papers.get(id).cloned())
    }

    async fn write(&self, id: &str, new: &Entries, after: Option<&u64>) -> Result<(), NotKept> {
        put(&mut self.store().papers, id, new, after)
    }
}

impl Vault for Shared {
    type Version = u64;

    async fn read(&self, id: &str) -> Result<Option<(Record, u64)>, String> {
        Ok(self.store().records.get(id).cloned())
    }

    async fn write(&self, id: &str, new: &Record, after: Option<&u64>) -> Result<(), NotKept> {
        put(&mut self.store().records, id, new, after)
    }
}

pub(crate) struct Held(Shared, String);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store().locks.remove(&self.1);
    }
}

impl Lock for Shared {
    type Held = Held;

    async fn try_lock(&self, id: &str) -> Result<Option<Held>, String> {
        let is_free = self.store().locks.insert(id.to_owned());
        Ok(is_free.then(|| Held(self.clone(), id.to_owned())))
    }
}

/// Puts answers on a board.
#[derive(Clone)]
pub(crate) struct Pins(pub(crate) Arc<Board>);

impl Solver for Pins {
    async fn present(&self, answers: &[Answer]) -> Result<(), String> {
        for answer in answers {
            match answer {
                Answer::Http {
                    name,
                    token,
                    key_authorization,
                } => self.0.file(name, token, key_authorization),
                Answer::TlsAlpn {
                    server_name,
                    certificate,
                } => self
                    .0
                    .certificate(server_name, &certificate.chain, &certificate.key),
                Answer::Dns { .. } | Answer::DnsPersist { .. } => {
                    return Err("records are not the proxy's".to_owned());
                }
            }
        }
        Ok(())
    }

    async fn withdraw(&self, _: &[Answer]) {
        self.0.clear();
    }
}

/// An ACME server, and a place where it looks.
pub(crate) struct Rig {
    pub(crate) acme: Acme,
    pub(crate) board: Arc<Board>,
    pub(crate) shared: Shared,
}

impl Rig {
    #[track_caller]
    pub(crate) fn start(starting: Starting) -> Self {
        let board = Board::start();
        let http = board.http();
        Self::with(board, starting, http)
    }

    /// One whose CA connects to another port for HTTP-01 than that where it is answered.
    #[track_caller]
    pub(crate) fn with(board: Board, starting: Starting, http: u16) -> Self {
        Self {
            acme: starting.validating_at(http, board.tls()).start(),
            board: Arc::new(board),
            shared: Shared::default(),
        }
    }

    /// The server as an issuer that tries these ways.
    pub(crate) fn issuer(&self, ways: Vec<Way>) -> issuer::Acme {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.acme.ca_file()).expect("PEM");
        roots.add(ca).expect("a root");
        let mut methods = Methods::from(ways.into_iter().map(Entry::from).collect::<Vec<_>>());
        methods.watch = self.watch();
        issuer::Acme {
            settings: Settings {
                directory: self.acme.directory(),
                emails: vec!["ops@example.org".to_owned()],
                terms_agreed: true,
                external: None,
            },
            wire: Wire::https(roots).expect("TLS"),
            account: "narthex/account".to_owned(),
            profile: None,
            preferred_chain: None,
            methods,
        }
    }

    /// The challenge test server is every zone's.
    pub(crate) fn watch(&self) -> Watch {
        let dns = self.acme.challenges.dns();
        Watch {
            resolvers: vec![dns],
            servers: vec![dns],
            longest: Duration::from_secs(20),
            ..Watch::default()
        }
    }

    /// One replica, which knows this issuer as [`CA`].
    pub(crate) fn replica(&self, issuer: issuer::Acme) -> Replica {
        let issuers = Issuers::new(self.shared.clone(), Pins(Arc::clone(&self.board)));
        let issuer = Ok(Arc::new(Issuer::Acme(Box::new(issuer))));
        issuers.set(HashMap::from([(CA.to_owned(), issuer)]));
        issuers
    }
}

pub(crate) type Replica = Issuers<Shared, Pins>;

pub(crate) fn external(key_id: &str, hmac: &str) -> Option<External> {
    Some(External {
        key_id: key_id.to_owned(),
        hmac: hmac.to_owned(),
    })
}

/// Updates of BIND's zone with its key, or another one.
pub(crate) fn rfc2136(named: &Named, secret: &str, zone: Option<&str>) -> Dns {
    use base64::prelude::{BASE64_STANDARD, Engine};

    Dns::Rfc2136 {
        server: named.address().to_string(),
        zone: zone.map(str::to_owned),
        tsig: Some(certs::dns::Tsig {
            name: program_tests::named::KEY.to_owned(),
            algorithm: "HMACSHA256".to_owned(),
            key: BASE64_STANDARD.decode(secret).expect("base64"),
        }),
    }
}

pub(crate) fn wish(names: &[&str]) -> Wish {
    Wish {
        id: "web/tls".to_owned(),
        names: names.iter().map(|&name| name.to_owned()).collect(),
        issuer: CA.to_owned(),
        schedule: Schedule::TwoThirds,
        key: KeyKind::EcdsaP256,
        lifetime: None,
        usage: Usage::Server,
        common_name: None,
        profile: None,
    }
}

pub(crate) fn obtain(replica: &Replica, names: &[&str]) -> Result<Issued, Setback> {
    obtain_as(replica, &wish(names), None)
}

/// The same, of any wish. A certificate counts as kept.
pub(crate) fn obtain_as(
    replica: &Replica,
    wish: &Wish,
    before: Option<&str>,
) -> Result<Issued, Setback> {
    run(async {
        let issued = replica.obtain(wish, before).await?;
        replica.settled(wish).await;
        Ok(issued)
    })
}

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}

/// The first certificate of a chain.
pub(crate) fn leaf(chain: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(chain.as_bytes()).expect("PEM")
}
