//! Flags of registries that keep themselves filled by lists.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::flags::values;

/// Images that a registry brings by itself.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Images that it brings")]
pub(crate) struct Following {
    /// Bring the images of this list, and keep them as it has them; repeatable. It is read again
    /// when it changes.
    #[arg(long, env = "NARTHEX_REGISTRY_SYNC", value_name = "LIST")]
    #[arg(value_delimiter = ',')]
    pub(crate) sync: Vec<PathBuf>,

    /// How often the lists' sources are asked for what is new; 0 is once.
    #[arg(long, env = "NARTHEX_REGISTRY_SYNC_INTERVAL", value_name = "DURATION")]
    #[arg(default_value = "1h", value_parser = values::duration)]
    pub(crate) sync_interval: Duration,

    /// Images that are brought at once.
    #[arg(long, env = "NARTHEX_REGISTRY_SYNC_PARALLEL", value_name = "N")]
    #[arg(default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) sync_parallel: u8,

    /// What becomes of tags that the lists brought and no longer name: off, tell (the log says
    /// which would leave) or on. One that somebody has changed since stays; and all do while a
    /// list cannot be read, an entry means no image, or not all that the lists name is there.
    #[arg(long, env = "NARTHEX_REGISTRY_SYNC_PRUNE", value_name = "WHEN")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    #[arg(default_value = "off")]
    pub(crate) sync_prune: Prune,

    /// Credentials for the lists' sources, as docker's config.json has them.
    /// [default: $REGISTRY_AUTH_FILE, else those of docker, podman and skopeo]
    #[arg(long, env = "NARTHEX_REGISTRY_SYNC_AUTHFILE", value_name = "FILE")]
    pub(crate) sync_authfile: Option<PathBuf>,

    /// A file with manifests of kind RegistryCredentials, whose providers are asked for credentials
    /// for the lists' sources; repeatable.
    #[arg(
        long,
        env = "NARTHEX_REGISTRY_SYNC_CREDENTIALS_FILE",
        value_name = "FILE",
        value_delimiter = ','
    )]
    pub(crate) sync_credentials_file: Vec<PathBuf>,
}

/// What becomes of tags that the lists brought and no longer name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Prune {
    /// They stay.
    #[default]
    Off,
    /// They stay, and the log says which would leave.
    Tell,
    /// They leave.
    On,
}

/// The same of a registry beside `narthex serve`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Image registry")]
pub(crate) struct BesideFollowing {
    /// Bring the images of this list into the registry, and keep them as it has them; repeatable.
    /// It is read again when it changes.
    #[arg(long, env = "NARTHEX_REGISTRY_SYNC", value_name = "LIST")]
    #[arg(value_delimiter = ',', requires = "registry")]
    pub(crate) registry_sync: Vec<PathBuf>,

    /// How often the lists' sources are asked for what is new; 0 is once.
    #[arg(long, env = "NARTHEX_REGISTRY_SYNC_INTERVAL", value_name = "DURATION")]
    #[arg(default_value = "1h", value_parser = values::duration)]
    pub(crate) registry_sync_interval: Duration,

    /// Images that are brought at once.
    #[arg(long, env = "NARTHEX_REGISTRY_SYNC_PARALLEL", value_name = "N")]
    #[arg(default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) registry_sync_parallel: u8,

    /// Credentials for the lists' sources, as docker's config.json has them.
    /// [default: $REGISTRY_AUTH_FILE, else those of docker, podman and skopeo]
    #[arg(long, env = "NARTHEX_REGISTRY_SYNC_AUTHFILE", value_name = "FILE")]
    pub(crate) registry_sync_authfile: Option<PathBuf>,

    /// A file with manifests of kind RegistryCredentials, whose providers are asked for credentials
    /// for the lists' sources; repeatable.
    #[arg(
        long,
        env = "NARTHEX_REGISTRY_SYNC_CREDENTIALS_FILE",
        value_name = "FILE",
        value_delimiter = ','
    )]
    pub(crate) registry_sync_credentials_file: Vec<PathBuf>,
}

impl BesideFollowing {
    /// The same by the names that `registry serve` has.
    pub(crate) fn plain(&self) -> Following {
        Following {
            sync: self.registry_sync.clone(),
            sync_interval: self.registry_sync_interval,
            sync_parallel: self.registry_sync_parallel,
            sync_prune: Prune::default(),
            sync_authfile: self.registry_sync_authfile.clone(),
            sync_credentials_file: self.registry_sync_credentials_file.clone(),
        }
    }
}
