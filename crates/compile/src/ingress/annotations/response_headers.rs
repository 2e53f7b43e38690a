//! `custom-headers` and `http2-push-preload`: fields that responses get.

use super::table::{Annotation, Group, Risk};
use super::values::boolean;

/// Why there is nothing to do.
const NO_PUSH: &str =
    "browsers take no pushed responses any more, and nginx sends none since 1.25.1";

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Response header fields",
    annotations: &[
        Annotation::later("custom-headers", Risk::Medium),
        Annotation::idle("http2-push-preload", Risk::Low, NO_PUSH, |_, value| {
            boolean(value).map(|_| ())
        }),
    ],
};
