//! References from one object to another.

use objects::kinds::gateway::{BackendRef, ObjectReference};
use objects::kinds::{Kind, ObjectKey};

/// A reference as it is written, with its defaults.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reference<'a> {
    pub(super) group: &'a str,
    pub(super) kind: &'a str,
    /// None is the namespace of whoever refers.
    pub(super) namespace: Option<&'a str>,
    pub(super) name: &'a str,
}

impl<'a> Reference<'a> {
    /// A reference to an object that configures something.
    pub(super) fn of(reference: &'a ObjectReference, kind: &'static str) -> Self {
        Self {
            group: reference.group(),
            kind: reference.kind.as_deref().unwrap_or(kind),
            namespace: reference.namespace.as_deref(),
            name: &reference.name,
        }
    }

    /// A reference to a backend.
    pub(super) fn to_backend(reference: &'a BackendRef) -> Self {
        Self {
            group: reference.group(),
            kind: reference.kind(),
            namespace: reference.namespace.as_deref(),
            name: &reference.name,
        }
    }
}

pub(super) fn object(kind: Kind, namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(kind, namespace, name)
}
