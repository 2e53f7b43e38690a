//! Flags of `narthex serve` for a registry in the same process.

use std::net::SocketAddr;

use clap::Args;
use registry::store::Place;

use super::Settings;

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

    #[command(flatten)]
    pub(crate) settings: Settings,
}
