//! `canary` and its like: some requests go to another backend.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Canary",
    annotations: &[
        Annotation::later("canary", Risk::Low),
        Annotation::later("canary-by-cookie", Risk::Medium),
        Annotation::later("canary-by-header", Risk::Medium),
        Annotation::later("canary-by-header-pattern", Risk::Medium),
        Annotation::later("canary-by-header-value", Risk::Medium),
        Annotation::later("canary-weight", Risk::Low),
        Annotation::later("canary-weight-total", Risk::Low),
    ],
};
