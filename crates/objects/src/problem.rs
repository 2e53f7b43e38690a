//! What is wrong with an object, said so that its author can mend it.

use std::fmt;

use crate::kinds::ObjectKey;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Served, but perhaps not as meant.
    Warning,
    /// Not served: the object, or the part of it that the field names.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One problem of one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Which object, where that much could be read.
    pub object: Option<ObjectKey>,
    /// The field, as `spec.rules[0].http.paths[1].pathType`; empty for the whole object.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What would be right; empty where nothing general can be said.
    pub hint: String,
}
