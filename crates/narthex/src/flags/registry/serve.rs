//! Flags of `narthex registry serve`.

use std::net::SocketAddr;

use clap::Args;

/// Keep images, and serve them to whoever speaks the OCI distribution specification.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Serve {
    /// Where it is served.
    #[arg(long, env = "NARTHEX_REGISTRY_ADDRESS", value_name = "IP:PORT")]
    #[arg(default_value = "127.0.0.1:5000")]
    pub(crate) address: SocketAddr,
    /// Where images are kept: a folder, or the URL of a bucket (s3://…, gs://…, az://…).
    #[arg(long, env = "NARTHEX_REGISTRY_STORAGE", value_name = "DIR|URL")]
    pub(crate) storage: String,
    /// Serve without TLS at an address that is not this machine's alone.
    #[arg(long, env = "NARTHEX_REGISTRY_INSECURE", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = clap::ArgAction::Set)]
    pub(crate) insecure: bool,
}
