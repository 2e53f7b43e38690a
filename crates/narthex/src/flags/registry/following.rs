//! Flags of registries that keep themselves filled by lists.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::flags::values;

/// Images that a registry brings by itself.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Image registry: images that it brings")]
pub(crate) struct Following {
    /// Bring the images of this list, and keep them as it has them; repeatable. It is read again
    /// when it changes.
    #[arg(
        id = "registry-sync",
        long,
        env = "NARTHEX_REGISTRY_SYNC",
        value_name = "LIST"
    )]
    #[arg(value_delimiter = ',')]
    pub(crate) sync: Vec<PathBuf>,

    /// Bring the images of the ImageLists in this namespace of the cluster as well, and say in their
    /// status how they stand. Who may write them there may put any image into the registry.
    #[arg(
        id = "registry-image-lists",
        long,
        env = "NARTHEX_REGISTRY_IMAGE_LISTS",
        value_name = "NAMESPACE"
    )]
    #[arg(value_parser = namespace)]
    pub(crate) image_lists: Option<String>,

    /// How often the lists' sources are asked for what is new; 0 is once.
    #[arg(
        id = "registry-sync-interval",
        long,
        env = "NARTHEX_REGISTRY_SYNC_INTERVAL",
        value_name = "DURATION"
    )]
    #[arg(default_value = "1h", value_parser = values::duration)]
    pub(crate) sync_interval: Duration,

    /// Images that are brought at once.
    #[arg(
        id = "registry-sync-parallel",
        long,
        env = "NARTHEX_REGISTRY_SYNC_PARALLEL",
        value_name = "N"
    )]
    #[arg(default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) sync_parallel: u8,

    /// What becomes of tags that the lists brought and no longer name: off, tell (the log says
    /// which would leave) or on. One that somebody has changed since stays; and all do while a
    /// list cannot be read, an entry means no image, or not all that the lists name is there.
    /// Not together with --registry-image-lists.
    #[arg(
        id = "registry-sync-prune",
        long,
        env = "NARTHEX_REGISTRY_SYNC_PRUNE",
        value_name = "WHEN"
    )]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    #[arg(default_value = "off")]
    pub(crate) sync_prune: Prune,

    /// Credentials for the lists' sources, as docker's config.json has them.
    /// [default: $REGISTRY_AUTH_FILE, else those of docker, podman and skopeo]
    #[arg(
        id = "registry-sync-authfile",
        long,
        env = "NARTHEX_REGISTRY_SYNC_AUTHFILE",
        value_name = "FILE"
    )]
    pub(crate) sync_authfile: Option<PathBuf>,

    /// A file with manifests of kind RegistryCredentials, whose providers are asked for credentials
    /// for the lists' sources; repeatable.
    #[arg(
        id = "registry-sync-credentials-file",
        long,
        env = "NARTHEX_REGISTRY_SYNC_CREDENTIALS_FILE",
        value_name = "FILE",
        value_delimiter = ','
    )]
    pub(crate) sync_credentials_file: Vec<PathBuf>,
}

/// What becomes of tags that the lists brought and no longer name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Prune {
    /// They stay.
    Off,
    /// They stay, and the log says which would leave.
    Tell,
    /// They leave.
    On,
}

/// RFC 1123's label, as the API server takes it.
fn namespace(text: &str) -> Result<String, String> {
    let is_inner = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    let right = !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    match right {
        true => Ok(text.to_owned()),
        false => Err("write the name of a namespace".to_owned()),
    }
}
