//! What is counted of OCSP's answers.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What came of a question.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    /// The certificate is not revoked.
    Good,
    /// It is.
    Revoked,
    /// The responder does not know it.
    Unknown,
    /// There was an answer that is not believed.
    Refused,
    /// There was none.
    Unanswered,
}

/// Counts what came of questions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    responses: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Metrics {
    /// None so far.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "narthex_ocsp_responses",
            "What came of asking CAs about the certificates that are served",
            metrics.responses.clone(),
        );
        metrics
    }

    pub(super) fn count(&self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Good => "good",
            Outcome::Revoked => "revoked",
            Outcome::Unknown => "unknown",
            Outcome::Refused => "refused",
            Outcome::Unanswered => "unanswered",
        };
        self.responses.get_or_create(&[("outcome", outcome)]).inc();
    }
}
