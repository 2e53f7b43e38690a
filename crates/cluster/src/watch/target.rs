//! What one watch is for.

use std::fmt;

use kube::api::{ListParams, WatchParams};
use kube::core::Request;
use objects::kinds::{Kind, ObjectKey};

/// What one watch is for: the objects of a kind, everywhere or in one namespace, or one of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    /// The version that is read, as `apps/v1`.
    pub(crate) api_version: &'static str,
    /// Everywhere, if none.
    pub(crate) namespace: Option<Box<str>>,
    /// One object.
    pub(crate) name: Option<Box<str>>,
    /// A label selector.
    pub(crate) labels: Option<Box<str>>,
}

impl Target {
    /// The objects of a kind, in its best version.
    pub(crate) fn all(kind: Kind, namespace: Option<&str>) -> Self {
        Self {
            kind,
            api_version: kind.api_version(),
            namespace: namespace.filter(|_| kind.namespaced()).map(Into::into),
            name: None,
            labels: None,
        }
    }

    /// One object.
    pub(crate) fn one(key: &ObjectKey) -> Self {
        Self {
            name: Some(key.name.clone()),
            ..Self::all(key.kind, Some(&key.namespace))
        }
    }

    /// The object, if it is one.
    pub(crate) fn key(&self) -> Option<ObjectKey> {
        let namespace = self.namespace.as_deref().unwrap_or_default();
        let name = self.name.as_deref()?;
        Some(ObjectKey::new(self.kind, namespace, name))
    }

    /// Whether an object is among those that are meant, by its key.
    pub(crate) fn covers(&self, key: &ObjectKey) -> bool {
        self.kind == key.kind
            && self
                .namespace
                .as_ref()
                .is_none_or(|namespace| *namespace == key.namespace)
            && self.name.as_ref().is_none_or(|name| *name == key.name)
    }

    /// The collection's address.
    pub(crate) fn request(&self) -> Request {
        let (group, plural) = (group_path(self.api_version), self.kind.plural());
        Request::new(match &self.namespace {
            Some(namespace) => format!("{group}/namespaces/{namespace}/{plural}"),
            None => format!("{group}/{plural}"),
        })
    }

    pub(crate) fn list_params(&self) -> ListParams {
        ListParams {
            label_selector: self.labels.as_deref().map(str::to_owned),
            field_selector: self.fields(),
            ..ListParams::default()
        }
    }

    pub(crate) fn watch_params(&self) -> WatchParams {
        WatchParams {
            label_selector: self.labels.as_deref().map(str::to_owned),
            field_selector: self.fields(),
            ..WatchParams::default()
        }
    }

    /// The rule of a Role or ClusterRole that allows `verbs`.
    pub(crate) fn rule(&self, verbs: &str) -> String {
        let role = if self.namespace.is_some() {
            "Role or ClusterRole"
        } else {
            "ClusterRole"
        };
        format!(
            "a {role} with the rule {{apiGroups: [\"{}\"], resources: [{}], verbs: [{verbs}]}}",
            self.kind.group(),
            self.kind.plural()
        )
    }

    fn fields(&self) -> Option<String> {
        let name = self.name.as_ref()?;
        Some(format!("metadata.name={name}"))
    }
}

/// As `Ingress`, `Ingress in shop`, or `Secret shop/tls`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.key(), &self.namespace) {
            (Some(key), _) => key.fmt(f),
            (None, Some(namespace)) => write!(f, "{} in {namespace}", self.kind),
            (None, None) => self.kind.fmt(f),
        }
    }
}

fn group_path(api_version: &str) -> String {
    match api_version.contains('/') {
        true => format!("/apis/{api_version}"),
        false => format!("/api/{api_version}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paths_and_groups_are_those_of_the_api_version() {
        let services = Target::all(Kind::Service, None);
        assert_eq!(services.request().url_path, "/api/v1/services");
        let older = Target {
            api_version: "gateway.networking.k8s.io/v1alpha2",
            ..Target::all(Kind::TcpRoute, Some("shop"))
        };
        let path = "/apis/gateway.networking.k8s.io/v1alpha2/namespaces/shop/tcproutes";
        assert_eq!(older.request().url_path, path);
        let one = Target::one(&ObjectKey::new(Kind::Secret, "shop", "tls"));
        assert_eq!(one.request().url_path, "/api/v1/namespaces/shop/secrets");
        assert_eq!(one.to_string(), "Secret shop/tls");
        let all = Target::all(Kind::IngressClass, Some("shop"));
        let path = "/apis/networking.k8s.io/v1/ingressclasses";
        assert_eq!(all.request().url_path, path);
        assert!(all.rule("list, watch").contains("networking.k8s.io"));
    }
}
