//! Blobs while they come.

use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use program_tests::registry::{Asked, Gate, Registry, Verdict, digest, noise};
use program_tests::{eventually, run, until};

use crate::rig::{blob_path, cache_of};

/// A registry of ours with a blob of some megabytes, and its digest.
fn outside(megabytes: usize) -> (Registry, Vec<u8>, String) {
    let registry = Registry::start();
    let content = noise(1, megabytes << 20);
    let digest = registry.push_blob("team/app", &content);
    (registry, content, digest)
}

fn gate(before: &Registry, judge: impl Fn(&Asked) -> Verdict + Send + Sync + 'static) -> Gate {
    Gate::before(before.port(), judge)
}

fn is_content(asked: &Asked) -> bool {
    asked.method == "GET" && asked.target.contains("/blobs/")
}

/// Lets the first part of a blob come, and the rest when `go` says so.
fn halting(go: &'static AtomicUsize) -> impl Fn(&Asked) -> Verdict + Send + Sync + 'static {
    move |asked| {
        if !is_content(asked) {
            return Verdict::Forward;
        }
        if asked.header("range").is_none() {
            return Verdict::CutAnswer(3 << 20);
        }
        until("the rest may come", || go.load(Ordering::SeqCst) > 0);
        Verdict::Forward
    }
}

#[test]
fn eight_clients_at_once_cost_one_fetch() {
    let (outside, content, digest) = outside(8);
    let gate = gate(&outside, |asked| {
        if is_content(asked) {
            // Until all have asked.
            std::thread::sleep(Duration::from_millis(500));
        }
        Verdict::Forward
    });
    let cache = cache_of(&[&gate.host()], &[]);
    let path = blob_path(&gate.host(), "team/app", &digest);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let answer = cache.get(&path);
                assert_eq!(answer.status, 200, "{}", cache.log());
                assert!(answer.body == content);
            });
        }
    });
    assert_eq!(gate.asked().iter().filter(|it| is_content(it)).count(), 1);
    until("it is kept", || cache.content(&digest).exists());
    assert!(cache.get(&path).body == content);
    assert_eq!(gate.asked().iter().filter(|it| is_content(it)).count(), 1);
    Registry::assert_whole(cache.storage());
}

#[test]
fn a_blob_is_read_while_it_comes_and_collections_leave_it() {
    static GO: AtomicUsize = AtomicUsize::new(0);
    let (outside, content, digest) = outside(8);
    let gate = gate(&outside, halting(&GO));
    let cache = cache_of(&[&gate.host()], &[]);
    let path = blob_path(&gate.host(), "team/app", &digest);
    let mut connection = cache.connect();
    connection.send(format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    ));
    let head = connection.try_head().expect("a head");
    assert_eq!(
        head.header("content-length"),
        Some(&*content.len().to_string())
    );
    // A megabyte has come, though the rest has not.
    let ranged = cache.ask("GET", &path, &["Range: bytes=100-1000099"], b"");
    assert_eq!(ranged.status, 206);
    assert!(ranged.body == content[100..1_000_100]);
    let storage = cache.storage().display().to_string();
    let collected = run(&["registry", "gc", "--storage", &storage, "--grace", "0"]);
    assert_eq!(collected.code, Some(0), "{}", collected.said());
    GO.store(1, Ordering::SeqCst);
    let mut body = Vec::new();
    connection
        .socket()
        .read_to_end(&mut body)
        .expect("the rest");
    let came = body.len();
    assert!(content.ends_with(&body) && came > 4 << 20, "{came}");
    until("it is kept", || cache.content(&digest).exists());
    assert!(cache.get(&path).body == content);
    Registry::assert_whole(cache.storage());
}

#[test]
fn a_client_that_goes_away_loses_nothing() {
    static GO: AtomicUsize = AtomicUsize::new(0);
    let (outside, content, digest) = outside(8);
    let gate = gate(&outside, halting(&GO));
    let cache = cache_of(&[&gate.host()], &[]);
    let path = blob_path(&gate.host(), "team/app", &digest);
    let mut connection = cache.connect();
    connection.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(connection.try_head().expect("a head").status, 200);
    drop(connection);
    GO.store(1, Ordering::SeqCst);
    until("it is kept", || cache.content(&digest).exists());
    drop(outside);
    assert!(cache.get(&path).body == content);
}

#[test]
fn what_is_corrupt_outside_is_never_kept_and_never_looks_complete() {
    let (outside, content, digest) = outside(2);
    let host = outside.host();
    let file = outside.content(&digest);
    let mut wrong = content.clone();
    wrong[1 << 20] ^= 1;
    std::fs::write(&file, &wrong).expect("a file");
    let cache = cache_of(&[&host], &[]);
    let path = blob_path(&host, "team/app", &digest);
    let broken = cache.try_ask("GET", &path, &[], b"");
    assert!(!broken.is_ok_and(|it| it.body.len() == content.len()));
    assert!(!cache.content(&digest).exists());
    until("nothing is left of it", || {
        let uploads = std::fs::read_dir(cache.storage().join("uploads"));
        uploads.is_ok_and(|it| it.count() == 0)
    });
    std::fs::write(&file, &content).expect("a file");
    assert!(cache.get(&path).body == content);
    Registry::assert_whole(cache.storage());
}

#[test]
fn a_process_that_is_killed_amidst_leaves_nothing_half() {
    static GO: AtomicUsize = AtomicUsize::new(0);
    let (outside, content, digest) = outside(8);
    let gate = gate(&outside, halting(&GO));
    let host = gate.host();
    let mut cache = cache_of(&[&host], &[]);
    let path = blob_path(&host, "team/app", &digest);
    let mut connection = cache.connect();
    connection.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(connection.try_head().expect("a head").status, 200);
    let uploads = cache.storage().join("uploads");
    until("a part of it has come", || {
        let folders = std::fs::read_dir(&uploads).expect("a folder").flatten();
        let mut parts = folders.flat_map(|it| std::fs::read_dir(it.path()).expect("a folder"));
        parts.any(|it| it.is_ok_and(|it| it.metadata().is_ok_and(|it| it.len() > 1 << 20)))
    });
    cache.kill();
    GO.store(1, Ordering::SeqCst);
    Registry::assert_whole(cache.storage());
    let flags = [
        format!("--pull-through={host}"),
        format!("--pull-through-insecure={host}"),
    ];
    let again = Registry::on(cache.storage(), &[&flags[0], &flags[1]]);
    assert!(again.get(&path).body == content);
    until("it is kept", || again.content(&digest).exists());
    let storage = again.storage().display().to_string();
    // What the killed one had begun goes as other uploads do.
    let collected = run(&["registry", "gc", "--storage", &storage, "--grace", "0"]);
    assert_eq!(collected.code, Some(0), "{}", collected.said());
    // The fetch's own goes by itself, after what it brought is there.
    until("no upload is left", || {
        std::fs::read_dir(&uploads).expect("a folder").count() == 0
    });
    Registry::assert_whole(again.storage());
}

#[test]
fn what_another_repository_has_is_not_fetched_again_nor_given_without_asking() {
    let outside = Registry::start();
    let content = noise(1, 1 << 20);
    let digest = outside.push_blob("team/one", &content);
    outside.push_blob("team/two", &content);
    let gate = gate(&outside, |_| Verdict::Forward);
    let cache = cache_of(&[&gate.host()], &[]);
    let get = |name: &str| cache.get(&blob_path(&gate.host(), name, &digest));
    assert!(get("team/one").body == content);
    until("it is kept", || cache.content(&digest).exists());
    assert!(get("team/two").body == content);
    assert_eq!(gate.asked().iter().filter(|it| is_content(it)).count(), 1);
    // That one does not have it, whoever knows its digest.
    assert_eq!(get("team/three").status, 404);
}

#[test]
fn a_head_fetches_nothing() {
    let (outside, content, digest) = outside(1);
    let gate = gate(&outside, |_| Verdict::Forward);
    let cache = cache_of(&[&gate.host()], &[]);
    let path = blob_path(&gate.host(), "team/app", &digest);
    let head = cache.ask("HEAD", &path, &[], b"");
    assert_eq!(head.status, 200);
    assert_eq!(
        head.header("content-length"),
        Some(&*content.len().to_string())
    );
    assert!(!gate.asked().iter().any(is_content));
}

#[test]
fn only_so_many_are_fetched_at_once() {
    static MOST: AtomicUsize = AtomicUsize::new(0);
    static NOW: AtomicUsize = AtomicUsize::new(0);
    let outside = Registry::start();
    let blobs: Vec<String> = (0..6_u8)
        .map(|it| outside.push_blob("team/app", &[it; 1000]))
        .collect();
    let gate = gate(&outside, |asked| {
        if is_content(asked) {
            let now = NOW.fetch_add(1, Ordering::SeqCst) + 1;
            MOST.fetch_max(now, Ordering::SeqCst);
            // Until another one is there, and for a third to come if it may.
            let begun = Instant::now();
            while MOST.load(Ordering::SeqCst) < 2 && begun.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(Duration::from_millis(200));
            NOW.fetch_sub(1, Ordering::SeqCst);
        }
        Verdict::Forward
    });
    let cache = cache_of(&[&gate.host()], &["--pull-through-fetches=2"]);
    std::thread::scope(|scope| {
        for digest in &blobs {
            let path = blob_path(&gate.host(), "team/app", digest);
            let cache = &cache;
            scope.spawn(move || assert_eq!(cache.get(&path).body.len(), 1000));
        }
    });
    assert_eq!(MOST.load(Ordering::SeqCst), 2);
}

/// `NARTHEX_REGISTRY_TEST_BLOB` is another size in MiB; the soak has 1024.
#[test]
fn a_large_blob_takes_no_memory() {
    let megabytes = std::env::var("NARTHEX_REGISTRY_TEST_BLOB");
    let megabytes = megabytes.ok().and_then(|it| it.parse().ok()).unwrap_or(160);
    let (outside, content, expected) = outside(megabytes);
    let cache = cache_of(&[&outside.host()], &[]);
    let got = cache.get(&blob_path(&outside.host(), "team/app", &expected));
    assert!(got.body.len() == content.len() && digest(&got.body) == expected);
    eventually("it is kept", || {
        cache.content(&expected).exists().then_some(())
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", cache.pid()));
    let status = status.expect("alive");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|it| it.trim().trim_end_matches(" kB").parse::<usize>().ok());
    let peak = peak.expect("a number");
    println!(
        "{megabytes} MiB pulled through: at most {} MiB resident",
        peak / 1024
    );
    assert!(peak < 96 * 1024, "{peak} kB");
}
