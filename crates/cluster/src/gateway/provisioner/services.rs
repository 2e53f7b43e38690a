//! The Services of Gateways and their EndpointSlices: what is to be done about them.

use std::collections::{BTreeMap, BTreeSet};

use compile::{GatewayPlan, Provider};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::time::Instant;

use super::super::provision::{Obstacle, Owner, Provision, provision};
use super::super::provision_service::Leads;
use super::super::provision_table::Table;
use super::super::{endpoints, provision_service};
use super::actions::{Action, Gateway, Kind, Orphan};
use super::{Provisioner, TAKING, World, gateway};
use crate::replicas::Replica;

/// Whose Services are whose.
#[derive(Debug, Clone)]
pub(crate) struct Holding {
    /// Whether this process is one Gateway's data plane, and nobody else's.
    pub(crate) is_alone: bool,
    /// The controller whose GatewayClasses are ours.
    pub(crate) controller: String,
}

impl Holding {
    /// Whether a Service leads to replicas such as this one.
    fn has(&self, service: &Service) -> bool {
        (Leads::of(&service.metadata) != Leads::Shared) == self.is_alone
    }

    /// A Gateway's Service, if it is there, was made for it, and leads to replicas such as this one.
    pub(super) fn find<'a>(
        &self,
        plan: &GatewayPlan,
        services: &'a Table<Service>,
    ) -> Option<&'a Service> {
        of_gateway(plan, services).filter(|service| self.has(service))
    }
}

/// A Gateway's Service, if it is there and was made for it.
fn of_gateway<'a>(plan: &GatewayPlan, services: &'a Table<Service>) -> Option<&'a Service> {
    let service = services.get(&Owner::new(&plan.namespace, &plan.service))?;
    let is_its = provision_service::is_ours(&service.metadata, &plan.name, &plan.uid);
    is_its.then_some(service)
}

impl Provisioner {
    pub(super) fn of_services(&mut self, world: &World, services: &Table<Service>) -> Vec<Action> {
        let mut actions = Vec::new();
        for plan in world.served.gateways.iter() {
            // A Service has at least one port; one that has none any more stays as it is.
            if plan.provider == Provider::Other || plan.ports.is_empty() {
                continue;
            }
            let ours = of_gateway(plan, services);
            // Whoever is to have it, has it; that is yet to be seen here.
            let is_taken = ours.is_some_and(|it| !self.holding.has(it));
            if is_taken && plan.provider == Provider::UsForNow {
                continue;
            }
            let Some(leads) = self.leads(plan, ours, &world.replicas) else {
                continue;
            };
            let kind = plan.service_type.unwrap_or(self.kind);
            let service = provision_service::service(plan, kind, leads, &self.holding.controller);
            let key = Owner::new(&plan.namespace, &plan.service);
            if ours.is_some_and(|it| provision_service::is_as(it, &service)) {
                self.done(Kind::Service, &gateway(plan), key);
                continue;
            }
            actions.push(Action::Apply {
                kind: Kind::Service,
                gateway: Gateway {
                    owner: gateway(plan),
                    uid: plan.uid.clone(),
                },
                object: service,
                is_known: ours.is_some(),
            });
        }
        // A data plane that is one Gateway's takes nothing away: who made it does.
        if !self.holding.is_alone {
            actions.extend(self.surplus_services(world, services));
        }
        actions
    }

    /// To whom a Gateway's Service is to lead. None while nobody here could serve it, and somebody
    /// else does.
    fn leads(
        &mut self,
        plan: &GatewayPlan,
        service: Option<&Service>,
        replicas: &[Replica],
    ) -> Option<Leads> {
        if !self.holding.is_alone {
            return Some(Leads::Shared);
        }
        let is = service.map(|service| Leads::of(&service.metadata));
        if is != Some(Leads::Taking) {
            self.took = None;
        }
        match is {
            None | Some(Leads::Dedicated) => Some(Leads::Dedicated),
            Some(Leads::Shared) => {
                let mut replicas = replicas.iter();
                let is_ready = replicas.any(|replica| {
                    !replica.addresses.is_empty()
                        && endpoints::ports(plan, replica).count() == plan.ports.len()
                });
                is_ready.then_some(Leads::Taking)
            }
            Some(Leads::Taking) => {
                let took = *self.took.get_or_insert_with(Instant::now);
                Some(match took.elapsed() < TAKING {
                    true => Leads::Taking,
                    false => Leads::Dedicated,
                })
            }
        }
    }

    fn surplus_services<'a>(
        &'a self,
        world: &'a World,
        services: &'a Table<Service>,
    ) -> impl Iterator<Item = Action> {
        let plans = world.served.gateways.iter();
        let shared = plans.map(|plan| Owner::new(&plan.namespace, &plan.service));
        let plans = world.served.dedicated.iter();
        let dedicated = plans.map(|plan| Owner::new(&plan.namespace, &plan.name));
        let wanted: BTreeSet<_> = shared.chain(dedicated).collect();
        let ours = services
            .iter()
            .filter(|(_, it)| provision_service::is_of(&it.metadata, &self.holding.controller));
        let gone = ours.filter(move |(key, _)| !wanted.contains(*key));
        gone.filter_map(|(key, service)| {
            let metadata = &service.metadata;
            let mut owners = metadata.owner_references.iter().flatten();
            let owner = owners.find(|it| it.kind == "Gateway")?;
            Some(Action::Delete {
                kind: Kind::Service,
                key: key.clone(),
                uid: metadata.uid.clone(),
                orphan: Some(Orphan {
                    gateway: Owner::new(&key.namespace, &owner.name),
                    class: provision_service::class_of(metadata)
                        .unwrap_or_default()
                        .to_owned(),
                }),
            })
        })
    }

    /// Those to be made or changed, and those to be taken away.
    pub(super) fn of_slices(
        &self,
        world: &World,
        services: &Table<Service>,
        slices: &Table<EndpointSlice>,
    ) -> (Vec<Action>, Vec<Action>) {
        let mut wanted = BTreeMap::new();
        // Whoever has the Service keeps its slices, also when that is to change.
        for plan in world.served.gateways.iter() {
            if let Some(service) = self.holding.find(plan, services) {
                for (name, slice) in endpoints::slices(plan, service, &world.replicas) {
                    let key = Owner::new(&plan.namespace, &name);
                    wanted.insert(key, (gateway(plan), slice));
                }
            }
        }
        // That of a Service that is gone goes with it.
        let is_ours = |key: &Owner, slice: &EndpointSlice| {
            let service = Owner::new(&key.namespace, endpoints::service_of(slice));
            services.get(&service).is_some_and(|service| {
                self.holding.has(service)
                    && provision_service::is_of(&service.metadata, &self.holding.controller)
            })
        };
        let surplus = slices.iter().filter(|(key, _)| !wanted.contains_key(*key));
        let surplus = surplus.filter(|(key, slice)| is_ours(key, slice));
        let deleted = surplus.map(|(key, slice)| Action::Delete {
            kind: Kind::Slice,
            key: key.clone(),
            uid: slice.metadata.uid.clone(),
            orphan: None,
        });
        let deleted = deleted.collect();
        let is_other = |key: &Owner, slice: &serde_json::Value| {
            let known = slices.get(key);
            !known.is_some_and(|known| endpoints::is_as(known, slice))
        };
        let applied = wanted
            .into_iter()
            .filter(|(key, (_, slice))| is_other(key, slice))
            .map(|(_, (owner, object))| Action::Apply {
                kind: Kind::Slice,
                gateway: Gateway {
                    owner,
                    uid: Box::default(),
                },
                object,
                is_known: true,
            })
            .collect();
        (applied, deleted)
    }

    pub(super) fn provisions(
        &self,
        world: &World,
        services: &Table<Service>,
    ) -> BTreeMap<Owner, Provision> {
        let plans = world.served.gateways.iter();
        let provisions = plans.filter_map(|plan| {
            // What is served here until another does, has its Service until then.
            let service = match plan.provider {
                Provider::UsForNow => of_gateway(plan, services),
                Provider::Us | Provider::Other => self.holding.find(plan, services),
            };
            let obstacle = self.obstacles.get(&(gateway(plan), Kind::Service)).cloned();
            if service.is_none() && obstacle.is_none() {
                return None;
            }
            let mut provided = service.map(provision).unwrap_or_default();
            // A port of which a replica does not know leads only to the others.
            provided.ports.retain(|port| {
                let mut replicas = world.replicas.iter();
                replicas.all(|replica| replica.listening.has(plan, port))
            });
            let is_nowhere = provided.ports.is_empty();
            provided.obstacle = obstacle.or_else(|| pending(plan, &world.replicas, is_nowhere));
            Some((gateway(plan), provided))
        });
        provisions.collect()
    }
}

/// What is missing before a Gateway's Service leads to replicas that serve it.
fn pending(plan: &GatewayPlan, replicas: &[Replica], is_nowhere: bool) -> Option<Obstacle> {
    let pending = |message: String| {
        Some(Obstacle {
            reason: "Pending",
            message,
        })
    };
    if replicas.iter().all(|replica| replica.addresses.is_empty()) {
        return pending(
            "no replica has told the addresses by which it is reached; outside of a pod, that is \
             --publish-status-address"
                .to_owned(),
        );
    }
    let listens = |replica: &&Replica| endpoints::ports(plan, replica).count() == plan.ports.len();
    let (ready, all) = (replicas.iter().filter(listens).count(), replicas.len());
    match is_nowhere && !plan.ports.is_empty() {
        false => None,
        true => pending(format!("{ready} of {all} replicas listen on its ports")),
    }
}
