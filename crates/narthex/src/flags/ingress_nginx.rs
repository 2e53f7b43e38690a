//! ingress-nginx's flags that have no counterpart among ours, and those without a meaning here.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::metrics::MetricsFlags;
use super::values::{self, NamespacedName};

/// Of what the manifests mean.
#[derive(Debug, Clone, Args)]
pub(crate) struct Meaning {
    /// What ingress-nginx's annotations begin with.
    #[arg(long, env = "NARTHEX_ANNOTATIONS_PREFIX", value_name = "PREFIX")]
    #[arg(default_value = "nginx.ingress.kubernetes.io", help_heading = HEADING)]
    pub(crate) annotations_prefix: String,

    /// Leave Ingresses out that have an annotation with a value which ingress-nginx's validation
    /// refuses; else its default stands.
    #[arg(
        long,
        env = "NARTHEX_ENABLE_ANNOTATION_VALIDATION",
        value_name = "BOOL"
    )]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = true, action = ArgAction::Set, help_heading = HEADING)]
    pub(crate) enable_annotation_validation: bool,

    /// Leave Ingresses out that have a default backend.
    #[arg(long, env = "NARTHEX_DISABLE_CATCH_ALL", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, help_heading = HEADING)]
    pub(crate) disable_catch_all: bool,

    /// Serve no Service of type ExternalName.
    #[arg(long, env = "NARTHEX_DISABLE_SVC_EXTERNAL_NAME", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, help_heading = HEADING)]
    pub(crate) disable_svc_external_name: bool,

    /// Serve the IngressClass that --ingress-class names, whatever its controller is.
    #[arg(long, env = "NARTHEX_INGRESS_CLASS_BY_NAME", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, help_heading = HEADING)]
    pub(crate) ingress_class_by_name: bool,

    /// ingress-nginx's ConfigMap: what holds for Ingresses of its classes that say nothing.
    #[arg(long, env = "NARTHEX_CONFIGMAP", value_name = "NS/NAME", help_heading = HEADING)]
    #[arg(value_parser = values::namespaced_name)]
    pub(crate) configmap: Option<NamespacedName>,

    /// The ConfigMap that lists TCP ports: its keys are ports to listen on, its values
    /// namespace/service:port[:PROXY[:PROXY]].
    #[arg(long, env = "NARTHEX_TCP_SERVICES_CONFIGMAP", value_name = "NS/NAME")]
    #[arg(value_parser = values::namespaced_name, help_heading = HEADING)]
    pub(crate) tcp_services_configmap: Option<NamespacedName>,

    /// The same for UDP.
    #[arg(long, env = "NARTHEX_UDP_SERVICES_CONFIGMAP", value_name = "NS/NAME")]
    #[arg(value_parser = values::namespaced_name, help_heading = HEADING)]
    pub(crate) udp_services_configmap: Option<NamespacedName>,

    /// Have metrics by host; with =false all hosts share one value.
    #[arg(long, env = "NARTHEX_METRICS_PER_HOST", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = true, action = ArgAction::Set, help_heading = "Logs and metrics")]
    pub(crate) metrics_per_host: bool,
}

/// Of the process.
#[derive(Debug, Clone, Args)]
pub(crate) struct Process {
    /// The port of --health-address by itself.
    #[arg(long, env = "NARTHEX_HEALTHZ_PORT", value_name = "PORT")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..), help_heading = HEADING)]
    #[arg(conflicts_with = "health_address")]
    pub(crate) healthz_port: Option<u16>,

    /// The address of --health-address by itself. [default: all]
    #[arg(long, env = "NARTHEX_HEALTHZ_HOST", value_name = "IP", help_heading = HEADING)]
    #[arg(conflicts_with = "health_address")]
    pub(crate) healthz_host: Option<IpAddr>,

    /// Where --health-address answers as /healthz does, besides.
    #[arg(long, env = "NARTHEX_HEALTH_CHECK_PATH", value_name = "PATH")]
    #[arg(default_value = "/healthz", help_heading = HEADING)]
    pub(crate) health_check_path: String,

    /// How long the process stays after everything has ended.
    #[arg(
        long,
        env = "NARTHEX_POST_SHUTDOWN_GRACE_PERIOD",
        value_name = "DURATION"
    )]
    #[arg(default_value = "0s", value_parser = values::duration, help_heading = HEADING)]
    pub(crate) post_shutdown_grace_period: Duration,

    /// The API server's URL, where there is neither a pod nor a kubeconfig.
    #[arg(long, env = "NARTHEX_APISERVER_HOST", value_name = "URL", help_heading = HEADING)]
    #[arg(conflicts_with = "kubeconfig")]
    pub(crate) apiserver_host: Option<String>,

    /// The certificates (PEM) of those who may have issued the API server's.
    #[arg(long, env = "NARTHEX_CERTIFICATE_AUTHORITY", value_name = "FILE")]
    #[arg(requires = "apiserver_host", help_heading = HEADING)]
    pub(crate) certificate_authority: Option<PathBuf>,

    /// How much the program's own log says, as Kubernetes' programs count it: up to 2 as
    /// --log-level info, up to 4 debug, above trace.
    #[arg(
        short = 'v',
        long = "v",
        env = "NARTHEX_V",
        value_name = "LEVEL",
        help_heading = "Logs and metrics"
    )]
    pub(crate) verbosity: Option<u8>,

    #[command(flatten)]
    pub(crate) metrics: MetricsFlags,

    #[command(flatten)]
    pub(crate) idle: Idle,
}

const HEADING: &str = "As ingress-nginx has them";

/// Flags of ingress-nginx that were given and mean nothing here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Idle(pub(crate) Vec<&'static Meaningless>);

/// A flag of ingress-nginx that means nothing here.
#[derive(Debug)]
pub(crate) struct Meaningless {
    pub(crate) name: &'static str,
    takes: Takes,
    /// Why, for people.
    pub(crate) why: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Nothing, or `=true` and the like.
    Switch,
    Value,
}

macro_rules! meaningless {
    ($($why:literal: $($takes:ident $name:literal),+;)+) => {
        /// Every one of them.
        pub(crate) const MEANINGLESS: &[Meaningless] = &[
            $($(Meaningless { name: $name, takes: Takes::$takes, why: $why }),+),+
        ];
    };
}

meaningless! {
    "there is no nginx beside this process to talk to":
        Value "default-server-port", Value "status-port", Value "stream-port",
        Value "ssl-passthrough-proxy-port", Value "internal-logger-address",
        Value "dynamic-configuration-retries", Value "health-check-timeout";
    "changes are served as they come, one by one":
        Value "sync-rate-limit", Value "sync-period", Switch "disable-full-test";
    "status is written when it changes": Value "status-update-interval";
    "no such Event is written": Switch "disable-sync-events";
    "who leads is decided by a Lease, which one replica always gets": Switch "disable-leader-election", Value "election-ttl";
    "nothing that a manifest says reaches a text which something else parses": Switch "deep-inspect";
    "topology hints are followed where --zone says where this is": Switch "enable-topology-aware-routing";
    "chains are served as their Secrets have them: nothing is downloaded for them": Switch "enable-ssl-chain-completion";
    "a certificate of our own is made and renewed": Value "validating-webhook-certificate", Value "validating-webhook-key";
    "the program has no profiler": Switch "profiling", Value "profiler-port";
    "no database of addresses is downloaded: --geoip2-database names files":
        Value "maxmind-edition-ids", Value "maxmind-license-key", Value "maxmind-mirror",
        Value "maxmind-retries-count", Value "maxmind-retries-timeout";
    "metrics are always there, on the addresses for them": Switch "enable-metrics";
    "metrics are counted where they arise": Value "monitor-max-batch-size";
    "histograms have the buckets that are listed, and no native ones":
        Value "bucket-factor", Value "max-buckets";
}

impl Args for Idle {
    fn augment_args(command: Command) -> Command {
        MEANINGLESS.iter().fold(command, |command, flag| {
            let arg = Arg::new(flag.name)
                .long(flag.name)
                .hide(true)
                .action(ArgAction::Append);
            command.arg(match flag.takes {
                Takes::Value => arg.num_args(1),
                Takes::Switch => arg
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true"),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Idle {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = MEANINGLESS
            .iter()
            .filter(|flag| matches.contains_id(flag.name));
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Idle {
    /// Says once, in the log, that they mean nothing.
    pub(crate) fn say(&self) {
        for flag in &self.0 {
            tracing::warn!("--{} has no meaning here: {}", flag.name, flag.why);
        }
    }
}
