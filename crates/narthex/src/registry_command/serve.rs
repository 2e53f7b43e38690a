//! `narthex registry serve`: images for whoever asks.

use std::process::ExitCode;

use crate::failure::Failure;
use crate::flags::registry::Serve;

/// Serves until a signal ends it.
pub(crate) fn run(flags: Serve) -> Result<ExitCode, Failure> {
    let Serve {
        address,
        storage,
        insecure,
    } = flags;
    Err(Failure::new(format!(
        "{address} {storage} {insecure}: not served yet"
    )))
}
