//! Gateway API's side: what is said of its objects, and what is provided for Gateways.
//!
//! What is said ([`compile::status`]) is the compiler's, and so is the status that it becomes; here
//! it is that ([`render`]), as far as it is so on every live replica and the Gateway has its Service
//! ([`gate`]). The leader alone writes ([`Writer`]), and only what differs from what the API server
//! has ([`view`]). A [`Provisioner`] keeps a Service for each Gateway; [`provision`] is what that
//! provides. For Gateways that ask for it, it keeps a Deployment of Narthex that serves one alone
//! ([`provision_dedicated`]), and that has a provisioner and a writer of its own.

mod decide;
mod endpoints;
mod gate;
mod pace;
mod provision;
mod provision_dedicated;
mod provision_service;
mod provision_table;
mod provisioner;
mod render;
mod view;
mod writer;

pub use provision_dedicated::DataPlanes;

pub(crate) use provision::{Obstacle, Owner, Provisions};
pub(crate) use provisioner::{Provisioner, Sources};
pub(crate) use writer::{Inputs, Writer};

#[cfg(test)]
pub(crate) use tests::plan;

#[cfg(test)]
mod tests {
    use compile::{GatewayPlan, PlannedPort, Provider};
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
            is_refused: false,
            service: format!("{name}-narthex").into(),
            provider: Provider::Us,
            service_type: None,
            labels: Default::default(),
            annotations: Default::default(),
            addresses: [].into(),
            ports: ports.iter().map(port).collect(),
        }
    }
}
