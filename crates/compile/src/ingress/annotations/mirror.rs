//! `mirror-target` and its like: copies of requests.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Mirror",
    annotations: &[
        Annotation::later("mirror-target", Risk::High),
        Annotation::later("mirror-host", Risk::High),
        Annotation::later("mirror-request-body", Risk::Low),
    ],
};
