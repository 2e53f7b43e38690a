//! Flags of the commands that look at a registry and change what is in it.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use crate::flags::Output;

/// How a registry is spoken to, and who we are to it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reach {
    /// Take any certificate, and plain HTTP where there is no TLS.
    #[arg(long, env = "NARTHEX_INSECURE", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set)]
    pub(crate) insecure: bool,
    /// Authorities (PEM) beside the system's; repeatable.
    #[arg(
        long,
        env = "NARTHEX_CA_FILE",
        value_name = "FILE",
        value_delimiter = ','
    )]
    pub(crate) ca_file: Vec<PathBuf>,
    /// Our certificate and its key (PEM, in one file), if the registry wants one.
    #[arg(long, env = "NARTHEX_CLIENT_IDENTITY", value_name = "FILE")]
    pub(crate) client_identity: Option<PathBuf>,
    /// A file of credentials, as docker's config.json.
    /// [default: where docker, podman and skopeo keep them]
    #[arg(long, env = "NARTHEX_AUTHFILE", value_name = "FILE")]
    pub(crate) authfile: Option<PathBuf>,
    /// A file with manifests of kind RegistryCredentials, whose providers are asked for credentials;
    /// repeatable.
    #[arg(
        long,
        env = "NARTHEX_CREDENTIALS_FILE",
        value_name = "FILE",
        value_delimiter = ','
    )]
    pub(crate) credentials_file: Vec<PathBuf>,
    /// A user's name; the password is in --password-file or comes with --password-stdin.
    #[arg(long, env = "NARTHEX_USERNAME", value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// The file with the password of --username.
    #[arg(long, env = "NARTHEX_PASSWORD_FILE", value_name = "FILE")]
    #[arg(requires = "username", conflicts_with = "password_stdin")]
    pub(crate) password_file: Option<PathBuf>,
    /// Read the password of --username from standard input.
    #[arg(long, env = "NARTHEX_PASSWORD_STDIN", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, requires = "username")]
    pub(crate) password_stdin: bool,
}

/// List the repositories of a registry that has a catalog.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Ls {
    /// The registry.
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) host: String,
    /// How it is written.
    #[arg(long, short, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// List the tags of a repository.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Tags {
    /// The repository.
    #[arg(value_name = "HOST[:PORT]/REPOSITORY")]
    pub(crate) repository: String,
    /// How it is written.
    #[arg(long, short, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// Tell what an image is: its digest, platforms, layers with their sizes, and what refers to it.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Inspect {
    /// The image.
    #[arg(value_name = "HOST[:PORT]/REPOSITORY[:TAG|@DIGEST]")]
    pub(crate) image: String,
    /// How it is written.
    #[arg(long, short, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// Remove tags, or manifests by their digests.
///
/// A tag is removed alone: the manifest stays for its other tags, until nothing refers to it and the
/// registry collects it. A digest takes all its tags with it.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Rm {
    /// What is removed; the tag or digest has to be said.
    #[arg(value_name = "HOST[:PORT]/REPOSITORY:TAG|@DIGEST", required = true, num_args = 1..)]
    pub(crate) images: Vec<String>,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// Say what a registry asks of its clients, whether these credentials are taken, and what they may
/// do; and what is wrong, if something is.
///
/// With --repository it asks for a list of tags, for an upload that it does not finish, and for
/// the deletion of a manifest that there cannot be. Exits with 1 if something is wrong.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct LoginCheck {
    /// The registry.
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) host: String,
    /// A repository to ask about.
    #[arg(long, env = "NARTHEX_REPOSITORY", value_name = "REPOSITORY")]
    pub(crate) repository: Option<String>,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// Copy an image to another place, in the same registry or another one, with all its platforms.
///
/// What is there already is not sent again, and digests stay as they are. For many images write a
/// list: narthex registry sync.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Copy {
    /// The image.
    #[arg(value_name = "HOST[:PORT]/REPOSITORY[:TAG|@DIGEST]")]
    pub(crate) from: String,
    /// Where it goes; without a tag it keeps that which it has.
    #[arg(value_name = "HOST[:PORT]/REPOSITORY[:TAG]")]
    pub(crate) to: String,
    /// Of where it comes from, take any certificate, and plain HTTP where there is no TLS.
    #[arg(long, env = "NARTHEX_FROM_INSECURE", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set)]
    pub(crate) from_insecure: bool,
    /// Copy signatures and whatever else refers to the image, too.
    #[arg(long, env = "NARTHEX_REFERRERS", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set)]
    pub(crate) referrers: bool,
    /// Of where it goes to; what --authfile has and --ca-file trusts counts for both.
    #[command(flatten)]
    pub(crate) reach: Reach,
}
