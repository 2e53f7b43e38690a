//! `narthex check`: every problem with its place, and what would be right.

use std::ffi::OsStr;

use program_tests::folder::raw_secret;
use program_tests::program::Ended;
use program_tests::{Backend, Certificate, Folder, Ingress, class, docs, run, service, service_on};
use serde_json::Value;

fn check(folder: &Folder) -> Ended {
    run(&[OsStr::new("check"), folder.path().as_os_str()])
}

fn check_json(folder: &Folder) -> (Option<i32>, Vec<Value>) {
    let ended = run(&[
        OsStr::new("check"),
        folder.path().as_os_str(),
        OsStr::new("--output"),
        OsStr::new("json"),
    ]);
    let checked: Option<Value> = serde_json::from_str(&ended.stdout).ok();
    let problems = checked.and_then(|checked| checked["problems"].as_array().cloned());
    (
        ended.code,
        problems.unwrap_or_else(|| panic!("no JSON with problems: {}", ended.said())),
    )
}

/// A folder with a class, a served Service `web`, and one document `site.yaml`.
fn folder_with(document: &str) -> (Folder, Backend) {
    let web = Backend::named("web");
    let folder = Folder::new();
    folder.write(
        "base.yaml",
        &docs(&[class(), service("web", &[web.address()])]),
    );
    folder.write("site.yaml", document);
    (folder, web)
}

fn good() -> String {
    Ingress::named("web")
        .host("a.example")
        .prefix("/", "web")
        .yaml()
}

/// The place and severity of a line such as `/x/site.yaml:7: error: Ingress ns/name: …`.
#[track_caller]
fn assert_form(line: &str) {
    let (place, rest) = line
        .split_once(": ")
        .unwrap_or_else(|| panic!("no place in {line:?}"));
    let (file, number) = place
        .rsplit_once(':')
        .unwrap_or_else(|| panic!("no line in {line:?}"));
    assert!(
        !file.is_empty() && number.parse::<u32>().is_ok_and(|line| line > 0),
        "{line:?}"
    );
    assert!(
        rest.starts_with("error: ") || rest.starts_with("warning: "),
        "{line:?}"
    );
}

#[test]
fn a_good_folder_has_no_problem() {
    let (folder, _web) = folder_with(&good());
    let ended = check(&folder);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert!(!ended.stdout.contains("error: ") && !ended.stdout.contains("warning: "));
    let (code, problems) = check_json(&folder);
    assert_eq!((code, problems.len()), (Some(0), 0));
}

#[test]
fn a_problem_is_one_line_with_file_line_object_field_and_hint() {
    let bad = good().replace("pathType: Prefix", "pathType: Prefiks");
    let number = 1 + bad
        .lines()
        .position(|line| line.contains("Prefiks"))
        .expect("there");
    let (folder, _web) = folder_with(&bad);
    let ended = check(&folder);
    assert_eq!(ended.code, Some(1), "{}", ended.said());
    let line = ended.line_with("site.yaml");
    assert_form(line);
    assert!(
        line.contains(&format!("site.yaml:{number}: error: Ingress default/web: ")),
        "{line}"
    );
    assert!(
        line.contains("spec.rules[0].http.paths[0].pathType"),
        "{line}"
    );
    assert!(
        line.contains("Prefiks") && line.contains("Exact"),
        "what is wrong and right: {line}"
    );
}

#[test]
fn json_output_has_every_part_of_a_problem() {
    let (folder, _web) = folder_with(&good().replace("path: \"/\"", "path: \"no-slash\""));
    let (code, problems) = check_json(&folder);
    assert_eq!(code, Some(1));
    assert_eq!(problems.len(), 1, "{problems:?}");
    let problem = &problems[0];
    assert!(
        problem["file"]
            .as_str()
            .is_some_and(|file| file.ends_with("site.yaml")),
        "{problem}"
    );
    assert!(
        problem["line"].as_u64().is_some_and(|line| line > 1),
        "{problem}"
    );
    assert!(
        matches!(problem["severity"].as_str(), Some("error" | "warning")),
        "{problem}"
    );
    assert!(
        problem["object"]
            .as_str()
            .is_some_and(|name| name.contains("default/web")),
        "{problem}"
    );
    assert_eq!(problem["field"], "spec.rules[0].http.paths[0].path");
    assert!(
        problem["message"]
            .as_str()
            .is_some_and(|text| text.contains("no-slash")),
        "{problem}"
    );
    assert!(problem.get("hint").is_some(), "{problem}");
}

#[test]
fn a_warning_alone_exits_1_too() {
    let unknown = Ingress::named("web")
        .annotation("nginx.ingress.kubernetes.io/made-up", "x")
        .host("a.example")
        .prefix("/", "web");
    let (folder, _web) = folder_with(&unknown.yaml());
    let ended = check(&folder);
    assert_eq!(ended.code, Some(1), "{}", ended.said());
    let line = ended.line_with("made-up");
    assert_form(line);
    assert!(line.contains(": warning: "), "{line}");
}

/// Each is a document with one thing wrong; the words that its line must have.
#[test]
fn bad_input_of_every_kind_is_found() {
    let certificate = Certificate::of(&["a.example"]);
    let other = Certificate::of(&["a.example"]);
    let tls = Ingress::named("web")
        .tls(&["a.example"], "s")
        .host("a.example")
        .prefix("/", "web");
    let with_secret = |secret: String| docs(&[tls.yaml(), secret]);
    let conflict = |name: &str| {
        Ingress::named(name)
            .host("c.example")
            .prefix("/", "web")
            .yaml()
    };
    let cases: Vec<(&str, String, Vec<&str>)> = vec![
        ("broken YAML", "kind: [unclosed\n".into(), vec!["site.yaml:"]),
        ("a tab as indentation", "kind: Ingress\nmetadata:\n\tname: x\n".into(), vec!["site.yaml:3"]),
        ("a document that is a list", "- a\n- b\n".into(), vec!["site.yaml:1"]),
        ("a document that is a word", "hello\n".into(), vec!["site.yaml:1"]),
        ("no kind", "apiVersion: v1\nmetadata: {name: x}\n".into(), vec!["kind"]),
        ("no apiVersion", "kind: Service\nmetadata: {name: x}\n".into(), vec!["apiVersion"]),
        (
            "a retired version",
            good().replace("networking.k8s.io/v1", "networking.k8s.io/v1beta1"),
            vec!["v1beta1", "networking.k8s.io/v1"],
        ),
        ("no name", good().replace("  name: web\n  namespace", "  namespace"), vec!["metadata.name"]),
        ("a number as host", good().replace("\"a.example\"", "7"), vec!["host"]),
        (
            "a text as port",
            good().replace("name: http", "number: eighty"),
            vec!["spec.rules[0].http.paths[0].backend.service.port.number"],
        ),
        ("a port too large", good().replace("name: http", "number: 70000"), vec!["70000"]),
        ("a path without slash", good().replace("\"/\"", "\"x\""), vec!["paths[0].path"]),
        ("a path type without path", good().replace("            path: \"/\"\n", ""), vec!["path"]),
        ("no path type", good().replace("pathType: Prefix\n            path", "path"), vec!["pathType"]),
        ("a host with a port", good().replace("a.example", "a.example:80"), vec!["a.example:80"]),
        ("a host with a scheme", good().replace("a.example", "https://a.example"), vec!["host"]),
        ("a wildcard inside a host", good().replace("a.example", "a.*.example"), vec!["a.*.example"]),
        ("an address as host", good().replace("a.example", "10.0.0.1"), vec!["10.0.0.1"]),
        ("a missing Service", good().replace("name: web\n                port", "name: missing\n                port"), vec!["missing"]),
        ("a missing port name", good().replace("name: http", "name: grpc"), vec!["grpc", "http"]),
        ("a missing port number", good().replace("name: http", "number: 81"), vec!["81", "80"]),
        ("a missing Secret", tls.yaml(), vec!["default/s"]),
        (
            "a Secret that is no certificate",
            with_secret(raw_secret("s", "hello", "world")),
            vec!["Secret default/s", "tls.crt"],
        ),
        (
            "a key that does not fit",
            with_secret(raw_secret("s", &certificate.chain_pem, &other.key_pem)),
            vec!["Secret default/s", "private key"],
        ),
        (
            "an expired certificate",
            {
                let expired = Certificate::expired(&["a.example"]);
                with_secret(raw_secret("s", &expired.chain_pem, &expired.key_pem))
            },
            vec!["default/s", "expired"],
        ),
        (
            "a certificate for another name",
            {
                let wrong = Certificate::of(&["b.example"]);
                with_secret(raw_secret("s", &wrong.chain_pem, &wrong.key_pem))
            },
            vec!["a.example"],
        ),
        (
            "two Ingresses for one path",
            docs(&[conflict("one"), conflict("two")]),
            vec!["Ingress default/two", "default/one"],
        ),
        ("one object twice", docs(&[good(), good()]), vec!["default/web"]),
        (
            "a bad annotation value",
            Ingress::named("web")
                .annotation("nginx.ingress.kubernetes.io/ssl-redirect", "perhaps")
                .host("a.example")
                .prefix("/", "web")
                .yaml(),
            vec!["ssl-redirect", "perhaps"],
        ),
        (
            "a class that is not in the folder",
            Ingress::named("web").class("elsewhere").host("a.example").prefix("/", "web").yaml(),
            vec!["elsewhere"],
        ),
        (
            "an Ingress that says nothing",
            Ingress::named("empty").yaml(),
            vec!["default/empty"],
        ),
        (
            "an endpoint that is no address",
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: x\n  labels: \
             {kubernetes.io/service-name: web}\naddressType: IPv4\nports: [{name: http, port: 1}]\n\
             endpoints: [{addresses: [\"not-an-address\"]}]\n"
                .into(),
            vec!["not-an-address"],
        ),
    ];
    let mut missed = Vec::new();
    for (what, document, words) in cases {
        let (folder, _web) = folder_with(&document);
        let ended = check(&folder);
        let found = ended
            .stdout
            .lines()
            .any(|line| words.iter().all(|word| line.contains(word)));
        if ended.code != Some(1) || !found {
            missed.push(format!(
                "{what}: wants {words:?}, exit {:?}:\n{}",
                ended.code,
                ended.said()
            ));
        }
        for line in ended
            .stdout
            .lines()
            .filter(|line| line.contains("site.yaml"))
        {
            assert_form(line);
        }
    }
    assert!(
        missed.is_empty(),
        "{} missed:\n{}",
        missed.len(),
        missed.join("\n")
    );
}

#[test]
fn a_service_without_endpoints_gets_the_line_to_add() {
    let folder = Folder::of(&[
        class(),
        service_on("default", "web", &[("http", 80)]),
        good(),
    ]);
    let ended = check(&folder);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.said().contains("--endpoint default/web="),
        "{}",
        ended.said()
    );
    let given = run(&[
        OsStr::new("check"),
        folder.path().as_os_str(),
        OsStr::new("--endpoint=default/web=127.0.0.1:9"),
    ]);
    assert_eq!(given.code, Some(0), "{}", given.said());
}

#[test]
fn all_problems_are_told_in_one_run() {
    let (folder, _web) = folder_with(&docs(&[
        good().replace("pathType: Prefix", "pathType: Prefiks"),
        good()
            .replace("name: web\n  namespace", "name: other\n  namespace")
            .replace("\"/\"", "\"x\""),
        "kind: [unclosed\n".to_owned(),
    ]));
    folder.write("more.yaml", &good().replace("name: http", "number: eighty"));
    let ended = check(&folder);
    let lines = ended
        .stdout
        .lines()
        .filter(|line| line.contains(": error: "))
        .count();
    assert!(lines >= 4, "{lines}:\n{}", ended.said());
}

#[test]
fn lines_are_right_in_a_list_and_in_json() {
    let (folder, _web) = folder_with(&good());
    folder.write(
        "list.json",
        "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\n\
         {\"apiVersion\": \"v1\", \"kind\": \"Service\",\n\
          \"metadata\": {\"name\": \"j\"},\n\
          \"spec\": {\"ports\": [{\"port\":\n\
          \"eighty\"}]}}\n]}\n",
    );
    let ended = check(&folder);
    assert_eq!(ended.code, Some(1));
    let line = ended.line_with("list.json");
    assert_form(line);
    assert!(
        line.contains("Service default/j") && line.contains("spec.ports[0].port"),
        "{line}"
    );
}

#[test]
fn kinds_that_are_not_ours_are_no_problem() {
    let (folder, _web) = folder_with(&good());
    folder.write(
        "deployment.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n",
    );
    let ended = check(&folder);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
}

#[test]
fn an_ingress_of_another_controller_is_no_problem_of_ours() {
    let (folder, _web) = folder_with(&docs(&[
        good(),
        "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: other}\n\
         spec: {controller: traefik.io/ingress-controller}\n"
            .to_owned(),
        Ingress::named("theirs")
            .class("other")
            .host("t.example")
            .prefix("/", "nothing")
            .yaml(),
    ]));
    let ended = check(&folder);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
}

#[test]
fn a_missing_path_is_named() {
    let ended = run(&["check", "/nowhere/at/all"]);
    assert_ne!(ended.code, Some(0));
    assert!(ended.said().contains("/nowhere/at/all"), "{}", ended.said());
}

#[test]
fn an_empty_file_is_no_problem() {
    let (folder, _web) = folder_with(&good());
    folder.write("empty.yaml", "");
    folder.write("comments.yaml", "# nothing here\n---\n---\n# nor here\n");
    let ended = check(&folder);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
}
