//! `narthex registry`: one file a subcommand.

mod filling;
mod list;
mod progress;
mod serve;
mod status;
mod sync;

use std::process::ExitCode;

use crate::failure::Failure;
use crate::flags::registry::{Registry, RegistryCommand};

/// Does what was asked.
pub(crate) fn run(flags: Registry) -> Result<ExitCode, Failure> {
    match flags.command {
        RegistryCommand::Serve(flags) => serve::run(*flags),
        RegistryCommand::Sync(flags) => sync::run(&flags),
        RegistryCommand::Status(flags) => status::run(&flags),
        RegistryCommand::List(flags) => list::run(&flags),
    }
}
