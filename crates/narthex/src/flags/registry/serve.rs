//! Flags of `narthex registry serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use registry::store::Place;
use tracing_subscriber::filter::Targets;

use super::Alone;
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

    /// The cluster's kubeconfig file, for --service-accounts, --hosting and --image-lists.
    /// [default: in a pod its ServiceAccount, else $KUBECONFIG]
    #[arg(long, env = "NARTHEX_KUBECONFIG", value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

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

    // What has headings of its own comes last: a heading holds for all below it.
    #[command(flatten)]
    pub(crate) settings: Alone,
}
