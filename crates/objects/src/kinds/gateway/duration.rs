//! Durations as Gateway API writes them (GEP-2257): `10s`, `1h30m`, `500ms`.

use std::time::Duration;

/// The longest number that a part may have, in digits.
const DIGITS: usize = 5;
/// How many parts there may be.
const PARTS: usize = 4;

/// What `text` means; None if it is no duration. One to four parts, each of one to five digits and
/// a unit of `h`, `m`, `s` or `ms`, in any order, also the same unit twice.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    for _ in 0..PARTS {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=DIGITS).contains(&digits) {
            return None;
        }
        let (number, unit) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let (part, after) = if let Some(after) = unit.strip_prefix("ms") {
            (Duration::from_millis(number), after)
        } else if let Some(after) = unit.strip_prefix('h') {
            (Duration::from_secs(3600 * number), after)
        } else if let Some(after) = unit.strip_prefix('m') {
            (Duration::from_secs(60 * number), after)
        } else {
            (Duration::from_secs(number), unit.strip_prefix('s')?)
        };
        sum += part;
        rest = after;
        if rest.is_empty() {
            return Some(sum);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_hours_minutes_seconds_and_milliseconds() {
        for (text, millis) in [
            ("0s", 0),
            ("0h", 0),
            ("1h", 3_600_000),
            ("30m", 1_800_000),
            ("10s", 10_000),
            ("500ms", 500),
            ("2h30m", 9_000_000),
            ("150m", 9_000_000),
            ("7230s", 7_230_000),
            ("1h30m10s5ms", 5_410_005),
            ("10s10s", 20_000),
            ("99999h", 359_996_400_000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_not_of_that_form_is_no_duration() {
        for text in [
            "",
            "1",
            "s",
            "1d",
            "1S",
            "100000s",
            "1.5s",
            "-1s",
            "+1s",
            " 1s",
            "1s ",
            "1 s",
            "1h1m1s1ms1s",
            "1hm",
            "1us",
            "1µs",
            "1ns",
            "١s",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
