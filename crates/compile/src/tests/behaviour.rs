//! What objects come to, case by case.

use std::sync::Arc;

use model::backend::Discovery;
use objects::Store;
use objects::kinds::{Kind, Object, ObjectKey};
use serde_json::{Value, json};

use super::{answer, problems, rule};
use crate::testing::{self, options};
use crate::{Compiled, Compiler, EndpointOverride, Options};

/// In 2025, when the certificates that tests make are valid.
pub(super) const NOW: i64 = 1_750_000_000;

pub(super) fn backend(service: &str) -> Value {
    json!({"service": {"name": service, "port": {"number": 80}}})
}

pub(super) fn rule_for(host: &str, path: &str, service: &str) -> Value {
    let path = json!({"path": path, "pathType": "Prefix", "backend": backend(service)});
    json!({"host": host, "http": {"paths": [path]}})
}

/// A store with the class `narthex`, the Services `web` and `api`, and these Ingresses.
pub(super) fn store(ingresses: &[(&str, Value)]) -> Store {
    let mut store = Store::default();
    store.apply(testing::ingress_class(json!({
        "metadata": {"name": "narthex"}, "spec": {"controller": "narthex.dev/ingress"}
    })));
    for name in ["web", "api"] {
        put_service(
            &mut store,
            name,
            json!({"spec": {"ports": [{"name": "http", "port": 80}]}}),
        );
        put_slice(
            &mut store,
            name,
            json!({
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": 8080}],
                "endpoints": [{"addresses": ["10.0.0.1"]}]
            }),
        );
    }
    for (name, spec) in ingresses {
        put_ingress(&mut store, name, json!({"spec": spec}));
    }
    store
}

pub(super) fn put_ingress(store: &mut Store, name: &str, mut object: Value) {
    object["spec"]["ingressClassName"] = json!("narthex");
    store.apply(Object::Ingress(Arc::new(testing::ingress(
        "default", name, object,
    ))));
}

fn put_service(store: &mut Store, name: &str, object: Value) {
    store.apply(Object::Service(Arc::new(testing::service(
        "default", name, object,
    ))));
}

fn put_slice(store: &mut Store, service: &str, object: Value) {
    let slice = testing::endpoint_slice("default", service, service, object);
    store.apply(Object::EndpointSlice(Arc::new(slice)));
}

pub(super) fn compile_with(store: &Store, change: impl Fn(&mut Options)) -> Compiled {
    let mut options = options();
    change(&mut options);
    Compiler::new(options).compile(store, NOW)
}

pub(super) fn compile(store: &Store) -> Compiled {
    compile_with(store, |_| ())
}

pub(super) fn target(compiled: &Compiled, host: &str, path: &str) -> String {
    answer(compiled, host, path).target
}

#[test]
fn the_loser_of_a_conflict_is_told_who_won_and_its_other_paths_work() {
    let mut store = store(&[("b", json!({"rules": [rule_for("x.test", "/a", "web")]}))]);
    let mut later = rule_for("x.test", "/a/", "api");
    let exact = json!({"path": "/b", "pathType": "Exact", "backend": backend("api")});
    let paths = later["http"]["paths"].as_array_mut().expect("paths");
    paths.push(exact);
    put_ingress(&mut store, "c", json!({"spec": {"rules": [later]}}));
    let compiled = compile(&store);
    assert_eq!(
        target(&compiled, "x.test", "/a"),
        "default/web:80 10.0.0.1:8080"
    );
    assert_eq!(
        target(&compiled, "x.test", "/b"),
        "default/api:80 10.0.0.1:8080"
    );
    let found: Vec<_> = compiled
        .report
        .problems()
        .map(|p| (p.field.as_str(), p.message.as_str()))
        .collect();
    let message = "Prefix /a of x.test is taken by Ingress default/b spec.rules[0].http.paths[0]";
    assert_eq!(found, [("spec.rules[0].http.paths[0].path", message)]);

    let older = json!({
        "metadata": {"creationTimestamp": "2024-01-01T00:00:00Z"},
        "spec": {"rules": [rule_for("x.test", "/a", "api")]}
    });
    put_ingress(&mut store, "c", older);
    let compiled = compile(&store);
    assert_eq!(
        target(&compiled, "x.test", "/a"),
        "default/api:80 10.0.0.1:8080"
    );
    assert_eq!(
        problems(&compiled),
        ["warning Ingress default/b spec.rules[0].http.paths[0].path"]
    );
}

#[test]
fn unclaimed_requests_go_to_the_default_backends_in_their_order() {
    let mut store = store(&[]);
    let by_flag = |options: &mut Options| {
        options.default_backend_service = Some(("default".into(), "api".into()));
    };
    assert_eq!(target(&compile(&store), "other.test", "/"), "404");
    let flag = compile_with(&store, by_flag);
    assert_eq!(
        target(&flag, "other.test", "/"),
        "default/api 10.0.0.1:8080"
    );

    let own = json!({"rules": [rule_for("x.test", "/a", "web")], "defaultBackend": backend("api")});
    put_ingress(&mut store, "a", json!({"spec": own}));
    put_ingress(
        &mut store,
        "b",
        json!({"spec": {"rules": [rule_for("y.test", "/a", "web")]}}),
    );
    let compiled = compile(&store);
    assert_eq!(
        answer(&compiled, "x.test", "/b").rule,
        "default/a spec.defaultBackend"
    );
    assert_eq!(
        answer(&compiled, "other.test", "/").rule,
        "default/a spec.defaultBackend"
    );
    assert_eq!(
        target(&compiled, "y.test", "/b"),
        "404",
        "another host's default is not this one's"
    );
    assert!(problems(&compiled).is_empty());

    for name in ["c", "d"] {
        put_ingress(
            &mut store,
            name,
            json!({"spec": {"defaultBackend": backend("web")}}),
        );
    }
    let compiled = compile_with(&store, by_flag);
    assert_eq!(
        answer(&compiled, "other.test", "/").rule,
        "default/c spec.defaultBackend"
    );
    assert_eq!(
        answer(&compiled, "y.test", "/b").rule,
        "default/c spec.defaultBackend"
    );
    assert_eq!(
        problems(&compiled),
        ["warning Ingress default/d spec.defaultBackend"]
    );
}

#[test]
fn a_missing_default_backend_is_reported_and_answers_503() {
    let compiled = compile_with(&store(&[]), |options| {
        options.default_backend_service = Some(("default".into(), "gone".into()));
    });
    assert_eq!(
        target(&compiled, "other.test", "/"),
        "default/gone no_service"
    );
    assert_eq!(problems(&compiled), ["error Service default/gone"]);
}

#[test]
fn references_that_lead_nowhere_keep_their_route() {
    let path =
        |path: &str, backend: Value| json!({"path": path, "pathType": "Exact", "backend": backend});
    let port = |port: Value| json!({"service": {"name": "web", "port": port}});
    let mut store = store(&[(
        "a",
        json!({"rules": [{"http": {"paths": [
            path("/service", backend("gone")),
            path("/number", port(json!({"number": 81}))),
            path("/name", port(json!({"name": "none"}))),
            path("/udp", json!({"service": {"name": "dns", "port": {"number": 53}}})),
            path("/resource", json!({"resource": {"kind": "Bucket", "name": "files"}})),
            path("/alone", json!({"service": {"name": "alone", "port": {"number": 80}}})),
            path("/other", json!({"service": {"name": "other", "port": {"number": 80}}})),
        ]}}]}),
    )]);
    put_service(
        &mut store,
        "dns",
        json!({"spec": {"ports": [{"port": 53, "protocol": "UDP"}]}}),
    );
    put_service(
        &mut store,
        "alone",
        json!({"spec": {"ports": [{"port": 80}]}}),
    );
    put_service(
        &mut store,
        "other",
        json!({"spec": {"ports": [{"port": 80}]}}),
    );
    put_slice(
        &mut store,
        "other",
        json!({
            "addressType": "IPv4", "ports": [{"name": "http", "port": 1}],
            "endpoints": [{"addresses": ["10.0.0.1"]}]
        }),
    );
    let compiled = compile(&store);
    for (path, expected) in [
        ("/service", "default/gone:80 no_service"),
        ("/number", "default/web:81 no_service_port"),
        ("/name", "default/web:none no_service_port"),
        ("/udp", "default/dns:53 no_service_port"),
        ("/resource", "default/files.Bucket no_service"),
        ("/alone", "default/alone:80 no_endpoints"),
        ("/other", "default/other:80 no_endpoints"),
    ] {
        assert_eq!(target(&compiled, "any", path), expected);
    }
    assert_eq!(
        problems(&compiled),
        [
            "error Ingress default/a spec.rules[0].http.paths[4].backend.resource",
            "error Ingress default/a spec.rules[0].http.paths[0].backend.service.name",
            "error Ingress default/a spec.rules[0].http.paths[1].backend.service.port.number",
            "error Ingress default/a spec.rules[0].http.paths[2].backend.service.port.name",
            "error Ingress default/a spec.rules[0].http.paths[3].backend.service.port.number",
            "warning Service default/alone",
            "warning Service default/other spec.ports",
        ]
    );
    let hint = compiled
        .report
        .problems()
        .find(|p| p.hint.starts_with("--endpoint"));
    assert!(hint.is_some_and(|p| p.hint.starts_with("--endpoint default/alone=HOST:PORT")));
}

#[test]
fn endpoints_are_given_by_flag_before_annotation_before_slices() {
    let mut store = store(&[(
        "a",
        json!({"rules": [
            rule_for("x.test", "/", "web"),
            rule_for("y.test", "/", "api"),
        ]}),
    )]);
    let annotated = json!({
        "metadata": {"annotations": {"narthex.dev/endpoints": "localhost:9000", "narthex.dev/endpoint": "x"}},
        "spec": {"ports": [{"name": "http", "port": 80}]}
    });
    put_service(&mut store, "web", annotated.clone());
    put_service(&mut store, "api", annotated);
    let compiled = compile_with(&store, |options| {
        for (port, address) in [
            (Some("http"), "127.0.0.1:1"),
            (Some("https"), "127.0.0.1:2"),
            (None, "[::1]:3"),
        ] {
            options.endpoints.push(EndpointOverride {
                namespace: "default".to_owned(),
                service: "web".to_owned(),
                port: port.map(str::to_owned),
                addresses: vec![address.parse().expect("an address")],
            });
        }
    });
    assert_eq!(
        target(&compiled, "x.test", "/"),
        "default/web:80 127.0.0.1:1,[::1]:3"
    );
    assert_eq!(
        target(&compiled, "y.test", "/"),
        "default/api:80 127.0.0.1:9000"
    );
    let field = "metadata.annotations[narthex.dev/endpoint]";
    let expected = ["api", "web"].map(|name| format!("warning Service default/{name} {field}"));
    assert_eq!(problems(&compiled), expected);
}

#[test]
fn external_names_are_left_to_the_resolver() {
    let path = |path: &str, port: Value| json!({"path": path, "pathType": "Exact", "backend": {"service": {"name": "web", "port": port}}});
    let mut store = store(&[(
        "a",
        json!({"rules": [{"http": {"paths": [
            path("/number", json!({"number": 8443})),
            path("/name", json!({"name": "http"})),
        ]}}]}),
    )]);
    let external = |host: &str| {
        json!({"spec": {
            "type": "ExternalName", "externalName": host, "ports": [{"name": "http", "port": 80}]
        }})
    };
    put_service(&mut store, "web", external("Backend.example.com."));
    let mut compiler = Compiler::new(options());
    let compiled = compiler.compile(&store, NOW);
    let hosts = |compiled: &Compiled| -> Vec<String> {
        let show = |backend: &Arc<model::Backend>| match &backend.discovery {
            Discovery::Dns { host, port } => format!("{} {host}:{port}", backend.name),
            Discovery::Listed => "listed".to_owned(),
        };
        compiled.external.iter().map(show).collect()
    };
    let found = hosts(&compiled);
    let number = "default/web:8443 backend.example.com:8443";
    assert_eq!(found, [number, "default/web:http backend.example.com:80"]);
    assert_eq!(
        target(&compiled, "any", "/name"),
        "default/web:http name_not_resolved"
    );

    put_service(&mut store, "web", external("2001:db8::1"));
    let compiled = compiler.compile(&store, NOW);
    assert_eq!(hosts(&compiled)[1], "default/web:http 2001:db8::1:80");

    put_service(&mut store, "web", external("no host"));
    let compiled = compiler.compile(&store, NOW);
    assert!(compiled.external.is_empty());
    assert_eq!(
        target(&compiled, "any", "/name"),
        "default/web:http name_not_resolved"
    );
    assert_eq!(
        problems(&compiled),
        ["error Service default/web spec.externalName"]
    );
}

#[test]
fn other_controllers_ingresses_are_counted_and_left_alone() {
    let mut store = store(&[("a", json!({"rules": [rule_for("x.test", "/", "web")]}))]);
    store.apply(testing::ingress_class(json!({
        "metadata": {"name": "other"}, "spec": {"controller": "example.com/other"}
    })));
    for (name, class) in [
        ("b", json!("other")),
        ("c", json!("unknown")),
        ("d", Value::Null),
    ] {
        let spec = json!({"ingressClassName": class, "rules": [rule_for(&format!("{name}.test"), "/", "web")]});
        let ingress = testing::ingress("default", name, json!({"spec": spec}));
        store.apply(Object::Ingress(Arc::new(ingress)));
    }
    let compiled = compile(&store);
    let counts = compiled.report.counts;
    assert_eq!(
        (counts.ingresses, counts.foreign, counts.classless),
        (2, 1, 1)
    );
    assert_eq!((counts.hosts, counts.paths, counts.services), (2, 2, 1));
    let served: Vec<_> = compiled.report.served().map(|key| &*key.name).collect();
    assert_eq!(served, ["a", "c"]);
    assert_eq!(
        problems(&compiled),
        [
            "warning Ingress default/c spec.ingressClassName",
            "warning Ingress default/d spec.ingressClassName",
        ]
    );
}

#[test]
fn several_default_classes_are_reported() {
    let mut store = store(&[]);
    for name in ["one", "two"] {
        store.apply(testing::ingress_class(json!({
            "metadata": {
                "name": name, "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}
            },
            "spec": {"controller": "narthex.dev/ingress"}
        })));
    }
    let field = "metadata.annotations[ingressclass.kubernetes.io/is-default-class]";
    assert_eq!(
        problems(&compile(&store)),
        [format!("warning IngressClass two {field}")]
    );
}

#[test]
fn listeners_are_two_with_one_table_of_hosts_and_options_reach_the_rules() {
    let store = store(&[("a", json!({"rules": [rule_for("x.test", "/", "web")]}))]);
    let compiled = compile_with(&store, |options| {
        options.http_port = 9999;
        options.max_body = 7;
    });
    let ports: Vec<_> = compiled
        .snapshot
        .listeners
        .iter()
        .map(|listener| (listener.entrance.port, listener.service.name()))
        .collect();
    assert_eq!(ports, [(8443, "https"), (9999, "http")]);
    let [https, http] = &*compiled.snapshot.listeners else {
        panic!("two listeners")
    };
    let [https, http] = [https, http].map(|one| one.service.ingress().expect("Ingress's"));
    assert!(Arc::ptr_eq(https, http));
    let host = http.hosts.find("x.test");
    assert_eq!(host.map(|host| host.rules()[0].max_body), Some(7));
    assert_eq!(&*compiled.metrics_hosts, ["_".into(), "x.test".into()]);
}

#[test]
fn an_empty_store_answers_404_and_a_deleted_one_again() {
    let mut compiler = Compiler::new(options());
    let mut filled = store(&[("a", json!({"rules": [rule_for("x.test", "/", "web")]}))]);
    assert_eq!(
        compiler.compile(&Store::default(), NOW).snapshot.generation,
        1
    );
    let compiled = compiler.compile(&filled, NOW);
    assert_eq!(rule(&compiled, "x.test", "/").route.as_ref(), "default/a");
    filled.delete(&ObjectKey::new(Kind::Ingress, "default", "a"));
    let compiled = compiler.compile(&filled, NOW);
    assert_eq!(target(&compiled, "x.test", "/"), "404");
    assert_eq!(compiled.snapshot.generation, 3);
}
