//! Flags of the admission webhook.

use std::net::SocketAddr;

use clap::Args;

use super::values;

/// Flags of the admission webhook.
#[derive(Debug, Clone, Args)]
pub(crate) struct Webhook {
    /// Serve the admission webhook here, as :8443: Ingresses with errors are refused when they are
    /// applied.
    /// [default: off]
    #[arg(long, env = "NARTHEX_VALIDATING_WEBHOOK", value_name = "ADDRESS")]
    #[arg(value_parser = values::webhook_address, help_heading = "Kubernetes: admission")]
    pub(crate) validating_webhook: Option<SocketAddr>,

    /// The Service, in Narthex's namespace, by which the API server finds the webhook. The Secret of
    /// its certificate has the same name.
    #[arg(long, env = "NARTHEX_VALIDATING_WEBHOOK_SERVICE", value_name = "NAME")]
    #[arg(
        default_value = "narthex-admission",
        help_heading = "Kubernetes: admission"
    )]
    pub(crate) validating_webhook_service: String,

    /// The ValidatingWebhookConfiguration whose caBundle is kept up to date.
    #[arg(
        long,
        env = "NARTHEX_VALIDATING_WEBHOOK_CONFIGURATION",
        value_name = "NAME"
    )]
    #[arg(
        default_value = "narthex-admission",
        help_heading = "Kubernetes: admission"
    )]
    pub(crate) validating_webhook_configuration: String,
}
