//! Gateways that have a data plane of their own: who serves one, and who makes them.

use cluster::{Alone, DataPlanes, ServiceType};

use super::Invalid;
use crate::flags;

/// What is done about Gateways that have a data plane of their own.
#[derive(Debug)]
pub(crate) struct Gateways {
    /// The one that is served, and nothing else.
    pub(super) alone: Option<Alone>,
    /// How they are made, if they are.
    pub(super) data_planes: Option<DataPlanes>,
}

impl Gateways {
    /// Reads what `serve` was given.
    pub(crate) fn new(
        flags: flags::Gateways,
        compilation: &flags::Compilation,
        publishing: &flags::Publishing,
        cluster: &flags::Cluster,
    ) -> Result<Self, Invalid> {
        let image = flags.gateway_image.filter(|image| !image.is_empty());
        if flags.gateway.is_some() && image.is_some() {
            let message = "--gateway serves one Gateway, and --gateway-image makes such processes: \
                           give one of them";
            return Err(Invalid(message.to_owned()));
        }
        let alone = flags.gateway.map(|gateway| Alone {
            namespace: gateway.namespace,
            name: gateway.name,
            uid: flags.gateway_uid,
        });
        let data_planes = image.map(|image| DataPlanes {
            image,
            cluster_role: flags.gateway_cluster_role,
            namespace_role: flags.gateway_namespace_role,
            arguments: [
                passed_on(compilation, publishing, cluster),
                flags.gateway_arg,
            ]
            .concat(),
        });
        Ok(Self { alone, data_planes })
    }

    /// The flag that was given of those that are for a cluster.
    pub(super) fn flag(&self) -> Option<&'static str> {
        match (&self.alone, &self.data_planes) {
            (Some(_), _) => Some("--gateway"),
            (None, Some(_)) => Some("--gateway-image"),
            (None, None) => None,
        }
    }
}

/// What both have to agree on.
fn passed_on(
    compilation: &flags::Compilation,
    publishing: &flags::Publishing,
    cluster: &flags::Cluster,
) -> Vec<String> {
    let range = &compilation.gateway_port_range;
    let kind = ServiceType::from(publishing.gateway_service_type);
    let mut arguments = vec![
        format!(
            "--gateway-controller-name={}",
            compilation.gateway_controller_name
        ),
        format!("--gateway-port-range={}-{}", range.start(), range.end()),
        format!("--gateway-service-type={}", kind.name()),
    ];
    let namespaces = cluster.watch_namespace.iter();
    arguments.extend(namespaces.map(|it| format!("--watch-namespace={it}")));
    let selector = cluster.watch_namespace_selector.iter();
    arguments.extend(selector.map(|it| format!("--watch-namespace-selector={it}")));
    arguments
}
