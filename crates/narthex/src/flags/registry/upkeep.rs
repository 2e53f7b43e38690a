//! Flags of `narthex registry gc` and `scrub`.

use std::time::Duration;

use clap::{ArgAction, Args};
use registry::store::Place;

use crate::flags::{Output, values};

/// Take away what nothing needs: blobs that no manifest names, and abandoned uploads.
///
/// Where a process serves the folder, that process is asked to do it, beside its traffic.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Gc {
    /// Where images are kept: a folder, or the URL of a bucket.
    #[arg(long, env = "NARTHEX_REGISTRY_STORAGE", value_name = "DIR|URL")]
    pub(crate) storage: Place,

    /// What is younger stays: longer than a push takes.
    #[arg(long, env = "NARTHEX_REGISTRY_GC_GRACE", value_name = "DURATION")]
    #[arg(default_value = "1h", value_parser = values::duration)]
    pub(crate) grace: Duration,

    /// Of a bucket, nobody can tell whether a process serves it: say that none does.
    #[arg(long, env = "NARTHEX_REGISTRY_ALONE", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set)]
    pub(crate) alone: bool,

    /// How it is written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
}

/// Read everything and say what is not what it was, and which images that hits.
///
/// Changes nothing. Exits with 0 if all is well, with 1 if anything is not.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Scrub {
    /// Where images are kept: a folder, or the URL of a bucket.
    #[arg(long, env = "NARTHEX_REGISTRY_STORAGE", value_name = "DIR|URL")]
    pub(crate) storage: Place,

    /// How it is written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
}
