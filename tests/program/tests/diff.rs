//! `narthex diff`: which requests two configurations answer differently, said before one takes the
//! place of the other.

use std::ffi::OsStr;

use program_tests::program::Ended;
use program_tests::{Folder, run};
use serde_json::Value;

/// An Ingress of ingress-nginx for `shop.example`, with some annotations, as YAML.
fn ingress(name: &str, annotations: &str, paths: &[(&str, &str)]) -> String {
    let paths: String = paths
        .iter()
        .map(|(path, service)| {
            format!(
                "      - {{path: {path}, pathType: Prefix, \
                 backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}\n"
            )
        })
        .collect();
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n  \
         annotations: {{{annotations}}}\nspec:\n  ingressClassName: nginx\n  rules:\n  \
         - host: shop.example\n    http:\n      paths:\n{paths}---\n"
    )
}

fn services() -> String {
    let one = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, \
             annotations: {{narthex.dev/endpoints: \"127.0.0.1:1\"}}}}\nspec: {{ports: [{{port: 80}}]}}\n---\n"
        )
    };
    ["web", "api", "next"].map(one).concat()
}

fn folder(text: &str) -> Folder {
    let folder = Folder::new();
    folder.write("site.yaml", &(services() + text));
    folder
}

fn diff(old: &Folder, new: &Folder, more: &[&str]) -> Ended {
    let mut command = vec![
        OsStr::new("diff"),
        old.path().as_os_str(),
        new.path().as_os_str(),
    ];
    command.extend(more.iter().map(OsStr::new));
    run(&command)
}

fn json(ended: &Ended) -> Value {
    let read = serde_json::from_str(&ended.stdout);
    read.unwrap_or_else(|error| panic!("{error}: {}", ended.said()))
}

#[test]
fn the_same_manifests_answer_the_same() {
    let text = ingress("shop", "", &[("/", "web"), ("/api", "api")]);
    let ended = diff(&folder(&text), &folder(&text), &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert!(
        ended.stdout.contains("all are answered the same"),
        "{}",
        ended.stdout
    );
}

#[test]
fn another_order_and_another_name_are_no_difference_to_clients() {
    let old = ingress("shop", "", &[("/", "web"), ("/api", "api")]);
    let new = ingress("a", "", &[("/api", "api")]) + &ingress("b", "", &[("/", "web")]);
    let ended = diff(&folder(&old), &folder(&new), &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
}

#[test]
fn routes_that_come_go_and_change_are_each_shown_with_a_request() {
    let old = ingress("shop", "", &[("/api", "api"), ("/old", "web")]);
    let new = ingress("shop", "", &[("/api", "next"), ("/new", "web")]);
    let ended = diff(&folder(&old), &folder(&new), &["--output", "json"]);
    assert_eq!(ended.code, Some(1), "{}", ended.said());
    let found = json(&ended);
    let changes = found["changes"].as_array().expect("a list");
    let of = |kind: &str, path: &str| {
        let example = format!("GET http://shop.example{path}");
        changes
            .iter()
            .find(|it| it["kind"] == kind && it["example"] == example.as_str())
            .unwrap_or_else(|| panic!("{kind} {path}: {found}"))
    };
    assert_eq!(of("added", "/new")["parts"][0]["before"], "404");
    assert_eq!(of("removed", "/old")["parts"][0]["after"], "404");
    let changed = of("changed", "/api");
    assert_eq!(changed["parts"][0]["part"], "answer");
    assert_eq!(changed["parts"][0]["before"], "default/api:80");
    assert_eq!(changed["parts"][0]["after"], "default/next:80");
    let text = diff(&folder(&old), &folder(&new), &[]).stdout;
    assert!(
        text.contains("changed: GET http://shop.example/api"),
        "{text}"
    );
    assert!(
        text.contains("answer: default/api:80 -> default/next:80"),
        "{text}"
    );
}

#[test]
fn a_rewrite_a_time_limit_and_a_canary_are_seen() {
    let plain = [("/", "web")];
    let old = folder(&ingress("shop", "", &plain));
    let part = |annotation: &str, more: &str| {
        let text = ingress("shop", annotation, &plain) + more;
        let ended = diff(&old, &folder(&text), &["--output", "json"]);
        assert_eq!(ended.code, Some(1), "{annotation}: {}", ended.said());
        let found = json(&ended);
        let changes = found["changes"].as_array().expect("a list").clone();
        let parts = changes
            .iter()
            .flat_map(|it| it["parts"].as_array().expect("a list").clone());
        let parts: Vec<String> = parts
            .map(|it| format!("{} {}", it["part"], it["after"]))
            .collect();
        parts.join("\n")
    };
    let of = |name: &str, value: &str| format!("nginx.ingress.kubernetes.io/{name}: \"{value}\"");
    let limit = part(&of("proxy-read-timeout", "7"), "");
    assert!(limit.contains("read 7s"), "{limit}");
    let host = part(&of("upstream-vhost", "inner.example"), "");
    assert!(host.contains("\"host\" \"inner.example\""), "{host}");
    let sent = part(&of("permanent-redirect", "https://other.example/x"), "");
    assert!(sent.contains("301 to https://other.example/x"), "{sent}");
    let canary = format!(
        "{}, {}",
        of("canary", "true"),
        of("canary-by-header", "x-next")
    );
    let canary = part("", &ingress("canary", &canary, &[("/", "next")]));
    assert!(
        canary.contains("\"answer\" \"default/next:80\""),
        "{canary}"
    );
}

#[test]
fn what_cannot_be_read_is_neither_same_nor_different() {
    let folder = folder("");
    let ended = run(&[
        OsStr::new("diff"),
        folder.path().as_os_str(),
        folder.path().join("none").as_os_str(),
    ]);
    assert_eq!(ended.code, Some(2), "{}", ended.said());
    assert!(ended.said().contains("none"), "{}", ended.said());
}

#[test]
fn a_log_is_answered_by_both() {
    let old = folder(&ingress("shop", "", &[("/", "web"), ("/api", "api")]));
    let new = folder(&ingress("shop", "", &[("/", "web"), ("/api", "next")]));
    let line = |path: &str, service: &str| {
        format!(
            "10.0.0.1 - - [31/Jan/2026:12:00:00 +0000] \"GET {path} HTTP/1.1\" 200 5 \"-\" \"curl\" \
             90 0.004 [default-{service}-80] [] 127.0.0.1:1 5 0.003 200 0123456789abcdef\n"
        )
    };
    let log = line("/", "web").repeat(3) + &line("/api/x?y=z", "api").repeat(2) + "Started\n";
    old.write("access.log", &log);
    let file = old.path().join("access.log");
    let flag = format!("--replay={}", file.display());
    let ended = diff(&old, &new, &[&flag, "--output=json"]);
    assert_eq!(ended.code, Some(1), "{}", ended.said());
    let found = json(&ended);
    let counts = serde_json::json!(
        {"lines": 6, "unread": 1, "unplaced": 0, "asked": 5, "equal": 3}
    );
    assert_eq!(found["counts"], counts);
    let change = &found["changes"][0];
    assert_eq!(change["requests"], 2);
    assert_eq!(
        change["example"],
        "GET http://shop.example/api/x?y=z (user-agent: curl)"
    );
    assert_eq!(diff(&old, &old, &[&flag]).code, Some(0));
}
