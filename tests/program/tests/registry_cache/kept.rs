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
    let cache = cache_of(&[&host], &["--pull-through-keep=2s"]);
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
    let shown = curl(&[&format!("http://{address}/metrics")]).text;
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
        assert!(shown.contains(&line), "{line}\n{shown}");
    }
    let fetched = shown
        .lines()
        .find_map(|it| it.strip_prefix("narthex_registry_cache_fetched_bytes_total "));
    assert!(fetched.is_some_and(|it| it.parse::<u64>().is_ok_and(|it| it > 4)));
}
