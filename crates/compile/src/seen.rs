//! What changed since the last compilation, by comparing pointers.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashSet;
use objects::kinds::{EndpointSlice, Endpoints, IngressClass, ObjectMeta, Secret, Service};
use objects::{SERVICE_NAME_LABEL, Store};

use crate::name::{Name, NameRef};

/// What the last compilation saw of every kind but Ingress.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    started: bool,
    classes: Objects<IngressClass>,
    services: Objects<Service>,
    slices: Objects<EndpointSlice>,
    endpoints: Objects<Endpoints>,
    secrets: Objects<Secret>,
}

/// What changed since then.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Any IngressClass; true at the first compilation.
    pub(crate) classes: bool,
    /// Services whose object came, went or changed.
    pub(crate) services: HashSet<Name>,
    /// Services whose endpoints may have changed, those of `services` among them.
    pub(crate) endpoints: BTreeSet<Name>,
    /// Secrets that came, went or changed.
    pub(crate) secrets: HashSet<Name>,
}

impl Seen {
    pub(crate) fn update(&mut self, store: &Store) -> Changes {
        let mut changes = Changes {
            classes: !self.started,
            ..Changes::default()
        };
        self.started = true;
        self.classes
            .update(store.ingress_classes(), |_| changes.classes = true);
        self.services.update(store.services(), |service| {
            let name = NameRef::of(&service.metadata).to_owned();
            changes.endpoints.insert(name.clone());
            changes.services.insert(name);
        });
        self.slices.update(store.all_endpoint_slices(), |slice| {
            changes.endpoints.insert(service_of(slice).to_owned());
        });
        self.endpoints.update(store.all_endpoints(), |endpoints| {
            changes
                .endpoints
                .insert(NameRef::of(&endpoints.metadata).to_owned());
        });
        self.secrets.update(store.secrets(), |secret| {
            changes
                .secrets
                .insert(NameRef::of(&secret.metadata).to_owned());
        });
        changes
    }
}

/// A kind that the store lists in the order of some key.
trait Keyed {
    fn metadata(&self) -> &ObjectMeta;

    fn compare(&self, other: &Self) -> Ordering {
        NameRef::of(self.metadata()).cmp(&NameRef::of(other.metadata()))
    }
}

macro_rules! keyed_by_name {
    ($($kind:ty),*) => {
        $(impl Keyed for $kind {
            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }
        })*
    };
}

keyed_by_name!(IngressClass, Service, Endpoints, Secret);

impl Keyed for EndpointSlice {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn compare(&self, other: &Self) -> Ordering {
        let by_name = || self.metadata.name.cmp(&other.metadata.name);
        service_of(self).cmp(&service_of(other)).then_with(by_name)
    }
}

fn service_of(slice: &EndpointSlice) -> NameRef<'_> {
    let label = slice.metadata.labels.get(SERVICE_NAME_LABEL);
    NameRef {
        name: label.map(String::as_str).unwrap_or_default(),
        ..NameRef::of(&slice.metadata)
    }
}

/// The objects of one kind, in the store's order.
#[derive(Debug)]
struct Objects<T>(Vec<Arc<T>>);

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Keyed> Objects<T> {
    /// Takes over what there is now, and tells of every object that is not the same: what it was
    /// and what it is.
    fn update<'a>(&mut self, now: impl Iterator<Item = &'a Arc<T>>, mut changed: impl FnMut(&T))
    where
        T: 'a,
    {
        let mut now = now.peekable();
        let mut same = 0;
        while let (Some(new), Some(old)) = (now.peek(), self.0.get(same))
            && Arc::ptr_eq(new, old)
        {
            same += 1;
            now.next();
        }
        if now.peek().is_none() && same == self.0.len() {
            return;
        }
        let mut former = self.0.split_off(same).into_iter().peekable();
        for new in now {
            if former.next_if(|old| Arc::ptr_eq(old, new)).is_none() {
                while let Some(old) = former.next_if(|old| old.compare(new).is_lt()) {
                    changed(&old);
                }
                // One that went may have stood before one that stayed.
                match former.next_if(|old| old.compare(new).is_eq()) {
                    Some(old) if Arc::ptr_eq(&old, new) => {}
                    Some(old) => {
                        changed(&old);
                        changed(new);
                    }
                    None => changed(new),
                }
            }
            self.0.push(Arc::clone(new));
        }
        former.for_each(|old| changed(&old));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_came_went_and_changed() {
        let objects = |names: &[(&str, Option<&Arc<Service>>)]| -> Vec<Arc<Service>> {
            let make = |name: &str| {
                let mut service = Service::default();
                service.metadata.name = name.to_owned();
                Arc::new(service)
            };
            names
                .iter()
                .map(|(name, kept)| kept.map_or_else(|| make(name), Arc::clone))
                .collect()
        };
        let mut seen = Objects::default();
        let mut update = |now: &[Arc<Service>]| {
            let mut changed = Vec::new();
            seen.update(now.iter(), |object: &Service| {
                changed.push(object.metadata.name.clone())
            });
            changed
        };

        let first = objects(&[("b", None), ("c", None), ("e", None)]);
        assert_eq!(update(&first), ["b", "c", "e"]);
        assert!(update(&first).is_empty());
        let second = objects(&[
            ("a", None),
            ("b", Some(&first[0])),
            ("c", None),
            ("d", None),
        ]);
        assert_eq!(update(&second), ["a", "c", "c", "d", "e"]);
        assert_eq!(update(&second[..1]), ["b", "c", "d"]);
    }
}
