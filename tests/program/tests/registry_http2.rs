//! HTTP/2 at the registry's own address.

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use program_tests::certificate::Authority;
use program_tests::frames::{
    self, ACK, Attack, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS, frame,
};
use program_tests::http2::{H2, block_on};
use program_tests::registry::{Image, Layout, Registry, crane, digest, skopeo};
use program_tests::{curl, ports, program, until};

/// A registry with TLS for `localhost`; the folder has `trust/ca.crt`.
fn secure(flags: &[&str]) -> (Registry, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new();
    let certificate = authority.ecdsa(&["localhost"]);
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("tls.key"), &certificate.key_pem).expect("a file");
    fs::write(path("tls.crt"), &certificate.chain_pem).expect("a file");
    // By itself: skopeo takes a key beside it for a client's.
    fs::create_dir(folder.path().join("trust")).expect("a folder");
    fs::write(path("trust/ca.crt"), &authority.pem).expect("a file");
    let certificate = format!("--tls-cert-file={}", path("tls.crt"));
    let key = format!("--tls-key-file={}", path("tls.key"));
    let flags = [&[&*certificate, &*key][..], flags].concat();
    (Registry::with(&flags), folder)
}

fn port(registry: &Registry) -> u16 {
    let host = registry.host();
    let (_, port) = host.rsplit_once(':').expect("a port");
    port.parse().expect("a number")
}

#[test]
fn curl_speaks_it_with_and_without_tls() {
    let (registry, folder) = secure(&[]);
    let url = format!("https://localhost:{}/v2/", port(&registry));
    let authority = folder.path().join("trust/ca.crt").display().to_string();
    for (flag, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let answer = curl(&["--cacert", &authority, flag, &url]);
        assert_eq!(
            (answer.status, &*answer.version),
            (200, version),
            "{answer:?}"
        );
    }
    let registry = Registry::start();
    let digest = registry.push_blob("a", b"content");
    let url = format!("http://{}/v2/a/blobs/{digest}", registry.host());
    for (flag, version) in [("--http2-prior-knowledge", "2"), ("--http1.1", "1.1")] {
        let answer = curl(&[flag, &url]);
        assert_eq!(
            (answer.status, &*answer.version),
            (200, version),
            "{answer:?}"
        );
        assert_eq!(answer.text, "content");
    }
}

#[test]
fn real_clients_push_and_pull_over_it() {
    let (registry, folder) = secure(&["--log-level=debug"]);
    let host = format!("localhost:{}", port(&registry));
    let mut layout = Layout::new();
    let large: Vec<u8> = (0..9_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let image = Image::of("linux/amd64", &[b"small", &large]);
    let pushed = layout.image("v1", &image);
    // crane takes it, and skopeo does not.
    let at = format!("{host}/team/app:v1");
    crane(&["push", "--index", &layout.path().display().to_string(), &at]);
    let by_digest = format!("{host}/team/app@{pushed}");
    assert_eq!(crane(&["digest", &by_digest]), pushed);
    // Our own client, too. What is not there is asked for by HEAD, whose answer has no body.
    let authority = folder.path().join("trust/ca.crt").display().to_string();
    let ours = program::run(&[
        "registry",
        "copy",
        &format!("{host}/team/app:v1"),
        &format!("{host}/other/app:v2"),
        "--ca-file",
        &authority,
    ]);
    assert_eq!(ours.code, Some(0), "{}", ours.said());
    let there = tempfile::tempdir().expect("a folder");
    let pulled = skopeo(&[
        "copy",
        "--src-tls-verify=false",
        &format!("docker://{host}/other/app@{pushed}"),
        &format!("oci:{}:v2", there.path().display()),
    ]);
    assert_eq!(pulled.code, Some(0), "{}", pulled.said());
    let by = |method: &str| {
        let is_its = |line: &str| {
            line.contains("answered") && line.contains(method) && line.contains("HTTP/2.0")
        };
        until(&format!("a line of {method}"), || {
            registry.log().lines().any(is_its)
        });
    };
    ["HEAD", "POST", "PATCH", "PUT", "GET"]
        .into_iter()
        .for_each(by);
    Registry::assert_whole(registry.storage());
}

#[test]
fn answers_to_head_have_no_body() {
    let registry = Registry::start();
    let pushed = registry.push_blob("a", b"content");
    let missing = digest(b"missing");
    for (digest, status) in [(pushed, 200), (missing, 404)] {
        let url = format!("http://{}/v2/a/blobs/{digest}", registry.host());
        let answer = curl(&["--http2-prior-knowledge", "--head", &url]);
        assert_eq!((answer.code, answer.status), (0, status), "{answer:?}");
    }
}

#[test]
fn an_upload_and_many_pulls_share_a_connection() {
    let registry = Registry::start();
    let content: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let pushed = registry.push_blob("a", &content);
    let place = registry.begin("b");
    let port = port(&registry);
    let path = format!("{place}?digest={pushed}");
    let content = Bytes::from(content);
    block_on(async {
        let h2 = H2::plain(port).await;
        let put = Request::put(format!("http://a{path}")).body(());
        let put = put.expect("a request");
        let (answer, mut body) = h2.open(put, false).await.expect("a stream");
        body.send_data(content.slice(..1_000_000), false)
            .expect("a stream");
        let pulls = (0..40).map(|_| {
            let (h2, pushed) = (h2.clone(), pushed.clone());
            tokio::spawn(async move {
                let path = format!("/v2/a/blobs/{pushed}");
                h2.get("a", &path).await.expect("an answer").body
            })
        });
        let pulls: Vec<_> = pulls.collect();
        for pull in pulls {
            assert!(pull.await.expect("no panic") == content);
        }
        body.send_data(content.slice(1_000_000..), true)
            .expect("a stream");
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status(), 201);
    });
    assert_eq!(
        registry.status("HEAD", &format!("/v2/b/blobs/{pushed}")),
        200
    );
}

#[test]
fn a_stream_that_is_reset_keeps_what_came() {
    let registry = Registry::start();
    let place = registry.begin("a");
    let port = port(&registry);
    block_on(async {
        let h2 = H2::plain(port).await;
        let patch = Request::patch(format!("http://a{place}")).body(());
        let (_answer, mut body) = h2
            .open(patch.expect("a request"), false)
            .await
            .expect("a stream");
        body.send_data(Bytes::from(vec![7; 50_000]), false)
            .expect("a stream");
        // What is asked for behind it is answered when it has left.
        h2.get("a", "/v2/").await.expect("an answer");
        body.send_reset(h2::Reason::CANCEL);
        tokio::time::sleep(Duration::from_millis(100)).await;
    });
    until("what came is kept", || {
        registry.get(&place).header("range") == Some("0-49999")
    });
}

#[test]
fn idle_silent_and_stuck_connections_are_ended() {
    let registry = Registry::with(&["--header-timeout=5s", "--write-timeout=5s"]);
    let large = vec![1; 3_000_000];
    let pushed = registry.push_blob("a", &large);
    let port = port(&registry);
    let soon = Duration::from_secs(20);
    // Nothing at all, and the beginning of what may be either.
    let mut silent = registry.connect();
    assert!(silent.is_closed_within(soon));
    let mut begun = registry.connect();
    begun.send("PRI * HT");
    assert!(begun.is_closed_within(soon));
    let idle = Attack::start(port);
    assert!(idle.ends_within(soon), "{:?}", idle.frames());
    assert!(idle.frames().iter().any(|it| it.kind == GOAWAY));
    // The whole answer is larger than the window that nobody renews.
    let mut stuck = Attack::start(port);
    let request = frames::request("GET", "a", &format!("/v2/a/blobs/{pushed}"));
    stuck.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &request));
    assert!(stuck.ends_within(soon), "{:?}", stuck.frames().len());
}

#[test]
fn floods_of_resets_end_their_connection_and_harm_nobody() {
    let registry = Registry::start();
    let port = port(&registry);
    let mut flood = Attack::start(port);
    let request = frames::request("GET", "a", "/v2/");
    flood.flood(20_000, |index| {
        let stream = 2 * index + 1;
        let mut bytes = frame(HEADERS, END_STREAM | END_HEADERS, stream, &request);
        bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        bytes
    });
    assert_eq!(registry.status("GET", "/v2/"), 200);
    // Fields without end.
    let mut fields = Attack::start(port);
    fields.send(&frame(SETTINGS, ACK, 0, &[]));
    let mut head = frames::request("GET", "a", "/v2/");
    for _ in 0..40 {
        head.extend(frames::field("x-long", &"a".repeat(4000)));
    }
    let mut pieces = head.chunks(16_000);
    fields.send(&frame(HEADERS, END_STREAM, 1, pieces.next().expect("one")));
    fields.flood(u32::try_from(pieces.len()).expect("few"), |_| {
        frame(frames::CONTINUATION, 0, 1, pieces.next().expect("one"))
    });
    fields.send(&frame(frames::CONTINUATION, END_HEADERS, 1, &[]));
    assert_eq!(registry.status("GET", "/v2/"), 200);
}

#[test]
fn what_is_under_way_ends_well_when_the_registry_ends() {
    let metrics = ports::free();
    let flag = format!("--metrics-address=127.0.0.1:{metrics}");
    let mut registry = Registry::with(&[&flag]);
    let large: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let pushed = registry.push_blob("a", &large);
    let port = port(&registry);
    block_on(async {
        let h2 = H2::plain(port).await;
        let get = Request::get(format!("http://a/v2/a/blobs/{pushed}")).body(());
        let (answer, _) = h2
            .open(get.expect("a request"), true)
            .await
            .expect("a stream");
        let answer = answer.await.expect("an answer");
        let mut body = answer.into_body();
        let ended = tokio::task::spawn_blocking(move || registry.end());
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut got = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece.expect("all of it");
            body.flow_control()
                .release_capacity(piece.len())
                .expect("a stream");
            got.extend_from_slice(&piece);
        }
        assert_eq!(digest(&got), pushed);
        drop(h2);
        assert!(ended.await.expect("no panic").success());
    });
}
