//! Names of registries.

use std::fmt;
use std::str::FromStr;

use crate::name::RepositoryName;

/// A registry: `docker.io`, `localhost:5001`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    name: String,
    folder: String,
}

impl Host {
    /// As images have it.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// As the first component of the repositories that are copies of its own: a colon is nothing
    /// that a repository has.
    pub fn folder(&self) -> &str {
        &self.folder
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write HOST or HOST:PORT, as docker.io or localhost:5001".to_owned();
        let name = match text.to_ascii_lowercase().as_str() {
            "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
            other => other.to_owned(),
        };
        let port = name.split_once(':').map(|(_, port)| port.parse::<u16>());
        // Otherwise `team` would be a host, and `team/app` no longer a repository of ours.
        let is_host = name.contains(['.', ':']) || name == "localhost";
        let folder = name.replace(':', "_");
        let is_one = folder.parse::<RepositoryName>().is_ok() && !folder.contains('/');
        match is_host && is_one && port.is_none_or(|port| port.is_ok()) {
            true => Ok(Self { name, folder }),
            false => Err(wrong()),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_from_a_repository() {
        let of = |text: &str| text.parse::<Host>().map(|it| (it.name, it.folder));
        let same = |text: &str| Ok((text.to_owned(), text.replace(':', "_")));
        for right in ["docker.io", "localhost:5001", "10.0.0.1:5000", "localhost"] {
            assert_eq!(of(right), same(right));
        }
        assert_eq!(of("Index.Docker.io"), same("docker.io"));
        for wrong in [
            "",
            "team",
            "a.b/c",
            "http://a.b",
            "a.b:",
            "a:x",
            "a.b:99999",
            "..",
            "[::1]:5000",
            "a.b@c",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
