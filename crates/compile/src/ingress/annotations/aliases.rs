//! `server-alias`: more names of a host.

use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, is_regex};
use crate::ingress::normal_host;

/// Without its prefix.
pub(crate) const SERVER_ALIAS: &str = "server-alias";

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Aliases",
    annotations: &[
        Annotation::works(SERVER_ALIAS, Risk::High, |settings, value| {
            let names: Vec<&str> = value.split(',').map(str::trim).collect();
            if !settings.unchecked && !names.iter().all(|name| is_regex(name)) {
                return Err(BadValue::invalid("host names with commas between them"));
            }
            let mut aliases = Aliases::default();
            for name in names.into_iter().filter(|name| !name.is_empty()) {
                match alias(name) {
                    Some(host) => aliases.names.push(host),
                    None => aliases.refused.push(name.into()),
                }
            }
            aliases.names.sort_unstable();
            aliases.names.dedup();
            settings.routing_mut().aliases = Some(aliases);
            Ok(())
        })
        .differs("regular expressions (`~…`) and asterisks elsewhere than in front are refused")
        .test("nginx_redirects"),
    ],
};

/// More names of an Ingress's hosts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Aliases {
    /// In order, each once; with a dot in front it is every name that ends so.
    pub(crate) names: Vec<Box<str>>,
    /// What is no host name.
    pub(crate) refused: Vec<Box<str>>,
}

/// A name as tables have it. An asterisk in front stands for any number of labels (nginx:
/// `server_name`).
fn alias(name: &str) -> Option<Box<str>> {
    let host = normal_host(name).ok().filter(|host| !host.is_empty())?;
    Some(match host.strip_prefix("*.") {
        Some(suffix) => format!(".{suffix}").into(),
        None => host,
    })
}
