//! `upstream-vhost` and `x-forwarded-prefix`: what backends are told of host and path.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Host and prefix",
    annotations: &[
        Annotation::later("upstream-vhost", Risk::Low),
        Annotation::later("x-forwarded-prefix", Risk::Medium),
    ],
};
