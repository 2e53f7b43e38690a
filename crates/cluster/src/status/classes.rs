//! Which Ingresses may be ingress-nginx's too.

use std::collections::BTreeMap;

use objects::Store;

/// The controller whose classes are served beside it.
const INGRESS_NGINX: &str = "k8s.io/ingress-nginx";

/// The class that ingress-nginx takes for its own where no IngressClass says whose it is.
const NGINX: &str = "nginx";

const DEFAULT_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";

/// The IngressClasses, as far as the question goes whether ingress-nginx writes the same status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Classes {
    /// By name: whether it is of ingress-nginx's controller.
    shared: BTreeMap<Box<str>, bool>,
    /// Whether one that is a default class is.
    default: bool,
}

impl Classes {
    /// Reads those of `store`.
    pub fn read(store: &Store) -> Self {
        let mut classes = Self::default();
        for class in store.ingress_classes() {
            let is_shared = class.spec.controller.as_deref() == Some(INGRESS_NGINX);
            let annotation = class.metadata.annotations.get(DEFAULT_ANNOTATION);
            classes.default |= is_shared && annotation.is_some_and(|value| value == "true");
            let name = class.metadata.name.as_str().into();
            classes.shared.insert(name, is_shared);
        }
        classes
    }

    /// Whether an Ingress with this class may be ingress-nginx's too.
    pub(crate) fn is_shared(&self, class: Option<&str>) -> bool {
        match class {
            Some(class) => self.shared.get(class).copied().unwrap_or(class == NGINX),
            None => self.default,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use objects::kinds::{IngressClass, Object};

    use super::*;

    #[test]
    fn a_class_is_shared_by_its_controller_else_by_its_name() {
        let mut store = Store::default();
        for (name, controller) in [
            ("ours", "narthex.dev/ingress"),
            ("theirs", INGRESS_NGINX),
            ("nginx", "narthex.dev/ingress"),
        ] {
            let mut class = IngressClass::default();
            class.metadata.name = name.to_owned();
            class.spec.controller = Some(controller.to_owned());
            store.apply(Object::IngressClass(Arc::new(class)));
        }
        let classes = Classes::read(&store);
        let shared = |class| classes.is_shared(class);
        assert!(shared(Some("theirs")));
        assert!(!shared(Some("ours")));
        assert!(!shared(Some("nginx")));
        assert!(!shared(Some("unknown")));
        assert!(!shared(None));
        assert!(Classes::default().is_shared(Some("nginx")));
    }
}
