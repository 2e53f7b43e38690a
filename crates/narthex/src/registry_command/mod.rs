//! `narthex registry`: images, and the credentials that they are fetched with.

mod creds;

use std::process::ExitCode;

use crate::failure::Failure;
use crate::flags::registry::{Registry, RegistryCommand};

/// Does what was asked for.
pub(crate) fn run(flags: Registry) -> Result<ExitCode, Failure> {
    match flags.command {
        RegistryCommand::Creds(creds) => creds::run(creds),
    }
}
