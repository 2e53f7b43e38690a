//! Flags of the Kubernetes cluster that is served.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::values;

/// Flags of the Kubernetes cluster that is served.
#[derive(Debug, Clone, Args)]
pub(crate) struct Cluster {
    /// The cluster's kubeconfig file.
    /// [default: in a pod its ServiceAccount, else $KUBECONFIG]
    #[arg(long, env = "NARTHEX_KUBECONFIG", value_name = "FILE")]
    #[arg(help_heading = "Kubernetes")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// A namespace whose objects are read; repeatable.
    /// [default: all]
    #[arg(long, env = "NARTHEX_WATCH_NAMESPACE", value_name = "NAMESPACE")]
    #[arg(value_delimiter = ',', help_heading = "Kubernetes")]
    pub(crate) watch_namespace: Vec<String>,

    /// Which namespaces, by their labels: as kubectl's --selector, for example team=web,stage!=test.
    #[arg(long, env = "NARTHEX_WATCH_NAMESPACE_SELECTOR", value_name = "LABELS")]
    #[arg(conflicts_with = "watch_namespace", help_heading = "Kubernetes")]
    pub(crate) watch_namespace_selector: Option<String>,

    /// Read every Secret and ConfigMap, and not only those that something refers to: for clusters
    /// with thousands of certificates. It takes the right to list them all.
    #[arg(long, env = "NARTHEX_WATCH_ALL_SECRETS", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, help_heading = "Kubernetes")]
    pub(crate) watch_all_secrets: bool,

    /// How old the configuration in --state-dir may be that is served where a start finds no API
    /// server; pods' addresses are used again. 0 keeps none.
    #[arg(long, env = "NARTHEX_LAST_GOOD_MAX_AGE", value_name = "DURATION")]
    #[arg(value_parser = values::duration, default_value = "1h", help_heading = "Kubernetes")]
    pub(crate) last_good_max_age: Duration,
}
