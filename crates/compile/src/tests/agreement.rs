//! Random sequences of edits: compiling step by step, compiling from nothing, and reading the
//! specification naively all come to the same.

use std::sync::{Arc, LazyLock};

use objects::Store;
use objects::kinds::{Kind, Object, ObjectKey};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::naive::{Naive, PATHS, SECRETS};
use super::{answer, certificates};
use crate::testing;
use crate::{Compiled, Compiler, Options, preview};

const HOSTS: &[&str] = &["x.test", "y.test", "*.test", "a.x.test", "*.x.test", ""];
const REQUEST_HOSTS: &[&str] = &[
    "x.test", "y.test", "z.test", "a.x.test", "b.x.test", "other", "*.test",
];
const REQUEST_PATHS: &[&str] = &["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/%C3%A4/x", "/q"];
const NAMESPACES: &[&str] = &["one", "two"];
const SERVICES: &[&str] = &["web", "api"];

#[derive(Debug, Clone)]
enum Edit {
    Apply(Object),
    Delete(ObjectKey),
    /// Whether the IngressClass is ours, and whether it is the default.
    Class(bool, bool),
}

static OPTIONS: LazyLock<Options> = LazyLock::new(testing::options);

/// The Secrets once each: making keys is slow.
static CERTIFICATES: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    SECRETS
        .iter()
        .map(|(_, names)| testing::key_pair(names))
        .collect()
});

fn backend() -> impl Strategy<Value = Value> {
    let port = select(vec![
        json!({"number": 80}),
        json!({"name": "http"}),
        json!({"number": 81}),
        json!({"name": "none"}),
    ]);
    (select(SERVICES), port)
        .prop_map(|(name, port)| json!({"service": {"name": name, "port": port}}))
}

fn rule() -> impl Strategy<Value = Value> {
    let kind = select(vec!["Exact", "Prefix", "ImplementationSpecific"]);
    let path = (select(PATHS), kind, backend()).prop_map(
        |((path, _), kind, backend)| json!({"path": path, "pathType": kind, "backend": backend}),
    );
    let http = prop::option::weighted(0.9, prop::collection::vec(path, 1..4));
    (select(HOSTS), http).prop_map(|(host, paths)| match paths {
        Some(paths) => json!({"host": host, "http": {"paths": paths}}),
        None => json!({"host": host}),
    })
}

fn tls() -> impl Strategy<Value = Value> {
    let host = select(&HOSTS[..HOSTS.len() - 1]);
    let secret = prop::option::of(select(SECRETS));
    (prop::collection::vec(host, 0..3), secret).prop_map(
        |(hosts, secret)| json!({"hosts": hosts, "secretName": secret.map(|(name, _)| name)}),
    )
}

fn ingress() -> impl Strategy<Value = Edit> {
    let name = (select(NAMESPACES), select(vec!["a", "b", "c"]));
    let meta = (
        prop::option::of(select(vec!["2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"])),
        prop::option::weighted(0.2, select(vec!["true", "false"])),
        prop::option::weighted(0.1, select(vec!["true", "false"])),
    );
    let spec = (
        prop::option::of(select(vec!["ours", "theirs", "unknown"])),
        prop::option::weighted(0.3, backend()),
        prop::collection::vec(rule(), 0..4),
        prop::collection::vec(tls(), 0..2),
    );
    (name, meta, spec).prop_map(|((namespace, name), (created, redirect, force), spec)| {
        let (class, default, rules, tls) = spec;
        let mut annotations = json!({});
        for (name, value) in [("ssl-redirect", redirect), ("force-ssl-redirect", force)] {
            if let Some(value) = value {
                annotations[format!("nginx.ingress.kubernetes.io/{name}")] = json!(value);
            }
        }
        let object = json!({
            "metadata": {"creationTimestamp": created, "annotations": annotations},
            "spec": {
                "ingressClassName": class, "defaultBackend": default, "rules": rules, "tls": tls
            }
        });
        Edit::Apply(Object::Ingress(Arc::new(testing::ingress(
            namespace, name, object,
        ))))
    })
}

fn service() -> impl Strategy<Value = Edit> {
    let ports = vec![
        json!([{"name": "http", "port": 80}]),
        json!([{"name": "http", "port": 80}, {"name": "alt", "port": 81}]),
        json!([{"name": "alt", "port": 80}]),
        json!([]),
    ];
    (select(NAMESPACES), select(SERVICES), select(ports)).prop_map(|(namespace, name, ports)| {
        let object = json!({"spec": {"ports": ports}});
        Edit::Apply(Object::Service(Arc::new(testing::service(
            namespace, name, object,
        ))))
    })
}

fn slice() -> impl Strategy<Value = Edit> {
    let conditions = select(vec![
        json!({}),
        json!({"ready": true}),
        json!({"ready": false, "serving": true, "terminating": true}),
        json!({"ready": false}),
    ]);
    let endpoint = (1..4_u8, conditions).prop_map(
        |(n, conditions)| json!({"addresses": [format!("10.0.0.{n}")], "conditions": conditions}),
    );
    let name = (
        select(NAMESPACES),
        select(vec!["s1", "s2"]),
        select(SERVICES),
    );
    (name, prop::collection::vec(endpoint, 0..3)).prop_map(
        |((namespace, name, service), endpoints)| {
            let object = json!({
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": 8080}, {"name": "alt", "port": 8081}],
                "endpoints": endpoints
            });
            let slice = testing::endpoint_slice(namespace, name, service, object);
            Edit::Apply(Object::EndpointSlice(Arc::new(slice)))
        },
    )
}

fn secret() -> impl Strategy<Value = Edit> {
    (
        select(NAMESPACES),
        0..SECRETS.len(),
        prop::bool::weighted(0.8),
    )
        .prop_map(|(namespace, index, whole)| {
            let (certificate, key) = &CERTIFICATES[index];
            let data = match whole {
                true => json!({"stringData": {"tls.crt": certificate, "tls.key": key}}),
                false => json!({"stringData": {"tls.crt": certificate}}),
            };
            Edit::Apply(testing::secret(namespace, SECRETS[index].0, data))
        })
}

fn delete() -> impl Strategy<Value = Edit> {
    let key = select(vec![
        (Kind::Ingress, "a"),
        (Kind::Ingress, "b"),
        (Kind::Ingress, "c"),
        (Kind::Service, "web"),
        (Kind::Service, "api"),
        (Kind::EndpointSlice, "s1"),
        (Kind::EndpointSlice, "s2"),
        (Kind::Secret, "tls-x"),
        (Kind::Secret, "tls-wild"),
    ]);
    (key, select(NAMESPACES))
        .prop_map(|((kind, name), namespace)| Edit::Delete(ObjectKey::new(kind, namespace, name)))
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        6 => ingress(),
        3 => service(),
        3 => slice(),
        2 => secret(),
        3 => delete(),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(ours, default)| Edit::Class(ours, default)),
    ]
}

fn apply(store: &mut Store, edit: Edit) {
    match edit {
        Edit::Apply(object) => drop(store.apply(object)),
        Edit::Delete(key) => drop(store.delete(&key)),
        Edit::Class(ours, default) => {
            let controller = if ours {
                "narthex.dev/ingress"
            } else {
                "example.com/other"
            };
            let name = if ours { "ours" } else { "theirs" };
            let annotations = match default {
                true => json!({"ingressclass.kubernetes.io/is-default-class": "true"}),
                false => json!({}),
            };
            // At most one is the default one: the naive reading knows no more.
            for other in ["ours", "theirs"] {
                let key = ObjectKey::new(Kind::IngressClass, "", other);
                store.delete(&key);
            }
            store.apply(testing::ingress_class(json!({
                "metadata": {"name": name, "annotations": annotations},
                "spec": {"controller": controller}
            })));
        }
    }
}

fn compare(step: &Compiled, store: &Store) -> Result<(), TestCaseError> {
    let fresh = Compiler::new(OPTIONS.clone()).compile(store, 0);
    let naive = Naive::new(store);
    for host in REQUEST_HOSTS {
        for path in REQUEST_PATHS {
            let expected = naive.answer(host, path);
            prop_assert_eq!(
                &answer(step, host, path),
                &expected,
                "by steps: {} {}",
                host,
                path
            );
            prop_assert_eq!(
                &answer(&fresh, host, path),
                &expected,
                "afresh: {} {}",
                host,
                path
            );
        }
        prop_assert_eq!(
            certificates(step, host),
            certificates(&fresh, host),
            "{}",
            host
        );
    }
    prop_assert_eq!(&step.report, &fresh.report);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn step_by_step_is_as_afresh_and_as_the_specification(
        edits in prop::collection::vec((edit(), prop::bool::weighted(0.7)), 1..40),
    ) {
        let mut store = Store::default();
        let mut compiler = Compiler::new(OPTIONS.clone());
        for (edit, look) in edits {
            apply(&mut store, edit);
            // Sometimes several edits come at once.
            if look {
                let compiled = compiler.compile(&store, 0);
                compare(&compiled, &store)?;
            }
        }
        let last = compiler.compile(&store, 0);
        compare(&last, &store)?;
        let again = compiler.compile(&store, 0);
        prop_assert!(!again.changed && Arc::ptr_eq(&last.snapshot, &again.snapshot));
        prop_assert!(Arc::ptr_eq(&last.report, &again.report));
    }

    #[test]
    fn a_preview_says_what_a_whole_compilation_would_say(
        edits in prop::collection::vec(edit(), 1..40),
        last in ingress(),
    ) {
        let mut store = Store::default();
        for edit in edits {
            apply(&mut store, edit);
        }
        let Edit::Apply(Object::Ingress(new)) = &last else {
            unreachable!("it is an Ingress");
        };
        let key = Object::Ingress(Arc::clone(new)).key();
        let of_it = |store: &Store| -> Vec<objects::Problem> {
            let compiled = Compiler::new(OPTIONS.clone()).compile(store, 0);
            let problems = compiled.report.problems();
            problems.filter(|problem| problem.object.as_ref() == Some(&key)).cloned().collect()
        };
        let before = of_it(&store);
        let old = store.ingress(&key.namespace, &key.name).cloned();
        let seen = preview(&store, old.as_ref(), new, &OPTIONS, 0);
        apply(&mut store, last.clone());
        let foreseen: Vec<_> = seen.problems.into_iter().map(|found| found.problem).collect();
        prop_assert_eq!(foreseen, of_it(&store));
        if seen.ownership != crate::Ownership::Foreign {
            prop_assert_eq!(seen.before, before);
        }
    }
}

/// What a source does to the order of events: each key's last word comes last, for that is what
/// API servers promise, but words of different keys overtake each other, come twice, or are lost
/// until everything is listed again.
mod disordered {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::{Config, TestRng, TestRunner};

    use super::*;

    const SEEDS: u8 = 255;
    const STEPS: usize = 300;

    fn key(edit: &Edit) -> Option<ObjectKey> {
        match edit {
            Edit::Apply(object) => Some(object.key()),
            Edit::Delete(key) => Some(key.clone()),
            Edit::Class(..) => None,
        }
    }

    /// Makes `store` what `truth` is, as a list does.
    fn resync(store: &mut Store, truth: &Store) {
        let mut edits = Vec::new();
        truth.changes(store, |changed| {
            edits.extend(match (changed.before(), changed.now()) {
                (_, Some(new)) => Some(Edit::Apply(new)),
                (Some(old), None) => Some(Edit::Delete(old.key())),
                (None, None) => None,
            });
        });
        for edit in edits {
            apply(store, edit);
        }
    }

    fn simulate(seed: u8) {
        let config = Config::default();
        let random = TestRng::from_seed(config.rng_algorithm, &[seed; 32]);
        let mut runner = TestRunner::new_with_rng(config, random);
        let mut chance = fastrand::Rng::with_seed(seed.into());
        let (mut truth, mut store) = (Store::default(), Store::default());
        let mut compiler = Compiler::new(OPTIONS.clone());
        let mut under_way: Vec<Edit> = Vec::new();
        let edits = edit();
        for step in 0..STEPS {
            let edit = edits.new_tree(&mut runner).expect("an edit").current();
            apply(&mut truth, edit.clone());
            match chance.u8(..10) {
                // Lost, as when a watch breaks.
                0 => {}
                1 => under_way.extend([edit.clone(), edit]),
                _ => under_way.push(edit),
            }
            if chance.u8(..3) == 0 && !under_way.is_empty() {
                let first = chance.usize(..under_way.len());
                let key = key(&under_way[first]);
                // What was said of one object stays in order.
                let first = under_way.iter().position(|edit| self::key(edit) == key);
                apply(&mut store, under_way.remove(first.unwrap_or_default()));
                compiler.compile(&store, 0);
            }
            if step % 97 == 96 {
                under_way.clear();
                resync(&mut store, &truth);
                compiler.compile(&store, 0);
            }
        }
        resync(&mut store, &truth);
        let last = compiler.compile(&store, 0);
        compare(&last, &truth).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }

    #[test]
    fn events_out_of_order_come_to_what_a_fresh_compilation_says() {
        (0..=SEEDS).for_each(simulate);
    }
}
