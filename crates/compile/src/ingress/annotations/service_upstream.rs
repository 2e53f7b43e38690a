//! `service-upstream`: the Service's own address instead of its endpoints.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Service as upstream",
    annotations: &[Annotation::later("service-upstream", Risk::Low)],
};
