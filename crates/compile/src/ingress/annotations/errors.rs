//! `custom-http-errors` and `default-backend`: who answers in the place of a backend that fails.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Error pages",
    annotations: &[
        Annotation::later("custom-http-errors", Risk::Low),
        Annotation::later("default-backend", Risk::Low),
        Annotation::later("disable-proxy-intercept-errors", Risk::Low),
    ],
};
