//! `narthex registry`: one file a subcommand.

mod access;
mod beside;
mod credentials;
mod creds;
mod filling;
mod following;
mod gc;
mod list;
mod node_config;
mod plan;
mod progress;
mod pruning;
mod pull_through;
mod reach;
mod running;
mod scrub;
mod serve;
mod status;
mod sync;
mod tools;
mod upkeep;

use std::process::ExitCode;

use crate::failure::Failure;
use crate::flags::registry::{Registry, RegistryCommand};

pub(crate) use beside::Beside;
pub(crate) use plan::Plan;

/// Does what was asked.
pub(crate) fn run(flags: Registry) -> Result<ExitCode, Failure> {
    match flags.command {
        RegistryCommand::Serve(flags) => serve::run(*flags),
        RegistryCommand::Sync(flags) => sync::run(&flags),
        RegistryCommand::Status(flags) => status::run(&flags),
        RegistryCommand::List(flags) => list::run(&flags),
        RegistryCommand::Gc(flags) => gc::run(&flags),
        RegistryCommand::Scrub(flags) => scrub::run(&flags),
        RegistryCommand::Ls(flags) => tools::ls(&flags),
        RegistryCommand::Tags(flags) => tools::tags(&flags),
        RegistryCommand::Inspect(flags) => tools::inspect(&flags),
        RegistryCommand::Copy(flags) => tools::copy(&flags),
        RegistryCommand::Rm(flags) => tools::rm(&flags),
        RegistryCommand::LoginCheck(flags) => tools::login_check(&flags),
        RegistryCommand::NodeConfig(flags) => node_config::run(&flags),
        RegistryCommand::Creds(flags) => creds::run(flags),
    }
}

/// A runtime for something that is done once.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(crate::workers::available())
        .enable_all()
        .thread_name("narthex-registry")
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))
}

/// A runtime for a command that asks others, and waits for them.
fn waiting() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))
}
