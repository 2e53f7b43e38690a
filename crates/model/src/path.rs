//! Request paths as they are routed: one spelling for every path that means the same.
//!
//! RFC 3986, section 6.2.2, and beyond it what backends are known to read differently: whatever
//! could select one route here and mean another there is either rewritten or refused.

use std::borrow::Cow;

/// A request's path, normalised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalPath<'a> {
    /// Dot segments resolved, escapes in one spelling, empty elements kept where they were.
    kept: Cow<'a, [u8]>,
    /// The same without empty elements, where `kept` has any.
    merged: Option<Box<[u8]>>,
    /// `merged` with encoded slashes read as slashes, where there are any.
    slashed: Option<Box<[u8]>>,
}

/// Why a path is refused with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathError {
    /// It does not begin with a slash.
    NotAbsolute,
    /// A byte that no path may contain as it is: control characters, space, `\`, `#`.
    ForbiddenByte,
    /// A `%` without two hexadecimal digits.
    BadEscape,
    /// An encoded NUL.
    Nul,
    /// An encoded dot segment, or one behind an encoded slash.
    EncodedTraversal,
    /// `..` above the root.
    AboveRoot,
}

impl PathError {
    /// The word that the access log shows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAbsolute => "path_not_absolute",
            Self::ForbiddenByte => "path_forbidden_byte",
            Self::BadEscape => "path_bad_escape",
            Self::Nul => "path_nul",
            Self::EncodedTraversal => "path_encoded_traversal",
            Self::AboveRoot => "path_above_root",
        }
    }
}

impl<'a> NormalPath<'a> {
    /// Normalises the path of a request target (without its query).
    ///
    /// # Errors
    /// See [`PathError`].
    pub fn parse(path: &'a [u8]) -> Result<Self, PathError> {
        if path.first() != Some(&b'/') {
            return Err(PathError::NotAbsolute);
        }
        if is_plain(path)? {
            return Ok(Self {
                kept: Cow::Borrowed(path),
                merged: None,
                slashed: None,
            });
        }
        let unescaped = normalise_escapes(path)?;
        refuse_hidden_dots(path, &unescaped)?;
        let climbs = elements(&unescaped).any(|element| element == b"..");
        // Readers differ in whether `..` takes back an empty element: none is left to differ on.
        let kept = resolve_dots(&if climbs { merge(&unescaped) } else { unescaped })?;
        let merged = has_empty_element(&kept).then(|| merge(&kept).into_boxed_slice());
        let slashed = read_encoded_slashes(merged.as_deref().unwrap_or(&kept));
        Ok(Self {
            kept: Cow::Owned(kept),
            merged,
            slashed,
        })
    }

    /// The path that is routed: without empty elements.
    pub fn routed(&self) -> &[u8] {
        self.merged.as_deref().unwrap_or(&self.kept)
    }

    /// The path with its empty elements as the client sent them.
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// What a reader sees that takes encoded slashes for slashes, where there are any.
    pub fn slashed(&self) -> Option<&[u8]> {
        self.slashed.as_deref()
    }
}

/// Whether nothing needs to be done, as with nearly every path that clients send.
fn is_plain(path: &[u8]) -> Result<bool, PathError> {
    let mut plain = true;
    let mut after_slash = false;
    for &byte in path {
        match byte {
            0..=b' ' | 0x7f | b'\\' | b'#' => return Err(PathError::ForbiddenByte),
            b'%' => plain = false,
            b'/' | b'.' if after_slash => plain = false,
            _ => {}
        }
        after_slash = byte == b'/';
    }
    Ok(plain)
}

/// Escapes of unreserved characters are undone, all others get upper-case digits.
fn normalise_escapes(path: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        if *byte != b'%' {
            out.push(*byte);
            rest = after;
            continue;
        }
        let [high, low, after @ ..] = after else {
            return Err(PathError::BadEscape);
        };
        let (Some(upper), Some(lower)) = (hex(*high), hex(*low)) else {
            return Err(PathError::BadEscape);
        };
        match upper << 4 | lower {
            0 => return Err(PathError::Nul),
            plain if is_unreserved(plain) => out.push(plain),
            _ => out.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]),
        }
        rest = after;
    }
    Ok(out)
}

/// Refuses dot segments that only some readers see: with encoded dots, beside encoded slashes,
/// or with a path parameter (`..;x`).
fn refuse_hidden_dots(raw: &[u8], unescaped: &[u8]) -> Result<(), PathError> {
    let plain_dots = elements(raw).filter(|element| is_dots(element)).count();
    let decoded_dots = elements(unescaped)
        .filter(|element| is_dots(element))
        .count();
    let hidden = elements(unescaped).any(|element| {
        let parts = split_encoded_slashes(element);
        if parts.len() > 1 && parts.iter().any(|part| is_dots(part)) {
            return true;
        }
        parts.iter().any(|part| {
            let name = part
                .iter()
                .position(|&byte| byte == b';')
                .map(|at| &part[..at]);
            name.is_some_and(is_dots)
        })
    });
    if hidden || plain_dots != decoded_dots {
        return Err(PathError::EncodedTraversal);
    }
    Ok(())
}

/// RFC 3986, section 5.2.4, except that climbing above the root is an error.
fn resolve_dots(path: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut directory = false;
    for element in elements(path) {
        directory = is_dots(element);
        match element {
            b"." => {}
            b".." => drop(kept.pop().ok_or(PathError::AboveRoot)?),
            other => kept.push(other),
        }
    }
    if directory {
        kept.push(b"");
    }
    let mut out = Vec::with_capacity(path.len());
    for element in kept {
        out.push(b'/');
        out.extend_from_slice(element);
    }
    Ok(out)
}

/// Takes out empty elements, but for the last one.
fn merge(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for &byte in path {
        if byte != b'/' || out.last() != Some(&b'/') {
            out.push(byte);
        }
    }
    out
}

/// The path as those see it who decode before they split, or `None` if there is nothing encoded.
fn read_encoded_slashes(path: &[u8]) -> Option<Box<[u8]>> {
    let parts = split_encoded_slashes(path);
    (parts.len() > 1).then(|| merge(&parts.join(&b'/')).into_boxed_slice())
}

/// Splits at `%2F` and `%5C` (a backslash, which some readers take for a slash).
fn split_encoded_slashes(text: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while at + 3 <= text.len() {
        if matches!(&text[at..at + 3], b"%2F" | b"%5C") {
            parts.push(&text[start..at]);
            at += 3;
            start = at;
        } else {
            at += 1;
        }
    }
    parts.push(&text[start..]);
    parts
}

/// What stands between the slashes; the path begins with one.
fn elements(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path[1..].split(|&byte| byte == b'/')
}

fn has_empty_element(path: &[u8]) -> bool {
    path.windows(2).any(|pair| pair == b"//")
}

fn is_dots(element: &[u8]) -> bool {
    matches!(element, b"." | b"..")
}

/// RFC 3986, section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(path: &str) -> String {
        let path = NormalPath::parse(path.as_bytes()).map(|path| path.kept().to_vec());
        String::from_utf8_lossy(&path.unwrap_or_else(|error| format!("{error:?}").into_bytes()))
            .into_owned()
    }

    #[test]
    fn the_same_path_has_one_spelling() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/..a/b..", "/..a/b.."),
            ("/%61%2d%7E", "/a-~"),
            ("/%c3%a4", "/%C3%A4"),
            ("/a%2fb", "/a%2Fb"),
            ("/a//b", "/a//b"),
            ("/a//../b", "/b"),
            ("/.well-known/x", "/.well-known/x"),
        ] {
            assert_eq!(kept(path), expected, "{path}");
        }
    }

    #[test]
    fn what_readers_could_read_two_ways_is_refused() {
        for (path, expected) in [
            ("", "NotAbsolute"),
            ("a", "NotAbsolute"),
            ("/%", "BadEscape"),
            ("/%2", "BadEscape"),
            ("/%zz", "BadEscape"),
            ("/%00", "Nul"),
            ("/%2e%2e/a", "EncodedTraversal"),
            ("/a/%2E/b", "EncodedTraversal"),
            ("/a/.%2e/b", "EncodedTraversal"),
            ("/a/..%2fb", "EncodedTraversal"),
            ("/a%2f../b", "EncodedTraversal"),
            ("/a%5c..%5cb", "EncodedTraversal"),
            ("/a/..;/b", "EncodedTraversal"),
            ("/..", "AboveRoot"),
            ("/a/../../b", "AboveRoot"),
            ("/a\\b", "ForbiddenByte"),
            ("/a#b", "ForbiddenByte"),
            ("/a b", "ForbiddenByte"),
            ("/a\u{1}", "ForbiddenByte"),
        ] {
            assert_eq!(kept(path), expected, "{path}");
        }
    }

    #[test]
    fn other_readings_are_at_hand() {
        let path = NormalPath::parse(b"/a//b%2f/c").expect("a path");
        assert_eq!(path.kept(), b"/a//b%2F/c");
        assert_eq!(path.routed(), b"/a/b%2F/c");
        assert_eq!(path.slashed(), Some(&b"/a/b/c"[..]));
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(path in "/[a./%25eEfF;]{0,12}") {
            if let Ok(once) = NormalPath::parse(path.as_bytes()) {
                let twice = NormalPath::parse(once.kept());
                prop_assert_eq!(twice.as_ref().map(NormalPath::kept), Ok(once.kept()));
                for reading in [once.kept(), once.routed(), once.slashed().unwrap_or(b"/")] {
                    prop_assert!(elements(reading).all(|element| !is_dots(element)), "{}", path);
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(path in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = NormalPath::parse(&path);
        }
    }
}
