//! `enable-access-log` and `enable-rewrite-log`: what is logged.

use super::table::{Annotation, Group, Risk};
use super::values::boolean;

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Logs",
    annotations: &[
        Annotation::works("enable-access-log", Risk::Low, |settings, value| {
            boolean(value)
                .map(|on| settings.logs.hides_requests = !on)
                .map_err(unused)
        })
        .default("true")
        .test("nginx_logs"),
        Annotation::works("enable-rewrite-log", Risk::Low, |settings, value| {
            boolean(value)
                .map(|on| settings.logs.shows_rewrites = on)
                .map_err(unused)
        })
        .default("false")
        .differs("one line for each request that goes on with another path")
        .test("nginx_logs"),
    ],
};

/// What is logged of an Ingress's requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Logs {
    /// Whether they have no line in the access log.
    pub(crate) hides_requests: bool,
    /// Whether it is said that a request goes on with another path.
    pub(crate) shows_rewrites: bool,
}

fn unused(bad: super::values::BadValue) -> super::values::BadValue {
    super::values::BadValue::unused(bad.hint)
}
