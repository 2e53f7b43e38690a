//! `permanent-redirect` and its like: clients are sent elsewhere.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Redirects",
    annotations: &[
        Annotation::later("permanent-redirect", Risk::Medium),
        Annotation::later("permanent-redirect-code", Risk::Low),
        Annotation::later("temporal-redirect", Risk::Medium),
        Annotation::later("temporal-redirect-code", Risk::Low),
        Annotation::later("from-to-www-redirect", Risk::Low),
        Annotation::later("relative-redirects", Risk::Low),
        Annotation::later("use-port-in-redirects", Risk::Low),
        Annotation::later("preserve-trailing-slash", Risk::Medium),
    ],
};
