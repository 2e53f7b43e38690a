//! Where images come from.

use std::fmt;
use std::path::{Path, PathBuf};

use oci_spec::distribution::Reference;

use super::select::Names;
use crate::name::RepositoryName;

/// Where images come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A repository of a registry.
    Repository {
        /// As `quay.io` or `localhost:5000`.
        registry: String,
        /// As `library/nginx`.
        repository: String,
    },
    /// All repositories of a registry that has a catalog.
    Registry {
        /// As `quay.io` or `localhost:5000`.
        registry: String,
        /// Which of them.
        repositories: Names,
        /// What is taken away from the beginning of their names.
        strip: String,
    },
    /// A folder in the image layout of the OCI.
    Layout(PathBuf),
    /// The same in a tar file.
    Archive(PathBuf),
    /// What `docker save` writes.
    DockerArchive(PathBuf),
}

/// A source and what its text says of tags.
pub(super) type Named = (Source, Option<String>);

impl Source {
    /// A reference to an image, or a folder or file by its prefix: `oci:DIR[:TAG]`,
    /// `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:TAG]`, `docker://REFERENCE`. Paths begin at
    /// `folder`.
    ///
    /// # Errors
    /// It is none of them, for people.
    pub(super) fn parse(text: &str, folder: &Path) -> Result<Named, String> {
        let path = |rest: &str| -> Result<(PathBuf, Option<String>), String> {
            let (path, tag) = match rest.split_once(':') {
                Some((path, tag)) => (path, Some(tag)),
                None => (rest, None),
            };
            match (path, tag) {
                ("", _) => Err(format!("{text:?} names no path")),
                (_, Some("")) => Err(format!(
                    "{text:?} ends with a colon: write the tag behind it"
                )),
                _ => Ok((folder.join(path), tag.map(str::to_owned))),
            }
        };
        if let Some(rest) = text.strip_prefix("oci:") {
            return path(rest).map(|(path, tag)| (Self::Layout(path), tag));
        }
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            return path(rest).map(|(path, tag)| (Self::Archive(path), tag));
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            return path(rest).map(|(path, tag)| (Self::DockerArchive(path), tag));
        }
        let text = text.strip_prefix("docker://").unwrap_or(text);
        let (source, reference) = Self::reference(text)?;
        Ok((source, reference))
    }

    /// A repository, and the tag or digest that the text has; with both, `tag@digest`.
    pub(super) fn reference(text: &str) -> Result<Named, String> {
        let wrong = |why: &str| {
            format!(
                "{text:?} is no image: {why}; write [REGISTRY/]REPOSITORY[:TAG][@DIGEST], \
                 oci:DIR, oci-archive:FILE or docker-archive:FILE"
            )
        };
        let parsed: Reference = text
            .parse()
            .map_err(|error: oci_spec::distribution::ParseError| wrong(&error.to_string()))?;
        // `A/b` could begin with a registry, and turns out not to.
        if let Err(why) = parsed.repository().parse::<RepositoryName>() {
            return Err(wrong(&why.to_string()));
        }
        // A reference without either has the tag `latest`.
        let bare = !text.contains('@') && !last_component(text).contains(':');
        let reference = match (parsed.tag(), parsed.digest()) {
            _ if bare => None,
            (Some(tag), Some(digest)) => Some(format!("{tag}@{digest}")),
            (None, Some(digest)) => Some(digest.to_owned()),
            (tag, None) => tag.map(str::to_owned),
        };
        let source = Self::Repository {
            registry: parsed.registry().to_owned(),
            repository: parsed.repository().to_owned(),
        };
        Ok((source, reference))
    }

    /// The registry, if it is one.
    pub fn registry(&self) -> Option<&str> {
        match self {
            Self::Repository { registry, .. } | Self::Registry { registry, .. } => Some(registry),
            _ => None,
        }
    }
}

fn last_component(text: &str) -> &str {
    text.rsplit('/').next().unwrap_or(text)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository {
                registry,
                repository,
            } => write!(f, "{registry}/{repository}"),
            Self::Registry { registry, .. } => f.write_str(registry),
            Self::Layout(path) => write!(f, "oci:{}", path.display()),
            Self::Archive(path) => write!(f, "oci-archive:{}", path.display()),
            Self::DockerArchive(path) => write!(f, "docker-archive:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, Option<String>) {
        let (source, tag) = Source::parse(text, Path::new("/lists")).expect(text);
        (source.to_string(), tag)
    }

    #[test]
    fn images_are_named_as_everywhere() {
        let tag = |text: &str| Some(text.to_owned());
        assert_eq!(
            parsed("nginx"),
            ("docker.io/library/nginx".to_owned(), None)
        );
        assert_eq!(
            parsed("docker://localhost:5000/a/b:v1"),
            ("localhost:5000/a/b".to_owned(), tag("v1"))
        );
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(
            parsed(&format!("quay.io/a:v1@{digest}")),
            ("quay.io/a".to_owned(), tag(&format!("v1@{digest}")))
        );
        assert_eq!(parsed(&format!("quay.io/a@{digest}")).1, Some(digest));
        assert_eq!(
            parsed("oci:app:v1"),
            ("oci:/lists/app".to_owned(), tag("v1"))
        );
        assert_eq!(parsed("docker-archive:/a.tar").0, "docker-archive:/a.tar");
        for wrong in [
            "",
            "A/B",
            "A/0",
            "oci:",
            "oci:a:",
            "quay.io/a@sha256:1",
            "a b",
        ] {
            assert!(Source::parse(wrong, Path::new("")).is_err(), "{wrong:?}");
        }
    }
}
