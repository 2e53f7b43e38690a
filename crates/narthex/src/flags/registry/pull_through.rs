//! Flags of a registry that gets what it does not have.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use registry::cache::Host;

use crate::flags::values;

/// Registries whose images are got when they are pulled.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Image registry: pull-through cache")]
pub(crate) struct PullThrough {
    /// Get what is pulled of these registries and is not here, and keep it: under
    /// docker.io/library/nginx, or library/nginx where the client names the registry beside it, as
    /// containerd does. No other one is asked. Repeatable.
    #[arg(
        id = "registry-pull-through",
        long,
        env = "NARTHEX_REGISTRY_PULL_THROUGH",
        value_name = "HOST[:PORT]"
    )]
    #[arg(value_delimiter = ',')]
    pub(crate) pull_through: Vec<Host>,

    /// How long a tag is taken to be what it was, before its registry is asked again.
    #[arg(
        id = "registry-pull-through-ttl",
        long,
        env = "NARTHEX_REGISTRY_PULL_THROUGH_TTL",
        value_name = "DURATION"
    )]
    #[arg(default_value = "5m", value_parser = values::duration)]
    pub(crate) pull_through_ttl: Duration,

    /// How long images stay that nobody pulls; 0 is for ever.
    #[arg(
        id = "registry-pull-through-keep",
        long,
        env = "NARTHEX_REGISTRY_PULL_THROUGH_KEEP",
        value_name = "DURATION"
    )]
    #[arg(default_value = "0", value_parser = values::duration)]
    pub(crate) pull_through_keep: Duration,

    /// How many blobs are fetched at once; further ones wait.
    #[arg(
        id = "registry-pull-through-fetches",
        long,
        env = "NARTHEX_REGISTRY_PULL_THROUGH_FETCHES",
        value_name = "N"
    )]
    #[arg(default_value_t = 16)]
    pub(crate) pull_through_fetches: usize,

    /// Credentials for those registries, as docker's config.json; read again when it changes.
    /// [default: the files of docker, podman and skopeo]
    #[arg(
        id = "registry-pull-through-authfile",
        long,
        env = "NARTHEX_REGISTRY_PULL_THROUGH_AUTHFILE",
        value_name = "FILE"
    )]
    #[arg(requires = "registry-pull-through")]
    pub(crate) pull_through_authfile: Option<PathBuf>,

    /// A file with manifests of kind RegistryCredentials, whose providers are asked for credentials
    /// for those registries; repeatable.
    #[arg(
        id = "registry-pull-through-credentials-file",
        long,
        env = "NARTHEX_REGISTRY_PULL_THROUGH_CREDENTIALS_FILE",
        value_name = "FILE"
    )]
    #[arg(value_delimiter = ',', requires = "registry-pull-through")]
    pub(crate) pull_through_credentials_file: Vec<PathBuf>,

    /// Authorities (PEM) of their certificates, beside the system's.
    #[arg(
        id = "registry-pull-through-ca-file",
        long,
        env = "NARTHEX_REGISTRY_PULL_THROUGH_CA_FILE",
        value_name = "FILE"
    )]
    #[arg(requires = "registry-pull-through")]
    pub(crate) pull_through_ca_file: Option<PathBuf>,

    /// Those of them that may have any certificate, or none and speak plain HTTP. Repeatable.
    #[arg(
        id = "registry-pull-through-insecure",
        long,
        env = "NARTHEX_REGISTRY_PULL_THROUGH_INSECURE",
        value_name = "HOST[:PORT]"
    )]
    #[arg(value_delimiter = ',', requires = "registry-pull-through")]
    pub(crate) pull_through_insecure: Vec<Host>,
}
