//! One listener, of a Gateway or of a ListenerSet, with what it refers to.

use std::sync::Arc;

use model::{CertificateSet, CertificateTable, ClientAuth, HostTable, Layer};
use objects::kinds::gateway::GROUP;
use objects::kinds::gateway::{self as api, FromNamespaces, ListenerTls, TlsMode};
use objects::kinds::{Kind, ObjectKey};

use super::attach::ListenerKey;
use super::grants::To;
use super::namespaces::Namespaces;
use super::references::{Reference, object};
use super::topology::Look;
use crate::certificates::{BadSecret, Loaded};
use crate::name::NameRef;
use crate::status::Wrong;

/// A listener that routes can attach to.
#[derive(Debug)]
pub(super) struct Listener {
    /// The Gateway or ListenerSet that it stands in.
    pub(super) owner: ObjectKey,
    pub(super) name: Box<str>,
    /// As a [`HostTable`](model::HostTable) spells it; empty is all hosts.
    pub(super) hostname: Box<str>,
    pub(super) port: u16,
    /// None if its protocol is not known.
    pub(super) mode: Option<Mode>,
    /// The kinds of routes that it takes.
    pub(super) kinds: Vec<Kind>,
    /// Whose routes it takes.
    pub(super) from: Namespaces,
    pub(super) certificates: Vec<Arc<Loaded>>,
    /// Them by name.
    pub(super) table: Option<Arc<CertificateTable>>,
    pub(super) clients: Option<Arc<ClientAuth>>,
    /// Why it is not accepted.
    pub(super) refused: Option<Wrong>,
    /// What it refers to that is not there.
    pub(super) unresolved: Option<Wrong>,
    /// Why it is in another one's way.
    pub(super) conflict: Option<Wrong>,
}

/// What is spoken on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Http,
    Https,
    /// TLS that ends here, with something else inside than HTTP.
    TlsTerminate,
    TlsPassthrough,
    Tcp,
    Udp,
}

impl Mode {
    pub(super) fn layer(self) -> Layer {
        match self {
            Self::Udp => Layer::Udp,
            _ => Layer::Tcp,
        }
    }

    /// Whether listeners of both modes can share a port, told apart by their host names.
    pub(super) fn shares_port(self, other: Self) -> bool {
        let is_tls = |mode| {
            matches!(
                mode,
                Self::Https | Self::TlsTerminate | Self::TlsPassthrough
            )
        };
        match (self, other) {
            (Self::Http, Self::Http) => true,
            (one, other) => is_tls(one) && is_tls(other),
        }
    }

    fn of(protocol: &str, tls: Option<&ListenerTls>) -> Option<Self> {
        let mode = tls.map(ListenerTls::mode);
        Some(match (protocol, mode) {
            ("HTTP", _) => Self::Http,
            ("HTTPS", _) => Self::Https,
            ("TLS", Some(TlsMode::Passthrough)) => Self::TlsPassthrough,
            ("TLS", _) => Self::TlsTerminate,
            ("TCP", _) => Self::Tcp,
            ("UDP", _) => Self::Udp,
            _ => return None,
        })
    }

    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Http | Self::Https => &[Kind::HttpRoute, Kind::GrpcRoute],
            Self::TlsTerminate | Self::TlsPassthrough => &[Kind::TlsRoute],
            Self::Tcp => &[Kind::TcpRoute],
            Self::Udp => &[Kind::UdpRoute],
        }
    }

    fn ends_tls(self) -> bool {
        matches!(self, Self::Https | Self::TlsTerminate)
    }
}

impl Listener {
    /// Whether it is the one of this name and owner.
    pub(super) fn is(&self, key: &ListenerKey) -> bool {
        self.name == key.name && self.owner == key.owner
    }

    /// Reads one. What is before its name in messages is `place`.
    pub(super) fn read(
        owner: &ObjectKey,
        place: &str,
        source: &api::Listener,
        clients: Option<&Clients>,
        look: &mut Look<'_, '_>,
    ) -> Self {
        let tls = source.tls.as_deref();
        let mode = Mode::of(&source.protocol, tls);
        let allowed = source.allowed_routes.as_deref();
        let from = allowed.and_then(|allowed| allowed.namespaces.as_ref());
        let mut listener = Self {
            owner: owner.clone(),
            name: (*source.name).into(),
            hostname: host_key(source.hostname.as_deref().unwrap_or_default()),
            port: source.port,
            mode,
            kinds: Vec::new(),
            from: Namespaces::read(from, FromNamespaces::Same),
            certificates: Vec::new(),
            table: None,
            clients: None,
            refused: None,
            unresolved: None,
            conflict: None,
        };
        let Some(mode) = mode else {
            listener.refused = Some(Wrong::new(
                "UnsupportedProtocol",
                format!("{place}.protocol"),
                format!("the protocol {:?} is not supported", &*source.protocol),
                "HTTP, HTTPS, TLS, TCP or UDP",
            ));
            return listener;
        };
        listener.read_kinds(place, mode, source);
        if mode.ends_tls() {
            listener.read_certificates(place, tls, look);
            listener.table = table(&listener.certificates);
            if let Some(clients) = clients {
                listener.clients = clients.found.clone();
                if clients.wrong.is_some() {
                    listener.unresolved.clone_from(&clients.wrong);
                }
                if clients.found.is_none() {
                    listener.refused = Some(Wrong::new(
                        "NoValidCACertificate",
                        "spec.tls.frontend",
                        "there is no valid certificate of an authority to verify clients with",
                        "a ConfigMap with ca.crt",
                    ));
                }
            }
        }
        listener
    }

    /// Whether it serves anything.
    pub(super) fn serves(&self) -> bool {
        self.refused.is_none() && self.conflict.is_none() && self.mode.is_some()
    }

    /// Whether what it serves works as it should.
    pub(super) fn programmed(&self) -> Option<&Wrong> {
        let needs = self.mode.is_some_and(Mode::ends_tls);
        self.refused
            .as_ref()
            .or(self.conflict.as_ref())
            .or_else(|| {
                let broken = needs && self.certificates.is_empty();
                self.unresolved.as_ref().filter(|_| broken)
            })
    }

    fn read_kinds(&mut self, place: &str, mode: Mode, source: &api::Listener) {
        let allowed = source.allowed_routes.as_deref();
        let wanted = allowed.and_then(|allowed| allowed.kinds.as_deref());
        let wanted = wanted.unwrap_or_default();
        if wanted.is_empty() {
            self.kinds = mode.kinds().to_vec();
            return;
        }
        for (index, one) in wanted.iter().enumerate() {
            let group = one.group();
            let kind = Kind::from_name(&one.kind)
                .filter(|kind| group == GROUP && mode.kinds().contains(kind));
            match kind {
                Some(kind) if !self.kinds.contains(&kind) => self.kinds.push(kind),
                Some(_) => {}
                None => {
                    self.unresolved = Some(Wrong::new(
                        "InvalidRouteKinds",
                        format!("{place}.allowedRoutes.kinds[{index}]"),
                        format!(
                            "a listener of protocol {} takes no {} of group {group:?}",
                            &*source.protocol, &*one.kind
                        ),
                        "HTTPRoute or GRPCRoute for HTTP and HTTPS, TLSRoute for TLS, TCPRoute for \
                         TCP, UDPRoute for UDP",
                    ));
                }
            }
        }
    }

    fn read_certificates(
        &mut self,
        place: &str,
        tls: Option<&ListenerTls>,
        look: &mut Look<'_, '_>,
    ) {
        let references = tls.and_then(|tls| tls.certificate_refs.as_deref());
        let references = references.unwrap_or_default();
        if references.is_empty() {
            self.unresolved = Some(Wrong::new(
                "InvalidCertificateRef",
                format!("{place}.tls.certificateRefs"),
                "there is no certificate",
                "the name of a Secret of type kubernetes.io/tls",
            ));
        }
        for (index, reference) in references.iter().enumerate() {
            let field = format!("{place}.tls.certificateRefs[{index}]");
            let reference = Reference::of(reference, "Secret");
            match certificate(&self.owner, &field, reference, look) {
                Ok(loaded) => self.certificates.push(loaded),
                Err(wrong) => self.unresolved = Some(wrong),
            }
        }
    }
}

/// Certificates by the names that they are for. The first one is shown where none is for a name.
fn table(certificates: &[Arc<Loaded>]) -> Option<Arc<CertificateTable>> {
    let set = |all: Vec<&Arc<Loaded>>| {
        // Whoever can verify either gets the one that costs less.
        let mut all = all;
        all.sort_by_key(|loaded| loaded.algorithm != rustls::SignatureAlgorithm::ECDSA);
        let certificates = all
            .into_iter()
            .map(|loaded| Arc::clone(&loaded.certificate));
        Arc::new(CertificateSet {
            certificates: certificates.collect(),
            used: None,
            suites: None,
        })
    };
    let first = certificates.first()?;
    let mut hosts = HostTable::default();
    if certificates.len() > 1 {
        let names = certificates.iter().flat_map(|loaded| &loaded.names);
        for name in names {
            let named = certificates.iter().filter(|one| one.names.contains(name));
            hosts.insert(&**name, set(named.collect()));
        }
    }
    let same = |one: &&Arc<Loaded>| one.names == first.names;
    let default = set(certificates.iter().filter(same).collect());
    Some(Arc::new(CertificateTable { hosts, default }))
}

/// A certificate with its key, in a Secret that `owner` refers to.
pub(super) fn certificate(
    owner: &ObjectKey,
    field: &str,
    reference: Reference<'_>,
    look: &mut Look<'_, '_>,
) -> Result<Arc<Loaded>, Wrong> {
    const INVALID: &str = "InvalidCertificateRef";
    let namespace = reference.namespace.unwrap_or(&owner.namespace);
    if (reference.group, reference.kind) != ("", "Secret") {
        return Err(Wrong::new(
            INVALID,
            field,
            format!(
                "a {} of group {:?} is no certificate",
                reference.kind, reference.group
            ),
            "a Secret, which is of the group \"\"",
        ));
    }
    let to = To {
        kind: Kind::Secret,
        namespace,
        name: reference.name,
    };
    look.grants.check(field, owner, to)?;
    look.refer(object(Kind::Secret, namespace, reference.name));
    let name = NameRef {
        namespace,
        name: reference.name,
    };
    let world = &mut *look.world;
    let loaded = world.certificates.load(name, world.store, world.now);
    loaded.map_err(|bad| match bad {
        BadSecret::Missing if let Some(issuer) = look.asks(owner) => Wrong::new(
            INVALID,
            field,
            look.world.certificates.expected(name, &issuer),
            "a moment's patience; see `narthex certs list`",
        ),
        bad => Wrong::new(INVALID, field, bad.message(name), bad.hint()),
    })
}

/// Who may have issued clients' certificates, as a Gateway says for one of its ports.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    pub(super) found: Option<Arc<ClientAuth>>,
    pub(super) wrong: Option<Wrong>,
}

/// A host name as a [`HostTable`](model::HostTable) spells it: `.x` for `*.x`.
pub(super) fn host_key(host: &str) -> Box<str> {
    let host = host.to_ascii_lowercase();
    match host.strip_prefix('*') {
        Some("") => "".into(),
        Some(suffix) => suffix.into(),
        None => host.into(),
    }
}
