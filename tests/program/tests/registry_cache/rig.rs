//! A registry outside, and one of ours that gets from it what is pulled.

use std::path::Path;

use program_tests::registry::guarded::layout;
use program_tests::registry::{Registry, skopeo};

/// A registry that gets from `hosts` what it does not have.
#[track_caller]
pub(crate) fn cache_of(hosts: &[&str], flags: &[&str]) -> Registry {
    let named = |flag: &str| format!("--{flag}={}", hosts.join(","));
    let (through, insecure) = (named("pull-through"), named("pull-through-insecure"));
    Registry::with(&[&[through.as_str(), &insecure], flags].concat())
}

/// What a repository of another registry is called here.
pub(crate) fn copy_of(host: &str, repository: &str) -> String {
    format!("{}/{repository}", host.replace(':', "_"))
}

/// Has a registry have an image of two platforms with `salt` in it; its digest.
#[track_caller]
pub(crate) fn push(host: &str, repository: &str, tag: &str, salt: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let from = format!("oci:{}:1", layout(folder.path(), salt).display());
    let to = format!("docker://{host}/{repository}:{tag}");
    let digest = folder.path().join("digest");
    let said = format!("--digestfile={}", digest.display());
    let flags = ["copy", "--all", "--dest-tls-verify=false", &said];
    let pushed = skopeo(&[&flags[..], &[&from, &to]].concat());
    assert_eq!(pushed.code, Some(0), "{}", pushed.said());
    std::fs::read_to_string(digest).expect("a digest")
}

/// Pulls an image with all its platforms by skopeo, which verifies all of it; its digest.
#[track_caller]
pub(crate) fn pull(registry: &Registry, image: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let from = format!("docker://{}/{image}", registry.host());
    let to = format!("dir:{}", folder.path().display());
    let flags = ["copy", "--all", "--src-tls-verify=false", &from, &to];
    let pulled = skopeo(&flags);
    assert_eq!(
        pulled.code,
        Some(0),
        "{}\n{}",
        pulled.said(),
        registry.log()
    );
    manifest_digest(folder.path())
}

fn manifest_digest(folder: &Path) -> String {
    let manifest = std::fs::read(folder.join("manifest.json")).expect("a manifest");
    program_tests::registry::digest(&manifest)
}

/// Where a blob of a repository outside is here.
pub(crate) fn blob_path(host: &str, repository: &str, digest: &str) -> String {
    format!("/v2/{}/blobs/{digest}", copy_of(host, repository))
}

/// The same of a manifest.
pub(crate) fn manifest_path(host: &str, repository: &str, reference: &str) -> String {
    format!("/v2/{}/manifests/{reference}", copy_of(host, repository))
}
