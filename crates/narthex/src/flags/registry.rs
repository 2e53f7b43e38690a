//! Flags of `narthex registry`: one file a subcommand.

mod access;
mod beside;
pub(crate) mod creds;
mod following;
mod hosting;
mod list;
mod node_config;
mod pull_through;
mod serve;
mod sync;
mod tools;
mod upkeep;

use clap::{Args, Subcommand};

pub(crate) use access::{Access, Anonymous, BesideAccess};
pub(crate) use beside::Beside;
pub(crate) use following::{BesideFollowing, Following, Prune};
pub(crate) use hosting::{BesideHosting, HELP, Hosting};
pub(crate) use list::{List, ListOutput};
pub(crate) use node_config::{Mirror, NodeConfig};
pub(crate) use pull_through::{BesidePullThrough, PullThrough};
pub(crate) use serve::Serve;
pub(crate) use sync::{Filling, IndexForm, Status, Sync};
pub(crate) use tools::{Copy, Inspect, LoginCheck, Ls, Reach, Rm, Tags};
pub(crate) use upkeep::{Gc, Scrub};

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
    /// Copy the images of a list into a registry: those that it does not have.
    Sync(Box<Sync>),
    /// Tell which images of a list a registry has, and which not.
    Status(Box<Status>),
    /// Name the images that manifests, or a cluster's workloads, need.
    List(Box<List>),
    /// Take away what nothing needs: blobs that no manifest names, and abandoned uploads.
    Gc(Gc),
    /// Read everything and say what is not what it was, and which images that hits.
    Scrub(Scrub),
    /// List the repositories of a registry.
    Ls(Box<Ls>),
    /// List the tags of a repository.
    Tags(Box<Tags>),
    /// Tell what an image is: its platforms, layers, sizes, and what refers to it.
    Inspect(Box<Inspect>),
    /// Copy an image to another place, in the same registry or another one.
    Copy(Box<Copy>),
    /// Remove tags, or manifests by their digests.
    Rm(Box<Rm>),
    /// Say what a registry asks of its clients, and whether these credentials are taken.
    LoginCheck(Box<LoginCheck>),
    /// Tell nodes of a registry: write containerd's hosts.toml.
    NodeConfig(Box<NodeConfig>),
    /// Bring credentials of outside registries into namespaces.
    Creds(creds::Creds),
}
