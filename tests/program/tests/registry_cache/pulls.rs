//! Pulling through it, by real clients.

use program_tests::program::run;
use program_tests::registry::guarded::{Guarded, authfile, htpasswd};
use program_tests::registry::{
    Containerd, DebianRegistry, Gate, PASSWORD, Registry, Verdict, crane, node_config, skopeo,
};
use program_tests::{Conn, Folder, Narthex, class, ports};

use crate::rig::{cache_of, copy_of, manifest_path, pull, push};

#[test]
fn what_was_pulled_once_is_there_when_debians_registry_is_not() {
    let outside = DebianRegistry::start();
    let host = outside.host();
    let digest = push(&host, "team/app", "v1", "a");
    // Each pull asks again.
    let cache = cache_of(&[&host], &["--pull-through-ttl=0"]);
    let image = format!("{}:v1", copy_of(&host, "team/app"));
    assert_eq!(pull(&cache, &image), digest);
    drop(outside);
    assert_eq!(pull(&cache, &image), digest);
    assert_eq!(
        crane(&["digest", &format!("{}/{image}", cache.host())]),
        digest
    );
    let warnings = cache.log().matches("is served").count();
    assert_eq!(warnings, 1, "{}", cache.log());
    // What it has is shown as anything else.
    let tags = crane(&[
        "ls",
        &format!("{}/{}", cache.host(), copy_of(&host, "team/app")),
    ]);
    assert_eq!(tags, "v1");
    Registry::assert_whole(cache.storage());
}

#[test]
fn what_was_pulled_once_is_there_when_our_own_registry_is_not() {
    let outside = Registry::start();
    let host = outside.host();
    let digest = push(&host, "team/app", "v1", "a");
    let mut cache = cache_of(&[&host], &[]);
    let image = format!("{}:v1", copy_of(&host, "team/app"));
    assert_eq!(pull(&cache, &image), digest);
    drop(outside);
    assert_eq!(pull(&cache, &image), digest);
    // Also by another process, which knows nothing of what was asked.
    cache.end();
    let [through, insecure] = [
        format!("--pull-through={host}"),
        format!("--pull-through-insecure={host}"),
    ];
    let another = Registry::on(cache.storage(), &[&through, &insecure]);
    assert_eq!(pull(&another, &image), digest);
    Registry::assert_whole(another.storage());
}

#[test]
fn a_tag_that_moved_is_seen_after_its_time() {
    let outside = DebianRegistry::start();
    let host = outside.host();
    let first = push(&host, "team/app", "v1", "a");
    let (asks, trusts) = (
        cache_of(&[&host], &["--pull-through-ttl=0"]),
        cache_of(&[&host], &["--pull-through-ttl=1h"]),
    );
    let image = format!("{}:v1", copy_of(&host, "team/app"));
    assert_eq!(
        (pull(&asks, &image), pull(&trusts, &image)),
        (first.clone(), first.clone())
    );
    let second = push(&host, "team/app", "v1", "b");
    assert_eq!(
        (pull(&asks, &image), pull(&trusts, &image)),
        (second, first)
    );
}

#[test]
fn a_tag_that_has_not_moved_costs_one_head() {
    let outside = Registry::start();
    push(&outside.host(), "team/app", "v1", "a");
    let gate = Gate::before(outside.port(), |_| Verdict::Forward);
    let cache = cache_of(&[&gate.host()], &["--pull-through-ttl=0"]);
    let path = manifest_path(&gate.host(), "team/app", "v1");
    for _ in 0..3 {
        assert_eq!(cache.get(&path).status, 200);
    }
    assert_eq!(gate.asked_for("HEAD", "/manifests/v1").len(), 3);
    assert_eq!(gate.asked_for("GET", "/manifests/").len(), 1);
}

#[test]
fn containerd_pulls_through_it_with_what_node_config_writes() {
    let outside = DebianRegistry::start();
    let host = outside.host();
    let digest = push(&host, "library/app", "v1", "a");
    let cache = cache_of(&[&host], &["--pull-through-ttl=0"]);
    let folder = tempfile::tempdir().expect("a folder");
    let mirror = format!("--mirror={host}");
    let (hosts, _) = node_config(folder.path(), &[&cache.host(), "--insecure", &mirror]);
    let image = format!("{host}/library/app:v1");
    let pull = || {
        let containerd = Containerd::start();
        let pulled = containerd.pull(&hosts, &[], &image);
        assert_eq!(pulled.code, Some(0), "{}\n{}", pulled.said(), cache.log());
        assert_eq!(containerd.digest(&image).as_deref(), Some(&*digest));
        assert_eq!(containerd.unpacked("content").len(), 1);
    };
    pull();
    drop(outside);
    // From here on nobody but the cache has it.
    pull();
    let node = Containerd::of_a_node(&hosts);
    let pulled = node.pull_for_a_pod(&image, None);
    assert!(pulled.is_ok(), "{pulled:?}\n{}", cache.log());
    assert_eq!(node.unpacked("content").len(), 1);
}

#[test]
fn a_registry_beside_the_path_is_asked_for_what_nobody_has_put_here() {
    let outside = DebianRegistry::start();
    let host = outside.host();
    let theirs = push(&host, "team/app", "v1", "theirs");
    let cache = cache_of(&[&host], &[]);
    let ours = push(&cache.host(), "team/app", "v2", "ours");
    let ask = |path: &str| cache.ask("HEAD", path, &[], b"");
    let beside = ask(&format!("/v2/team/app/manifests/v1?ns={host}"));
    assert_eq!(beside.header("docker-content-digest"), Some(&*theirs));
    let beside = ask(&format!("/v2/team/app/manifests/v2?ns={host}"));
    assert_eq!(beside.header("docker-content-digest"), Some(&*ours));
    // It is kept under the name that says where it is from.
    assert_eq!(ask("/v2/team/app/manifests/v1").status, 404);
    assert_eq!(ask(&manifest_path(&host, "team/app", "v1")).status, 200);
}

#[test]
fn no_registry_is_asked_that_was_not_named() {
    let (named, other) = (Registry::start(), Registry::start());
    push(&other.host(), "team/app", "v1", "a");
    let gate = Gate::before(other.port(), |_| Verdict::Forward);
    let cache = cache_of(&[&named.host()], &[]);
    for path in [
        manifest_path(&gate.host(), "team/app", "v1"),
        format!("/v2/team/app/manifests/v1?ns={}", gate.host()),
        format!(
            "/v2/team/app/manifests/v1?ns={}@{}",
            named.host(),
            gate.host()
        ),
        format!("/v2/{}/manifests/v1", copy_of(&named.host(), "team/app")),
    ] {
        let answer = cache.get(&path);
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    assert!(gate.asked().is_empty());
}

#[test]
fn copies_are_not_pushed_to() {
    let outside = Registry::start();
    let cache = cache_of(&[&outside.host()], &[]);
    let name = copy_of(&outside.host(), "team/app");
    let begun = cache.ask("POST", &format!("/v2/{name}/blobs/uploads/"), &[], b"");
    assert_eq!(begun.status, 405);
    assert!(begun.text().contains("is a copy of"), "{}", begun.text());
    let put = cache.put_manifest(&name, "v1", &program_tests::registry::server::image(&[]));
    assert_eq!(
        (put.status, Registry::code(&put)),
        (405, "UNSUPPORTED".to_owned())
    );
    // Beside it everything goes on, also a mount of what is a copy.
    let digest = outside.push_blob("team/app", b"shared");
    assert_eq!(
        cache.get(&format!("/v2/{name}/blobs/{digest}")).body,
        b"shared"
    );
    program_tests::until("it is kept", || cache.content(&digest).exists());
    let mount = format!("/v2/own/app/blobs/uploads/?mount={digest}&from={name}");
    program_tests::until("it is mounted", || {
        cache.ask("POST", &mount, &[], b"").status == 201
    });
}

#[test]
fn credentials_are_the_files_and_stay_here() {
    let outside = DebianRegistry::with_password();
    let host = outside.host();
    let folder = tempfile::tempdir().expect("a folder");
    let right = authfile(folder.path(), &host, "tester", PASSWORD);
    let pushed = std::process::Command::new("skopeo")
        .args([
            "--insecure-policy",
            "copy",
            "--all",
            "--dest-tls-verify=false",
        ])
        .arg(format!("--dest-authfile={}", right.display()))
        .arg(format!(
            "oci:{}:1",
            program_tests::registry::guarded::layout(folder.path(), "a").display()
        ))
        .arg(format!("docker://{host}/team/app:v1"))
        .output()
        .expect("skopeo runs");
    assert!(pushed.status.success(), "{pushed:?}");
    let with = |file: &std::path::Path| {
        cache_of(
            &[&host],
            &[&format!("--pull-through-authfile={}", file.display())],
        )
    };
    pull(&with(&right), &format!("{}:v1", copy_of(&host, "team/app")));
    let wrong = authfile(folder.path(), &host, "mallory", "secret-of-mallory");
    let refused = with(&wrong);
    let answer = refused.get(&manifest_path(&host, "team/app", "v1"));
    assert_eq!(
        (answer.status, Registry::code(&answer)),
        (403, "DENIED".to_owned())
    );
    for said in [answer.text(), refused.log()] {
        assert!(!said.contains("secret-of-mallory"), "{said}");
    }
}

#[test]
fn who_may_pull_copies_the_rules_say() {
    let outside = Registry::start();
    push(&outside.host(), "team/app", "v1", "a");
    let folder = Guarded::folder();
    std::fs::write(
        folder.path().join("users"),
        htpasswd(&[("alice", "wonder"), ("bob", "builder")]),
    )
    .expect("a file");
    let mine = copy_of(&outside.host(), "**");
    let rules = program_tests::registry::guarded::rules(&format!(
        "- {{repositories: ['{mine}'], actions: [pull], subjects: ['user:alice']}}\n"
    ));
    std::fs::write(folder.path().join("rules"), rules).expect("a file");
    let through = format!("--pull-through={}", outside.host());
    let insecure = format!("--pull-through-insecure={}", outside.host());
    let flags = [
        "--htpasswd-file=users",
        "--access-file=rules",
        &through,
        &insecure,
    ];
    let cache = Guarded::start(folder, &flags);
    let image = format!(
        "docker://{}/{}:v1",
        cache.host(),
        copy_of(&outside.host(), "team/app")
    );
    let inspect = |login: &str| {
        skopeo(&["inspect", "--raw", "--tls-verify=false", login, &image]).code == Some(0)
    };
    assert!(!inspect("--no-creds"));
    assert!(!inspect("--creds=bob:builder"));
    assert!(inspect("--creds=alice:wonder"));
    // containerd gets its token for the name without the registry, and is told of the other one.
    let mirror = format!("--mirror={}", outside.host());
    let (hosts, _) = node_config(cache.path(), &[&cache.host(), "--insecure", &mirror]);
    let image = format!("{}/team/app:v1", outside.host());
    let pulled = Containerd::start().pull(&hosts, &["--user=alice:wonder"], &image);
    assert_eq!(pulled.code, Some(0), "{}", pulled.said());
    drop(outside);
    let again = Containerd::start().pull(&hosts, &["--user=alice:wonder"], &image);
    assert_eq!(again.code, Some(0), "{}", again.said());
    let refused = Containerd::start().pull(&hosts, &["--user=bob:builder"], &image);
    assert_ne!(refused.code, Some(0));
}

#[test]
fn what_makes_no_sense_is_said_at_the_start() {
    let start = |flags: &[&str]| {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = folder.path().display().to_string();
        run(&[&["registry", "serve", "--storage", &storage], flags].concat())
    };
    for flags in [
        &["--pull-through=team"][..],
        &["--pull-through=http://quay.io"],
        &["--pull-through-insecure=quay.io"],
        &[
            "--pull-through=quay.io",
            "--pull-through-insecure=docker.io",
        ],
        &[
            "--pull-through=quay.io",
            "--pull-through-authfile=/nonexistent",
        ],
    ] {
        let ended = start(flags);
        assert!(
            ended.code.is_some_and(|it| it != 0),
            "{flags:?}: {}",
            ended.said()
        );
        assert!(ended.stderr.contains("pull-through") || ended.stderr.contains("nonexistent"));
    }
}

#[test]
fn it_is_there_beside_the_ingress() {
    let outside = Registry::start();
    let host = outside.host();
    let digest = push(&host, "team/app", "v1", "a");
    let images = tempfile::tempdir().expect("a folder");
    let storage = images.path().display().to_string();
    let port = ports::free();
    let address = format!("127.0.0.1:{port}");
    let through = format!("--registry-pull-through={host}");
    let insecure = format!("--registry-pull-through-insecure={host}");
    let folder = Folder::of(&[class()]);
    let registry = ["--registry", &address, "--registry-storage", &storage];
    let flags = [&registry[..], &[&through, &insecure]].concat();
    let narthex = Narthex::on(&folder).args(&flags).start();
    let answer = Conn::plain(port).get("a", &manifest_path(&host, "team/app", "v1"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("docker-content-digest"), Some(&*digest));
    let counted = "narthex_registry_cache_requests_total{about=\"manifest\",result=\"miss\"} 1";
    program_tests::until(counted, || narthex.metrics().contains(counted));
}
