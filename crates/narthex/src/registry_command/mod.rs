//! `narthex registry`: one file a subcommand.

mod serve;

use std::process::ExitCode;

use crate::failure::Failure;
use crate::flags::registry::{Registry, RegistryCommand};

/// Does what was asked.
pub(crate) fn run(flags: Registry) -> Result<ExitCode, Failure> {
    match flags.command {
        RegistryCommand::Serve(flags) => serve::run(*flags),
    }
}
