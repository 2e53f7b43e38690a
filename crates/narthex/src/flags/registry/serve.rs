//! Flags of `narthex registry serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use registry::store::Place;
use tracing_subscriber::filter::Targets;

use super::{Access, Following, Hosting, PullThrough};
use crate::flags::{LogFormat, values};

/// Keep images, and serve them to whoever speaks the OCI distribution specification.
///
/// Without users, clients of this machine may do everything and others pull; with them, whoever
/// shows nothing may nothing. The address is this machine's own unless another one is given, which
/// needs --tls-cert-file and --tls-key-file, or --insecure.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Serve {
    /// Where it is served.
    #[arg(long, env = "NARTHEX_REGISTRY_ADDRESS", value_name = "IP:PORT")]
    #[arg(default_value = "127.0.0.1:5000")]
    pub(crate) address: SocketAddr,

    /// Where images are kept: a folder, or the URL of a bucket (s3://BUCKET/PREFIX, gs://…,
    /// az://…) with credentials from the environment. One process writes to it.
    #[arg(long, env = "NARTHEX_REGISTRY_STORAGE", value_name = "DIR|URL")]
    pub(crate) storage: Place,

    /// Serve without TLS at an address that is not this machine's own.
    #[arg(long, env = "NARTHEX_REGISTRY_INSECURE", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set)]
    pub(crate) insecure: bool,

    /// The certificate and those above it, in PEM; read again when the file changes.
    #[arg(long, env = "NARTHEX_REGISTRY_TLS_CERT_FILE", value_name = "FILE")]
    #[arg(requires = "tls_key_file")]
    pub(crate) tls_cert_file: Option<PathBuf>,

    /// Its key, in PEM.
    #[arg(long, env = "NARTHEX_REGISTRY_TLS_KEY_FILE", value_name = "FILE")]
    #[arg(requires = "tls_cert_file")]
    pub(crate) tls_key_file: Option<PathBuf>,

    /// How often what nothing needs is taken away; 0 is never.
    #[arg(long, env = "NARTHEX_REGISTRY_GC_INTERVAL", value_name = "DURATION")]
    #[arg(default_value = "24h", value_parser = values::duration)]
    pub(crate) gc_interval: Duration,

    /// How long blobs stay that no manifest names, and uploads that nobody goes on with: longer
    /// than a push takes.
    #[arg(long, env = "NARTHEX_REGISTRY_GC_GRACE", value_name = "DURATION")]
    #[arg(default_value = "24h", value_parser = values::duration)]
    pub(crate) gc_grace: Duration,

    /// Where /metrics and /healthz are. [default: nowhere]
    #[arg(long, env = "NARTHEX_REGISTRY_METRICS_ADDRESS", value_name = "IP:PORT")]
    pub(crate) metrics_address: Option<SocketAddr>,

    /// How the program's own log is written to standard error.
    #[arg(long, env = "NARTHEX_LOG_FORMAT", value_name = "FORMAT")]
    #[arg(default_value = "text")]
    pub(crate) log_format: LogFormat,

    /// How much the program's own log says: error, warn, info, debug, trace.
    #[arg(long, env = "NARTHEX_LOG_LEVEL", value_name = "LEVEL")]
    #[arg(default_value = "info", value_parser = values::log_filter)]
    pub(crate) log_level: Targets,

    // What has a heading of its own comes last: a heading holds for all below it.
    #[command(flatten)]
    pub(crate) access: Access,

    #[command(flatten)]
    pub(crate) following: Following,

    #[command(flatten)]
    pub(crate) hosting: Hosting,

    #[command(flatten)]
    pub(crate) pull_through: PullThrough,

    #[command(flatten)]
    pub(crate) limits: Limits,
}

/// What clients of a registry may do.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Limits {
    /// The largest manifest (413 beyond).
    #[arg(long, env = "NARTHEX_REGISTRY_MAX_MANIFEST_SIZE", value_name = "SIZE")]
    #[arg(default_value = "4MiB", value_parser = values::memory_size)]
    pub(crate) max_manifest_size: usize,

    /// The largest blob (413 beyond).
    #[arg(long, env = "NARTHEX_REGISTRY_MAX_BLOB_SIZE", value_name = "SIZE")]
    #[arg(default_value = "64g", value_parser = values::size)]
    pub(crate) max_blob_size: u64,

    /// The most connections; further ones are closed.
    #[arg(long, env = "NARTHEX_REGISTRY_MAX_CONNECTIONS", value_name = "N")]
    #[arg(default_value_t = 1024)]
    pub(crate) max_connections: usize,

    /// The most uploads that come at once (429 beyond).
    #[arg(long, env = "NARTHEX_REGISTRY_MAX_UPLOADS", value_name = "N")]
    #[arg(default_value_t = 64)]
    pub(crate) max_uploads: usize,

    /// The most uploads that are begun and neither finished nor cancelled (429 beyond). Those that
    /// nobody goes on with end with --gc-grace.
    #[arg(long, env = "NARTHEX_REGISTRY_MAX_BEGUN_UPLOADS", value_name = "N")]
    #[arg(default_value_t = 10_000)]
    pub(crate) max_begun_uploads: usize,

    /// How much may come of all those uploads together, until they are blobs (429 beyond); no less
    /// than --max-blob-size in any case, and 0 is without a limit.
    #[arg(long, env = "NARTHEX_REGISTRY_MAX_BEGUN_BYTES", value_name = "SIZE")]
    #[arg(default_value = "256g", value_parser = values::size)]
    pub(crate) max_begun_bytes: u64,

    /// How much of the disk with the images is left to others: what would take of it is refused (507).
    #[arg(long, env = "NARTHEX_REGISTRY_MIN_FREE_SPACE", value_name = "SIZE")]
    #[arg(default_value = "64MiB", value_parser = values::size)]
    pub(crate) min_free_space: u64,

    /// The largest request head (431 beyond).
    #[arg(long, env = "NARTHEX_REGISTRY_MAX_HEADER_BYTES", value_name = "SIZE")]
    #[arg(default_value = "64KiB", value_parser = header_size)]
    pub(crate) max_header_bytes: usize,

    /// For a request's head, and between two requests on one connection.
    #[arg(long, env = "NARTHEX_REGISTRY_HEADER_TIMEOUT", value_name = "DURATION")]
    #[arg(default_value = "60s", value_parser = values::duration)]
    pub(crate) header_timeout: Duration,

    /// Between two pieces of a request's body, and for a whole manifest.
    #[arg(long, env = "NARTHEX_REGISTRY_BODY_TIMEOUT", value_name = "DURATION")]
    #[arg(default_value = "60s", value_parser = values::duration)]
    pub(crate) body_timeout: Duration,

    /// For a slow client to take something of an answer.
    #[arg(long, env = "NARTHEX_REGISTRY_WRITE_TIMEOUT", value_name = "DURATION")]
    #[arg(default_value = "60s", value_parser = values::duration)]
    pub(crate) write_timeout: Duration,

    /// Digest blobs while they are pulled, too: one that is not what it was never looks complete to
    /// its client. Manifests are always verified.
    #[arg(long, env = "NARTHEX_REGISTRY_VERIFY_PULLS", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set)]
    pub(crate) verify_pulls: bool,

    /// Take manifests whose blobs the repository does not have, as copies of a part of an image
    /// are. Without it, a push that forgot something is told so; manifests that an index lists may
    /// be missing in any case.
    #[arg(
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
