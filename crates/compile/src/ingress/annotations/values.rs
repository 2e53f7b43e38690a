//! Values of annotations, read as ingress-nginx reads them.

use crate::report::{Problems, annotation_field};

/// What a value should have been.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadValue {
    pub(super) hint: &'static str,
}

/// As Go's `strconv.ParseBool`.
pub(super) fn boolean(value: &str) -> Result<bool, BadValue> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(BadValue {
            hint: "\"true\" or \"false\"",
        }),
    }
}

/// Warns of a value that could not be read: the default stands.
pub(super) fn check(read: Result<(), BadValue>, name: &str, value: &str, problems: &mut Problems) {
    if let Err(BadValue { hint }) = read {
        let message = format!("{value:?} cannot be read; the default stands");
        problems.warning(annotation_field(name), message, hint);
    }
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
    }
}
