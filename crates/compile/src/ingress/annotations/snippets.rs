//! Snippets: text of nginx's configuration, of which a small part is understood.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Snippets",
    annotations: &[
        Annotation::later("configuration-snippet", Risk::Critical),
        Annotation::later("server-snippet", Risk::Critical),
        Annotation::later("stream-snippet", Risk::Critical),
        Annotation::later("auth-snippet", Risk::Critical),
    ],
};
