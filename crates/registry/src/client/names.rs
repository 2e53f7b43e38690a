//! Names that clients are given.

use super::Digest;
use crate::name::{RepositoryName, Tag};

/// Whether this names a repository.
pub fn is_repository(text: &str) -> bool {
    text.parse::<RepositoryName>().is_ok()
}

/// Whether this is a tag.
pub fn is_tag(text: &str) -> bool {
    text.parse::<Tag>().is_ok()
}

/// Where Docker Hub's API is, which is not where its name says.
pub fn host_of_docker_hub(host: &str) -> &str {
    match host {
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        other => other,
    }
}

/// The tags under which cosign puts a signature, attestations and a bill of materials beside an image,
/// where nothing knows referrers.
pub fn cosign_tags(image: &Digest) -> [String; 3] {
    let (algorithm, hex) = (image.algorithm(), image.hex());
    ["sig", "att", "sbom"].map(|kind| format!("{algorithm}-{hex}.{kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_specification_s() {
        for right in ["a", "a/b", "library/nginx", "a.b_c__d---e/0"] {
            assert!(is_repository(right), "{right}");
        }
        for wrong in [
            "", "/", "a/", "A", "a..b", "a___b", "-a", "a-", "a/../b", "a b",
        ] {
            assert!(!is_repository(wrong), "{wrong}");
        }
        assert!(is_tag("v1.2-x") && is_tag("_a") && !is_tag(".a") && !is_tag("") && !is_tag("a:b"));
    }
}
