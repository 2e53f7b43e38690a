//! `connection-proxy-header`: what backends are told of the connection.

use model::ConnectionHeader;

use super::table::{Annotation, Group, Risk};
use super::values::BadValue;

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Connection",
    annotations: &[
        Annotation::works("connection-proxy-header", Risk::Low, |settings, value| {
            settings.connection = Some(match value.trim() {
                "close" => ConnectionHeader::Close,
                "keep-alive" => ConnectionHeader::KeepAlive,
                _ => return Err(BadValue::invalid("close or keep-alive")),
            });
            Ok(())
        })
        .default("none is sent; `upgrade` where the client asks for a WebSocket")
        .differs("a request for a WebSocket still says `Upgrade`, without which it would be none")
        .test("nginx_bodies"),
    ],
};
