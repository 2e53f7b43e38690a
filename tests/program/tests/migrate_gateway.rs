//! `narthex migrate`: what Ingresses are in Gateway API, each host asked both ways; and what a log
//! says beside what would be answered.

use std::ffi::OsStr;
use std::fmt::Write as _;

use program_tests::program::Ended;
use program_tests::{Folder, run};
use serde_json::Value;

/// An Ingress of ingress-nginx with one host, and annotations without their prefix.
fn ingress(host: &str, path: &str, service: &str, annotations: &[(&str, &str)]) -> String {
    let mut said = String::new();
    for (name, value) in annotations {
        let _ = write!(said, "nginx.ingress.kubernetes.io/{name}: {value:?}, ");
    }
    let kind = if path.contains('(') {
        "ImplementationSpecific"
    } else {
        "Prefix"
    };
    let name = format!("{}-{service}", host.replace('.', "-").replace('*', "any"));
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n  \
         annotations: {{{said}}}\nspec:\n  ingressClassName: nginx\n  rules:\n  - host: \"{host}\"\n    \
         http:\n      paths:\n      - {{path: \"{path}\", pathType: {kind}, \
         backend: {{service: {{name: {service}, port: {{name: http}}}}}}}}\n---\n"
    )
}

fn with_tls(ingress: &str, host: &str) -> String {
    let tls = format!("spec:\n  tls: [{{hosts: [{host}], secretName: cert}}]\n");
    ingress.replace("spec:\n", &tls)
}

fn folder(text: &str) -> Folder {
    let service = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, \
             annotations: {{narthex.dev/endpoints: \"127.0.0.1:1\"}}}}\n\
             spec: {{ports: [{{port: 80, name: http}}]}}\n---\n"
        )
    };
    let folder = Folder::new();
    folder.write("site.yaml", &(["web", "api"].map(service).concat() + text));
    folder
}

fn migrate(folder: &Folder, more: &[&str]) -> Ended {
    let mut command = vec![OsStr::new("migrate"), folder.path().as_os_str()];
    command.extend(more.iter().map(OsStr::new));
    run(&command)
}

fn json(text: &str) -> Value {
    let ended = migrate(&folder(text), &["--output=json"]);
    let read = serde_json::from_str(&ended.stdout);
    read.unwrap_or_else(|error| panic!("{error}: {}", ended.said()))
}

fn host<'a>(found: &'a Value, name: &str) -> &'a Value {
    let hosts = found["gateway"]["hosts"].as_array().expect("a list");
    let found = hosts.iter().find(|it| it["host"] == name);
    found.unwrap_or_else(|| panic!("{name}: {hosts:?}"))
}

#[track_caller]
fn assert_equal(text: &str, name: &str) {
    let found = json(text);
    let host = host(&found, name);
    assert_eq!(host["verdict"], "equal", "{host:#}");
    assert!(found["gateway"]["asked"].as_u64() > Some(20), "{found:#}");
}

#[test]
fn plain_paths_a_canary_a_rewrite_of_all_and_another_host_are_equal() {
    let two = ingress("a.example", "/", "web", &[]) + &ingress("a.example", "/api/", "api", &[]);
    assert_equal(&two, "a.example");
    let canary = [
        ("canary", "true"),
        ("canary-by-header", "x-next"),
        ("canary-by-cookie", "next"),
        ("canary-weight", "20"),
    ];
    let canary = ingress("b.example", "/", "web", &[]) + &ingress("b.example", "/", "api", &canary);
    assert_equal(&canary, "b.example");
    let value = [
        ("canary", "true"),
        ("canary-by-header", "x-next"),
        ("canary-by-header-pattern", "^v[0-9]+$"),
    ];
    let value = ingress("b.example", "/", "web", &[]) + &ingress("b.example", "/", "api", &value);
    assert_equal(&value, "b.example");
    let inner = [("upstream-vhost", "inner.example"), ("enable-cors", "true")];
    assert_equal(&ingress("d.example", "/", "web", &inner), "d.example");
}

#[test]
fn a_redirect_to_https_is_a_route_of_its_own() {
    let text = with_tls(&ingress("a.example", "/", "web", &[]), "a.example");
    let found = json(&text);
    let host = host(&found, "a.example");
    assert_eq!(host["verdict"], "but-for", "{host:#}");
    assert_eq!(host["without"][0]["what"], "ssl-redirect");
    assert_eq!(host["differences"], serde_json::json!([]));
    let kept = [("preserve-trailing-slash", "true")];
    let text = with_tls(&ingress("a.example", "/", "web", &kept), "a.example");
    let found = json(&text);
    let whats = &host_whats(&found, "a.example");
    assert!(!whats.contains(&"ssl-redirect".to_owned()), "{whats:?}");
}

fn host_whats(found: &Value, name: &str) -> Vec<String> {
    let without = host(found, name)["without"].as_array().expect("a list");
    let whats = without
        .iter()
        .map(|it| it["what"].as_str().unwrap_or_default().to_owned());
    whats.collect()
}

#[test]
fn what_has_no_equivalent_is_named_with_its_reason() {
    let annotations = [
        ("limit-rps", "5"),
        ("auth-type", "basic"),
        ("auth-secret", "users"),
        ("whitelist-source-range", "10.0.0.0/8"),
        ("proxy-read-timeout", "120"),
        ("custom-http-errors", "404"),
    ];
    let found = json(&ingress("a.example", "/", "web", &annotations));
    let whats = host_whats(&found, "a.example");
    for (name, _) in annotations
        .iter()
        .filter(|(name, _)| !name.starts_with("auth"))
    {
        assert!(whats.iter().any(|it| it == name), "{name} of {whats:?}");
    }
    let host = host(&found, "a.example");
    assert_ne!(host["verdict"], "equal");
    let why = host["without"][0]["why"].as_str().unwrap_or_default();
    assert!(!why.is_empty(), "{host:#}");
}

#[test]
fn a_host_that_answers_otherwise_is_not_called_equal_and_a_request_shows_it() {
    // In any case there, and in one here.
    let rewrite = [("rewrite-target", "/$2")];
    let found = json(&ingress("a.example", "/api(/|$)(.*)", "api", &rewrite));
    let rewritten = host(&found, "a.example");
    assert_eq!(rewritten["verdict"], "differs", "{rewritten:#}");
    let differences = rewritten["differences"].as_array().expect("a list");
    let examples: Vec<&str> = differences
        .iter()
        .filter_map(|it| it["example"].as_str())
        .collect();
    assert_eq!(examples, ["GET http://a.example/API"], "{rewritten:#}");
    // One label there, any number here.
    let found = json(&ingress("*.b.example", "/", "web", &[]));
    let wildcard = host(&found, "*.b.example");
    assert_eq!(wildcard["verdict"], "differs", "{wildcard:#}");
    let example = &wildcard["differences"][0]["example"];
    assert_eq!(example, "GET http://two.one.b.example/");
}

#[test]
fn what_is_written_is_accepted_and_answers() {
    let plain = ingress("a.example", "/", "web", &[]);
    let grpc = with_tls(
        &ingress("g.example", "/", "api", &[("backend-protocol", "GRPC")]),
        "g.example",
    );
    let mirror = [
        ("mirror-target", "http://api.default.svc$request_uri"),
        ("affinity", "cookie"),
        ("session-cookie-max-age", "172800"),
        ("proxy-next-upstream", "error http_502"),
        ("permanent-redirect-code", "308"),
    ];
    let mirror = ingress("m.example", "/", "web", &mirror);
    let folder = folder(&(plain + &grpc + &mirror));
    let out = folder.path().join("gateway");
    let flag = format!("--gateway-api={}", out.display());
    let ended = migrate(&folder, &[&flag]);
    assert!(
        ended
            .stdout
            .contains("a.example: equal (host-a-example.yaml)"),
        "{}",
        ended.said()
    );
    let written = |name: &str| {
        std::fs::read_to_string(out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    assert!(written("gateway.yaml").contains("kind: Gateway\n"));
    assert!(written("host-g-example.yaml").contains("kind: GRPCRoute\n"));
    let mirrored = written("host-m-example.yaml");
    for part in [
        "type: RequestMirror",
        "sessionPersistence:",
        "absoluteTimeout: 48h",
        "attempts: 2",
        "- 502",
    ] {
        assert!(mirrored.contains(part), "{part} of {mirrored}");
    }
    // Beside the Services, without the Ingresses.
    let services = std::fs::read_to_string(folder.path().join("site.yaml")).expect("there");
    let services = services
        .split("apiVersion: networking")
        .next()
        .unwrap_or_default();
    let new = Folder::new();
    new.write("services.yaml", services);
    for name in ["gateway.yaml", "host-a-example.yaml", "host-m-example.yaml"] {
        new.write(name, &written(name));
    }
    let explained = run(&[
        OsStr::new("explain"),
        new.path().as_os_str(),
        OsStr::new("http://a.example/x"),
    ]);
    assert_eq!(explained.code, Some(0), "{}", explained.said());
    assert!(
        explained.stdout.contains("default/web:80"),
        "{}",
        explained.stdout
    );
}

#[test]
fn ingresses_without_their_services_are_asked_all_the_same() {
    let folder = Folder::new();
    folder.write("site.yaml", &ingress("a.example", "/", "nobody", &[]));
    let ended = migrate(&folder, &["--output=json"]);
    let found: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(host(&found, "a.example")["verdict"], "equal", "{found:#}");
    let general = found["gateway"]["general"].to_string();
    let said = "Service default/nobody is not there: its port http is taken for 80.";
    assert!(general.contains(said), "{general}");
}

#[test]
fn passthrough_is_a_route_of_tls() {
    let text = ingress("s.example", "/", "web", &[("ssl-passthrough", "true")]);
    let folder = folder(&text);
    let out = folder.path().join("gateway");
    let flag = format!("--gateway-api={}", out.display());
    let ended = migrate(&folder, &[&flag, "--enable-ssl-passthrough"]);
    let text = std::fs::read_to_string(out.join("host-s-example.yaml"));
    let text = text.unwrap_or_else(|error| panic!("{error}: {}", ended.said()));
    assert!(text.contains("kind: TLSRoute\n"), "{text}");
}

#[test]
fn a_log_beside_what_would_be_answered() {
    let text = ingress("a.example", "/", "web", &[]) + &ingress("a.example", "/api", "api", &[]);
    let folder = folder(&text);
    let line = |path: &str, status: u16, upstream: &str| {
        format!(
            "10.0.0.1 - - [31/Jan/2026:12:00:00 +0000] \"GET {path} HTTP/1.1\" {status} 5 \"-\" \
             \"curl\" 90 0.004 [{upstream}] [] 10.1.0.1:80 5 0.003 {status} 0123456789abcdef\n"
        )
    };
    let log = line("/", 200, "default-web-http").repeat(2)
        + &line("/api/x", 200, "default-api-http")
        + &line("/api/y", 200, "default-web-http").repeat(3);
    folder.write("access.log", &log);
    let file = folder.path().join("access.log");
    let flag = format!("--replay={}", file.display());
    let ended = migrate(&folder, &[&flag, "--output=json"]);
    let found: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let counts = &found["replay"]["counts"];
    assert_eq!(
        (&counts["asked"], &counts["equal"]),
        (&6.into(), &3.into()),
        "{counts}"
    );
    let differing = &found["replay"]["differing"][0];
    assert_eq!(differing["requests"], 3, "{differing}");
    assert_eq!(differing["logged"], "200 by default-web-http");
    assert_eq!(differing["answered"], "default/api:80");
    let page = migrate(&folder, &[&flag, "--output=html"]).stdout;
    assert!(page.contains("<h2>The log, asked again</h2>"), "{page}");
    assert!(
        page.contains("<details><summary>gateway.yaml</summary>"),
        "{page}"
    );
}
