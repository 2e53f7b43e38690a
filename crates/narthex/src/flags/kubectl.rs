//! The command line of `kubectl narthex`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Ask the replicas of Narthex in a cluster.
///
/// Each replica is asked on its own admin address, by a port-forward through the API server: `get`
/// and `list` on pods and `create` on pods/portforward in Narthex's namespace are all it takes.
#[derive(Debug, Parser)]
#[command(name = "kubectl-narthex", bin_name = "kubectl narthex", version)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct KubectlCli {
    #[command(flatten)]
    pub(crate) kubectl: Kubectl,
}

/// Ask the replicas of Narthex in a cluster.
///
/// The same as `kubectl narthex`, which this binary is under the name `kubectl-narthex`.
#[derive(Debug, Args)]
pub(crate) struct Kubectl {
    #[command(subcommand)]
    pub(crate) question: Question,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// Whom to ask, and how to write the answer.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The namespace of Narthex's pods.
    #[arg(long, short = 'n', value_name = "NAMESPACE", default_value = "narthex")]
    #[arg(global = true, help_heading = "Whom to ask")]
    pub(crate) namespace: String,
    /// One pod. [default: those with the label app.kubernetes.io/name=narthex]
    #[arg(long, value_name = "NAME", global = true, help_heading = "Whom to ask")]
    pub(crate) pod: Option<String>,
    /// The port of the admin address in a pod.
    #[arg(long, value_name = "PORT", default_value_t = 9090)]
    #[arg(global = true, help_heading = "Whom to ask")]
    pub(crate) admin_port: u16,
    /// An admin address to ask directly, without any cluster, as http://127.0.0.1:9090.
    #[arg(long, value_name = "URL", global = true, help_heading = "Whom to ask")]
    pub(crate) admin_address: Option<String>,
    /// The kubeconfig file. [default: as kubectl's]
    #[arg(long, value_name = "FILE", global = true, help_heading = "Whom to ask")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context in it. [default: the current one]
    #[arg(long, value_name = "NAME", global = true, help_heading = "Whom to ask")]
    pub(crate) context: Option<String>,
    /// How the answer is written.
    #[arg(
        long,
        short = 'o',
        value_name = "FORMAT",
        default_value = "text",
        global = true
    )]
    pub(crate) output: Format,
}

/// What to ask.
#[derive(Debug, Subcommand)]
pub(crate) enum Question {
    /// Each replica: whether it is ready, what it serves, how much is wrong. Exits with 1 if one is
    /// not ready.
    Status,
    /// Hosts and paths, and what answers them.
    Routes {
        /// Just what answers this host.
        host: Option<String>,
        /// The most hosts that are shown; 0 is no limit.
        #[arg(long, value_name = "N", default_value_t = 500)]
        limit: usize,
    },
    /// Tell which route answers a URL, and why each other does not. Exits with 1 if none does.
    Explain {
        /// As https://example.com/path
        url: String,
    },
    /// Every problem of the cluster's objects, with object and field. Exits with 1 if there is any.
    Check,
    /// Each host's certificate: where it is from, and until when it is valid.
    Certs,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}
