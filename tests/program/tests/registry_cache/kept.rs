//! What is counted, and how long copies stay.

use program_tests::registry::{Registry, digest};
use program_tests::{curl, ports, run, until};

use crate::rig::{blob_path, cache_of, copy_of, manifest_path, pull, push};

#[test]
fn what_nobody_pulls_leaves_after_its_time_and_what_is_pulled_stays() {
    let outside = Registry::start();
    let host = outside.host();
    for (name, salt) in [("team/used", "a"), ("team/unused", "b")] {
        push(&host, name, "v1", salt);
    }
    let cache = cache_of(&[&host], &["--pull-through-keep=10s"]);
    // What was pushed here is no copy.
    push(&cache.host(), "own/app", "v1", "c");
    for name in ["team/used", "team/unused"] {
        pull(&cache, &format!("{}:v1", copy_of(&host, name)));
    }
    let storage = cache.storage().display().to_string();
    let tags = |name: &str| cache.get(&format!("/v2/{name}/tags/list")).text();
    let (used, unused) = (copy_of(&host, "team/used"), copy_of(&host, "team/unused"));
    until("the unused one leaves", || {
        assert_eq!(
            cache.get(&manifest_path(&host, "team/used", "v1")).status,
            200
        );
        let collected = run(&["registry", "gc", "--storage", &storage, "--grace", "0"]);
        assert_eq!(collected.code, Some(0), "{}", collected.said());
        !tags(&unused).contains("v1")
    });
    assert!(tags(&used).contains("v1"));
    assert!(tags("own/app").contains("v1"));
    // It can be had again.
    pull(&cache, &format!("{unused}:v1"));
    Registry::assert_whole(cache.storage());
}

#[test]
fn pulls_are_counted_by_what_became_of_them() {
    let outside = Registry::start();
    let host = outside.host();
    push(&host, "team/app", "v1", "a");
    let content = digest(b"blob");
    outside.push_blob("team/app", b"blob");
    let address = format!("127.0.0.1:{}", ports::free());
    let metrics = format!("--metrics-address={address}");
    let cache = cache_of(&[&host], &["--pull-through-ttl=0", &metrics]);
    let path = manifest_path(&host, "team/app", "v1");
    for _ in 0..2 {
        assert_eq!(cache.get(&path).status, 200);
    }
    assert_eq!(
        cache.get(&blob_path(&host, "team/app", &content)).body,
        b"blob"
    );
    assert_eq!(
        cache.status("GET", &manifest_path(&host, "team/app", "v2")),
        404
    );
    drop(outside);
    assert_eq!(cache.get(&path).status, 200);
    let page = || curl(&[&format!("http://{address}/metrics")]).text;
    for (about, result) in [
        ("manifest", "hit"),
        ("manifest", "miss"),
        ("manifest", "refused"),
        ("manifest", "stale"),
        ("blob", "miss"),
    ] {
        let line = format!(
            "narthex_registry_cache_requests_total{{about=\"{about}\",result=\"{result}\"}} 1"
        );
        until(&line, || page().contains(&line));
    }
    let shown = page();
    let fetched = shown
        .lines()
        .find_map(|it| it.strip_prefix("narthex_registry_cache_fetched_bytes_total "));
    assert!(fetched.is_some_and(|it| it.parse::<u64>().is_ok_and(|it| it > 4)));
}

#[test]
fn a_manifest_that_is_kept_is_read_once_a_pull() {
    let outside = Registry::start();
    let host = outside.host();
    let digest = push(&host, "team/app", "v1", "a");
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let trace = path("trace").display().to_string();
    // -D: what is started is the registry, and not the one that looks.
    let wrapper = ["strace", "-D", "-f", "-o", &trace, "-e", "trace=openat"];
    let through = format!("--pull-through={host}");
    let insecure = format!("--pull-through-insecure={host}");
    let flags = [&through, &insecure, "--pull-through-ttl=0"];
    let cache = Registry::through(&wrapper, &path("images"), &flags);
    let opened = || {
        let trace = std::fs::read_to_string(&trace).expect("a trace");
        let content = format!("/{}\"", digest.trim_start_matches("sha256:"));
        // Others are of its being written.
        let read = |line: &&str| line.contains(&content) && line.contains("O_RDONLY");
        trace
            .lines()
            .filter(read)
            .filter(|it| it.contains("/blobs/"))
            .count()
    };
    let (tag, by_digest) = (
        manifest_path(&host, "team/app", "v1"),
        manifest_path(&host, "team/app", &digest),
    );
    let pull = |path: &str| {
        let before = opened();
        let answer = cache.get(path);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(program_tests::registry::digest(&answer.body), digest);
        opened() - before
    };
    assert_eq!(pull(&tag), 0, "it has just come");
    assert_eq!(pull(&tag), 1);
    assert_eq!(pull(&by_digest), 1);
    drop(outside);
    assert_eq!(pull(&tag), 1, "it is stale");
}
