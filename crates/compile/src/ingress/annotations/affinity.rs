//! `affinity` and its like: a cookie that keeps a client with its endpoint.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Session affinity",
    annotations: &[
        Annotation::later("affinity", Risk::Low),
        Annotation::later("affinity-canary-behavior", Risk::Low),
        Annotation::later("affinity-mode", Risk::Medium),
        Annotation::later("session-cookie-change-on-failure", Risk::Low),
        Annotation::later("session-cookie-conditional-samesite-none", Risk::Low),
        Annotation::later("session-cookie-domain", Risk::Medium),
        Annotation::later("session-cookie-expires", Risk::Medium),
        Annotation::later("session-cookie-max-age", Risk::Medium),
        Annotation::later("session-cookie-name", Risk::Medium),
        Annotation::later("session-cookie-path", Risk::Medium),
        Annotation::later("session-cookie-samesite", Risk::Low),
        Annotation::later("session-cookie-secure", Risk::Low),
    ],
};
