//! Each form with what its users write.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::client::Transport;
use crate::list::Login;

fn environment(name: &str) -> Option<String> {
    (name == "WHO").then(|| "me".to_owned())
}

#[track_caller]
fn list(text: &str) -> ImageList {
    match ImageList::of_text(text, Path::new("/l/list.yaml"), &environment) {
        Ok(list) => list,
        Err(problems) => panic!("{problems:?}"),
    }
}

#[track_caller]
fn problems(text: &str) -> Vec<String> {
    let read = ImageList::of_text(text, Path::new("list.yaml"), &environment);
    let problems = read.expect_err("something is wrong");
    problems.iter().map(ToString::to_string).collect()
}

fn shown(list: &ImageList) -> Vec<String> {
    let images = list.images.iter();
    images
        .map(|it| {
            let target = it.repository.as_deref().unwrap_or("-");
            let tag = it.tag.as_deref().unwrap_or("-");
            format!("{} {:?} {target} {tag}", it.source, it.tags.exact)
        })
        .collect()
}

const OWN: &str = r#"
apiVersion: narthex.dev/v1alpha1
kind: ImageList
metadata: {name: shop}
spec:
  defaults:
    platforms: [linux/amd64]
    exclude: ["-debug$"]
  registries:
    - host: quay.io
      credentials: {username: robot, passwordEnv: QUAY}
      tls: {mode: verify, caFile: ca.pem}
      requestsPerSecond: 2.5
      parallel: 2
    - host: localhost:5000
      tls: {mode: disabled}
  images:
    - docker.io/library/busybox:1.36
    - source: quay.io/team/app
      target: apps/app
      tags: {semver: ">=1.2", regex: "^edge", exact: [latest]}
      platforms: [linux/amd64, linux/arm64]
      index: filtered
      referrers: true
    - source: oci:layouts/app:v1
      target: app:v2
    - source: nginx
      tags: ["1.27"]
"#;

#[test]
fn our_own_form_is_read() {
    let list = list(OWN);
    assert_eq!(
        shown(&list),
        [
            "docker.io/library/busybox [\"1.36\"] - -",
            "quay.io/team/app [\"latest\"] apps/app -",
            "oci:/l/layouts/app [\"v1\"] app v2",
            "docker.io/library/nginx [\"1.27\"] - -",
        ]
    );
    let app = &list.images[1];
    assert_eq!((app.index, app.referrers), (Index::Filtered, true));
    assert_eq!(app.platforms.len(), 2);
    let there = ["1.3", "edge-2", "1.4-debug", "0.9"].map(str::to_owned);
    assert_eq!(app.tags.of(&there), ["latest", "1.3", "edge-2"]);
    assert_eq!(list.images[0].platforms.len(), 1);
    assert_eq!(
        list.registries["localhost:5000"].transport,
        Transport::Plain
    );
    let quay = &list.registries["quay.io"];
    assert_eq!(
        (quay.parallel, quay.requests_per_second),
        (Some(2), Some(2.5))
    );
    assert_eq!(quay.authorities, [Path::new("/l/ca.pem")]);
    assert!(matches!(quay.login, Some(Login::Elsewhere { .. })));
}

#[test]
fn what_is_wrong_is_named_with_its_line_and_field() {
    let text = OWN
        .replace("semver: \">=1.2\"", "semver: \">=one\"")
        .replace("index: filtered", "index: some")
        .replace("passwordEnv: QUAY", "password: sesame")
        .replace("target: app:v2", "target: App")
        .replace(
            "- docker.io/library/busybox:1.36",
            "- docker.io/library/Busybox:1.36",
        );
    let found = problems(&text);
    let has = |text: &str| {
        assert!(
            found.iter().any(|it| it.contains(text)),
            "{text}: {found:#?}"
        )
    };
    has("list.yaml:11: spec.registries[0].credentials");
    has("list.yaml:18: spec.images[0]");
    has("spec.images[1].tags.semver: \">=one\" is no range");
    has("list.yaml:23: spec.images[1].index: write sparse, filtered or single");
    has("list.yaml:26: spec.images[2].target: \"App\" is no target");
    assert!(!found.concat().contains("sesame"), "{found:#?}");
}

const SKOPEO: &str = r#"
registry.example.com:
    images:
        busybox: []
        redis:
            - "1.0"
            - "2.0"
            - "sha256:0000000000000000000000000000000011111111111111111111111111111111"
    images-by-tag-regex:
        nginx: ^1\.13\.[12]-alpine-perl$
    credentials:
        username: john
        password: this is a secret
    tls-verify: true
    cert-dir: /home/john/certs
quay.io:
    tls-verify: false
    images:
        coreos/etcd:
            - latest
registry.k8s.io:
    images-by-semver:
        coredns/coredns: ">= 1.9.0"
"#;

#[test]
fn a_tag_that_is_a_number_is_what_was_written() {
    let list = list("quay.io:\n  images:\n    a/b: [3.10, 1e3, 0x1f, 012]\n");
    assert_eq!(
        list.images[0].tags.exact.iter().collect::<Vec<_>>(),
        ["3.10", "1e3", "0x1f", "012"]
    );
}

#[test]
fn skopeo_s_form_is_read() {
    let list = list(SKOPEO);
    assert_eq!(list.images.len(), 5);
    assert!(list.images[0].tags.all);
    assert_eq!(list.images[1].tags.exact.len(), 3);
    let nginx = &list.images[2].tags;
    let there = ["1.13.1-alpine-perl", "1.13.3-alpine-perl"].map(str::to_owned);
    assert_eq!(nginx.of(&there), ["1.13.1-alpine-perl"]);
    assert_eq!(list.images[3].source.to_string(), "quay.io/coreos/etcd");
    assert_eq!(list.registries["quay.io"].transport, Transport::Either);
    assert!(matches!(
        list.registries["registry.example.com"].login,
        Some(Login::Here(_))
    ));
    assert!(list.images[4].tags.ranges[0].takes("v1.9.3"));
    let found = problems("quay.io:\n  images:\n    a: [\"b c\"]\n  image: {}\n");
    assert!(
        found[0].starts_with("list.yaml:4: [quay.io].image: there is no such field")
            || found[0].contains("there is no such field"),
        "{found:?}"
    );
    assert!(
        found[1].contains("\"b c\" is neither a tag nor a digest"),
        "{found:?}"
    );
}

const REGSYNC: &str = r#"
version: 1
x-sched-a: &sched-a "15 01 * * *"
x-common: &common
  type: repository
  schedule: *sched-a
creds:
  - registry: localhost:5000
    tls: disabled
    scheme: http
  - registry: docker.io
    user: "{{env \"WHO\"}}"
    pass: "{{ env \"WHO\" }}"
defaults:
  ratelimit:
    min: 100
    retry: 15m
  parallel: 2
  referrers: true
sync:
  - source: busybox:latest
    target: localhost:5000/library/busybox:latest
    type: image
    interval: 60m
    backup: "backup-{{.Ref.Tag}}"
  - source: alpine
    target: registry:5000/library/alpine
    <<: *common
    tags:
      allow: ["3", "3.\\d+"]
      deny: ["3.0"]
      semverRange: [">=3.1"]
    platforms: [linux/amd64, linux/arm64]
  - source: ghcr.io
    target: localhost:5000/mirror
    type: registry
    repos: {allow: ["team/.*"], deny: [".*-old"]}
    platform: linux/amd64
    referrers: false
"#;

#[test]
fn regsync_s_form_is_read() {
    let list = list(REGSYNC);
    assert_eq!(
        shown(&list),
        [
            "docker.io/library/busybox [\"latest\"] library/busybox latest",
            "docker.io/library/alpine [] library/alpine -",
            "ghcr.io [] mirror -",
        ]
    );
    let alpine = &list.images[1];
    let there = ["3", "3.0", "3.1", "3.12", "3.1-x", "4"].map(str::to_owned);
    assert_eq!(alpine.tags.of(&there), ["3.1", "3.12"]);
    assert!(alpine.referrers && !list.images[2].referrers);
    assert_eq!(list.images[2].index, Index::Single);
    let Source::Registry { repositories, .. } = &list.images[2].source else {
        panic!("a registry");
    };
    assert!(repositories.take("team/a") && !repositories.take("team/a-old"));
    assert!(!repositories.take("my/team/a"));
    let Some(Login::Here(crate::client::Credential::Password { username, .. })) =
        &list.registries["docker.io"].login
    else {
        panic!("a password");
    };
    assert_eq!(username, "me");
}

#[test]
fn a_template_that_is_not_simple_is_named() {
    let text = REGSYNC
        .replace(
            "source: busybox:latest",
            "source: \"{{ printf \\\"x\\\" }}\"",
        )
        .replace("source: ghcr.io", "source: '{{env \"NONE\"}}'");
    let found = problems(&text);
    assert!(
        found[0].contains("sync[0].source: the template {{printf"),
        "{found:?}"
    );
    assert!(
        found[1].contains("sync[2].source: the environment has no NONE"),
        "{found:?}"
    );
}

#[test]
fn zot_s_form_is_read() {
    let list = list(
        r#"{"storage": {"rootDirectory": "/z"}, "extensions": {"sync": {"registries": [{
            "urls": ["https://registry.k8s.io"], "tlsVerify": true, "pollInterval": "6h",
            "content": [
                {"prefix": "/pause", "tags": {"regex": "^3", "semver": true}},
                {"prefix": "/repo2", "destination": "/kube", "stripPrefix": true},
                {"prefix": "/ingress-nginx/**"}
            ]}]}}}"#,
    );
    assert_eq!(
        shown(&list),
        [
            "registry.k8s.io/pause [] pause -",
            "registry.k8s.io/repo2 [] kube -",
            "registry.k8s.io [] - -",
        ]
    );
    let Source::Registry { repositories, .. } = &list.images[2].source else {
        panic!("a registry");
    };
    assert!(repositories.take("ingress-nginx/a/b") && !repositories.take("ingress/a"));
}

#[test]
fn lines_are_read() {
    let list = list(
        "# what we need\nnginx:1.27\n\nquay.io/a/b  mirror/b:v1 # there\noci:app\r\ndocker-archive:/x.tar:a:b\n",
    );
    assert_eq!(
        shown(&list),
        [
            "docker.io/library/nginx [\"1.27\"] - -",
            "quay.io/a/b [\"latest\"] mirror/b v1",
            "oci:/l/app [] - -",
            "docker-archive:/x.tar [\"a:b\"] - -",
        ]
    );
    let found = problems("nginx\nNGINX\na b c\n");
    assert!(
        found[0].starts_with("list.yaml:2: \"NGINX\" is no image"),
        "{found:?}"
    );
    assert!(
        found[1].starts_with("list.yaml:3: write SOURCE"),
        "{found:?}"
    );
}

#[test]
fn lists_are_found_among_other_manifests() {
    let own = |image: &str| {
        format!("apiVersion: narthex.dev/v1alpha1\nkind: ImageList\nspec: {{images: [{image}]}}\n")
    };
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n";
    let text = format!(
        "{}---\n{service}---\n{}",
        own("a:1"),
        own("{source: b, tags: [3.10]}")
    );
    let found = list(&text);
    assert_eq!(found.images.len(), 2);
    assert_eq!(found.images[1].tags.exact, ["3.10"]);
    let wrong = problems(&format!("{service}---\n{}", own("A:1")));
    assert!(
        wrong[0].starts_with("list.yaml:7: spec.images[0]: "),
        "{wrong:?}"
    );
    assert_eq!(
        problems(&format!("{service}---\n{service}")),
        ["list.yaml:1: none of its documents is a `kind: ImageList`"]
    );
}

#[test]
fn what_is_no_list_says_what_would_be_one() {
    assert_eq!(problems("# nothing\n"), ["list.yaml:1: it names no image"]);
    let found = problems("- a\n- b\n");
    assert!(
        found[0].contains("no list of images: write `kind: ImageList`"),
        "{found:?}"
    );
    let found = problems("kind: Pod\napiVersion: v1\n");
    assert!(
        found[1].contains("a list of images has `kind: ImageList`"),
        "{found:?}"
    );
    assert!(!problems("a: [").is_empty());
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in "(?s).{0,200}") {
        let _ = ImageList::of_text(&text, Path::new("l"), &environment);
    }

    #[test]
    fn no_change_of_a_list_is_too_strange(
        which in 0usize..3, at in 0usize..1_000, with in "[ -~\n]{0,8}", less in 0usize..20,
    ) {
        let text = [OWN, SKOPEO, REGSYNC][which];
        let at = at.min(text.len());
        let end = (at + less).min(text.len());
        let changed = format!("{}{with}{}", &text[..at], &text[end..]);
        let _ = ImageList::of_text(&changed, Path::new("l"), &environment);
    }
}

/// An object of a cluster with this `spec`.
fn object(spec: serde_json::Value) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "narthex.dev/v1alpha1", "kind": "ImageList",
        "metadata": {"name": "shop", "namespace": "images", "managedFields": []},
        "spec": spec, "status": {"images": 1},
    })
}

#[track_caller]
fn problems_of(spec: serde_json::Value) -> Vec<String> {
    let read = ImageList::of_object(&object(spec), "ImageList images/shop");
    let problems = read.expect_err("something is wrong");
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn an_object_of_a_cluster_is_read_as_a_file_is() {
    let spec = serde_json::json!({
        "defaults": {"platforms": ["linux/amd64"], "exclude": ["-debug$"]},
        "registries": [{"host": "old:5000", "tls": {"mode": "disabled"}, "parallel": 2}],
        "images": [
            {"source": "quay.io/team/app", "target": "apps/app",
             "tags": {"exact": ["3.10"], "regex": ["^v1"], "semver": [">=1"]}},
            {"source": "nginx:1.27"},
        ],
    });
    let list = ImageList::of_object(&object(spec), "ImageList images/shop").expect("right");
    assert_eq!(
        shown(&list),
        [
            "quay.io/team/app [\"3.10\"] apps/app -",
            "docker.io/library/nginx [\"1.27\"] - -"
        ]
    );
    assert_eq!(list.images[0].tags.exclude.len(), 1);
    assert_eq!(list.registries["old:5000"].transport, Transport::Plain);
    let place = list.images[1].place.to_string();
    assert_eq!(place, "ImageList images/shop: spec.images[1]");
}

#[test]
fn an_object_of_a_cluster_names_no_files_and_no_variables_of_the_registrys_pod() {
    let found = problems_of(serde_json::json!({
        "registries": [
            {"host": "a", "credentials": {"username": "u", "passwordFile": "/etc/passwd"}},
            {"host": "b", "credentials": {"username": "u", "passwordEnv": "PATH"}},
            {"host": "c", "credentials": {"dockerConfigFile": "/root/.docker/config.json"}},
            {"host": "d", "tls": {"caFile": "/ca.pem"}},
            {"host": "e", "tls": {"certDir": "/certs"}},
        ],
        "images": [
            {"source": "oci:/var/lib/narthex"},
            {"source": "oci-archive:/a.tar"},
            {"source": "docker-archive:/a.tar:x"},
            "oci:/short",
        ],
    }));
    let has = |field: &str, advice: &str| {
        let start = format!("ImageList images/shop: spec.{field}: ");
        let is_it = |it: &String| it.starts_with(&start) && it.contains(advice);
        assert!(found.iter().any(is_it), "{field}: {found:#?}");
    };
    for at in 0..3 {
        has(&format!("registries[{at}].credentials"), "--sync-authfile");
    }
    has("registries[3].tls.caFile", "administrator");
    has("registries[4].tls.certDir", "administrator");
    for at in ["[0].source", "[1].source", "[2].source", "[3]"] {
        has(&format!("images{at}"), "push what is in them");
    }
    assert_eq!(found.len(), 9, "{found:#?}");
}

#[test]
fn an_object_of_a_cluster_costs_what_it_may_and_no_more() {
    let image =
        |tags: serde_json::Value| serde_json::json!({"images": [{"source": "a", "tags": tags}]});
    let wide = vec![r"\w{400}"; 40];
    for (spec, said) in [
        (
            image(serde_json::json!({"regex": ["(a{1000}){1000}"]})),
            "regular expression",
        ),
        (
            image(serde_json::json!({ "regex": wide })),
            "spec.images[0].tags.regex[",
        ),
        (
            image(serde_json::json!({"regex": vec!["a"; 65]})),
            "more than 64",
        ),
        (
            serde_json::json!({"images": vec!["a"; 5_001]}),
            "more than 5000",
        ),
        (
            serde_json::json!({"defaults": {"exclude": vec!["a"; 17]}, "images": ["a"]}),
            "more than 16",
        ),
        (serde_json::json!({"images": []}), "it names no image"),
        (
            serde_json::json!({"images": ["a"], "other": 1}),
            "there is no such field",
        ),
        (serde_json::Value::Null, "`spec`"),
    ] {
        let found = problems_of(spec);
        assert!(
            found.iter().any(|it| it.contains(said)),
            "{said}: {found:#?}"
        );
    }
    assert!(ImageList::of_object(&serde_json::json!([1]), "x").is_err());
}

#[test]
fn a_list_of_our_own_form_may_say_how_registries_are_spoken_to_alone() {
    let text = "apiVersion: narthex.dev/v1alpha1\nkind: ImageList\n\
                spec:\n  registries: [{host: a, tls: {caFile: ca.pem}}]\n";
    assert_eq!(
        list(text).registries["a"].authorities,
        [Path::new("/l/ca.pem")]
    );
}

#[test]
fn a_file_that_cannot_be_read_has_no_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let problems =
        ImageList::of_file(&folder.path().join("none.yaml")).expect_err("it is not there");
    let said = problems[0].to_string();
    assert!(said.contains("none.yaml: No such file"), "{said}");
}
