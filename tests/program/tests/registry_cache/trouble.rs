//! Registries outside that do not do what they should.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use program_tests::registry::{Asked, Gate, Registry, Verdict, noise};

use crate::rig::{cache_of, manifest_path, push};

/// Answers everything of manifests by this, once `is_on`.
fn answering(outside: &Registry, is_on: &'static AtomicBool, answer: &'static str) -> Gate {
    Gate::before(outside.port(), move |asked| {
        match is_on.load(Ordering::SeqCst) && asked.target.contains("/manifests/") {
            true => Verdict::Answer(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n")),
            false => Verdict::Forward,
        }
    })
}

#[test]
fn what_is_not_there_is_not_asked_for_again_at_once() {
    static ON: AtomicBool = AtomicBool::new(false);
    let outside = Registry::start();
    let gate = answering(&outside, &ON, "404 Not Found");
    let cache = cache_of(&[&gate.host()], &[]);
    let path = manifest_path(&gate.host(), "team/app", "v1");
    for _ in 0..3 {
        let answer = cache.get(&path);
        assert_eq!(answer.status, 404);
        assert_eq!(Registry::code(&answer), "MANIFEST_UNKNOWN");
    }
    assert_eq!(gate.asked_for("HEAD", "/manifests/v1").len(), 1);
}

#[test]
fn a_registry_that_limits_us_is_left_alone_and_what_is_kept_is_served() {
    static ON: AtomicBool = AtomicBool::new(false);
    let outside = Registry::start();
    push(&outside.host(), "team/app", "v1", "a");
    let answer = "429 Too Many Requests\r\nRetry-After: 10";
    let gate = answering(&outside, &ON, answer);
    let cache = cache_of(&[&gate.host()], &["--pull-through-ttl=0"]);
    let (kept, other) = (
        manifest_path(&gate.host(), "team/app", "v1"),
        manifest_path(&gate.host(), "team/app", "v2"),
    );
    assert_eq!(cache.get(&kept).status, 200);
    ON.store(true, Ordering::SeqCst);
    assert_eq!(cache.get(&kept).status, 200);
    let asked = gate.asked().len();
    // It is not even asked now; nor is there a line for each that would have.
    for _ in 0..5 {
        assert_eq!(cache.get(&kept).status, 200);
        let answer = cache.get(&other);
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(gate.asked().len(), asked);
    assert_eq!(
        cache.log().matches("is served").count(),
        1,
        "{}",
        cache.log()
    );
    // When it may be asked again, it is.
    ON.store(false, Ordering::SeqCst);
    program_tests::until("it answers again", || cache.get(&other).status == 404);
    program_tests::until("that is said", || cache.log().contains("answers again"));
}

/// Else whoever may pull could have it left alone for all others.
#[test]
fn a_request_that_is_wrong_there_is_not_the_registry_s_fault() {
    static ON: AtomicBool = AtomicBool::new(true);
    let outside = Registry::start();
    push(&outside.host(), "team/app", "v1", "a");
    let gate = Gate::before(outside.port(), move |asked| {
        match asked.target.contains("/wrong/") && ON.load(Ordering::SeqCst) {
            true => {
                Verdict::Answer("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_owned())
            }
            false => Verdict::Forward,
        }
    });
    let cache = cache_of(&[&gate.host()], &[]);
    let wrong = cache.get(&manifest_path(&gate.host(), "wrong/app", "v1"));
    assert_ne!(wrong.status, 200);
    let right = cache.get(&manifest_path(&gate.host(), "team/app", "v1"));
    assert_eq!(right.status, 200, "{}", right.text());
}

#[test]
fn a_registry_that_does_not_answer_does_not_hold_up_what_is_kept() {
    static ON: AtomicBool = AtomicBool::new(false);
    let outside = Registry::start();
    push(&outside.host(), "team/app", "v1", "a");
    let gate = Gate::before(outside.port(), |_| {
        while ON.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(50));
        }
        Verdict::Forward
    });
    let cache = cache_of(&[&gate.host()], &["--pull-through-ttl=0"]);
    let path = manifest_path(&gate.host(), "team/app", "v1");
    assert_eq!(cache.get(&path).status, 200);
    ON.store(true, Ordering::SeqCst);
    let began = Instant::now();
    assert_eq!(cache.get(&path).status, 200);
    let first = began.elapsed();
    // The next ones do not wait for it at all: one that the machine held up says nothing.
    let none_waits = (0..3).any(|_| {
        let began = Instant::now();
        assert_eq!(cache.get(&path).status, 200);
        began.elapsed() < first / 2
    });
    assert!(none_waits, "{first:?}");
    ON.store(false, Ordering::SeqCst);
}

#[test]
fn a_manifest_that_is_not_what_its_digest_says_is_not_kept() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let outside = Registry::start();
    let digest = push(&outside.host(), "team/app", "v1", "a");
    let gate = Gate::before(outside.port(), |asked| {
        if asked.method == "GET" && asked.target.contains("/manifests/") {
            ASKED.fetch_add(1, Ordering::SeqCst);
            let body = "{\"schemaVersion\":2,\"layers\":[]}";
            let length = body.len();
            return Verdict::Answer(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            ));
        }
        Verdict::Forward
    });
    let cache = cache_of(&[&gate.host()], &[]);
    for reference in ["v1", &digest] {
        let answer = cache.get(&manifest_path(&gate.host(), "team/app", reference));
        assert_eq!(answer.status, 502, "{}", answer.text());
    }
    assert!(ASKED.load(Ordering::SeqCst) > 0);
    assert!(!cache.content(&digest).exists());
    Registry::assert_whole(cache.storage());
}

#[test]
fn a_connection_that_breaks_is_taken_up_again() {
    static CUT: AtomicBool = AtomicBool::new(true);
    let outside = Registry::start();
    let content = noise(1, 4 << 20);
    let digest = outside.push_blob("team/app", &content);
    let gate = Gate::before(outside.port(), |asked| {
        let is_content = asked.method == "GET" && asked.target.contains("/blobs/");
        match is_content && CUT.swap(false, Ordering::SeqCst) {
            true => Verdict::CutAnswer(1 << 20),
            false => Verdict::Forward,
        }
    });
    let cache = cache_of(&[&gate.host()], &[]);
    let path = crate::rig::blob_path(&gate.host(), "team/app", &digest);
    assert!(cache.get(&path).body == content);
    let second = &gate.asked_for("GET", "/blobs/")[1];
    assert!(second.header("range").is_some_and(|it| it != "bytes=0-"));
}

/// Whether a request is about a blob, and by this method.
fn is_of_blob(asked: &Asked, method: &str) -> bool {
    asked.method == method && asked.target.contains("/blobs/")
}

#[test]
fn a_size_that_no_head_tells_is_that_of_the_first_byte() {
    let outside = Registry::start();
    let content = noise(1, 3 << 20);
    let digest = outside.push_blob("team/app", &content);
    // Of some registries, a head says nothing, and of others it says that there is nothing.
    for answer in ["", "Content-Length: 0\r\n"] {
        let head = format!("HTTP/1.1 200 OK\r\n{answer}\r\n");
        let gate = Gate::before(outside.port(), move |asked| {
            match is_of_blob(asked, "HEAD") {
                true => Verdict::Answer(head.clone()),
                false => Verdict::Forward,
            }
        });
        let cache = cache_of(&[&gate.host()], &[]);
        let path = crate::rig::blob_path(&gate.host(), "team/app", &digest);
        let head = cache.ask("HEAD", &path, &[], b"");
        let length = content.len().to_string();
        assert_eq!(
            (head.status, head.header("content-length")),
            (200, Some(&*length))
        );
        let answer = cache.get(&path);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.body == content);
        let empty = outside.push_blob("team/app", b"");
        let path = crate::rig::blob_path(&gate.host(), "team/app", &empty);
        assert_eq!(cache.get(&path).body, b"");
        Registry::assert_whole(cache.storage());
    }
}

#[test]
fn a_size_that_upstream_never_tells_is_the_manifests() {
    let outside = Registry::start();
    let layer = noise(2, 3 << 20);
    outside.push_image("team/app", "v1", &layer);
    let gate = Gate::before(outside.port(), |_| Verdict::Unmeasured);
    let cache = cache_of(&[&gate.host()], &[]);
    let blob = |content: &[u8]| {
        let digest = program_tests::registry::digest(content);
        crate::rig::blob_path(&gate.host(), "team/app", &digest)
    };
    let early = cache.get(&blob(&layer));
    assert_eq!(early.status, 502, "{}", early.text());
    assert!(
        early.text().contains("pull the image's manifest first"),
        "{}",
        early.text()
    );
    let tag = manifest_path(&gate.host(), "team/app", "v1");
    assert_eq!(cache.get(&tag).status, 200);
    let answer = cache.get(&blob(&layer));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.body == layer);
    assert_eq!(cache.get(&blob(b"{}")).body, b"{}");
    for content in [&layer[..], b"{}"] {
        let digest = program_tests::registry::digest(content);
        program_tests::until("it is kept", || cache.content(&digest).exists());
    }
    Registry::assert_whole(cache.storage());
    // What is not named by any is not fetched however large it may be.
    let other = noise(3, 3 << 20);
    outside.push_blob("team/app", &other);
    assert_eq!(cache.get(&blob(&other)).status, 502);
}

#[test]
fn a_manifest_that_names_another_size_is_not_believed() {
    let outside = Registry::with(&["--allow-missing-blobs"]);
    let layer = noise(4, 100_000);
    outside.push_blob("team/app", &layer);
    let mut manifest = program_tests::registry::server::image(&[&layer]);
    let gate = Gate::before(outside.port(), |_| Verdict::Unmeasured);
    for size in [99_999, 100_001] {
        manifest["layers"][0]["size"] = size.into();
        outside.push_manifest("team/app", "v1", &manifest);
        let cache = cache_of(&[&gate.host()], &[]);
        let tag = manifest_path(&gate.host(), "team/app", "v1");
        assert_eq!(cache.get(&tag).status, 200);
        let digest = program_tests::registry::digest(&layer);
        let path = crate::rig::blob_path(&gate.host(), "team/app", &digest);
        // It never looks complete, if anything was answered before it is known to be wrong.
        if let Ok(answer) = cache.try_ask("GET", &path, &[], b"") {
            assert_eq!(answer.status, 502, "{}", answer.text());
        }
        assert!(!cache.content(&digest).exists());
    }
}

#[test]
fn a_full_disk_is_said_before_anything_comes() {
    let outside = Registry::start();
    let large = noise(1, 3_000_000);
    let digest = outside.push_blob("team/app", &large);
    let folder = tempfile::tempdir().expect("a folder");
    let host = outside.host();
    let flags = [
        format!("--pull-through={host}"),
        format!("--pull-through-insecure={host}"),
    ];
    let flags = [&flags[0], &flags[1], "--min-free-space=0"];
    let (cache, disk) = Registry::on_disk(2, folder.path(), &flags);
    let answer = cache.get(&crate::rig::blob_path(&host, "team/app", &digest));
    assert_eq!(answer.status, 507, "{}", answer.text());
    assert_eq!(Registry::code(&answer), "STORAGE_FULL");
    let small = outside.push_blob("team/app", b"small");
    let path = crate::rig::blob_path(&host, "team/app", &small);
    assert_eq!(cache.get(&path).body, b"small");
    Registry::assert_whole(&disk);
}
