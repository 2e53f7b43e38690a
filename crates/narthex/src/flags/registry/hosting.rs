//! Flags by which tools are told of a registry.

use clap::Args;

use super::node_config::host;

/// What the ConfigMap of KEP-1755 refers to for people.
pub(crate) const HELP: &str = "https://github.com/kubernetes/enhancements/tree/master/keps/sig-cluster-lifecycle/generic/1755-communicating-a-local-registry";

/// How tools are told of the registry.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Image registry: telling tools")]
pub(crate) struct Hosting {
    /// Keep the ConfigMap `local-registry-hosting` (KEP-1755) in the cluster's namespace kube-public, by which
    /// tools find its registry: this is where they reach it, from outside of the cluster. One of somebody else is
    /// left alone.
    #[arg(
        id = "registry-hosting",
        long,
        env = "NARTHEX_REGISTRY_HOSTING",
        value_name = "HOST[:PORT]"
    )]
    #[arg(value_parser = host)]
    pub(crate) hosting: Option<String>,

    /// Where nodes reach it, if it is not the same.
    #[arg(
        id = "registry-hosting-from-nodes",
        long,
        env = "NARTHEX_REGISTRY_HOSTING_FROM_NODES"
    )]
    #[arg(value_name = "HOST[:PORT]", value_parser = host, requires = "registry-hosting")]
    pub(crate) hosting_from_nodes: Option<String>,

    /// Where pods reach it, if it is not the same.
    #[arg(
        id = "registry-hosting-from-pods",
        long,
        env = "NARTHEX_REGISTRY_HOSTING_FROM_PODS"
    )]
    #[arg(value_name = "HOST[:PORT]", value_parser = host, requires = "registry-hosting")]
    pub(crate) hosting_from_pods: Option<String>,

    /// A page for people who want to know how to use it. [default: the KEP]
    #[arg(
        id = "registry-hosting-help",
        long,
        env = "NARTHEX_REGISTRY_HOSTING_HELP",
        value_name = "URL"
    )]
    #[arg(value_parser = url, requires = "registry-hosting")]
    pub(crate) hosting_help: Option<String>,
}

fn url(text: &str) -> Result<String, String> {
    let is_web = text.starts_with("https://") || text.starts_with("http://");
    match is_web && text.parse::<http::Uri>().is_ok() {
        true => Ok(text.to_owned()),
        false => Err("write a URL that begins with https://".to_owned()),
    }
}
