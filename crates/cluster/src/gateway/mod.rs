//! Gateway API's side: what is provided for Gateways.

mod endpoints;
mod provision;
mod provision_service;
mod provision_table;
mod provisioner;

pub use provision_service::ServiceType;

pub(crate) use provision::{Obstacle, Owner, Provision, Provisions};
pub(crate) use provisioner::{Provisioner, Sources};

#[cfg(test)]
pub(crate) use tests::plan;

#[cfg(test)]
mod tests {
    use compile::{GatewayPlan, PlannedPort};
    use model::Layer;

    /// A Gateway `shop/<name>` with TCP ports, each with the port of ours.
    pub(crate) fn plan(name: &str, ports: &[(u16, u16)]) -> GatewayPlan {
        let port = |&(port, target)| PlannedPort {
            port,
            layer: Layer::Tcp,
            target,
        };
        GatewayPlan {
            namespace: "shop".into(),
            name: name.into(),
            uid: format!("uid-{name}").into(),
            class: "narthex".into(),
            service: format!("{name}-narthex").into(),
            labels: Default::default(),
            annotations: Default::default(),
            addresses: [].into(),
            ports: ports.iter().map(port).collect(),
        }
    }
}
