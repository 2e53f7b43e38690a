//! Every annotation of ingress-nginx: what it is here, and how it is read.

use std::fmt::{self, Write as _};
use std::sync::LazyLock;

use hashbrown::HashMap;

use super::Settings;
use super::values::BadValue;

/// Annotations of one subject.
#[derive(Debug)]
pub(crate) struct Group {
    /// For people.
    pub(crate) title: &'static str,
    pub(crate) annotations: &'static [Annotation],
}

/// One annotation, without its prefix.
#[derive(Debug)]
pub(crate) struct Annotation {
    pub(crate) name: &'static str,
    /// How much harm it may do in the wrong hands, by ingress-nginx's own list.
    pub(crate) risk: Risk,
    pub(crate) fate: Fate,
    /// What it is an older name for: that one goes before it.
    pub(crate) alias_of: Option<&'static str>,
    /// What holds without it, for people.
    pub(crate) default: &'static str,
    /// What is not as in ingress-nginx, for people.
    pub(crate) differs: &'static str,
    /// Whole-program tests that show it, by file.
    pub(crate) test: &'static str,
    /// Whether an empty value is read, too.
    pub(crate) even_empty: bool,
    pub(crate) read: Option<Reader>,
}

/// Reads a value into its place.
pub(crate) type Reader = fn(&mut Settings, &str) -> Result<(), BadValue>;

/// How much harm an annotation may do in the wrong hands (ingress-nginx: `annotations-risk-level`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    /// None to others.
    Low,
    /// Some, to others of the same host.
    Medium,
    /// Other hosts may be touched.
    High,
    /// Whatever the proxy may do.
    Critical,
}

/// What becomes of an annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It does what it does in ingress-nginx, but for what `differs` says.
    Works,
    /// It is accepted, and there is nothing for it to do: why.
    Idle(&'static str),
    /// It has no effect, which is an error of its Ingress: what to do instead.
    Refused(&'static str),
}

impl Annotation {
    /// One that is read.
    pub(super) const fn works(name: &'static str, risk: Risk, read: Reader) -> Self {
        Self {
            name,
            risk,
            fate: Fate::Works,
            alias_of: None,
            default: "",
            differs: "",
            test: "",
            even_empty: false,
            read: Some(read),
        }
    }

    /// The same, where ingress-nginx does not take an empty value for none.
    pub(super) const fn even_empty(self) -> Self {
        Self {
            even_empty: true,
            ..self
        }
    }

    /// One whose value is checked, and for which there is nothing to do.
    pub(super) const fn idle(
        name: &'static str,
        risk: Risk,
        why: &'static str,
        check: Reader,
    ) -> Self {
        Self {
            fate: Fate::Idle(why),
            ..Self::works(name, risk, check)
        }
    }

    /// One that has no place here.
    pub(super) const fn refused(name: &'static str, risk: Risk, instead: &'static str) -> Self {
        Self {
            name,
            risk,
            fate: Fate::Refused(instead),
            alias_of: None,
            default: "",
            differs: "",
            test: "",
            even_empty: false,
            read: None,
        }
    }

    pub(super) const fn alias_of(self, alias_of: &'static str) -> Self {
        Self {
            alias_of: Some(alias_of),
            ..self
        }
    }

    pub(super) const fn default(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    pub(super) const fn differs(self, differs: &'static str) -> Self {
        Self { differs, ..self }
    }

    pub(super) const fn test(self, test: &'static str) -> Self {
        Self { test, ..self }
    }
}

impl Risk {
    /// Reads ingress-nginx's word for it (`annotations-risk-level`).
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Low, Self::Medium, Self::High, Self::Critical]
            .into_iter()
            .find(|risk| risk.to_string().eq_ignore_ascii_case(word.trim()))
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
            Self::Critical => "Critical",
        })
    }
}

/// Every group, in the order of the book's table.
pub(crate) const GROUPS: &[&Group] = &[
    &super::rewrite::GROUP,
    &super::redirect::GROUP,
    &super::tls_redirect::GROUP,
    &super::aliases::GROUP,
    &super::upstream_host::GROUP,
    &super::canary::GROUP,
    &super::affinity::GROUP,
    &super::load_balancing::GROUP,
    &super::service_upstream::GROUP,
    &super::attempts::GROUP,
    &super::bodies::GROUP,
    &super::connection::GROUP,
    &super::backend::GROUP,
    &super::fastcgi::GROUP,
    &super::access_lists::GROUP,
    &super::rate_limit::GROUP,
    &super::basic_auth::GROUP,
    &super::external_auth::GROUP,
    &super::satisfy::GROUP,
    &super::client_auth::GROUP,
    &super::tls::GROUP,
    &super::passthrough::GROUP,
    &super::cors::GROUP,
    &super::errors::GROUP,
    &super::response_headers::GROUP,
    &super::response_rewrite::GROUP,
    &super::mirror::GROUP,
    &super::logs::GROUP,
    &super::tracing::GROUP,
    &super::snippets::GROUP,
    &super::modsecurity::GROUP,
];

/// Every annotation.
pub(crate) fn all() -> impl Iterator<Item = &'static Annotation> {
    GROUPS.iter().flat_map(|group| group.annotations)
}

/// The annotation of a name without its prefix.
pub(crate) fn find(name: &str) -> Option<&'static Annotation> {
    static BY_NAME: LazyLock<HashMap<&'static str, &'static Annotation>> =
        LazyLock::new(|| all().map(|it| (it.name, it)).collect());
    BY_NAME.get(name).copied()
}

/// What the book's page begins with.
const INTRODUCTION: &str = "\
# The annotations of ingress-nginx

All 138 of them, as this version of Narthex reads them: `cargo run -p narthex-compile --example annotations` writes this page,
and a test compares it. Every name begins with `nginx.ingress.kubernetes.io/` (`--annotations-prefix`). A value that ingress-nginx's
validation refuses leaves the Ingress out here, too, and is said in `narthex check`, in an Event and in the log.
";

/// The book's page of all annotations, in Markdown.
pub fn markdown() -> String {
    let mut out = INTRODUCTION.to_owned();
    for group in GROUPS {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "\n## {}\n", group.title);
        let _ = writeln!(
            out,
            "| Annotation | Here | Without it | Not as in ingress-nginx | Shown by |\n| --- | --- | --- | --- | --- |"
        );
        for it in group.annotations {
            let fate = match it.fate {
                Fate::Works => "works".to_owned(),
                Fate::Idle(why) => format!("accepted: {why}"),
                Fate::Refused(instead) => format!("refused: {instead}"),
            };
            let alias = it.alias_of.map(|of| format!(", as `{of}`"));
            let test = match it.test {
                "" => String::new(),
                test => format!("`{test}`"),
            };
            let _ = writeln!(
                out,
                "| `{}` | {fate}{} | {} | {} | {test} |",
                it.name,
                alias.unwrap_or_default(),
                it.default,
                it.differs,
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_books_page_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/annotations.md");
        let page = std::fs::read_to_string(path).expect("the page");
        let command = "cargo run -p narthex-compile --example annotations > docs/annotations.md";
        assert!(page == markdown(), "{command}");
    }

    #[test]
    fn there_are_138_each_once() {
        let mut names: Vec<_> = all().map(|it| it.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), all().count()), (138, 138));
        for it in all() {
            assert!(
                it.alias_of.is_none_or(|of| find(of).is_some()),
                "{}",
                it.name
            );
            let is_read = matches!(it.fate, Fate::Works | Fate::Idle(_));
            assert_eq!(it.read.is_some(), is_read, "{}", it.name);
        }
    }
}
