//! The objects of namespaces that labels select.
//!
//! A watch can select objects by their own labels, not by those of their namespace. So all are
//! watched and kept, and those of the namespaces that are selected are handed on.

use std::collections::{HashMap, HashSet};

use objects::kinds::{Kind, Object, ObjectKey};

/// All objects by their namespace, and which of the namespaces are selected.
#[derive(Debug, Default)]
pub(crate) struct Selected {
    namespaces: HashSet<Box<str>>,
    all: HashMap<Box<str>, HashMap<ObjectKey, Object>>,
}

/// What is to be handed on.
pub(crate) type Changes = Vec<(ObjectKey, Option<Object>)>;

impl Selected {
    /// Whether an object is handed on at all.
    pub(crate) fn is_selected(&self, key: &ObjectKey) -> bool {
        // What is in no namespace concerns all.
        key.namespace.is_empty() || self.namespaces.contains(&key.namespace)
    }

    /// An object came, changed or went.
    pub(crate) fn put(&mut self, key: ObjectKey, object: Option<Object>) -> Changes {
        let mut changes = Vec::new();
        if key.kind == Kind::Namespace {
            self.select(&key.name, object.is_some(), &mut changes);
        } else if !key.namespace.is_empty() {
            let of_namespace = self.all.entry(key.namespace.clone()).or_default();
            match &object {
                Some(object) => drop(of_namespace.insert(key.clone(), object.clone())),
                None => drop(of_namespace.remove(&key)),
            }
            if of_namespace.is_empty() {
                self.all.remove(&key.namespace);
            }
        }
        if self.is_selected(&key) {
            changes.push((key, object));
        }
        changes
    }

    /// Whatever `is_gone` is gone.
    pub(crate) fn prune(&mut self, is_gone: impl Fn(&ObjectKey) -> bool) -> Changes {
        let mut changes = Vec::new();
        let namespaces: Vec<_> = self.namespaces.iter().cloned().collect();
        for name in namespaces {
            let key = ObjectKey::new(Kind::Namespace, "", &name);
            if is_gone(&key) {
                self.select(&name, false, &mut changes);
                changes.push((key, None));
            }
        }
        self.all.retain(|_, objects| {
            objects.retain(|key, _| !is_gone(key));
            !objects.is_empty()
        });
        changes
    }

    fn select(&mut self, namespace: &str, selected: bool, changes: &mut Changes) {
        let changed = match selected {
            true => self.namespaces.insert(namespace.into()),
            false => self.namespaces.remove(namespace),
        };
        if !changed {
            return;
        }
        let objects = self.all.get(namespace).into_iter().flatten();
        changes
            .extend(objects.map(|(key, object)| (key.clone(), selected.then(|| object.clone()))));
    }
}
