//! Whose business a URL is: which port, which listener of which Gateway, or Ingress.

use std::sync::Arc;

use model::{CertificateTable, Layer, Listener, Service, Site, Snapshot, TlsSite};
use objects::kinds::Kind;
use serde::Serialize;
use x509_parser::time::ASN1Time;

use super::url::Url;

/// Which ports stand for 80 and 443, which a URL without port means.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) http: u16,
    pub(crate) https: u16,
}

/// Where a request comes in.
#[derive(Debug, Serialize)]
pub(super) struct ListenerFound {
    /// The port of ours.
    pub(super) port: u16,
    pub(super) protocol: &'static str,
    /// The port as clients know it, if that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) public_port: Option<u16>,
    /// `namespace/name` of the Gateway; none is Ingress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gateway: Option<String>,
    /// `namespace/name` of the ListenerSet, if the listener stands in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) listener_set: Option<String>,
    /// The listener's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct CertificateFound {
    pub(super) source: String,
    pub(super) not_after: String,
}

impl ListenerFound {
    pub(super) fn new(listener: &Listener) -> Self {
        let port = listener.entrance.port;
        Self {
            port,
            protocol: listener.service.name(),
            public_port: Some(listener.public_port).filter(|public| *public != port),
            gateway: None,
            listener_set: None,
            name: None,
        }
    }

    /// Says which Gateway's listener it is, if it is one's.
    pub(super) fn belongs_to(&mut self, site: &Site) {
        let parts: Vec<&str> = site.name.split('/').collect();
        let (gateway, set, name) = match *parts {
            [namespace, gateway, name] => ((namespace, gateway), None, name),
            [namespace, gateway, set_namespace, set, name] => {
                ((namespace, gateway), Some((set_namespace, set)), name)
            }
            _ => return,
        };
        let both = |(namespace, name)| format!("{namespace}/{name}");
        self.gateway = Some(both(gateway));
        self.listener_set = set.map(both);
        self.name = Some(name.to_owned());
    }
}

/// The port that a URL means. Of several Gateways that have it, each on an address or a port of
/// its own, it is the one with the closest host name.
pub(crate) fn find_listener<'a>(
    snapshot: &'a Snapshot,
    ports: Ports,
    url: &Url,
) -> Result<&'a Listener, String> {
    let port = match (url.port, url.tls) {
        (None | Some(80), false) => ports.http,
        (None | Some(443), true) => ports.https,
        (Some(port), _) => port,
    };
    let public = url.port.unwrap_or(if url.tls { 443 } else { 80 });
    let find = |is_it: &dyn Fn(&Listener) -> bool| {
        let listeners = snapshot.listeners.iter().map(|listener| &**listener);
        let found = listeners.filter(|it| it.entrance.layer == Layer::Tcp && is_it(it));
        // The first one of the closest.
        found.reduce(
            |best, other| match closeness(other, url) > closeness(best, url) {
                true => other,
                false => best,
            },
        )
    };
    // The number itself goes before what it stands for.
    let own = |listener: &Listener| url.port == Some(listener.entrance.port);
    let meant =
        |listener: &Listener| listener.entrance.port == port || listener.public_port == public;
    let Some(listener) = find(&own).or_else(|| find(&meant)) else {
        let known: Vec<String> = snapshot
            .listeners
            .iter()
            .map(|listener| format!("{} ({})", listener.entrance.port, listener.service.name()))
            .collect();
        return Err(format!(
            "nothing listens on port {port}, only on {}",
            known.join(", ")
        ));
    };
    let spoken = listener.service.name();
    let port = listener.entrance.port;
    match (&listener.service, url.tls) {
        (Service::Http(_), false) | (Service::Tls(_), true) => Ok(listener),
        (Service::Http(_) | Service::Tls(_), _) => {
            Err(format!("port {port} speaks {spoken}: ask for {spoken}://…"))
        }
        (Service::Tcp(route) | Service::Udp(route), _) if route.route.is_empty() => Err(format!(
            "port {port} speaks {spoken}, and no route is for it"
        )),
        (Service::Tcp(route) | Service::Udp(route), _) => Err(format!(
            "port {port} speaks {spoken}: all of it goes where {} {} says",
            match listener.entrance.layer {
                Layer::Tcp => Kind::TcpRoute,
                Layer::Udp => Kind::UdpRoute,
            },
            route.route
        )),
    }
}

/// How close a listener comes to a URL: whether it speaks what the URL does, is for its host at
/// all, names it, and is Ingress's, which such a URL has always meant.
fn closeness(listener: &Listener, url: &Url) -> (bool, usize, bool) {
    let host = url.host.as_str();
    let of_site = |site: &Site| match site.hosts.find_named(host) {
        Some(named) => 2 + named.name.len(),
        None => usize::from(site.hosts.any().is_some()),
    };
    let (is_spoken, close) = match &listener.service {
        Service::Http(sites) => (!url.tls, sites.find(host).map_or(0, |site| of_site(site))),
        Service::Tls(sites) => {
            let close = sites
                .find(server_name(host))
                .map_or(0, |site| match &**site {
                    TlsSite::Https(site) => of_site(&site.site),
                    TlsSite::Tcp(site) => usize::from(site.streams.find(host).is_some()),
                    TlsSite::Passthrough(streams) => usize::from(streams.find(host).is_some()),
                });
            (url.tls, close)
        }
        Service::Tcp(_) | Service::Udp(_) => (false, 0),
    };
    (is_spoken, close, listener.service.ingress().is_some())
}

/// Clients send no address as a server name (RFC 6066, section 3).
fn server_name(host: &str) -> Option<&str> {
    host.parse::<std::net::IpAddr>().is_err().then_some(host)
}

/// The listener of a Gateway, or Ingress, whose business a host is.
pub(super) fn find_site<'a>(
    listener: &'a Listener,
    url: &Url,
    shown: &mut Vec<CertificateFound>,
) -> Result<&'a Arc<Site>, (Option<u16>, String)> {
    let host = url.host.as_str();
    match &listener.service {
        Service::Http(sites) => sites
            .find(host)
            .ok_or_else(|| (Some(404), "404: no listener is for this host".to_owned())),
        Service::Tls(sites) if sites.passed_on(server_name(host)).is_some() => {
            let route = sites.passed_on(server_name(host));
            let route = route.map_or("", |route| &*route.route);
            let verdict =
                format!("the connection is passed on as it is, where Ingress {route} says");
            Err((None, verdict))
        }
        Service::Tls(sites) => match sites.find(server_name(host)).map(|site| &**site) {
            None => Err((
                None,
                "no listener is for this host: the handshake is refused".to_owned(),
            )),
            Some(TlsSite::Https(site)) => {
                *shown = certificates(&site.certificates, host);
                Ok(&site.site)
            }
            Some(TlsSite::Tcp(site)) => {
                *shown = certificates(&site.certificates, host);
                Err(passed_on(
                    site.streams.find(host).map(|route| &*route.route),
                ))
            }
            Some(TlsSite::Passthrough(streams)) => {
                Err(passed_on(streams.find(host).map(|route| &*route.route)))
            }
        },
        Service::Tcp(_) | Service::Udp(_) => Err(passed_on(None)),
    }
}

fn passed_on(route: Option<&str>) -> (Option<u16>, String) {
    let verdict = match route {
        Some(route) => format!("the connection is passed on as it is, where TLSRoute {route} says"),
        None => "no route is for this host: the handshake is refused".to_owned(),
    };
    (None, verdict)
}

fn certificates(table: &CertificateTable, host: &str) -> Vec<CertificateFound> {
    let set = table.find(server_name(host));
    let found = set.certificates.iter().map(|certificate| CertificateFound {
        source: certificate.source.to_string(),
        not_after: ASN1Time::from_timestamp(certificate.not_after)
            .ok()
            .and_then(|time| time.to_rfc2822().ok())
            .unwrap_or_default(),
    });
    found.collect()
}
