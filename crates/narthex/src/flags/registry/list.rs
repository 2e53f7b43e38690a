//! Flags of `narthex registry list`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::super::Living;

/// Name the images that manifests, or a cluster's workloads, need.
///
/// Reads Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs and CronJobs with their
/// init and ephemeral containers. What it writes is a list that `sync` and `status` read.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct List {
    /// Files and folders (at any depth) of manifests, and - for standard input.
    /// [default: a cluster]
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) living: Living,
    /// How it is written.
    #[arg(long, short = 'o', value_name = "FORMAT", default_value = "lines")]
    pub(crate) output: ListOutput,
}

/// How images that are needed are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListOutput {
    /// An image a line, with who needs it in a comment.
    Lines,
    /// For programs.
    Json,
    /// As `kind: ImageList`.
    Yaml,
}
