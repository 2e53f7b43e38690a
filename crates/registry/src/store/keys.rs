//! Where everything is: the names of objects in the storage.
//!
//! - `blobs/ALGORITHM/FF/HEX`: content, of blobs and of manifests
//! - `repositories/NAME/_repository`: there is such a repository
//! - `repositories/NAME/_blobs/ALGORITHM/HEX`: the repository has this blob
//! - `repositories/NAME/_manifests/ALGORITHM/HEX`: the same of a manifest, with its media type
//! - `repositories/NAME/_tags/TAG`: which manifest that is
//! - `repositories/NAME/_referrers/ALGORITHM/HEX/ALGORITHM-HEX`: the second refers to the first
//! - `brought/NAME/_tags/TAG`: as what a list has brought it
//! - `uploads/ID/state` and `uploads/ID/OFFSET`: what has come of a blob
//!
//! No component of a repository's name begins with `_`, so no repository is in another's way.

use object_store::path::Path;
use oci_spec::image::Digest;

use super::digest::parse_digest;
use crate::name::{RepositoryName, Tag};

/// All content.
pub(super) const BLOBS: &str = "blobs";

/// All repositories.
pub(super) const REPOSITORIES: &str = "repositories";

/// All uploads.
pub(super) const UPLOADS: &str = "uploads";

/// All that lists have brought.
pub(super) const BROUGHT: &str = "brought";

/// What says that there is a repository.
pub(super) const REPOSITORY: &str = "_repository";

pub(super) fn content(digest: &Digest) -> Path {
    let hex = digest.digest();
    let algorithm = digest.algorithm().as_ref();
    // As long as hexadecimal digits of a digest are, there are two.
    Path::from_iter([BLOBS, algorithm, &hex[..2], hex])
}

pub(super) fn repository(name: &RepositoryName) -> Path {
    Path::from_iter([REPOSITORIES].into_iter().chain(name.as_str().split('/')))
}

pub(super) fn marker(name: &RepositoryName) -> Path {
    repository(name).join(REPOSITORY)
}

pub(super) fn blobs(name: &RepositoryName) -> Path {
    repository(name).join("_blobs")
}

pub(super) fn manifests(name: &RepositoryName) -> Path {
    repository(name).join("_manifests")
}

pub(super) fn tags(name: &RepositoryName) -> Path {
    repository(name).join("_tags")
}

pub(super) fn blob(name: &RepositoryName, digest: &Digest) -> Path {
    under(blobs(name), digest)
}

pub(super) fn manifest(name: &RepositoryName, digest: &Digest) -> Path {
    under(manifests(name), digest)
}

pub(super) fn tag(name: &RepositoryName, tag: &Tag) -> Path {
    tags(name).join(tag.as_str())
}

pub(super) fn brought(name: &RepositoryName, tag: &Tag) -> Path {
    let parts = [BROUGHT].into_iter().chain(name.as_str().split('/'));
    Path::from_iter(parts.chain(["_tags", tag.as_str()]))
}

/// The tag that a record of what was brought is about.
pub(super) fn brought_of(path: &Path) -> Option<(RepositoryName, Tag)> {
    let path = path.as_ref().strip_prefix(BROUGHT)?.strip_prefix('/')?;
    let (name, tag) = path.split_once("/_tags/")?;
    Some((name.parse().ok()?, tag.parse().ok()?))
}

pub(super) fn referrers(name: &RepositoryName, subject: &Digest) -> Path {
    under(repository(name).join("_referrers"), subject)
}

pub(super) fn referrer(name: &RepositoryName, subject: &Digest, by: &Digest) -> Path {
    let file = format!("{}-{}", by.algorithm(), by.digest());
    referrers(name, subject).join(file)
}

pub(super) fn upload(id: &str) -> Path {
    Path::from_iter([UPLOADS, id])
}

pub(super) fn upload_state(id: &str) -> Path {
    upload(id).join("state")
}

/// Their order as texts is that of their offsets.
pub(super) fn upload_part(id: &str, offset: u64) -> Path {
    upload(id).join(format!("{offset:020}"))
}

/// The upload that an object is of, and where its piece begins if it is one.
pub(super) fn upload_of(path: &Path) -> Option<(&str, Option<u64>)> {
    let mut parts = path.as_ref().rsplit('/');
    let file = parts.next()?;
    Some((parts.next()?, file.parse().ok()))
}

/// The digest that a link or content is called by: its last two or, of content, three parts.
pub(super) fn digest_of(path: &Path, is_content: bool) -> Option<Digest> {
    let text = path.as_ref();
    let mut parts = text.rsplit('/');
    let hex = parts.next()?;
    if is_content {
        parts.next()?;
    }
    parse_digest(&format!("{}:{hex}", parts.next()?))
}

fn under(folder: Path, digest: &Digest) -> Path {
    folder
        .join(digest.algorithm().as_ref())
        .join(digest.digest())
}
