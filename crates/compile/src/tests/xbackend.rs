//! XBackends, from one compilation to the next; and since when conditions are so.

use std::sync::Arc;

use model::backend::Discovery;
use model::{Backend, HttpVersion};
use objects::kinds::{Kind, ObjectKey};

use super::gateway::{CLASS, NOW, add, gateway, route, said, store};
use crate::status::{About, Status};
use crate::testing::options;
use crate::{Compiled, Compiler};

const TO_API: &str = "{parentRefs: [{name: gw}], rules: [{backendRefs: [{group: \
                      gateway.networking.x-k8s.io, kind: XBackend, name: api}]}]}";

fn outside(host: &str, more: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {{name: api}}
spec:
  type: ExternalHostname
  port: {{port: 443}}
  externalHostname: {{hostname: {host}}}
  {more}
---"
    )
}

fn world(host: &str, more: &str) -> String {
    let listener = "[{name: http, port: 80, protocol: HTTP}]";
    let routes = route("one", TO_API) + &route("two", TO_API);
    CLASS.to_owned() + &gateway("gw", listener) + &outside(host, more) + &routes
}

/// The only backend whose name is to be resolved.
fn resolved(compiled: &Compiled) -> &Arc<Backend> {
    let [backend] = &*compiled.external else {
        panic!("one backend: {:?}", compiled.external);
    };
    backend
}

#[test]
fn routes_share_its_backend_which_goes_with_the_last_of_them() {
    let mut store = store(&world("api.example", ""));
    let mut compiler = Compiler::new(options());
    let first = compiler.compile(&store, NOW);
    let backend = resolved(&first);
    assert_eq!(&*backend.name, "default/XBackend/api:443");
    // No search domain makes a Service's name of it.
    let expected = Discovery::Dns {
        host: "api.example.".into(),
        port: 443,
    };
    assert_eq!(backend.discovery, expected);
    let route = |name: &str| ObjectKey::new(Kind::HttpRoute, "default", name);
    store.delete(&route("one"));
    let second = compiler.compile(&store, NOW);
    assert!(Arc::ptr_eq(resolved(&second), backend));
    add(&mut store, &outside("other.example", ""));
    let third = compiler.compile(&store, NOW);
    assert!(!Arc::ptr_eq(resolved(&third), backend));
    store.delete(&route("two"));
    assert!(compiler.compile(&store, NOW).external.is_empty());
}

#[test]
fn what_is_spoken_is_the_routes_the_protocols_and_that_of_tls() {
    for (more, http, tls) in [
        ("", HttpVersion::Http1, None),
        ("tls: {mode: None}", HttpVersion::Http1, None),
        ("protocol: H2C", HttpVersion::Http2, None),
        ("protocol: HTTP2", HttpVersion::Http2, None),
        (
            "tls: {mode: ServerOnly}",
            HttpVersion::Negotiated,
            Some("api.example"),
        ),
        (
            "protocol: HTTP11\n  tls: {mode: ServerOnly}",
            HttpVersion::Http1,
            Some("api.example"),
        ),
        (
            "tls: {mode: ServerOnly, validation: {hostname: b.example, wellKnownCACertificates: System}}",
            HttpVersion::Negotiated,
            Some("b.example"),
        ),
    ] {
        let compiled = Compiler::new(options()).compile(&store(&world("api.example", more)), NOW);
        let transport = &resolved(&compiled).transport;
        let name = transport.tls.as_ref().map(|tls| &*tls.server_name);
        assert_eq!((transport.http, name), (http, tls), "{more}");
        let expected = ["Accepted Accepted", "ResolvedRefs ResolvedRefs"];
        assert_eq!(said(&compiled, Kind::XBackend, "api"), expected, "{more}");
    }
}

#[test]
fn what_is_contradictory_is_not_sent_anywhere() {
    let both = "protocol: H2C\n  tls: {mode: ServerOnly}";
    let compiled = Compiler::new(options()).compile(&store(&world("api.example", both)), NOW);
    assert!(compiled.external.is_empty());
    let expected = ["!Accepted UnsupportedProtocol", "ResolvedRefs ResolvedRefs"];
    assert_eq!(said(&compiled, Kind::XBackend, "api"), expected);
    let expected = ["Accepted Accepted", "!ResolvedRefs UnsupportedProtocol"];
    assert_eq!(said(&compiled, Kind::HttpRoute, "one"), expected);
}

#[test]
fn a_condition_keeps_its_time_for_as_long_as_it_holds_or_does_not() {
    let mut store = store(&world("api.example", ""));
    let mut compiler = Compiler::new(options());
    compiler.compile(&store, NOW);
    let key = ObjectKey::new(Kind::HttpRoute, "default", "one");
    let mut since = |store: &_, now| {
        let compiled = compiler.compile(store, now);
        let status = compiled.statuses.get(&&key).expect("a status");
        let Status::Route(_) = &status.status else {
            panic!("of a route");
        };
        let lists = status.status.lists();
        let (About::Parent(parent), conditions) = lists[0] else {
            panic!("of a parent");
        };
        assert_eq!(&*parent.name, "gw");
        [conditions[0].since, conditions[1].since]
    };
    assert_eq!(since(&store, NOW + 10), [NOW, NOW]);
    store.delete(&ObjectKey::new(Kind::XBackend, "default", "api"));
    assert_eq!(since(&store, NOW + 20), [NOW, NOW + 20]);
    assert_eq!(since(&store, NOW + 30), [NOW, NOW + 20]);
    add(&mut store, &outside("api.example", ""));
    assert_eq!(since(&store, NOW + 40), [NOW, NOW + 40]);
}
