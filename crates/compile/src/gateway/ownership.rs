//! Whose a Gateway is: that of the shared data plane, or of a data plane of its own.
//!
//! Both are processes that see the same objects, and each decides for itself. Its parameters say
//! where a Gateway belongs; where it is, is said by its Service, which both leave to one another
//! only when they serve already: who takes a Gateway over writes its Service, and the other one lets
//! go when it sees that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use objects::Store;
use objects::kinds::gateway::Gateway;
use objects::kinds::{Kind, ObjectKey};

use super::parameters::{DataPlane, Parameters, REASON, ServiceType};
use super::plan::{label_value, service_name};
use super::quantity::Quantity;
use super::topology::{Class, GatewaySets};
use crate::name::NameRef;
use crate::options::{GatewayScope, Options};
use crate::status::Wrong;

/// The label of what is made for a Gateway (GEP-1762); its value is the Gateway's name, shortened
/// where it is longer than a label.
pub const GATEWAY_LABEL: &str = "gateway.networking.k8s.io/gateway-name";

/// The label that says who made an object; its value is `narthex`.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The label of a Gateway's Service that leads to a data plane of its own: `taking` while the shared
/// one serves on, as not everybody knows of that yet, and then `dedicated`.
pub const DATA_PLANE_LABEL: &str = "narthex.dev/data-plane";

/// Who keeps a Gateway's Service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Provider {
    /// This process.
    #[default]
    Us,
    /// This process, until another one takes it over.
    UsForNow,
    /// Another process.
    Other,
}

/// A data plane that a Gateway has for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DedicatedPlan {
    /// The Gateway's namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub gateway: Box<str>,
    /// Its `metadata.uid`.
    pub uid: Box<str>,
    /// Its class.
    pub class: Box<str>,
    /// The name of all that is made for it, its Service among it (GEP-1762).
    pub name: Box<str>,
    /// `spec.infrastructure.labels`.
    pub labels: BTreeMap<Box<str>, Box<str>>,
    /// `spec.infrastructure.annotations`.
    pub annotations: BTreeMap<Box<str>, Box<str>>,
    /// How many replicas it has.
    pub replicas: u16,
    /// The CPU that each asks for.
    pub cpu_request: Quantity,
    /// The memory that each asks for.
    pub memory_request: Quantity,
    /// The memory that each may have at most; none is no limit.
    pub memory_limit: Option<Quantity>,
}

impl DedicatedPlan {
    fn new(gateway: &Gateway, parameters: &Parameters) -> Self {
        let metadata = &gateway.metadata;
        let infrastructure = gateway.spec.infrastructure.as_deref();
        let class = &gateway.spec.gateway_class_name;
        Self {
            namespace: NameRef::of(metadata).namespace.into(),
            gateway: metadata.name.as_str().into(),
            uid: metadata.uid.clone(),
            class: (**class).into(),
            name: service_name(&metadata.name, class).into(),
            labels: infrastructure
                .map(|it| it.labels.clone())
                .unwrap_or_default(),
            annotations: infrastructure
                .map(|it| it.annotations.clone())
                .unwrap_or_default(),
            replicas: parameters.replicas(),
            cpu_request: parameters.cpu_request(),
            memory_request: parameters.memory_request(),
            memory_limit: parameters.memory_limit().cloned(),
        }
    }
}

/// Which Gateways and ListenerSets this process speaks for. What is said of a route or policy with
/// regard to another one is another process's, though it has the same controller's name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    parents: BTreeSet<ObjectKey>,
    /// Whether these are ours; else all others are.
    are_ours: bool,
}

impl Share {
    /// All of them.
    pub const ALL: Self = Self {
        parents: BTreeSet::new(),
        are_ours: false,
    };

    /// All but these.
    pub fn without(parents: BTreeSet<ObjectKey>) -> Self {
        Self {
            parents,
            are_ours: false,
        }
    }

    /// These alone.
    pub fn only(parents: BTreeSet<ObjectKey>) -> Self {
        Self {
            parents,
            are_ours: true,
        }
    }

    /// Whether one is ours.
    pub fn has(&self, parent: &ObjectKey) -> bool {
        self.parents.contains(parent) == self.are_ours
    }

    /// Whether all are.
    pub fn is_all(&self) -> bool {
        self.parents.is_empty() && !self.are_ours
    }

    /// Whether none is.
    pub(super) fn is_none(&self) -> bool {
        self.parents.is_empty() && self.are_ours
    }

    /// Whether GatewayClasses are ours too.
    pub fn has_classes(&self) -> bool {
        !self.are_ours
    }
}

/// What this process does for a Gateway of ours.
#[derive(Debug)]
pub(super) struct Belonging {
    /// Whether it is served here, or refused.
    pub(super) is_here: bool,
    pub(super) provider: Provider,
    pub(super) service_type: Option<ServiceType>,
    pub(super) refused: Option<Wrong>,
    /// What is surprising.
    pub(super) remark: Option<Wrong>,
    /// The data plane that it is to have for itself.
    pub(super) dedicated: Option<DedicatedPlan>,
}

/// Judges the Gateways of ours, one after the other.
#[derive(Debug, Default)]
pub(super) struct Ownership {
    /// The data planes that are to be.
    pub(super) dedicated: Vec<DedicatedPlan>,
    /// The Gateways whose data plane is another process, and their ListenerSets.
    others: BTreeSet<ObjectKey>,
    /// The Gateway that is served alone and spoken for, and its ListenerSets.
    own: BTreeSet<ObjectKey>,
    /// The Services that decide it.
    pub(super) services: BTreeSet<ObjectKey>,
}

impl Ownership {
    pub(super) fn judge(
        &mut self,
        gateway: &Gateway,
        class: &Class,
        sets: &GatewaySets,
        (store, options): (&Store, &Options),
        refer: impl FnMut(ObjectKey),
    ) -> Belonging {
        let name = NameRef::of(&gateway.metadata);
        let parameters = parameters(gateway, class, store, refer);
        let service = service_name(name.name, &gateway.spec.gateway_class_name);
        let mut holder = || {
            let key = ObjectKey::new(Kind::Service, name.namespace, &service);
            self.services.insert(key);
            Holder::of(name, &service, store)
        };
        let mut belonging = Belonging {
            is_here: true,
            provider: Provider::Us,
            service_type: parameters.as_ref().ok().and_then(Parameters::service_type),
            refused: None,
            remark: None,
            dedicated: None,
        };
        let plane = parameters.as_ref().map(Parameters::data_plane);
        match &options.gateway_scope {
            GatewayScope::All => {
                if plane == Ok(DataPlane::Dedicated) {
                    belonging.remark = Some(Wrong::new(
                        REASON,
                        field(gateway),
                        "data-plane: dedicated means nothing without a cluster: the Gateway is \
                         served by this process",
                        "data-plane: shared, or a cluster",
                    ));
                }
                belonging.refused = parameters.err();
            }
            GatewayScope::Shared { dedicated } => match parameters {
                Ok(parameters) if parameters.data_plane() == DataPlane::Shared => {}
                Ok(parameters) if *dedicated => {
                    belonging.is_here = holder() == Holder::Shared;
                    belonging.provider = match belonging.is_here {
                        true => Provider::UsForNow,
                        false => Provider::Other,
                    };
                    belonging.dedicated = Some(DedicatedPlan::new(gateway, &parameters));
                    if !belonging.is_here {
                        self.others.extend(parents(name, sets));
                    }
                }
                wrong => {
                    belonging.refused = Some(wrong.err().unwrap_or_else(|| not_enabled(gateway)));
                    // Who serves it by now goes on as it is.
                    if holder() == Holder::Dedicated {
                        belonging.provider = Provider::Other;
                    }
                }
            },
            GatewayScope::One { .. } => {
                if plane == Ok(DataPlane::Shared) {
                    belonging.provider = Provider::Other;
                }
                if holder() != Holder::Shared && plane == Ok(DataPlane::Dedicated) {
                    self.own.extend(parents(name, sets));
                }
            }
        }
        self.dedicated.extend(belonging.dedicated.clone());
        belonging
    }

    /// What this process speaks for.
    pub(super) fn share(&self, options: &Options) -> Share {
        match options.gateway_scope {
            GatewayScope::One { .. } => Share::only(self.own.clone()),
            GatewayScope::All | GatewayScope::Shared { .. } => Share::without(self.others.clone()),
        }
    }
}

/// To whom a Gateway's Service leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Nobody,
    Shared,
    Dedicated,
}

impl Holder {
    fn of(gateway: NameRef<'_>, service: &str, store: &Store) -> Self {
        let Some(service) = store.service(gateway.namespace, service) else {
            return Self::Nobody;
        };
        let label = |name: &str| service.metadata.labels.get(name);
        let is_ours = label(MANAGED_BY).is_some_and(|it| *it == *"narthex")
            && label(GATEWAY_LABEL).is_some_and(|it| *it == *label_value(gateway.name));
        match is_ours {
            false => Self::Nobody,
            true if label(DATA_PLANE_LABEL).is_some_and(|it| *it == *"dedicated") => {
                Self::Dedicated
            }
            true => Self::Shared,
        }
    }
}

/// A Gateway, and the ListenerSets that name it.
fn parents(gateway: NameRef<'_>, sets: &GatewaySets) -> impl Iterator<Item = ObjectKey> {
    let own = ObjectKey::new(Kind::Gateway, gateway.namespace, gateway.name);
    let sets = sets.get(&gateway).into_iter().flatten();
    let sets: Vec<_> = sets
        .map(|set| {
            let name = NameRef::of(&set.metadata);
            ObjectKey::new(Kind::ListenerSet, name.namespace, name.name)
        })
        .collect();
    std::iter::once(own).chain(sets)
}

/// A Gateway's own parameters over those of its class.
fn parameters(
    gateway: &Gateway,
    class: &Class,
    store: &Store,
    refer: impl FnMut(ObjectKey),
) -> Result<Parameters, Wrong> {
    let of_class = class.parameters.clone()?;
    let infrastructure = gateway.spec.infrastructure.as_deref();
    let reference = infrastructure.and_then(|it| it.parameters_ref.as_ref());
    let Some(reference) = reference else {
        return Ok(of_class);
    };
    let field = "spec.infrastructure.parametersRef";
    let namespace = Some(NameRef::of(&gateway.metadata).namespace);
    let own = Parameters::find(reference, namespace, field, store, refer)?;
    of_class.with(&own).map_err(|problem| {
        let hint = "parameters that go together";
        Wrong::new(REASON, field, problem, hint)
    })
}

fn field(gateway: &Gateway) -> &'static str {
    let infrastructure = gateway.spec.infrastructure.as_deref();
    match infrastructure.and_then(|it| it.parameters_ref.as_ref()) {
        Some(_) => "spec.infrastructure.parametersRef",
        None => "spec.gatewayClassName",
    }
}

fn not_enabled(gateway: &Gateway) -> Wrong {
    Wrong::new(
        REASON,
        field(gateway),
        "data-plane is \"dedicated\", which this Narthex may not make: set the chart's \
         gatewayAPI.dedicated.enabled (--gateway-image), or write data-plane: shared",
        "gatewayAPI.dedicated.enabled in the chart's values",
    )
}

/// The class of a Gateway, if that is ours and this process is concerned with the Gateway.
pub(super) fn class_of<'a>(
    gateway: &Gateway,
    classes: &'a [Class],
    options: &Options,
) -> Option<&'a Class> {
    let name = &*gateway.spec.gateway_class_name;
    let mut classes = classes.iter();
    let class = classes.find(|one| one.source.metadata.name == *name)?;
    match &options.gateway_scope {
        GatewayScope::One { namespace, name } => {
            let own = NameRef { namespace, name };
            (NameRef::of(&gateway.metadata) == own).then_some(class)
        }
        _ => class.parameters.is_ok().then_some(class),
    }
}

/// What is to be, unless it was the same before.
pub(super) fn renewed<T: PartialEq>(former: &Arc<[T]>, now: Vec<T>) -> Arc<[T]> {
    match *now == **former {
        true => Arc::clone(former),
        false => now.into(),
    }
}
