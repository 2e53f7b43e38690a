//! Gateways that are ours, with all their listeners: their own, and those of ListenerSets.
//!
//! It changes seldom, and is read anew as a whole when it does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;
use model::{ClientAuth, Layer};
use objects::kinds::gateway::{self as api, FromNamespaces, FrontendValidationMode, GROUP};
use objects::kinds::{Kind, ObjectKey, ObjectMeta};

use super::grants::Grants;
use super::listener::{Clients, Listener, Mode, certificate};
use super::namespaces::Namespaces;
use super::ownership::{Belonging, Ownership, Provider, class_of};
use super::parameters::{Parameters, ServiceType};
use super::references::{Reference, object};
use crate::certificates::Loaded;
use crate::ingress::resolve::World;
use crate::issuance::{IssuerKey, expected_from};
use crate::name::{Name, NameRef};
use crate::status::Wrong;

/// What a Gateway API object's references are looked up in.
pub(super) struct Look<'a, 'b> {
    pub(super) world: &'a mut World<'b>,
    pub(super) grants: &'a Grants,
    /// What was referred to, there or not.
    pub(super) referred: &'a mut BTreeSet<ObjectKey>,
}

impl Look<'_, '_> {
    pub(super) fn refer(&mut self, object: ObjectKey) {
        self.referred.insert(object);
    }

    /// From whom a Gateway or a ListenerSet has its certificates, if it asks for them.
    pub(super) fn asks(&self, owner: &ObjectKey) -> Option<IssuerKey> {
        let metadata = self.world.store.get(owner)?;
        expected_from(&metadata.metadata().annotations, &owner.namespace)
    }
}

/// Every Gateway that is ours.
#[derive(Debug, Default)]
pub(super) struct Topology {
    pub(super) grants: Grants,
    /// GatewayClasses that are ours, by name.
    pub(super) classes: Vec<Class>,
    /// The older ones first.
    pub(super) gateways: Vec<Gateway>,
    /// By Gateway.
    indexes: HashMap<Name, usize>,
    /// ListenerSets of Gateways that are ours, accepted or not: the Gateway's index, and theirs.
    sets: HashMap<Name, (usize, usize)>,
    /// The Secrets and ConfigMaps that it refers to.
    pub(super) referred: BTreeSet<ObjectKey>,
    /// Whose each Gateway is.
    pub(super) ownership: Ownership,
}

/// A GatewayClass that is ours.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) source: Arc<api::GatewayClass>,
    pub(super) parameters: Result<Parameters, Wrong>,
}

/// ListenerSets, by the Gateway that they name.
pub(super) type GatewaySets = HashMap<Name, Vec<Arc<api::ListenerSet>>>;

/// A Gateway that is ours.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) source: Arc<api::Gateway>,
    pub(super) name: Name,
    /// Its own listeners, then those of its ListenerSets.
    pub(super) listeners: Vec<Listener>,
    /// How many of them are its own.
    pub(super) own: usize,
    pub(super) sets: Vec<Set>,
    /// Why nothing of it is served.
    pub(super) refused: Option<Wrong>,
    /// What is surprising about it.
    pub(super) remark: Option<Wrong>,
    /// Who keeps its Service.
    pub(super) provider: Provider,
    /// What kind of Service its parameters ask for.
    pub(super) service_type: Option<ServiceType>,
    /// What it refers to itself that is not there.
    pub(super) unresolved: Option<Wrong>,
    /// What backends are shown that ask for a certificate.
    pub(super) client: Option<Arc<Loaded>>,
    /// Where it is served, if that is known here: without a cluster.
    pub(super) addresses: Box<[Box<str>]>,
    /// Whether some clients get in without a valid certificate where one is asked for.
    pub(super) insecure_clients: bool,
}

/// A ListenerSet of a Gateway that is ours.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) source: Arc<api::ListenerSet>,
    /// Which of the Gateway's listeners are its.
    pub(super) listeners: std::ops::Range<usize>,
    pub(super) refused: Option<Wrong>,
}

impl Gateway {
    /// The listeners of one owner.
    pub(super) fn listeners_of(&self, owner: Owner) -> &[Listener] {
        match owner {
            Owner::Gateway => &self.listeners[..self.own],
            Owner::Set(index) => &self.listeners[self.sets[index].listeners.clone()],
        }
    }
}

/// Whose listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Gateway,
    Set(usize),
}

impl Topology {
    pub(super) fn read(world: &mut World<'_>) -> Self {
        let store = world.store;
        let mut topology = Self {
            grants: Grants::read(store),
            ..Self::default()
        };
        let options = world.options;
        let mut referred = BTreeSet::new();
        topology.classes = super::class::read(store, options, &mut referred);
        let classes = &topology.classes;
        let is_ours = |gateway: &&Arc<api::Gateway>| class_of(gateway, classes, options).is_some();
        let mut gateways: Vec<_> = store.gateways().filter(is_ours).cloned().collect();
        gateways.sort_by(|a, b| age(&a.metadata).cmp(&age(&b.metadata)));
        let mut sets = GatewaySets::new();
        for set in store.listener_sets() {
            if let Some(parent) = parent_of(set) {
                sets.entry(parent).or_default().push(Arc::clone(set));
            }
        }
        for source in gateways {
            let name = NameRef::of(&source.metadata).to_owned();
            let Some(class) = class_of(&source, &topology.classes, options) else {
                continue;
            };
            let refer = |key| _ = referred.insert(key);
            let ownership = &mut topology.ownership;
            let belonging = ownership.judge(&source, class, &sets, (store, options), refer);
            if !belonging.is_here {
                continue;
            }
            let mut sets = sets.remove(&name).unwrap_or_default();
            sets.sort_by(|a, b| age(&a.metadata).cmp(&age(&b.metadata)));
            let mut look = Look {
                world: &mut *world,
                grants: &topology.grants,
                referred: &mut referred,
            };
            let gateway = Gateway::read(source, name, sets, belonging, &mut look);
            let index = topology.gateways.len();
            for (place, set) in gateway.sets.iter().enumerate() {
                let name = NameRef::of(&set.source.metadata).to_owned();
                topology.sets.insert(name, (index, place));
            }
            topology.indexes.insert(gateway.name.clone(), index);
            topology.gateways.push(gateway);
        }
        topology.referred = referred;
        topology
    }

    /// The Gateway that a reference of a kind leads to, and whose listeners are meant.
    pub(super) fn parent(&self, kind: Kind, name: NameRef<'_>) -> Option<(usize, Owner)> {
        match kind {
            Kind::Gateway => self
                .indexes
                .get(&name)
                .map(|&index| (index, Owner::Gateway)),
            Kind::ListenerSet => {
                let &(index, set) = self.sets.get(&name)?;
                Some((index, Owner::Set(set)))
            }
            _ => None,
        }
    }
}

/// Who comes first where two want the same: the older one, then by namespace and name.
pub(super) fn age(metadata: &ObjectMeta) -> (bool, &str, NameRef<'_>) {
    let created = metadata.creation_timestamp.as_deref();
    (
        created.is_none(),
        created.unwrap_or_default(),
        NameRef::of(metadata),
    )
}

fn parent_of(set: &api::ListenerSet) -> Option<Name> {
    let parent = &set.spec.parent_ref;
    let is_gateway = (parent.group(), parent.kind()) == (GROUP, Kind::Gateway.name());
    let own = set.metadata.namespace.as_deref().unwrap_or_default();
    let namespace = parent.namespace(own);
    is_gateway.then(|| Name::new(namespace, &parent.name))
}

impl Gateway {
    fn read(
        source: Arc<api::Gateway>,
        name: Name,
        sets: Vec<Arc<api::ListenerSet>>,
        belonging: Belonging,
        look: &mut Look<'_, '_>,
    ) -> Self {
        let key = object(Kind::Gateway, &name.namespace, &name.name);
        let mut gateway = Self {
            refused: belonging.refused.or_else(|| refused(&source)),
            remark: belonging.remark,
            provider: belonging.provider,
            service_type: belonging.service_type,
            name,
            listeners: Vec::new(),
            own: 0,
            sets: Vec::new(),
            unresolved: None,
            client: None,
            addresses: Box::default(),
            insecure_clients: false,
            source,
        };
        gateway.read_client(&key, look);
        let source = Arc::clone(&gateway.source);
        for (index, listener) in source.spec.listeners().iter().enumerate() {
            let clients = gateway.clients(&key, listener.port, look);
            let place = format!("spec.listeners[{index}]");
            let listener = Listener::read(&key, &place, listener, clients.as_ref(), look);
            gateway.listeners.push(listener);
        }
        gateway.own = gateway.listeners.len();
        for set in sets {
            gateway.add(set, &key, look);
        }
        gateway.find_conflicts();
        gateway.judge();
        gateway
    }

    /// Takes the listeners of a ListenerSet over, if it may have any here.
    fn add(&mut self, set: Arc<api::ListenerSet>, key: &ObjectKey, look: &mut Look<'_, '_>) {
        let name = NameRef::of(&set.metadata);
        let allowed = self.source.spec.allowed_listeners.as_deref();
        let allowed = allowed.and_then(|allowed| allowed.namespaces.as_ref());
        let allowed = Namespaces::read(allowed, FromNamespaces::None);
        let begin = self.listeners.len();
        let refused = if allowed.take(name.namespace, &self.name.namespace, look.world.store) {
            let owner = object(Kind::ListenerSet, name.namespace, name.name);
            for (index, listener) in set.spec.listeners().iter().enumerate() {
                let clients = self.clients(key, listener.port, look);
                let place = format!("spec.listeners[{index}]");
                let listener = Listener::read(&owner, &place, listener, clients.as_ref(), look);
                self.listeners.push(listener);
            }
            None
        } else {
            Some(Wrong::new(
                "NotAllowed",
                "spec.parentRef",
                format!("Gateway {} takes no listeners of this namespace", self.name),
                "spec.allowedListeners of the Gateway",
            ))
        };
        self.sets.push(Set {
            source: set,
            listeners: begin..self.listeners.len(),
            refused,
        });
    }

    /// The certificate for backends (`spec.tls.backend.clientCertificateRef`).
    fn read_client(&mut self, key: &ObjectKey, look: &mut Look<'_, '_>) {
        let source = Arc::clone(&self.source);
        let tls = source.spec.tls.as_deref();
        let backend = tls.and_then(|tls| tls.backend.as_ref());
        let Some(reference) = backend.and_then(|tls| tls.client_certificate_ref.as_ref()) else {
            return;
        };
        let field = "spec.tls.backend.clientCertificateRef";
        let reference = Reference::of(reference, "Secret");
        match certificate(key, field, reference, look) {
            Ok(loaded) => self.client = Some(loaded),
            Err(mut wrong) => {
                if wrong.reason == "InvalidCertificateRef" {
                    wrong.reason = "InvalidClientCertificateRef";
                }
                self.unresolved = Some(wrong);
            }
        }
    }

    /// What clients have to show on a port (`spec.tls.frontend`).
    fn clients(&mut self, key: &ObjectKey, port: u16, look: &mut Look<'_, '_>) -> Option<Clients> {
        let source = Arc::clone(&self.source);
        let frontend = source.spec.tls.as_ref()?.frontend.as_ref()?;
        let mut ports = frontend.per_port.iter().flatten();
        let (tls, field) = match ports.position(|one| one.port == port) {
            Some(index) => (
                &frontend.per_port.as_ref()?[index].tls,
                format!("spec.tls.frontend.perPort[{index}].tls"),
            ),
            None => (&frontend.default, "spec.tls.frontend.default".to_owned()),
        };
        let validation = tls.validation.as_ref()?;
        let field = format!("{field}.validation");
        let mut authorities = Vec::new();
        let mut wrong = None;
        let references = validation.ca_certificate_refs.iter().flatten();
        for (index, reference) in references.enumerate() {
            let reference = Reference::of(reference, "ConfigMap");
            let field = format!("{field}.caCertificateRefs[{index}]");
            match super::authorities::find(key, &field, reference, look) {
                Ok(found) => authorities.extend(found),
                Err(found) => wrong = Some(found),
            }
        }
        let optional = validation.mode == Some(FrontendValidationMode::AllowInsecureFallback);
        self.insecure_clients |= optional;
        let found = !authorities.is_empty();
        Some(Clients {
            found: found.then(|| {
                Arc::new(ClientAuth {
                    authorities: authorities.into(),
                    optional,
                })
            }),
            wrong,
        })
    }

    /// Listeners that cannot be told apart. Of the Gateway's own, none is served; of a ListenerSet's,
    /// what is in the way of the Gateway's, of an older ListenerSet's, or of one before it.
    fn find_conflicts(&mut self) {
        let mut ports: BTreeMap<(u16, Layer), Vec<(usize, Mode)>> = BTreeMap::new();
        for (index, listener) in self.listeners.iter().enumerate() {
            if let Some(mode) = listener.mode {
                let port = ports.entry((listener.port, mode.layer())).or_default();
                port.push((index, mode));
            }
        }
        for port in ports.values() {
            let (own, others) = port.split_at(port.partition_point(|one| one.0 < self.own));
            // Two TCP listeners cannot share a port either.
            let mixed = own.windows(2).any(|two| !two[0].1.shares_port(two[1].1));
            let mut first: HashMap<Box<str>, usize> = HashMap::new();
            for &(index, _) in own {
                if mixed {
                    self.lose(index, "ProtocolConflict");
                    continue;
                }
                let host = self.listeners[index].hostname.clone();
                if let Some(&other) = first.get(&host) {
                    self.lose(other, "HostnameConflict");
                    self.lose(index, "HostnameConflict");
                } else {
                    first.insert(host, index);
                }
            }
            // Whoever lost is in nobody's way.
            let served = own
                .iter()
                .filter(|one| self.listeners[one.0].conflict.is_none());
            let mut spoken = served.map(|one| one.1).next();
            for &(index, mode) in others {
                let host = &self.listeners[index].hostname;
                if spoken.is_some_and(|spoken| !mode.shares_port(spoken)) {
                    self.lose(index, "ProtocolConflict");
                } else if first
                    .get(host)
                    .is_some_and(|&other| self.listeners[other].conflict.is_none())
                {
                    self.lose(index, "HostnameConflict");
                } else {
                    spoken = spoken.or(Some(mode));
                    first.insert(host.clone(), index);
                }
            }
        }
    }

    fn lose(&mut self, index: usize, reason: &'static str) {
        let message = match reason {
            "HostnameConflict" => "another listener of the port has the same host name",
            _ => "another listener of the port has a protocol that cannot share it",
        };
        let hint = "another port, or another host name where the protocol has them";
        let wrong = Wrong::new(reason, "", message, hint);
        self.listeners[index].conflict.get_or_insert(wrong);
    }

    fn judge(&mut self) {
        let own = &self.listeners[..self.own];
        if self.refused.is_none() && !own.is_empty() && !own.iter().any(Listener::serves) {
            self.refused = Some(Wrong::new(
                "ListenersNotValid",
                "spec.listeners",
                "no listener is valid",
                "see the conditions of each listener",
            ));
        }
        if self.unresolved.is_none() && own.iter().any(|one| one.unresolved.is_some()) {
            self.unresolved = Some(Wrong::new(
                "ListenersNotResolved",
                "spec.listeners",
                "a listener refers to what is not there",
                "see the conditions of each listener",
            ));
        }
        let refused = self.refused.is_some();
        for set in &mut self.sets {
            if set.refused.is_some() {
                continue;
            }
            let listeners = &self.listeners[set.listeners.clone()];
            if refused {
                let message = "its Gateway is not accepted";
                set.refused = Some(Wrong::new("ParentNotAccepted", "", message, ""));
            } else if listeners.iter().all(|one| one.programmed().is_some()) {
                let message = "no listener is valid";
                let hint = "see the conditions of each listener";
                set.refused = Some(Wrong::new(
                    "ListenersNotValid",
                    "spec.listeners",
                    message,
                    hint,
                ));
            }
        }
    }
}

/// Why nothing of a Gateway can be served.
fn refused(gateway: &api::Gateway) -> Option<Wrong> {
    let mut addresses = gateway.spec.addresses.iter().flatten();
    let unknown = addresses.find(|address| !matches!(address.type_(), "IPAddress" | "Hostname"))?;
    Some(Wrong::new(
        "UnsupportedAddress",
        "spec.addresses",
        format!("addresses of type {:?} are not supported", unknown.type_()),
        "IPAddress or Hostname",
    ))
}
