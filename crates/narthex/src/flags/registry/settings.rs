//! Flags that a registry has wherever it is served, and their two names.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{Resettable, Str, StyledStr};
use clap::error::Error;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::{Access, Following, Hosting, Limits, PullThrough};
use crate::flags::values;

/// What a registry has wherever it is served, as `narthex serve` names it: with `--registry-`
/// before each name.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Image registry")]
pub(crate) struct Settings {
    /// Serve without TLS at an address that is not this machine's own.
    #[arg(
        id = "registry-insecure",
        long,
        env = "NARTHEX_REGISTRY_INSECURE",
        value_name = "BOOL"
    )]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set)]
    pub(crate) insecure: bool,

    /// The certificate and those above it, in PEM; read again when the file changes.
    #[arg(
        id = "registry-tls-cert-file",
        long,
        env = "NARTHEX_REGISTRY_TLS_CERT_FILE",
        value_name = "FILE"
    )]
    #[arg(requires = "registry-tls-key-file")]
    pub(crate) tls_cert_file: Option<PathBuf>,

    /// Its key, in PEM.
    #[arg(
        id = "registry-tls-key-file",
        long,
        env = "NARTHEX_REGISTRY_TLS_KEY_FILE",
        value_name = "FILE"
    )]
    #[arg(requires = "registry-tls-cert-file")]
    pub(crate) tls_key_file: Option<PathBuf>,

    /// How often what nothing needs is taken away; 0 is never.
    #[arg(
        id = "registry-gc-interval",
        long,
        env = "NARTHEX_REGISTRY_GC_INTERVAL",
        value_name = "DURATION"
    )]
    #[arg(default_value = "24h", value_parser = values::duration)]
    pub(crate) gc_interval: Duration,

    /// How long blobs stay that no manifest names, and uploads that nobody goes on with: longer
    /// than a push takes.
    #[arg(
        id = "registry-gc-grace",
        long,
        env = "NARTHEX_REGISTRY_GC_GRACE",
        value_name = "DURATION"
    )]
    #[arg(default_value = "24h", value_parser = values::duration)]
    pub(crate) gc_grace: Duration,

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

/// The same where there is nothing but a registry: without `--registry-`, and without a heading
/// that says what all of it is about.
#[derive(Debug, Clone)]
pub(crate) struct Alone(pub(crate) Settings);

impl Args for Alone {
    fn augment_args(command: Command) -> Command {
        alone(command, Settings::augment_args)
    }

    fn augment_args_for_update(command: Command) -> Command {
        alone(command, Settings::augment_args_for_update)
    }
}

impl FromArgMatches for Alone {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Settings::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}

fn alone(command: Command, augment: impl Fn(Command) -> Command) -> Command {
    augment(command).mut_args(|arg| {
        let name = arg.get_id().as_str().strip_prefix("registry-");
        match name.map(str::to_owned) {
            Some(name) => renamed(arg, name),
            None => arg,
        }
    })
}

fn renamed(arg: Arg, name: String) -> Arg {
    let plain = |text: &StyledStr| StyledStr::from(text.to_string().replace("--registry-", "--"));
    let help = arg.get_help().map(plain);
    let long_help = arg.get_long_help().map(plain);
    let heading = arg.get_help_heading().and_then(|it| it.split_once(": "));
    let heading = heading.map(|(_, own)| {
        let (first, rest) = own.split_at(1);
        Str::from(first.to_uppercase() + rest)
    });
    arg.long(name)
        .help(Resettable::from(help))
        .long_help(Resettable::from(long_help))
        .help_heading(Resettable::from(heading))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use crate::flags::Cli;

    #[test]
    fn a_registry_alone_has_the_same_flags_by_shorter_names() {
        let mut all = Cli::command();
        all.build();
        let of = |command: &clap::Command, name: &str| {
            let found = command.find_subcommand(name);
            found.unwrap_or_else(|| panic!("{name}")).clone()
        };
        let alone = of(&of(&all, "registry"), "serve");
        let beside = of(&all, "serve");
        let mut shared = 0;
        for short in alone.get_arguments() {
            let id = short.get_id().as_str();
            let Some(name) = id.strip_prefix("registry-") else {
                continue;
            };
            shared += 1;
            let long = beside.get_arguments().find(|it| it.get_id() == id);
            let long = long.unwrap_or_else(|| panic!("{id} of serve"));
            assert_eq!((short.get_long(), long.get_long()), (Some(name), Some(id)));
            assert_eq!(short.get_env(), long.get_env(), "{id}");
            let help = |it: &clap::Arg| it.get_help().map(ToString::to_string).unwrap_or_default();
            assert_eq!(help(short), help(long).replace("--registry-", "--"), "{id}");
            let heading = long.get_help_heading().unwrap_or_default();
            assert!(heading.starts_with("Image registry"), "{id}: {heading}");
            let heading = short.get_help_heading().unwrap_or_default();
            assert!(!heading.starts_with("Image registry"), "{id}: {heading}");
        }
        assert!(shared > 30, "{shared}");
    }
}
