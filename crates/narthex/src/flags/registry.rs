//! Flags of `narthex registry`: one file a subcommand.

mod access;
mod beside;
pub(crate) mod creds;
mod following;
mod hosting;
mod limits;
mod list;
mod node_config;
mod pull_through;
mod serve;
mod settings;
mod sync;
mod tools;
mod upkeep;

use clap::{Args, Subcommand};

pub(crate) use access::{Access, Anonymous};
pub(crate) use beside::Beside;
pub(crate) use following::{Following, Prune};
pub(crate) use hosting::{HELP, Hosting};
pub(crate) use limits::Limits;
pub(crate) use list::{List, ListOutput};
pub(crate) use node_config::{Mirror, NodeConfig};
pub(crate) use pull_through::PullThrough;
pub(crate) use serve::Serve;
pub(crate) use settings::{Alone, Settings};
pub(crate) use sync::{Filling, IndexForm, Status, Sync};
pub(crate) use tools::{Copy, Inspect, LoginCheck, Ls, Reach, Rm, Tags};
pub(crate) use upkeep::{Gc, Scrub};

/// Keep container images, and fill and look at registries of them.
#[derive(Debug, Args)]
pub(crate) struct Registry {
    #[command(subcommand)]
    pub(crate) command: RegistryCommand,
}

// Their help is what their flags say of themselves: here, it would hide all but its first line.
#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    Serve(Box<Serve>),
    Sync(Box<Sync>),
    Status(Box<Status>),
    List(Box<List>),
    Gc(Gc),
    Scrub(Scrub),
    Ls(Box<Ls>),
    Tags(Box<Tags>),
    Inspect(Box<Inspect>),
    Copy(Box<Copy>),
    Rm(Box<Rm>),
    LoginCheck(Box<LoginCheck>),
    NodeConfig(Box<NodeConfig>),
    Creds(creds::Creds),
}
