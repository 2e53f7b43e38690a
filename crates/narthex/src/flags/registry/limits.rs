//! Flags of what clients of a registry may do.

use std::time::Duration;

use clap::{ArgAction, Args};

use crate::flags::values;

/// What clients of a registry may do.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Image registry: limits")]
pub(crate) struct Limits {
    /// The largest manifest (413 beyond).
    #[arg(
        id = "registry-max-manifest-size",
        long,
        env = "NARTHEX_REGISTRY_MAX_MANIFEST_SIZE",
        value_name = "SIZE"
    )]
    #[arg(default_value = "4MiB", value_parser = values::memory_size)]
    pub(crate) max_manifest_size: usize,

    /// The largest blob (413 beyond).
    #[arg(
        id = "registry-max-blob-size",
        long,
        env = "NARTHEX_REGISTRY_MAX_BLOB_SIZE",
        value_name = "SIZE"
    )]
    #[arg(default_value = "64g", value_parser = values::size)]
    pub(crate) max_blob_size: u64,

    /// The most connections; further ones are closed.
    #[arg(
        id = "registry-max-connections",
        long,
        env = "NARTHEX_REGISTRY_MAX_CONNECTIONS",
        value_name = "N"
    )]
    #[arg(default_value_t = 1024)]
    pub(crate) max_connections: usize,

    /// The most uploads that come at once (429 beyond).
    #[arg(
        id = "registry-max-uploads",
        long,
        env = "NARTHEX_REGISTRY_MAX_UPLOADS",
        value_name = "N"
    )]
    #[arg(default_value_t = 64)]
    pub(crate) max_uploads: usize,

    /// The most uploads that are begun and neither finished nor cancelled (429 beyond). Those that
    /// nobody goes on with end with --registry-gc-grace.
    #[arg(
        id = "registry-max-begun-uploads",
        long,
        env = "NARTHEX_REGISTRY_MAX_BEGUN_UPLOADS",
        value_name = "N"
    )]
    #[arg(default_value_t = 10_000)]
    pub(crate) max_begun_uploads: usize,

    /// How much may come of all those uploads together, until they are blobs (429 beyond); no less
    /// than --registry-max-blob-size in any case, and 0 is without a limit.
    #[arg(
        id = "registry-max-begun-bytes",
        long,
        env = "NARTHEX_REGISTRY_MAX_BEGUN_BYTES",
        value_name = "SIZE"
    )]
    #[arg(default_value = "256g", value_parser = values::size)]
    pub(crate) max_begun_bytes: u64,

    /// How much of the disk with the images is left to others: what would take of it is refused (507).
    #[arg(
        id = "registry-min-free-space",
        long,
        env = "NARTHEX_REGISTRY_MIN_FREE_SPACE",
        value_name = "SIZE"
    )]
    #[arg(default_value = "64MiB", value_parser = values::size)]
    pub(crate) min_free_space: u64,

    /// The largest request head (431 beyond).
    #[arg(
        id = "registry-max-header-bytes",
        long,
        env = "NARTHEX_REGISTRY_MAX_HEADER_BYTES",
        value_name = "SIZE"
    )]
    #[arg(default_value = "64KiB", value_parser = header_size)]
    pub(crate) max_header_bytes: usize,

    /// For a request's head, and between two requests on one connection.
    #[arg(
        id = "registry-header-timeout",
        long,
        env = "NARTHEX_REGISTRY_HEADER_TIMEOUT",
        value_name = "DURATION"
    )]
    #[arg(default_value = "60s", value_parser = values::duration)]
    pub(crate) header_timeout: Duration,

    /// Between two pieces of a request's body, for 16 KiB of an upload, and for a whole manifest.
    #[arg(
        id = "registry-body-timeout",
        long,
        env = "NARTHEX_REGISTRY_BODY_TIMEOUT",
        value_name = "DURATION"
    )]
    #[arg(default_value = "60s", value_parser = values::duration)]
    pub(crate) body_timeout: Duration,

    /// For a slow client to take something of an answer.
    #[arg(
        id = "registry-write-timeout",
        long,
        env = "NARTHEX_REGISTRY_WRITE_TIMEOUT",
        value_name = "DURATION"
    )]
    #[arg(default_value = "60s", value_parser = values::duration)]
    pub(crate) write_timeout: Duration,

    /// Digest blobs while they are pulled, too: one that is not what it was never looks complete to
    /// its client. Manifests are always verified.
    #[arg(
        id = "registry-verify-pulls",
        long,
        env = "NARTHEX_REGISTRY_VERIFY_PULLS",
        value_name = "BOOL"
    )]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set)]
    pub(crate) verify_pulls: bool,

    /// Take manifests whose blobs the repository does not have, as copies of a part of an image
    /// are. Without it, a push that forgot something is told so; manifests that an index lists may
    /// be missing in any case.
    #[arg(
        id = "registry-allow-missing-blobs",
        long,
        env = "NARTHEX_REGISTRY_ALLOW_MISSING_BLOBS",
        value_name = "BOOL"
    )]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set)]
    pub(crate) allow_missing_blobs: bool,
}

/// What the HTTP library can have.
fn header_size(text: &str) -> Result<usize, String> {
    match values::memory_size(text)? {
        0..8192 => Err("at least 8KiB".to_owned()),
        size => Ok(size),
    }
}
