//! `enable-opentelemetry` and its like: traces.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "OpenTelemetry",
    annotations: &[
        Annotation::later("enable-opentelemetry", Risk::Low),
        Annotation::later("opentelemetry-operation-name", Risk::Medium),
        Annotation::later("opentelemetry-trust-incoming-span", Risk::Low),
    ],
};
