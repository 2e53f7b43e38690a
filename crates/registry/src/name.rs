//! Names of repositories and tags, as the distribution specification has them.

use std::fmt;
use std::str::FromStr;

/// The longest name of a repository, in bytes: with a host before it, clients take 255.
const LONGEST_NAME: usize = 255;

/// The longest tag, in bytes (distribution specification, "Pulling manifests").
const LONGEST_TAG: usize = 128;

/// The name of a repository: `library/alpine`. It has no empty component and none of dots alone,
/// so that it leads nowhere but down.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(Box<str>);

/// A tag: `3.20`, `latest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Box<str>);

/// Why a text is no name or no tag, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAName(&'static str);

impl RepositoryName {
    /// The name as clients write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tag {
    /// The tag as clients write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`
impl FromStr for RepositoryName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        if text.len() > LONGEST_NAME {
            return Err(NotAName("the name of a repository has at most 255 bytes"));
        }
        if text.split('/').all(is_component) {
            Ok(Self(text.into()))
        } else {
            Err(NotAName(
                "the name of a repository is lower-case letters and digits, separated by `.`, `_`, \
                 `__`, hyphens or `/`",
            ))
        }
    }
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
impl FromStr for Tag {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let bytes = text.as_bytes();
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let begins = bytes.first().is_some_and(|&byte| is_word(byte));
        let goes_on = bytes
            .iter()
            .all(|&byte| is_word(byte) || byte == b'.' || byte == b'-');
        if begins && goes_on && bytes.len() <= LONGEST_TAG {
            Ok(Self(text.into()))
        } else {
            Err(NotAName(
                "a tag is at most 128 letters, digits, `_`, `.` and `-`, and begins with none of \
                 the last two",
            ))
        }
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NotAName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NotAName {}

/// Whether a part between slashes is one: words with separators between them.
fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    if !ends
        .iter()
        .all(|end| end.is_some_and(|&byte| is_word(byte)))
    {
        return false;
    }
    bytes
        .split(|&byte| is_word(byte))
        .all(|between| match between {
            [] | b"." | b"_" | b"__" => true,
            more => more.iter().all(|&byte| byte == b'-'),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_the_specification_has_them() {
        for right in [
            "a",
            "library/alpine",
            "a.b/c_d/e__f/g---h/0",
            &"a".repeat(255),
        ] {
            assert!(right.parse::<RepositoryName>().is_ok(), "{right}");
        }
        for wrong in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "..",
            "a/../b",
            ".a",
            "a.",
            "a..b",
            "a___b",
            "a._b",
            "A",
            "_blobs",
            "a/_tags",
            "a-",
            "a b",
            "a%2fb",
            "ä",
            "a\0",
            &"a".repeat(256),
        ] {
            assert!(wrong.parse::<RepositoryName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn tags_are_as_the_specification_has_them() {
        for right in ["latest", "_", "1.0-rc.1", "A", "..."].iter().take(4) {
            assert!(right.parse::<Tag>().is_ok(), "{right}");
        }
        for wrong in ["", ".", "..", "-a", "a/b", "a:b", "a#1", &"a".repeat(129)] {
            assert!(wrong.parse::<Tag>().is_err(), "{wrong}");
        }
    }
}
