//! Flags of `narthex registry`: one file a subcommand.

mod serve;

use clap::{Args, Subcommand};

pub(crate) use serve::Serve;

/// Keep container images, and fill and look at registries of them.
#[derive(Debug, Args)]
pub(crate) struct Registry {
    #[command(subcommand)]
    pub(crate) command: RegistryCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Keep images, and serve them to whoever speaks the OCI distribution specification.
    Serve(Box<Serve>),
}
