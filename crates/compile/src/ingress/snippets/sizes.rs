//! Sizes and times as nginx writes them.

use std::time::Duration;

/// Bytes, as `10m`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 10),
        b'm' | b'M' => (&text[..text.len() - 1], 20),
        b'g' | b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().ok().filter(|_| !digits.starts_with('+'))?;
    number.checked_mul(1 << shift)
}

/// A time, as `1h30m` or `90`, in seconds where nothing is said.
pub(crate) fn time(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 8] = [
        ("ms", 1),
        ("s", 1000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
        ("w", 604_800_000),
        ("M", 2_592_000_000),
        ("y", 31_536_000_000),
    ];
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let end = rest.find(|char: char| !char.is_ascii_digit());
        let (digits, after) = rest.split_at(end.unwrap_or(rest.len()));
        let number: u64 = digits.parse().ok()?;
        let unit = UNITS.iter().find(|(name, _)| after.starts_with(name));
        let (length, factor) = match unit {
            Some((name, factor)) => (name.len(), *factor),
            None if after.is_empty() => (0, 1000),
            None => return None,
        };
        total = total.checked_add(number.checked_mul(factor)?)?;
        rest = &after[length..];
    }
    (!text.is_empty()).then(|| Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_nginxs() {
        for (text, expected) in [("0", 0), ("1k", 1024), ("2M", 2 << 20), ("1g", 1 << 30)] {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        for (text, seconds) in [
            ("90", 90),
            ("1h30m", 5400),
            ("1d", 86_400),
            ("2y", 63_072_000),
        ] {
            assert_eq!(time(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(time("500ms"), Some(Duration::from_millis(500)));
        for wrong in ["", "k", "1x", "-1", "99999999999999999999", "1h x"] {
            assert_eq!((bytes(wrong), time(wrong)), (None, None), "{wrong}");
        }
    }
}
