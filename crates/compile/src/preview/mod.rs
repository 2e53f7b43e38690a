//! What would become of one Ingress, and of others by it, before it is there.
//!
//! A whole compilation is exact and costs as much as there are objects. What is said of *one*
//! Ingress depends on few: the classes, what it refers to, and for each of its hosts and paths the
//! one other Ingress that has it. [`neighbours`] finds these in one pass over the Ingresses; they
//! are compiled alone, by the same [`Compiler`] that serves, once with the Ingress as it is and
//! once as it would be. Nothing is kept between two previews.

mod neighbours;

use std::collections::BTreeSet;
use std::sync::Arc;

use objects::kinds::{Ingress, Kind, Object};
use objects::{Problem, Store};

use crate::compiler::Compiler;
use crate::ingress::class::{Classes, Verdict};
use crate::ingress::parse::Parsed;
use crate::ingress::{backend_tls, clients, key};
use crate::name::NameRef;
use crate::options::Options;
use crate::report::{Report, annotation_field};

use neighbours::Reader;

/// Whose an Ingress is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// A class of ours.
    Ours,
    /// It is served for want of better knowledge: no IngressClass has the name that it names.
    Undefined,
    /// Another controller's.
    Foreign,
    /// Nobody's: no IngressClass has the name that it names.
    Unknown,
    /// It names no class, and nothing says that such are ours.
    Classless,
}

impl From<Verdict> for Ownership {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Ours(_) => Self::Ours,
            Verdict::Undefined(_) => Self::Undefined,
            Verdict::Unknown => Self::Unknown,
            Verdict::Foreign => Self::Foreign,
            Verdict::Classless => Self::Classless,
        }
    }
}

/// What would become of an Ingress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Whose it would be.
    pub ownership: Ownership,
    /// What was wrong with it before; empty if it was not there.
    pub before: Vec<Problem>,
    /// What would be wrong with it.
    pub problems: Vec<Foreseen>,
    /// What other Ingresses would lose to it that they have now.
    pub others: Vec<Problem>,
}

/// A problem that an Ingress would have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    /// The problem.
    pub problem: Problem,
    /// Whether it is that an object which the field names does not exist: it may come later, as
    /// many a Service of one `kubectl apply` and every Secret that cert-manager makes does.
    pub missing: bool,
}

/// What would become of `new` in the place of `old`, which is the same Ingress as it is now, if
/// there is one. `store` is what there is, with `old` or without; `now` is in seconds since 1970.
pub fn preview(
    store: &Store,
    old: Option<&Arc<Ingress>>,
    new: &Arc<Ingress>,
    options: &Options,
    now: i64,
) -> Preview {
    let classes = Classes::read(store, options);
    let ownership = classes.verdict(new, options).into();
    if ownership == Ownership::Foreign {
        return Preview {
            ownership,
            before: Vec::new(),
            problems: Vec::new(),
            others: Vec::new(),
        };
    }
    let reader = Reader::new(store, &classes, options);
    let mut nearby = neighbours::of(store, old, new, &reader, now);
    let key = key(new);
    match old {
        Some(old) => drop(nearby.apply(Object::Ingress(Arc::clone(old)))),
        None => drop(nearby.delete(&key)),
    }
    let mut compiler = Compiler::new(options.clone());
    let before = compiler.compile(&nearby, now).report;
    nearby.apply(Object::Ingress(Arc::clone(new)));
    let after = compiler.compile(&nearby, now).report;
    let of_it = |report: &Report| -> Vec<Problem> {
        let problems = report.problems();
        problems
            .filter(|problem| problem.object.as_ref() == Some(&key))
            .cloned()
            .collect()
    };
    let missing = missing(new, store, &reader.read(new), options);
    let known: BTreeSet<&Problem> = before.problems().collect();
    let others = after.problems().filter(|problem| {
        let is_other =
            |object: &objects::kinds::ObjectKey| object.kind == Kind::Ingress && *object != key;
        problem.object.as_ref().is_some_and(is_other) && !known.contains(problem)
    });
    Preview {
        ownership,
        before: of_it(&before),
        others: others.cloned().collect(),
        problems: of_it(&after)
            .into_iter()
            .map(|problem| Foreseen {
                missing: missing.contains(problem.field.as_str()),
                problem,
            })
            .collect(),
    }
}

/// The fields that name an object which does not exist.
fn missing(
    ingress: &Arc<Ingress>,
    store: &Store,
    parsed: &Parsed,
    options: &Options,
) -> BTreeSet<String> {
    let prefix = &options.annotations_prefix;
    let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
    let mut fields = BTreeSet::new();
    let backends = neighbours::backends(ingress);
    for (service, field) in backends {
        if store.service(namespace, service).is_none() {
            fields.insert(format!("{}.service.name", field()));
        }
    }
    for (index, entry) in ingress.spec.tls.iter().flatten().enumerate() {
        let secret = entry.secret_name.as_deref().unwrap_or_default();
        if store.secret(namespace, secret).is_none() {
            fields.insert(format!("spec.tls[{index}].secretName"));
        }
    }
    let no_secret = |name: NameRef<'_>| store.secret(name.namespace, name.name).is_none();
    let no_config_map = |name: NameRef<'_>| store.config_map(name.namespace, name.name).is_none();
    if clients::secret(parsed).is_some_and(no_secret)
        || clients::config_map(parsed).is_some_and(no_config_map)
    {
        let annotation = clients::annotation(parsed, prefix);
        fields.extend(annotation.as_deref().map(annotation_field));
    }
    if backend_tls::secret(parsed).is_some_and(no_secret) {
        fields.insert(annotation_field(&backend_tls::annotation(prefix)));
    }
    fields
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing;

    fn store() -> Store {
        let mut store = Store::default();
        for (name, controller) in [
            ("ours", "narthex.dev/ingress"),
            ("theirs", "example.com/other"),
        ] {
            store.apply(testing::ingress_class(json!({
                "metadata": {"name": name}, "spec": {"controller": controller}
            })));
        }
        let ports = json!({"spec": {"ports": [{"name": "http", "port": 80}]}});
        let service = testing::service("default", "web", ports);
        store.apply(Object::Service(Arc::new(service)));
        store
    }

    fn ingress(name: &str, path: &str, created: &str) -> Arc<Ingress> {
        made(
            name,
            created,
            json!({"host": "x.test", "http": {"paths": [{
                "path": path, "pathType": "Prefix",
                "backend": {"service": {"name": "web", "port": {"number": 80}}}
            }]}}),
        )
    }

    fn made(name: &str, created: &str, rule: Value) -> Arc<Ingress> {
        Arc::new(testing::ingress(
            "default",
            name,
            json!({
                "metadata": {"creationTimestamp": created},
                "spec": {"ingressClassName": "ours", "rules": [rule]}
            }),
        ))
    }

    fn see(store: &Store, new: &Arc<Ingress>) -> Preview {
        let old = store.ingress("default", &new.metadata.name).cloned();
        preview(store, old.as_ref(), new, &testing::options(), 0)
    }

    #[test]
    fn what_is_missing_is_told_from_what_is_wrong() {
        let backend = |service: &str, port: u16| {
            json!({"path": format!("/{service}{port}"),
            "pathType": "Prefix",
            "backend": {"service": {"name": service, "port": {"number": port}}}})
        };
        let paths = [backend("web", 80), backend("web", 81), backend("later", 80)];
        let new = made(
            "new",
            "2025-01-01T00:00:00Z",
            json!({"http": {"paths": paths}}),
        );
        let found = see(&store(), &new);
        let told: Vec<_> = found
            .problems
            .iter()
            .map(|foreseen| (foreseen.problem.field.as_str(), foreseen.missing))
            .collect();
        assert_eq!(
            told,
            [
                (
                    "spec.rules[0].http.paths[1].backend.service.port.number",
                    false
                ),
                ("spec.rules[0].http.paths[2].backend.service.name", true),
            ]
        );
        assert_eq!(found.ownership, Ownership::Ours);
    }

    #[test]
    fn what_annotations_name_is_looked_for() {
        let named = |annotation: &str| {
            let mut new = (*ingress("new", "/a", "2025-01-01T00:00:00Z")).clone();
            let annotations = json!({annotation: "authorities"});
            new.metadata.annotations = serde_json::from_value(annotations).expect("texts");
            Arc::new(new)
        };
        let secret = named("nginx.ingress.kubernetes.io/auth-tls-secret");
        let map = named("narthex.dev/client-ca-configmap");
        let mut store = store();
        for new in [&secret, &map] {
            let found = see(&store, new);
            let [foreseen] = found.problems.as_slice() else {
                panic!("{found:?}");
            };
            assert!(foreseen.missing, "{foreseen:?}");
        }
        let (authority, _) = testing::key_pair(&["authority"]);
        let data = json!({"stringData": {"ca.crt": authority}});
        store.apply(testing::secret("default", "authorities", data));
        let object = json!({
            "metadata": {"namespace": "default", "name": "authorities"},
            "data": {"ca.crt": authority}
        });
        let object = serde_json::from_value(object).expect("a ConfigMap");
        store.apply(Object::ConfigMap(Arc::new(object)));
        for new in [&secret, &map] {
            let found = see(&store, new);
            assert!(found.problems.is_empty(), "{found:?}");
        }
    }

    #[test]
    fn the_config_map_has_its_say() {
        let class = json!({
            "metadata": {"name": "nginx"}, "spec": {"controller": "k8s.io/ingress-nginx"}
        });
        let mut store = store();
        store.apply(testing::ingress_class(class));
        let (authority, _) = testing::key_pair(&["authority"]);
        let data = json!({"stringData": {"ca.crt": authority}});
        store.apply(testing::secret("elsewhere", "authorities", data));
        let object = json!({
            "metadata": {"namespace": "default", "name": "controller"},
            "data": {"allow-cross-namespace-resources": "true"}
        });
        let object = serde_json::from_value(object).expect("a ConfigMap");
        store.apply(Object::ConfigMap(Arc::new(object)));
        let mut new = (*ingress("new", "/a", "2025-01-01T00:00:00Z")).clone();
        new.spec.ingress_class_name = Some("nginx".into());
        let annotations =
            json!({"nginx.ingress.kubernetes.io/auth-tls-secret": "elsewhere/authorities"});
        new.metadata.annotations = serde_json::from_value(annotations).expect("texts");
        let new = Arc::new(new);
        assert_eq!(see(&store, &new).problems.len(), 1);

        let config_map = Some(("default".to_owned(), "controller".to_owned()));
        let options = Options {
            config_map,
            ..testing::options()
        };
        let found = preview(&store, None, &new, &options, 0);
        assert!(found.problems.is_empty(), "{found:?}");
    }

    #[test]
    fn the_loser_of_a_path_is_told_whichever_it_is() {
        let mut store = store();
        store.apply(Object::Ingress(ingress(
            "old",
            "/a",
            "2024-01-01T00:00:00Z",
        )));
        store.apply(Object::Ingress(ingress(
            "mid",
            "/b",
            "2025-01-01T00:00:00Z",
        )));
        let found = see(&store, &ingress("new", "/a", "2026-01-01T00:00:00Z"));
        let message = &found.problems[0].problem.message;
        assert!(message.contains("Ingress default/old"), "{message}");
        assert!(found.others.is_empty());
        // The older one takes a path away from the younger one, which served it until now.
        let found = see(&store, &ingress("old", "/b", "2024-01-01T00:00:00Z"));
        assert!(found.problems.is_empty());
        assert_eq!(found.others.len(), 1);
        let lost = found.others[0].object.as_ref().map(ToString::to_string);
        assert_eq!(lost.as_deref(), Some("Ingress default/mid"));
    }

    #[test]
    fn what_is_another_controllers_is_not_looked_at() {
        let mut new = (*ingress("new", "/a?b", "2025-01-01T00:00:00Z")).clone();
        new.spec.ingress_class_name = Some("theirs".into());
        let found = see(&store(), &Arc::new(new));
        assert_eq!(found.ownership, Ownership::Foreign);
        assert!(found.problems.is_empty());
    }
}
