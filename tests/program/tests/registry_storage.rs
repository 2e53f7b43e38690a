//! Nothing is lost: crashes, restarts, collections beside traffic, rot and full disks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use program_tests::registry::{Registry, digest, noise};
use program_tests::{program, until};
use serde_json::Value;

fn gc(storage: &Path, grace: &str) -> Value {
    let path = storage.display().to_string();
    let flags = [
        "registry",
        "gc",
        "--storage",
        &path,
        "--output=json",
        "--grace",
    ];
    let ended = program::run(&[&flags[..], &[grace]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    serde_json::from_str(&ended.stdout).expect("JSON")
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => found.push(path),
            }
        }
    }
    found
}

#[test]
fn an_upload_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut registry = Registry::on(folder.path(), &[]);
    let content = noise(1, 3_000_000);
    let place = registry.begin("a");
    assert_eq!(
        registry
            .ask("PATCH", &place, &[], &content[..1_000_000])
            .status,
        202
    );
    registry.kill();
    let mut registry = Registry::on(folder.path(), &[]);
    let status = registry.get(&place);
    assert_eq!(
        (status.status, status.header("range")),
        (204, Some("0-999999"))
    );
    let field = "Content-Range: 1000000-1999999";
    let sent = registry.ask("PATCH", &place, &[field], &content[1_000_000..2_000_000]);
    assert_eq!(sent.status, 202);
    registry.kill();
    let registry = Registry::on(folder.path(), &[]);
    let digest = digest(&content);
    let path = format!("{place}?digest={digest}");
    let put = registry.ask("PUT", &path, &[], &content[2_000_000..]);
    assert_eq!(put.status, 201, "{}", put.text());
    assert!(registry.get(&format!("/v2/a/blobs/{digest}")).body == content);
    assert_eq!(
        files(&folder.path().join("uploads")),
        Vec::<std::path::PathBuf>::new()
    );
}

#[test]
fn what_came_before_a_client_broke_off_is_kept() {
    let registry = Registry::start();
    let content = noise(2, 2_000_000);
    let place = registry.begin("a");
    let mut connection = registry.connect();
    connection.send(format!(
        "PATCH {place} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        content.len()
    ));
    connection.send(&content[..1_200_000]);
    drop(connection);
    let mut kept = 0;
    until("what came is kept", || {
        let status = registry.get(&place);
        let range = status
            .header("range")
            .and_then(|range| range.strip_prefix("0-"));
        kept = range.and_then(|last| last.parse().ok()).unwrap_or(0);
        kept > 0
    });
    assert!(kept < 1_200_000, "{kept}");
    let rest = &content[kept + 1..];
    let path = format!("{place}?digest={}", digest(&content));
    let put = registry.ask("PUT", &path, &[], rest);
    assert_eq!(put.status, 201, "{}", put.text());
}

#[test]
fn a_process_killed_at_any_moment_leaves_no_half_image() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged: Vec<(String, String)> = Vec::new();
    let mut deleted: Vec<String> = Vec::new();
    for round in 0..12_u64 {
        let mut registry = Registry::on(folder.path(), &[]);
        for (tag, digest) in &acknowledged {
            let got = registry.get(&format!("/v2/a/manifests/{tag}"));
            assert_eq!(
                got.header("docker-content-digest"),
                Some(&**digest),
                "{tag}"
            );
        }
        for digest in &deleted {
            let path = format!("/v2/a/manifests/{digest}");
            assert_eq!(registry.status("GET", &path), 404);
        }
        let (over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (pushed, removed) = thread::scope(|scope| {
            let (registry, over, count) = (&registry, &over, &count);
            let pushing = scope.spawn(move || {
                let mut pushed = Vec::new();
                for step in 0.. {
                    let tag = format!("r{round}-{step}");
                    let layer = noise(round * 1000 + step + 10, 400_000);
                    match registry.try_push_image("a", &tag, &layer) {
                        Ok(digest) => {
                            pushed.push((tag, digest));
                            count.fetch_add(1, Ordering::Release);
                        }
                        Err(error) if over.load(Ordering::Acquire) => {
                            drop(error);
                            return pushed;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                pushed
            });
            let victims: Vec<_> = acknowledged
                .iter()
                .skip(2)
                .map(|(_, digest)| digest.clone())
                .collect();
            let deleting = scope.spawn(move || {
                let mut removed = Vec::new();
                let mut begun = None;
                for digest in victims.into_iter().take(3) {
                    let path = format!("/v2/a/manifests/{digest}");
                    begun = Some(digest.clone());
                    match registry.try_ask("DELETE", &path, &[], b"") {
                        Ok(answer) => assert_eq!(answer.status, 202),
                        Err(_) => return (removed, begun),
                    }
                    removed.push(digest);
                    begun = None;
                }
                (removed, begun)
            });
            // Another moment each time, from the first request to well within the pushes.
            thread::sleep(Duration::from_millis(20 + 67 * round));
            if round % 4 == 3 {
                until("a push is acknowledged", || {
                    count.load(Ordering::Acquire) > 0
                });
            }
            over.store(true, Ordering::Release);
            registry.kill_from_beside();
            (
                pushing.join().expect("no panic"),
                deleting.join().expect("no panic"),
            )
        });
        registry.kill();
        let (gone, perhaps) = removed;
        acknowledged.extend(pushed);
        acknowledged
            .retain(|(_, digest)| !gone.contains(digest) && Some(digest) != perhaps.as_ref());
        deleted.extend(gone);
        Registry::assert_whole(folder.path());
    }
    assert!(!acknowledged.is_empty());
    // What is left of it is taken away, and nothing else.
    gc(folder.path(), "0s");
    Registry::assert_whole(folder.path());
    let left = files(&folder.path().join("blobs"));
    assert!(
        left.iter()
            .all(|path| !path.to_string_lossy().contains('#')),
        "{left:?}"
    );
    assert!(files(&folder.path().join("uploads")).is_empty());
    let registry = Registry::on(folder.path(), &[]);
    for (tag, digest) in &acknowledged {
        let got = registry.get(&format!("/v2/a/manifests/{tag}"));
        assert_eq!(
            got.header("docker-content-digest"),
            Some(&**digest),
            "{tag}"
        );
    }
}

#[test]
fn deletions_reach_the_disk_in_their_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let trace = path("trace").display().to_string();
    // -D: what is started is the registry, and not the one that looks.
    let wrapper = [
        "strace",
        "-D",
        "-f",
        "-y",
        "-o",
        &trace,
        "-e",
        "trace=unlink,fsync",
    ];
    let registry = Registry::through(&wrapper, &path("images"), &[]);
    let pushed = registry.push_image("a", "v1", b"layer");
    let removed = format!("/v2/a/manifests/{pushed}");
    assert_eq!(registry.status("DELETE", &removed), 202);
    let trace = fs::read_to_string(&trace).expect("a trace");
    let calls: Vec<&str> = trace
        .lines()
        .filter(|line| line.contains("/repositories/a/"))
        .collect();
    let from = calls.iter().position(|line| line.contains("unlink("));
    let calls = &calls[from.expect("a deletion")..];
    let expected = [
        "/_tags/v1\"",
        "/_tags>",
        &format!("/_manifests/sha256/{}\"", &pushed["sha256:".len()..]),
        "/_manifests/sha256>",
    ];
    assert_eq!(calls.len(), expected.len(), "{calls:#?}");
    for ((line, end), call) in calls
        .iter()
        .zip(expected)
        .zip(["unlink", "fsync"].iter().cycle())
    {
        assert!(line.contains(call) && line.contains(end), "{calls:#?}");
    }
}

#[test]
fn one_blob_pushed_by_many_at_once_is_kept_once() {
    let registry = Registry::start();
    let content = noise(3, 1_000_000);
    thread::scope(|scope| {
        for number in 0..8 {
            let (registry, content) = (&registry, &content);
            scope.spawn(move || registry.push_blob(&format!("r{}", number % 3), content));
        }
    });
    let contents = files(&registry.storage().join("blobs"));
    assert_eq!(contents.len(), 1, "{contents:?}");
    assert!(fs::read(&contents[0]).expect("content") == content);
}

#[test]
fn collections_take_what_nothing_needs_and_nothing_else() {
    let registry = Registry::start();
    let kept = registry.push_image("a", "v1", b"kept");
    let gone = registry.push_image("a", "v2", b"gone");
    registry.push_blob("a", b"never named");
    let place = registry.begin("a");
    assert_eq!(registry.ask("PATCH", &place, &[], b"abandoned").status, 202);
    assert_eq!(
        registry.status("DELETE", &format!("/v2/a/manifests/{gone}")),
        202
    );
    // All of it is young.
    let collected = gc(registry.storage(), "1h");
    assert_eq!(collected["contents"], 0, "{collected}");
    let collected = gc(registry.storage(), "0s");
    assert_eq!(collected["links"], 2, "{collected}");
    assert_eq!(collected["contents"], 3, "{collected}");
    assert_eq!(collected["uploads"], 1, "{collected}");
    assert!(!registry.content(&digest(b"gone")).exists());
    assert_eq!(
        registry.status("GET", &format!("/v2/a/blobs/{}", digest(b"gone"))),
        404
    );
    assert_eq!(
        registry
            .get(&format!("/v2/a/blobs/{}", digest(b"kept")))
            .body,
        b"kept"
    );
    assert_eq!(
        registry.status("GET", &format!("/v2/a/manifests/{kept}")),
        200
    );
    Registry::assert_whole(registry.storage());
}

#[test]
fn pushes_beside_collections_lose_nothing() {
    let registry = Registry::start();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (registry, over) = (&registry, &over);
        let pushing: Vec<_> = (0..3_u64)
            .map(|worker| {
                scope.spawn(move || {
                    let begun = Instant::now();
                    let (mut step, mut pushed) = (0, 0);
                    while begun.elapsed() < Duration::from_secs(8) || pushed < 3 {
                        assert!(
                            begun.elapsed() < Duration::from_secs(120),
                            "{pushed} pushed"
                        );
                        step += 1;
                        let layer = noise(worker + step % 4, 50_000);
                        let name = format!("r{worker}");
                        let tag = format!("t{}", step % 3);
                        // Without any grace, what a push has sent may be taken before it is named,
                        // and the push is told so. What was acknowledged stays.
                        let digest = match registry.try_push_image(&name, &tag, &layer) {
                            Ok(digest) => digest,
                            Err(error) => {
                                assert!(error.to_string().contains("_UNKNOWN"), "{error}");
                                continue;
                            }
                        };
                        pushed += 1;
                        let manifest = format!("/v2/{name}/manifests/{digest}");
                        assert_eq!(
                            registry.status("GET", &format!("/v2/{name}/manifests/{tag}")),
                            200
                        );
                        let blob = format!("/v2/{name}/blobs/{}", crate::digest(&layer));
                        assert!(registry.get(&blob).body == layer);
                        if step % 2 == 0 {
                            assert_eq!(registry.status("DELETE", &manifest), 202);
                        }
                    }
                })
            })
            .collect();
        let collecting = scope.spawn(move || {
            while !over.load(Ordering::Acquire) {
                gc(registry.storage(), "0s");
            }
        });
        let ended: Vec<_> = pushing.into_iter().map(|it| it.join()).collect();
        over.store(true, Ordering::Release);
        collecting.join().expect("no panic");
        assert!(ended.iter().all(Result::is_ok));
    });
    Registry::assert_whole(registry.storage());
}

#[test]
fn rot_is_found_with_the_images_that_it_hits_and_mended_by_a_push() {
    let mut registry = Registry::with(&["--verify-pulls"]);
    let layer = noise(4, 600_000);
    registry.push_image("team/app", "v1", &layer);
    registry.push_image("team/app", "v2", b"other");
    let digest = digest(&layer);
    let path = registry.content(&digest);
    let mut bytes = layer.clone();
    bytes[300_000] ^= 1;
    fs::write(&path, &bytes).expect("the content is changed");
    let storage = registry.storage().display().to_string();
    let scrubbed = program::run(&["registry", "scrub", "--storage", &storage]);
    assert_eq!(scrubbed.code, Some(1), "{}", scrubbed.said());
    assert!(scrubbed.stdout.contains(&digest), "{}", scrubbed.stdout);
    assert!(
        scrubbed.stdout.contains("hits team/app:v1"),
        "{}",
        scrubbed.stdout
    );
    assert!(
        !scrubbed.stdout.contains("team/app:v2"),
        "{}",
        scrubbed.stdout
    );
    // It never looks complete to a client.
    let pulled = registry.try_ask("GET", &format!("/v2/team/app/blobs/{digest}"), &[], b"");
    assert!(pulled.is_err(), "{pulled:?}");
    registry.push_blob("team/app", &layer);
    Registry::assert_whole(registry.storage());
    // Content that is lost is pushed again, since it is not there.
    fs::remove_file(&path).expect("there");
    let head = format!("/v2/team/app/blobs/{digest}");
    assert_eq!(registry.status("HEAD", &head), 404);
    let scrubbed = program::run(&["registry", "scrub", "--storage", &storage]);
    assert!(
        scrubbed.stdout.contains("it is not there"),
        "{}",
        scrubbed.stdout
    );
    registry.push_blob("team/app", &layer);
    Registry::assert_whole(registry.storage());
    assert!(registry.end().success());
}

#[test]
fn a_full_disk_is_said_and_harms_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    // No file may be larger than 1 MiB: what a process meets is what a full disk gives.
    let script = "trap '' XFSZ; ulimit -f 2048; exec \"$@\"";
    let registry = Registry::through(&["sh", "-c", script, "sh"], folder.path(), &[]);
    let kept = registry.push_image("a", "v1", b"small");
    let large = noise(5, 3_000_000);
    let place = registry.begin("a");
    let sent = registry.ask("PATCH", &place, &[], &large);
    assert_eq!(sent.status, 507, "{}", sent.text());
    assert_eq!(Registry::code(&sent), "STORAGE_FULL");
    assert_eq!(
        registry.status("GET", &format!("/v2/a/manifests/{kept}")),
        200
    );
    registry.push_image("a", "v2", b"small, too");
    Registry::assert_whole(folder.path());
}

#[test]
fn some_of_the_disk_is_left_to_others() {
    const MIB: usize = 1 << 20;
    let folder = tempfile::tempdir().expect("a folder");
    let flags = ["--min-free-space=8MiB"];
    let (registry, disk) = Registry::on_disk(16, folder.path(), &flags);
    let free = || {
        let disk = rustix::fs::statvfs(&disk).expect("a disk");
        usize::try_from(disk.f_bavail * disk.f_frsize).expect("a small one")
    };
    let kept = registry.push_image("a", "v1", b"small");
    let place = registry.begin("a");
    let full = |answer: &program_tests::Response| {
        assert_eq!(answer.status, 507, "{}", answer.text());
        assert_eq!(Registry::code(answer), "STORAGE_FULL");
    };
    // What says how much it is, is refused before it comes; what does not, when it is too much.
    let large = noise(6, 12 * MIB);
    full(&registry.ask("PATCH", &place, &[], &large));
    assert!(free() > 15 * MIB);
    let mut connection = registry.connect();
    let head = format!("PATCH {place} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    connection.send([head.as_bytes(), b"c00000\r\n", &large, b"\r\n0\r\n\r\n"].concat());
    full(&connection.response());
    assert!(free() > 15 * MIB);
    // What fits is taken, until it is too much.
    let part = &large[..5 * MIB];
    assert_eq!(registry.ask("PATCH", &place, &[], part).status, 202);
    full(&registry.ask("PATCH", &registry.begin("b"), &[], part));
    assert!(free() >= 8 * MIB);
    let path = format!("/v2/a/manifests/{kept}");
    assert_eq!(registry.status("GET", &path), 200);
    // One that is cancelled makes room.
    assert_eq!(registry.status("DELETE", &place), 204);
    registry.push_image("a", "v2", part);
    // What has come is finished though there is no room for more, if that takes none.
    let place = registry.begin("a");
    let rest = noise(7, 2 * MIB);
    assert_eq!(registry.ask("PATCH", &place, &[], &rest).status, 202);
    full(&registry.ask("PATCH", &registry.begin("b"), &[], &rest));
    let path = format!("{place}?digest={}", digest(&rest));
    assert_eq!(registry.ask("PUT", &path, &[], b"").status, 201);
    Registry::assert_whole(&disk);
}

#[test]
fn storage_that_may_only_be_read_is_served_and_says_so() {
    let place = tempfile::tempdir().expect("a folder");
    let storage = place.path().join("images");
    let mut registry = Registry::on(&storage, &[]);
    registry.push_image("a", "v1", b"kept");
    assert!(registry.end().success());
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
    };
    mode(place.path(), 0o755);
    let mut folders = vec![storage.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => mode(&path, 0o444),
            }
        }
        mode(&folder, 0o555);
    }
    // Root may write anything; the build's folder may be closed to nobody.
    let copy = place.path().join("narthex");
    fs::copy(program::binary(), &copy).expect("a copy");
    let copy = copy.display().to_string();
    let script = "shift; exec \"$0\" \"$@\"";
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let run = ["sh", "-c", script, &copy];
    let wrapper = match rustix::process::geteuid().is_root() {
        true => [&nobody[..], &run].concat(),
        false => run.to_vec(),
    };
    let registry = Registry::through(&wrapper, &storage, &[]);
    let blob = format!("/v2/a/blobs/{}", digest(b"kept"));
    assert_eq!(registry.get(&blob).body, b"kept");
    assert_eq!(registry.status("GET", "/v2/a/manifests/v1"), 200);
    let begun = registry.ask("POST", "/v2/a/blobs/uploads/", &[], b"");
    assert_eq!(begun.status, 503, "{}", begun.text());
    assert!(
        begun.text().contains("may be read and not written"),
        "{}",
        begun.text()
    );
    let deleted = registry.ask("DELETE", "/v2/a/manifests/v1", &[], b"");
    assert_eq!(deleted.status, 503, "{}", deleted.text());
    // So that it can be removed.
    drop(registry);
    let mut folders = vec![storage];
    while let Some(folder) = folders.pop() {
        mode(&folder, 0o755);
        let entries = fs::read_dir(&folder).expect("a folder").flatten();
        folders.extend(
            entries
                .map(|entry| entry.path())
                .filter(|path| path.is_dir()),
        );
    }
}

#[test]
fn one_process_writes_to_a_folder() {
    let registry = Registry::start();
    let storage = registry.storage().display().to_string();
    let flags = [
        "registry",
        "serve",
        "--storage",
        &storage,
        "--address=127.0.0.1:0",
    ];
    let second = program::run(&flags);
    assert_eq!(second.code, Some(1), "{}", second.said());
    assert!(
        second.stderr.contains("another process serves"),
        "{}",
        second.stderr
    );
}
