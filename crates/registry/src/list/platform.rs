//! Platforms, as `linux/arm64/v8`.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// A platform. Without a variant it is any variant of its architecture.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
pub struct Platform {
    /// As `linux`.
    #[serde(default)]
    pub os: String,
    /// As `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// As `v8`; empty if there is none.
    #[serde(default)]
    pub variant: String,
}

impl Platform {
    /// Whether an image of the other platform is one of this.
    pub fn takes(&self, other: &Self) -> bool {
        let variant = |it: &Self| match (it.architecture.as_str(), it.variant.as_str()) {
            // What is meant where nothing is said.
            ("arm64", "") => "v8".to_owned(),
            ("arm", "") => "v7".to_owned(),
            (_, variant) => variant.to_owned(),
        };
        self.os == other.os
            && self.architecture == other.architecture
            && (self.variant.is_empty() || variant(self) == variant(other))
    }
}

impl FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no platform: write OS/ARCHITECTURE[/VARIANT], as linux/amd64");
        let parts: Vec<_> = text.split('/').collect();
        let right = |it: &&str| {
            !it.is_empty()
                && it
                    .bytes()
                    .all(|it| it.is_ascii_alphanumeric() || b"._-".contains(&it))
        };
        let (2 | 3, true) = (parts.len(), parts.iter().all(right)) else {
            return Err(wrong());
        };
        Ok(Self {
            os: parts[0].to_owned(),
            architecture: parts[1].to_owned(),
            variant: parts.get(2).copied().unwrap_or_default().to_owned(),
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.is_empty() {
            true => Ok(()),
            false => write!(f, "/{}", self.variant),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_takes_its_variants() {
        let platform = |text: &str| text.parse::<Platform>().expect("right");
        assert!(platform("linux/arm").takes(&platform("linux/arm/v6")));
        assert!(platform("linux/arm64/v8").takes(&platform("linux/arm64")));
        assert!(!platform("linux/arm/v6").takes(&platform("linux/arm")));
        assert!(!platform("linux/amd64").takes(&platform("windows/amd64")));
        for wrong in ["linux", "linux/", "a/b/c/d", "linux/amd 64"] {
            assert!(wrong.parse::<Platform>().is_err(), "{wrong}");
        }
    }
}
