//! Flags of what is told to the cluster.

use clap::{ArgAction, Args, ValueEnum};

use super::values;

/// Flags of what is told to the cluster.
#[derive(Debug, Clone, Args)]
pub(crate) struct Publishing {
    /// The Service whose addresses Ingresses have in their status.
    /// [default: the nodes' addresses]
    #[arg(long, env = "NARTHEX_PUBLISH_SERVICE", value_name = "NAMESPACE/NAME")]
    #[arg(value_parser = values::namespaced_name, help_heading = "Kubernetes: status")]
    #[arg(conflicts_with = "publish_status_address")]
    pub(crate) publish_service: Option<values::NamespacedName>,

    /// An address or host name that Ingresses have in their status; repeatable.
    #[arg(long, env = "NARTHEX_PUBLISH_STATUS_ADDRESS", value_name = "ADDRESS,…")]
    #[arg(value_delimiter = ',', help_heading = "Kubernetes: status")]
    pub(crate) publish_status_address: Vec<String>,

    /// Of a node, tell the InternalIP even if it has an ExternalIP.
    #[arg(
        long,
        env = "NARTHEX_REPORT_NODE_INTERNAL_IP_ADDRESS",
        value_name = "BOOL"
    )]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, help_heading = "Kubernetes: status")]
    pub(crate) report_node_internal_ip_address: bool,

    /// Write the status of Ingresses.
    #[arg(long, env = "NARTHEX_UPDATE_STATUS", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = true, action = ArgAction::Set, help_heading = "Kubernetes: status")]
    pub(crate) update_status: bool,

    /// Take the addresses away when the last replica ends.
    #[arg(long, env = "NARTHEX_UPDATE_STATUS_ON_SHUTDOWN", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = true, action = ArgAction::Set, help_heading = "Kubernetes: status")]
    pub(crate) update_status_on_shutdown: bool,

    /// The kind of Service that each Gateway gets.
    #[arg(
        long,
        env = "NARTHEX_GATEWAY_SERVICE_TYPE",
        value_name = "TYPE",
        default_value = "LoadBalancer"
    )]
    #[arg(help_heading = "Gateways")]
    pub(crate) gateway_service_type: ServiceType,

    /// The most writes of status a second.
    #[arg(
        long,
        env = "NARTHEX_STATUS_WRITES_PER_SECOND",
        value_name = "N",
        default_value_t = 100
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..), help_heading = "Kubernetes: status")]
    pub(crate) status_writes_per_second: u32,

    /// The most Events a second; ten times as many at once after a rest.
    #[arg(
        long,
        env = "NARTHEX_EVENTS_PER_SECOND",
        value_name = "N",
        default_value_t = 10
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..), help_heading = "Kubernetes: status")]
    pub(crate) events_per_second: u32,

    /// The Lease of the leader, who alone writes status and Events.
    #[arg(long, env = "NARTHEX_ELECTION_ID", value_name = "NAME")]
    #[arg(default_value = "narthex-leader", help_heading = "Kubernetes: status")]
    pub(crate) election_id: String,

    /// Write the status of ingress-nginx's Ingresses too, even while an ingress-nginx runs.
    #[arg(long, env = "NARTHEX_TAKE_OVER", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, help_heading = "Kubernetes: status")]
    pub(crate) take_over: bool,

    /// A Lease by which a running ingress-nginx is known (its own --election-id), in any namespace;
    /// repeatable.
    #[arg(long, env = "NARTHEX_INGRESS_NGINX_ELECTION_ID", value_name = "NAME")]
    #[arg(value_delimiter = ',', help_heading = "Kubernetes: status")]
    #[arg(default_value = "ingress-nginx-leader,ingress-controller-leader")]
    pub(crate) ingress_nginx_election_id: Vec<String>,

    /// The namespace of this replica's pod, in which the Leases are.
    /// [default: $POD_NAMESPACE, else that of the ServiceAccount or of the kubeconfig's context]
    #[arg(long, env = "NARTHEX_POD_NAMESPACE", value_name = "NAMESPACE")]
    #[arg(help_heading = "Kubernetes: status")]
    pub(crate) pod_namespace: Option<String>,

    /// This replica's name, which no other may have.
    /// [default: $POD_NAME, else the host name, outside of a pod with the process id]
    #[arg(long, env = "NARTHEX_POD_NAME", value_name = "NAME")]
    #[arg(help_heading = "Kubernetes: status")]
    pub(crate) pod_name: Option<String>,
}

/// The kind of Service that each Gateway gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceType {
    /// An address of the cluster's load balancers.
    #[value(name = "LoadBalancer")]
    LoadBalancer,
    /// A port of every node.
    #[value(name = "NodePort")]
    NodePort,
    /// An address for inside alone.
    #[value(name = "ClusterIP")]
    ClusterIp,
}

impl From<ServiceType> for cluster::ServiceType {
    fn from(kind: ServiceType) -> Self {
        match kind {
            ServiceType::LoadBalancer => Self::LoadBalancer,
            ServiceType::NodePort => Self::NodePort,
            ServiceType::ClusterIp => Self::ClusterIp,
        }
    }
}
