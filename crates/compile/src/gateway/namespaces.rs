//! Whose objects are taken: those of the same namespace, of all, or of those with certain labels.

use objects::Store;
use objects::kinds::gateway::{FromNamespaces, LabelSelector, ListenerNamespaces};

/// Whose objects are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Namespaces {
    All,
    Same,
    Selected(Box<LabelSelector>),
    None,
}

impl Namespaces {
    /// Reads `from` and `selector`.
    pub(super) fn read(namespaces: Option<&ListenerNamespaces>, default: FromNamespaces) -> Self {
        let from = namespaces.and_then(|namespaces| namespaces.from.clone());
        let selector = namespaces.and_then(|namespaces| namespaces.selector.as_deref());
        match (from.unwrap_or(default), selector) {
            (FromNamespaces::All, _) => Self::All,
            (FromNamespaces::Same, _) => Self::Same,
            (FromNamespaces::Selector, Some(selector)) => {
                Self::Selected(Box::new(selector.clone()))
            }
            _ => Self::None,
        }
    }

    /// Whether an object of one namespace is taken by one of another.
    pub(super) fn take(&self, from: &str, own: &str, store: &Store) -> bool {
        match self {
            Self::All => true,
            Self::Same => from == own,
            Self::Selected(selector) => store
                .namespace(from)
                .is_some_and(|namespace| selector.matches(&namespace.metadata.labels)),
            Self::None => false,
        }
    }
}
