//! Paths as Ingresses write them.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::OnceLock;

use model::path::PathError;
use model::{NormalPath, PathMatch, Pattern};
use objects::kinds::PathType;

/// What is wrong with a path, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadPath {
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// A path as an Ingress has it.
#[derive(Debug)]
pub(crate) enum WrittenPath {
    /// As the Kubernetes API says.
    Kubernetes(PathMatch),
    /// As ingress-nginx reads it, which other Ingresses of the host have a say in.
    Nginx(Box<Location>),
}

impl WrittenPath {
    /// What it is where no pattern is about.
    pub(crate) fn plain(&self) -> Result<&PathMatch, &BadPath> {
        match self {
            Self::Kubernetes(path) => Ok(path),
            Self::Nginx(location) => location.plain.as_ref(),
        }
    }

    /// The same as ingress-nginx reads it.
    pub(crate) fn location(&self) -> Option<&Location> {
        match self {
            Self::Kubernetes(_) => None,
            Self::Nginx(location) => Some(location),
        }
    }

    /// As it was written, and whether it is Exact: of two Ingresses that have both in common, one is
    /// the other's canary.
    pub(crate) fn identity(&self) -> (&str, bool) {
        match self {
            Self::Nginx(location) => (&location.text, location.exact),
            Self::Kubernetes(PathMatch::Exact(path)) => (path, true),
            Self::Kubernetes(PathMatch::Prefix(path)) if path.is_empty() => ("/", false),
            Self::Kubernetes(PathMatch::Prefix(path)) => (path, false),
            Self::Kubernetes(PathMatch::Pattern(pattern)) => (pattern.as_str(), false),
        }
    }
}

/// A path as ingress-nginx reads it: plain, or a pattern where any Ingress of the host has patterns.
/// ImplementationSpecific is Prefix, as there.
#[derive(Debug)]
pub(crate) struct Location {
    pub(crate) text: Box<str>,
    pub(crate) exact: bool,
    plain: Result<PathMatch, BadPath>,
    /// Compiled when it is first asked for: most paths are plain.
    pattern: OnceLock<Compiled>,
    /// The same with a slash at its end.
    below: OnceLock<Compiled>,
    /// What is rewritten.
    rewritten: OnceLock<Compiled>,
}

/// A pattern, or what is wrong with it.
type Compiled = Result<Pattern, String>;

impl Location {
    /// # Errors
    /// It does not begin with a slash.
    pub(crate) fn parse(path: Option<&str>, kind: Option<PathType>) -> Result<Self, BadPath> {
        let text = path.filter(|path| !path.is_empty()).unwrap_or("/");
        let plain = path_match(path, kind);
        match plain {
            Err(bad) if !text.starts_with('/') => Err(bad),
            plain => Ok(Self {
                text: text.into(),
                exact: kind == Some(PathType::Exact),
                plain,
                pattern: OnceLock::new(),
                below: OnceLock::new(),
                rewritten: OnceLock::new(),
            }),
        }
    }

    /// Whether it has plain characters only, or may have others (`strict-validate-path-type`).
    pub(crate) fn is_strict(&self, kind: Option<PathType>) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
        kind == Some(PathType::ImplementationSpecific) || self.text.bytes().all(plain)
    }

    /// Whether it ends in a slash beyond the first one.
    pub(crate) fn ends_in_slash(&self) -> bool {
        self.text.len() > 1 && self.text.ends_with('/')
    }

    /// What it is on a host with patterns.
    pub(crate) fn pattern(&self) -> &Result<Pattern, String> {
        self.pattern.get_or_init(|| Pattern::location(&self.text))
    }

    /// What a prefix is there beside an Exact path of the same text.
    pub(crate) fn pattern_below(&self) -> &Result<Pattern, String> {
        self.below
            .get_or_init(|| Pattern::location(&format!("{}/", self.text.trim_end_matches('/'))))
    }

    /// What is searched for in paths to put `target` in their place; none if they stay as they are,
    /// because that would change nothing. `use_regex` is the Ingress's own.
    pub(crate) fn rewritten(&self, target: &str, use_regex: bool) -> Option<&Compiled> {
        let text = self.rewritten_text(target, use_regex)?;
        Some(self.rewritten.get_or_init(|| {
            // Of alternatives, only the first is bound to the beginning where requests are routed.
            match text == *self.text && !text.contains('|') {
                true => self.pattern().clone(),
                false => Pattern::rewrite(&text),
            }
        }))
    }

    /// Whether [`Self::rewritten`] is any.
    pub(crate) fn is_rewritten(&self, target: &str, use_regex: bool) -> bool {
        self.rewritten_text(target, use_regex).is_some()
    }

    fn rewritten_text(&self, target: &str, use_regex: bool) -> Option<Cow<'_, str>> {
        if *self.text != *target {
            return Some(Cow::Borrowed(&self.text));
        }
        // ingress-nginx compares once it has added a slash to prefixes.
        let slashed = !self.exact && !use_regex && !self.text.ends_with('/');
        slashed.then(|| Cow::Owned(format!("{}/", self.text)))
    }
}

/// A path in the spelling in which requests are routed, see [`NormalPath::routed`].
pub(crate) fn path_match(path: Option<&str>, kind: Option<PathType>) -> Result<PathMatch, BadPath> {
    let written = path.filter(|path| !path.is_empty()).unwrap_or("/");
    let bad = |why: &str, hint: String| BadPath {
        message: format!("{written:?} {why}"),
        hint,
    };
    if let Some((before, _)) = written.split_once('?') {
        return Err(bad(
            "has a query, which is no part of a path",
            before.to_owned(),
        ));
    }
    let escaped = escape(written);
    let normal = NormalPath::parse(escaped.as_bytes()).map_err(|error| match error {
        PathError::NotAbsolute => bad("does not begin with `/`", format!("/{written}")),
        PathError::BadEscape => bad(
            "has a `%` without two hexadecimal digits",
            written.replace('%', "%25"),
        ),
        PathError::ForbiddenByte | PathError::Nul => {
            bad("has a character that no request's path has", String::new())
        }
        PathError::EncodedTraversal | PathError::AboveRoot => {
            bad("has dot segments that requests never have", String::new())
        }
    })?;
    if normal.slashed().is_some() {
        let why = "has an encoded slash: requests with one are refused where that could mean \
                   another rule";
        return Err(bad(why, "a path with plain slashes".to_owned()));
    }
    // What `parse` took is ASCII since `escape`.
    let text = String::from_utf8_lossy(normal.routed());
    Ok(match kind {
        Some(PathType::Exact) => PathMatch::Exact(text.into()),
        Some(PathType::Prefix | PathType::ImplementationSpecific) | None => {
            PathMatch::Prefix(text.strip_suffix('/').unwrap_or(&text).into())
        }
    })
}

/// Clients send spaces and everything beyond ASCII in percent-encoding.
fn escape(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii() && byte != b' ' {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_the_spelling_in_which_requests_are_routed() {
        use PathType::{Exact, ImplementationSpecific, Prefix};
        for (path, kind, expected) in [
            (None, ImplementationSpecific, "Prefix /"),
            (Some(""), Prefix, "Prefix /"),
            (Some("/"), Prefix, "Prefix /"),
            (Some("/"), Exact, "Exact /"),
            (Some("/a/"), Prefix, "Prefix /a"),
            (Some("/a/"), ImplementationSpecific, "Prefix /a"),
            (Some("/a/"), Exact, "Exact /a/"),
            (Some("/a//b"), Exact, "Exact /a/b"),
            (Some("/%61%c3%a4"), Exact, "Exact /a%C3%A4"),
            (Some("/\u{e4} b"), Prefix, "Prefix /%C3%A4%20b"),
            (Some("/a/./b/../c"), Exact, "Exact /a/c"),
            (
                Some("/a(/|$)(.*)"),
                ImplementationSpecific,
                "Prefix /a(/|$)(.*)",
            ),
        ] {
            let found = path_match(path, Some(kind)).map(|path| path.to_string());
            assert_eq!(found.as_deref(), Ok(expected), "{path:?}");
        }
    }

    #[test]
    fn what_is_rewritten_is_the_path_unless_the_target_is_the_same() {
        use PathType::{Exact, ImplementationSpecific, Prefix};
        for (path, kind, target, use_regex, expected) in [
            ("/foo", Prefix, "/bar", false, Some("/foo")),
            ("/foo", Prefix, "/foo", false, Some("/foo/")),
            ("/foo", ImplementationSpecific, "/foo", false, Some("/foo/")),
            ("/foo", Prefix, "/foo", true, None),
            ("/foo", Exact, "/foo", false, None),
            ("/foo/", Prefix, "/foo/", false, None),
            ("/", Prefix, "/", false, None),
            ("/a|/b", ImplementationSpecific, "/", false, Some("/a|/b")),
        ] {
            let location = Location::parse(Some(path), Some(kind)).expect("a path");
            let rewritten = location.rewritten(target, use_regex);
            let text = rewritten.map(|found| found.as_ref().expect("a pattern").as_str());
            assert_eq!(text, expected, "{path} {target}");
            assert_eq!(location.is_rewritten(target, use_regex), expected.is_some());
        }
    }

    #[test]
    fn strict_paths_have_plain_characters_unless_they_are_implementation_specific() {
        use PathType::{Exact, ImplementationSpecific, Prefix};
        for (path, kind, strict) in [
            ("/a.b_c-D/9", Prefix, true),
            ("/a(b)", Prefix, false),
            ("/a~", Exact, false),
            ("/a(b)", ImplementationSpecific, true),
        ] {
            let location = Location::parse(Some(path), Some(kind)).expect("a path");
            assert_eq!(location.is_strict(Some(kind)), strict, "{path}");
        }
        assert!(Location::parse(Some("a"), Some(Prefix)).is_err());
    }

    #[test]
    fn paths_that_no_request_can_have_are_refused() {
        for (path, hint) in [
            ("a", "/a"),
            ("/a?b=c", "/a"),
            ("/100%", "/100%25"),
            ("/a\\b", ""),
            ("/a#b", ""),
            ("/%00", ""),
            ("/../a", ""),
            ("/a%2e", "/a."),
            ("/%2e%2e/a", ""),
            ("/a%2Fb", "a path with plain slashes"),
        ] {
            let found = path_match(Some(path), Some(PathType::Prefix));
            match found {
                Ok(PathMatch::Prefix(text)) => assert_eq!(&*text, hint, "{path}"),
                found => assert_eq!(
                    found.map_err(|bad| bad.hint),
                    Err(hint.to_owned()),
                    "{path}"
                ),
            }
        }
    }
}
