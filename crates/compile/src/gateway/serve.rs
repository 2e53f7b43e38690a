//! Ports: which of them are listened on for which Gateway, and what is served there.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use model::{
    Entrance, HostTable, HttpSites, HttpsSite, Layer, Listener as Served, Rule, Service,
    Site as ServedSite, Stream, TlsSite, TlsSites, TlsStreams, VirtualHost,
};

use objects::kinds::{Kind, ObjectKey};

use super::attach::ListenerKey;
use super::listener::{Listener, Mode};
use super::plan;
use super::ports::{Wanted, assign};
use super::sites::Sites;
use super::topology::{Gateway, Topology};
use crate::ingress::resolve::World;
use crate::name::{Name, NameRef};
use crate::options::{GatewayPorts, Options};
use crate::status::Wrong;

/// Every port of every Gateway.
#[derive(Debug, Default)]
pub(super) struct Ports {
    listeners: BTreeMap<Entrance, Arc<Served>>,
    /// What each is made of.
    makings: BTreeMap<Entrance, Making>,
    /// Where each listener of a Gateway is served.
    entrances: HashMap<ListenerKey, Vec<Entrance>>,
    /// The Services that say which ports of ours are whose.
    services: HashSet<Name>,
    /// In a cluster, the port of ours for each port of a Gateway.
    pub(super) assigned: BTreeMap<Wanted, u16>,
    /// What could not be opened when it was last tried, and why.
    unbound: BTreeMap<Entrance, Box<str>>,
}

/// What a port is made of: some listeners of one Gateway, all of one port of it.
#[derive(Debug)]
struct Making {
    gateway: usize,
    port: u16,
    listeners: Vec<usize>,
}

impl Ports {
    pub(super) fn listeners(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.listeners.values()
    }

    /// Whether a Service says which ports of ours are whose.
    pub(super) fn records(&self, service: NameRef<'_>) -> bool {
        self.services.contains(&service)
    }

    /// Takes note of what could not be opened. Whether that is news.
    pub(super) fn set_unbound(&mut self, unbound: &[(Entrance, String)]) -> bool {
        let unbound = unbound
            .iter()
            .map(|(entrance, why)| (*entrance, why.as_str().into()));
        let unbound: BTreeMap<_, _> = unbound.collect();
        let changed = unbound != self.unbound;
        self.unbound = unbound;
        changed
    }

    /// Why a listener is not served, or not everywhere, though it could be: its port cannot be
    /// opened at present.
    pub(super) fn unbound(&self, listener: &Listener) -> Option<&str> {
        if self.unbound.is_empty() {
            return None;
        }
        let entrances = self.entrances.get(&key(listener))?;
        let found = entrances
            .iter()
            .find_map(|entrance| self.unbound.get(entrance));
        found.map(|why| &**why)
    }

    /// Takes over what there is now: of some listeners, or of all. Whether anything changed.
    pub(super) fn update(
        &mut self,
        topology: &mut Topology,
        sites: &Sites,
        world: &World<'_>,
        nobody: &Arc<Rule>,
        only: Option<&[ListenerKey]>,
    ) -> bool {
        let Some(only) = only else {
            self.plan(topology, world);
            let was = std::mem::take(&mut self.listeners);
            for (entrance, making) in &self.makings {
                let made = make(*entrance, making, topology, sites, nobody);
                self.listeners.insert(*entrance, Arc::new(made));
            }
            return !(was.is_empty() && self.listeners.is_empty());
        };
        let mut entrances: Vec<_> = only
            .iter()
            .filter_map(|listener| self.entrances.get(listener))
            .flatten()
            .copied()
            .collect();
        entrances.sort_unstable();
        entrances.dedup();
        for entrance in &entrances {
            if let Some(making) = self.makings.get(entrance) {
                let made = make(*entrance, making, topology, sites, nobody);
                self.listeners.insert(*entrance, Arc::new(made));
            }
        }
        !entrances.is_empty()
    }

    /// Decides what is listened on.
    fn plan(&mut self, topology: &mut Topology, world: &World<'_>) {
        self.makings.clear();
        self.entrances.clear();
        match &world.options.gateway_ports {
            GatewayPorts::Range(range) => {
                let wanted = wanted(topology);
                let (recorded, services) = plan::recorded(topology, &wanted, world.store);
                self.services = services;
                self.assigned = assign(&wanted, &recorded, range);
            }
            GatewayPorts::Own(_) => {}
        }
        for index in 0..topology.gateways.len() {
            let gateway = &topology.gateways[index];
            if gateway.refused.is_some() {
                continue;
            }
            let mut refused: Vec<(usize, String)> = Vec::new();
            for (port, layer, listeners) in groups(gateway) {
                match self.entrances_of(gateway, port, layer, &listeners, world.options) {
                    Ok(entrances) => {
                        for entrance in entrances {
                            self.take(entrance, index, port, &listeners, gateway);
                        }
                    }
                    Err(why) => {
                        refused.extend(listeners.iter().map(|&listener| (listener, why.clone())));
                    }
                }
            }
            let gateway = &mut topology.gateways[index];
            for (listener, why) in refused {
                let hint = "another port";
                gateway.listeners[listener].refused =
                    Some(Wrong::new("PortUnavailable", "", why, hint));
            }
            let bound = self
                .makings
                .iter()
                .filter(|(_, making)| making.gateway == index);
            let addresses = bound.filter_map(|(entrance, _)| entrance.address);
            let mut addresses: Vec<Box<str>> = addresses
                .map(|address| address.to_string().into())
                .collect();
            addresses.sort_unstable();
            addresses.dedup();
            gateway.addresses = addresses.into();
        }
    }

    fn take(
        &mut self,
        entrance: Entrance,
        index: usize,
        port: u16,
        listeners: &[usize],
        gateway: &Gateway,
    ) {
        let making = Making {
            gateway: index,
            port,
            listeners: listeners.to_vec(),
        };
        self.makings.insert(entrance, making);
        for &listener in listeners {
            let key = key(&gateway.listeners[listener]);
            self.entrances.entry(key).or_default().push(entrance);
        }
    }

    /// Where a port of a Gateway is served.
    fn entrances_of(
        &self,
        gateway: &Gateway,
        port: u16,
        layer: Layer,
        listeners: &[usize],
        options: &Options,
    ) -> Result<Vec<Entrance>, String> {
        let addresses = match &options.gateway_ports {
            GatewayPorts::Range(_) => {
                let wanted = Wanted {
                    gateway: gateway.name.clone(),
                    port,
                    layer,
                };
                let Some(&port) = self.assigned.get(&wanted) else {
                    return Err("no port of --gateway-port-range is left".to_owned());
                };
                let address = None;
                return Ok(vec![Entrance {
                    port,
                    address,
                    layer,
                }]);
            }
            GatewayPorts::Own(addresses) => addresses,
        };
        let port = match port {
            port if port < options.lowest_port => port.saturating_add(UNPRIVILEGED_OFFSET),
            port => port,
        };
        let modes = listeners
            .iter()
            .filter_map(|&one| gateway.listeners[one].mode);
        let mut entrances = Vec::new();
        for address in own_addresses(gateway, addresses) {
            let entrance = Entrance {
                port,
                address,
                layer,
            };
            if self.makings.contains_key(&entrance) {
                continue;
            }
            if !fits_ingress(entrance, modes.clone(), options) {
                return Err(format!("Ingress serves something else on port {port}"));
            }
            entrances.push(entrance);
        }
        if entrances.is_empty() {
            return Err(format!(
                "another Gateway has port {port} on every address (--gateway-address)"
            ));
        }
        Ok(entrances)
    }
}

/// Added to a privileged port where those may not be bound.
const UNPRIVILEGED_OFFSET: u16 = 8000;

/// The addresses of a Gateway: those that it asks for, or all.
fn own_addresses(gateway: &Gateway, all: &[IpAddr]) -> Vec<Option<IpAddr>> {
    let asked = gateway.source.spec.addresses.iter().flatten();
    let asked = asked.filter_map(|address| address.value.parse::<IpAddr>().ok());
    let asked: Vec<_> = asked.map(Some).collect();
    match (asked.is_empty(), all.is_empty()) {
        (false, _) => asked,
        (true, true) => vec![None],
        (true, false) => all.iter().copied().map(Some).collect(),
    }
}

/// Whether a port is none of Ingress's, or speaks what Ingress speaks there.
fn fits_ingress(
    entrance: Entrance,
    mut modes: impl Iterator<Item = Mode>,
    options: &Options,
) -> bool {
    if entrance.layer != Layer::Tcp {
        return true;
    }
    if entrance.port == options.http_port {
        modes.all(|mode| mode == Mode::Http)
    } else if entrance.port == options.https_port {
        modes.all(|mode| mode.shares_port(Mode::Https))
    } else {
        true
    }
}

/// Every port that a Gateway wants, the older Gateways' first.
fn wanted(topology: &Topology) -> Vec<Wanted> {
    let gateways = topology.gateways.iter().filter(|one| one.refused.is_none());
    let wanted = gateways.flat_map(|gateway| {
        groups(gateway).into_iter().map(|(port, layer, _)| Wanted {
            gateway: gateway.name.clone(),
            port,
            layer,
        })
    });
    wanted.collect()
}

/// A Gateway's ports, and which of its listeners serve on each.
pub(super) fn groups(gateway: &Gateway) -> Vec<(u16, Layer, Vec<usize>)> {
    let mut groups: BTreeMap<(u16, Layer), Vec<usize>> = BTreeMap::new();
    for (index, listener) in gateway.listeners.iter().enumerate() {
        if let Some(mode) = listener.mode
            && listener.serves()
        {
            let group = groups.entry((listener.port, mode.layer())).or_default();
            group.push(index);
        }
    }
    let groups = groups.into_iter();
    groups
        .map(|((port, layer), all)| (port, layer, all))
        .collect()
}

fn key(listener: &Listener) -> ListenerKey {
    ListenerKey {
        owner: listener.owner.clone(),
        name: listener.name.clone(),
    }
}

/// What is served on a port.
fn make(
    entrance: Entrance,
    making: &Making,
    topology: &Topology,
    sites: &Sites,
    nobody: &Arc<Rule>,
) -> Served {
    let gateway = &topology.gateways[making.gateway];
    let listeners = making
        .listeners
        .iter()
        .map(|&index| &gateway.listeners[index]);
    let listeners: Vec<_> = listeners.collect();
    let mode = listeners.first().and_then(|listener| listener.mode);
    let service = match mode {
        Some(Mode::Http) => {
            let mut all = HostTable::default();
            for listener in listeners {
                let site = site(gateway, listener, sites, nobody);
                all.insert(&*listener.hostname, Arc::new(site));
            }
            Service::Http(Arc::new(HttpSites {
                gateways: all,
                ingress: None,
            }))
        }
        Some(Mode::Tcp | Mode::Udp) | None => {
            let listener = listeners.first();
            let site = listener.and_then(|listener| sites.get(&key(listener)));
            let stream = site.and_then(|site| site.streams.get(""));
            let stream = stream.map_or_else(nowhere, Arc::clone);
            match entrance.layer {
                Layer::Tcp => Service::Tcp(stream),
                Layer::Udp => Service::Udp(stream),
            }
        }
        Some(_) => {
            let mut all = HostTable::default();
            for listener in listeners {
                if let Some(site) = tls_site(gateway, listener, sites, nobody) {
                    all.insert(&*listener.hostname, Arc::new(site));
                }
            }
            Service::Tls(Arc::new(TlsSites {
                gateways: all,
                ..TlsSites::default()
            }))
        }
    };
    Served {
        entrance,
        public_port: making.port,
        service,
    }
}

fn site(gateway: &Gateway, listener: &Listener, sites: &Sites, nobody: &Arc<Rule>) -> ServedSite {
    let hosts = sites.get(&key(listener)).map(|site| site.hosts.clone());
    let default = VirtualHost::new("".into(), Vec::new(), None, 0);
    let name = match listener.owner.kind {
        Kind::ListenerSet => {
            let ObjectKey {
                namespace, name, ..
            } = &listener.owner;
            format!("{}/{namespace}/{name}/{}", gateway.name, listener.name)
        }
        _ => format!("{}/{}", gateway.name, listener.name),
    };
    ServedSite {
        name: name.into(),
        hosts: Arc::new(hosts.unwrap_or_default()),
        default: Arc::new(default),
        nobody: Arc::clone(nobody),
        asks_clients: false,
    }
}

/// None where there is no certificate to show.
fn tls_site(
    gateway: &Gateway,
    listener: &Listener,
    sites: &Sites,
    nobody: &Arc<Rule>,
) -> Option<TlsSite> {
    let site_of = || sites.get(&key(listener));
    Some(match listener.mode? {
        Mode::Https => TlsSite::Https(HttpsSite {
            site: Arc::new(site(gateway, listener, sites, nobody)),
            certificates: Arc::clone(listener.table.as_ref()?),
            clients: listener.clients.clone(),
        }),
        Mode::TlsTerminate => TlsSite::Tcp(TlsStreams {
            streams: site_of()
                .map(|site| site.streams.clone())
                .unwrap_or_default(),
            certificates: Arc::clone(listener.table.as_ref()?),
            clients: listener.clients.clone(),
        }),
        Mode::TlsPassthrough => {
            let sealed = site_of().map(|site| site.sealed.clone());
            TlsSite::Passthrough(sealed.unwrap_or_default())
        }
        Mode::Http | Mode::Tcp | Mode::Udp => return None,
    })
}

/// Where connections go that no route is for.
fn nowhere() -> Arc<Stream> {
    Arc::new(Stream {
        route: "".into(),
        field: "".into(),
        split: None,
        connect: std::time::Duration::ZERO,
        idle: std::time::Duration::ZERO,
        tries: None,
        within: std::time::Duration::ZERO,
        announced: false,
        announces: None,
    })
}
