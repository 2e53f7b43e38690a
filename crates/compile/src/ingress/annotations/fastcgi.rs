//! `fastcgi-index` and `fastcgi-params-configmap`: what FastCGI servers are told.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "FastCGI",
    annotations: &[
        Annotation::later("fastcgi-index", Risk::Medium),
        Annotation::later("fastcgi-params-configmap", Risk::Medium),
    ],
};
