//! Images in a bucket: servers of S3 and of Azure's Blob Storage that are not ours, real clients, and processes that are killed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use program_tests::registry::server::{descriptor, image};
use program_tests::registry::{Bucket, Image, Layout, Registry, crane, digest, noise, skopeo};
use program_tests::until;
use serde_json::{Value, json};

#[track_caller]
fn gc(bucket: &Bucket) -> Value {
    let url = bucket.url();
    let ended = bucket.run(&[
        "gc",
        "--storage",
        &url,
        "--alone",
        "--grace=0s",
        "--output=json",
    ]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    serde_json::from_str(&ended.stdout).expect("JSON")
}

#[test]
fn clients_push_pull_tag_and_delete() {
    clients_push_pull_tag_and_delete_in(&Bucket::start());
}

#[test]
fn clients_push_pull_tag_and_delete_in_azure() {
    clients_push_pull_tag_and_delete_in(&Bucket::azure());
}

fn clients_push_pull_tag_and_delete_in(bucket: &Bucket) {
    let registry = bucket.registry(&[]);
    let mut layout = Layout::new();
    let amd64 = Image::of("linux/amd64", &[b"shared", &noise(1, 7_000_000)]);
    let arm64 = Image::of("linux/arm64", &[b"shared", b"arm64"]);
    let pushed = layout.index("v1", &[amd64, arm64]);
    let at = |name: &str| format!("{}/{name}", registry.host());
    layout.push("v1", &at("team/app:v1"));
    assert_eq!(crane(&["digest", &at("team/app:v1")]), pushed);
    crane(&["copy", &at("team/app:v1"), &at("other/app:v2")]);
    crane(&["tag", &at("other/app:v2"), "v3"]);
    assert_eq!(crane(&["ls", &at("other/app")]), "v2\nv3");
    assert_eq!(crane(&["catalog", &registry.host()]), "other/app\nteam/app");
    let folder = tempfile::tempdir().expect("a folder");
    let pulled = skopeo(&[
        "copy",
        "--all",
        "--preserve-digests",
        "--src-tls-verify=false",
        &format!("docker://{}", at("other/app:v3")),
        &format!("oci:{}:v3", folder.path().display()),
    ]);
    assert_eq!(pulled.code, Some(0), "{}", pulled.said());
    crane(&["delete", &at(&format!("other/app@{pushed}"))]);
    assert_eq!(crane(&["ls", &at("other/app")]), "");
    assert_eq!(crane(&["ls", &at("team/app")]), "v1");
    bucket.assert_whole();
}

#[test]
fn content_is_mounted_ranged_and_referred_to() {
    let bucket = Bucket::start();
    let registry = bucket.registry(&[]);
    let layer = noise(2, 6_000_000);
    let subject = registry.push_image("a", "v1", &layer);
    let blob = digest(&layer);
    let mounted = registry.status("POST", &format!("/v2/b/blobs/uploads/?mount={blob}&from=a"));
    assert_eq!(mounted, 201);
    let part = registry.ask(
        "GET",
        &format!("/v2/b/blobs/{blob}"),
        &["Range: bytes=5500000-5500099"],
        b"",
    );
    assert_eq!(part.status, 206);
    assert!(part.body == layer[5_500_000..5_500_100]);
    registry.push_blob("a", b"{}");
    let about = image(&[&layer]).to_string();
    let mut signature = image(&[]);
    signature["artifactType"] = json!("application/x.signature");
    signature["subject"] = descriptor(
        "application/vnd.oci.image.manifest.v1+json",
        about.as_bytes(),
    );
    assert_eq!(digest(about.as_bytes()), subject);
    let signature = registry.push_manifest("a", "sig", &signature);
    let listed = registry.get(&format!("/v2/a/referrers/{subject}"));
    let listed: Value = serde_json::from_slice(&listed.body).expect("JSON");
    assert_eq!(listed["manifests"][0]["digest"], signature, "{listed}");
    // Nothing of it is lost where it is taken out of the other repository.
    assert_eq!(
        registry.status("DELETE", &format!("/v2/a/blobs/{blob}")),
        202
    );
    assert_eq!(registry.status("HEAD", &format!("/v2/b/blobs/{blob}")), 200);
}

#[test]
fn tags_come_in_pages_and_in_order() {
    let bucket = Bucket::start();
    let registry = bucket.registry(&[]);
    registry.push_image("a", "v1", b"layer");
    let manifest = image(&[b"layer"]);
    // As bytes are ordered, not as the bucket's folders are.
    let mut expected = vec!["v1".to_owned()];
    for tag in [
        "v1.0", "v1-0", "V2", "v10", "_x", "v1_0", "0", "latest", "v2",
    ] {
        registry.push_manifest("a", tag, &manifest);
        expected.push(tag.to_owned());
    }
    expected.sort();
    let mut found: Vec<String> = Vec::new();
    let mut next = Some("/v2/a/tags/list?n=3".to_owned());
    while let Some(path) = next {
        let answer = registry.get(&path);
        let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
        let tags: Vec<String> = serde_json::from_value(json["tags"].clone()).expect("a list");
        assert!(tags.len() <= 3, "{tags:?}");
        found.extend(tags);
        next = answer.header("link").map(|link| {
            let link = link.trim_start_matches('<');
            link.split('>').next().unwrap_or_default().to_owned()
        });
    }
    assert_eq!(found, expected);
}

#[test]
fn an_upload_goes_on_after_its_process_was_killed() {
    let bucket = Bucket::start();
    an_upload_goes_on_after_its_process_was_killed_in(&bucket);
    let left = bucket.objects();
    assert!(
        left.iter().all(|it| !it.starts_with("uploads/")),
        "{left:?}"
    );
}

#[test]
fn an_upload_goes_on_in_azure_after_its_process_was_killed() {
    an_upload_goes_on_after_its_process_was_killed_in(&Bucket::azure());
}

fn an_upload_goes_on_after_its_process_was_killed_in(bucket: &Bucket) {
    let mut registry = bucket.registry(&[]);
    let content = noise(3, 16_000_000);
    let place = registry.begin("a");
    // One piece is of several parts, one of one.
    let (first, second) = (6_000_000, 6_500_000);
    let sent = registry.ask("PATCH", &place, &[], &content[..first]);
    assert_eq!(sent.status, 202, "{}", sent.text());
    registry.kill();
    let mut registry = bucket.registry(&[]);
    let status = registry.get(&place);
    let last = format!("0-{}", first - 1);
    assert_eq!((status.status, status.header("range")), (204, Some(&*last)));
    let field = format!("Content-Range: {first}-{}", second - 1);
    let sent = registry.ask("PATCH", &place, &[&field], &content[first..second]);
    assert_eq!(sent.status, 202, "{}", sent.text());
    // This one is killed while a piece comes.
    let mut connection = registry.connect();
    connection.send(format!(
        "PATCH {place} HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n"
    ));
    connection.send(&content[second..second + 8_000_000]);
    registry.kill();
    let registry = bucket.registry(&[]);
    let status = registry.get(&place);
    let last = format!("0-{}", second - 1);
    assert_eq!(status.header("range"), Some(&*last));
    let digest = digest(&content);
    let path = format!("{place}?digest={digest}");
    let put = registry.ask("PUT", &path, &[], &content[second..]);
    assert_eq!(put.status, 201, "{}", put.text());
    assert!(registry.get(&format!("/v2/a/blobs/{digest}")).body == content);
}

#[test]
fn what_has_come_of_uploads_is_counted_by_the_next_process() {
    let bucket = Bucket::start();
    let flags = ["--max-blob-size=7000000", "--max-begun-bytes=8000000"];
    let mut registry = bucket.registry(&flags);
    let content = noise(4, 6_000_000);
    let first = registry.begin("a");
    let sent = registry.ask("PATCH", &first, &[], &content);
    assert_eq!(sent.status, 202, "{}", sent.text());
    registry.kill();
    let registry = bucket.registry(&flags);
    let second = registry.begin("b");
    let patch = |size: usize| registry.ask("PATCH", &second, &[], &content[..size]);
    let refused = patch(3_000_000);
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.text().contains("--max-begun-bytes"));
    assert_eq!(patch(1_000_000).status, 202);
    let path = format!("{first}?digest={}", digest(&content));
    assert_eq!(registry.ask("PUT", &path, &[], b"").status, 201);
    assert_eq!(patch(3_000_000).status, 202);
}

#[test]
fn what_is_acknowledged_is_there_after_the_process_was_killed() {
    what_is_acknowledged_is_there_after_the_process_was_killed_in(&Bucket::start());
}

#[test]
fn what_is_acknowledged_is_in_azure_after_the_process_was_killed() {
    what_is_acknowledged_is_there_after_the_process_was_killed_in(&Bucket::azure());
}

fn what_is_acknowledged_is_there_after_the_process_was_killed_in(bucket: &Bucket) {
    let mut acknowledged: Vec<(String, String)> = Vec::new();
    for round in 0..6_u64 {
        let mut registry = bucket.registry(&[]);
        let (over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
        let pushed = thread::scope(|scope| {
            let (registry, over, count) = (&registry, &over, &count);
            let pushing = scope.spawn(move || {
                let mut pushed = Vec::new();
                for step in 0.. {
                    let tag = format!("r{round}-{step}");
                    let layer = noise(round * 1000 + step + 10, 300_000);
                    match registry.try_push_image("a", &tag, &layer) {
                        Ok(digest) => {
                            pushed.push((tag, digest));
                            count.fetch_add(1, Ordering::Release);
                        }
                        Err(_) if over.load(Ordering::Acquire) => return pushed,
                        Err(error) => panic!("{error}"),
                    }
                }
                pushed
            });
            if round % 2 == 1 {
                until("a push is acknowledged", || {
                    count.load(Ordering::Acquire) > 0
                });
            }
            // Another moment each time.
            thread::sleep(Duration::from_millis(15 + 40 * round));
            over.store(true, Ordering::Release);
            registry.kill_from_beside();
            pushing.join().expect("no panic")
        });
        registry.kill();
        acknowledged.extend(pushed);
        bucket.assert_whole();
    }
    assert!(!acknowledged.is_empty());
    gc(bucket);
    bucket.assert_whole();
    let registry = bucket.registry(&[]);
    for (tag, digest) in &acknowledged {
        let got = registry.get(&format!("/v2/a/manifests/{tag}"));
        let found = got.header("docker-content-digest");
        assert_eq!(found, Some(&**digest), "{tag}");
    }
}

#[test]
fn collections_take_what_nothing_needs_and_scrubs_find_rot() {
    let bucket = Bucket::start();
    let mut registry = bucket.registry(&[]);
    registry.push_image("a", "v1", b"kept");
    let gone = registry.push_image("a", "v2", b"gone");
    registry.push_blob("a", b"never named");
    let place = registry.begin("a");
    assert_eq!(registry.ask("PATCH", &place, &[], b"abandoned").status, 202);
    let path = format!("/v2/a/manifests/{gone}");
    assert_eq!(registry.status("DELETE", &path), 202);
    let asked = bucket.run(&["gc", "--storage", &bucket.url()]);
    assert_eq!(asked.code, Some(2), "{}", asked.said());
    assert!(asked.stderr.contains("--alone"), "{}", asked.said());
    registry.kill();
    let collected = gc(&bucket);
    assert_eq!(collected["links"], 2, "{collected}");
    assert_eq!(collected["contents"], 3, "{collected}");
    assert_eq!(collected["uploads"], 1, "{collected}");
    bucket.assert_whole();
    let kept = digest(b"kept");
    let hex = kept.strip_prefix("sha256:").expect("a digest");
    let file = bucket.file(&format!("blobs/sha256/{}/{hex}", &hex[..2]));
    std::fs::write(file, b"rot!").expect("a file");
    let found = bucket.run(&["scrub", "--storage", &bucket.url()]);
    assert_eq!(found.code, Some(1), "{}", found.said());
    assert!(found.said().contains(&kept), "{}", found.said());
    // A push of the same mends it.
    let registry = bucket.registry(&[]);
    registry.push_blob("a", b"kept");
    bucket.assert_whole();
}

#[test]
fn tokens_are_signed_by_a_key_in_the_bucket() {
    let bucket = Bucket::start();
    let folder = tempfile::tempdir().expect("a folder");
    let users = folder.path().join("users");
    // `sesame` by bcrypt, of the least cost.
    let hash = "$2y$04$abcdefghijklmnopqrstuuinwY/tkBVrn3xrxQI/TgnMHhkvl85RW";
    std::fs::write(&users, format!("alice:{hash}\n")).expect("a file");
    let flag = format!("--htpasswd-file={}", users.display());
    let token = |registry: &Registry| {
        let field = "Authorization: Basic YWxpY2U6c2VzYW1l";
        let given = registry.ask("GET", "/v2/token", &[field], b"");
        let json: Value = serde_json::from_slice(&given.body).expect("JSON");
        json["token"].as_str().expect("a token").to_owned()
    };
    let mut registry = bucket.registry(&[&flag]);
    let given = token(&registry);
    registry.kill();
    // The next process takes it.
    let registry = bucket.registry(&[&flag]);
    let field = format!("Authorization: Bearer {given}");
    assert_eq!(registry.ask("GET", "/v2/", &[&field], b"").status, 200);
    assert_eq!(registry.status("GET", "/v2/"), 401);
}

#[test]
fn a_bucket_that_cannot_be_used_is_named_and_waited_for() {
    let mut bucket = Bucket::start();
    let wrong = bucket.registry_as("wrong", &[]);
    until("it is said", || wrong.log().contains("cannot be used"));
    let begun = wrong.ask("POST", "/v2/a/blobs/uploads/", &[], b"");
    assert!(begun.status >= 500, "{}", begun.text());
    let registry = bucket.registry(&[]);
    let pushed = registry.push_image("a", "v1", b"layer");
    bucket.stop();
    thread::scope(|scope| {
        // What the bucket does not answer is asked again.
        let asking = scope.spawn(|| registry.get("/v2/a/manifests/v1"));
        thread::sleep(Duration::from_millis(300));
        bucket.start_again();
        let got = asking.join().expect("no panic");
        let found = got.header("docker-content-digest");
        assert_eq!((got.status, found), (200, Some(&*pushed)));
    });
}
