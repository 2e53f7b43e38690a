//! `rewrite-target`, `use-regex` and `app-root`: how paths are read and what backends see.

use model::text::Text;

use super::Settings;
use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, boolean_or_default, is_path_with_captures, lines};

/// Without its prefix.
pub(crate) const TARGET: &str = "rewrite-target";

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Rewriting of paths",
    annotations: &[
        Annotation::works(TARGET, Risk::Medium, |settings, value| {
            target(settings, value).map(|target| of(settings).target = Some(target))
        })
        .default("the path as it came")
        .differs("an escaped slash in a capture stays one")
        .test("nginx_rewrites"),
        Annotation::works("use-regex", Risk::Low, |settings, value| {
            boolean_or_default(value).map(|on| of(settings).use_regex = on)
        })
        .default("false")
        .differs("look-around, back references and what else has no bound in time is refused")
        .test("nginx_paths"),
        Annotation::works("app-root", Risk::Medium, |settings, value| {
            app_root(value).map(|to| of(settings).app_root = Some(to))
        })
        .test("nginx_redirects"),
    ],
};

/// Other paths for backends, and how paths are read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rewrite {
    /// What takes the place of the path.
    pub(crate) target: Option<Target>,
    /// Whether paths are regular expressions.
    pub(crate) use_regex: bool,
    /// Where clients are sent that ask for `/`.
    pub(crate) app_root: Option<Text>,
}

/// What takes the place of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// As it was written: a path that is the same stays as it is.
    pub(crate) written: Box<str>,
    pub(crate) text: Text,
}

impl Target {
    /// Whether clients are sent there, because it is a URL (nginx: `rewrite`).
    pub(crate) fn redirects(&self) -> bool {
        let starts = ["http://", "https://", "$scheme"];
        starts.iter().any(|start| self.written.starts_with(start))
    }
}

fn of(settings: &mut Settings) -> &mut Rewrite {
    settings.routing_mut().rewrite.get_or_insert_default()
}

fn target(settings: &Settings, value: &str) -> Result<Target, BadValue> {
    // A query in it is nothing that the validation lets through.
    if !is_path_with_captures(value) && (!settings.unchecked || value.contains('?')) {
        return Err(BadValue::unused(
            "a path of letters, digits, `-._~:/` and captures as `$1`",
        ));
    }
    let written: Box<str> = lines(value).into();
    let text = Text::parse(&written).map_err(|_| BadValue::unused("variables that nginx has"))?;
    Ok(Target { written, text })
}

fn app_root(value: &str) -> Result<Text, BadValue> {
    const HINT: &str = "a path";
    // As Go's `url.ParseRequestURI` and a URL without scheme.
    if !is_path_with_captures(value) || !value.starts_with('/') {
        return Err(BadValue::unused(HINT));
    }
    Text::parse(&format!("$scheme://$http_host{}", lines(value)))
        .map_err(|_| BadValue::unused(HINT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_captures_and_no_query() {
        let checked = Settings::default();
        for good in ["/", "/$1/x", "$1", "/a-b_c.d~:e", "https://x.test/$2"] {
            assert!(target(&checked, good).is_ok(), "{good}");
        }
        for bad in ["/a?b", "/a b", "/a;return", "/$nonsense", "/a\n", "/ä"] {
            assert!(target(&checked, bad).is_err(), "{bad}");
        }
        let redirects = |text| target(&checked, text).expect("a target").redirects();
        assert!(redirects("https://x.test/$1") && !redirects("/https://x"));
        assert!(app_root("/foo").is_ok());
        assert!(app_root("foo").is_err() && app_root("http://x/").is_err());
    }
}
