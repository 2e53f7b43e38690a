//! What a path means: the end-points of the distribution specification.

use std::borrow::Cow;

use http::Method;
use oci_spec::image::Digest;
use url::form_urlencoded;

use super::answer::Code;
use crate::name::{RepositoryName, Tag};
use crate::store::parse_digest;

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// A blob.
    Blob(RepositoryName, Digest),
    /// A manifest.
    Manifest(RepositoryName, Reference),
    /// All uploads of a repository.
    Uploads(RepositoryName),
    /// One of them.
    Upload(RepositoryName, String),
    /// All tags of a repository.
    Tags(RepositoryName),
    /// What refers to a manifest.
    Referrers(RepositoryName, Digest),
}

/// How a manifest is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reference {
    Tag(Tag),
    Digest(Digest),
}

/// What a path is instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// None of ours.
    NotFound,
    /// One of ours, with a part that cannot be.
    Invalid(Code, String),
}

impl Target {
    /// Reads a path.
    pub(super) fn of(path: &str) -> Result<Self, Wrong> {
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Self::Base),
            Some(rest) => rest.strip_prefix('/').ok_or(Wrong::NotFound)?,
            None => return Err(Wrong::NotFound),
        };
        if rest == "_catalog" {
            return Ok(Self::Catalog);
        }
        let (before, last) = rest.rsplit_once('/').ok_or(Wrong::NotFound)?;
        let last = decoded(last).ok_or(Wrong::NotFound)?;
        // A name may have any of these words: what follows the last one decides.
        if let Some(name) = before.strip_suffix("/blobs/uploads") {
            let name = named(name)?;
            return Ok(match &*last {
                "" => Self::Uploads(name),
                id => Self::Upload(name, id.to_owned()),
            });
        }
        let (name, kind) = before.rsplit_once('/').ok_or(Wrong::NotFound)?;
        match (kind, &*last) {
            ("blobs", "uploads") => Ok(Self::Uploads(named(name)?)),
            ("blobs", digest) => Ok(Self::Blob(named(name)?, digested(digest)?)),
            ("manifests", reference) => Ok(Self::Manifest(named(name)?, Reference::of(reference)?)),
            ("tags", "list") => Ok(Self::Tags(named(name)?)),
            ("referrers", digest) => Ok(Self::Referrers(named(name)?, digested(digest)?)),
            _ => Err(Wrong::NotFound),
        }
    }

    /// Which repository it is about.
    pub(super) fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Base | Self::Catalog => None,
            Self::Blob(name, _)
            | Self::Manifest(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _)
            | Self::Tags(name)
            | Self::Referrers(name, _) => Some(name),
        }
    }

    /// A word for metrics.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Catalog => "catalog",
            Self::Blob(..) => "blob",
            Self::Manifest(..) => "manifest",
            Self::Uploads(..) | Self::Upload(..) => "upload",
            Self::Tags(..) => "tags",
            Self::Referrers(..) => "referrers",
        }
    }

    /// What may be asked of it.
    pub(super) fn methods(&self) -> &'static [Method] {
        match self {
            Self::Base | Self::Catalog | Self::Tags(_) | Self::Referrers(..) => {
                &[Method::GET, Method::HEAD]
            }
            Self::Blob(..) => &[Method::GET, Method::HEAD, Method::DELETE],
            Self::Manifest(..) => &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE],
            Self::Uploads(_) => &[Method::POST],
            Self::Upload(..) => &[Method::GET, Method::PATCH, Method::PUT, Method::DELETE],
        }
    }
}

impl Reference {
    fn of(text: &str) -> Result<Self, Wrong> {
        // No tag has a colon.
        if text.contains(':') {
            return Ok(Self::Digest(digested(text)?));
        }
        let tag = text.parse().map(Self::Tag);
        // The specification wants 404 of what cannot be there; its predecessor has no other word.
        tag.map_err(|error: crate::name::NotAName| {
            Wrong::Invalid(Code::TagInvalid, error.to_string())
        })
    }
}

/// The parameters of a request.
pub(super) fn parameters(
    query: Option<&str>,
) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes())
}

/// The first parameter of this name.
pub(super) fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, str>> {
    parameters(query).find_map(|(key, value)| (key == name).then_some(value))
}

/// A parameter in a URL of ours.
pub(super) fn encoded(value: &str) -> String {
    form_urlencoded::byte_serialize(value.as_bytes()).collect()
}

/// Reads a digest, or says what is wrong with it.
pub(super) fn digested(text: &str) -> Result<Digest, Wrong> {
    parse_digest(text).ok_or_else(|| {
        let message = "a digest is sha256 or sha512, a colon, and lower-case hexadecimal digits";
        Wrong::Invalid(Code::DigestInvalid, message.to_owned())
    })
}

fn named(text: &str) -> Result<RepositoryName, Wrong> {
    let name = text.parse();
    name.map_err(|error: crate::name::NotAName| {
        Wrong::Invalid(Code::NameInvalid, error.to_string())
    })
}

/// A segment without its percent signs. `None` if it is none.
fn decoded(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return Some(segment.into());
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&first, more)) = rest.split_first() {
        rest = more;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (high, low) = (hex(*rest.first()?)?, hex(*rest.get(1)?)?);
        bytes.push(high << 4 | low);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_have_the_words_of_paths() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let name = |text: &str| text.parse().expect("a name");
        assert_eq!(
            Target::of("/v2/tags/list/manifests/x/tags/list"),
            Ok(Target::Tags(name("tags/list/manifests/x")))
        );
        assert_eq!(
            Target::of("/v2/a/blobs/uploads/"),
            Ok(Target::Uploads(name("a")))
        );
        assert_eq!(
            Target::of("/v2/a/blobs/uploads/blobs/uploads/x"),
            Ok(Target::Upload(name("a/blobs/uploads"), "x".to_owned()))
        );
        let escaped = digest.replace(':', "%3A");
        let expected = Target::Blob(name("a/b"), digest.parse().expect("a digest"));
        assert_eq!(
            Target::of(&format!("/v2/a/b/blobs/{escaped}")),
            Ok(expected)
        );
        assert_eq!(Target::of("/v2"), Ok(Target::Base));
    }

    #[test]
    fn nothing_leads_out_of_a_repository() {
        for path in [
            "/v2/../manifests/a",
            "/v2/a/../../b/manifests/a",
            "/v2/a%2f..%2fb/manifests/a",
            "/v2//manifests/a",
            "/v2/a/manifests/..",
            "/v2/a/manifests/%2e%2e",
            "/v2/a/manifests/a%2fb",
            "/v2/a/blobs/sha256:..",
            "/v2/A/tags/list",
        ] {
            assert!(
                matches!(Target::of(path), Err(Wrong::Invalid(..))),
                "{path}"
            );
        }
        for path in ["/", "/v1/", "/v2x", "/v2/a", "/v2/a/manifests", "/v2/a/b/c"] {
            assert_eq!(Target::of(path), Err(Wrong::NotFound), "{path}");
        }
    }
}
