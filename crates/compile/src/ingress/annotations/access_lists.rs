//! `allowlist-source-range` and `denylist-source-range`: from which addresses clients may come.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Allow and deny lists",
    annotations: &[
        Annotation::later("allowlist-source-range", Risk::Medium),
        Annotation::later("whitelist-source-range", Risk::Medium)
            .alias_of("allowlist-source-range"),
        Annotation::later("denylist-source-range", Risk::Medium),
    ],
};
