//! Ingress: from the object to what one host's router is made of.
//!
//! [`parse`] reads one Ingress by itself, [`resolve`] finds what it refers to, [`list`] keeps all
//! of them from one compilation to the next. How several Ingresses share a host is `hosts`' part.

pub(crate) mod annotations;
pub(crate) mod answers;
pub(crate) mod backend_tls;
pub(crate) mod chain;
pub(crate) mod class;
pub(crate) mod clients;
pub(crate) mod fastcgi;
pub(crate) mod guard;
mod host;
pub(crate) mod list;
pub(crate) mod manner;
pub(crate) mod parse;
pub(crate) mod path;
pub(crate) mod resolve;
pub(crate) mod sealed;
pub(crate) mod snippets;

use objects::kinds::{Ingress, Kind, ObjectKey};

use crate::name::NameRef;

pub(crate) use host::{covers, normal_host};

/// Which of two Ingresses wins where both want the same: the smaller one.
///
/// The older one, then the one whose namespace and name come first. One without a creation
/// timestamp, as in manifests, has not been created yet: it is the youngest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Precedence<'a> {
    not_created: bool,
    created: &'a str,
    name: NameRef<'a>,
}

impl<'a> Precedence<'a> {
    pub(crate) fn of(ingress: &'a Ingress) -> Self {
        let created = ingress.metadata.creation_timestamp.as_deref();
        Self {
            not_created: created.is_none(),
            created: created.unwrap_or_default(),
            name: NameRef::of(&ingress.metadata),
        }
    }
}

pub(crate) fn key(ingress: &Ingress) -> ObjectKey {
    let name = NameRef::of(&ingress.metadata);
    ObjectKey::new(Kind::Ingress, name.namespace, name.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ingress;

    #[test]
    fn older_then_by_namespace_then_by_name() {
        let make = |namespace: &str, name: &str, created: Option<&str>| {
            let mut made = ingress(namespace, name, serde_json::json!({}));
            made.metadata.creation_timestamp = created.map(Into::into);
            made
        };
        let sorted = [
            make("z", "z", Some("2024-01-01T00:00:00Z")),
            make("y", "y", Some("2025-01-01T00:00:00Z")),
            make("a", "b", None),
            make("a", "c", None),
            make("b", "a", None),
        ];
        assert!(sorted.is_sorted_by(|a, b| Precedence::of(a) < Precedence::of(b)));
    }
}
