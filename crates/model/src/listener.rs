//! What is served on a port.

use std::net::IpAddr;
use std::sync::Arc;

use crate::certificate::CertificateTable;
use crate::clients::ClientAuth;
use crate::condition::RequestView;
use crate::host::{HostTable, Rank};
use crate::path::NormalPath;
use crate::route::Rule;
use crate::snapshot::VirtualHost;
use crate::stream::Stream;

/// Where clients come in: what one listening socket of each worker is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entrance {
    /// The port as configured; what is bound may differ (a privileged port + 8000).
    pub port: u16,
    /// None is every address that the process listens on (`--bind-address`).
    pub address: Option<IpAddr>,
    /// TCP or UDP.
    pub layer: Layer,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Entrance {
    /// A TCP port of every address that the process listens on.
    pub fn tcp(port: u16) -> Self {
        Self {
            port,
            address: None,
            layer: Layer::Tcp,
        }
    }
}

/// One port and what is served there.
#[derive(Debug)]
pub struct Listener {
    /// Where it listens.
    pub entrance: Entrance,
    /// The port as clients know it: that of the Service before it, or its own.
    pub public_port: u16,
    /// What is served.
    pub service: Service,
}

/// What is served on a port.
#[derive(Debug)]
pub enum Service {
    /// HTTP without TLS.
    Http(Arc<HttpSites>),
    /// TLS, by the server name that clients ask for.
    Tls(Arc<TlsSites>),
    /// TCP connections.
    Tcp(Arc<Stream>),
    /// UDP datagrams.
    Udp(Arc<Stream>),
}

impl Service {
    /// As people call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Tls(_) => "https",
            Self::Tcp(_) => "tcp",
            Self::Udp(_) => "udp",
        }
    }

    /// What Ingress serves here.
    pub fn ingress(&self) -> Option<&Arc<Site>> {
        match self {
            Self::Http(sites) => sites.ingress.as_ref(),
            Self::Tls(sites) => match &**sites.ingress.as_ref()? {
                TlsSite::Https(site) => Some(&site.site),
                TlsSite::Tcp(_) | TlsSite::Passthrough(_) => None,
            },
            Self::Tcp(_) | Self::Udp(_) => None,
        }
    }
}

/// Hosts that are served together: one listener of a Gateway, or all of Ingress.
#[derive(Debug)]
pub struct Site {
    /// As `namespace/gateway/listener`, for people; of a ListenerSet's listener
    /// `namespace/gateway/namespace/set/listener`; empty for Ingress.
    pub name: Box<str>,
    /// Virtual hosts.
    pub hosts: Arc<HostTable<VirtualHost>>,
    /// Answers what no host claims.
    pub default: Arc<VirtualHost>,
    /// Answers what neither a host nor `default` does.
    pub nobody: Arc<Rule>,
    /// Whether any host asks clients who they are.
    pub asks_clients: bool,
}

/// What a request got.
#[derive(Debug)]
pub struct Selection<'a> {
    /// The host that was selected.
    pub host: &'a Arc<VirtualHost>,
    /// The rule that answers.
    pub rule: &'a Arc<Rule>,
    /// The path to send upstream: one that every reader reads as this rule's.
    pub path: &'a [u8],
}

/// A path that two readers would read as two rules' paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AmbiguousPath;

impl Site {
    /// The virtual host that is closest to a request's host.
    pub fn host(&self, host: &str) -> &Arc<VirtualHost> {
        self.hosts.find(host).unwrap_or(&self.default)
    }

    /// The rule that answers a request, and the path that goes upstream.
    ///
    /// # Errors
    /// [`AmbiguousPath`] if an encoded slash, read as a slash, would select another rule.
    #[inline(never)] // The instruction counts name it.
    pub fn select<'a>(
        &'a self,
        host: &str,
        path: &'a NormalPath<'_>,
        request: &impl RequestView,
    ) -> Result<Selection<'a>, AmbiguousPath> {
        let closest = self.host(host);
        let find = |path: &[u8]| self.answer(closest, host, path, request);
        let (owner, rule) = find(path.routed());
        if let Some(slashed) = path.slashed()
            && !Arc::ptr_eq(rule, find(slashed).1)
        {
            return Err(AmbiguousPath);
        }
        // Empty elements go upstream as they came where that changes nothing.
        let kept = path.kept();
        let path = if std::ptr::eq(kept, path.routed()) || Arc::ptr_eq(rule, find(kept).1) {
            kept
        } else {
            path.routed()
        };
        Ok(Selection {
            host: owner,
            rule,
            path,
        })
    }

    #[inline]
    fn answer<'a>(
        &'a self,
        closest: &'a Arc<VirtualHost>,
        host: &str,
        path: &[u8],
        request: &impl RequestView,
    ) -> (&'a Arc<VirtualHost>, &'a Arc<Rule>) {
        let ask = |host: &'a Arc<VirtualHost>| {
            let rule = host.rule(path, request).or(host.default.as_ref());
            rule.map(|rule| (host, rule))
        };
        // Nearly always the first one that is asked answers.
        ask(closest)
            .or_else(|| self.hosts.find_map(host, ask))
            .or_else(|| ask(&self.default))
            .unwrap_or((closest, &self.nobody))
    }
}

/// The sites of a port without TLS. A request is the business of one of them alone: that of the
/// listener with the closest host name (Gateway API, listener isolation).
#[derive(Debug, Default)]
pub struct HttpSites {
    /// Gateways' listeners by their host name.
    pub gateways: HostTable<Site>,
    /// All of Ingress, where it is served on this port.
    pub ingress: Option<Arc<Site>>,
}

impl HttpSites {
    /// The site for a request's host: of Gateways and Ingress the one that has the closer host, and
    /// where both have the same, the Gateway's.
    pub fn find(&self, host: &str) -> Option<&Arc<Site>> {
        let Some(ingress) = &self.ingress else {
            return self.gateways.find(host);
        };
        if self.gateways.is_empty() {
            return Some(ingress);
        }
        let gateway = self.gateways.find(host);
        let rank = gateway.and_then(|site| site.hosts.rank(host));
        closer(gateway, rank, ingress, ingress.hosts.rank(host))
    }
}

/// The sites of a port with TLS.
#[derive(Debug, Default)]
pub struct TlsSites {
    /// Gateways' listeners by their host name.
    pub gateways: HostTable<TlsSite>,
    /// All of Ingress, where it is served on this port.
    pub ingress: Option<Arc<TlsSite>>,
    /// Of Ingress's hosts, those whose TLS goes on to a backend as it is.
    pub sealed: HostTable<Stream>,
}

/// What becomes of connections for one listener of a Gateway, or for Ingress.
#[derive(Debug)]
pub enum TlsSite {
    /// TLS ends here, and HTTP is inside.
    Https(HttpsSite),
    /// TLS ends here, and what is inside is passed on as it is.
    Tcp(TlsStreams),
    /// TLS goes on to the backend as it is, by the server name in its first message.
    Passthrough(HostTable<Stream>),
}

/// HTTP inside TLS.
#[derive(Debug)]
pub struct HttpsSite {
    /// What answers.
    pub site: Arc<Site>,
    /// What is shown to clients.
    pub certificates: Arc<CertificateTable>,
    /// What clients have to show.
    pub clients: Option<Arc<ClientAuth>>,
}

/// Something else inside TLS.
#[derive(Debug)]
pub struct TlsStreams {
    /// Where connections go, by the server name.
    pub streams: HostTable<Stream>,
    /// What is shown to clients.
    pub certificates: Arc<CertificateTable>,
    /// What clients have to show.
    pub clients: Option<Arc<ClientAuth>>,
}

impl TlsSites {
    /// Whether TLS ends here for any name: else nobody here speaks it, not even to refuse.
    pub fn end_here(&self) -> bool {
        let ends = |site: &Arc<TlsSite>| !matches!(**site, TlsSite::Passthrough(_));
        self.ingress.is_some() || self.gateways.values().any(ends)
    }

    /// Where connections for a name go on as they are, if the name is Ingress's, and closer to one
    /// of `sealed` than to a host whose TLS ends here.
    pub fn passed_on(&self, server_name: Option<&str>) -> Option<&Arc<Stream>> {
        let (name, ingress) = (server_name?, self.ingress.as_ref()?);
        let rank = self.sealed.rank(name)?;
        let ends_closer = match &**ingress {
            TlsSite::Https(site) => site.site.hosts.rank(name) > Some(rank),
            TlsSite::Tcp(_) | TlsSite::Passthrough(_) => false,
        };
        let is_ingress = || {
            let site = self.find(server_name);
            site.is_some_and(|site| Arc::ptr_eq(site, ingress))
        };
        (!ends_closer && is_ingress()).then(|| self.sealed.find(name))?
    }

    /// The site for the server name that a client asked for, if it did.
    pub fn find(&self, server_name: Option<&str>) -> Option<&Arc<TlsSite>> {
        let name = server_name.unwrap_or_default();
        let Some(ingress) = &self.ingress else {
            return self.gateways.find(name);
        };
        if self.gateways.is_empty() {
            return Some(ingress);
        }
        let ingress_rank = match &**ingress {
            TlsSite::Https(site) => site.site.hosts.rank(name),
            TlsSite::Tcp(_) | TlsSite::Passthrough(_) => None,
        };
        let gateway = self.gateways.find(name);
        let rank = gateway.and_then(|site| match &**site {
            TlsSite::Https(site) => site.site.hosts.rank(name),
            TlsSite::Tcp(site) => site.streams.rank(name),
            TlsSite::Passthrough(streams) => streams.rank(name),
        });
        closer(gateway, rank, ingress, ingress_rank)
    }
}

fn closer<'a, T>(
    gateway: Option<&'a Arc<T>>,
    gateway_rank: Option<Rank>,
    ingress: &'a Arc<T>,
    ingress_rank: Option<Rank>,
) -> Option<&'a Arc<T>> {
    match gateway {
        Some(gateway) if gateway_rank >= ingress_rank => Some(gateway),
        _ => Some(ingress),
    }
}
