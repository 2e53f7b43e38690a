//! The command line as it was typed; what it means is [`config`](crate::config)'s.

mod balancing;
mod certificates;
mod certs;
mod cluster;
mod compilation;
mod gateways;
pub(crate) mod ingress_nginx;
pub(crate) mod kubectl;
pub(crate) mod metrics;
mod publishing;
pub(crate) mod registry;
mod serving;
pub(crate) mod tls;
mod tracing;
pub(crate) mod values;
mod webhook;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use certificates::{Certificates, Challenge};
pub(crate) use certs::{Certs, CertsQuestion};
pub(crate) use cluster::Cluster;
pub(crate) use compilation::Compilation;
pub(crate) use gateways::Gateways;
pub(crate) use publishing::Publishing;
pub(crate) use serving::{AccessLogFormat, LogFormat, Serving};
pub(crate) use tracing::Tracing;
pub(crate) use webhook::Webhook;

/// Kubernetes ingress controller, Gateway API implementation and proxy, with or without a cluster.
///
/// Serves ordinary Kubernetes manifests (Ingress, Gateway, HTTPRoute, Service, …) from a cluster
/// or from a folder: no root and no network needed.
#[derive(Debug, Parser)]
#[command(
    name = "narthex",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = "Start here: narthex quickstart")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

// Their help is what their flags say of themselves: here, it would hide all but its first line.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(Box<Serve>),
    Check(Box<Check>),
    Explain(Box<Explain>),
    Migrate(Box<Migrate>),
    Diff(Box<Diff>),
    Certs(Certs),
    Registry(Box<registry::Registry>),
    Quickstart(Box<Quickstart>),
    Kubectl(Box<kubectl::Kubectl>),
}

/// Serve a cluster, or files and folders of manifests, and their changes as they come.
///
/// With a PATH, what is in it is served. Without one, a cluster is: in a pod the one it runs in,
/// else the one that --kubeconfig or $KUBECONFIG names.
///
/// SIGTERM and SIGINT end it after what is under way has ended, a second one ends it at once.
/// SIGHUP reads the manifests again.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Serve {
    /// Files and folders (at any depth) of manifests: YAML or JSON.
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Take the ports over from the process that serves with the same --state-dir, without losing
    /// a connection: it ends what it has under way once this one serves. Where none runs, this is
    /// an ordinary start.
    #[arg(long, env = "NARTHEX_UPGRADE", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = clap::ArgAction::Set, help_heading = "Process")]
    pub(crate) upgrade: bool,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    #[command(flatten)]
    pub(crate) publishing: Box<Publishing>,
    #[command(flatten)]
    pub(crate) gateways: Gateways,
    #[command(flatten)]
    pub(crate) webhook: Webhook,
    #[command(flatten)]
    pub(crate) registry: Box<registry::Beside>,
    #[command(flatten)]
    pub(crate) registry_credentials: Box<registry::creds::CredentialsBeside>,
    #[command(flatten)]
    pub(crate) ingress_nginx: Box<ingress_nginx::Process>,
    #[command(flatten)]
    pub(crate) compilation: Compilation,
    #[command(flatten)]
    pub(crate) serving: Serving,
}

/// Name every problem of the manifests with its file, line, object and field.
///
/// Then it shows what the objects' status would say in a cluster, for each object of Gateway API:
/// conditions for each parent, listeners with their routes, addresses; first those where something
/// is not as it should be.
///
/// Exits with 1 if there is any problem, with 0 if there is none. Give the flags that `serve`
/// has: they decide what is a problem.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Check {
    /// Files and folders (at any depth) of manifests: YAML or JSON.
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// How it is written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) compilation: Compilation,
}

/// Tell which route answers a URL, and why each other does not.
///
/// Asks the data plane's own code. Exits with 0 if a route answers, with 1 if none does.
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    override_usage = "narthex explain [OPTIONS] PATH… URL"
)]
pub(crate) struct Explain {
    /// Files and folders of manifests, and last the URL, as https://example.com/path.
    #[arg(value_name = "PATH… URL", required = true, num_args = 1..)]
    pub(crate) paths_and_url: Vec<String>,
    /// How the answer is written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) compilation: Compilation,
}

/// Serve an example with its own backends, and tell what to try.
///
/// Nothing is needed and nothing stays: the manifests are written to a temporary folder, which
/// you can edit while it runs. Where a port is in use, the next free one is taken.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Quickstart {
    #[command(flatten)]
    pub(crate) compilation: Compilation,
    #[command(flatten)]
    pub(crate) serving: Serving,
}

/// Tell what becomes of ingress-nginx's annotations and hosts, before you move.
///
/// Reads manifests, or a living cluster where no PATH is given, and says for each host whether it is
/// ready, for each annotation and each key of the ConfigMap what becomes of it here, which of
/// ingress-nginx's surprising behaviours the manifests depend on, and what each host is in Gateway
/// API: whether that answers the same is found out by asking both.
///
/// Nothing is changed. Of a cluster, Ingresses, IngressClasses and Services are listed, the
/// controller's flags are those of its Deployment or DaemonSet, and of ConfigMaps and Secrets those
/// alone are read that something refers to. What may not be read is named, and all else goes on.
///
/// Exits with 0 if everything carries over, with 1 if anything is refused, invalid, unknown or not
/// yet there. Give the flags that `serve` will have. The JSON has `inventory`, `hosts`, `items`,
/// `surprises` and `gateway`, as docs/migrate.md describes them.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Migrate {
    /// Files and folders (at any depth) of manifests: YAML or JSON. [default: a cluster]
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) living: Living,
    /// How it is written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: MigrateOutput,
    /// Write the equivalent objects of Gateway API into this folder, a file for each host, and say
    /// which of them answer as the Ingresses do.
    #[arg(
        long,
        env = "NARTHEX_GATEWAY_API",
        value_name = "FOLDER",
        help_heading = "Gateway API"
    )]
    pub(crate) gateway_api: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) replay: Replay,
    #[command(flatten)]
    pub(crate) compilation: Compilation,
}

/// Tell which requests two configurations answer differently, each with an example.
///
/// Asks both by the data plane's own code, without opening a socket: for every host its paths on both
/// sides of every boundary, and whatever its rules look at (methods, header fields, cookies,
/// parameters, origins), with TLS and without. What is named is what a client or a backend would
/// notice; endpoints that come and go are not, unless a Service loses its last one.
///
/// Exits with 0 if nothing differs, with 1 if something does, with 2 if it cannot be told. Give the
/// flags that `serve` has: they hold for both.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Diff {
    /// The configuration as it was: a file or a folder of manifests.
    #[arg(value_name = "OLD")]
    pub(crate) old: PathBuf,
    /// The configuration as it will be: a file or a folder of manifests.
    #[arg(value_name = "NEW")]
    pub(crate) new: PathBuf,
    /// How it is written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) replay: Replay,
    #[command(flatten)]
    pub(crate) compilation: Compilation,
}

/// A cluster that is looked at.
#[derive(Debug, Clone, Args)]
pub(crate) struct Living {
    /// The cluster's kubeconfig file. [default: as kubectl's]
    #[arg(
        long,
        env = "NARTHEX_KUBECONFIG",
        value_name = "FILE",
        help_heading = "Kubernetes"
    )]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context in it. [default: the current one]
    #[arg(
        long,
        env = "NARTHEX_CONTEXT",
        value_name = "NAME",
        help_heading = "Kubernetes"
    )]
    pub(crate) context: Option<String>,
    /// A namespace whose objects are read; repeatable. [default: all]
    #[arg(long, env = "NARTHEX_WATCH_NAMESPACE", value_name = "NAMESPACE")]
    #[arg(value_delimiter = ',', help_heading = "Kubernetes")]
    pub(crate) watch_namespace: Vec<String>,
}

/// Requests of a log in the place of made-up ones.
#[derive(Debug, Clone, Args)]
pub(crate) struct Replay {
    /// Ask about the requests of this access log, of any size, gzip or not: ingress-nginx's default
    /// format, combined, or Narthex's own JSON.
    #[arg(
        long,
        env = "NARTHEX_REPLAY",
        value_name = "ACCESS_LOG",
        help_heading = "Replay"
    )]
    pub(crate) replay: Option<PathBuf>,

    /// The log's format, as `log-format-upstream` of ingress-nginx's ConfigMap has it.
    /// [default: as the ConfigMap of --configmap says, else found out line by line]
    #[arg(
        long,
        env = "NARTHEX_REPLAY_FORMAT",
        value_name = "FORMAT",
        help_heading = "Replay"
    )]
    pub(crate) replay_format: Option<String>,
}

/// How `migrate` writes what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MigrateOutput {
    /// For people, on a terminal.
    Text,
    /// For programs.
    Json,
    /// For people, as one page.
    Html,
}

/// How a command writes what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn clap_finds_no_contradiction() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_a_command_is_all_that_there_is_to_say_of_it() {
        let command = Cli::command();
        for (path, told) in [
            (&["serve"][..], "SIGHUP reads the manifests again"),
            (&["check"], "Exits with 1 if there is any problem"),
            (&["diff"], "2 if it cannot be told"),
            (&["registry", "serve"], "Without users"),
        ] {
            let of = |command: &clap::Command, name: &&str| command.find_subcommand(name).cloned();
            let found = path
                .iter()
                .try_fold(command.clone(), |it, name| of(&it, name));
            let help = found.expect("a command").render_long_help().to_string();
            let help: Vec<_> = help.split_whitespace().collect();
            assert!(help.join(" ").contains(told), "{path:?}: {help:?}");
        }
    }

    #[test]
    fn every_flag_has_an_environment_variable() {
        // A plugin's flags are kubectl's, which has no variables for them.
        let command = Cli::command();
        let own = command
            .get_subcommands()
            .filter(|it| it.get_name() != "kubectl");
        for command in own {
            for argument in command.get_arguments() {
                let Some(long) = argument.get_long() else {
                    continue;
                };
                // Those that mean nothing are hidden.
                if ["help", "version", "output"].contains(&long) || argument.is_hide_set() {
                    continue;
                }
                let expected = format!("NARTHEX_{}", long.to_uppercase().replace('-', "_"));
                let found = argument.get_env().and_then(|name| name.to_str());
                assert_eq!(found, Some(expected.as_str()), "--{long}");
            }
        }
    }

    #[test]
    fn booleans_are_set_with_and_without_a_value() {
        let ssl_redirect = |flag: &str| {
            let cli = Cli::try_parse_from(["narthex", "serve", flag, "dir"]).expect("right");
            let Command::Serve(serve) = cli.command else {
                panic!("serve was asked for");
            };
            serve.compilation.ssl_redirect
        };
        assert!(ssl_redirect("--http-port=80"));
        assert!(ssl_redirect("--ssl-redirect"));
        assert!(ssl_redirect("--ssl-redirect=true"));
        assert!(!ssl_redirect("--ssl-redirect=false"));
    }

    #[test]
    fn of_two_values_the_last_counts_and_lists_grow() {
        let flags = [
            "--http-port=1",
            "--http-port=2",
            "--endpoint=a/b=[::1]:1",
            "--endpoint=a/c=[::1]:2",
        ];
        let command = ["narthex", "serve", "dir", "other"].iter().chain(&flags);
        let Command::Serve(serve) = Cli::try_parse_from(command).expect("right").command else {
            panic!("serve was asked for");
        };
        assert_eq!(serve.compilation.http_port, 2);
        assert_eq!(serve.compilation.endpoint.len(), 2);
        assert_eq!(serve.paths.len(), 2);
    }

    #[test]
    fn a_bad_value_is_answered_with_a_right_one() {
        let wrong = ["narthex", "serve", "--read-timeout", "5x", "dir"];
        let message = Cli::try_parse_from(wrong).expect_err("wrong").to_string();
        assert!(message.contains("--read-timeout"), "{message}");
        assert!(message.contains("write a duration as 500ms"), "{message}");
    }
}
