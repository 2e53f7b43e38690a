//! From a Service to the sockets behind it.

use std::collections::HashSet;
use std::net::SocketAddr;

use program_tests::balancing::dead;
use program_tests::folder::{slice, slice_port};
use program_tests::{
    Backend, Folder, Ingress, Narthex, class, docs, serve, serve_with, service, service_on,
};

fn ingress() -> Ingress {
    Ingress::named("web").host("a.example").prefix("/", "web")
}

#[test]
fn ports_are_found_by_number_and_by_name() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let ingress = Ingress::named("web")
        .host("a.example")
        .prefix_to_number("/number/one", "web", 80)
        .prefix_to_number("/number/two", "web", 9000)
        .prefix_to_name("/name/one", "web", "http")
        .prefix_to_name("/name/two", "web", "other");
    let (narthex, _folder) = serve(&[
        service_on("default", "web", &[("http", 80), ("other", 9000)]),
        slice_port(
            "default",
            "web",
            "web-1",
            "http",
            one.address(),
            "ready: true",
        ),
        slice_port(
            "default",
            "web",
            "web-2",
            "other",
            two.address(),
            "ready: true",
        ),
        ingress.yaml(),
    ]);
    for (path, backend) in [
        ("/number/one", "one"),
        ("/number/two", "two"),
        ("/name/one", "one"),
        ("/name/two", "two"),
    ] {
        assert_eq!(narthex.backend("a.example", path), backend, "{path}");
    }
}

#[test]
fn requests_are_spread_over_all_ready_endpoints() {
    let backends = ["one", "two", "three"].map(Backend::named);
    let addresses = backends.each_ref().map(Backend::address);
    let (narthex, _folder) = serve(&[service("web", &addresses), ingress().yaml()]);
    let seen: HashSet<String> = (0..60).map(|_| narthex.backend("a.example", "/")).collect();
    assert_eq!(seen, ["one", "two", "three"].map(str::to_owned).into());
}

#[test]
fn an_endpoint_that_is_not_ready_gets_nothing() {
    let (ready, not) = (Backend::named("ready"), Backend::named("not"));
    let (narthex, _folder) = serve(&[
        service_on("default", "web", &[("http", 80)]),
        slice("default", "web", "web-1", ready.address(), "ready: true"),
        slice(
            "default",
            "web",
            "web-2",
            not.address(),
            "ready: false, serving: false",
        ),
        ingress().yaml(),
    ]);
    for _ in 0..20 {
        assert_eq!(narthex.backend("a.example", "/"), "ready");
    }
    assert_eq!(not.connections(), 0);
}

#[test]
fn an_endpoint_without_conditions_is_ready() {
    let web = Backend::named("web");
    let (narthex, _folder) = serve(&[
        service_on("default", "web", &[("http", 80)]),
        slice("default", "web", "web-1", web.address(), ""),
        ingress().yaml(),
    ]);
    assert_eq!(narthex.backend("a.example", "/"), "web");
}

#[test]
fn a_terminating_endpoint_serves_only_while_no_ready_one_is_left() {
    let (old, new) = (Backend::named("old"), Backend::named("new"));
    let terminating = "ready: false, serving: true, terminating: true";
    let (narthex, folder) = serve(&[
        service_on("default", "web", &[("http", 80)]),
        slice("default", "web", "web-1", old.address(), terminating),
        ingress().yaml(),
    ]);
    assert_eq!(narthex.backend("a.example", "/"), "old");
    folder.write(
        "new.yaml",
        &slice("default", "web", "web-2", new.address(), "ready: true"),
    );
    narthex.until_backend("a.example", "/", "new");
    for _ in 0..20 {
        assert_eq!(narthex.backend("a.example", "/"), "new");
    }
}

#[test]
fn no_ready_endpoint_is_a_plain_503_with_the_reason_in_the_log() {
    let (narthex, _folder) = serve(&[
        service_on("default", "web", &[("http", 80)]),
        ingress().yaml(),
    ]);
    let answer = narthex.get("a.example", "/x");
    assert_eq!(answer.status, 503);
    assert!(
        answer
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain"))
    );
    let line = narthex.access("/x");
    assert_eq!(line["status"], 503);
    assert!(
        line["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("endpoint")),
        "{line}"
    );
    assert_eq!(line["route"], "default/web");
}

#[test]
fn a_missing_service_is_503_and_named_in_the_log() {
    let (narthex, _folder) = serve(&[ingress().yaml()]);
    assert_eq!(narthex.get("a.example", "/x").status, 503);
    assert!(narthex.access("/x")["reason"].is_string());
    narthex.until_log("default/web");
}

#[test]
fn a_missing_service_port_is_503_and_its_neighbours_are_served() {
    let web = Backend::named("web");
    let ingress = Ingress::named("web")
        .host("a.example")
        .prefix_to_number("/bad", "web", 81)
        .prefix_to_name("/worse", "web", "grpc")
        .prefix("/", "web");
    let (narthex, _folder) = serve(&[service("web", &[web.address()]), ingress.yaml()]);
    assert_eq!(narthex.get("a.example", "/bad").status, 503);
    assert_eq!(narthex.get("a.example", "/worse").status, 503);
    assert_eq!(narthex.backend("a.example", "/good"), "web");
}

#[test]
fn a_service_of_another_namespace_is_not_reached() {
    let web = Backend::named("web");
    let (narthex, _folder) = serve(&[
        program_tests::service_in("other", "web", &[web.address()]),
        ingress().yaml(),
    ]);
    assert_eq!(narthex.get("a.example", "/").status, 503);
    assert_eq!(web.connections(), 0);
}

#[test]
fn the_older_endpoints_kind_is_understood() {
    let web = Backend::named("web");
    let endpoints = format!(
        "apiVersion: v1\nkind: Endpoints\nmetadata:\n  name: web\n  namespace: default\nsubsets:\n  \
         - addresses: [{{ip: \"127.0.0.1\"}}]\n    ports: [{{name: http, port: {}}}]\n",
        web.address().port()
    );
    let (narthex, _folder) = serve(&[
        service_on("default", "web", &[("http", 80)]),
        endpoints,
        ingress().yaml(),
    ]);
    assert_eq!(narthex.backend("a.example", "/"), "web");
}

#[test]
fn a_service_without_slices_takes_its_endpoints_from_the_command_line() {
    let web = Backend::named("web");
    let flag = format!("default/web={}", web.address());
    let (narthex, _folder) = serve_with(
        &[
            service_on("default", "web", &[("http", 80)]),
            ingress().yaml(),
        ],
        &["--endpoint", &flag],
    );
    assert_eq!(narthex.backend("a.example", "/"), "web");
}

#[test]
fn the_endpoint_flag_may_name_one_port_and_may_be_repeated() {
    let (one, two, third) = (
        Backend::named("one"),
        Backend::named("two"),
        Backend::named("third"),
    );
    let ingress = Ingress::named("web")
        .host("a.example")
        .prefix_to_name("/one", "web", "http")
        .prefix_to_name("/two", "web", "other");
    let (narthex, _folder) = serve_with(
        &[
            service_on("default", "web", &[("http", 80), ("other", 81)]),
            ingress.yaml(),
        ],
        &[
            &format!("--endpoint=default/web:http={}", one.address()),
            &format!("--endpoint=default/web:http={}", third.address()),
            &format!("--endpoint=default/web:81={}", two.address()),
        ],
    );
    let seen: HashSet<_> = (0..40)
        .map(|_| narthex.backend("a.example", "/one"))
        .collect();
    assert_eq!(seen, ["one", "third"].map(str::to_owned).into());
    assert_eq!(narthex.backend("a.example", "/two"), "two");
}

#[test]
fn an_annotation_gives_a_service_its_endpoints() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let annotation = format!(
        "  annotations:\n    narthex.dev/endpoints: \"{},{}\"\n",
        one.address(),
        two.address()
    );
    let service = service_on("default", "web", &[("http", 80)]).replacen(
        "  namespace: default\n",
        &format!("  namespace: default\n{annotation}"),
        1,
    );
    let (narthex, _folder) = serve(&[service, ingress().yaml()]);
    let seen: HashSet<_> = (0..40).map(|_| narthex.backend("a.example", "/")).collect();
    assert_eq!(seen, ["one", "two"].map(str::to_owned).into());
}

#[test]
fn an_ordinary_application_folder_works() {
    let web = Backend::named("web");
    let folder = Folder::new();
    folder.write(
        "deployment.yaml",
        "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx}]}
",
    );
    folder.write(
        "service.yaml",
        "apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
",
    );
    folder.write(
        "ingress.yaml",
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  ingressClassName: nginx
  rules:
    - host: a.example
      http:
        paths:
          - path: /
            pathType: Prefix
            backend: {service: {name: web, port: {number: 80}}}
",
    );
    let narthex = Narthex::on(&folder)
        .arg(format!("--endpoint=default/web={}", web.address()))
        .start();
    assert_eq!(narthex.backend("a.example", "/"), "web");
    narthex.until_log("Deployment");
    assert_eq!(
        narthex.log().matches("Deployment").count(),
        1,
        "named once:\n{}",
        narthex.log()
    );
    narthex.until_log("nginx");
}

#[test]
fn an_endpoint_that_refuses_connections_is_passed_over() {
    let web = Backend::named("web");
    let gone = dead();
    let at = [web.address(), gone.address()];
    let (narthex, _folder) = serve(&[service("web", &at), ingress().yaml()]);
    for _ in 0..20 {
        assert_eq!(narthex.backend("a.example", "/"), "web");
    }
}

fn external_name(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: web, namespace: default}}
spec:
  type: ExternalName
  externalName: {name}
  ports: [{{name: http, port: {port}}}]
"
    )
}

#[test]
fn an_external_name_on_loopback_is_refused() {
    let web = Backend::named("web");
    for name in ["localhost", "127.0.0.1"] {
        let (narthex, _folder) =
            serve(&[external_name(name, web.address().port()), ingress().yaml()]);
        let status = narthex.get("a.example", "/x").status;
        assert!(matches!(status, 502 | 503), "{name}: {status}");
        assert!(narthex.access("/x")["reason"].is_string());
    }
    assert_eq!(web.connections(), 0);
}

#[test]
fn a_flag_allows_external_names_on_loopback() {
    let web = Backend::named("web");
    let documents = [
        external_name("localhost", web.address().port()),
        ingress().yaml(),
    ];
    let (narthex, _folder) = serve_with(&documents, &["--allow-local-external-names"]);
    narthex.until_backend("a.example", "/", "web");
}

#[test]
fn an_external_name_never_reaches_metadata_services() {
    for name in ["169.254.169.254", "fd00:ec2::254"] {
        let (narthex, _folder) =
            serve(&[external_name(&format!("\"{name}\""), 80), ingress().yaml()]);
        let status = narthex.get("a.example", "/latest/meta-data").status;
        assert!(matches!(status, 502 | 503), "{name}: {status}");
    }
}

#[test]
fn an_endpoint_on_ipv6_is_served() {
    if !program_tests::ports::has_ipv6() {
        panic!("this machine has no IPv6 loopback, which these tests need");
    }
    let web = Backend::on("::1".parse().expect("an address"), "six");
    let (narthex, _folder) = serve(&[service("web", &[web.address()]), ingress().yaml()]);
    assert_eq!(narthex.backend("a.example", "/"), "six");
    let endpoint = narthex.access("/")["endpoint"].clone();
    assert_eq!(endpoint, format!("[::1]:{}", web.address().port()));
}

#[test]
fn a_changed_slice_moves_requests_to_the_new_endpoint() {
    let (old, new) = (Backend::named("old"), Backend::named("new"));
    let folder = Folder::of(&[
        class(),
        service_on("default", "web", &[("http", 80)]),
        ingress().yaml(),
    ]);
    let at = |address: SocketAddr| slice("default", "web", "web-1", address, "ready: true");
    folder.write("slice.yaml", &at(old.address()));
    let narthex = Narthex::on(&folder).start();
    assert_eq!(narthex.backend("a.example", "/"), "old");
    folder.write("slice.yaml", &docs(&[at(new.address())]));
    narthex.until_backend("a.example", "/", "new");
}
