//! Values of annotations, read as ingress-nginx reads them.

use std::net::IpAddr;

use ipnet::IpNet;

/// What a value should have been, and what follows from its not being that.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadValue {
    pub(crate) hint: &'static str,
    pub(crate) consequence: Consequence,
}

/// What follows from a value that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Consequence {
    /// What can be read of it holds.
    Partly,
    /// The default stands: ingress-nginx finds it out after its validation.
    Default,
    /// Every path of the Ingress answers 503 (ingress-nginx: location denied).
    Denied,
    /// The Ingress is left out, as ingress-nginx's validation does.
    LeftOut,
}

impl BadValue {
    /// A value that ingress-nginx's validation refuses.
    pub(super) const fn invalid(hint: &'static str) -> Self {
        Self {
            hint,
            consequence: Consequence::LeftOut,
        }
    }

    /// One that it accepts, and then has no use for.
    pub(super) const fn unused(hint: &'static str) -> Self {
        Self {
            hint,
            consequence: Consequence::Default,
        }
    }

    /// One of which a part is of no use, which is all that follows.
    pub(super) const fn partly(hint: &'static str) -> Self {
        Self {
            hint,
            consequence: Consequence::Partly,
        }
    }

    /// One that closes what the annotation was to guard.
    pub(super) const fn denied(hint: &'static str) -> Self {
        Self {
            hint,
            consequence: Consequence::Denied,
        }
    }
}

/// As Go's `strconv.ParseBool`.
pub(super) fn boolean(value: &str) -> Result<bool, BadValue> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(BadValue::invalid("\"true\" or \"false\"")),
    }
}

/// As Go's `strconv.Atoi`.
pub(super) fn integer(value: &str) -> Option<i64> {
    value.parse().ok()
}

/// The same, which the validation wants.
pub(super) fn number(value: &str) -> Result<i64, BadValue> {
    integer(value).ok_or(BadValue::invalid("a number"))
}

/// Networks and addresses with commas between, of which each has to be one.
pub(super) fn networks(value: &str) -> Option<Vec<IpNet>> {
    let parts = value.split(',').map(str::trim);
    let parts = parts.map(|part| match part.parse::<IpNet>() {
        Ok(net) => Some(net.trunc()),
        Err(_) => {
            let address: IpAddr = part.parse().ok()?;
            Some(IpNet::from(address.to_canonical()))
        }
    });
    parts.collect()
}

/// Whether a value has nothing but letters, digits, `-._~/:` and `more` in it (ingress-nginx's
/// validators).
pub(super) fn has_only(value: &str, more: &str) -> bool {
    let is_right = |byte: u8| {
        byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) || more.as_bytes().contains(&byte)
    };
    value.bytes().all(is_right)
}

/// A value as ingress-nginx takes texts: without the blanks around each line.
pub(super) fn lines(value: &str) -> String {
    let lines: Vec<&str> = value.split('\n').map(str::trim).collect();
    lines.join("\n")
}

/// Whether a value, but for its spaces, has nothing in it but letters, digits and these.
pub(super) fn has_only_or_blanks(value: &str, others: &str) -> bool {
    let mut chars = value.chars();
    chars.all(|char| char == ' ' || char.is_ascii_alphanumeric() || others.contains(char))
}

/// What besides letters and digits is in values that are like URLs (`URLIsValidRegex`).
pub(super) const OF_URLS: &str = "-._~/:,?&=";

/// What besides letters and digits is in names and paths (`BasicCharsRegex`).
pub(super) const OF_NAMES: &str = "-._~/:";

/// As Go's `strconv.Atoi`, of numbers that are of use here: whole and not negative.
pub(super) fn whole(value: &str) -> Result<u32, BadValue> {
    let digits = value.strip_prefix('+').unwrap_or(value);
    digits
        .parse()
        .map_err(|_| BadValue::unused("a whole number"))
}

/// A size as nginx reads it (`client_max_body_size`): bytes, or with k, m or g.
pub(super) fn size(value: &str) -> Result<u64, BadValue> {
    const HINT: &str = "bytes, or a number with k, m or g";
    let value: String = value.chars().filter(|&c| c != ' ').collect();
    let (digits, unit) = match value.char_indices().next_back() {
        Some((at, unit)) if !unit.is_ascii_digit() => (&value[..at], unit.to_ascii_lowercase()),
        _ => (&*value, ' '),
    };
    let shift = match unit {
        ' ' => 0,
        'k' => 10,
        'm' => 20,
        'g' => 30,
        // The validation knows it, and nginx does not.
        'b' => return Err(BadValue::unused(HINT)),
        _ => return Err(BadValue::invalid(HINT)),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadValue::invalid(HINT));
    }
    let number: u64 = digits.parse().map_err(|_| BadValue::unused(HINT))?;
    let most = u64::MAX >> shift;
    (number <= most)
        .then(|| number << shift)
        .ok_or(BadValue::unused(HINT))
}

/// `on` or `off`.
pub(super) fn switch(value: &str) -> Result<bool, BadValue> {
    match value.trim() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(BadValue::invalid("\"on\" or \"off\"")),
    }
}

impl BadValue {
    /// The same, where ingress-nginx goes on with its default.
    pub(super) fn tolerated(self) -> Self {
        Self {
            consequence: Consequence::Default,
            ..self
        }
    }
}

/// The same where ingress-nginx takes the default for what it cannot read.
pub(super) fn boolean_or_default(value: &str) -> Result<bool, BadValue> {
    boolean(value).map_err(|BadValue { hint, .. }| BadValue::unused(hint))
}

/// Letters, digits and `-._~/:`, which ingress-nginx's validation lets through nearly everywhere.
pub(super) fn is_basic(value: &str) -> bool {
    has_only(value, "")
}

/// The same and dollar signs, for paths with captures and variables.
pub(super) fn is_path_with_captures(value: &str) -> bool {
    has_only(value, "$")
}

/// The same and what URLs have.
pub(super) fn is_url(value: &str) -> bool {
    has_only(value, ",:?&=")
}

/// The same and what regular expressions have.
pub(super) fn is_regex(value: &str) -> bool {
    has_only(value, "^$[](){}*+?|&=\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_gos() {
        for value in ["1", "t", "T", "true", "True", "TRUE"] {
            assert_eq!(boolean(value), Ok(true));
        }
        for value in ["0", "f", "F", "false", "False", "FALSE"] {
            assert_eq!(boolean(value), Ok(false));
        }
        for value in ["", "yes", "on", "tRUE", " true"] {
            assert!(boolean(value).is_err(), "{value:?}");
        }
        assert_eq!(integer("-5"), Some(-5));
        assert!(integer("5.5").is_none() && integer("5 ").is_none());
        assert_eq!(lines(" a \n b"), "a\nb");
        assert!(is_path_with_captures("/a/$1") && !is_path_with_captures("/a?b"));
        assert!(is_url("http://a/?b=c&d") && !is_url("http://a/$1") && !is_url("/a\n"));
        assert!(is_regex(r"^~a\d+$") && !is_regex("a;b") && !is_basic("a b"));
    }

    #[test]
    fn networks_are_addresses_too_and_each_has_to_be_one() {
        let nets = networks("18.1.2.3/8, 56.0.0.1,2001:db8::/32,::ffff:10.0.0.1").expect("nets");
        let nets: Vec<String> = nets.iter().map(ToString::to_string).collect();
        assert_eq!(
            nets,
            ["18.0.0.0/8", "56.0.0.1/32", "2001:db8::/32", "10.0.0.1/32"]
        );
        for wrong in ["", "10.0.0.0/33", "10.0.0.1,", "a", "10.0.0.0/8;"] {
            assert_eq!(networks(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_are_nginxs() {
        for (value, expected) in [
            ("0", 0),
            ("1000", 1000),
            ("8k", 8 << 10),
            ("1 M", 1 << 20),
            ("2g", 2 << 30),
        ] {
            assert_eq!(size(value), Ok(expected), "{value:?}");
        }
        for (value, consequence) in [
            ("1b", Consequence::Default),
            ("99999999999999999999", Consequence::Default),
            ("15r", Consequence::LeftOut),
            ("-1", Consequence::LeftOut),
            ("k", Consequence::LeftOut),
            ("\u{e9}", Consequence::LeftOut),
        ] {
            let bad = size(value).expect_err(value);
            assert_eq!(bad.consequence, consequence, "{value:?}");
        }
    }
}
