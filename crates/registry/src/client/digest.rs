//! Digests, as the image specification writes them.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{self, Algorithm, Context};

/// A digest that can be checked: sha256 or sha512 of content, in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

/// Computes a digest while content passes.
pub struct Hasher {
    context: Context,
    prefix: &'static str,
}

impl Digest {
    /// The sha256 of some content.
    pub fn sha256(content: &[u8]) -> Self {
        let mut hasher = Hasher::named("sha256").unwrap_or_else(|| unreachable!("it is known"));
        hasher.update(content);
        hasher.finish()
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is before the colon.
    pub fn algorithm(&self) -> &str {
        self.0
            .split_once(':')
            .map_or("", |(algorithm, _)| algorithm)
    }

    /// What is behind the colon.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// Whether some content has this digest.
    pub fn is_of(&self, content: &[u8]) -> bool {
        let mut hasher = self.hasher();
        hasher.update(content);
        hasher.finish() == *self
    }

    /// Something that computes a digest of the same algorithm.
    pub fn hasher(&self) -> Hasher {
        Hasher::named(self.algorithm()).unwrap_or_else(|| unreachable!("parsed with a known one"))
    }
}

impl Hasher {
    /// By `sha256` or `sha512`.
    pub fn named(name: &str) -> Option<Self> {
        let (algorithm, prefix): (&'static Algorithm, _) = match name {
            "sha256" => (&digest::SHA256, "sha256"),
            "sha512" => (&digest::SHA512, "sha512"),
            _ => return None,
        };
        Some(Self {
            context: Context::new(algorithm),
            prefix,
        })
    }

    /// Some more content.
    pub fn update(&mut self, content: &[u8]) {
        self.context.update(content);
    }

    /// The digest of all.
    pub fn finish(self) -> Digest {
        use fmt::Write as _;

        let found = self.context.finish();
        let mut text = format!("{}:", self.prefix);
        for byte in found.as_ref() {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        Digest(text)
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.prefix)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (algorithm, hex) = text.split_once(':').unwrap_or((text, ""));
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return Err("a digest is sha256: or sha512: and hexadecimal digits".to_owned()),
        };
        let right = hex.len() == length
            && hex
                .bytes()
                .all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
        match right {
            true => Ok(Self(text.to_owned())),
            false => Err(format!(
                "a digest of {algorithm} has {length} lower-case hexadecimal digits"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_parsed_and_checked() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::sha256(b"").as_str(), empty);
        let parsed: Digest = empty.parse().expect("right");
        assert!(parsed.is_of(b"") && !parsed.is_of(b"x"));
        for wrong in ["", "sha256:", "md5:00", &empty.to_uppercase(), &empty[..70]] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
    }
}
