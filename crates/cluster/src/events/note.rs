//! What an Event says.

use objects::kinds::ObjectKey;
use objects::{Problem, Severity};

use crate::status::Addresses;

/// The longest note that the API takes, in bytes (events.k8s.io/v1 Event, `note`).
const LONGEST: usize = 1024;

/// The longest name of an object.
const NAME: usize = 253;

/// What an Event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(super) object: ObjectKey,
    /// `type`.
    pub(super) kind: &'static str,
    pub(super) reason: &'static str,
    pub(super) action: &'static str,
    pub(super) text: String,
    /// How often it was to be told.
    pub(super) times: i32,
}

impl Note {
    /// Of a problem of an object that is served or not.
    pub(super) fn problem(object: ObjectKey, problem: &Problem, is_served: bool) -> Self {
        Self {
            kind: "Warning",
            reason: reason(problem),
            action: match (problem.severity, is_served) {
                (Severity::Error, true) => "ServedInPart",
                (Severity::Error, false) => "Refused",
                (Severity::Warning, true) => "Served",
                (Severity::Warning, false) => "LeftAlone",
            },
            text: text(problem),
            object,
            times: 1,
        }
    }

    /// An Ingress got its first address.
    pub(super) fn first_address(object: ObjectKey, addresses: &Addresses) -> Self {
        let text = format!("served by every replica, at {}", addresses.text());
        Self {
            object,
            kind: "Normal",
            reason: "AddressAssigned",
            action: "Served",
            text: cut(&text, LONGEST),
            times: 1,
        }
    }

    /// A certificate is there.
    pub(crate) fn certificate_issued(object: ObjectKey, text: &str) -> Self {
        Self {
            object,
            kind: "Normal",
            reason: "CertificateIssued",
            action: "Issued",
            text: cut(text, LONGEST),
            times: 1,
        }
    }

    /// A certificate was not got, so many times one after another.
    pub(crate) fn certificate_failed(object: ObjectKey, text: &str, times: u32) -> Self {
        Self {
            object,
            kind: "Warning",
            reason: "CertificateFailed",
            action: "Ordered",
            text: cut(text, LONGEST),
            times: i32::try_from(times).unwrap_or(i32::MAX).max(1),
        }
    }

    /// Of credentials of a registry, and so many times.
    pub(crate) fn credential(
        object: ObjectKey,
        kind: &'static str,
        text: &str,
        times: u32,
    ) -> Self {
        let is_good = kind == "Normal";
        Self {
            object,
            kind,
            reason: match is_good {
                true => "RegistryCredentialRefreshed",
                false => "RegistryCredentialFailed",
            },
            action: "Refreshed",
            text: cut(text, LONGEST),
            times: i32::try_from(times).unwrap_or(i32::MAX).max(1),
        }
    }

    /// The same for the same note on the same object, whoever tells it.
    pub(super) fn name(&self, uid: &str) -> String {
        let parts = [uid, self.kind, self.reason, self.action, &self.text];
        let digest = digest(&self.object, &parts);
        format!("{}.{digest:016x}", cut(&self.object.name, NAME - 17))
    }
}

/// Tells one note from another, in this and in any other process.
pub(super) fn digest(object: &ObjectKey, parts: &[&str]) -> u64 {
    let object = [object.kind.name(), &object.namespace, &object.name];
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in object.iter().chain(parts) {
        // FNV-1a; the 0xff, which no UTF-8 has, ends each part.
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

/// At most so many bytes of it, with `…` for what is left out.
pub(super) fn cut(text: &str, most: usize) -> String {
    const DOTS: &str = "…";
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most.saturating_sub(DOTS.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // Names are ASCII and may not have the dots; notes may.
    if text.is_ascii() && !text.contains(' ') {
        return text[..end].to_owned();
    }
    format!("{}{DOTS}", &text[..end])
}

fn text(problem: &Problem) -> String {
    let Problem {
        field,
        message,
        hint,
        ..
    } = problem;
    let mut text = String::new();
    if !field.is_empty() {
        text.push_str(field);
        text.push_str(": ");
    }
    text.push_str(message);
    if !hint.is_empty() {
        text.push_str("; right would be: ");
        text.push_str(hint);
    }
    cut(&text, LONGEST)
}

/// By what the field is about.
fn reason(problem: &Problem) -> &'static str {
    let field = problem.field.as_str();
    let is_error = problem.severity == Severity::Error;
    let begins = |start: &str| field.starts_with(start);
    if begins("spec.ingressClassName") || field.contains("ingress.class") {
        "IngressClass"
    } else if begins("metadata.annotations") {
        if is_error {
            "InvalidAnnotation"
        } else {
            "DoubtfulAnnotation"
        }
    } else if begins("spec.tls") {
        if is_error {
            "InvalidTLS"
        } else {
            "DoubtfulTLS"
        }
    } else if field.contains("backend") || begins("spec.defaultBackend") {
        if is_error {
            "InvalidBackend"
        } else {
            "DoubtfulBackend"
        }
    } else if begins("spec.rules") {
        if is_error {
            "InvalidRule"
        } else {
            "DoubtfulRule"
        }
    } else if is_error {
        "Invalid"
    } else {
        "Doubtful"
    }
}

#[cfg(test)]
mod tests {
    use objects::kinds::Kind;

    use super::*;

    fn problem(severity: Severity, field: &str, message: &str, hint: &str) -> Problem {
        Problem {
            severity,
            object: None,
            field: field.to_owned(),
            message: message.to_owned(),
            hint: hint.to_owned(),
        }
    }

    fn note(field: &str, message: &str) -> Note {
        let object = ObjectKey::new(Kind::Ingress, "shop", "web");
        Note::problem(
            object,
            &problem(Severity::Error, field, message, "less"),
            true,
        )
    }

    #[test]
    fn a_note_names_the_field_what_is_wrong_and_what_would_be_right() {
        let note = note("spec.tls[0].secretName", "there is no Secret x");
        let expected = "spec.tls[0].secretName: there is no Secret x; right would be: less";
        assert_eq!(note.text, expected);
        assert_eq!((note.kind, note.reason), ("Warning", "InvalidTLS"));
        assert_eq!(note.action, "ServedInPart");
    }

    #[test]
    fn a_note_is_never_longer_than_the_api_takes() {
        for message in ["é ".repeat(2000), "x y ".repeat(600)] {
            let note = note("spec", &message);
            assert!(note.text.len() <= LONGEST && note.text.len() > LONGEST - 8);
            assert!(note.text.ends_with('…'));
        }
    }

    #[test]
    fn a_name_is_the_same_for_the_same_note_alone_and_always_valid() {
        let one = note("spec", "a");
        assert_eq!(one.name("1"), note("spec", "a").name("1"));
        assert_ne!(one.name("1"), note("spec", "b").name("1"));
        assert_ne!(one.name("1"), one.name("2"));
        assert!(one.name("1").starts_with("web."));
        let mut long = one;
        long.object.name = "a".repeat(NAME).into();
        assert!(long.name("1").len() <= NAME && long.name("1").is_ascii());
    }

    #[test]
    fn reasons_are_by_the_field() {
        for (field, expected) in [
            ("spec.ingressClassName", "IngressClass"),
            (
                "metadata.annotations[kubernetes.io/ingress.class]",
                "IngressClass",
            ),
            ("metadata.annotations[x/y]", "DoubtfulAnnotation"),
            (
                "spec.rules[0].http.paths[0].backend.service",
                "DoubtfulBackend",
            ),
            ("spec.rules[0].host", "DoubtfulRule"),
            ("", "Doubtful"),
        ] {
            assert_eq!(reason(&problem(Severity::Warning, field, "", "")), expected);
        }
    }
}
