//! Every object that is known, by kind, namespace and name.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::kinds::{
    BackendTlsPolicy, Certificate, ClusterIssuer, ConfigMap, EndpointSlice, Endpoints, Gateway,
    GatewayClass, GrpcRoute, HttpRoute, Ingress, IngressClass, Issuer, Kind, ListenerSet,
    Namespace, Object, ObjectKey, ObjectMeta, ReferenceGrant, Secret, Service, TcpRoute, TlsRoute,
    UdpRoute, XBackend, XBackendTrafficPolicy,
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
    tables: Tables,
    /// The slices that name a Service again.
    slices_by_service: Sorted<EndpointSlice, ByService>,
}

/// Makes the tables, one for each kind, and what is done with the one of a kind.
macro_rules! tables {
    ($($kind:ident $table:ident,)*) => {
        #[derive(Debug, Clone, Default)]
        struct Tables {
            $($table: Table<$kind>,)*
        }

        /// An object that is not the same in two stores: what it was, and what it is. One of the
        /// two is there, or both.
        #[derive(Debug)]
        pub enum Changed<'a> {
            $(#[doc = concat!("A ", stringify!($kind), ".")]
            $kind(Option<&'a Arc<$kind>>, Option<&'a Arc<$kind>>),)*
        }

        impl Changed<'_> {
            /// The object as it was.
            pub fn before(&self) -> Option<Object> {
                match self {
                    $(Self::$kind(old, _) => old.cloned().map(Object::$kind),)*
                }
            }

            /// The object as it is.
            pub fn now(&self) -> Option<Object> {
                match self {
                    $(Self::$kind(_, new) => new.cloned().map(Object::$kind),)*
                }
            }
        }

        impl Tables {
            fn put(&mut self, object: Object) -> bool {
                match object {
                    $(Object::$kind(object) => put(&mut self.$table, object),)*
                }
            }

            fn remove(&mut self, key: &ObjectKey) -> Option<Object> {
                let name = (&*key.namespace, &*key.name);
                match key.kind {
                    $(Kind::$kind => self.$table.remove(&name).map(Object::$kind),)*
                }
            }

            fn get(&self, key: &ObjectKey) -> Option<Object> {
                let name = (&*key.namespace, &*key.name);
                match key.kind {
                    $(Kind::$kind => self.$table.get(&name).cloned().map(Object::$kind),)*
                }
            }

            fn len(&self, kind: Kind) -> usize {
                match kind {
                    $(Kind::$kind => self.$table.len(),)*
                }
            }

            fn keys(&self, kind: Kind, namespace: Option<&str>) -> Vec<ObjectKey> {
                match kind {
                    $(Kind::$kind => keys(&self.$table, kind, namespace),)*
                }
            }

            fn objects(&self) -> impl Iterator<Item = Object> {
                std::iter::empty()
                    $(.chain(self.$table.iter().cloned().map(Object::$kind)))*
            }

            fn changes<'a>(&'a self, former: &'a Self, told: &mut dyn FnMut(Changed<'a>)) {
                $(self.$table.changes(&former.$table, |a, b| told(Changed::$kind(a, b)));)*
            }
        }

        $(impl Order<$kind> for ByName {
            type Key<'a> = (&'a str, &'a str);

            fn key(object: &$kind) -> (&str, &str) {
                name_of(&object.metadata)
            }

            fn compare(object: &$kind, key: &(&str, &str)) -> Ordering {
                name_of(&object.metadata).cmp(key)
            }
        })*

        impl Store {
            $(#[doc = concat!("Every ", stringify!($kind), ", by namespace and name.")]
            pub fn $table(&self) -> impl Iterator<Item = &Arc<$kind>> {
                self.tables.$table.iter()
            })*
        }
    };
}

tables! {
    BackendTlsPolicy backend_tls_policies,
    Certificate certificates,
    ClusterIssuer cluster_issuers,
    ConfigMap config_maps,
    Endpoints all_endpoints,
    EndpointSlice slices_by_name,
    Gateway gateways,
    GatewayClass gateway_classes,
    GrpcRoute grpc_routes,
    HttpRoute http_routes,
    Ingress ingresses,
    IngressClass ingress_classes,
    Issuer issuers,
    ListenerSet listener_sets,
    Namespace namespaces,
    ReferenceGrant reference_grants,
    Secret secrets,
    Service services,
    TcpRoute tcp_routes,
    TlsRoute tls_routes,
    UdpRoute udp_routes,
    XBackend backends,
    XBackendTrafficPolicy backend_traffic_policies,
}

impl Store {
    /// Puts `object` in, in place of the one with the same key. Returns whether that changed
    /// anything: an equal object is no change, and neither is one that differs only in what
    /// nothing reads, see [`Object::trim`].
    pub fn apply(&mut self, mut object: Object) -> bool {
        object.trim();
        match object {
            Object::EndpointSlice(object) => self.apply_slice(object),
            object => self.tables.put(object),
        }
    }

    /// Takes an object out. Returns whether it was there.
    pub fn delete(&mut self, key: &ObjectKey) -> bool {
        let former = self.tables.remove(key);
        if let Some(Object::EndpointSlice(slice)) = &former {
            self.slices_by_service.remove(&ByService::key(slice));
        }
        former.is_some()
    }

    /// The object with this key.
    pub fn get(&self, key: &ObjectKey) -> Option<Object> {
        self.tables.get(key)
    }

    /// Whether there is an object with this key.
    pub fn contains(&self, key: &ObjectKey) -> bool {
        self.get(key).is_some()
    }

    /// How many objects of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.tables.len(kind)
    }

    /// The keys of the objects of a kind, in one namespace or in all.
    pub fn keys(&self, kind: Kind, namespace: Option<&str>) -> Vec<ObjectKey> {
        self.tables.keys(kind, namespace)
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
        self.tables.objects()
    }

    /// Every EndpointSlice that names a Service, by namespace, Service, then name.
    pub fn all_endpoint_slices(&self) -> impl Iterator<Item = &Arc<EndpointSlice>> {
        self.slices_by_service.iter()
    }

    /// Tells of every object that is not the same as in `former`: what it was, and what it is.
    pub fn changes<'a>(&'a self, former: &'a Self, mut told: impl FnMut(Changed<'a>)) {
        self.tables.changes(&former.tables, &mut told);
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
        self.tables.all_endpoints.get(&(namespace, name))
    }

    /// One Service.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Arc<Service>> {
        self.tables.services.get(&(namespace, name))
    }

    /// One Secret.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<&Arc<Secret>> {
        self.tables.secrets.get(&(namespace, name))
    }

    /// One ConfigMap.
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<&Arc<ConfigMap>> {
        self.tables.config_maps.get(&(namespace, name))
    }

    /// One Issuer.
    pub fn issuer(&self, namespace: &str, name: &str) -> Option<&Arc<Issuer>> {
        self.tables.issuers.get(&(namespace, name))
    }

    /// One ClusterIssuer.
    pub fn cluster_issuer(&self, name: &str) -> Option<&Arc<ClusterIssuer>> {
        self.tables.cluster_issuers.get(&("", name))
    }

    /// One Ingress.
    pub fn ingress(&self, namespace: &str, name: &str) -> Option<&Arc<Ingress>> {
        self.tables.ingresses.get(&(namespace, name))
    }

    /// One Namespace.
    pub fn namespace(&self, name: &str) -> Option<&Arc<Namespace>> {
        self.tables.namespaces.get(&("", name))
    }

    /// One GatewayClass.
    pub fn gateway_class(&self, name: &str) -> Option<&Arc<GatewayClass>> {
        self.tables.gateway_classes.get(&("", name))
    }

    /// One Gateway.
    pub fn gateway(&self, namespace: &str, name: &str) -> Option<&Arc<Gateway>> {
        self.tables.gateways.get(&(namespace, name))
    }

    /// One ListenerSet.
    pub fn listener_set(&self, namespace: &str, name: &str) -> Option<&Arc<ListenerSet>> {
        self.tables.listener_sets.get(&(namespace, name))
    }

    /// One XBackend.
    pub fn backend(&self, namespace: &str, name: &str) -> Option<&Arc<XBackend>> {
        self.tables.backends.get(&(namespace, name))
    }

    /// The ReferenceGrants of a namespace.
    pub fn reference_grants_of<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<ReferenceGrant>> {
        let grants = self.tables.reference_grants.from(&(namespace, ""));
        grants.take_while(move |grant| name_of(&grant.metadata).0 == namespace)
    }

    /// One IngressClass.
    pub fn ingress_class(&self, name: &str) -> Option<&Arc<IngressClass>> {
        self.tables.ingress_classes.get(&("", name))
    }

    fn apply_slice(&mut self, slice: Arc<EndpointSlice>) -> bool {
        let former = self
            .tables
            .slices_by_name
            .get(&ByName::key(&*slice))
            .cloned();
        if !put(&mut self.tables.slices_by_name, Arc::clone(&slice)) {
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
