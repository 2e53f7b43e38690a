//! Real clients of the registry: skopeo, Debian's registry beside it, and blobs of any size.

use std::fs;
use std::io::Write as _;

use aws_lc_rs::digest::{Context, SHA256};
use program_tests::registry::{DebianRegistry, Image, Layout, Registry, crane, skopeo};

fn layout() -> (Layout, String) {
    let mut layout = Layout::new();
    let amd64 = Image::of("linux/amd64", &[b"shared", b"amd64"]);
    let arm64 = Image::of("linux/arm64", &[b"shared", b"arm64"]);
    let digest = layout.index("v1", &[amd64, arm64]);
    (layout, digest)
}

#[track_caller]
fn copy(from: &str, to: &str) {
    let done = skopeo(&[
        "copy",
        "--all",
        "--preserve-digests",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        from,
        to,
    ]);
    assert_eq!(done.code, Some(0), "{}", done.said());
}

#[test]
fn skopeo_pushes_and_pulls_an_image_of_several_platforms() {
    let registry = Registry::start();
    let (layout, digest) = layout();
    let at = format!("{}/team/app:v1", registry.host());
    layout.push("v1", &at);
    let head = registry.ask("HEAD", "/v2/team/app/manifests/v1", &[], b"");
    assert_eq!(head.header("docker-content-digest"), Some(&*digest));
    let folder = tempfile::tempdir().expect("a folder");
    let to = format!("oci:{}:v1", folder.path().display());
    copy(&format!("docker://{at}"), &to);
    for hex in fs::read_dir(folder.path().join("blobs/sha256"))
        .expect("a layout")
        .flatten()
    {
        let digest = format!("sha256:{}", hex.file_name().to_string_lossy());
        let content = fs::read(hex.path()).expect("content");
        assert_eq!(program_tests::registry::digest(&content), digest);
    }
    let tags = skopeo(&[
        "list-tags",
        "--tls-verify=false",
        &format!("docker://{}/team/app", registry.host()),
    ]);
    assert!(tags.stdout.contains("\"v1\""), "{}", tags.said());
    let removed = skopeo(&["delete", "--tls-verify=false", &format!("docker://{at}")]);
    assert_eq!(removed.code, Some(0), "{}", removed.said());
    assert_eq!(registry.status("HEAD", "/v2/team/app/manifests/v1"), 404);
    Registry::assert_whole(registry.storage());
}

#[test]
fn images_go_to_another_registry_and_back_unchanged() {
    let (ours, theirs) = (Registry::start(), DebianRegistry::start());
    let (layout, digest) = layout();
    let there = format!("{}/team/app:v1", theirs.host());
    layout.push("v1", &there);
    let here = format!("{}/mirror/app:v1", ours.host());
    copy(&format!("docker://{there}"), &format!("docker://{here}"));
    let head = ours.ask("HEAD", "/v2/mirror/app/manifests/v1", &[], b"");
    assert_eq!(head.header("docker-content-digest"), Some(&*digest));
    let back = format!("docker://{}/back/app:v1", theirs.host());
    copy(&format!("docker://{here}"), &back);
    // Within the registry, what is there is mounted.
    let beside = format!("docker://{}/other/app:v1", ours.host());
    copy(&format!("docker://{here}"), &beside);
    Registry::assert_whole(ours.storage());
}

#[test]
fn a_docker_image_of_schema_2_is_kept_as_such() {
    let registry = Registry::start();
    let (layout, _) = layout();
    let at = format!("docker://{}/docker/app:v1", registry.host());
    let done = skopeo(&[
        "copy",
        "--format=v2s2",
        "--override-os=linux",
        "--override-arch=amd64",
        "--dest-tls-verify=false",
        &format!("oci:{}:v1", layout.path().display()),
        &at,
    ]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    let head = registry.ask("HEAD", "/v2/docker/app/manifests/v1", &[], b"");
    let expected = "application/vnd.docker.distribution.manifest.v2+json";
    assert_eq!(head.header("content-type"), Some(expected));
}

#[test]
fn crane_pushes_copies_lists_and_deletes() {
    let registry = Registry::start();
    let (layout, digest) = layout();
    let at = |name: &str| format!("{}/{name}", registry.host());
    let folder = layout.path().display().to_string();
    // The layout's own index, whose only entry is the image's.
    crane(&["push", "--index", &folder, &at("team/all:v1")]);
    let by_digest = at(&format!("team/all@{digest}"));
    assert_eq!(crane(&["digest", &by_digest]), digest);
    crane(&["copy", &by_digest, &at("other/app:v2")]);
    assert_eq!(crane(&["digest", &at("other/app:v2")]), digest);
    crane(&["tag", &at("other/app:v2"), "v3"]);
    assert_eq!(crane(&["ls", &at("other/app")]), "v2\nv3");
    let known = crane(&["catalog", &registry.host()]);
    assert_eq!(known, "other/app\nteam/all");
    crane(&["delete", &at(&format!("other/app@{digest}"))]);
    assert_eq!(crane(&["ls", &at("other/app")]), "");
    Registry::assert_whole(registry.storage());
}

/// `NARTHEX_REGISTRY_TEST_BLOB` is another size in MiB; the soak has 1024.
#[test]
fn a_large_blob_takes_no_memory() {
    let megabytes: usize = std::env::var("NARTHEX_REGISTRY_TEST_BLOB")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(192);
    let registry = Registry::with(&["--verify-pulls"]);
    let piece: Vec<u8> = (0..1024 * 1024_u32).map(|it| (it % 251) as u8).collect();
    let mut context = Context::new(&SHA256);
    let place = registry.begin("a");
    let mut connection = registry.connect();
    connection.send(format!(
        "PATCH {place} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        megabytes * piece.len()
    ));
    for _ in 0..megabytes {
        context.update(&piece);
        connection.socket().write_all(&piece).expect("it is taken");
    }
    assert_eq!(connection.response().status, 202);
    let hex: String = context
        .finish()
        .as_ref()
        .iter()
        .map(|it| format!("{it:02x}"))
        .collect();
    let digest = format!("sha256:{hex}");
    let put = registry.ask("PUT", &format!("{place}?digest={digest}"), &[], b"");
    assert_eq!(put.status, 201, "{}", put.text());
    let mut connection = registry.connect();
    connection.send(format!(
        "GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    ));
    let mut pulled = Context::new(&SHA256);
    let mut socket = connection.socket();
    let (mut head, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    let mut total = 0;
    loop {
        let count = std::io::Read::read(&mut socket, &mut buffer).expect("an answer");
        if count == 0 {
            break;
        }
        let mut body = &buffer[..count];
        if total == 0 && !head.ends_with(b"\r\n\r\n") {
            head.extend_from_slice(body);
            let Some(end) = head.windows(4).position(|it| it == b"\r\n\r\n") else {
                continue;
            };
            let rest = head.split_off(end + 4);
            body = &buffer[count - rest.len()..count];
        }
        pulled.update(body);
        total += body.len();
    }
    assert_eq!(total, megabytes * piece.len());
    let hex: String = pulled
        .finish()
        .as_ref()
        .iter()
        .map(|it| format!("{it:02x}"))
        .collect();
    assert_eq!(format!("sha256:{hex}"), digest);
    let status = fs::read_to_string(format!("/proc/{}/status", registry.pid())).expect("alive");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("a peak");
    let peak: usize = peak
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number");
    println!(
        "{megabytes} MiB pushed and pulled: at most {} MiB resident",
        peak / 1024
    );
    assert!(peak < 96 * 1024, "{peak} kB");
}
