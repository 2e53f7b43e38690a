//! Every object that is known, by kind, namespace and name.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::kinds::{
    ConfigMap, EndpointSlice, Endpoints, Ingress, IngressClass, Kind, Namespace, Object, ObjectKey,
    ObjectMeta, Secret, Service,
};
use crate::sorted::{Order, Sorted};

/// The label by which an EndpointSlice names its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Typed objects with the indexes that a compiler needs.
///
/// Iteration is always by namespace, then name. A clone shares everything with its original and
/// costs the same however many objects there are; what is changed afterwards is copied then, a few
/// dozen pointers at a time. What changed between two of them is found by comparing pointers, see
/// [`Sorted::changes`].
#[derive(Debug, Clone, Default)]
pub struct Store {
    config_maps: Table<ConfigMap>,
    endpoints: Table<Endpoints>,
    endpoint_slices: Table<EndpointSlice>,
    /// The slices that name a Service again.
    slices_by_service: Sorted<EndpointSlice, ByService>,
    ingresses: Table<Ingress>,
    ingress_classes: Table<IngressClass>,
    namespaces: Table<Namespace>,
    secrets: Table<Secret>,
    services: Table<Service>,
}

/// An object that is not the same in two stores: what it was, and what it is. One of the two is
/// there, or both.
#[derive(Debug)]
pub enum Changed<'a> {
    /// v1 ConfigMap.
    ConfigMap(Option<&'a Arc<ConfigMap>>, Option<&'a Arc<ConfigMap>>),
    /// v1 Endpoints.
    Endpoints(Option<&'a Arc<Endpoints>>, Option<&'a Arc<Endpoints>>),
    /// discovery.k8s.io/v1 EndpointSlice.
    EndpointSlice(
        Option<&'a Arc<EndpointSlice>>,
        Option<&'a Arc<EndpointSlice>>,
    ),
    /// networking.k8s.io/v1 Ingress.
    Ingress(Option<&'a Arc<Ingress>>, Option<&'a Arc<Ingress>>),
    /// networking.k8s.io/v1 IngressClass.
    IngressClass(Option<&'a Arc<IngressClass>>, Option<&'a Arc<IngressClass>>),
    /// v1 Namespace.
    Namespace(Option<&'a Arc<Namespace>>, Option<&'a Arc<Namespace>>),
    /// v1 Secret.
    Secret(Option<&'a Arc<Secret>>, Option<&'a Arc<Secret>>),
    /// v1 Service.
    Service(Option<&'a Arc<Service>>, Option<&'a Arc<Service>>),
}

impl Store {
    /// Puts `object` in, in place of the one with the same key. Returns whether that changed
    /// anything: an equal object is no change, and neither is one that differs only in what
    /// nothing reads, see [`Object::trim`].
    pub fn apply(&mut self, mut object: Object) -> bool {
        object.trim();
        match object {
            Object::ConfigMap(object) => put(&mut self.config_maps, object),
            Object::Endpoints(object) => put(&mut self.endpoints, object),
            Object::EndpointSlice(object) => self.apply_slice(object),
            Object::Ingress(object) => put(&mut self.ingresses, object),
            Object::IngressClass(object) => put(&mut self.ingress_classes, object),
            Object::Namespace(object) => put(&mut self.namespaces, object),
            Object::Secret(object) => put(&mut self.secrets, object),
            Object::Service(object) => put(&mut self.services, object),
        }
    }

    /// Takes an object out. Returns whether it was there.
    pub fn delete(&mut self, key: &ObjectKey) -> bool {
        let name = (&*key.namespace, &*key.name);
        match key.kind {
            Kind::ConfigMap => self.config_maps.remove(&name).is_some(),
            Kind::Endpoints => self.endpoints.remove(&name).is_some(),
            Kind::EndpointSlice => self.delete_slice(name),
            Kind::Ingress => self.ingresses.remove(&name).is_some(),
            Kind::IngressClass => self.ingress_classes.remove(&name).is_some(),
            Kind::Namespace => self.namespaces.remove(&name).is_some(),
            Kind::Secret => self.secrets.remove(&name).is_some(),
            Kind::Service => self.services.remove(&name).is_some(),
        }
    }

    /// Whether there is an object with this key.
    pub fn contains(&self, key: &ObjectKey) -> bool {
        let name = (&*key.namespace, &*key.name);
        match key.kind {
            Kind::ConfigMap => self.config_maps.get(&name).is_some(),
            Kind::Endpoints => self.endpoints.get(&name).is_some(),
            Kind::EndpointSlice => self.endpoint_slices.get(&name).is_some(),
            Kind::Ingress => self.ingresses.get(&name).is_some(),
            Kind::IngressClass => self.ingress_classes.get(&name).is_some(),
            Kind::Namespace => self.namespaces.get(&name).is_some(),
            Kind::Secret => self.secrets.get(&name).is_some(),
            Kind::Service => self.services.get(&name).is_some(),
        }
    }

    /// How many objects of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::ConfigMap => self.config_maps.len(),
            Kind::Endpoints => self.endpoints.len(),
            Kind::EndpointSlice => self.endpoint_slices.len(),
            Kind::Ingress => self.ingresses.len(),
            Kind::IngressClass => self.ingress_classes.len(),
            Kind::Namespace => self.namespaces.len(),
            Kind::Secret => self.secrets.len(),
            Kind::Service => self.services.len(),
        }
    }

    /// The keys of the objects of a kind, in one namespace or in all.
    pub fn keys(&self, kind: Kind, namespace: Option<&str>) -> Vec<ObjectKey> {
        match kind {
            Kind::ConfigMap => keys(&self.config_maps, kind, namespace),
            Kind::Endpoints => keys(&self.endpoints, kind, namespace),
            Kind::EndpointSlice => keys(&self.endpoint_slices, kind, namespace),
            Kind::Ingress => keys(&self.ingresses, kind, namespace),
            Kind::IngressClass => keys(&self.ingress_classes, kind, namespace),
            Kind::Namespace => keys(&self.namespaces, kind, namespace),
            Kind::Secret => keys(&self.secrets, kind, namespace),
            Kind::Service => keys(&self.services, kind, namespace),
        }
    }

    /// How many objects there are, of all kinds.
    pub fn len(&self) -> usize {
        Kind::ALL.into_iter().map(|kind| self.count(kind)).sum()
    }

    /// Whether there is no object at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every object, by kind.
    pub fn objects(&self) -> impl Iterator<Item = Object> {
        let config_maps = self.config_maps.iter().cloned().map(Object::ConfigMap);
        let endpoints = self.endpoints.iter().cloned().map(Object::Endpoints);
        let slices = self.endpoint_slices.iter().cloned();
        let classes = self.ingress_classes.iter().cloned();
        config_maps
            .chain(endpoints)
            .chain(slices.map(Object::EndpointSlice))
            .chain(self.ingresses.iter().cloned().map(Object::Ingress))
            .chain(classes.map(Object::IngressClass))
            .chain(self.namespaces.iter().cloned().map(Object::Namespace))
            .chain(self.secrets.iter().cloned().map(Object::Secret))
            .chain(self.services.iter().cloned().map(Object::Service))
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

    /// Tells of every object that is not the same as in `former`: what it was, and what it is.
    pub fn changes<'a>(&'a self, former: &'a Self, mut told: impl FnMut(Changed<'a>)) {
        self.ingress_classes
            .changes(&former.ingress_classes, |a, b| {
                told(Changed::IngressClass(a, b))
            });
        self.services
            .changes(&former.services, |a, b| told(Changed::Service(a, b)));
        self.endpoint_slices
            .changes(&former.endpoint_slices, |a, b| {
                told(Changed::EndpointSlice(a, b))
            });
        self.endpoints
            .changes(&former.endpoints, |a, b| told(Changed::Endpoints(a, b)));
        self.secrets
            .changes(&former.secrets, |a, b| told(Changed::Secret(a, b)));
        self.config_maps
            .changes(&former.config_maps, |a, b| told(Changed::ConfigMap(a, b)));
        self.namespaces
            .changes(&former.namespaces, |a, b| told(Changed::Namespace(a, b)));
        self.ingresses
            .changes(&former.ingresses, |a, b| told(Changed::Ingress(a, b)));
    }

    /// The EndpointSlices of a Service, which need not exist itself.
    pub fn endpoint_slices<'a>(
        &'a self,
        namespace: &'a str,
        service: &'a str,
    ) -> impl Iterator<Item = &'a Arc<EndpointSlice>> {
        self.slices_by_service
            .from(&(namespace, service, ""))
            .take_while(move |slice| {
                let (of, named, _) = ByService::key(slice);
                (of, named) == (namespace, service)
            })
    }

    /// The Endpoints object of the Service with this name.
    pub fn endpoints(&self, namespace: &str, name: &str) -> Option<&Arc<Endpoints>> {
        self.endpoints.get(&(namespace, name))
    }

    /// One Service.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Arc<Service>> {
        self.services.get(&(namespace, name))
    }

    /// One Secret.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<&Arc<Secret>> {
        self.secrets.get(&(namespace, name))
    }

    /// One ConfigMap.
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<&Arc<ConfigMap>> {
        self.config_maps.get(&(namespace, name))
    }

    /// One Ingress.
    pub fn ingress(&self, namespace: &str, name: &str) -> Option<&Arc<Ingress>> {
        self.ingresses.get(&(namespace, name))
    }

    /// One Namespace.
    pub fn namespace(&self, name: &str) -> Option<&Arc<Namespace>> {
        self.namespaces.get(&("", name))
    }

    /// One IngressClass.
    pub fn ingress_class(&self, name: &str) -> Option<&Arc<IngressClass>> {
        self.ingress_classes.get(&("", name))
    }

    fn apply_slice(&mut self, slice: Arc<EndpointSlice>) -> bool {
        let former = self.endpoint_slices.get(&ByName::key(&*slice)).cloned();
        if !put(&mut self.endpoint_slices, Arc::clone(&slice)) {
            return false;
        }
        if let Some(former) = former {
            self.slices_by_service.remove(&ByService::key(&former));
        }
        if service_of(&slice).is_some() {
            self.slices_by_service.insert(slice);
        }
        true
    }

    fn delete_slice(&mut self, name: (&str, &str)) -> bool {
        let Some(former) = self.endpoint_slices.remove(&name) else {
            return false;
        };
        self.slices_by_service.remove(&ByService::key(&former));
        true
    }
}

fn service_of(slice: &EndpointSlice) -> Option<&str> {
    slice.metadata.labels.get(SERVICE_NAME_LABEL)
}

/// The objects of one kind, by namespace (empty for cluster-scoped kinds), then by name.
type Table<T> = Sorted<T, ByName>;

/// Objects by namespace and name.
#[derive(Debug)]
pub(crate) enum ByName {}

/// EndpointSlices by namespace, Service and name.
#[derive(Debug)]
pub(crate) enum ByService {}

macro_rules! by_name {
    ($($kind:ty),*) => {
        $(impl Order<$kind> for ByName {
            type Key<'a> = (&'a str, &'a str);

            fn key(object: &$kind) -> (&str, &str) {
                name_of(&object.metadata)
            }

            fn compare(object: &$kind, key: &(&str, &str)) -> Ordering {
                name_of(&object.metadata).cmp(key)
            }
        })*
    };
}

by_name!(
    ConfigMap,
    Endpoints,
    EndpointSlice,
    Ingress,
    IngressClass,
    Namespace,
    Secret,
    Service
);

impl Order<EndpointSlice> for ByService {
    type Key<'a> = (&'a str, &'a str, &'a str);

    fn key(slice: &EndpointSlice) -> (&str, &str, &str) {
        let (namespace, name) = name_of(&slice.metadata);
        (namespace, service_of(slice).unwrap_or_default(), name)
    }

    fn compare(slice: &EndpointSlice, key: &(&str, &str, &str)) -> Ordering {
        Self::key(slice).cmp(key)
    }
}

fn name_of(metadata: &ObjectMeta) -> (&str, &str) {
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    (namespace, &metadata.name)
}

fn keys<T>(table: &Table<T>, kind: Kind, only: Option<&str>) -> Vec<ObjectKey>
where
    for<'a> ByName: Order<T, Key<'a> = (&'a str, &'a str)>,
{
    table
        .from(&(only.unwrap_or_default(), ""))
        .map(|object| ByName::key(object))
        .take_while(|(namespace, _)| only.is_none_or(|only| only == *namespace))
        .map(|(namespace, name)| ObjectKey::new(kind, namespace, name))
        .collect()
}

fn put<T: PartialEq>(table: &mut Table<T>, object: Arc<T>) -> bool
where
    ByName: Order<T>,
{
    if table.get(&ByName::key(&object)) == Some(&object) {
        return false;
    }
    table.insert(object);
    true
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
                namespace: Some("default".into()),
                labels: [(SERVICE_NAME_LABEL, service)].into(),
                ..ObjectMeta::default()
            },
            ..EndpointSlice::default()
        }))
    }
}
