//! Flags of `narthex serve` for a registry in the same process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use registry::store::Place;

use super::{BesideAccess, BesideFollowing, BesideHosting, BesidePullThrough};
use crate::flags::values;

/// A registry of images in the same process.
#[derive(Debug, Clone, Args)]
pub(crate) struct Beside {
    /// Serve a registry of images at this address, as `narthex registry serve` does; needs
    /// --registry-storage.
    #[arg(long, env = "NARTHEX_REGISTRY", value_name = "IP:PORT")]
    #[arg(requires = "registry_storage", help_heading = "Image registry")]
    pub(crate) registry: Option<SocketAddr>,

    /// Where images are kept: a folder, or the URL of a bucket (s3://…, gs://…, az://…).
    #[arg(long, env = "NARTHEX_REGISTRY_STORAGE", value_name = "DIR|URL")]
    #[arg(help_heading = "Image registry")]
    pub(crate) registry_storage: Option<Place>,

    /// Serve it without TLS at an address that is not this machine's own.
    #[arg(long, env = "NARTHEX_REGISTRY_INSECURE", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, help_heading = "Image registry")]
    pub(crate) registry_insecure: bool,

    /// Its certificate and those above it, in PEM; read again when the file changes.
    #[arg(long, env = "NARTHEX_REGISTRY_TLS_CERT_FILE", value_name = "FILE")]
    #[arg(requires = "registry_tls_key_file", help_heading = "Image registry")]
    pub(crate) registry_tls_cert_file: Option<PathBuf>,

    /// The certificate's key, in PEM.
    #[arg(long, env = "NARTHEX_REGISTRY_TLS_KEY_FILE", value_name = "FILE")]
    #[arg(requires = "registry_tls_cert_file", help_heading = "Image registry")]
    pub(crate) registry_tls_key_file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) access: BesideAccess,

    #[command(flatten)]
    pub(crate) following: BesideFollowing,

    #[command(flatten)]
    pub(crate) hosting: BesideHosting,

    #[command(flatten)]
    pub(crate) pull_through: BesidePullThrough,

    /// The largest blob (413 beyond).
    #[arg(long, env = "NARTHEX_REGISTRY_MAX_BLOB_SIZE", value_name = "SIZE")]
    #[arg(default_value = "64g", value_parser = values::size)]
    #[arg(help_heading = "Image registry")]
    pub(crate) registry_max_blob_size: u64,

    /// The most uploads that are begun and neither finished nor cancelled (429 beyond).
    #[arg(long, env = "NARTHEX_REGISTRY_MAX_BEGUN_UPLOADS", value_name = "N")]
    #[arg(default_value_t = 10_000, help_heading = "Image registry")]
    pub(crate) registry_max_begun_uploads: usize,

    /// Digest blobs while they are pulled, too.
    #[arg(long, env = "NARTHEX_REGISTRY_VERIFY_PULLS", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, help_heading = "Image registry")]
    pub(crate) registry_verify_pulls: bool,

    /// How often what nothing needs is taken away; 0 is never.
    #[arg(long, env = "NARTHEX_REGISTRY_GC_INTERVAL", value_name = "DURATION")]
    #[arg(default_value = "24h", value_parser = values::duration)]
    #[arg(help_heading = "Image registry")]
    pub(crate) registry_gc_interval: Duration,

    /// How long blobs stay that no manifest names, and uploads that nobody goes on with.
    #[arg(long, env = "NARTHEX_REGISTRY_GC_GRACE", value_name = "DURATION")]
    #[arg(default_value = "24h", value_parser = values::duration)]
    #[arg(help_heading = "Image registry")]
    pub(crate) registry_gc_grace: Duration,
}
