//! TCP and UDP ports of Services, as two ConfigMaps list them (ingress-nginx:
//! `--tcp-services-configmap`, `--udp-services-configmap`).
//!
//! A key is the port to listen on; a value is `namespace/service:port`, then perhaps `:PROXY` if
//! each connection begins with a PROXY protocol header, and once more if the endpoints expect one.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::policy::ProxyHeader;
use model::{Entrance, Layer, Listener, Service, Share, Split, Stream, Target};
use objects::Store;
use objects::kinds::{ConfigMap, Kind, ObjectKey};

use crate::config_map::Streams;
use crate::ingress::parse::PortRef;
use crate::ingress::sealed::spoken;
use crate::name::{Name, NameRef};
use crate::options::Options;
use crate::report::{ObjectReport, Problems};
use crate::seen::Changes;
use crate::service::Services;

/// The most ports of one ConfigMap.
const MOST: usize = 1000;

const HINT: &str =
    "namespace/service:port, with :PROXY for a PROXY protocol header in, and again for one out";

/// What both ConfigMaps list.
#[derive(Debug, Default)]
pub(crate) struct StreamServices {
    tcp: Listed,
    udp: Listed,
}

/// What one ConfigMap lists.
#[derive(Debug, Default)]
struct Listed {
    read: bool,
    /// What holds of its ports.
    streams: Streams,
    /// What it was read from.
    source: Option<Arc<ConfigMap>>,
    served: BTreeMap<u16, Served>,
    report: Option<Arc<ObjectReport>>,
}

#[derive(Debug)]
struct Served {
    entry: Entry,
    listener: Arc<Listener>,
    /// Whether something else holds since it was made.
    is_old: bool,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    service: Name,
    port: PortRef,
    /// Whether each connection begins with a PROXY protocol header.
    announced: bool,
    /// Whether the endpoints expect one.
    announces: bool,
}

/// What an update changed.
#[derive(Debug, Default)]
pub(crate) struct Updated {
    /// Any listener.
    pub(crate) listeners: bool,
    /// The objects of which something else is to be said.
    pub(crate) stale: Vec<ObjectKey>,
}

impl StreamServices {
    /// Takes over what there is now.
    pub(crate) fn update(
        &mut self,
        options: &Options,
        store: &Store,
        changes: &Changes,
        services: &mut Services,
        streams: Streams,
    ) -> Updated {
        let mut updated = Updated::default();
        let named = [
            (&mut self.tcp, &options.tcp_services, Layer::Tcp),
            (&mut self.udp, &options.udp_services, Layer::Udp),
        ];
        for (listed, name, layer) in named {
            if let Some((namespace, name)) = name {
                let name = NameRef { namespace, name };
                let anew = std::mem::replace(&mut listed.streams, streams) != streams;
                listed.read &= !anew;
                if anew {
                    listed
                        .served
                        .values_mut()
                        .for_each(|served| served.is_old = true);
                }
                listed.update(name, layer, options, store, changes, services, &mut updated);
            }
        }
        updated
    }

    /// What is listened on.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        let both = [&self.tcp, &self.udp].into_iter();
        both.flat_map(|listed| listed.served.values().map(|served| &served.listener))
    }

    /// What is wrong with the ConfigMaps.
    pub(crate) fn reports(&self) -> impl Iterator<Item = &Arc<ObjectReport>> {
        [&self.tcp, &self.udp]
            .into_iter()
            .filter_map(|listed| listed.report.as_ref())
    }
}

impl Listed {
    #[allow(
        clippy::too_many_arguments,
        reason = "what an update of any part is given"
    )]
    fn update(
        &mut self,
        name: NameRef<'_>,
        layer: Layer,
        options: &Options,
        store: &Store,
        changes: &Changes,
        services: &mut Services,
        updated: &mut Updated,
    ) {
        let source = store.config_map(name.namespace, name.name);
        let same = source.map(Arc::as_ptr) == self.source.as_ref().map(Arc::as_ptr);
        let refers = |served: &Served| changes.services.contains(&served.entry.service);
        if self.read && same && !self.served.values().any(refers) {
            return;
        }
        self.read = true;
        self.source = source.map(Arc::clone);
        let key = ObjectKey::new(Kind::ConfigMap, name.namespace, name.name);
        let mut problems = Problems::of(key.clone());
        if source.is_none() {
            let message = "there is no such ConfigMap: none of its ports is served";
            problems.warning("", message, "its name after the flag, and its namespace");
        }
        let lines = source.and_then(|source| source.data.as_ref());
        let lines = lines.into_iter().flatten();
        let mut served = BTreeMap::new();
        for (written, value) in lines {
            let field = format!("data[{written}]");
            let read = port(written, options)
                .and_then(|port| Ok((port, Entry::parse(value, layer, store)?)));
            match read {
                Ok((port, _)) if served.len() == MOST && !served.contains_key(&port) => {
                    problems.error(
                        field,
                        "is left out: there are too many",
                        "1,000 ports at most",
                    );
                }
                Ok((port, entry)) => {
                    let former = self.served.get(&port);
                    let made = entry.serve(
                        former,
                        port,
                        layer,
                        name,
                        options,
                        self.streams,
                        store,
                        services,
                    );
                    if let Some(why) = made.1 {
                        problems.error(field, why.0, why.1);
                    }
                    served.insert(port, made.0);
                }
                Err((message, hint)) => {
                    problems.error(field, format!("{message}; it is left out"), hint)
                }
            }
        }
        let former = std::mem::replace(&mut self.served, served);
        for gone in former.values() {
            gone.entry.release(services);
        }
        let listeners = |all: &BTreeMap<u16, Served>| -> Vec<_> {
            all.values()
                .map(|served| Arc::as_ptr(&served.listener))
                .collect()
        };
        updated.listeners |= listeners(&former) != listeners(&self.served);
        let report = (!problems.is_empty()).then(|| Arc::new(problems.into_report(false)));
        if report != self.report {
            self.report = report;
            updated.stale.push(key);
        }
    }
}

/// What is wrong with a line, and what would be right.
type Wrong = (String, String);

/// The port to listen on.
fn port(written: &str, options: &Options) -> Result<u16, Wrong> {
    let port: Option<u16> = written.trim().parse().ok().filter(|port| *port > 0);
    let Some(port) = port else {
        let message = format!("{written:?} is no port");
        return Err((message, "a number from 1 to 65535".to_owned()));
    };
    if port == options.http_port || port == options.https_port {
        let message = format!("port {port} serves Ingress");
        return Err((message, "another port".to_owned()));
    }
    Ok(port)
}

impl Entry {
    fn parse(value: &str, layer: Layer, store: &Store) -> Result<Self, Wrong> {
        let wrong = |why: &str| (format!("{value:?} {why}"), HINT.to_owned());
        let mut parts = value.trim().split(':');
        let (Some(service), Some(written)) = (parts.next(), parts.next()) else {
            return Err(wrong("names no port of a Service"));
        };
        let named = service.split_once('/');
        let Some((namespace, service)) = named.filter(|(a, b)| !a.is_empty() && !b.is_empty())
        else {
            return Err(wrong("names no Service with its namespace"));
        };
        let mut flag = || match parts.next() {
            None | Some("") => Ok(false),
            Some(word) if word.eq_ignore_ascii_case("PROXY") => Ok(true),
            Some(_) => Err(wrong("has something else than PROXY behind the port")),
        };
        let (announced, announces) = (flag()?, flag()?);
        if parts.next().is_some() {
            return Err(wrong("has too many colons"));
        }
        if layer == Layer::Udp && (announced || announces) {
            return Err(wrong("asks for the PROXY protocol, which UDP has not"));
        }
        let name = NameRef {
            namespace,
            name: service,
        };
        Ok(Self {
            port: port_of(name, written, layer, store).ok_or_else(|| wrong("names no port"))?,
            service: name.to_owned(),
            announced,
            announces,
        })
    }

    /// A listener for it, the former one if that says the same; and what is wrong with the Service.
    #[allow(clippy::too_many_arguments, reason = "what a listener is made of")]
    fn serve(
        self,
        former: Option<&Served>,
        port: u16,
        layer: Layer,
        source: NameRef<'_>,
        options: &Options,
        streams: Streams,
        store: &Store,
        services: &mut Services,
    ) -> (Served, Option<Wrong>) {
        let name = self.service.as_ref();
        let (backend, refused) = services.acquire_with(name, &self.port, &spoken(), store);
        let refused = refused.map(|refused| (refused.message(name, &self.port), refused.hint()));
        let is_same =
            |former: &&Served| former.entry == self && former.leads_to(&backend) && !former.is_old;
        if let Some(former) = former.filter(is_same) {
            let listener = Arc::clone(&former.listener);
            return (
                Served {
                    entry: self,
                    listener,
                    is_old: false,
                },
                refused,
            );
        }
        let share = Share {
            weight: 1,
            target: Target::Backend(backend),
            filters: [].into(),
        };
        let stream = Arc::new(Stream {
            route: source.to_string().into(),
            field: format!("data[{port}]").into(),
            split: Split::new(vec![share]).map(Arc::new),
            connect: options.timeouts.connect,
            idle: streams.idle.unwrap_or(match layer {
                Layer::Tcp => options.stream_idle,
                Layer::Udp => options.datagram_idle,
            }),
            tries: streams.most(),
            within: streams.within,
            announced: self.announced,
            announces: self.announces.then_some(ProxyHeader::V1),
        });
        let listener = Arc::new(Listener {
            entrance: Entrance {
                layer,
                ..Entrance::tcp(port)
            },
            public_port: port,
            service: match layer {
                Layer::Tcp => Service::Tcp(stream),
                Layer::Udp => Service::Udp(stream),
            },
        });
        (
            Served {
                entry: self,
                listener,
                is_old: false,
            },
            refused,
        )
    }

    fn release(&self, services: &mut Services) {
        services.release_with(self.service.as_ref(), &self.port, &spoken());
    }
}

impl Served {
    fn leads_to(&self, backend: &Arc<model::Backend>) -> bool {
        let (Service::Tcp(stream) | Service::Udp(stream)) = &self.listener.service else {
            return false;
        };
        let shares = stream.split.iter().flat_map(|split| split.shares());
        let mut backends = shares.map(|share| match &share.target {
            Target::Backend(known) => Arc::ptr_eq(known, backend),
            Target::Invalid => false,
        });
        backends.any(|same| same)
    }
}

/// The port by number or by name.
fn port_of(service: NameRef<'_>, written: &str, layer: Layer, store: &Store) -> Option<PortRef> {
    if let Ok(number) = written.parse() {
        return Some(match layer {
            Layer::Tcp => PortRef::Number(number),
            Layer::Udp => PortRef::Udp(number),
        });
    }
    if written.is_empty() {
        return None;
    }
    if layer == Layer::Tcp {
        return Some(PortRef::Name(written.into()));
    }
    let service = store.service(service.namespace, service.name)?;
    let mut ports = service.spec.ports.iter().flatten();
    let named = ports.find(|port| port.name.as_deref() == Some(written))?;
    Some(PortRef::Udp(named.port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_ingress_nginxs() {
        let store = Store::default();
        let parse = |value: &str| {
            let entry = Entry::parse(value, Layer::Tcp, &store);
            entry.map(|entry| {
                let Entry {
                    service,
                    port,
                    announced,
                    announces,
                } = entry;
                (
                    service.as_ref().to_string(),
                    port.to_string(),
                    announced,
                    announces,
                )
            })
        };
        let read = |service: &str, port: &str, announced, announces| {
            Ok((service.to_owned(), port.to_owned(), announced, announces))
        };
        assert_eq!(parse("a/b:80"), read("a/b", "80", false, false));
        assert_eq!(parse(" a/b:web "), read("a/b", "web", false, false));
        assert_eq!(parse("a/b:80:PROXY"), read("a/b", "80", true, false));
        assert_eq!(parse("a/b:80::proxy"), read("a/b", "80", false, true));
        assert_eq!(parse("a/b:80:PROXY:PROXY"), read("a/b", "80", true, true));
        for wrong in [
            "",
            "a/b",
            "b:80",
            "/b:80",
            "a/:80",
            "a/b:",
            "a/b:80:TLS",
            "a/b:1:::",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(Entry::parse("a/b:53:PROXY", Layer::Udp, &store).is_err());
    }
}
