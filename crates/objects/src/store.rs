//! Every object that is known, by kind, namespace and name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::kinds::{
    ConfigMap, EndpointSlice, Endpoints, Ingress, IngressClass, Kind, Namespace, Object, ObjectKey,
    Secret, Service,
};

/// The label by which an EndpointSlice names its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Typed objects with the indexes that a compiler needs.
///
/// Iteration is always by namespace, then name. A clone shares everything with its original and
/// costs the same however many objects there are; what is changed afterwards is copied then, one
/// namespace of one kind at a time.
#[derive(Debug, Clone, Default)]
pub struct Store {
    config_maps: Table<ConfigMap>,
    endpoints: Table<Endpoints>,
    endpoint_slices: Table<EndpointSlice>,
    /// The slices again, named by [`slice_index`].
    slices_by_service: Table<EndpointSlice>,
    ingresses: Table<Ingress>,
    ingress_classes: Table<IngressClass>,
    namespaces: Table<Namespace>,
    secrets: Table<Secret>,
    services: Table<Service>,
}

impl Store {
    /// Puts `object` in, in place of the one with the same key. Returns whether that changed
    /// anything: an equal object is no change.
    pub fn apply(&mut self, object: Object) -> bool {
        let key = object.key();
        let (namespace, name) = (&*key.namespace, &*key.name);
        match object {
            Object::ConfigMap(object) => self.config_maps.insert(namespace, name, object),
            Object::Endpoints(object) => self.endpoints.insert(namespace, name, object),
            Object::EndpointSlice(object) => self.apply_slice(namespace, name, object),
            Object::Ingress(object) => self.ingresses.insert(namespace, name, object),
            Object::IngressClass(object) => self.ingress_classes.insert(namespace, name, object),
            Object::Namespace(object) => self.namespaces.insert(namespace, name, object),
            Object::Secret(object) => self.secrets.insert(namespace, name, object),
            Object::Service(object) => self.services.insert(namespace, name, object),
        }
    }

    /// Takes an object out. Returns whether it was there.
    pub fn delete(&mut self, key: &ObjectKey) -> bool {
        let (namespace, name) = (&*key.namespace, &*key.name);
        match key.kind {
            Kind::ConfigMap => self.config_maps.remove(namespace, name).is_some(),
            Kind::Endpoints => self.endpoints.remove(namespace, name).is_some(),
            Kind::EndpointSlice => self.delete_slice(namespace, name),
            Kind::Ingress => self.ingresses.remove(namespace, name).is_some(),
            Kind::IngressClass => self.ingress_classes.remove(namespace, name).is_some(),
            Kind::Namespace => self.namespaces.remove(namespace, name).is_some(),
            Kind::Secret => self.secrets.remove(namespace, name).is_some(),
            Kind::Service => self.services.remove(namespace, name).is_some(),
        }
    }

    /// Whether there is an object with this key.
    pub fn contains(&self, key: &ObjectKey) -> bool {
        let (namespace, name) = (&*key.namespace, &*key.name);
        match key.kind {
            Kind::ConfigMap => self.config_maps.get(namespace, name).is_some(),
            Kind::Endpoints => self.endpoints.get(namespace, name).is_some(),
            Kind::EndpointSlice => self.endpoint_slices.get(namespace, name).is_some(),
            Kind::Ingress => self.ingresses.get(namespace, name).is_some(),
            Kind::IngressClass => self.ingress_classes.get(namespace, name).is_some(),
            Kind::Namespace => self.namespaces.get(namespace, name).is_some(),
            Kind::Secret => self.secrets.get(namespace, name).is_some(),
            Kind::Service => self.services.get(namespace, name).is_some(),
        }
    }

    /// The keys of the objects of a kind, in one namespace or in all.
    pub fn keys(&self, kind: Kind, namespace: Option<&str>) -> Vec<ObjectKey> {
        match kind {
            Kind::ConfigMap => self.config_maps.keys(kind, namespace),
            Kind::Endpoints => self.endpoints.keys(kind, namespace),
            Kind::EndpointSlice => self.endpoint_slices.keys(kind, namespace),
            Kind::Ingress => self.ingresses.keys(kind, namespace),
            Kind::IngressClass => self.ingress_classes.keys(kind, namespace),
            Kind::Namespace => self.namespaces.keys(kind, namespace),
            Kind::Secret => self.secrets.keys(kind, namespace),
            Kind::Service => self.services.keys(kind, namespace),
        }
    }

    /// How many objects there are, of all kinds.
    pub fn len(&self) -> usize {
        self.config_maps.len
            + self.endpoints.len
            + self.endpoint_slices.len
            + self.ingresses.len
            + self.ingress_classes.len
            + self.namespaces.len
            + self.secrets.len
            + self.services.len
    }

    /// Whether there is no object at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every Ingress.
    pub fn ingresses(&self) -> impl Iterator<Item = &Arc<Ingress>> {
        self.ingresses.iter()
    }

    /// Every IngressClass.
    pub fn ingress_classes(&self) -> impl Iterator<Item = &Arc<IngressClass>> {
        self.ingress_classes.iter()
    }

    /// Every Service.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.iter()
    }

    /// Every Secret.
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<Secret>> {
        self.secrets.iter()
    }

    /// Every EndpointSlice that names a Service, by namespace, Service, then name.
    pub fn all_endpoint_slices(&self) -> impl Iterator<Item = &Arc<EndpointSlice>> {
        self.slices_by_service.iter()
    }

    /// Every Endpoints object.
    pub fn all_endpoints(&self) -> impl Iterator<Item = &Arc<Endpoints>> {
        self.endpoints.iter()
    }

    /// Every ConfigMap.
    pub fn config_maps(&self) -> impl Iterator<Item = &Arc<ConfigMap>> {
        self.config_maps.iter()
    }

    /// Every Namespace.
    pub fn namespaces(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        self.namespaces.iter()
    }

    /// The EndpointSlices of a Service, which need not exist itself.
    pub fn endpoint_slices(
        &self,
        namespace: &str,
        service: &str,
    ) -> impl Iterator<Item = &Arc<EndpointSlice>> {
        self.slices_by_service
            .starting_with(namespace, slice_index(service, ""))
    }

    /// The Endpoints object of the Service with this name.
    pub fn endpoints(&self, namespace: &str, name: &str) -> Option<&Arc<Endpoints>> {
        self.endpoints.get(namespace, name)
    }

    /// One Service.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Arc<Service>> {
        self.services.get(namespace, name)
    }

    /// One Secret.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<&Arc<Secret>> {
        self.secrets.get(namespace, name)
    }

    /// One ConfigMap.
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<&Arc<ConfigMap>> {
        self.config_maps.get(namespace, name)
    }

    /// One Ingress.
    pub fn ingress(&self, namespace: &str, name: &str) -> Option<&Arc<Ingress>> {
        self.ingresses.get(namespace, name)
    }

    /// One Namespace.
    pub fn namespace(&self, name: &str) -> Option<&Arc<Namespace>> {
        self.namespaces.get("", name)
    }

    /// One IngressClass.
    pub fn ingress_class(&self, name: &str) -> Option<&Arc<IngressClass>> {
        self.ingress_classes.get("", name)
    }

    fn apply_slice(&mut self, namespace: &str, name: &str, slice: Arc<EndpointSlice>) -> bool {
        let former = self.endpoint_slices.get(namespace, name).cloned();
        if !self
            .endpoint_slices
            .insert(namespace, name, Arc::clone(&slice))
        {
            return false;
        }
        if let Some(service) = former.as_deref().and_then(service_of) {
            self.slices_by_service
                .remove(namespace, &slice_index(service, name));
        }
        if let Some(service) = service_of(&slice) {
            let index = slice_index(service, name);
            self.slices_by_service.insert(namespace, &index, slice);
        }
        true
    }

    fn delete_slice(&mut self, namespace: &str, name: &str) -> bool {
        let Some(former) = self.endpoint_slices.remove(namespace, name) else {
            return false;
        };
        if let Some(service) = service_of(&former) {
            self.slices_by_service
                .remove(namespace, &slice_index(service, name));
        }
        true
    }
}

fn service_of(slice: &EndpointSlice) -> Option<&str> {
    slice
        .metadata
        .labels
        .get(SERVICE_NAME_LABEL)
        .map(String::as_str)
}

/// The name of a slice in the table by Service: no Service's name has a NUL in it, so that one
/// Service's slices stand together and no other's between them.
fn slice_index(service: &str, slice: &str) -> String {
    format!("{service}\0{slice}")
}

type ByName<T> = BTreeMap<Box<str>, Arc<T>>;

/// The objects of one kind: by namespace (empty for cluster-scoped kinds), then by name.
#[derive(Debug)]
struct Table<T> {
    namespaces: Arc<BTreeMap<Box<str>, Arc<ByName<T>>>>,
    len: usize,
}

impl<T: PartialEq> Table<T> {
    fn insert(&mut self, namespace: &str, name: &str, object: Arc<T>) -> bool {
        if self.get(namespace, name) == Some(&object) {
            return false;
        }
        let namespaces = Arc::make_mut(&mut self.namespaces);
        let names = Arc::make_mut(namespaces.entry(namespace.into()).or_default());
        if names.insert(name.into(), object).is_none() {
            self.len += 1;
        }
        true
    }
}

impl<T> Table<T> {
    fn get(&self, namespace: &str, name: &str) -> Option<&Arc<T>> {
        self.namespaces.get(namespace)?.get(name)
    }

    fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<T>> {
        // Looked up first, so that a miss copies nothing.
        self.get(namespace, name)?;
        let namespaces = Arc::make_mut(&mut self.namespaces);
        let names = Arc::make_mut(namespaces.get_mut(namespace)?);
        let object = names.remove(name)?;
        self.len -= 1;
        if names.is_empty() {
            namespaces.remove(namespace);
        }
        Some(object)
    }

    fn keys(&self, kind: Kind, only: Option<&str>) -> Vec<ObjectKey> {
        let namespaces = self.namespaces.iter();
        namespaces
            .filter(|(namespace, _)| only.is_none_or(|only| only == &***namespace))
            .flat_map(|(namespace, names)| {
                let names = names.keys();
                names.map(|name| ObjectKey::new(kind, namespace, name))
            })
            .collect()
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.namespaces.values().flat_map(|names| names.values())
    }

    fn starting_with(&self, namespace: &str, prefix: String) -> impl Iterator<Item = &Arc<T>> {
        self.namespaces
            .get(namespace)
            .into_iter()
            .flat_map({
                let from: Box<str> = prefix.as_str().into();
                move |names| names.range(from.clone()..)
            })
            .take_while(move |(name, _)| name.starts_with(prefix.as_str()))
            .map(|(_, object)| object)
    }
}

// By hand, because a derived one would ask for `T: Clone` and `T: Default`.
impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self {
            namespaces: Arc::clone(&self.namespaces),
            len: self.len,
        }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            namespaces: Arc::default(),
            len: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::ObjectMeta;

    #[test]
    fn an_equal_object_is_no_change() {
        let mut store = Store::default();
        assert!(store.apply(slice("a", "web")));
        assert!(!store.apply(slice("a", "web")));
        assert!(store.apply(slice("a", "other")));
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn slices_are_found_by_their_service_and_by_no_other() {
        let mut store = Store::default();
        store.apply(slice("b", "web"));
        store.apply(slice("a", "web"));
        store.apply(slice("c", "web-2"));
        store.apply(slice("d", "we"));
        let names = |store: &Store, service: &str| -> Vec<String> {
            store
                .endpoint_slices("default", service)
                .map(|slice| slice.metadata.name.clone())
                .collect()
        };
        assert_eq!(names(&store, "web"), ["a", "b"]);

        store.apply(slice("a", "we"));
        assert_eq!(names(&store, "web"), ["b"]);
        assert_eq!(names(&store, "we"), ["a", "d"]);

        assert!(store.delete(&ObjectKey::new(Kind::EndpointSlice, "default", "b")));
        assert!(names(&store, "web").is_empty());
        assert!(!store.delete(&ObjectKey::new(Kind::EndpointSlice, "default", "b")));
    }

    #[test]
    fn a_clone_does_not_see_later_changes() {
        let mut store = Store::default();
        store.apply(slice("a", "web"));
        let before = store.clone();
        store.delete(&ObjectKey::new(Kind::EndpointSlice, "default", "a"));
        assert!(store.is_empty());
        assert_eq!(before.len(), 1);
        assert_eq!(before.endpoint_slices("default", "web").count(), 1);
    }

    fn slice(name: &str, service: &str) -> Object {
        Object::EndpointSlice(Arc::new(EndpointSlice {
            metadata: ObjectMeta {
                name: name.to_owned(),
                namespace: Some("default".to_owned()),
                labels: [(SERVICE_NAME_LABEL.to_owned(), service.to_owned())].into(),
                ..ObjectMeta::default()
            },
            ..EndpointSlice::default()
        }))
    }
}
