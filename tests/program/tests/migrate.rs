//! `narthex migrate`: what becomes of ingress-nginx's manifests, said before anybody moves.

use std::ffi::OsStr;
use std::fmt::Write as _;

use program_tests::program::Ended;
use program_tests::{Folder, run};
use serde_json::Value;

/// An Ingress of ingress-nginx with one path, and annotations without their prefix.
fn ingress(name: &str, host: &str, path: &str, annotations: &[(&str, &str)]) -> String {
    let mut said = String::new();
    for (name, value) in annotations {
        let _ = write!(said, "\n    nginx.ingress.kubernetes.io/{name}: {value:?}");
    }
    let said = match said.as_str() {
        "" => " {}".to_owned(),
        _ => said,
    };
    format!(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {name}
  annotations:{said}
spec:
  ingressClassName: nginx
  rules:
  - host: {host}
    http:
      paths:
      - path: {path}
        pathType: Prefix
        backend: {{service: {{name: web, port: {{number: 80}}}}}}
---
"
    )
}

/// A dozen Ingresses, of which nine are as plain as can be.
fn dozen() -> Folder {
    let folder = Folder::new();
    let mut all: String = (0..9)
        .map(|number| {
            ingress(
                &format!("plain-{number}"),
                &format!("p{number}.example"),
                "/",
                &[],
            )
        })
        .collect();
    all += &ingress("slash", "slash.example", "/x/", &[]);
    all += &ingress("waf", "waf.example", "/", &[("enable-modsecurity", "true")]);
    all += &ingress(
        "odd",
        "odd.example",
        "/",
        &[("ssl-redirct", "<script>alert('x')</script> & \"more\"")],
    );
    folder.write("site.yaml", &all);
    folder
}

fn migrate(folder: &Folder, output: &str) -> Ended {
    run(&[
        OsStr::new("migrate"),
        folder.path().as_os_str(),
        OsStr::new("--output"),
        OsStr::new(output),
    ])
}

fn json(folder: &Folder) -> (Option<i32>, Value) {
    let ended = migrate(folder, "json");
    let read = serde_json::from_str(&ended.stdout);
    let read = read.unwrap_or_else(|error| panic!("{error}: {}", ended.said()));
    (ended.code, read)
}

#[test]
fn the_text_begins_with_numbers_and_names_object_and_field() {
    let ended = migrate(&dozen(), "text");
    assert_eq!(ended.code, Some(1), "{}", ended.said());
    let first = ended.stdout.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("12 Ingresses of ingress-nginx"),
        "{first}"
    );
    assert!(first.contains("12 hosts"), "{first}");
    let line = "  Ingress default/waf: \
        metadata.annotations[nginx.ingress.kubernetes.io/enable-modsecurity]: refused";
    assert!(ended.stdout.contains(line), "{}", ended.stdout);
    assert!(ended.stdout.contains("slash.example: look at this first"));
    // It is no terminal.
    assert!(!ended.stdout.contains('\u{1b}'));
}

#[test]
fn the_json_has_every_host_item_and_surprise() {
    let (code, read) = json(&dozen());
    assert_eq!(code, Some(1));
    assert_eq!(read["inventory"]["ingresses"], 12);
    assert_eq!(
        read["inventory"]["services"],
        serde_json::json!(["default/web"])
    );
    let verdict = |host: &str| {
        let hosts = read["hosts"].as_array().expect("a list");
        let found = hosts.iter().find(|it| it["host"] == host);
        found.map(|it| it["verdict"].clone())
    };
    assert_eq!(verdict("p0.example"), Some("ready".into()));
    assert_eq!(verdict("slash.example"), Some("look".into()));
    assert_eq!(verdict("odd.example"), Some("look".into()));
    assert_eq!(verdict("waf.example"), Some("cannot".into()));
    let items = read["items"].as_array().expect("a list");
    let fates: Vec<_> = items.iter().map(|it| &it["fate"]).collect();
    assert_eq!(fates, ["unknown", "refused"]);
    let surprises = read["surprises"].as_array().expect("a list");
    let fourth = surprises.iter().find(|it| it["number"] == 4);
    let place = &fourth.expect("there")["places"][0];
    assert_eq!(place["object"], "Ingress default/slash");
    assert_eq!(place["field"], "spec.rules[0].http.paths[0].path");
}

#[test]
fn the_page_is_well_formed_and_shows_markup_as_text() {
    let page = migrate(&dozen(), "html").stdout;
    assert!(!page.contains("<script"), "{page}");
    let shown = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;more&quot;";
    assert!(page.contains(shown), "{page}");
    assert_closed(&page);
}

/// Every element is closed, by the end that belongs to it.
#[track_caller]
fn assert_closed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let tags = page.split('<').skip(1);
    for tag in tags {
        let (tag, _) = tag.split_once('>').expect("a tag ends");
        if tag.starts_with('!') || tag.ends_with('/') {
            continue;
        }
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None => open.push(tag.split(' ').next().unwrap_or_default()),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn plain_ingresses_carry_over() {
    let folder = Folder::new();
    folder.write(
        "site.yaml",
        &ingress("web", "a.example", "/", &[("ssl-redirect", "false")]),
    );
    let (code, read) = json(&folder);
    assert_eq!(code, Some(0), "{read}");
    assert_eq!(read["hosts"][0]["verdict"], "ready");
    assert_eq!(read["items"][0]["fate"], "works");
}

#[test]
fn the_config_map_that_the_flag_names_is_read() {
    let folder = Folder::new();
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: i}\n\
        data: {http-snippet: 'x;', proxy-body-size: 8m}\n---\n";
    folder.write(
        "site.yaml",
        &(map.to_owned() + &ingress("web", "a.example", "/", &[])),
    );
    let ended = run(&[
        OsStr::new("migrate"),
        folder.path().as_os_str(),
        OsStr::new("--configmap=i/c"),
    ]);
    assert_eq!(ended.code, Some(1), "{}", ended.said());
    let line = ended.line_with("data[http-snippet]");
    assert!(
        line.contains("ConfigMap i/c") && line.contains("refused"),
        "{line}"
    );
}

#[test]
fn an_empty_folder_has_nothing_to_move() {
    let folder = Folder::new();
    let ended = migrate(&folder, "text");
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert!(
        ended.stdout.contains("nothing of ingress-nginx's"),
        "{}",
        ended.stdout
    );
    let (code, read) = json(&folder);
    assert_eq!(
        (code, read["hosts"].as_array().map(Vec::len)),
        (Some(0), Some(0))
    );
    assert_closed(&migrate(&folder, "html").stdout);
}
