//! `upstream-vhost` and `x-forwarded-prefix`: what backends are told of host and path.

use model::text::Text;

use super::Settings;
use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, is_path_with_captures, is_regex, lines};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Host and prefix",
    annotations: &[
        Annotation::works("upstream-vhost", Risk::Low, |settings, value| {
            let value = lines(value);
            if !settings.unchecked && !is_regex(&value) {
                return Err(BadValue::invalid("a host name, perhaps with variables"));
            }
            text(&value).map(|host| of(settings).host = Some(host))
        })
        .default("the client's")
        .test("nginx_rewrites"),
        Annotation::works("x-forwarded-prefix", Risk::Medium, |settings, value| {
            if !settings.unchecked && !is_path_with_captures(&value.replace(' ', "")) {
                return Err(BadValue::invalid("a path, perhaps with captures as `$1`"));
            }
            text(&lines(value)).map(|prefix| of(settings).prefix = Some(prefix))
        })
        .test("nginx_rewrites"),
    ],
};

/// What backends are told of host and path.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct UpstreamHost {
    /// In place of the client's host.
    pub(crate) host: Option<Text>,
    /// Where the path is rewritten, what was in front of it.
    pub(crate) prefix: Option<Text>,
}

fn of(settings: &mut Settings) -> &mut UpstreamHost {
    settings.routing_mut().upstream_host.get_or_insert_default()
}

fn text(value: &str) -> Result<Text, BadValue> {
    Text::parse(value).map_err(|_| BadValue::unused("variables that nginx has"))
}
