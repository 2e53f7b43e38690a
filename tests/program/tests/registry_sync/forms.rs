//! Every form of a list, and what is said of it.

use program_tests::registry::{Image, Layout, noise};

use crate::rig::{Rig, digest_at, narthex, narthex_with, push, small};

#[test]
fn multi_platform_images_come_with_their_digests_and_only_once() {
    let rig = Rig::start();
    let mut layout = Layout::new();
    let images = ["linux/amd64", "linux/arm64"]
        .map(|it| Image::of(it, &[&noise(it.len() as u64, 3_000), b"the same in both"]));
    let index = layout.index("v1", &images);
    layout.push("v1", &format!("{}/team/app:v1", rig.outside.host()));
    let list = rig.images("    - OUTSIDE/team/app:v1");

    let before = rig.fill("status", &rig.inside.host(), &list, &[]);
    assert_eq!(before.code, Some(1), "{}", before.said());
    assert!(before.stdout.contains("missing  "), "{}", before.said());

    let dry = rig.sync(&list, &["--dry-run"]);
    assert_eq!(dry.code, Some(0), "{}", dry.said());
    assert!(
        dry.stdout.contains("to copy  ") && dry.stdout.contains("1 image to copy"),
        "{}",
        dry.said()
    );
    assert_eq!(rig.digest("team/app:v1"), None);

    let first = rig.sync(&list, &[]);
    assert_eq!(first.code, Some(0), "{}", first.said());
    assert!(first.stdout.contains("1 image copied"), "{}", first.said());
    assert_eq!(rig.digest("team/app:v1"), Some(index));
    let second = rig.sync(&list, &[]);
    assert!(
        second
            .stdout
            .contains("0 images copied (0 B), 1 present, 0 failed"),
        "{}",
        second.said()
    );
    let (status, images) = rig.status(&list);
    assert_eq!(
        (status.code, images[0]["state"].as_str()),
        (Some(0), Some("present"))
    );
}

#[test]
fn skopeo_s_list_is_taken_as_it_is() {
    let rig = Rig::start();
    push(
        &rig.outside,
        &[
            "a:1.0",
            "a:2.0",
            "b:1.13.1-x",
            "b:1.14.1-x",
            "c:1.8.0",
            "c:v1.9.3",
            "d:x",
            "d:y",
        ],
    );
    let list = rig.list(
        "sync.yaml",
        "OUTSIDE:\n  tls-verify: false\n  images:\n    a: [\"1.0\"]\n    d: []\n  \
         images-by-tag-regex:\n    b: ^1\\.13\\.[12]-x$\n  images-by-semver:\n    c: \">= 1.9.0\"\n",
    );
    let done = rig.sync(&list, &[]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    for there in ["a:1.0", "b:1.13.1-x", "c:v1.9.3", "d:x", "d:y"] {
        assert_eq!(rig.digest(there), digest_at(&rig.outside, there), "{there}");
    }
    for not in ["a:2.0", "b:1.14.1-x", "c:1.8.0"] {
        assert_eq!(rig.digest(not), None, "{not}");
    }
    assert!(done.stdout.contains("5 images copied"), "{}", done.said());
}

#[test]
fn regsync_s_list_is_taken_as_it_is() {
    let rig = Rig::start();
    push(
        &rig.outside,
        &["lib/a:3", "lib/a:3.1", "lib/a:3.1-x", "lib/b:1", "other:1"],
    );
    let list = rig.list(
        "regsync.yaml",
        r#"version: 1
x-type: &type
  type: repository
  interval: 60m
creds:
  - registry: OUTSIDE
    tls: disabled
  - registry: registry:5000
    tls: disabled
    user: "{{env \"NOBODY\"}}"
    pass: x
defaults:
  ratelimit: {min: 100, retry: 15m}
  parallel: 2
sync:
  - source: OUTSIDE/{{env "REPO"}}
    target: registry:5000/mirror/a
    <<: *type
    tags:
      allow: ["3\\.\\d+"]
  - source: OUTSIDE/other:1
    target: registry:5000/renamed:one
    type: image
  - source: OUTSIDE
    target: registry:5000/all
    type: registry
    repos: {allow: ["lib/.*"], deny: [".*/a"]}
"#,
    );
    let to = rig.inside.host();
    let arguments = ["registry", "sync", &list, "--to", &to, "--insecure"];
    let variables = [("REPO", "lib/a"), ("NOBODY", "me")];
    let done = narthex_with(rig.folder.path(), &arguments, &variables);
    assert_eq!(done.code, Some(0), "{}", done.said());
    let pairs = [
        ("lib/a:3.1", "mirror/a:3.1"),
        ("other:1", "renamed:one"),
        ("lib/b:1", "all/lib/b:1"),
    ];
    for (from, to) in pairs {
        assert_eq!(rig.digest(to), digest_at(&rig.outside, from), "{to}");
        assert!(rig.digest(to).is_some(), "{to}");
    }
    assert!(done.stdout.contains("3 images copied"), "{}", done.said());
    let refused = rig.sync(&list, &[]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused
            .stderr
            .contains("sync[0].source: the environment has no REPO"),
        "{}",
        refused.said()
    );
}

#[test]
fn zot_s_list_and_lines_are_taken() {
    let rig = Rig::start();
    push(
        &rig.outside,
        &["lib/a:1.0", "lib/a:edge", "deep/x/y:1", "one:1"],
    );
    let list = rig.list(
        "zot.json",
        r#"{"extensions": {"sync": {"registries": [{"urls": ["http://OUTSIDE"], "content": [
            {"prefix": "/lib/a", "tags": {"semver": true}},
            {"prefix": "/deep/**", "destination": "/here", "stripPrefix": true}]}]}}}"#,
    );
    let done = rig.sync(&list, &[]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    assert!(rig.digest("lib/a:1.0").is_some() && rig.digest("lib/a:edge").is_none());
    assert!(rig.digest("here/x/y:1").is_some(), "{}", done.said());

    // Lines say nothing of how a registry is spoken to: a second list does.
    let lines = rig.list(
        "lines.txt",
        "# ours\nOUTSIDE/one:1  own/one:first # renamed\n",
    );
    let also = rig.list(
        "how.yaml",
        "OUTSIDE:\n  tls-verify: false\n  images: {one: [\"1\"]}\n",
    );
    let done = rig.sync(&lines, &[&also, "--scoped"]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    assert!(rig.digest("own/one:first").is_some(), "{}", done.said());
    let scoped = format!("{}/one:1", rig.outside.host().replace(':', "_"));
    assert!(rig.digest(&scoped).is_some(), "{}", done.said());
}

#[test]
fn what_is_wrong_with_a_list_is_named_and_nothing_is_copied() {
    let rig = Rig::start();
    let list = rig.images("    - OUTSIDE/a:1\n    - source: OUTSIDE/b\n      tags: {semver: new}");
    let ended = rig.sync(&list, &[]);
    assert_eq!(ended.code, Some(1));
    let said = "images.yaml:10: spec.images[1].tags.semver: \"new\" is no range of versions";
    assert!(ended.stderr.contains(said), "{}", ended.said());
    assert!(ended.stdout.is_empty(), "{}", ended.said());
}

#[test]
fn two_images_for_one_place_are_told() {
    let rig = Rig::start();
    push(&rig.outside, &["a:1", "b:1"]);
    let list = rig.images(
        "    - {source: OUTSIDE/a:1, target: x:1}\n    - {source: OUTSIDE/b:1, target: x:1}",
    );
    let ended = rig.sync(&list, &["--keep-going"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("it would go to x:1, where"),
        "{}",
        ended.said()
    );
    assert_eq!(rig.digest("x:1"), digest_at(&rig.outside, "a:1"));
}

#[test]
fn status_tells_what_is_stale_and_what_fails() {
    let rig = Rig::start();
    push(&rig.outside, &["a:1", "b:1"]);
    let list = rig.images("    - OUTSIDE/a:1\n    - OUTSIDE/b:1\n    - OUTSIDE/none:1");
    let ended = rig.sync(&list, &["--keep-going"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("/none has no 1"), "{}", ended.said());
    let mut layout = Layout::new();
    layout.image("1", &small(77));
    layout.push("1", &format!("{}/b:1", rig.outside.host()));
    let (ended, images) = rig.status(&list);
    assert_eq!(ended.code, Some(1));
    let states: Vec<_> = images
        .iter()
        .filter_map(|it| it["state"].as_str())
        .collect();
    assert_eq!(states, ["present", "stale", "failing"]);
    assert_eq!(images[1]["there"].as_str(), rig.digest("b:1").as_deref());
    assert!(
        images[2]["reason"]
            .as_str()
            .is_some_and(|it| it.contains("has no 1"))
    );
    rig.sync(&list, &["--keep-going"]);
    assert_eq!(rig.digest("b:1"), digest_at(&rig.outside, "b:1"));
}

#[test]
fn the_images_of_manifests_become_a_list() {
    let rig = Rig::start();
    let manifests = rig.folder.path().join("app");
    std::fs::create_dir_all(manifests.join("deep")).expect("a folder");
    let outside = rig.outside.host();
    let workload = format!(
        "kind: Deployment\nmetadata: {{name: web, namespace: shop}}\nspec:\n  template:\n    spec:\n      \
         initContainers: [{{name: i, image: \"{outside}/init:1\"}}]\n      \
         containers: [{{name: c, image: \"{outside}/web:1\"}}]\n---\n\
         kind: Service\nmetadata: {{name: web}}\n---\n\
         kind: CronJob\nmetadata: {{name: night}}\nspec:\n  jobTemplate:\n    spec:\n      template:\n        \
         spec:\n          containers: [{{name: c, image: \"{outside}/web:1\"}}]\n"
    );
    std::fs::write(manifests.join("deep/all.yaml"), workload).expect("a file");
    std::fs::write(manifests.join("README.md"), "image: none").expect("a file");
    let path = manifests.display().to_string();
    let lines = narthex(rig.folder.path(), &["registry", "list", &path]);
    assert_eq!(lines.code, Some(0), "{}", lines.said());
    let expected = format!(
        "{outside}/init:1 # Deployment shop/web\n{outside}/web:1 # CronJob night, Deployment shop/web\n"
    );
    assert_eq!(lines.stdout, expected);
    let json = narthex(
        rig.folder.path(),
        &["registry", "list", &path, "-o", "json"],
    );
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json["images"][1]["by"][0], "CronJob night");

    // What it writes is what the others read.
    push(&rig.outside, &["init:1", "web:1"]);
    let how = rig.list(
        "how.yaml",
        "OUTSIDE:\n  tls-verify: false\n  images: {web: [\"1\"]}\n",
    );
    for form in ["lines", "yaml"] {
        let text = narthex(rig.folder.path(), &["registry", "list", &path, "-o", form]).stdout;
        let list = rig.list(form, &text);
        let done = rig.sync(&list, &[&how]);
        assert_eq!(done.code, Some(0), "{form}: {}", done.said());
    }
    assert!(rig.digest("init:1").is_some() && rig.digest("web:1").is_some());

    std::fs::write(manifests.join("broken.yaml"), "a: [").expect("a file");
    let broken = narthex(rig.folder.path(), &["registry", "list", &path]);
    assert_eq!(broken.code, Some(1));
    assert_eq!(broken.stdout, expected, "what can be read is");
    assert!(broken.stderr.contains("broken.yaml:"), "{}", broken.said());
}
