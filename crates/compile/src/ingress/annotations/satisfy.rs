//! `satisfy`: whether one of several ways in is enough.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Satisfy",
    annotations: &[Annotation::later("satisfy", Risk::Low)],
};
