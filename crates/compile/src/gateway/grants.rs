//! References across namespaces: allowed by a ReferenceGrant in the namespace that is referred to.

use hashbrown::HashMap;
use objects::Store;
use objects::kinds::gateway::ReferenceGrant;
use objects::kinds::{Kind, ObjectKey};
use std::sync::Arc;

use crate::status::Wrong;

/// Every ReferenceGrant, by namespace.
#[derive(Debug, Default)]
pub(super) struct Grants {
    by_namespace: HashMap<Box<str>, Vec<Arc<ReferenceGrant>>>,
}

/// What is referred to.
#[derive(Debug, Clone, Copy)]
pub(super) struct To<'a> {
    pub(super) kind: Kind,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

impl Grants {
    pub(super) fn read(store: &Store) -> Self {
        let mut by_namespace: HashMap<Box<str>, Vec<_>> = HashMap::new();
        for grant in store.reference_grants() {
            let namespace = grant.metadata.namespace.as_deref().unwrap_or_default();
            by_namespace
                .entry(namespace.into())
                .or_default()
                .push(Arc::clone(grant));
        }
        Self { by_namespace }
    }

    /// Says no where an object may not refer to something, in its field.
    pub(super) fn check(&self, field: &str, from: &ObjectKey, to: To<'_>) -> Result<(), Wrong> {
        if *from.namespace == *to.namespace || self.permit(from, to) {
            return Ok(());
        }
        Err(Wrong::new(
            "RefNotPermitted",
            field,
            format!(
                "no ReferenceGrant in namespace {} lets a {} of this namespace refer to {} {}",
                to.namespace, from.kind, to.kind, to.name
            ),
            "a ReferenceGrant in the namespace that is referred to",
        ))
    }

    fn permit(&self, from: &ObjectKey, to: To<'_>) -> bool {
        let grants = self.by_namespace.get(to.namespace);
        grants.into_iter().flatten().any(|grant| {
            let from_matches = grant.spec.from.iter().flatten().any(|allowed| {
                *allowed.group == *group(from.kind)
                    && *allowed.kind == *from.kind.name()
                    && *allowed.namespace == *from.namespace
            });
            let to_matches = grant.spec.to.iter().flatten().any(|allowed| {
                *allowed.group == *group(to.kind)
                    && *allowed.kind == *to.kind.name()
                    && allowed
                        .name
                        .as_deref()
                        .is_none_or(|name| name.is_empty() || name == to.name)
            });
            from_matches && to_matches
        })
    }
}

/// The API group of a kind; of the core, the empty text.
pub(super) fn group(kind: Kind) -> &'static str {
    kind.api_version()
        .split_once('/')
        .map_or("", |(group, _)| group)
}
