//! `custom-headers` and `http2-push-preload`: fields that responses get.

use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, OF_NAMES, boolean, has_only_or_blanks};

/// Why there is nothing to do.
const NO_PUSH: &str =
    "browsers take no pushed responses any more, and nginx sends none since 1.25.1";

/// Without its prefix.
pub(crate) const CUSTOM_HEADERS: &str = "custom-headers";

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Response header fields",
    annotations: &[
        Annotation::works(CUSTOM_HEADERS, Risk::Medium, |settings, value| {
            if !has_only_or_blanks(value, OF_NAMES) {
                return Err(BadValue::invalid("namespace/name of a ConfigMap"));
            }
            settings.custom_headers = Some(value.trim().into());
            Ok(())
        })
        .default("none; names have to be in `global-allowed-response-headers`")
        .differs("only ConfigMaps of the Ingress's namespace")
        .test("nginx_headers"),
        Annotation::idle("http2-push-preload", Risk::Low, NO_PUSH, |_, value| {
            boolean(value).map(|_| ())
        }),
    ],
};
