//! Problems with their places, as people are told of them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use admin::view;
use objects::manifests::{Located, Origin, locate};
use objects::{Problem, Severity};

/// A problem, and where it is if it is in a file.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) problem: Problem,
    place: Place,
}

/// Where a problem is.
#[derive(Debug, Clone)]
enum Place {
    /// In no file: with an object that is missing, for example.
    Nowhere,
    /// There; 0 is the file as a whole.
    Line(Arc<Path>, u32),
    /// Somewhere in the object that was read there. Which line that is costs a look into the
    /// file, which is not taken before somebody wants to know.
    Within(Origin),
}

impl Finding {
    /// A problem that was found in an object, read at `origin`.
    pub(crate) fn new(problem: Problem, origin: Option<&Origin>) -> Self {
        let place = origin.map_or(Place::Nowhere, |origin| Place::Within(origin.clone()));
        Self { problem, place }
    }

    /// The file.
    pub(crate) fn file(&self) -> Option<&Arc<Path>> {
        match &self.place {
            Place::Nowhere => None,
            Place::Line(file, _) => Some(file),
            Place::Within(origin) => Some(&origin.file),
        }
    }

    /// The line, from 1. Reads the file if need be.
    pub(crate) fn line(&self) -> Option<u32> {
        match &self.place {
            Place::Nowhere | Place::Line(_, 0) => None,
            Place::Line(_, line) => Some(*line),
            Place::Within(origin) => Some(locate(origin, &self.problem.field)),
        }
    }

    /// For the API and for `check --output json`.
    pub(crate) fn view(&self) -> view::Problem {
        let problem = &self.problem;
        view::Problem {
            file: self.file().map(|file| file.display().to_string()),
            line: self.line(),
            severity: match problem.severity {
                Severity::Warning => "warning",
                Severity::Error => "error",
            },
            object: problem.object.as_ref().map(ToString::to_string),
            field: problem.field.clone(),
            message: problem.message.clone(),
            hint: problem.hint.clone(),
        }
    }
}

impl From<Located> for Finding {
    fn from(located: Located) -> Self {
        Self {
            problem: located.problem,
            place: Place::Line(located.file, located.line),
        }
    }
}

/// How many errors and warnings there are.
pub(crate) fn count(findings: &[Finding]) -> view::ProblemCounts {
    let errors = findings
        .iter()
        .filter(|finding| finding.problem.severity == Severity::Error)
        .count();
    view::ProblemCounts {
        errors,
        warnings: findings.len() - errors,
    }
}

/// `FILE:LINE`, `FILE`, or nothing.
pub(crate) fn place(file: Option<&Path>, line: Option<u32>) -> String {
    match (file, line) {
        (Some(file), Some(line)) => format!("{}:{line}", file.display()),
        (Some(file), None) => file.display().to_string(),
        (None, _) => String::new(),
    }
}

/// `KIND ns/name: FIELD: message (hint)` of a problem.
pub(crate) struct Said<'a>(pub(crate) &'a Problem);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem {
            object,
            field,
            message,
            hint,
            ..
        } = self.0;
        if let Some(object) = object {
            write!(f, "{}: ", OneLine(&object.to_string()))?;
        }
        if !field.is_empty() {
            write!(f, "{}: ", OneLine(field))?;
        }
        write!(f, "{}", OneLine(message))?;
        if !hint.is_empty() {
            write!(f, " ({})", OneLine(hint))?;
        }
        Ok(())
    }
}

/// Text that a manifest's author chose, without what would break a line or drive a terminal.
pub(crate) struct OneLine<'a>(pub(crate) &'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use objects::kinds::{Kind, ObjectKey};

    use super::*;

    #[test]
    fn a_problem_is_one_line() {
        let problem = Problem {
            severity: Severity::Error,
            object: Some(ObjectKey::new(Kind::Ingress, "default", "web")),
            field: "spec.rules[0].host".to_owned(),
            message: "\"a\nb\u{1b}[31m\" is no host".to_owned(),
            hint: "write a name".to_owned(),
        };
        assert_eq!(
            Said(&problem).to_string(),
            "Ingress default/web: spec.rules[0].host: \"a\\nb\\u{1b}[31m\" is no host \
             (write a name)"
        );
    }
}
