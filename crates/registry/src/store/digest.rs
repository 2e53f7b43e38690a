//! Digests of content, computed as it comes.

use std::fmt::Write as _;

use aws_lc_rs::digest::{Context, SHA256, SHA512};
use oci_spec::image::{Digest, DigestAlgorithm};

/// How content is digested: what a registry must have, and what it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// Digests what it is told, in order.
#[derive(Clone)]
pub struct Hasher {
    algorithm: Algorithm,
    context: Context,
}

impl Algorithm {
    /// By its name in a digest.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "sha256" => Some(Self::Sha256),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Its name in a digest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Of a digest, if it is one that we compute.
    pub fn of(digest: &Digest) -> Option<Self> {
        match digest.algorithm() {
            DigestAlgorithm::Sha256 => Some(Self::Sha256),
            DigestAlgorithm::Sha512 => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Digests `bytes`.
    pub fn digest(self, bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(self);
        hasher.update(bytes);
        hasher.finish()
    }
}

impl Hasher {
    /// Of nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        let context = Context::new(match algorithm {
            Algorithm::Sha256 => &SHA256,
            Algorithm::Sha512 => &SHA512,
        });
        Self { algorithm, context }
    }

    /// What it computes.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// More of the content.
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    /// The digest of all.
    pub fn finish(self) -> Digest {
        let mut text = format!("{}:", self.algorithm.name());
        for byte in self.context.finish().as_ref() {
            let _ = write!(text, "{byte:02x}");
        }
        // An algorithm's name and as many lower-case hexadecimal digits as it has.
        text.parse().expect("a digest that was just made")
    }
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hasher").field(&self.algorithm).finish()
    }
}

/// Reads a digest of an algorithm that we compute.
pub fn parse_digest(text: &str) -> Option<Digest> {
    // The longest one, so that no request makes us copy more.
    if text.len() > "sha512:".len() + 128 {
        return None;
    }
    let digest: Digest = text.parse().ok()?;
    Algorithm::of(&digest).map(|_| digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_the_digest_that_everybody_knows() {
        assert_eq!(
            Algorithm::Sha256.digest(b"").as_ref(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert!(
            Algorithm::Sha512
                .digest(b"")
                .as_ref()
                .starts_with("sha512:cf83e1357eef")
        );
    }

    #[test]
    fn only_digests_that_we_compute_are_read() {
        let hex = "0".repeat(64);
        assert!(parse_digest(&format!("sha256:{hex}")).is_some());
        assert!(parse_digest(&format!("sha512:{hex}{hex}")).is_some());
        for wrong in [
            format!("sha256:{hex}0"),
            format!("sha256:{}", "A".repeat(64)),
            format!("sha384:{hex}{}", "0".repeat(32)),
            format!("md5:{hex}"),
            format!("sha256:../{hex}"),
            "sha256".to_owned(),
            String::new(),
        ] {
            assert!(parse_digest(&wrong).is_none(), "{wrong}");
        }
    }
}
