//! `proxy-connect-timeout`, `proxy-next-upstream` and their like: how long a backend has, and who is asked next.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Time limits and retries",
    annotations: &[
        Annotation::later("proxy-connect-timeout", Risk::Low),
        Annotation::later("proxy-send-timeout", Risk::Low),
        Annotation::later("proxy-read-timeout", Risk::Low),
        Annotation::later("proxy-http-version", Risk::Low),
        Annotation::later("proxy-next-upstream", Risk::Medium),
        Annotation::later("proxy-next-upstream-timeout", Risk::Low),
        Annotation::later("proxy-next-upstream-tries", Risk::Low),
    ],
};
