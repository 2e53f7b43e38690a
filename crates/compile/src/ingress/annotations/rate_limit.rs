//! `limit-rps` and its like: how much one client may ask for.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Limits of requests",
    annotations: &[
        Annotation::later("limit-allowlist", Risk::Low),
        Annotation::later("limit-burst-multiplier", Risk::Low),
        Annotation::later("limit-connections", Risk::Low),
        Annotation::later("limit-rate", Risk::Low),
        Annotation::later("limit-rate-after", Risk::Low),
        Annotation::later("limit-rpm", Risk::Low),
        Annotation::later("limit-rps", Risk::Low),
        Annotation::later("limit-whitelist", Risk::Low).alias_of("limit-allowlist"),
    ],
};
