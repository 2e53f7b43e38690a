//! Paths as Ingresses write them.

use std::fmt::Write as _;

use model::path::PathError;
use model::{NormalPath, PathMatch};
use objects::kinds::PathType;

/// What is wrong with a path, and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadPath {
    pub(crate) message: String,
    pub(crate) hint: String,
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
