//! `server-alias`: more names of a host.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Aliases",
    annotations: &[Annotation::later("server-alias", Risk::High)],
};
