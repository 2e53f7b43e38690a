//! `ssl-passthrough`: whether TLS goes on to the backend as it is.

use super::table::{Annotation, Group, Risk};
use super::values::boolean;

/// Without its prefix.
pub(crate) const SSL_PASSTHROUGH: &str = "ssl-passthrough";

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Passthrough of TLS",
    annotations: &[
        Annotation::works(SSL_PASSTHROUGH, Risk::Low, |settings, value| {
            boolean(value).map(|on| settings.passthrough = on)
        })
        .default("false")
        .test("ssl_passthrough"),
    ],
};
