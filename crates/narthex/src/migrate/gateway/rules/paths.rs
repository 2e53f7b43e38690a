//! Paths, and the idioms of rewrites that are prefixes.

use model::filter::Substitute;
use model::{Filter, PathMatch, Rule};
use serde_json::{Value, json};

use super::Around;

/// What a pattern of ingress-nginx's is, where it is an idiom.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Idiom<'a> {
    /// The text before what is captured, without a slash at its end.
    pub(super) prefix: &'a str,
    /// The number of the capture that is the rest; 0 is none.
    pub(super) rest: u8,
}

pub(super) fn path_of(rule: &Rule, around: Around<'_>) -> Value {
    let (kind, value) = match &rule.path {
        PathMatch::Exact(path) => ("Exact", path.to_string()),
        PathMatch::Prefix(path) if path.is_empty() => ("PathPrefix", "/".to_owned()),
        PathMatch::Prefix(path) => ("PathPrefix", path.to_string()),
        PathMatch::Pattern(pattern) if !pattern.is_location() => {
            ("RegularExpression", pattern.as_str().to_owned())
        }
        PathMatch::Pattern(pattern) => {
            let text = pattern.as_str();
            match idiom(text) {
                Some(idiom) if around.prefixes || text == "/" => {
                    let prefix = if idiom.prefix.is_empty() {
                        "/"
                    } else {
                        idiom.prefix
                    };
                    ("PathPrefix", prefix.to_owned())
                }
                _ => ("RegularExpression", format!("(?i){text}")),
            }
        }
    };
    json!({"type": kind, "value": value})
}

/// Whether a rule's rewrite is of a prefix alone, and its path is a pattern.
pub(in super::super) fn asks_for_prefixes(rule: &Rule) -> bool {
    let PathMatch::Pattern(pattern) = &rule.path else {
        return false;
    };
    rule.filters.iter().any(|filter| match filter {
        Filter::Substitute(it) => {
            let found = idiom(pattern.as_str());
            found.is_some_and(|found| found.rest > 0 && replaced(it, &found).is_some())
        }
        _ => false,
    })
}

pub(super) fn idiom(text: &str) -> Option<Idiom<'_>> {
    let special = |text: &str| text.contains(|c| r"\^$*+?()[]{}|".contains(c));
    for (ending, rest) in [
        ("(/|$)(.*)", 2),
        ("/(.*)", 1),
        ("/?(.*)", 1),
        ("(.*)", 1),
        ("", 0),
    ] {
        if let Some(prefix) = text.strip_suffix(ending)
            && !special(prefix)
        {
            // `/x(.*)` begins within an element, which no prefix does.
            let whole = !ending.starts_with("(.") || prefix.ends_with('/');
            let prefix = prefix.trim_end_matches('/');
            return whole.then_some(Idiom { prefix, rest });
        }
    }
    None
}

/// What takes the place of a prefix, if that is all that a rewrite does.
pub(super) fn replaced(substitute: &Substitute, idiom: &Idiom<'_>) -> Option<String> {
    let to = substitute.to.to_string();
    let before = to.strip_suffix(&format!("${}", idiom.rest))?;
    let plain = !before.contains('$') && before.ends_with('/') && !substitute.redirects;
    plain.then(|| before.to_owned())
}

/// A text as a pattern that is that text.
pub(super) fn pattern_of(text: &str) -> String {
    regex_syntax::escape(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idioms_of_rewrites_are_prefixes() {
        let of = |text| idiom(text).map(|found| (found.prefix, found.rest));
        assert_eq!(of("/api(/|$)(.*)"), Some(("/api", 2)));
        assert_eq!(of("/api/(.*)"), Some(("/api", 1)));
        assert_eq!(of("/(.*)"), Some(("", 1)));
        assert_eq!(of("/api"), Some(("/api", 0)));
        assert_eq!(of("/api(.*)"), None);
        assert_eq!(of("/a[0-9]+/(.*)"), None);
    }
}
