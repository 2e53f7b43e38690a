//! `rewrite-target`, `use-regex` and `app-root`: how paths are read and what backends see.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Rewriting of paths",
    annotations: &[
        Annotation::later("rewrite-target", Risk::Medium),
        Annotation::later("use-regex", Risk::Low),
        Annotation::later("app-root", Risk::Medium),
    ],
};
