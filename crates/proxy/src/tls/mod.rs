//! TLS towards clients: from the first byte of a connection to the end of the handshake.
//!
//! The ClientHello is read before anything is decided, so that the certificate table that holds at
//! that moment decides: a changed Secret is served on the next handshake and no configuration is
//! built anew for it.
//!
//! # Resumption
//!
//! Workers share their ticket keys, and replicas do where the snapshot has any, since a client's next
//! connection may come to any of them. A ticket resumes a session without showing a certificate, so it must not carry a client
//! over to another identity: not after the Secret changed, and not to another host's certificates.
//! rustls compares the server name alone. Therefore each ticket holds, under its encryption and
//! authentication, a digest of the certificates that the full handshake could have shown; where
//! today's differ, the ticket is as good as none and a full handshake follows. What clients have to
//! show, and whether HTTP is inside, is part of that digest, too. Sessions are kept in tickets alone:
//! rustls' session storage for TLS 1.2 would know nothing of the digest, so it is off.

mod bound;
mod challenge;
mod clients;
mod demand;
pub(crate) mod hello;
mod opening;
pub(crate) mod plain;
mod presented;
mod tickets;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use model::{
    CertificateSet, CertificateTable, Challenges, ClientAuth, ClientPolicy, Stream, Suites,
    TicketKeys, TlsSite, TlsSites,
};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert,
    ResolvesServerCertUsingSni,
};
use rustls::sign::CertifiedKey;
use rustls::{ProtocolVersion, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::server::{StartHandshake, TlsStream};

use crate::client::Tls;
use crate::settings::{Settings, TlsSettings};
use bound::BoundTickets;
use demand::Demand;
pub use demand::Wanted;
use opening::{Opening, send_last};
use presented::Judge;
pub(crate) use presented::{Found, Presented};
use tickets::Tickets;

/// The most configurations that one worker keeps; beyond, they are made again as needed.
const MAX_CONFIGS: usize = 1024;

/// What we speak.
const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
/// The same without TLS 1.2.
const ONLY_13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
/// The same without TLS 1.3.
const ONLY_12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
/// A fatal `unrecognized_name` (RFC 6066, section 3).
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];

/// What a handshake depends on besides certificates.
#[derive(Debug, Clone, Copy)]
struct Terms<'a> {
    /// What clients have to show.
    clients: Option<&'a Arc<ClientAuth>>,
    /// What they are asked to show, and may not.
    asked: Option<&'a Arc<ClientPolicy>>,
    /// Whether HTTP is inside.
    http: bool,
}

/// What all workers share: the settings and the ticket keys.
#[derive(Debug)]
pub(crate) struct Context {
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
    base: ServerConfig,
    tickets: Arc<Tickets>,
    strict_sni: bool,
    known_hosts_only: bool,
}

impl Context {
    /// As the settings say, with new ticket keys.
    ///
    /// # Errors
    /// If the system gives no random numbers, or the settings leave nothing to speak.
    pub(crate) fn new(settings: &TlsSettings) -> Result<Arc<Self>, rustls::Error> {
        Self::with_tickets(settings, Arc::new(Tickets::new()?))
    }

    fn with_tickets(
        settings: &TlsSettings,
        tickets: Arc<Tickets>,
    ) -> Result<Arc<Self>, rustls::Error> {
        // Of the key exchange groups the client's order decides.
        let provider = Arc::new(CryptoProvider {
            cipher_suites: settings.cipher_suites.clone(),
            kx_groups: settings.groups.clone(),
            ..default_provider()
        });
        let versions = match (settings.tls12, settings.tls13) {
            (true, true) => VERSIONS,
            (true, false) => ONLY_12,
            (false, _) => ONLY_13,
        };
        let mut base = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        base.alpn_protocols = match settings.http2 {
            true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            false => vec![b"http/1.1".to_vec()],
        };
        base.ignore_client_order = true;
        base.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(Self {
            provider,
            versions,
            base,
            tickets,
            strict_sni: settings.strict_sni,
            known_hosts_only: settings.known_hosts_only,
        }))
    }

    /// Takes over the keys of tickets that all replicas share, if there are any.
    pub(crate) fn share_tickets(&self, keys: Option<&TicketKeys>) {
        self.tickets.share(keys);
    }

    /// What is negotiated: of a version that no suite of the host's is of, what the process has.
    fn provider(&self, suites: Option<&Suites>) -> Arc<CryptoProvider> {
        let named = suites.map_or(&[][..], |suites| &suites.suites);
        if named.is_empty() {
            return Arc::clone(&self.provider);
        }
        let of_13 = |suite: &SupportedCipherSuite| suite.tls13().is_some();
        let unnamed =
            |suite: &&SupportedCipherSuite| !named.iter().any(|named| of_13(named) == of_13(suite));
        let others = self.provider.cipher_suites.iter().filter(unnamed);
        Arc::new(CryptoProvider {
            cipher_suites: named.iter().chain(others).copied().collect(),
            ..(*self.provider).clone()
        })
    }

    /// What becomes of clients' certificates, where they are asked for any.
    fn verifier(&self, terms: &Terms<'_>) -> Option<Arc<dyn ClientCertVerifier>> {
        if let Some(clients) = terms.clients {
            return Some(clients::verifier(clients, &self.provider));
        }
        Some(clients::asking(&terms.asked?.authorities, &self.provider))
    }

    fn config(&self, set: &Arc<CertificateSet>, terms: &Terms<'_>) -> Arc<ServerConfig> {
        let mut config = self.base.clone();
        let suites = set.suites.as_deref();
        let verifier = self.verifier(terms);
        if verifier.is_some() || suites.is_some() {
            let builder = ServerConfig::builder_with_provider(self.provider(suites))
                .with_protocol_versions(self.versions);
            match builder {
                Ok(builder) => {
                    let alpn = std::mem::take(&mut config.alpn_protocols);
                    let builder = match verifier {
                        Some(verifier) => builder.with_client_cert_verifier(verifier),
                        None => builder.with_no_client_auth(),
                    };
                    config =
                        builder.with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
                    config.alpn_protocols = alpn;
                    config.ignore_client_order = self.base.ignore_client_order;
                    config.session_storage = Arc::new(NoServerSessionStorage {});
                }
                // The same versions were possible when the context was made; without certificates
                // to show, every handshake fails.
                Err(_) => return Arc::new(config),
            }
        }
        if let Some(client_order) = suites.and_then(|suites| suites.client_order) {
            config.ignore_client_order = !client_order;
        }
        if !terms.http {
            config.alpn_protocols.clear();
        }
        config.cert_resolver = Arc::new(OneSet(Arc::downgrade(set)));
        config.ticketer = Arc::new(BoundTickets::new(&self.tickets, set, terms));
        Arc::new(config)
    }
}

/// One worker's way to accept TLS connections.
#[derive(Debug)]
pub(crate) struct Acceptor {
    context: RefCell<Arc<Context>>,
    most_hello: usize,
    /// By addresses, which are not used again as long as the `Weak`s are kept: of the set, and of
    /// what clients have to show, if they do; and whether HTTP is inside.
    configs: RefCell<HashMap<(usize, usize, bool), Configured>>,
    /// Certificates that are obtained when they are asked for, if any are.
    demand: Option<Demand>,
}

/// The configuration of one set of certificates.
#[derive(Debug)]
struct Configured {
    set: Weak<CertificateSet>,
    /// Kept, so that its address is not used again.
    _clients: Option<Arc<ClientAuth>>,
    /// What judges what clients show, with its policy, whose address is not used again either.
    judge: Option<Arc<Judge>>,
    config: Arc<ServerConfig>,
}

/// What becomes of a connection.
#[derive(Debug)]
pub(crate) enum Secured {
    /// HTTP is inside.
    Https(Accepted),
    /// Something else is inside, which is passed on.
    Stream(Accepted, Arc<Stream>),
    /// TLS is passed on as it is; with what has been read of it.
    Passthrough(TcpStream, Vec<u8>, Arc<Stream>),
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// What to read from and write to.
    pub(crate) stream: TlsStream<TcpStream>,
    /// What was settled.
    pub(crate) tls: Tls,
    /// Whether HTTP/2 was agreed on.
    pub(crate) alpn_h2: bool,
}

/// Why there is no connection. What there was to tell the client has been told.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// An ACME server has seen what it wanted to see.
    AcmeChallenge,
    /// The client closed before it sent anything, as load balancers' checks do.
    NothingSent,
    /// The client spoke HTTP without TLS. It was answered 400.
    PlainHttp,
    /// The ClientHello is too long.
    HelloTooLarge,
    /// Nothing is served by the server name that the client asked for.
    UnknownName,
    /// The client's TLS, or the connection.
    Failed(io::Error),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AcmeChallenge => f.write_str("an ACME server looked whether the name is ours"),
            Self::NothingSent => f.write_str("the client closed the connection at once"),
            Self::PlainHttp => f.write_str("the client spoke HTTP without TLS"),
            Self::HelloTooLarge => f.write_str("the ClientHello is too long"),
            Self::UnknownName => f.write_str("nothing is served by the name that was asked for"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Acceptor {
    /// An acceptor for one worker, for ClientHellos of so many bytes at the most.
    pub(crate) fn new(context: Arc<Context>, most_hello: usize) -> Self {
        Self {
            context: RefCell::new(context),
            most_hello,
            configs: RefCell::default(),
            demand: None,
        }
    }

    /// Has certificates obtained at the first handshake that needs them, which is held for no
    /// longer than handshakes may take.
    pub(crate) fn demanding(mut self, settings: &Settings) -> Self {
        let wanted = settings.tls.on_demand.clone();
        self.demand = wanted.map(|wanted| Demand::new(wanted, settings.timeouts.handshake));
        self
    }

    /// Has the handshakes that begin from now on be as these settings say.
    pub(crate) fn retune(&self, settings: &TlsSettings) {
        let tickets = Arc::clone(&self.context().tickets);
        match Context::with_tickets(settings, tickets) {
            Ok(context) => {
                *self.context.borrow_mut() = context;
                self.configs.borrow_mut().clear();
            }
            Err(error) => {
                tracing::error!(%error, "TLS stays as it was: nothing would be left to speak");
            }
        }
    }

    fn context(&self) -> Arc<Context> {
        Arc::clone(&self.context.borrow())
    }

    /// Another configuration is served from now on.
    pub(crate) fn served(&self) {
        if let Some(demand) = &self.demand {
            demand.served();
        }
    }

    /// Does what the server name asks for: the handshake, or none; of an ACME server one that shows
    /// what `challenges` has for it. Where certificates are obtained on demand, it may wait for what
    /// `current` is by then. Takes as long as the client does: the caller sets the limit.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub(crate) async fn accept(
        &self,
        mut tcp: TcpStream,
        sites: &TlsSites,
        challenges: Option<&Challenges>,
        current: &dyn Fn() -> Option<Arc<TlsSites>>,
    ) -> Result<Secured, HandshakeError> {
        let mut opening = Opening::new(self.most_hello);
        // Most who serve Ingress alone pass nothing on.
        if (!sites.gateways.is_empty() || !sites.sealed.is_empty())
            && let Some(stream) = passed_on(&mut opening, &tcp, sites).await?
        {
            return Ok(Secured::Passthrough(tcp, opening.into_bytes(), stream));
        }
        let accepted = opening.accept(&mut tcp).await?;
        let name = server_name(&accepted.client_hello());
        if let Some(challenges) = challenges
            && let Some(shown) = challenge::wanted(challenges, &accepted.client_hello())
        {
            // Boxed: seldom, and of another kind than most handshakes.
            let provider = Arc::clone(&self.context().provider);
            let shown = challenge::show(&provider, shown, accepted, tcp);
            return Err(Box::pin(shown).await);
        }
        let mut newer = None;
        if let Some(demand) = &self.demand
            && let Some(name) = name.as_deref()
            && is_unnamed(sites, sites.find(Some(name)), Some(name))
        {
            // Boxed: seldom, and not to make every handshake's future larger.
            newer = Box::pin(demand.hold(name, current)).await;
        }
        let sites = newer.as_deref().unwrap_or(sites);
        let site = sites.find(name.as_deref());
        if self.refuses(sites, site, name.as_deref()) {
            send_last(&mut tcp, UNRECOGNIZED_NAME).await;
            return Err(HandshakeError::UnknownName);
        }
        let stream = |streams: &model::HostTable<Stream>| {
            streams.find(name.as_deref().unwrap_or_default()).cloned()
        };
        let (certificates, clients, stream) = match site.map(|site| &**site) {
            Some(TlsSite::Https(site)) => (&site.certificates, &site.clients, None),
            Some(TlsSite::Tcp(site)) if let Some(stream) = stream(&site.streams) => {
                (&site.certificates, &site.clients, Some(stream))
            }
            // Who passes on has read no such name.
            Some(TlsSite::Passthrough(_)) => return Err(HandshakeError::UnknownName),
            _ => {
                send_last(&mut tcp, UNRECOGNIZED_NAME).await;
                return Err(HandshakeError::UnknownName);
            }
        };
        let asked = match site.map(|site| &**site) {
            Some(TlsSite::Https(https)) if https.site.asks_clients => {
                let host = https.site.host(name.as_deref().unwrap_or_default());
                let clients = host.clients.as_ref();
                clients.filter(|clients| clients.demand != model::clients::Demand::Unasked)
            }
            _ => None,
        };
        let terms = Terms {
            clients: clients.as_ref(),
            asked,
            http: stream.is_none(),
        };
        let accepted = self
            .handshake(accepted, tcp, certificates, name, terms)
            .await?;
        Ok(match stream {
            None => Secured::Https(accepted),
            Some(stream) => Secured::Stream(accepted, stream),
        })
    }

    /// Whether a handshake is refused for its name.
    fn refuses(&self, sites: &TlsSites, site: Option<&Arc<TlsSite>>, name: Option<&str>) -> bool {
        let context = self.context.borrow();
        (context.strict_sni && is_unnamed(sites, site, name))
            || (context.known_hosts_only && is_unclaimed(sites, site, name))
    }

    async fn handshake(
        &self,
        accepted: rustls::server::Accepted,
        tcp: TcpStream,
        table: &CertificateTable,
        server_name: Option<Box<str>>,
        terms: Terms<'_>,
    ) -> Result<Accepted, HandshakeError> {
        let certificates = Arc::clone(table.find(server_name.as_deref()));
        if let Some(used) = &certificates.used
            // Read first: the line is shared by all workers.
            && !used.load(Ordering::Relaxed)
        {
            used.store(true, Ordering::Relaxed);
        }
        let (config, judge) = self.config(&certificates, &terms);
        let stream = StartHandshake::from_parts(accepted, tcp)
            .into_stream(config)
            .await?;
        let session = stream.get_ref().1;
        Ok(Accepted {
            alpn_h2: session.alpn_protocol() == Some(b"h2"),
            tls: Tls {
                version: match session.protocol_version() {
                    Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                    _ => "TLSv1.3",
                },
                suite: session.negotiated_cipher_suite().map(|suite| suite.suite()),
                certificates,
                server_name,
                presented: judge.map(|judge| Arc::new(judge.judge(session.peer_certificates()))),
            },
            stream,
        })
    }

    fn config(
        &self,
        set: &Arc<CertificateSet>,
        terms: &Terms<'_>,
    ) -> (Arc<ServerConfig>, Option<Arc<Judge>>) {
        let mut configs = self.configs.borrow_mut();
        let clients = terms
            .clients
            .map(|clients| Arc::as_ptr(clients).addr())
            .or_else(|| Some(Arc::as_ptr(terms.asked?).addr()))
            .unwrap_or_default();
        let key = (Arc::as_ptr(set).addr(), clients, terms.http);
        if let Some(known) = configs.get(&key) {
            return (Arc::clone(&known.config), known.judge.clone());
        }
        if configs.len() >= MAX_CONFIGS {
            configs.retain(|_, known| known.set.strong_count() > 0);
            if configs.len() >= MAX_CONFIGS {
                configs.clear();
            }
        }
        let config = self.context().config(set, terms);
        let judge = terms.asked.map(|policy| Arc::new(Judge::new(policy)));
        let kept = Configured {
            set: Arc::downgrade(set),
            _clients: terms.clients.cloned(),
            judge: judge.clone(),
            config: Arc::clone(&config),
        };
        configs.insert(key, kept);
        (config, judge)
    }
}

/// Where a connection is passed on to as it is. None where TLS ends here, or is refused by who ends
/// it.
async fn passed_on(
    opening: &mut Opening,
    tcp: &TcpStream,
    sites: &TlsSites,
) -> Result<Option<Arc<Stream>>, HandshakeError> {
    let hello = match opening.read(tcp).await {
        Ok(hello) => hello,
        // rustls finds out for itself, and tells the client.
        Err(_) if sites.end_here() => return Ok(None),
        Err(error) => return Err(error),
    };
    let name = hello.server_name.as_deref();
    if let Some(stream) = sites.passed_on(name) {
        return Ok(Some(Arc::clone(stream)));
    }
    match sites.find(name).map(|site| &**site) {
        Some(TlsSite::Passthrough(streams)) => {
            let stream = streams.find(name.unwrap_or_default());
            let stream = stream.ok_or(HandshakeError::UnknownName)?;
            Ok(Some(Arc::clone(stream)))
        }
        // Nobody here speaks TLS, not even to refuse.
        None if !sites.end_here() => Err(HandshakeError::UnknownName),
        _ => Ok(None),
    }
}

/// Whether a name is Ingress's to answer, and none of its certificates is for it, not even the
/// default one.
fn is_unnamed(sites: &TlsSites, site: Option<&Arc<TlsSite>>, name: Option<&str>) -> bool {
    let (Some(ingress), Some(site)) = (&sites.ingress, site) else {
        return false;
    };
    let TlsSite::Https(https) = &**site else {
        return false;
    };
    if !Arc::ptr_eq(ingress, site) {
        return false;
    }
    let covered = |name: &str| {
        let table = &https.certificates;
        table.hosts.find(name).is_some() || is_for(&table.default, name)
    };
    !name.is_some_and(covered)
}

/// Whether a name is Ingress's to answer, and none of its hosts.
fn is_unclaimed(sites: &TlsSites, site: Option<&Arc<TlsSite>>, name: Option<&str>) -> bool {
    let (Some(ingress), Some(site)) = (&sites.ingress, site) else {
        return false;
    };
    let TlsSite::Https(https) = &**site else {
        return false;
    };
    Arc::ptr_eq(ingress, site) && name.is_none_or(|name| https.site.hosts.find(name).is_none())
}

/// Whether clients take any certificate of a set for a name.
fn is_for(set: &CertificateSet, name: &str) -> bool {
    let Ok(name) = ServerName::try_from(name) else {
        return false;
    };
    let leaves = set
        .certificates
        .iter()
        .filter_map(|one| one.key.cert.first());
    let mut parsed = leaves.filter_map(|leaf| ParsedCertificate::try_from(leaf).ok());
    parsed.any(|leaf| verify_server_name(&leaf, &name).is_ok())
}

/// rustls has validated the name, put it into lower case and left out addresses.
fn server_name(hello: &ClientHello<'_>) -> Option<Box<str>> {
    let name = hello.server_name()?;
    Some(name.strip_suffix('.').unwrap_or(name).into())
}

/// Chooses among one set's certificates. `Weak`, so that a cached configuration does not keep
/// private keys in memory that no snapshot has any more; [`Acceptor::accept`] holds the set.
#[derive(Debug)]
struct OneSet(Weak<CertificateSet>);

impl ResolvesServerCert for OneSet {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let set = self.0.upgrade()?;
        // With one that the client cannot use, rustls finds so and sends `handshake_failure`;
        // without any it would send `access_denied`, which is not what went wrong.
        let certificate = set
            .choose(hello.signature_schemes())
            .or_else(|| set.certificates.first())?;
        Some(certificate.shown())
    }
}

#[cfg(test)]
mod tests;
