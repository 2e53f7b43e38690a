//! Flags for what a backend's endpoints get, where a Service's annotations say nothing.

use std::time::Duration;

use clap::Args;

use super::values;

/// Flags for what a backend's endpoints get.
#[derive(Debug, Clone, Args)]
pub(crate) struct Balancing {
    /// The node that this runs on: endpoints there come first where a Service prefers that.
    #[arg(long, env = "NARTHEX_NODE_NAME", value_name = "NAME")]
    #[arg(help_heading = "Backends")]
    pub(crate) node_name: Option<String>,

    /// The zone that this runs in: endpoints there come first where a Service prefers that.
    #[arg(long, env = "NARTHEX_ZONE", value_name = "NAME")]
    #[arg(help_heading = "Backends")]
    pub(crate) zone: Option<String>,

    /// The most requests at once for a Service's port, beyond which the answer is 503; 0 is no
    /// limit. The annotation narthex.dev/max-requests comes first.
    #[arg(
        long,
        env = "NARTHEX_MAX_BACKEND_REQUESTS",
        value_name = "N",
        default_value_t = 0
    )]
    #[arg(help_heading = "Backends")]
    pub(crate) max_backend_requests: u32,

    /// The most endpoints that one request tries; 1 is no retry. The annotation
    /// narthex.dev/max-attempts comes first.
    #[arg(
        long,
        env = "NARTHEX_MAX_ATTEMPTS",
        value_name = "N",
        default_value_t = 3
    )]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=8), help_heading = "Backends")]
    pub(crate) max_attempts: u8,

    /// The most attempts that ingress-nginx's annotation proxy-next-upstream-tries can ask for,
    /// whose 0 is so many.
    #[arg(
        long,
        env = "NARTHEX_MAX_NEXT_UPSTREAM_TRIES",
        value_name = "N",
        default_value_t = 32
    )]
    #[arg(value_parser = clap::value_parser!(u8).range(1..), help_heading = "Backends")]
    pub(crate) max_next_upstream_tries: u8,

    /// For one attempt, until the head of its response; what can be repeated is then tried
    /// elsewhere. 0 is no limit besides the others.
    #[arg(
        long,
        env = "NARTHEX_TRY_TIMEOUT",
        value_name = "DURATION",
        default_value = "0"
    )]
    #[arg(value_parser = values::duration, help_heading = "Backends")]
    pub(crate) try_timeout: Duration,

    /// What part of a backend's requests may be sent again, in percent.
    #[arg(
        long,
        env = "NARTHEX_RETRY_BUDGET",
        value_name = "PERCENT",
        default_value_t = 20
    )]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=100), help_heading = "Backends")]
    pub(crate) retry_budget: u8,

    /// So many requests a second may be sent again besides, by each worker and for each backend.
    #[arg(
        long,
        env = "NARTHEX_MIN_RETRIES_PER_SECOND",
        value_name = "N",
        default_value_t = 10
    )]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=10_000), help_heading = "Backends")]
    pub(crate) min_retries_per_second: u16,
}
