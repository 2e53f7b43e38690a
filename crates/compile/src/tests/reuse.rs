//! What stays the same `Arc`, and what goes when nobody uses it.

use std::sync::Arc;

use model::{Action, Backend, Endpoint};
use objects::Store;
use objects::kinds::{Kind, Object, ObjectKey};
use serde_json::json;

use super::{rule, site};
use crate::testing::{self, options};
use crate::{Compiled, Compiler};

fn put_ingress(store: &mut Store, name: &str, host: &str, paths: &[&str]) {
    let path = |path: &&str| {
        json!({"path": path, "pathType": "Prefix", "backend": {
            "service": {"name": name, "port": {"number": 80}}
        }})
    };
    let paths: Vec<_> = paths.iter().map(path).collect();
    let object = json!({"spec": {
        "ingressClassName": "narthex", "rules": [{"host": host, "http": {"paths": paths}}]
    }});
    store.apply(Object::Ingress(Arc::new(testing::ingress(
        "default", name, object,
    ))));
}

fn put_service(store: &mut Store, name: &str) {
    let object = json!({"spec": {"ports": [{"name": "http", "port": 80}]}});
    store.apply(Object::Service(Arc::new(testing::service(
        "default", name, object,
    ))));
}

fn put_slice(store: &mut Store, service: &str, addresses: &[&str]) {
    let endpoints: Vec<_> = addresses
        .iter()
        .map(|ip| json!({"addresses": [ip]}))
        .collect();
    let object = json!({
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints
    });
    let slice = testing::endpoint_slice("default", service, service, object);
    store.apply(Object::EndpointSlice(Arc::new(slice)));
}

fn backend(compiled: &Compiled, host: &str) -> Arc<Backend> {
    match &rule(compiled, host, "/").action {
        Action::Forward(backend) => Arc::clone(backend),
        _ => panic!("no backend"),
    }
}

fn endpoints(backend: &Backend) -> Vec<Arc<Endpoint>> {
    backend.endpoints().ready.to_vec()
}

fn two_hosts() -> Store {
    let mut store = Store::default();
    for (name, host) in [("a", "a.test"), ("b", "b.test")] {
        put_ingress(&mut store, name, host, &["/", "/x"]);
        put_service(&mut store, name);
        put_slice(&mut store, name, &["10.0.0.1"]);
    }
    store
}

#[test]
fn a_change_of_endpoints_rebuilds_no_route() {
    let mut store = two_hosts();
    let mut compiler = Compiler::new(options());
    let before = compiler.compile(&store, 0);
    let kept = endpoints(&backend(&before, "a.test"));
    put_slice(&mut store, "a", &["10.0.0.1", "10.0.0.2"]);
    let after = compiler.compile(&store, 0);
    assert!(!after.changed && Arc::ptr_eq(&before.snapshot, &after.snapshot));
    assert!(Arc::ptr_eq(&before.report, &after.report));
    assert_eq!(after.endpoint_updates, 1);
    let now = endpoints(&backend(&after, "a.test"));
    assert_eq!(now.len(), 2);
    assert!(
        Arc::ptr_eq(&now[0], &kept[0]),
        "an address keeps its endpoint"
    );
}

#[test]
fn one_ingress_rebuilds_its_host_and_only_the_rules_that_changed() {
    let mut store = two_hosts();
    let mut compiler = Compiler::new(options());
    let before = compiler.compile(&store, 0);
    put_ingress(&mut store, "a", "a.test", &["/", "/y"]);
    let after = compiler.compile(&store, 0);
    assert!(after.changed);
    let host = |compiled: &Compiled, name: &str| {
        Arc::clone(site(compiled).hosts.find(name).expect("a host"))
    };
    assert!(Arc::ptr_eq(
        &host(&before, "b.test"),
        &host(&after, "b.test")
    ));
    assert!(!Arc::ptr_eq(
        &host(&before, "a.test"),
        &host(&after, "a.test")
    ));
    assert!(Arc::ptr_eq(
        rule(&before, "a.test", "/"),
        rule(&after, "a.test", "/")
    ));
    assert!(Arc::ptr_eq(
        &backend(&before, "a.test"),
        &backend(&after, "a.test")
    ));
    assert_eq!(
        rule(&after, "a.test", "/y").field.as_ref(),
        "spec.rules[0].http.paths[1]"
    );
}

#[test]
fn an_endpoint_that_somebody_still_holds_is_the_same_when_it_comes_back() {
    let mut store = two_hosts();
    let mut compiler = Compiler::new(options());
    let held = endpoints(&backend(&compiler.compile(&store, 0), "a.test"));
    put_slice(&mut store, "a", &[]);
    compiler.compile(&store, 0);
    put_slice(&mut store, "a", &["10.0.0.1"]);
    let back = endpoints(&backend(&compiler.compile(&store, 0), "a.test"));
    assert!(Arc::ptr_eq(&held[0], &back[0]));
}

#[test]
fn a_service_by_name_and_by_number_has_the_same_endpoints() {
    let mut store = two_hosts();
    let object = json!({"spec": {
        "ingressClassName": "narthex",
        "rules": [{"host": "c.test", "http": {"paths": [{"pathType": "Prefix", "path": "/", "backend": {
            "service": {"name": "a", "port": {"name": "http"}}
        }}]}}]
    }});
    store.apply(Object::Ingress(Arc::new(testing::ingress(
        "default", "c", object,
    ))));
    let compiled = Compiler::new(options()).compile(&store, 0);
    let (by_number, by_name) = (backend(&compiled, "a.test"), backend(&compiled, "c.test"));
    assert_eq!(
        (&*by_number.name, &*by_name.name),
        ("default/a:80", "default/a:http")
    );
    assert!(Arc::ptr_eq(
        &endpoints(&by_number)[0],
        &endpoints(&by_name)[0]
    ));
}

#[test]
fn what_nobody_uses_goes() {
    let mut store = two_hosts();
    let mut compiler = Compiler::new(options());
    let held = Arc::downgrade(&backend(&compiler.compile(&store, 0), "a.test"));
    store.delete(&ObjectKey::new(Kind::Ingress, "default", "a"));
    let compiled = compiler.compile(&store, 0);
    assert!(held.upgrade().is_none());
    assert_eq!(compiled.report.counts.services, 1);
    assert_eq!(compiled.report.counts.hosts, 1);
    assert_eq!(compiler.remembered_services(), 1);
}

#[test]
fn what_somebody_still_holds_is_remembered_until_it_goes() {
    let mut store = two_hosts();
    let mut compiler = Compiler::new(options());
    let held = backend(&compiler.compile(&store, 0), "a.test");
    store.delete(&ObjectKey::new(Kind::Ingress, "default", "a"));
    compiler.compile(&store, 0);
    put_slice(&mut store, "a", &["10.0.0.9"]);
    compiler.compile(&store, 0);
    assert_eq!(endpoints(&held)[0].address.to_string(), "10.0.0.9:8080");
    put_ingress(&mut store, "a", "a.test", &["/"]);
    assert!(Arc::ptr_eq(
        &held,
        &backend(&compiler.compile(&store, 0), "a.test")
    ));
    store.delete(&ObjectKey::new(Kind::Ingress, "default", "a"));
    compiler.compile(&store, 0);
    assert_eq!(compiler.remembered_services(), 2);
    drop(held);
    compiler.compile(&store, 0);
    assert_eq!(compiler.remembered_services(), 1);
}
