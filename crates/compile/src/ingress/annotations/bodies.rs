//! `proxy-body-size`, `proxy-buffering` and their like: how large bodies are, and who waits for them.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Bodies and buffers",
    annotations: &[
        Annotation::later("proxy-body-size", Risk::Medium),
        Annotation::later("client-body-buffer-size", Risk::Low),
        Annotation::later("proxy-request-buffering", Risk::Low),
        Annotation::later("proxy-buffering", Risk::Low),
        Annotation::later("proxy-buffer-size", Risk::Low),
        Annotation::later("proxy-buffers-number", Risk::Low),
        Annotation::later("proxy-busy-buffers-size", Risk::Low),
        Annotation::later("proxy-max-temp-file-size", Risk::Low),
    ],
};
