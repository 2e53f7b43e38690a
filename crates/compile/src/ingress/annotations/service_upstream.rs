//! `service-upstream`: the Service's own address instead of its endpoints.

use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, boolean};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Service as upstream",
    annotations: &[
        Annotation::works("service-upstream", Risk::Low, |settings, value| {
            let on = boolean(value).map_err(BadValue::tolerated)?;
            settings.service_upstream = Some(on);
            Ok(())
        })
        .default("false")
        .test("nginx_hashing"),
    ],
};
