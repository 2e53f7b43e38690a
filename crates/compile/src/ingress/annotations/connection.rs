//! `connection-proxy-header`: what backends are told of the connection.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Connection",
    annotations: &[Annotation::later("connection-proxy-header", Risk::Low)],
};
