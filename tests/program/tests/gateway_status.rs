//! Gateway API's status without a cluster, in `check` and in `/api/objects`; and `explain` of routes.

use std::net::TcpListener;

use program_tests::gateway::{gateway, route};
use program_tests::program::Ended;
use program_tests::{Backend, Folder, Narthex, docs, ports, run, services, until};
use serde_json::Value;

/// A Gateway `gw` with a listener and one that has no certificate, a good route, and one that refers
/// to nothing and to no listener.
struct World {
    folder: Folder,
    port: u16,
    web: Backend,
}

fn world() -> World {
    let port = ports::free();
    let web = Backend::named("web");
    let listeners = [
        format!("{{name: http, port: {port}, protocol: HTTP}}"),
        format!(
            "{{name: https, port: {}, protocol: HTTPS, tls: {{certificateRefs: [{{name: none}}]}}}}",
            ports::free()
        ),
    ];
    let mut documents = vec![
        gateway("gw", &listeners),
        route(
            "HTTPRoute",
            "good",
            "parentRefs: [{name: gw, sectionName: http}]\n  hostnames: [a.example]",
            &["{name: all, backendRefs: [{name: web, port: 80}]}"],
        ),
        route(
            "HTTPRoute",
            "bad",
            "parentRefs: [{name: gw, sectionName: http}, {name: gw, sectionName: none}]\n  \
             hostnames: [b.example]",
            &["{backendRefs: [{name: missing, port: 80}]}"],
        ),
    ];
    documents.extend(services(&[("web", &web)]));
    let folder = Folder::new();
    folder.write("site.yaml", &docs(&documents));
    World { folder, port, web }
}

fn check(folder: &Folder, more: &[&str]) -> Ended {
    let path = folder.path().display().to_string();
    run(&[&["check", &path], more].concat())
}

fn checked_objects(folder: &Folder) -> Vec<Value> {
    let ended = check(folder, &["--output=json"]);
    let checked: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    checked["objects"].as_array().expect("objects").clone()
}

fn served(narthex: &Narthex, query: &str) -> Value {
    let answer = narthex.admin_get(&format!("/api/objects{query}"));
    let (status, text) = answer.expect("an answer");
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

fn items(answer: &Value) -> Vec<Value> {
    answer["items"].as_array().expect("items").clone()
}

fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut objects = objects.iter();
    let found = objects.find(|it| it["kind"] == kind && it["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// `True Accepted`, of a condition in a list.
fn condition(of: &Value, name: &str) -> String {
    let conditions = of["conditions"].as_array().expect("conditions");
    let found = conditions.iter().find(|it| it["type"] == name);
    let found = found.unwrap_or_else(|| panic!("no {name} in {of}"));
    let text = |name: &str| found[name].as_str().unwrap_or_default();
    format!("{} {}", text("status"), text("reason"))
}

#[test]
fn check_shows_each_object_with_what_is_wrong_first() {
    let world = world();
    let ended = check(&world.folder, &[]);
    assert_eq!(ended.code, Some(1));
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let errors = lines.iter().filter(|line| line.contains(": error: "));
    assert_eq!(errors.count(), 3, "each once: {}", ended.said());
    let place = |what: &str| {
        let found = lines.iter().position(|line| line.contains(what));
        found.unwrap_or_else(|| panic!("no {what:?} in {}", ended.said()))
    };
    let good = place("HTTPRoute default/good at Gateway gw, listener http: Accepted, ResolvedRefs");
    assert!(place("HTTPRoute default/bad") < good);
    let one = "  at Gateway gw, listener http: Accepted, not ResolvedRefs (BackendNotFound: there is no \
               Service default/missing)";
    assert_eq!(lines[place("  at Gateway gw, listener http")], one);
    place("  at Gateway gw, listener none: not Accepted (NoMatchingParent: ");
    place("  listener http: 2 routes (HTTPRoute, GRPCRoute): Accepted, Programmed, ResolvedRefs");
    place("  listener https: 0 routes (HTTPRoute, GRPCRoute): Accepted, not Programmed (Invalid: ");
    assert!(!ended.stdout.contains('\x1b'), "colours are for terminals");
}

#[test]
fn what_check_and_the_api_say_has_the_shape_of_a_status() {
    let world = world();
    let narthex = Narthex::on(&world.folder).start();
    let answer = served(&narthex, "");
    assert_eq!(answer["remaining"], 0);
    for objects in [checked_objects(&world.folder), items(&answer)] {
        let gateway = named(&objects, "Gateway", "gw");
        assert_eq!(gateway["apiVersion"], "gateway.networking.k8s.io/v1");
        assert_eq!(gateway["metadata"]["namespace"], "default");
        let status = &gateway["status"];
        assert_eq!(condition(status, "Accepted"), "True Accepted");
        let http = &status["listeners"][0];
        assert_eq!(
            (&http["name"], &http["attachedRoutes"]),
            (&"http".into(), &2.into())
        );
        assert_eq!(http["supportedKinds"][0]["kind"], "HTTPRoute");
        assert_eq!(condition(http, "Programmed"), "True Programmed");
        let https = &status["listeners"][1];
        assert_eq!(condition(https, "Programmed"), "False Invalid");
        let time = status["conditions"][0]["lastTransitionTime"].as_str();
        assert!(time.is_some_and(|time| time.len() == 20 && time.ends_with('Z')));
        let class = named(&objects, "GatewayClass", "narthex-gw");
        let features = class["status"]["supportedFeatures"].as_array();
        assert!(features.is_some_and(|features| features.len() > 40));
        assert!(class["metadata"].get("namespace").is_none());
        let bad = &named(&objects, "HTTPRoute", "bad")["status"]["parents"];
        assert_eq!(condition(&bad[0], "ResolvedRefs"), "False BackendNotFound");
        assert_eq!(condition(&bad[1], "Accepted"), "False NoMatchingParent");
        assert_eq!(bad[1]["parentRef"]["sectionName"], "none");
        assert_eq!(bad[1]["controllerName"], "narthex.dev/gateway");
    }
}

#[test]
fn a_condition_says_since_when_it_is_so() {
    let world = world();
    let narthex = Narthex::on(&world.folder).start();
    let since = |name: &str, object: &Value| {
        let conditions = object["status"]["parents"][0]["conditions"]
            .as_array()
            .cloned();
        let mut conditions = conditions.into_iter().flatten();
        let found = conditions
            .find(|it| it["type"] == name)
            .expect("a condition");
        found["lastTransitionTime"]
            .as_str()
            .expect("a time")
            .to_owned()
    };
    let bad = || {
        named(
            &items(&served(&narthex, "?kind=HTTPRoute&name=bad")),
            "HTTPRoute",
            "bad",
        )
        .clone()
    };
    let before = bad();
    // The times of the API have whole seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    world.folder.write(
        "missing.yaml",
        &services(&[("missing", &world.web)]).join("---\n"),
    );
    until("its Service is there", || {
        condition(&bad()["status"]["parents"][0], "ResolvedRefs") == "True ResolvedRefs"
    });
    let after = bad();
    assert_eq!(since("Accepted", &before), since("Accepted", &after));
    assert!(since("ResolvedRefs", &before) < since("ResolvedRefs", &after));
}

#[test]
fn objects_are_told_by_page_and_by_name() {
    let world = world();
    let narthex = Narthex::on(&world.folder).start();
    let all = items(&served(&narthex, ""));
    let mut found = Vec::new();
    let mut query = "?limit=1".to_owned();
    loop {
        let page = served(&narthex, &query);
        assert_eq!(items(&page).len(), 1);
        found.extend(items(&page));
        assert_eq!(page["remaining"], all.len() - found.len());
        let Some(next) = page["next"].as_str() else {
            break;
        };
        query = format!("?limit=1&after={next}");
    }
    assert_eq!(found, all);
    let routes = items(&served(&narthex, "?kind=HTTPRoute&namespace=default"));
    assert_eq!(routes.len(), 2);
    assert!(items(&served(&narthex, "?namespace=other")).is_empty());
    for wrong in ["kind=Teapot", "kind=Service", "after=x", "limit=many"] {
        let status = narthex.admin_status(&format!("/api/objects?{wrong}"));
        assert_eq!(status, Some(400), "{wrong}");
    }
}

#[test]
fn a_port_that_cannot_be_opened_is_not_programmed() {
    let taken = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let listeners = [
        format!("{{name: taken, port: {port}, protocol: HTTP}}"),
        format!("{{name: free, port: {}, protocol: HTTP}}", ports::free()),
    ];
    let folder = Folder::of(&[gateway("gw", &listeners)]);
    let narthex = Narthex::on(&folder).start();
    let answer = served(&narthex, "?kind=Gateway");
    let status = &answer["items"][0]["status"];
    assert_eq!(condition(status, "Accepted"), "True ListenersNotValid");
    let [taken, free] = [0, 1].map(|index| &status["listeners"][index]);
    assert_eq!(condition(taken, "Accepted"), "False PortUnavailable");
    assert_eq!(condition(taken, "Programmed"), "False Pending");
    assert_eq!(condition(free, "Programmed"), "True Programmed");
}

impl World {
    fn explain(&self, url: &str) -> Ended {
        run(&["explain", &self.folder.path().display().to_string(), url])
    }
}

#[test]
fn explain_names_gateway_listener_route_and_rule() {
    let world = world();
    let url = format!("http://a.example:{}/x", world.port);
    let ended = world.explain(&url);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let endpoint = world.web.address().to_string();
    for words in [
        &*format!(
            "listener     http of Gateway default/gw, port {}, http",
            world.port
        ),
        "HTTPRoute default/good, spec.rules[0] (all), ",
        "site.yaml:",
        "default/web:80",
        &endpoint,
    ] {
        assert!(
            ended.stdout.contains(words),
            "{words:?} is not in {}",
            ended.said()
        );
    }
    let narthex = Narthex::on(&world.folder).start();
    let (status, live) = narthex
        .admin_get(&format!("/api/explain?url={url}"))
        .expect("an answer");
    assert_eq!(status, 200);
    let live: Value = serde_json::from_str(&live).expect("JSON");
    assert_eq!(live["listener"]["gateway"], "default/gw");
    assert_eq!(live["listener"]["name"], "http");
    assert_eq!(live["rule"]["kind"], "HTTPRoute");
    assert_eq!(live["rule"]["route"], "default/good");
    assert_eq!(live["answered"], true);
    let (_, wrong) = narthex
        .admin_get(&format!(
            "/api/explain?url=http://b.example:{}/",
            world.port
        ))
        .expect("an answer");
    let wrong: Value = serde_json::from_str(&wrong).expect("JSON");
    assert_eq!(
        (&wrong["status"], &wrong["rule"]["route"]),
        (&500.into(), &"default/bad".into())
    );
}

#[test]
fn explain_tells_gateways_with_the_same_port_apart() {
    let port = ports::free();
    let listener = format!("{{name: http, port: {port}, protocol: HTTP}}");
    let on = |name: &str, address: &str| {
        let addresses =
            format!("spec: {{addresses: [{{type: IPAddress, value: {address}}}], gatewayClassName");
        gateway(name, std::slice::from_ref(&listener))
            .replace("spec: {gatewayClassName", &addresses)
    };
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let at = |kind: &str, name: &str, host: &str| {
        let more = format!("parentRefs: [{{name: {name}}}]\n  hostnames: [{host}]");
        let rule = format!("{{backendRefs: [{{name: {name}, port: 80}}]}}");
        route(kind, name, &more, &[&rule])
    };
    let mut documents = vec![
        on("one", "127.0.0.1"),
        on("two", "127.0.0.2"),
        at("HTTPRoute", "one", "one.example"),
        at("GRPCRoute", "two", "two.example"),
        format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {{name: more}}
spec:
  parentRef: {{name: two}}
  listeners: [{{name: extra, port: {port}, protocol: HTTP, hostname: '*.set.example'}}]
"
        ),
        route(
            "HTTPRoute",
            "set",
            "parentRefs: [{name: more, kind: ListenerSet}]",
            &["{backendRefs: [{name: two, port: 80}]}"],
        ),
    ];
    // Whose listeners may be added is the Gateway's to say.
    documents[1] = documents[1].replace(
        "gatewayClassName: narthex-two",
        "gatewayClassName: narthex-two, allowedListeners: {namespaces: {from: Same}}",
    );
    documents.extend(services(&[("one", &one), ("two", &two)]));
    let folder = Folder::new();
    folder.write("site.yaml", &docs(&documents));
    let world = World {
        folder,
        port,
        web: one,
    };
    for (host, listener, route) in [
        (
            "one.example",
            "http of Gateway default/one",
            "HTTPRoute default/one",
        ),
        (
            "two.example",
            "http of Gateway default/two",
            "GRPCRoute default/two",
        ),
        (
            "x.set.example",
            "extra in ListenerSet default/more of Gateway default/two",
            "HTTPRoute default/set",
        ),
    ] {
        let ended = world.explain(&format!("http://{host}:{port}/"));
        assert_eq!(ended.code, Some(0), "{}", ended.said());
        for words in [listener, route] {
            assert!(
                ended.stdout.contains(words),
                "{words:?} is not in {}",
                ended.said()
            );
        }
    }
}
