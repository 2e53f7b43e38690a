//! Flags of traces.

use clap::Args;
use model::Ratio;
use proxy::Collector;

use super::values;

/// Flags of traces.
#[derive(Debug, Clone, Args)]
pub(crate) struct Tracing {
    /// Trace requests (OpenTelemetry), and tell this collector, which takes OTLP by gRPC:
    /// http://HOST:PORT, or https.
    #[arg(long, env = "NARTHEX_OTLP_ENDPOINT", value_name = "URL")]
    #[arg(value_parser = values::collector, help_heading = "Logs and metrics")]
    pub(crate) otlp_endpoint: Option<Collector>,

    /// What traces call this process: `service.name`. [default: $OTEL_SERVICE_NAME, else narthex]
    #[arg(long, env = "NARTHEX_OTEL_SERVICE_NAME", value_name = "NAME")]
    #[arg(help_heading = "Logs and metrics")]
    pub(crate) otel_service_name: Option<String>,

    /// What part of the traces that begin here the collector is told, from 0 to 1; of those that a
    /// client is in, whoever began them decides.
    #[arg(long, env = "NARTHEX_TRACE_SAMPLING", value_name = "PART")]
    #[arg(default_value = "1", value_parser = values::ratio, help_heading = "Logs and metrics")]
    pub(crate) trace_sampling: Ratio,
}
