//! `satisfy`: whether one of several ways in is enough.

use super::table::{Annotation, Group, Risk};
use super::values::BadValue;

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Satisfy",
    annotations: &[Annotation::works("satisfy", Risk::Low, |settings, value| {
        settings.guard.get_or_insert_default().satisfy_any = match value.trim() {
            "any" => true,
            "all" => false,
            _ => return Err(BadValue::unused("any or all")),
        };
        Ok(())
    })
    .default("all")
    .test("nginx_satisfy")],
};
