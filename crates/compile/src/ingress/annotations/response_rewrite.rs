//! `proxy-redirect-from`, `proxy-cookie-domain` and their like: what backends say of themselves.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Rewriting of responses",
    annotations: &[
        Annotation::later("proxy-cookie-domain", Risk::Medium),
        Annotation::later("proxy-cookie-path", Risk::Medium),
        Annotation::later("proxy-redirect-from", Risk::Medium),
        Annotation::later("proxy-redirect-to", Risk::Medium),
    ],
};
