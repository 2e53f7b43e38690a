//! What redirects and rewrites have in common: URLs, and paths in the place of others.

use model::PathMatch;
use model::filter::PathEdit;

use crate::respond::decimal;

/// An absolute URL. `port` is left out if the scheme means it by itself.
pub(super) fn url(
    scheme: &str,
    host: &str,
    port: Option<u16>,
    path: &[u8],
    query: &[u8],
) -> Vec<u8> {
    let mut url = Vec::with_capacity(scheme.len() + host.len() + path.len() + query.len() + 16);
    url.extend_from_slice(scheme.as_bytes());
    url.extend_from_slice(b"://");
    if host.contains(':') {
        url.extend([b"[", host.as_bytes(), b"]"].concat());
    } else {
        url.extend_from_slice(host.as_bytes());
    }
    if let Some(port) = port.filter(|&port| Some(port) != well_known(scheme)) {
        url.push(b':');
        url.extend_from_slice(decimal(&mut [0; 20], u64::from(port)));
    }
    url.extend_from_slice(path);
    url.extend_from_slice(query);
    url
}

/// The port that a scheme means by itself.
pub(super) fn well_known(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// The path in the place of `path`, of which the rule has matched `matched`.
pub(super) fn edited(edit: &PathEdit, path: &[u8], matched: &PathMatch) -> Vec<u8> {
    let replaced = match edit {
        PathEdit::Full(full) => full.as_bytes().to_vec(),
        PathEdit::Prefix(prefix) => {
            let PathMatch::Prefix(matched) = matched else {
                return path.to_vec();
            };
            let Some(rest) = path.strip_prefix(matched.as_bytes()) else {
                return path.to_vec();
            };
            [prefix.trim_end_matches('/').as_bytes(), rest].concat()
        }
    };
    match replaced.first() {
        Some(b'/') => replaced,
        _ => [b"/", &*replaced].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_replaced_by_whole_elements() {
        // As the table in the documentation of HTTPPathModifier has it; a matched prefix is kept
        // without its slash.
        for (path, matched, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/a", "", "/xyz", "/xyz/a"),
        ] {
            let matched = PathMatch::Prefix(matched.into());
            let edit = PathEdit::Prefix(replacement.into());
            let found = edited(&edit, path.as_bytes(), &matched);
            assert_eq!(
                String::from_utf8_lossy(&found),
                expected,
                "{path} {replacement}"
            );
        }
        let exact = PathMatch::Exact("/a".into());
        assert_eq!(edited(&PathEdit::Full("b".into()), b"/a", &exact), b"/b");
        assert_eq!(edited(&PathEdit::Prefix("/b".into()), b"/a", &exact), b"/a");
    }
}
