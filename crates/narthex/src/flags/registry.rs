//! Flags of `narthex registry`.

pub(crate) mod creds;

use clap::{Args, Subcommand};

/// Bring images into a cluster, and the credentials that they are fetched with.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Registry {
    #[command(subcommand)]
    pub(crate) command: RegistryCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Bring credentials of outside registries into namespaces.
    Creds(creds::Creds),
}
