//! What the objects of Gateway API are told of themselves, and by whom.

use std::thread::sleep;
use std::time::Duration;

use cluster_tests::ingress::service;
use cluster_tests::{Channel, Cluster, Inside, condition, wait};
use serde_json::Value;

/// Long enough for a controller that would write again to do so.
const QUIET: Duration = Duration::from_secs(4);

const CONTROLLER: &str = "narthex.dev/gateway";

/// Where Narthex is, beside the pods.
const NODE: &str = "10.244.0.1";

/// An address of the rig's load balancers, and one that none of them can give (RFC 5737).
const USABLE: &str = "10.244.255.251";
const UNUSABLE: &str = "192.0.2.1";

/// A namespace with a Service, a class, and Narthex that serves it alone, with an election of its
/// own.
fn prepare(namespace: &str) -> (&'static Cluster, Inside<'static>) {
    static INSTALLED: std::sync::Once = std::sync::Once::new();
    let cluster = Cluster::shared();
    INSTALLED.call_once(|| cluster.install_gateway_api(Channel::Experimental));
    cluster.namespace(namespace);
    cluster.apply(&service(namespace));
    let controller = format!("{CONTROLLER}-{namespace}");
    cluster.apply(&class(namespace, &controller));
    let range = match namespace {
        "one" => "20000-20999",
        "others" => "21000-21999",
        "many" => "22000-22999",
        "static" => "23000-23999",
        "explained" => "25000-25999",
        _ => "24000-24999",
    };
    let narthex = cluster
        .serve()
        .args(&["--watch-namespace", namespace])
        .args(&["--pod-namespace", namespace])
        .args(&["--election-id", namespace])
        .args(&["--gateway-controller-name", &controller])
        .args(&["--gateway-port-range", range])
        .args(&["--publish-status-address", NODE])
        .start();
    wait::until("it leads", || narthex.leads());
    (cluster, narthex)
}

fn class(name: &str, controller: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: {name}}}
spec: {{controllerName: {controller}}}
---"
    )
}

fn gateway(namespace: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web, namespace: {namespace}}}
spec:
  gatewayClassName: {namespace}
  listeners: [{{name: http, port: 80, protocol: HTTP}}]
---"
    )
}

fn route(namespace: &str, name: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  parentRefs: [{{name: web}}]
  hostnames: [{name}.example.com]
  rules: [{{backendRefs: [{{name: web, port: 80}}]}}]
---"
    )
}

fn parents(route: &Value) -> &[Value] {
    let parents = route["status"]["parents"].as_array();
    parents.map(Vec::as_slice).unwrap_or_default()
}

fn accepted(route: &Value) -> bool {
    let mut parents = parents(route).iter();
    parents.any(|it| condition(&it["conditions"], "Accepted") == "True Accepted")
}

/// Whether a Gateway is programmed, with this reason, as is its only listener.
fn is_programmed(gateway: &Value, expected: &str) -> bool {
    let generation = &gateway["metadata"]["generation"];
    let conditions = &gateway["status"]["conditions"];
    let mut all = conditions.as_array().into_iter().flatten();
    all.all(|it| it["observedGeneration"] == *generation)
        && condition(conditions, "Programmed") == expected
}

fn patch_status(cluster: &Cluster, namespace: &str, what: &str, status: &str) {
    let patch = [
        "-n",
        namespace,
        "patch",
        what,
        "--subresource=status",
        "--type=merge",
        "-p",
        status,
    ];
    cluster.kubectl(&patch);
}

#[test]
fn a_class_a_gateway_and_a_route_are_accepted_each_with_its_generation() {
    let (cluster, narthex) = prepare("one");
    let class = cluster.until(&["gatewayclass/one"], |it| {
        condition(&it["status"]["conditions"], "Accepted") == "True Accepted"
    });
    let features = class["status"]["supportedFeatures"].as_array();
    assert!(features.is_some_and(|it| it.len() > 40), "{class:#}");
    cluster.apply(&(gateway("one") + &route("one", "shop")));
    let gateway = cluster.until(&["-n", "one", "gateway/web"], |it| {
        is_programmed(it, "True Programmed") && it["status"]["listeners"][0]["attachedRoutes"] == 1
    });
    assert_eq!(gateway["status"]["addresses"][0]["type"], "IPAddress");
    let listener = &gateway["status"]["listeners"][0];
    let programmed = condition(&listener["conditions"], "Programmed");
    assert_eq!(programmed, "True Programmed", "{gateway:#}");
    assert_eq!(
        listener["supportedKinds"][0]["kind"], "HTTPRoute",
        "{gateway:#}"
    );
    assert_eq!(
        condition(&listener["conditions"], "Conflicted"),
        "False NoConflicts"
    );
    let route = cluster.until(&["-n", "one", "httproute/shop"], accepted);
    let parent = &parents(&route)[0];
    assert_eq!(parent["controllerName"], format!("{CONTROLLER}-one"));
    assert_eq!(
        condition(&parent["conditions"], "ResolvedRefs"),
        "True ResolvedRefs"
    );
    assert_eq!(parent["conditions"][0]["observedGeneration"], 1);
    sleep(QUIET);
    let later = cluster
        .get(&["-n", "one", "httproute/shop"])
        .expect("there");
    let version = |it: &Value| it["metadata"]["resourceVersion"].clone();
    assert_eq!(version(&route), version(&later), "{}", narthex.log());

    let missing = r#"[{"op":"replace","path":"/spec/rules/0/backendRefs/0/name","value":"no"}]"#;
    let patch = [
        "-n",
        "one",
        "patch",
        "httproute/shop",
        "--type=json",
        "-p",
        missing,
    ];
    cluster.kubectl(&patch);
    let route = cluster.until(&["-n", "one", "httproute/shop"], |it| {
        let conditions = &parents(it)[0]["conditions"];
        condition(conditions, "ResolvedRefs") == "False BackendNotFound"
    });
    let conditions = &parents(&route)[0]["conditions"];
    assert_eq!(conditions[0]["observedGeneration"], 2, "{route:#}");
}

#[test]
fn what_another_controller_says_of_a_route_stays_and_ours_goes_with_its_gateway() {
    let (cluster, _narthex) = prepare("others");
    cluster.apply(&(gateway("others") + &route("others", "shop")));
    cluster.until(&["-n", "others", "httproute/shop"], accepted);
    let route = cluster
        .get(&["-n", "others", "httproute/shop"])
        .expect("there");
    let mut both = parents(&route).to_vec();
    let mut theirs = both[0].clone();
    theirs["controllerName"] = "example.com/other".into();
    both.insert(0, theirs.clone());
    let status = serde_json::json!({"status": {"parents": both}}).to_string();
    patch_status(cluster, "others", "httproute/shop", &status);
    // Ours has something new to say.
    let other = r#"{"spec":{"hostnames":["other.example.com"]}}"#;
    let patch = [
        "-n",
        "others",
        "patch",
        "httproute/shop",
        "--type=merge",
        "-p",
        other,
    ];
    cluster.kubectl(&patch);
    let route = cluster.until(&["-n", "others", "httproute/shop"], |it| {
        parents(it)
            .get(1)
            .is_some_and(|it| it["conditions"][0]["observedGeneration"] == 2)
    });
    assert_eq!(parents(&route)[0], theirs);
    cluster.delete(&["-n", "others", "gateway/web"]);
    let route = cluster.until(&["-n", "others", "httproute/shop"], |it| {
        parents(it).len() == 1
    });
    assert_eq!(parents(&route)[0], theirs);
}

#[test]
fn many_routes_are_a_write_each_and_few_of_their_gateway() {
    const ROUTES: usize = 300;
    let (cluster, narthex) = prepare("many");
    cluster.apply(&gateway("many"));
    cluster.until(&["-n", "many", "gateway/web"], |it| {
        condition(&it["status"]["conditions"], "Accepted") == "True Accepted"
    });
    let of_kind = |kind: &str| narthex.status_writes(&format!("kind=\"{kind}\""));
    let before = of_kind("Gateway");
    let many: String = (0..ROUTES)
        .map(|index| route("many", &format!("shop-{index}")))
        .collect();
    cluster.apply(&many);
    cluster.until(&["-n", "many", "gateway/web"], |it| {
        it["status"]["listeners"][0]["attachedRoutes"] == ROUTES
    });
    wait::until("every route is written", || {
        of_kind("HTTPRoute") >= ROUTES as u64
    });
    sleep(QUIET);
    assert_eq!(of_kind("HTTPRoute"), ROUTES as u64, "{}", narthex.log());
    let writes = of_kind("Gateway") - before;
    assert!(writes <= 15, "{writes}");
    let all = cluster.get(&["-n", "many", "httproute"]).expect("routes");
    assert!(
        all["items"]
            .as_array()
            .expect("a list")
            .iter()
            .all(accepted)
    );
}

#[test]
fn a_gateway_is_programmed_with_the_addresses_that_it_asks_for_and_no_others() {
    let (cluster, _narthex) = prepare("static");
    let ask = |addresses: &str| {
        let with = format!("spec:\n  addresses: [{addresses}]");
        cluster.apply(&gateway("static").replacen("spec:", &with, 1));
    };
    let address = |value: &str| format!("{{type: IPAddress, value: {value}}}");
    ask(&format!("{}, {}", address(UNUSABLE), address(USABLE)));
    let web = ["-n", "static", "gateway/web"];
    cluster.until(&web, |it| is_programmed(it, "False AddressNotUsable"));
    ask(&address(USABLE));
    let gateway = cluster.until(&web, |it| is_programmed(it, "True Programmed"));
    let addresses = serde_json::json!([{"type": "IPAddress", "value": USABLE}]);
    assert_eq!(gateway["status"]["addresses"], addresses);
    ask("{type: IPAddress}");
    let gateway = cluster.until(&web, |it| is_programmed(it, "True Programmed"));
    let addresses = gateway["status"]["addresses"].as_array();
    assert_eq!(addresses.map(Vec::len), Some(1), "{gateway:#}");
}

#[test]
fn experimental_kinds_are_told_for_each_gateway_whose_routes_use_them() {
    const OBJECTS: &str = "
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {name: api, namespace: experiments}
spec:
  type: ExternalHostname
  port: {port: 443}
  externalHostname: {hostname: api.example.com}
  tls: {mode: ServerOnly, validation: {hostname: api.example.com, wellKnownCACertificates: System}}
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {name: retries, namespace: experiments}
spec:
  targetRefs: [{group: '', kind: Service, name: web}]
  retryConstraint: {budget: {percent: 10, interval: 10s}, minRetryRate: {count: 3, interval: 1s}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: outside, namespace: experiments}
spec:
  parentRefs: [{name: web}]
  hostnames: [outside.example.com]
  rules: [{backendRefs: [{group: gateway.networking.x-k8s.io, kind: XBackend, name: api}]}]
---";
    let (cluster, narthex) = prepare("experiments");
    let in_it = |what| ["-n", "experiments", what];
    cluster.apply(&(gateway("experiments") + OBJECTS + &route("experiments", "shop")));
    let backend = cluster.until(&in_it("xbackend/api"), accepted);
    let parent = &parents(&backend)[0];
    assert_eq!(parent["parentRef"]["name"], "web", "{backend:#}");
    let controller = format!("{CONTROLLER}-experiments");
    assert_eq!(parent["controllerName"], *controller, "{backend:#}");
    let policy = cluster.until(&in_it("xbackendtrafficpolicy/retries"), |it| {
        let ancestor = &it["status"]["ancestors"][0];
        condition(&ancestor["conditions"], "Accepted") == "True Accepted"
    });
    let ancestor = &policy["status"]["ancestors"][0]["ancestorRef"];
    assert_eq!(ancestor["name"], "web", "{policy:#}");
    let outside = in_it("httproute/outside");
    cluster.until(&outside, accepted);

    let odd = r#"{"spec": {"protocol": "MCP"}}"#;
    let patch = ["patch", "--type=merge", "-p", odd];
    cluster.kubectl(
        &[
            &in_it("xbackend/api")[..2],
            &patch[..1],
            &["xbackend/api"],
            &patch[1..],
        ]
        .concat(),
    );
    cluster.until(&outside, |it| {
        let conditions = &parents(it)[0]["conditions"];
        condition(conditions, "ResolvedRefs") == "False UnsupportedProtocol"
    });
    cluster.until(&in_it("xbackend/api"), |it| {
        let conditions = &parents(it)[0]["conditions"];
        condition(conditions, "Accepted") == "False UnsupportedProtocol"
    });
    cluster.kubectl(&["-n", "experiments", "delete", "httproute/outside"]);
    cluster.until(&in_it("xbackend/api"), |it| parents(it).is_empty());
    assert!(!narthex.log().contains("is refused"), "{}", narthex.log());
}

#[test]
fn a_replica_tells_of_the_gateways_that_it_serves_and_explains_their_ports() {
    let (cluster, narthex) = prepare("explained");
    cluster.apply(&(gateway("explained") + &route("explained", "shop")));
    let route = ["-n", "explained", "httproute/shop"];
    let written = cluster.until(&route, accepted);
    let ask = |path: &str| -> Value {
        let answer = narthex.admin(path).expect("an answer");
        serde_json::from_str(&answer.text()).expect("JSON")
    };
    let told = ask("/api/objects?kind=HTTPRoute&namespace=explained");
    let said_by = told["said_by"].as_str().unwrap_or_default();
    assert!(said_by.starts_with("this replica alone"), "{told:#}");
    let mut both = [&told["items"][0]["status"], &written["status"]].map(Clone::clone);
    for status in &mut both {
        let conditions = status["parents"][0]["conditions"].as_array_mut();
        for condition in conditions.expect("conditions") {
            condition["lastTransitionTime"] = Value::Null;
        }
    }
    assert_eq!(both[0], both[1]);

    // Port 80 is that of the Gateway's Service; here it is another one.
    let found = ask("/api/explain?url=http://shop.example.com/");
    let listener = &found["listener"];
    assert_eq!(listener["gateway"], "explained/web", "{found:#}");
    assert_eq!(
        (&listener["name"], &listener["public_port"]),
        (&"http".into(), &80.into())
    );
    let port = listener["port"].as_u64().expect("a port");
    assert!((25000..26000).contains(&port), "{found:#}");
    assert_eq!(found["rule"]["route"], "explained/shop", "{found:#}");
    let by_port = ask(&format!("/api/explain?url=http://shop.example.com:{port}/"));
    assert_eq!(by_port["listener"], *listener);
    let other = ask("/api/explain?url=http://nobody.example.com/");
    assert!(
        other["listener"]["gateway"].is_null(),
        "Ingress's: {other:#}"
    );
}
