//! `enable-modsecurity` and its like: a firewall of another program.

use super::table::{Annotation, Group, Risk};

/// What to do instead.
pub(super) const INSTEAD: &str = "no rules of ModSecurity are read here: a firewall in front of Narthex, or in a \
                       backend of its own, asked by auth-url";

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "ModSecurity",
    annotations: &[
        Annotation::refused("enable-modsecurity", Risk::Low, INSTEAD),
        Annotation::refused("enable-owasp-core-rules", Risk::Low, INSTEAD),
        Annotation::refused("modsecurity-snippet", Risk::Critical, INSTEAD),
        Annotation::refused("modsecurity-transaction-id", Risk::High, INSTEAD),
    ],
};
