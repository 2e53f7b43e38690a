//! Data planes that Gateways have for themselves: what is to be done about them.

use std::collections::BTreeMap;
use std::pin::Pin;

use compile::{DedicatedPlan, Provider, label_value};
use futures_util::future::select_all;
use k8s_openapi::api::core::v1::Service;
use kube::api::DynamicObject;
use kube::{Api, Client};

use super::super::provision::{Obstacle, Owner, Provision};
use super::super::provision_dedicated::{self, DataPlanes};
use super::super::provision_service;
use super::super::provision_table::Table;
use super::actions::{Action, Gateway, Kind, Orphan};
use super::send::is_for;
use super::{Present, Provisioner, World};

/// What they consist of, as the API server has it.
pub(super) struct Parts {
    tables: BTreeMap<Kind, Table<DynamicObject>>,
}

impl Parts {
    /// Of these namespaces; of all if there are none.
    pub(super) fn new(client: &Client, namespaces: &[String]) -> Self {
        let selector = provision_dedicated::selector();
        let tables = Kind::OF_DATA_PLANE.into_iter().map(|kind| {
            let resource = kind.resource();
            let everywhere = || vec![(String::new(), Api::all_with(client.clone(), &resource))];
            let apis = match namespaces {
                [] => everywhere(),
                _ if kind == Kind::ClusterRoleBinding => everywhere(),
                some => some
                    .iter()
                    .map(|it| {
                        (
                            it.clone(),
                            Api::namespaced_with(client.clone(), it, &resource),
                        )
                    })
                    .collect(),
            };
            (kind, Table::of(kind.name(), apis, &selector))
        });
        Self {
            tables: tables.collect(),
        }
    }

    /// Waits for something that changes what is known. Cancel safe.
    pub(super) async fn changed(&mut self) {
        let changed = self.tables.values_mut().map(|it| {
            let changed: Pin<Box<dyn Future<Output = ()> + Send + '_>> = Box::pin(it.changed());
            changed
        });
        select_all(changed).await;
    }

    pub(super) fn is_complete(&self) -> bool {
        self.tables.values().all(Table::is_complete)
    }

    pub(super) fn wrote(&mut self, kind: Kind, object: DynamicObject) {
        if let Some(table) = self.tables.get_mut(&kind) {
            table.wrote(object);
        }
    }

    fn get(&self, kind: Kind, key: &Owner) -> Option<&DynamicObject> {
        self.tables.get(&kind)?.get(key)
    }

    fn iter(&self) -> impl Iterator<Item = (Kind, &Owner, &DynamicObject)> {
        let tables = self.tables.iter();
        tables.flat_map(|(kind, table)| table.iter().map(|(key, it)| (*kind, key, it)))
    }
}

impl Provisioner {
    /// What is to be done, one list after the other.
    pub(super) fn of_all_data_planes(
        &mut self,
        world: &World,
        present: &Present,
        provisions: &BTreeMap<Owner, Provision>,
    ) -> Vec<Vec<Action>> {
        let (Some(with), Some(parts)) = (self.data_planes.clone(), &present.parts) else {
            return Vec::new();
        };
        let (first, second) = self.of_data_planes(world, parts, &with);
        let surplus = self.surplus_parts(world, parts, &present.services, provisions);
        vec![first, second, surplus]
    }

    /// What is to be made or changed: accounts and rights, and what needs them.
    fn of_data_planes(
        &mut self,
        world: &World,
        parts: &Parts,
        with: &DataPlanes,
    ) -> (Vec<Action>, Vec<Action>) {
        let mut actions = Vec::new();
        for plan in world.served.dedicated.iter() {
            let gateway = of_plan(plan);
            for (kind, object) in provision_dedicated::objects(plan, with, &self.holding.controller)
            {
                let key = provision_dedicated::key(plan, kind);
                let known = parts.get(kind, &key);
                let ours = known.filter(|it| is_for(kind, &it.metadata, &gateway));
                if ours.is_some_and(|it| provision_dedicated::is_as(it, &object)) {
                    self.done(kind, &gateway.owner, key);
                    continue;
                }
                actions.push(Action::Apply {
                    kind,
                    gateway: gateway.clone(),
                    object,
                    is_known: ours.is_some(),
                });
            }
        }
        let needs = |action: &Action| matches!(action.id().0.0, Kind::Deployment | Kind::Budget);
        actions.into_iter().partition(|action| !needs(action))
    }

    /// What is to be taken away, the process first and its rights last.
    fn surplus_parts(
        &self,
        world: &World,
        parts: &Parts,
        services: &Table<Service>,
        provisions: &BTreeMap<Owner, Provision>,
    ) -> Vec<Action> {
        let gone = parts.iter().filter_map(|(kind, key, object)| {
            let metadata = &object.metadata;
            if !provision_service::is_of(metadata, &self.holding.controller) {
                return None;
            }
            let gateway = provision_dedicated::gateway_of(metadata)?;
            let is_its = |namespace: &str, name: &str| {
                (&*gateway.namespace, &*gateway.name) == (namespace, &*label_value(name))
            };
            let mut plans = world.served.dedicated.iter();
            let orphan = if let Some(plan) = plans.find(|it| is_its(&it.namespace, &it.gateway)) {
                let is_wanted = provision_dedicated::key(plan, kind) == *key
                    && (kind != Kind::Budget || provision_dedicated::has_budget(plan));
                if is_wanted {
                    return None;
                }
                None
            } else {
                let mut plans = world.served.gateways.iter();
                match plans.find(|it| is_its(&it.namespace, &it.name)) {
                    Some(plan) => {
                        // Not before it is served here, and everywhere.
                        let owner = Owner::new(&plan.namespace, &plan.name);
                        let ports = provisions.get(&owner).map_or(0, |it| it.ports.len());
                        let is_here = plan.provider == Provider::Us
                            && !plan.is_refused
                            && self.holding.find(plan, services).is_some()
                            && ports == plan.ports.len();
                        if !is_here {
                            return None;
                        }
                        None
                    }
                    None => Some(Orphan {
                        gateway: Owner::new(
                            &gateway.namespace,
                            provision_dedicated::name_of(metadata).unwrap_or(&gateway.name),
                        ),
                        class: provision_service::class_of(metadata)
                            .unwrap_or_default()
                            .to_owned(),
                    }),
                }
            };
            Some(Action::Delete {
                kind,
                key: key.clone(),
                uid: metadata.uid.clone(),
                orphan,
            })
        });
        let mut gone: Vec<_> = gone.collect();
        gone.sort_by_key(|action| std::cmp::Reverse(action.id().0.0));
        gone
    }

    /// What keeps each from being there.
    pub(super) fn deployed(
        &self,
        world: &World,
        parts: &Parts,
    ) -> BTreeMap<Owner, Option<Obstacle>> {
        let plans = world.served.dedicated.iter();
        let all = plans.map(|plan| {
            let gateway = of_plan(plan);
            let mut kinds = Kind::OF_DATA_PLANE.into_iter();
            let obstacle = kinds.find_map(|kind| {
                let key = (gateway.owner.clone(), kind);
                self.obstacles.get(&key).cloned()
            });
            let deployment = parts.get(
                Kind::Deployment,
                &provision_dedicated::key(plan, Kind::Deployment),
            );
            let deployment =
                deployment.filter(|it| is_for(Kind::Deployment, &it.metadata, &gateway));
            let obstacle = obstacle.or_else(|| {
                let available = deployment.map(|it| &it.data["status"]["availableReplicas"]);
                let available = available.and_then(serde_json::Value::as_u64);
                (available.unwrap_or_default() == 0).then(|| Obstacle {
                    reason: "NoReplica",
                    message: format!(
                        "no replica of the Deployment {} is available yet",
                        plan.name
                    ),
                })
            });
            (gateway.owner, obstacle)
        });
        all.collect()
    }
}

fn of_plan(plan: &DedicatedPlan) -> Gateway {
    Gateway {
        owner: Owner::new(&plan.namespace, &plan.gateway),
        uid: plan.uid.clone(),
    }
}
