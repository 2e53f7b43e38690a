//! `load-balance` and `upstream-hash-by`: which endpoint a request goes to.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Load balancing",
    annotations: &[
        Annotation::later("load-balance", Risk::Low),
        Annotation::later("upstream-hash-by", Risk::High),
        Annotation::later("upstream-hash-by-subset", Risk::Low),
        Annotation::later("upstream-hash-by-subset-size", Risk::Low),
    ],
};
