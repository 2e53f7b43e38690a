//! Values of annotations, read as ingress-nginx reads them.

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
    #[allow(
        dead_code,
        reason = "groups that guard come with external and basic authentication"
    )]
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
pub(super) fn integer(value: &str) -> Result<i64, BadValue> {
    let digits = value.strip_prefix(['+', '-']).unwrap_or(value);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| value.parse().ok()).flatten();
    number.ok_or(BadValue::invalid("a number"))
}

/// A value as ingress-nginx takes texts: without the blanks around each line.
pub(super) fn lines(value: &str) -> String {
    let lines: Vec<&str> = value.split('\n').map(str::trim).collect();
    lines.join("\n")
}

/// Whether a value, but for its spaces, has nothing in it but letters, digits and these.
pub(super) fn has_only(value: &str, others: &str) -> bool {
    let mut chars = value.chars();
    chars.all(|char| char == ' ' || char.is_ascii_alphanumeric() || others.contains(char))
}

/// What besides letters and digits is in values that are like URLs (`URLIsValidRegex`).
pub(super) const OF_URLS: &str = "-._~/:,?&=";

/// What besides letters and digits is in names and paths (`BasicCharsRegex`).
pub(super) const OF_NAMES: &str = "-._~/:";

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
    }
}
