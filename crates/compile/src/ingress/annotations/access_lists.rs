//! `allowlist-source-range` and `denylist-source-range`: from which addresses clients may come.

use model::AddressSet;

use super::Settings;
use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, networks};

const ALLOW: &str = "allowlist-source-range";

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Allow and deny lists",
    annotations: &[
        Annotation::works(ALLOW, Risk::Medium, allow)
            .default("everybody")
            .even_empty()
            .test("nginx_access_lists"),
        Annotation::works("whitelist-source-range", Risk::Medium, allow)
            .alias_of(ALLOW)
            .test("nginx_access_lists"),
        Annotation::works("denylist-source-range", Risk::Medium, |settings, value| {
            list(value).map(|list| of(settings).deny = Some(list))
        })
        .even_empty()
        .default("nobody")
        .test("nginx_access_lists"),
    ],
};

/// From which addresses clients may come, as far as an Ingress says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AccessLists {
    pub(crate) allow: Option<AddressSet>,
    pub(crate) deny: Option<AddressSet>,
}

fn of(settings: &mut Settings) -> &mut AccessLists {
    &mut settings.guard.get_or_insert_default().access_lists
}

fn allow(settings: &mut Settings, value: &str) -> Result<(), BadValue> {
    list(value).map(|list| of(settings).allow = Some(list))
}

fn list(value: &str) -> Result<AddressSet, BadValue> {
    let nets = networks(value).map(|nets| nets.into_iter().collect());
    nets.ok_or(BadValue::denied(
        "addresses and networks with commas between, as 10.0.0.0/8, 2001:db8::1",
    ))
}
