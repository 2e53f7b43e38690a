//! Where the objects come from, and what a cluster is told of them.

use std::path::PathBuf;
use std::time::Duration;

use cluster::{Access, Address, Publish};
use compile::GatewayScope;

use super::{Gateways, Invalid};
use crate::flags;

/// Where the objects come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// Files and folders of manifests.
    Files(Vec<PathBuf>),
    /// A cluster.
    Cluster(Box<Cluster>),
}

/// A cluster whose objects are served.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) access: Access,
    pub(crate) options: cluster::watch::Options,
    pub(crate) webhook: flags::Webhook,
    /// How old a copy of its objects may be to be served.
    pub(crate) last_good_max_age: Duration,
    pub(crate) publishing: Publishing,
}

/// What is told to a cluster, and as whom.
#[derive(Debug)]
pub(crate) struct Publishing {
    pub(crate) options: cluster::PublishOptions,
    /// This replica's name, if it was given one.
    pub(crate) name: Option<String>,
    /// Its namespace, if it was told.
    namespace: Option<String>,
}

impl Publishing {
    fn new(flags: flags::Publishing, namespaces: Vec<String>, gateways: Gateways) -> Self {
        let publish = match flags.publish_service {
            Some(service) => Publish::Service {
                namespace: service.namespace,
                name: service.name,
            },
            None if flags.publish_status_address.is_empty() => Publish::Nodes {
                internal: flags.report_node_internal_ip_address,
            },
            None => {
                let given = flags.publish_status_address.iter();
                Publish::Addresses(given.map(|it| Address::parse(it.trim())).collect())
            }
        };
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            options: cluster::PublishOptions {
                election_id: flags.election_id,
                namespaces,
                update_status: flags.update_status,
                clear_on_shutdown: flags.update_status_on_shutdown,
                publish,
                take_over: flags.take_over,
                alone: gateways.alone,
                data_planes: gateways.data_planes,
                gateway_service_type: flags.gateway_service_type.into(),
                ingress_nginx_election_ids: flags.ingress_nginx_election_id,
                // Known with what the objects mean.
                gateway_controller: String::new(),
                status_writes_per_second: flags.status_writes_per_second,
                events_per_second: flags.events_per_second,
            },
            name: flags.pod_name.or_else(|| set("POD_NAME")),
            namespace: flags.pod_namespace.or_else(|| set("POD_NAMESPACE")),
        }
    }

    /// The namespace of this replica.
    pub(crate) fn namespace(&self, connection: &cluster::Connection) -> String {
        let told = self.namespace.as_deref();
        told.unwrap_or_else(|| connection.client().default_namespace())
            .to_owned()
    }
}

impl Source {
    /// Reads what `serve` was given.
    pub(crate) fn new(
        paths: Vec<PathBuf>,
        flags: &flags::Cluster,
        publishing: flags::Publishing,
        gateways: Gateways,
        webhook: flags::Webhook,
        process: &flags::ingress_nginx::Process,
    ) -> Result<Self, Invalid> {
        let url = process.apiserver_host.clone();
        let url = url.map(|url| Access::Url(url, process.certificate_authority.clone()));
        let access = flags.kubeconfig.clone().map(Access::File).or(url);
        if gateways.alone.is_some() && webhook.validating_webhook.is_some() {
            let message = "--validating-webhook is about Ingresses, and --gateway serves none";
            return Err(Invalid(message.to_owned()));
        }
        if !paths.is_empty() {
            if let Some(flag) = gateways.flag() {
                let message = format!("{flag} is for a cluster, and a PATH is served");
                return Err(Invalid(message));
            }
            if access.is_some() {
                let message =
                    "a PATH and --kubeconfig or --apiserver-host contradict each other: give one";
                return Err(Invalid(message.to_owned()));
            }
            if webhook.validating_webhook.is_some() {
                let message = "--validating-webhook is for a cluster, and a PATH is served";
                return Err(Invalid(message.to_owned()));
            }
            return Ok(Self::Files(paths));
        }
        let Some(access) = access.or_else(Access::find) else {
            return Err(Invalid(
                "nothing to serve: give a PATH of manifests, or --kubeconfig FILE (or set \
                 KUBECONFIG) for a cluster; in a pod, its own cluster is found without either"
                    .to_owned(),
            ));
        };
        Ok(Self::Cluster(Box::new(Cluster {
            access,
            options: cluster::watch::Options {
                namespaces: flags.watch_namespace.clone(),
                namespace_selector: flags.watch_namespace_selector.clone(),
                ingresses: gateways.alone.is_none(),
                all_secrets: flags.watch_all_secrets,
                max_references: flags.max_secret_watches,
                optional: cluster::Optional::known(),
                counted: None,
            },
            publishing: Publishing::new(publishing, flags.watch_namespace.clone(), gateways),
            webhook,
            last_good_max_age: flags.last_good_max_age,
        })))
    }
}

impl Source {
    /// Whether it is the cluster that this process is a pod of.
    pub(super) fn is_own_cluster(&self) -> bool {
        matches!(self, Self::Cluster(cluster) if cluster.access == Access::InCluster)
    }

    /// Which Gateways are this process's.
    pub(super) fn gateway_scope(&self) -> GatewayScope {
        let Self::Cluster(cluster) = self else {
            return GatewayScope::All;
        };
        let options = &cluster.publishing.options;
        match &options.alone {
            Some(alone) => GatewayScope::One {
                namespace: alone.namespace.as_str().into(),
                name: alone.name.as_str().into(),
            },
            None => GatewayScope::Shared {
                dedicated: options.data_planes.is_some(),
            },
        }
    }

    /// How old a copy of its objects may be to be served; 0 where none is kept.
    pub(crate) fn last_good_max_age(&self) -> Duration {
        match self {
            Self::Files(_) => Duration::ZERO,
            Self::Cluster(cluster) => cluster.last_good_max_age,
        }
    }
}
