//! `enable-cors` and its like: scripts of other origins.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "CORS",
    annotations: &[
        Annotation::later("enable-cors", Risk::Low),
        Annotation::later("cors-allow-credentials", Risk::Low),
        Annotation::later("cors-allow-headers", Risk::Medium),
        Annotation::later("cors-allow-methods", Risk::Medium),
        Annotation::later("cors-allow-origin", Risk::Medium),
        Annotation::later("cors-expose-headers", Risk::Medium),
        Annotation::later("cors-max-age", Risk::Low),
    ],
};
