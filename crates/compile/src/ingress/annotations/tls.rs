//! `ssl-ciphers` and `ssl-prefer-server-ciphers`: what is negotiated with clients.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "TLS suites",
    annotations: &[
        Annotation::later("ssl-ciphers", Risk::Low),
        Annotation::later("ssl-prefer-server-ciphers", Risk::Low),
    ],
};
