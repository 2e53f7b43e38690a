//! Gateway API: parameters, and which of several processes serves a Gateway.

use model::Entrance;
use objects::kinds::{Kind, ObjectKey};
use objects::{Severity, Store};

use super::gateway::{CLASS, NOW, add, conditions, gateway, route, store};
use crate::options::{GatewayPorts, GatewayScope, Options};
use crate::status::Status;
use crate::testing::options;
use crate::{Compiled, Compiler, Provider, ServiceType};

const LISTENERS: &str = "[{name: http, port: 80, protocol: HTTP}]";

const SHARED: GatewayScope = GatewayScope::Shared { dedicated: true };

fn own() -> GatewayScope {
    GatewayScope::One {
        namespace: "default".into(),
        name: "own".into(),
    }
}

fn with(scope: GatewayScope) -> Options {
    Options {
        gateway_ports: GatewayPorts::Range(20000..=20009),
        gateway_scope: scope,
        ..options()
    }
}

fn parameters(name: &str, data: &str) -> String {
    format!(
        "
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}}}
data: {{{data}}}
---"
    )
}

/// A Gateway with parameters of its own.
fn with_parameters(name: &str, of: &str) -> String {
    let spec = format!(
        "spec:\n  infrastructure: {{parametersRef: {{group: '', kind: ConfigMap, name: {of}}}}}"
    );
    gateway(name, LISTENERS).replacen("spec:", &spec, 1)
}

/// Two Gateways, one of which is to have a data plane of its own, a route of both, and a ListenerSet.
fn both() -> Store {
    let spec = "{parentRefs: [{name: all}, {name: own}], rules: [{backendRefs: [{name: web, port: \
                80}]}]}";
    store(&format!(
        "{CLASS}{}{}{}{}
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {{name: more}}
spec:
  parentRef: {{name: own}}
  listeners: {LISTENERS}
---",
        gateway("all", LISTENERS),
        with_parameters("own", "plane"),
        parameters(
            "plane",
            "data-plane: dedicated, replicas: '3', service-type: ClusterIP"
        ),
        route("web", spec),
    ))
}

/// The Service of the Gateway `own`, with the label of who has it.
fn service(data_plane: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata:
  name: own-narthex
  labels:
    gateway.networking.k8s.io/gateway-name: own
    app.kubernetes.io/managed-by: narthex
    {data_plane}
spec: {{ports: [{{port: 80, targetPort: 20007}}]}}
---"
    )
}

fn key(kind: Kind, name: &str) -> ObjectKey {
    ObjectKey::new(kind, "default", name)
}

/// The Gateways that a process listens for, and those of which it speaks.
fn served(compiled: &Compiled) -> (Vec<&str>, Vec<&str>) {
    let plans = compiled.gateways.iter();
    let listens = |port: u16| compiled.snapshot.listener(Entrance::tcp(port)).is_some();
    let plans = plans.filter(|plan| plan.ports.iter().all(|port| listens(port.target)));
    let statuses = compiled.statuses.iter();
    let gateways = statuses.filter(|it| it.object.kind == Kind::Gateway);
    (
        plans.map(|plan| &*plan.name).collect(),
        gateways.map(|it| &*it.object.name).collect(),
    )
}

/// The Gateways of whose routes a process speaks.
fn parents(compiled: &Compiled) -> Vec<String> {
    let route = key(Kind::HttpRoute, "web");
    let Some(status) = compiled.statuses.get(&&route) else {
        return Vec::new();
    };
    let Status::Route(parents) = &status.status else {
        panic!("a route");
    };
    parents
        .iter()
        .map(|it| it.parent.name.to_string())
        .collect()
}

fn accepted(compiled: &Compiled, kind: Kind, name: &str) -> (String, String) {
    let conditions = conditions(compiled, kind, name);
    let mut accepted = conditions.iter().filter(|it| it.name == "Accepted");
    let accepted = accepted.next().expect("it");
    (accepted.reason.to_owned(), accepted.message.to_string())
}

#[test]
fn a_gateway_with_a_data_plane_of_its_own_is_nobody_elses() {
    let store = both();
    let shared = Compiler::new(with(SHARED)).compile(&store, NOW);
    assert_eq!(served(&shared), (vec!["all"], vec!["all"]));
    assert_eq!(parents(&shared), ["all"]);
    let [plan] = &*shared.dedicated else {
        panic!("one: {:?}", shared.dedicated);
    };
    assert_eq!(
        (&*plan.gateway, &*plan.name, plan.replicas),
        ("own", "own-narthex", 3)
    );
    let alone = Compiler::new(with(own())).compile(&store, NOW);
    assert_eq!(served(&alone), (vec!["own"], vec!["own"]));
    assert_eq!(parents(&alone), ["own"]);
    assert!(alone.dedicated.is_empty());
    let plan = &alone.gateways[0];
    assert_eq!(
        (plan.provider, plan.service_type),
        (Provider::Us, Some(ServiceType::ClusterIp))
    );
    // No Ingress, and nothing of the classes.
    assert!(alone.snapshot.listener(Entrance::tcp(8080)).is_none());
    assert!(shared.snapshot.listener(Entrance::tcp(8080)).is_some());
    let class = ObjectKey::new(Kind::GatewayClass, "", "narthex");
    assert!(alone.statuses.get(&&class).is_none());
    assert!(shared.statuses.get(&&class).is_some());
    for (kind, name) in [(Kind::Gateway, "own"), (Kind::ListenerSet, "more")] {
        let key = key(kind, name);
        assert_eq!(
            (shared.share.has(&key), alone.share.has(&key)),
            (false, true)
        );
    }
    let all = key(Kind::Gateway, "all");
    assert_eq!(
        (shared.share.has(&all), alone.share.has(&all)),
        (true, false)
    );
}

#[test]
fn a_gateway_is_served_by_both_until_its_service_says_that_it_is_handed_over() {
    let mut store = both();
    let mut shared = Compiler::new(with(SHARED));
    let mut alone = Compiler::new(with(own()));
    // It was shared until now.
    for before in ["", "narthex.dev/data-plane: taking"] {
        add(&mut store, &service(before));
        let compiled = shared.compile(&store, NOW);
        assert_eq!(served(&compiled), (vec!["all", "own"], vec!["all", "own"]));
        let own = compiled.gateways.iter().find(|plan| &*plan.name == "own");
        assert_eq!(own.map(|plan| plan.provider), Some(Provider::UsForNow));
        assert_eq!(compiled.dedicated.len(), 1);
        let compiled = alone.compile(&store, NOW);
        assert_eq!(served(&compiled), (vec!["own"], vec![]));
        assert_eq!(compiled.gateways[0].ports[0].target, 20007);
    }
    add(&mut store, &service("narthex.dev/data-plane: dedicated"));
    assert_eq!(
        served(&shared.compile(&store, NOW)),
        (vec!["all"], vec!["all"])
    );
    assert_eq!(
        served(&alone.compile(&store, NOW)),
        (vec!["own"], vec!["own"])
    );
    // And back.
    add(&mut store, &parameters("plane", "data-plane: shared"));
    let compiled = shared.compile(&store, NOW);
    assert_eq!(served(&compiled), (vec!["all", "own"], vec!["all", "own"]));
    assert!(compiled.dedicated.is_empty());
    assert_eq!(compiled.gateways[1].provider, Provider::Us);
    let compiled = alone.compile(&store, NOW);
    assert_eq!(served(&compiled), (vec!["own"], vec![]));
    assert_eq!(compiled.gateways[0].provider, Provider::Other);
}

#[test]
fn wrong_parameters_are_said_by_one_and_change_nothing_of_what_is_served() {
    let mut store = both();
    add(&mut store, &service("narthex.dev/data-plane: dedicated"));
    add(
        &mut store,
        &parameters("plane", "data-plane: dedicated, replicas: none"),
    );
    let shared = Compiler::new(with(SHARED)).compile(&store, NOW);
    let (reason, message) = accepted(&shared, Kind::Gateway, "own");
    assert_eq!(reason, "InvalidParameters");
    assert!(
        message.contains("default/plane") && message.contains("replicas"),
        "{message}"
    );
    assert!(shared.dedicated.is_empty());
    let alone = Compiler::new(with(own())).compile(&store, NOW);
    assert_eq!(served(&alone), (vec!["own"], vec![]));
    assert_eq!(alone.gateways[0].provider, Provider::Us);
}

#[test]
fn where_none_can_be_made_the_value_to_set_is_named() {
    let scope = GatewayScope::Shared { dedicated: false };
    let compiled = Compiler::new(with(scope)).compile(&both(), NOW);
    let (reason, message) = accepted(&compiled, Kind::Gateway, "own");
    assert_eq!(reason, "InvalidParameters");
    assert!(
        message.contains("gatewayAPI.dedicated.enabled"),
        "{message}"
    );
}

#[test]
fn without_a_cluster_a_data_plane_of_its_own_means_nothing_and_that_is_said() {
    let store = store(&format!(
        "{CLASS}{}{}",
        with_parameters("own", "plane"),
        parameters("plane", "data-plane: dedicated"),
    ));
    let compiled = Compiler::new(options()).compile(&store, NOW);
    assert_eq!(accepted(&compiled, Kind::Gateway, "own").0, "Accepted");
    assert!(compiled.snapshot.listener(Entrance::tcp(80)).is_some());
    let mut problems = compiled.report.problems();
    let problem = problems.find(|it| it.severity == Severity::Warning);
    let problem = problem.expect("a warning");
    assert!(problem.message.contains("without a cluster"), "{problem:?}");
}

#[test]
fn the_parameters_of_a_class_are_those_of_its_gateways_and_wrong_ones_refuse_it() {
    let class = "spec: {controllerName: narthex.dev/gateway, parametersRef: {group: '', kind: \
                 ConfigMap, name: plane, namespace: default}}";
    let of_class = CLASS.replacen("spec: {controllerName: narthex.dev/gateway}", class, 1);
    let mut store = store(&format!(
        "{of_class}{}{}",
        gateway("own", LISTENERS),
        with_parameters("all", "mine"),
    ));
    let mut compiler = Compiler::new(with(SHARED));
    let compiled = compiler.compile(&store, NOW);
    assert!(compiled.references.contains(&key(Kind::ConfigMap, "plane")));
    let conditions = conditions(&compiled, Kind::GatewayClass, "narthex");
    assert!(
        conditions[0]
            .message
            .contains("there is no ConfigMap default/plane")
    );
    assert!(compiled.gateways.is_empty());
    add(&mut store, &parameters("plane", "data-plane: dedicated"));
    add(&mut store, &parameters("mine", "data-plane: shared"));
    let compiled = compiler.compile(&store, NOW);
    assert_eq!(
        accepted(&compiled, Kind::GatewayClass, "narthex").0,
        "Accepted"
    );
    assert_eq!(served(&compiled), (vec!["all"], vec!["all"]));
    assert_eq!(&*compiled.dedicated[0].gateway, "own");
    let without = "parametersRef: {group: example.com, kind: Plane, name: plane}}";
    let at = of_class.find("parametersRef").expect("there");
    let end = of_class[at..].find("}}").expect("there") + at + 2;
    let other = format!("{}{without}{}", &of_class[..at], &of_class[end..]);
    add(&mut store, &other);
    let compiled = compiler.compile(&store, NOW);
    let (reason, message) = accepted(&compiled, Kind::GatewayClass, "narthex");
    assert_eq!(reason, "InvalidParameters");
    assert!(message.contains("example.com"), "{message}");
}
