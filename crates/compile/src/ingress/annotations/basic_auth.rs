//! `auth-type` and its like: names and passwords.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Basic and digest authentication",
    annotations: &[
        Annotation::later("auth-realm", Risk::Medium),
        Annotation::later("auth-secret", Risk::Medium),
        Annotation::later("auth-secret-type", Risk::Low),
        Annotation::later("auth-type", Risk::Low),
    ],
};
