//! Points that replicas agree on, and numbers that nobody can guess.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;

/// A number from 0 up to 1 that belongs to these words: the same in each replica and version.
pub(crate) fn share(words: &[&[u8]]) -> f64 {
    number(words) as f64 / (1u64 << 53) as f64
}

/// A name of letters and digits that belongs to these bytes: their SHA-256.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    let digits = digest.as_ref().iter();
    digits.map(|byte| format!("{byte:02x}")).collect()
}

/// A whole number of 53 bits that belongs to these words, which JSON and a float hold exactly.
pub(crate) fn number(words: &[&[u8]]) -> u64 {
    let mut text = Vec::new();
    for word in words {
        // Lengths keep apart what concatenation would join.
        text.extend_from_slice(&(word.len() as u64).to_be_bytes());
        text.extend_from_slice(word);
    }
    let digest = digest(&SHA256, &text);
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_ref()[..8]);
    u64::from_be_bytes(first) >> 11
}

/// Bytes for a serial number: positive, and 127 random bits but one (RFC 5280, section 4.1.2.2).
///
/// # Errors
/// The system has no random bytes.
pub(crate) fn serial() -> Result<[u8; 16], aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes)?;
    // Positive, and of the same length always.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_depends_on_each_word_and_on_where_it_ends() {
        assert_eq!(share(&[b"a", b"b"]), share(&[b"a", b"b"]));
        assert_ne!(share(&[b"ab", b""]), share(&[b"a", b"b"]));
        let all: Vec<f64> = (0..1000u32).map(|i| share(&[&i.to_be_bytes()])).collect();
        let mean = all.iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
        assert!(all.iter().all(|share| (0.0..1.0).contains(share)));
    }

    #[test]
    fn serial_numbers_are_positive_and_differ() {
        let all: std::collections::HashSet<_> =
            (0..100).map(|_| serial().expect("random")).collect();
        assert_eq!(all.len(), 100);
        assert!(all.iter().all(|serial| (0x40..0x80).contains(&serial[0])));
    }
}
