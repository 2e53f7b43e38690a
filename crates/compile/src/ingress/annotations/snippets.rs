//! Snippets: text of nginx's configuration, of which a part is understood.

use super::Settings;
use super::external_auth;
use super::table::{Annotation, Group, Risk};

/// What the names of all annotations of this kind end with.
pub(super) const SUFFIX: &str = "-snippet";

/// Without their prefix.
pub(crate) const LOCATION: &str = "configuration-snippet";
pub(crate) const SERVER: &str = "server-snippet";
pub(crate) const AUTH: &str = "auth-snippet";

const NO_STREAMS: &str = "a TCPRoute, a TLSRoute or a UDPRoute: there is no nginx to be told";

/// What this group reads. What is in the texts is read later, where it can be said what is wrong.
pub(super) const GROUP: Group = Group {
    title: "Snippets",
    annotations: &[
        Annotation::works(LOCATION, Risk::Critical, |settings, value| {
            of(settings).location = Some(value.into());
            Ok(())
        })
        .default("none; off until `--allow-snippet-annotations`")
        .differs("[some directives](ingress.md#snippets-of-nginxs-configuration); others refuse the snippet")
        .test("nginx_snippets"),
        Annotation::works(SERVER, Risk::Critical, |settings, value| {
            of(settings).server = Some(value.into());
            Ok(())
        })
        .default("none; off until `--allow-snippet-annotations`")
        .differs("the same, and about the paths of its own Ingress only")
        .test("nginx_snippets"),
        Annotation::refused("stream-snippet", Risk::Critical, NO_STREAMS),
        Annotation::works(AUTH, Risk::Critical, |settings, value| {
            external_auth::say_snippet(settings, value);
            Ok(())
        })
        .default("none; off until `--allow-snippet-annotations`")
        .differs("the same, of the question; one that is not understood answers 503")
        .test("nginx_external_auth"),
    ],
};

/// Text of nginx's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snippets {
    /// Of the host.
    pub(crate) server: Option<Box<str>>,
    /// Of the paths.
    pub(crate) location: Option<Box<str>>,
}

fn of(settings: &mut Settings) -> &mut Snippets {
    settings.snippets.get_or_insert_default()
}
