//! One route of any kind, with the listeners that it attaches to and what it refers to.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Rule, Stream};
use objects::kinds::gateway::{ParentReference, StreamRouteSpec};
use objects::kinds::{Kind, Object, ObjectKey};

use super::attach::{Asking, Attachment, Parent, attach};
use super::backend::{Acquired, Backends};
use super::listener::Mode;
use super::rank::{Age, Rank};
use super::tls_policy::Policies;
use super::topology::Topology;
use super::{grpc, http, stream};
use crate::ingress::resolve::World;
use crate::name::{Name, NameRef};
use crate::status::Wrong;

/// A route that has a parent of ours.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) key: ObjectKey,
    pub(super) generation: i64,
    pub(super) age: Age,
    pub(super) parents: Vec<Parent>,
    /// What it serves; by Gateway where that makes a difference.
    served: BTreeMap<Option<usize>, Served>,
    /// What of it is not supported, though something of it is served.
    pub(super) partial: Option<Wrong>,
    /// What it refers to that is not there.
    pub(super) unresolved: Option<Wrong>,
    /// What it uses of Services, to be released.
    pub(super) acquired: Vec<Acquired>,
    /// The Services that it refers to, there or not.
    pub(super) services: Vec<Name>,
    /// The XBackends that it refers to, there or not.
    pub(super) outside: Vec<Name>,
}

/// What a route serves.
#[derive(Debug)]
pub(super) enum Served {
    Http(Vec<(Rank, Arc<Rule>)>),
    Stream(Streams),
}

/// Where a route's connections or datagrams go.
#[derive(Debug)]
pub(super) struct Streams {
    /// Those whose TLS, if they had any, ended here.
    pub(super) open: Option<Arc<Stream>>,
    /// Those whose TLS goes on as it is.
    pub(super) sealed: Option<Arc<Stream>>,
}

impl Resolved {
    /// The listeners that it is attached to.
    pub(super) fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.parents.iter().flat_map(|parent| &parent.attachments)
    }

    /// What it serves for a Gateway.
    pub(super) fn served(&self, gateway: usize) -> Option<&Served> {
        let own = self.served.get(&Some(gateway));
        own.or_else(|| self.served.get(&None))
    }
}

/// What of a route all kinds have.
struct Common<'a> {
    hostnames: &'a [Box<str>],
    parents: &'a [ParentReference],
}

fn common(object: &Object) -> Option<Common<'_>> {
    macro_rules! common {
        ($route:expr) => {
            Common {
                hostnames: $route.spec.hostnames(),
                parents: $route.spec.parent_refs(),
            }
        };
    }
    Some(match object {
        Object::HttpRoute(route) => common!(route),
        Object::GrpcRoute(route) => common!(route),
        Object::TlsRoute(route) => common!(route),
        Object::TcpRoute(route) => common!(route),
        Object::UdpRoute(route) => common!(route),
        _ => return None,
    })
}

/// Resolves a route. None if it has no parent of ours.
pub(super) fn resolve(
    object: &Object,
    topology: &Topology,
    policies: &Policies,
    world: &mut World<'_>,
) -> Option<Resolved> {
    let metadata = object.metadata();
    let key = object.key();
    let Common { hostnames, parents } = common(object)?;
    let asking = Asking {
        kind: key.kind,
        namespace: &key.namespace,
        hostnames,
        parents,
    };
    let parents = attach(&asking, topology, world);
    if parents.is_empty() {
        return None;
    }
    let age = Age {
        not_created: metadata.creation_timestamp.is_none(),
        created: metadata.creation_timestamp.clone().unwrap_or_default(),
        name: NameRef::of(metadata).to_owned(),
    };
    let mut resolved = Resolved {
        key,
        generation: metadata.generation,
        age,
        parents,
        served: BTreeMap::new(),
        partial: None,
        unresolved: None,
        acquired: Vec::new(),
        services: Vec::new(),
        outside: Vec::new(),
    };
    resolved.serve(object, topology, policies, world);
    resolved.services.sort_unstable();
    resolved.services.dedup();
    resolved.outside.sort_unstable();
    resolved.outside.dedup();
    Some(resolved)
}

impl Resolved {
    /// Makes what is served, once for all Gateways that show backends no certificate, and once for
    /// each that does.
    fn serve(
        &mut self,
        object: &Object,
        topology: &Topology,
        policies: &Policies,
        world: &mut World<'_>,
    ) {
        let gateways = self.parents.iter().map(|parent| parent.gateway);
        let mut flavours: Vec<_> = gateways
            .map(|gateway| topology.gateways[gateway].client.as_ref().map(|_| gateway))
            .collect();
        flavours.sort_unstable();
        flavours.dedup();
        let (open_tls, sealed_tls) = self.ends_of_tls(topology);
        for flavour in flavours {
            let mut backends = Backends {
                owner: &self.key,
                topology,
                policies,
                world: &mut *world,
                client: flavour.and_then(|gateway| topology.gateways[gateway].client.as_ref()),
                udp: self.key.kind == Kind::UdpRoute,
                stream: matches!(
                    self.key.kind,
                    Kind::TcpRoute | Kind::UdpRoute | Kind::TlsRoute
                ),
                sealed: false,
                acquired: &mut self.acquired,
                services: &mut self.services,
                outside: &mut self.outside,
            };
            let options = backends.world.options;
            let age = &self.age;
            let of_stream = |spec: &StreamRouteSpec, backends: &mut Backends<'_, '_>| {
                let rule = spec.rules.iter().flatten().next();
                let references = rule.and_then(|rule| rule.backend_refs.as_deref());
                stream::build(references.unwrap_or_default(), age, backends, options)
            };
            let open = |spec: &StreamRouteSpec, backends: &mut Backends<'_, '_>| {
                let built = of_stream(spec, backends);
                let open = Some(built.stream);
                (Streams { open, sealed: None }, built.unresolved)
            };
            let tls = |spec: &StreamRouteSpec, backends: &mut Backends<'_, '_>| {
                let open = open_tls.then(|| of_stream(spec, backends));
                backends.sealed = true;
                let sealed = sealed_tls.then(|| of_stream(spec, backends));
                let mut unresolved = None;
                let mut stream = |built: stream::Built| {
                    unresolved = unresolved.take().or(built.unresolved);
                    built.stream
                };
                let streams = Streams {
                    open: open.map(&mut stream),
                    sealed: sealed.map(&mut stream),
                };
                (streams, unresolved)
            };
            let built = match object {
                Object::HttpRoute(route) => {
                    Ok(http::build(route, &self.age, &mut backends, options))
                }
                Object::GrpcRoute(route) => {
                    Ok(grpc::build(route, &self.age, &mut backends, options))
                }
                Object::TlsRoute(route) => Err(tls(&route.spec, &mut backends)),
                Object::TcpRoute(route) => Err(open(&route.spec, &mut backends)),
                Object::UdpRoute(route) => Err(open(&route.spec, &mut backends)),
                _ => return,
            };
            let served = match built {
                Ok(built) => {
                    self.unresolved = built.unresolved;
                    if built.rules.is_empty()
                        && let Some(wrong) = &built.unsupported
                    {
                        self.refuse(wrong);
                    } else {
                        self.partial = built.unsupported;
                    }
                    Served::Http(built.rules)
                }
                Err((streams, unresolved)) => {
                    self.unresolved = unresolved;
                    Served::Stream(streams)
                }
            };
            self.served.insert(flavour, served);
        }
    }

    /// Whether listeners that it is attached to end TLS, and whether others pass it on. One of both
    /// at the least, so that what is wrong is found.
    fn ends_of_tls(&self, topology: &Topology) -> (bool, bool) {
        let has = |mode| {
            self.attachments().any(|attachment| {
                let gateway = &topology.gateways[attachment.gateway];
                let mut listeners = gateway.listeners.iter();
                listeners.any(|one| one.is(&attachment.listener) && one.mode == Some(mode))
            })
        };
        let open = has(Mode::TlsTerminate);
        (open, !open || has(Mode::TlsPassthrough))
    }

    /// Nothing of it can be served anywhere.
    fn refuse(&mut self, wrong: &Wrong) {
        for parent in &mut self.parents {
            parent.wrong.get_or_insert_with(|| wrong.clone());
            parent.attachments.clear();
        }
    }
}
