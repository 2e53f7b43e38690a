//! Flags of Gateways that have a data plane of their own.

use clap::Args;

use super::values::{self, NamespacedName};

/// Flags of Gateways that have a data plane of their own.
#[derive(Debug, Clone, Args)]
pub(crate) struct Gateways {
    /// Serve this Gateway alone, with the ListenerSets and routes that are attached to it, and no
    /// Ingress: what a Gateway's own Deployment does. Its pods are in the Gateway's namespace.
    #[arg(long, env = "NARTHEX_GATEWAY", value_name = "NAMESPACE/NAME")]
    #[arg(value_parser = values::namespaced_name)]
    #[arg(help_heading = "Gateways: data planes of their own")]
    pub(crate) gateway: Option<NamespacedName>,

    /// The metadata.uid of the Gateway of --gateway: the leader's Lease goes with it.
    #[arg(
        long,
        env = "NARTHEX_GATEWAY_UID",
        value_name = "UID",
        requires = "gateway"
    )]
    #[arg(help_heading = "Gateways: data planes of their own")]
    pub(crate) gateway_uid: Option<String>,

    /// The image of Narthex. With it, Gateways whose parameters say data-plane: dedicated get a
    /// Deployment of their own, which takes the rights that the chart gives.
    /// [default: none, and such parameters are refused]
    #[arg(long, env = "NARTHEX_GATEWAY_IMAGE", value_name = "IMAGE")]
    #[arg(
        conflicts_with = "gateway",
        help_heading = "Gateways: data planes of their own"
    )]
    pub(crate) gateway_image: Option<String>,

    /// The ClusterRole of what such a Deployment reads in all namespaces, and whose status it
    /// writes there.
    #[arg(long, env = "NARTHEX_GATEWAY_CLUSTER_ROLE", value_name = "NAME")]
    #[arg(
        default_value = "narthex-gateway",
        help_heading = "Gateways: data planes of their own"
    )]
    pub(crate) gateway_cluster_role: String,

    /// The ClusterRole of what such a Deployment may do in its own namespace.
    #[arg(long, env = "NARTHEX_GATEWAY_NAMESPACE_ROLE", value_name = "NAME")]
    #[arg(default_value = "narthex-gateway-namespace")]
    #[arg(help_heading = "Gateways: data planes of their own")]
    pub(crate) gateway_namespace_role: String,

    /// A flag of `serve` that such Deployments get, as --gateway-arg=--read-timeout=30s;
    /// repeatable. This process's own flags are not passed on, but for those of Gateways and
    /// --watch-namespace(-selector).
    #[arg(long, env = "NARTHEX_GATEWAY_ARG", value_name = "--FLAG=VALUE")]
    #[arg(value_parser = values::flag, allow_hyphen_values = true, value_delimiter = ' ')]
    #[arg(help_heading = "Gateways: data planes of their own")]
    pub(crate) gateway_arg: Vec<String>,
}
