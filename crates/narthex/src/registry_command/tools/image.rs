//! Names of images, as people type them.

use std::fmt;

use registry::client::{Digest, is_repository, is_tag};

use crate::failure::Failure;

/// An image of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) host: String,
    pub(super) repository: String,
    /// A tag or a digest.
    pub(super) reference: String,
    /// Whether one was said; else it is `latest`.
    pub(super) is_said: bool,
}

impl Image {
    /// Reads `HOST[:PORT]/REPOSITORY[:TAG|@DIGEST]`; without a host it is Docker Hub's.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |what: &str| Failure::Invalid(format!("{text}: {what}"));
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse::<Digest>();
                let digest = digest.map_err(|_| wrong("what follows `@` is no digest"))?;
                (rest, Some(digest.to_string()))
            }
            None => (text, None),
        };
        let last = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[last..].find(':') {
            Some(at) => (&rest[..last + at], Some(&rest[last + at + 1..])),
            None => (rest, None),
        };
        if tag.is_some_and(|it| !is_tag(it)) {
            return Err(wrong("what follows the last `:` is no tag"));
        }
        let (host, repository) = repository(name)?;
        let reference = digest.or_else(|| tag.map(str::to_owned));
        Ok(Self {
            host,
            repository,
            is_said: reference.is_some(),
            reference: reference.unwrap_or_else(|| "latest".to_owned()),
        })
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let between = if self.reference.contains(':') {
            '@'
        } else {
            ':'
        };
        write!(
            f,
            "{}/{}{between}{}",
            self.host, self.repository, self.reference
        )
    }
}

/// Reads `HOST[:PORT]/REPOSITORY`; without a host it is Docker Hub's.
pub(super) fn repository(text: &str) -> Result<(String, String), Failure> {
    let first = text.split_once('/');
    let is_host = |it: &str| it.contains(['.', ':']) || it == "localhost";
    let (host, name) = match first {
        Some((host, name)) if is_host(host) => (host, name.to_owned()),
        Some(_) => ("docker.io", text.to_owned()),
        None => ("docker.io", format!("library/{text}")),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    if let Some((_, port)) = host.rsplit_once(':')
        && !(is_port(port) || host.ends_with(']'))
    {
        return Err(Failure::Invalid(format!(
            "{text}: {host} is no registry: write HOST[:PORT]/REPOSITORY; what is in a folder or an \
             archive comes by a list, with `registry sync`"
        )));
    }
    match is_repository(&name) {
        true => Ok((host.to_owned(), name)),
        false => Err(Failure::Invalid(format!(
            "{text}: is no repository: write HOST[:PORT]/REPOSITORY, in lower case"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, String, String) {
        let image = Image::parse(text).expect("right");
        (image.host, image.repository, image.reference)
    }

    #[test]
    fn images_are_read_as_docker_reads_them() {
        let of = |host: &str, name: &str, reference: &str| {
            (host.to_owned(), name.to_owned(), reference.to_owned())
        };
        assert_eq!(
            parsed("localhost:5000/a"),
            of("localhost:5000", "a", "latest")
        );
        assert_eq!(parsed("r.example/a/b:1"), of("r.example", "a/b", "1"));
        assert_eq!(parsed("nginx"), of("docker.io", "library/nginx", "latest"));
        assert_eq!(parsed("team/app:2"), of("docker.io", "team/app", "2"));
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(
            parsed(&format!("[::1]:5000/a:1@{digest}")),
            of("[::1]:5000", "a", &digest)
        );
        for wrong in [
            "",
            "r.example/A",
            "r.example/a:b:c",
            "r.example/a@sha256:0",
            "r.example/a:",
            "oci:/folder:1",
            "oci:folder/a:1",
            "r.example:80x/a",
            "http://r.example/a",
        ] {
            assert!(Image::parse(wrong).is_err(), "{wrong}");
        }
    }
}
