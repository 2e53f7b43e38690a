//! Flags of `narthex registry sync` and `status`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use registry::list::Platform;
use registry::sync::Target;

use super::super::Output;
use super::Reach;

/// Copy the images of a list into a registry: those that it does not have.
///
/// A list is our own `kind: ImageList`, a YAML file of `skopeo sync` or regsync, zot's
/// configuration, or lines with an image each; docs/registry/image-lists.md has them all. Images
/// come from registries, from OCI layouts (`oci:DIR[:TAG]`, `oci-archive:FILE`) and from what
/// `docker save` wrote (`docker-archive:FILE`).
///
/// Manifests keep their digests. What breaks off is taken up again, and a second run copies only
/// what the first one did not. Exits with 1 if any image could not be copied.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Sync {
    #[command(flatten)]
    pub(crate) filling: Filling,
    /// Say what would be copied, and copy nothing.
    #[arg(long, env = "NARTHEX_REGISTRY_SYNC_DRY_RUN", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = clap::ArgAction::Set)]
    pub(crate) dry_run: bool,
    /// Go on with the other images after one could not be copied.
    #[arg(long, env = "NARTHEX_REGISTRY_SYNC_KEEP_GOING", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = clap::ArgAction::Set)]
    pub(crate) keep_going: bool,
}

/// Tell which images of a list a registry has, and which not.
///
/// Each is present, missing, stale (its tag is another image than at the source) or failing, with
/// the reason. Exits with 1 unless all are present.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) filling: Filling,
    /// How it is written.
    #[arg(long, short = 'o', value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
}

/// A list, a registry, and how both are spoken to.
#[derive(Debug, Args)]
pub(crate) struct Filling {
    /// Lists of images.
    #[arg(value_name = "LIST", required = true)]
    pub(crate) lists: Vec<PathBuf>,
    /// The registry that is filled, and what all repositories in it begin with.
    #[arg(long, env = "NARTHEX_REGISTRY_SYNC_TO", value_name = "HOST[:PORT][/PREFIX]", value_parser = Target::parse)]
    pub(crate) to: Target,
    /// Images at once.
    #[arg(
        long,
        env = "NARTHEX_REGISTRY_SYNC_PARALLEL",
        value_name = "N",
        default_value_t = 4
    )]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) parallel: u8,
    /// A platform that is wanted, as linux/arm64; repeatable. [default: as the list says, else all]
    #[arg(
        long,
        env = "NARTHEX_REGISTRY_SYNC_PLATFORM",
        value_name = "PLATFORM",
        value_delimiter = ','
    )]
    pub(crate) platform: Vec<Platform>,
    /// What becomes of a multi-platform image of which not all platforms are wanted.
    /// [default: as the list says, else sparse]
    #[arg(long, env = "NARTHEX_REGISTRY_SYNC_INDEX", value_name = "FORM")]
    pub(crate) index: Option<IndexForm>,
    /// With signatures, attestations and whatever else refers to an image.
    #[arg(long, env = "NARTHEX_REGISTRY_SYNC_REFERRERS", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = clap::ArgAction::Set)]
    pub(crate) referrers: bool,
    /// Have repositories begin with the registry that they come from.
    #[arg(long, env = "NARTHEX_REGISTRY_SYNC_SCOPED", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = clap::ArgAction::Set)]
    pub(crate) scoped: bool,
    /// How often a request is made again that failed for reasons that may pass.
    #[arg(
        long,
        env = "NARTHEX_REGISTRY_SYNC_RETRIES",
        value_name = "N",
        default_value_t = 5
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=30))]
    pub(crate) retries: u32,
    /// Of the registry that is filled; files and providers of credentials count for the sources, too.
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// What becomes of an index of which not all platforms are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IndexForm {
    /// It stays as it is, with its digest, and names what is not there.
    Sparse,
    /// A new one names what is there, with a digest of its own.
    Filtered,
    /// The first platform's image takes its place.
    Single,
}
