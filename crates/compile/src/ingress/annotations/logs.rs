//! `enable-access-log` and `enable-rewrite-log`: what is logged.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Logs",
    annotations: &[
        Annotation::later("enable-access-log", Risk::Low),
        Annotation::later("enable-rewrite-log", Risk::Low),
    ],
};
