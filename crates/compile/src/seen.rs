//! What changed since the last compilation.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashSet;
use objects::kinds::{EndpointSlice, Ingress, Object, ObjectKey, ObjectMeta};
use objects::{Changed, SERVICE_NAME_LABEL, Store};

use crate::name::{Name, NameRef};

/// What the last compilation saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    started: bool,
    /// Shares everything that did not change with the store that is compiled.
    last: Store,
}

/// What changed since then.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Any IngressClass; true at the first compilation.
    pub(crate) classes: bool,
    /// What holds where Ingresses say nothing; set by who reads it.
    pub(crate) defaults: bool,
    /// Services whose object came, went or changed.
    pub(crate) services: HashSet<Name>,
    /// Services whose endpoints may have changed, those of `services` among them.
    pub(crate) endpoints: BTreeSet<Name>,
    /// Secrets that came, went or changed.
    pub(crate) secrets: HashSet<Name>,
    /// Ingresses that came, went or changed, in the store's order.
    pub(crate) ingresses: Vec<ChangedIngress>,
    /// ConfigMaps that came, went or changed.
    pub(crate) config_maps: HashSet<Name>,
    /// Namespaces that came, went or changed, by name.
    pub(crate) namespaces: HashSet<Box<str>>,
    /// Any Issuer, ClusterIssuer or Certificate.
    pub(crate) issuers: bool,
    /// Objects of Gateway API that came, went or changed, by kind, then in the store's order.
    pub(crate) gateway: Vec<ObjectKey>,
}

/// An Ingress that came, went or changed.
#[derive(Debug)]
pub(crate) struct ChangedIngress {
    pub(crate) name: Name,
    /// None if it is gone.
    pub(crate) now: Option<Arc<Ingress>>,
}

impl Seen {
    /// Takes over what there is now.
    pub(crate) fn update(&mut self, store: &Store) -> Changes {
        let mut changes = Changes {
            classes: !self.started,
            ..Changes::default()
        };
        self.started = true;
        store.changes(&self.last, |changed| changes.note(changed));
        self.last = store.clone();
        changes
    }
}

impl Changes {
    fn note(&mut self, changed: Changed<'_>) {
        let name = |metadata: &ObjectMeta| NameRef::of(metadata).to_owned();
        match changed {
            Changed::IngressClass(..) => self.classes = true,
            Changed::Service(old, new) => {
                if let Some(service) = new.or(old) {
                    let name = name(&service.metadata);
                    self.endpoints.insert(name.clone());
                    self.services.insert(name);
                }
            }
            Changed::EndpointSlice(old, new) => {
                let services = old
                    .into_iter()
                    .chain(new)
                    .filter_map(|slice| service_of(slice));
                self.endpoints.extend(services);
            }
            Changed::Endpoints(old, new) => {
                let object = new.or(old).map(|object| name(&object.metadata));
                self.endpoints.extend(object);
            }
            Changed::Secret(old, new) => {
                let object = new.or(old).map(|object| name(&object.metadata));
                self.secrets.extend(object);
            }
            Changed::Ingress(old, new) => {
                if let Some(ingress) = new.or(old) {
                    self.ingresses.push(ChangedIngress {
                        name: name(&ingress.metadata),
                        now: new.cloned(),
                    });
                }
            }
            Changed::ConfigMap(old, new) => {
                let object = new.or(old).map(|object| name(&object.metadata));
                self.config_maps.extend(object);
            }
            Changed::Namespace(old, new) => {
                let object = new
                    .or(old)
                    .map(|object| object.metadata.name.as_str().into());
                self.namespaces.extend(object);
            }
            Changed::Certificate(..) | Changed::ClusterIssuer(..) | Changed::Issuer(..) => {
                self.issuers = true;
            }
            Changed::BackendTlsPolicy(..)
            | Changed::Gateway(..)
            | Changed::GatewayClass(..)
            | Changed::GrpcRoute(..)
            | Changed::HttpRoute(..)
            | Changed::ListenerSet(..)
            | Changed::ReferenceGrant(..)
            | Changed::TcpRoute(..)
            | Changed::TlsRoute(..)
            | Changed::UdpRoute(..)
            | Changed::XBackend(..)
            | Changed::XBackendTrafficPolicy(..) => {
                let (old, new) = (changed.before(), changed.now());
                if let Some(key) = new.as_ref().or(old.as_ref()).map(Object::key) {
                    self.gateway.push(key);
                }
            }
        }
    }
}

fn service_of(slice: &EndpointSlice) -> Option<Name> {
    let service = slice.metadata.labels.get(SERVICE_NAME_LABEL)?;
    let namespace = NameRef::of(&slice.metadata).namespace;
    Some(Name::new(namespace, service))
}
