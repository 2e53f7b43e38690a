//! Gateway API: what is served, and what is said.

use std::sync::atomic::{AtomicU32, Ordering};

use model::{Entrance, NormalPath, Rule, Service, TlsSite};
use objects::kinds::{Kind, ObjectKey};
use objects::{Store, manifests};

use super::{Get, PLAIN};
use crate::options::GatewayPorts;
use crate::status::{Condition, Status};
use crate::testing::{key_pair, options};
use crate::{Compiled, Compiler};

pub(super) const NOW: i64 = 1_800_000_000;

pub(super) const CLASS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: narthex}
spec: {controllerName: narthex.dev/gateway}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80, name: http}, {port: 53, protocol: UDP, name: dns}]}
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: elsewhere}
spec: {ports: [{port: 80}]}
---
";

pub(super) fn gateway(name: &str, listeners: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}}}
spec:
  gatewayClassName: narthex
  listeners: {listeners}
---"
    )
}

/// The Secret `tls`, of a certificate for a name.
fn tls_secret(name: &str) -> String {
    let (certificate, key) = key_pair(&[name]);
    format!(
        "
apiVersion: v1
kind: Secret
metadata: {{name: tls}}
type: kubernetes.io/tls
stringData: {{tls.crt: {certificate:?}, tls.key: {key:?}}}
---"
    )
}

pub(super) fn route(name: &str, spec: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec: {spec}
---"
    )
}

pub(super) fn store(text: &str) -> Store {
    let mut store = Store::default();
    add(&mut store, text);
    store
}

pub(super) fn add(store: &mut Store, text: &str) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("narthex-gateway-{}-{number}.yaml", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).expect("a file");
    let loaded = manifests::load(&[&path], &manifests::Options::default());
    std::fs::remove_file(&path).expect("our file");
    assert_eq!(loaded.problems, [], "{text}");
    for (object, _) in loaded.objects {
        store.apply(object);
    }
}

fn compile(text: &str) -> Compiled {
    Compiler::new(options()).compile(&store(&format!("{CLASS}{text}")), NOW)
}

fn ask<'a>(compiled: &'a Compiled, port: u16, host: &str, path: &str, get: Get<'_>) -> &'a Rule {
    let listener = compiled.snapshot.listener(Entrance::tcp(port));
    let Service::Http(sites) = &listener.expect("a listener").service else {
        panic!("no HTTP");
    };
    let site = sites.find(host).expect("a site");
    // The answer borrows from it.
    let path: &str = path.to_owned().leak();
    let path = Box::leak(Box::new(
        NormalPath::parse(path.as_bytes()).expect("a path"),
    ));
    site.select(host, path, &get).expect("a rule").rule
}

fn answer(compiled: &Compiled, host: &str, path: &str) -> String {
    let rule = ask(compiled, 80, host, path, PLAIN);
    format!("{} {}", rule.route, rule.field).trim().to_owned()
}

pub(super) fn conditions<'a>(compiled: &'a Compiled, kind: Kind, name: &str) -> Vec<&'a Condition> {
    let namespace = if kind == Kind::GatewayClass {
        ""
    } else {
        "default"
    };
    let key = ObjectKey::new(kind, namespace, name);
    let status = compiled.statuses.get(&&key).expect("a status");
    match &status.status {
        Status::Class { conditions, .. } | Status::ListenerSet { conditions, .. } => {
            conditions.iter().collect()
        }
        Status::Gateway(gateway) => gateway.conditions.iter().collect(),
        Status::Route(parents) | Status::Policy(parents) => parents
            .iter()
            .flat_map(|parent| &parent.conditions)
            .collect(),
    }
}

/// `Accepted Accepted` for what holds, `!Accepted Reason` for what does not.
pub(super) fn said(compiled: &Compiled, kind: Kind, name: &str) -> Vec<String> {
    let all = conditions(compiled, kind, name).into_iter();
    all.map(words).collect()
}

fn words(condition: &Condition) -> String {
    let not = if condition.holds { "" } else { "!" };
    format!("{not}{} {}", condition.name, condition.reason)
}

fn listener_said(compiled: &Compiled, gateway: &str, listener: &str) -> (usize, Vec<String>) {
    let key = ObjectKey::new(Kind::Gateway, "default", gateway);
    let status = compiled.statuses.get(&&key).expect("a status");
    let Status::Gateway(status) = &status.status else {
        panic!("a Gateway's");
    };
    let mut listeners = status.listeners.iter();
    let found = listeners
        .find(|one| *one.name == *listener)
        .expect("a listener");
    (found.attached, found.conditions.iter().map(words).collect())
}

#[test]
fn a_route_is_served_on_its_gateways_port_and_both_are_told() {
    let compiled = compile(&format!(
        "{}{}",
        gateway("gw", "[{name: http, port: 80, protocol: HTTP}]"),
        route(
            "a",
            "{parentRefs: [{name: gw}], hostnames: [a.test], rules: [{matches: [{path: {value: /x}}], \
             backendRefs: [{name: web, port: 80}]}]}"
        )
    ));
    assert_eq!(
        answer(&compiled, "a.test", "/x/y"),
        "default/a spec.rules[0]"
    );
    assert_eq!(answer(&compiled, "a.test", "/y"), "");
    assert_eq!(answer(&compiled, "b.test", "/x"), "");
    assert_eq!(
        said(&compiled, Kind::GatewayClass, "narthex"),
        ["Accepted Accepted"]
    );
    assert_eq!(
        said(&compiled, Kind::Gateway, "gw"),
        [
            "Accepted Accepted",
            "Programmed Programmed",
            "ResolvedRefs ResolvedRefs"
        ]
    );
    assert_eq!(
        said(&compiled, Kind::HttpRoute, "a"),
        ["Accepted Accepted", "ResolvedRefs ResolvedRefs"]
    );
    let (attached, said) = listener_said(&compiled, "gw", "http");
    assert_eq!(attached, 1);
    assert_eq!(
        said,
        [
            "Accepted Accepted",
            "Programmed Programmed",
            "!Conflicted NoConflicts",
            "ResolvedRefs ResolvedRefs"
        ]
    );
    // It has no endpoints.
    assert_eq!(super::problems(&compiled), ["warning Service default/web"]);
}

#[test]
fn a_request_is_one_listeners_business_alone() {
    let listeners = "[{name: any, port: 80, protocol: HTTP}, \
        {name: wild, port: 80, protocol: HTTP, hostname: '*.example.com'}, \
        {name: foo, port: 80, protocol: HTTP, hostname: foo.example.com}]";
    let to = |name: &str, section: &str, path: &str| {
        route(
            name,
            &format!(
                "{{parentRefs: [{{name: gw, sectionName: {section}}}], rules: [{{matches: [{{path: \
                 {{value: {path}}}}}], backendRefs: [{{name: web, port: 80}}]}}]}}"
            ),
        )
    };
    let compiled = compile(&format!(
        "{}{}{}{}",
        gateway("gw", listeners),
        to("a", "any", "/any"),
        to("b", "wild", "/wild"),
        to("c", "foo", "/foo"),
    ));
    for (host, path, expected) in [
        ("bar.com", "/any", "default/a spec.rules[0]"),
        ("bar.com", "/wild", ""),
        ("x.y.example.com", "/wild", "default/b spec.rules[0]"),
        ("x.example.com", "/any", ""),
        ("foo.example.com", "/foo", "default/c spec.rules[0]"),
        ("foo.example.com", "/wild", ""),
        ("foo.example.com", "/any", ""),
    ] {
        assert_eq!(answer(&compiled, host, path), expected, "{host}{path}");
    }
}

#[test]
fn the_closest_match_wins_across_routes_and_hosts() {
    let compiled = compile(&format!(
        "{}{}{}",
        gateway("gw", "[{name: http, port: 80, protocol: HTTP}]"),
        route(
            "a",
            "{parentRefs: [{name: gw}], hostnames: ['*.test'], rules: [\
             {matches: [{path: {value: /}}], backendRefs: [{name: web, port: 80}]},\
             {matches: [{path: {value: /v}, headers: [{name: Version, value: two}]}], backendRefs: [{name: web, port: 80}]},\
             {matches: [{path: {type: RegularExpression, value: '/r[0-9]+'}}], backendRefs: [{name: web, port: 80}]}]}"
        ),
        route(
            "b",
            "{parentRefs: [{name: gw}], hostnames: [b.test], rules: [\
             {matches: [{path: {value: /v}}, {path: {type: Exact, value: /e}}], backendRefs: [{name: web, port: 80}]}]}"
        )
    ));
    for (host, path, headers, expected) in [
        ("a.test", "/v", &[][..], "default/a spec.rules[0]"),
        (
            "a.test",
            "/v/x",
            &[("version", "two")],
            "default/a spec.rules[1]",
        ),
        ("a.test", "/r12", &[], "default/a spec.rules[2]"),
        (
            "b.test",
            "/v",
            &[("version", "two")],
            "default/b spec.rules[0]",
        ),
        ("b.test", "/e", &[], "default/b spec.rules[0]"),
        // The closer host's route has no rule for it.
        ("b.test", "/other", &[], "default/a spec.rules[0]"),
    ] {
        let get = Get { query: "", headers };
        let rule = ask(&compiled, 80, host, path, get);
        assert_eq!(
            format!("{} {}", rule.route, rule.field),
            expected,
            "{host}{path}"
        );
    }
}

#[test]
fn a_reference_across_namespaces_is_good_for_as_long_as_it_is_granted() {
    let grant = "
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: elsewhere}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: '', kind: Service}]
---";
    let text = format!(
        "{CLASS}{}{}",
        gateway("gw", "[{name: http, port: 80, protocol: HTTP}]"),
        route(
            "a",
            "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: other, namespace: elsewhere, port: 80}]}]}"
        )
    );
    let mut compiler = Compiler::new(options());
    let mut store = store(&text);
    let action = |compiled: &Compiled| {
        let rule = ask(compiled, 80, "x", "/", PLAIN);
        matches!(rule.action, model::Action::Forward(_))
    };
    let compiled = compiler.compile(&store, NOW);
    assert!(!action(&compiled));
    assert_eq!(
        said(&compiled, Kind::HttpRoute, "a"),
        ["Accepted Accepted", "!ResolvedRefs RefNotPermitted"]
    );
    add(&mut store, grant);
    assert!(action(&compiler.compile(&store, NOW)));
    store.delete(&ObjectKey::new(Kind::ReferenceGrant, "elsewhere", "g"));
    assert!(!action(&compiler.compile(&store, NOW)));
}

#[test]
fn what_does_not_attach_is_told_why() {
    let compiled = compile(&format!(
        "{}{}",
        gateway(
            "gw",
            "[{name: http, port: 80, protocol: HTTP, hostname: a.test}, {name: tls, port: 443, \
             protocol: TLS, tls: {mode: Passthrough}}]"
        ),
        [
            ("section", "{parentRefs: [{name: gw, sectionName: none}]}"),
            ("port", "{parentRefs: [{name: gw, port: 81}]}"),
            ("kind", "{parentRefs: [{name: gw, sectionName: tls}]}"),
            ("host", "{parentRefs: [{name: gw}], hostnames: [b.test]}"),
            ("missing", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: none, port: 80}]}]}"),
            ("kindless", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{kind: Pod, name: web, port: 80}]}]}"),
            ("foreign", "{parentRefs: [{name: theirs}]}"),
        ]
        .map(|(name, spec)| route(name, spec))
        .concat()
    ));
    for (name, expected) in [
        (
            "section",
            ["!Accepted NoMatchingParent", "ResolvedRefs ResolvedRefs"],
        ),
        (
            "port",
            ["!Accepted NoMatchingParent", "ResolvedRefs ResolvedRefs"],
        ),
        (
            "kind",
            [
                "!Accepted NotAllowedByListeners",
                "ResolvedRefs ResolvedRefs",
            ],
        ),
        (
            "host",
            [
                "!Accepted NoMatchingListenerHostname",
                "ResolvedRefs ResolvedRefs",
            ],
        ),
        (
            "missing",
            ["Accepted Accepted", "!ResolvedRefs BackendNotFound"],
        ),
        (
            "kindless",
            ["Accepted Accepted", "!ResolvedRefs InvalidKind"],
        ),
    ] {
        assert_eq!(said(&compiled, Kind::HttpRoute, name), expected, "{name}");
    }
    let foreign = ObjectKey::new(Kind::HttpRoute, "default", "foreign");
    assert!(compiled.statuses.get(&&foreign).is_none());
    assert_eq!(listener_said(&compiled, "gw", "http").0, 2);
}

#[test]
fn listeners_that_cannot_be_told_apart_are_not_served_and_others_are() {
    let secret = tls_secret("a.test");
    let compiled = compile(&format!(
        "{secret}{}",
        gateway(
            "gw",
            "[{name: http, port: 80, protocol: HTTP}, {name: tcp, port: 81, protocol: TCP}, \
             {name: web, port: 81, protocol: HTTP}, {name: odd, port: 82, protocol: SCTP}, \
             {name: https, port: 443, protocol: HTTPS, hostname: a.test, tls: {certificateRefs: [{name: tls}]}}, \
             {name: pass, port: 443, protocol: TLS, hostname: b.test, tls: {mode: Passthrough}}, \
             {name: broken, port: 444, protocol: HTTPS, tls: {certificateRefs: [{name: none}]}}, \
             {name: udp, port: 81, protocol: UDP}]"
        ),
    ));
    let first = |listener: &str| listener_said(&compiled, "gw", listener).1;
    assert_eq!(first("http")[0], "Accepted Accepted");
    assert_eq!(first("tcp")[0], "!Accepted ProtocolConflict");
    assert_eq!(first("web")[2], "Conflicted ProtocolConflict");
    assert_eq!(first("odd")[0], "!Accepted UnsupportedProtocol");
    assert_eq!(first("udp")[0], "Accepted Accepted");
    assert_eq!(first("broken")[3], "!ResolvedRefs InvalidCertificateRef");
    assert_eq!(first("broken")[1], "!Programmed Invalid");
    assert_eq!(
        said(&compiled, Kind::Gateway, "gw")[0],
        "Accepted ListenersNotValid"
    );
    let https = compiled.snapshot.listener(Entrance::tcp(443)).expect("443");
    let Service::Tls(sites) = &https.service else {
        panic!("no TLS");
    };
    assert!(matches!(
        &**sites.find(Some("a.test")).expect("a"),
        TlsSite::Https(_)
    ));
    assert!(matches!(
        &**sites.find(Some("b.test")).expect("b"),
        TlsSite::Passthrough(_)
    ));
    assert!(sites.find(Some("c.test")).is_none());
    assert!(compiled.snapshot.listener(Entrance::tcp(81)).is_none());
}

#[test]
fn in_a_cluster_every_gateway_has_ports_of_its_own_which_its_service_remembers() {
    let mut options = options();
    options.gateway_ports = GatewayPorts::Range(20000..=20009);
    let mut compiler = Compiler::new(options);
    let text = format!(
        "{CLASS}{}{}",
        gateway("one", "[{name: http, port: 80, protocol: HTTP}]"),
        gateway("two", "[{name: http, port: 80, protocol: HTTP}]"),
    );
    let mut store = store(&text);
    let compiled = compiler.compile(&store, NOW);
    let [one, two] = &*compiled.gateways else {
        panic!("two plans");
    };
    assert_eq!(
        (&*one.service, &*two.service),
        ("one-narthex", "two-narthex")
    );
    let (first, second) = (one.ports[0].target, two.ports[0].target);
    assert_ne!(first, second);
    assert!((20000..=20009).contains(&first));
    let public = compiled
        .snapshot
        .listener(Entrance::tcp(first))
        .expect("it");
    assert_eq!(public.public_port, 80);
    let other = (20000..=20009).find(|port| ![first, second].contains(port));
    let other = other.expect("another");
    add(
        &mut store,
        &format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: two-narthex}}
spec: {{ports: [{{port: 80, targetPort: {other}}}]}}
---"
        ),
    );
    let compiled = compiler.compile(&store, NOW);
    assert_eq!(compiled.gateways[1].ports[0].target, other);
    assert!(compiled.snapshot.listener(Entrance::tcp(other)).is_some());
    assert!(compiled.snapshot.listener(Entrance::tcp(second)).is_none());
}

#[test]
fn one_routes_change_leaves_other_hosts_as_they_are() {
    let of = |name: &str, path: &str| {
        route(
            name,
            &format!(
                "{{parentRefs: [{{name: gw}}], hostnames: [{name}.test], rules: [{{matches: [{{path: \
                 {{value: {path}}}}}], backendRefs: [{{name: web, port: 80}}]}}]}}"
            ),
        )
    };
    let gateway = gateway("gw", "[{name: http, port: 80, protocol: HTTP}]");
    let mut compiler = Compiler::new(options());
    let mut store = store(&format!(
        "{CLASS}{gateway}{}{}",
        of("a", "/x"),
        of("b", "/x")
    ));
    let before = compiler.compile(&store, NOW);
    add(&mut store, &of("a", "/y"));
    let after = compiler.compile(&store, NOW);
    let rule = |compiled: &Compiled, host: &str, path: &str| {
        std::ptr::from_ref(ask(compiled, 80, host, path, PLAIN))
    };
    assert_eq!(rule(&before, "b.test", "/x"), rule(&after, "b.test", "/x"));
    assert_eq!(answer(&after, "a.test", "/y"), "default/a spec.rules[0]");
    assert_eq!(answer(&after, "a.test", "/x"), "");
    store.delete(&ObjectKey::new(Kind::HttpRoute, "default", "a"));
    let gone = compiler.compile(&store, NOW);
    assert_eq!(answer(&gone, "a.test", "/y"), "");
    assert_eq!(listener_said(&gone, "gw", "http").0, 1);
    assert!(!compiler.compile(&store, NOW).changed);
}

#[test]
fn of_an_http_and_a_grpc_route_with_a_host_in_common_the_older_one_is_taken() {
    let made = |kind: &str, name: &str, host: &str, created: &str| {
        format!(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: {name}, creationTimestamp: '{created}'}}
spec:
  parentRefs: [{{name: gw}}]
  hostnames: ['{host}']
  rules: [{{backendRefs: [{{name: web, port: 80}}]}}]
---"
        )
    };
    let text = format!(
        "{CLASS}{}{}{}{}",
        gateway("gw", "[{name: http, port: 80, protocol: HTTP}]"),
        made("HTTPRoute", "old", "*.test", "2024-01-01T00:00:00Z"),
        made("GRPCRoute", "new", "a.test", "2025-01-01T00:00:00Z"),
        made("GRPCRoute", "apart", "a.other", "2025-01-01T00:00:00Z"),
    );
    let mut compiler = Compiler::new(options());
    let mut store = store(&text);
    let compiled = compiler.compile(&store, NOW);
    assert_eq!(
        answer(&compiled, "a.test", "/x"),
        "default/old spec.rules[0]"
    );
    assert_eq!(
        answer(&compiled, "a.other", "/x"),
        "default/apart spec.rules[0]"
    );
    let accepted = |compiled: &Compiled| said(compiled, Kind::GrpcRoute, "new")[0].clone();
    assert_eq!(accepted(&compiled), "!Accepted HostnameConflict");
    assert_eq!(listener_said(&compiled, "gw", "http").0, 2);
    store.delete(&ObjectKey::new(Kind::HttpRoute, "default", "old"));
    let compiled = compiler.compile(&store, NOW);
    assert_eq!(
        answer(&compiled, "a.test", "/x"),
        "default/new spec.rules[0]"
    );
    assert_eq!(accepted(&compiled), "Accepted Accepted");
    assert_eq!(listener_said(&compiled, "gw", "http").0, 2);
}

#[test]
fn a_traffic_policy_sets_the_retry_budget_of_its_service() {
    let policy = |name: &str, percent: u8| {
        format!(
            "
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {{name: {name}}}
spec:
  targetRefs: [{{group: '', kind: Service, name: web}}]
  retryConstraint: {{budget: {{percent: {percent}, interval: 10s}}, minRetryRate: {{count: 30, interval: 2s}}}}
  sessionPersistence: {{sessionName: stay}}
---"
        )
    };
    let route = route(
        "a",
        "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: web, port: 80}]}]}",
    );
    let gateway = gateway("gw", "[{name: http, port: 80, protocol: HTTP}]");
    let slice = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 3000}]
endpoints: [{addresses: [10.0.0.1]}]
---";
    let mut compiler = Compiler::new(options());
    let mut store = store(&format!(
        "{CLASS}{gateway}{route}{slice}{}{}",
        policy("a", 7),
        policy("b", 9)
    ));
    let retry = |compiled: &Compiled| {
        let rule = ask(compiled, 80, "x", "/", PLAIN);
        let model::Action::Forward(backend) = &rule.action else {
            panic!("no backend");
        };
        let set = backend.endpoints();
        let cookie = set
            .policy
            .affinity
            .as_ref()
            .map(|one| one.cookie.to_string());
        (
            set.policy.retry.budget,
            set.policy.retry.min_per_second,
            cookie,
        )
    };
    let compiled = compiler.compile(&store, NOW);
    assert_eq!(retry(&compiled), (7, 15, Some("stay".into())));
    let said = |name: &str| said(&compiled, Kind::XBackendTrafficPolicy, name)[0].clone();
    assert_eq!(
        (said("a"), said("b")),
        ("Accepted Accepted".into(), "!Accepted Conflicted".into())
    );
    store.delete(&ObjectKey::new(Kind::XBackendTrafficPolicy, "default", "a"));
    assert_eq!(retry(&compiler.compile(&store, NOW)).0, 9);
}

#[test]
fn a_port_that_cannot_be_opened_is_said_of_its_listener_until_it_can() {
    let text = gateway(
        "gw",
        "[{name: free, port: 80, protocol: HTTP}, {name: taken, port: 81, protocol: HTTP}]",
    );
    let store = store(&format!("{CLASS}{text}"));
    let mut compiler = Compiler::new(options());
    let good = ["Accepted Accepted", "Programmed Programmed"];
    let of = |compiled: &Compiled, listener: &str| listener_said(compiled, "gw", listener).1;
    let first = compiler.compile(&store, NOW);
    assert_eq!(of(&first, "taken")[..2], good);
    let why = "port 81 on 0.0.0.0 is in use by another process".to_owned();
    let both = [(Entrance::tcp(80), why.clone()), (Entrance::tcp(81), why)];
    compiler.set_unbound(&both[1..]);
    let second = compiler.compile(&store, NOW);
    assert!(!second.changed, "nothing else is served");
    assert_eq!(of(&second, "free")[..2], good);
    let bad = ["!Accepted PortUnavailable", "!Programmed Pending"];
    assert_eq!(of(&second, "taken")[..2], bad);
    let gateway = said(&second, Kind::Gateway, "gw");
    assert_eq!(
        gateway[..2],
        ["Accepted ListenersNotValid", "Programmed Programmed"]
    );
    let problems: Vec<_> = second.report.problems().collect();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].field, "spec.listeners[1].port");
    compiler.set_unbound(&both);
    let third = compiler.compile(&store, NOW);
    assert_eq!(said(&third, Kind::Gateway, "gw")[1], "!Programmed Pending");
    compiler.set_unbound(&[]);
    let last = compiler.compile(&store, NOW);
    assert_eq!(of(&last, "taken")[..2], good);
    assert_eq!(said(&last, Kind::Gateway, "gw")[0], "Accepted Accepted");
    assert_eq!(last.report.problems().count(), 0);
}

#[test]
fn a_policy_wraps_what_ended_here_and_not_what_is_passed_on() {
    let secret = tls_secret("end.test");
    let gateway = gateway(
        "gw",
        "[{name: end, port: 443, protocol: TLS, hostname: '*.end.test', \
         tls: {mode: Terminate, certificateRefs: [{name: tls}]}}, \
         {name: pass, port: 443, protocol: TLS, hostname: '*.pass.test', tls: {mode: Passthrough}}]",
    );
    let rest = "
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: t}
spec:
  parentRefs: [{name: gw}]
  hostnames: [a.end.test, a.pass.test]
  rules: [{backendRefs: [{name: web, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: web}
spec:
  targetRefs: [{group: '', kind: Service, name: web}]
  validation: {wellKnownCACertificates: System, hostname: inner.test}
---";
    let compiled = compile(&format!("{secret}{gateway}{rest}"));
    let listener = compiled.snapshot.listener(Entrance::tcp(443));
    let Service::Tls(sites) = &listener.expect("a listener").service else {
        panic!("no TLS");
    };
    let inner = |name: &str| {
        let site = sites.find(Some(name)).expect("a site");
        let stream = match &**site {
            TlsSite::Tcp(site) => site.streams.find(name),
            TlsSite::Passthrough(streams) => streams.find(name),
            TlsSite::Https(_) => None,
        };
        let split = stream.expect("a stream").split.as_ref().expect("shares");
        let model::Target::Backend(backend) = &split.shares()[0].target else {
            panic!("no backend");
        };
        let tls = backend.transport.tls.as_ref();
        tls.map(|tls| tls.server_name.to_string())
    };
    assert_eq!(inner("a.end.test").as_deref(), Some("inner.test"));
    assert_eq!(inner("a.pass.test"), None);
}
