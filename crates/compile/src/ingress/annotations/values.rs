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

/// The same where ingress-nginx takes the default for what it cannot read.
pub(super) fn boolean_or_default(value: &str) -> Result<bool, BadValue> {
    boolean(value).map_err(|BadValue { hint, .. }| BadValue::unused(hint))
}

/// As Go's `strconv.Atoi`.
pub(super) fn integer(value: &str) -> Result<i64, BadValue> {
    value.parse().map_err(|_| BadValue::invalid("a number"))
}

/// A text without spaces around its lines, as ingress-nginx takes it.
pub(super) fn trimmed(value: &str) -> String {
    let lines: Vec<_> = value.split('\n').map(str::trim).collect();
    lines.join("\n")
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

fn has_only(value: &str, more: &str) -> bool {
    let basic = |one: char| one.is_ascii_alphanumeric() || "-._~/:".contains(one);
    value.chars().all(|one| basic(one) || more.contains(one))
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
        assert_eq!(integer("-5"), Ok(-5));
        assert!(integer("5.5").is_err() && integer("5 ").is_err());
        assert_eq!(trimmed(" a \n b"), "a\nb");
        assert!(is_path_with_captures("/a/$1") && !is_path_with_captures("/a?b"));
        assert!(is_url("http://a/?b=c&d") && !is_url("http://a/$1") && !is_url("/a\n"));
        assert!(is_regex(r"^~a\d+$") && !is_regex("a;b") && !is_basic("a b"));
    }
}
