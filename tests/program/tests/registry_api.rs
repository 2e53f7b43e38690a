//! The registry's HTTP API, by the categories of the distribution specification.

use program_tests::registry::server::{descriptor, image};
use program_tests::registry::{Registry, digest};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn sha512(content: &[u8]) -> String {
    let found = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, content);
    let hex: String = found
        .as_ref()
        .iter()
        .map(|it| format!("{it:02x}"))
        .collect();
    format!("sha512:{hex}")
}

fn tags(registry: &Registry, path: &str) -> (Vec<String>, Option<String>) {
    let answer = registry.get(path);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let tags = serde_json::from_value(json["tags"].clone()).expect("a list");
    let link = answer.header("link").map(|link| {
        let link = link.strip_suffix(">; rel=\"next\"").expect("a next page");
        link.strip_prefix('<').expect("a link").to_owned()
    });
    (tags, link)
}

#[test]
fn it_says_that_it_is_a_registry() {
    let registry = Registry::start();
    let answer = registry.get("/v2/");
    assert_eq!(answer.status, 200);
    let version = answer.header("docker-distribution-api-version");
    assert_eq!(version, Some("registry/2.0"));
    assert_eq!(registry.status("GET", "/v2"), 200);
    assert_eq!(registry.status("GET", "/other"), 404);
    assert_eq!(registry.status("DELETE", "/v2/"), 405);
}

#[test]
fn a_blob_is_pushed_in_every_way() {
    let registry = Registry::start();
    let pushed = |way: &str, content: &[u8], digest: &str| {
        let path = format!("/v2/{way}/blobs/{digest}");
        let got = registry.get(&path);
        assert_eq!((got.status, got.body.as_slice()), (200, content), "{way}");
        assert_eq!(got.header("docker-content-digest"), Some(digest), "{way}");
        let head = registry.ask("HEAD", &path, &[], b"");
        let length = content.len().to_string();
        assert_eq!(head.status, 200, "{way}");
        assert_eq!(head.header("content-length"), Some(&*length), "{way}");
        assert_eq!(head.header("docker-content-digest"), Some(digest), "{way}");
    };
    pushed("stream", b"one", &registry.push_blob("stream", b"one"));

    let whole = digest(b"two");
    let place = registry.begin("put");
    let put = registry.ask("PUT", &format!("{place}?digest={whole}"), &[], b"two");
    assert_eq!(put.status, 201, "{}", put.text());
    assert_eq!(
        put.header("location"),
        Some(&*format!("/v2/put/blobs/{whole}"))
    );
    pushed("put", b"two", &whole);

    let whole = digest(b"three");
    let path = format!("/v2/post/blobs/uploads/?digest={whole}");
    let post = registry.ask("POST", &path, &[], b"three");
    assert_eq!(post.status, 201, "{}", post.text());
    pushed("post", b"three", &whole);

    let whole = digest(b"012345");
    let place = registry.begin("chunks");
    for (range, chunk) in [("0-1", b"01"), ("2-3", b"23")] {
        let field = format!("Content-Range: {range}");
        let sent = registry.ask("PATCH", &place, &[&field], chunk);
        assert_eq!(sent.status, 202, "{}", sent.text());
        let end = range.split_once('-').expect("a range").1;
        assert_eq!(sent.header("range"), Some(&*format!("0-{end}")));
    }
    let path = format!("{place}?digest={whole}");
    let last = registry.ask("PUT", &path, &["Content-Range: 4-5"], b"45");
    assert_eq!(last.status, 201, "{}", last.text());
    pushed("chunks", b"012345", &whole);

    pushed("empty", b"", &registry.push_blob("empty", b""));

    let whole = sha512(b"long");
    let path = "/v2/long/blobs/uploads/?digest-algorithm=sha512";
    let begun = registry.ask("POST", path, &[], b"");
    assert_eq!(begun.status, 202);
    let place = begun.header("location").expect("a place").to_owned();
    assert_eq!(registry.ask("PATCH", &place, &[], b"long").status, 202);
    let put = registry.ask("PUT", &format!("{place}?digest={whole}"), &[], b"");
    assert_eq!(put.status, 201, "{}", put.text());
    pushed("long", b"long", &whole);
    // Nobody has to have said so before.
    let place = registry.begin("late");
    assert_eq!(registry.ask("PATCH", &place, &[], b"long").status, 202);
    let put = registry.ask("PUT", &format!("{place}?digest={whole}"), &[], b"");
    assert_eq!(put.status, 201, "{}", put.text());
    pushed("late", b"long", &whole);
}

#[test]
fn chunks_come_in_order_or_not_at_all() {
    let registry = Registry::start();
    let place = registry.begin("a");
    let early = registry.ask("PATCH", &place, &["Content-Range: 3-5"], b"345");
    assert_eq!(early.status, 416);
    assert_eq!(Registry::code(&early), "BLOB_UPLOAD_INVALID");
    let sent = registry.ask("PATCH", &place, &["Content-Range: 0-2"], b"012");
    assert_eq!(sent.status, 202);
    let again = registry.ask("PATCH", &place, &["Content-Range: 0-2"], b"012");
    assert_eq!(again.status, 416);
    let longer = registry.ask("PATCH", &place, &["Content-Range: 3-9"], b"345");
    assert_eq!(longer.status, 400);
    let status = registry.get(&place);
    assert_eq!((status.status, status.header("range")), (204, Some("0-2")));
    assert_eq!(status.header("location"), Some(&*place));
    let late = format!("{place}?digest={}", digest(b"012345"));
    let late = registry.ask("PUT", &late, &["Content-Range: 4-6"], b"345");
    assert_eq!(late.status, 416);
}

#[test]
fn an_upload_is_cancelled_and_nobody_elses() {
    let registry = Registry::start();
    let place = registry.begin("a");
    let foreign = place.replace("/v2/a/", "/v2/b/");
    assert_eq!(registry.status("GET", &foreign), 404);
    assert_eq!(registry.status("DELETE", &place), 204);
    let gone = registry.get(&place);
    assert_eq!(gone.status, 404);
    assert_eq!(Registry::code(&gone), "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(registry.status("DELETE", &place), 404);
    assert_eq!(registry.status("GET", "/v2/a/blobs/uploads/.."), 404);
    assert_eq!(
        registry.status("GET", "/v2/a/blobs/uploads/x%2f..%2fy"),
        404
    );
}

#[test]
fn content_that_is_not_what_it_is_called_is_refused() {
    let registry = Registry::start();
    let other = digest(b"other");
    let place = registry.begin("a");
    let put = registry.ask("PUT", &format!("{place}?digest={other}"), &[], b"this");
    assert_eq!(put.status, 400);
    assert_eq!(Registry::code(&put), "DIGEST_INVALID");
    assert_eq!(
        registry.status("HEAD", &format!("/v2/a/blobs/{other}")),
        404
    );
    let manifest = registry.put_manifest("a", &other, &image(&[]));
    assert_eq!(
        (manifest.status, &*Registry::code(&manifest)),
        (400, "DIGEST_INVALID")
    );
    for wrong in ["sha256:abc", "md5:0123", "", "sha384:00"] {
        let place = registry.begin("a");
        let put = registry.ask("PUT", &format!("{place}?digest={wrong}"), &[], b"this");
        assert_eq!(put.status, 400, "{wrong}");
    }
    let path = "/v2/a/blobs/uploads/?digest-algorithm=md5";
    assert_eq!(registry.status("POST", path), 400);
}

#[test]
fn a_blob_is_mounted_from_another_repository_or_any() {
    let registry = Registry::start();
    let digest = registry.push_blob("from/here", b"layer");
    let path = format!("/v2/to/there/blobs/uploads/?mount={digest}&from=from/here");
    let mounted = registry.ask("POST", &path, &[], b"");
    assert_eq!(mounted.status, 201, "{}", mounted.text());
    let place = mounted.header("location").expect("a place");
    assert_eq!(registry.get(place).body, b"layer");
    let path = format!("/v2/any/blobs/uploads/?mount={digest}");
    assert_eq!(registry.status("POST", &path), 201);
    assert_eq!(
        registry.get(&format!("/v2/any/blobs/{digest}")).body,
        b"layer"
    );
    // What cannot be mounted is uploaded.
    let path = format!("/v2/no/blobs/uploads/?mount={digest}&from=no/where");
    let begun = registry.ask("POST", &path, &[], b"");
    assert_eq!(begun.status, 202);
    assert!(begun.header("location").is_some());
    assert_eq!(
        registry.status("HEAD", &format!("/v2/no/blobs/{digest}")),
        404
    );
}

#[test]
fn parts_of_a_blob_are_served() {
    let registry = Registry::start();
    let digest = registry.push_blob("a", b"0123456789");
    let path = format!("/v2/a/blobs/{digest}");
    let part = |range: &str| registry.ask("GET", &path, &[&format!("Range: {range}")], b"");
    let middle = part("bytes=2-4");
    assert_eq!((middle.status, middle.body.as_slice()), (206, &b"234"[..]));
    assert_eq!(middle.header("content-range"), Some("bytes 2-4/10"));
    assert_eq!(part("bytes=7-").body, b"789");
    assert_eq!(part("bytes=-2").body, b"89");
    let beyond = part("bytes=10-");
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range"), Some("bytes */10"));
    let known = format!("If-None-Match: \"{digest}\"");
    assert_eq!(registry.ask("GET", &path, &[&known], b"").status, 304);
    let fields = ["Range: bytes=2-4", "If-Range: \"other\""];
    assert_eq!(registry.ask("GET", &path, &fields, b"").status, 200);
}

#[test]
fn a_manifest_is_kept_as_it_came_by_tag_and_by_digest() {
    let registry = Registry::start();
    let layer: &[u8] = b"layer";
    let digest = registry.push_image("a/b", "v1", layer);
    let bytes = image(&[layer]).to_string();
    for reference in ["v1", &digest] {
        let path = format!("/v2/a/b/manifests/{reference}");
        let got = registry.get(&path);
        assert_eq!((got.status, got.text()), (200, bytes.clone()));
        assert_eq!(got.header("content-type"), Some(MANIFEST));
        assert_eq!(got.header("docker-content-digest"), Some(&*digest));
        let head = registry.ask("HEAD", &path, &[], b"");
        let length = bytes.len().to_string();
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-length"), Some(&*length));
        assert_eq!(head.header("content-type"), Some(MANIFEST));
    }
    let unknown = registry.get("/v2/a/b/manifests/v2");
    assert_eq!(
        (unknown.status, &*Registry::code(&unknown)),
        (404, "MANIFEST_UNKNOWN")
    );
    assert_eq!(
        registry.status("GET", &format!("/v2/other/manifests/{digest}")),
        404
    );
    // A tag is moved.
    let other = registry.push_image("a/b", "v1", b"other");
    let head = registry.ask("HEAD", "/v2/a/b/manifests/v1", &[], b"");
    assert_eq!(head.header("docker-content-digest"), Some(&*other));
}

#[test]
fn one_push_sets_many_tags() {
    let registry = Registry::start();
    registry.push_blob("a", b"{}");
    let manifest = image(&[]);
    let digest = digest(manifest.to_string().as_bytes());
    let reference = format!("{digest}?tag=1.2.3&tag=1.2&tag=latest");
    let put = registry.put_manifest("a", &reference, &manifest);
    assert_eq!(put.status, 201, "{}", put.text());
    let named: Vec<_> = put.all("oci-tag").collect();
    assert_eq!(named, ["1.2.3", "1.2", "latest"]);
    assert_eq!(
        tags(&registry, "/v2/a/tags/list").0,
        ["1.2", "1.2.3", "latest"]
    );
    let wrong = registry.put_manifest("a", &format!("{digest}?tag=a/b"), &manifest);
    assert_eq!(wrong.status, 400);
}

#[test]
fn what_a_manifest_needs_must_be_there_but_for_what_may_be_elsewhere() {
    let registry = Registry::start();
    registry.push_blob("a", b"{}");
    let missing = registry.put_manifest("a", "v1", &image(&[b"missing"]));
    assert_eq!(missing.status, 404);
    assert_eq!(Registry::code(&missing), "MANIFEST_BLOB_UNKNOWN");
    assert!(
        missing.text().contains(&digest(b"missing")),
        "{}",
        missing.text()
    );
    // Another repository's is not this one's.
    registry.push_blob("b", b"missing");
    assert_eq!(
        registry
            .put_manifest("a", "v1", &image(&[b"missing"]))
            .status,
        404
    );
    let mut foreign = image(&[b"elsewhere"]);
    foreign["layers"][0]["mediaType"] =
        json!("application/vnd.oci.image.layer.nondistributable.v1.tar");
    registry.push_manifest("a", "foreign", &foreign);
    let child = descriptor(MANIFEST, b"not here");
    let sparse = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]});
    registry.push_manifest("a", "sparse", &sparse);
    let docker = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": descriptor("application/vnd.docker.container.image.v1+json", b"{}"),
        "layers": [],
    });
    registry.push_manifest("a", "docker", &docker);
    let got = registry.get("/v2/a/manifests/docker");
    let expected = docker["mediaType"].as_str();
    assert_eq!(got.header("content-type"), expected);
}

#[test]
fn a_flag_lets_manifests_come_without_their_blobs() {
    let registry = Registry::with(&["--allow-missing-blobs"]);
    registry.push_manifest("a", "v1", &image(&[b"missing"]));
    assert_eq!(registry.status("GET", "/v2/a/manifests/v1"), 200);
}

#[test]
fn what_is_no_manifest_is_refused() {
    let registry = Registry::start();
    let field = format!("Content-Type: {MANIFEST}");
    for wrong in [
        "",
        "{",
        "[]",
        r#"{"mediaType":"other"}"#,
        r#"{"config":{"digest":"x"}}"#,
    ] {
        let put = registry.ask("PUT", "/v2/a/manifests/v1", &[&field], wrong.as_bytes());
        assert_eq!(put.status, 400, "{wrong}");
        assert_eq!(Registry::code(&put), "MANIFEST_INVALID", "{wrong}");
    }
    let large = vec![b' '; 4 * 1024 * 1024 + 1];
    let put = registry.ask("PUT", "/v2/a/manifests/v1", &[&field], &large);
    assert_eq!((put.status, &*Registry::code(&put)), (413, "SIZE_INVALID"));
    // What is as large as it may be.
    let mut manifest = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []});
    manifest["annotations"] = json!({"large": "a".repeat(4 * 1024 * 1024 - 200)});
    registry.push_manifest("a", "large", &manifest);
}

#[test]
fn a_manifest_is_no_page_for_a_browser_whatever_it_is_called() {
    let registry = Registry::start();
    let put = |media_type: &str| {
        let field = format!("Content-Type: {media_type}");
        let manifest = br#"{"annotations":{"a":"<script>alert(1)</script>"}}"#;
        registry.ask("PUT", "/v2/a/manifests/page", &[&field], manifest)
    };
    assert_eq!(put("text/html").status, 201);
    let answer = registry.get("/v2/a/manifests/page");
    assert_eq!(answer.header("content-security-policy"), Some("sandbox"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    for wrong in ["nothing", "/", "a/b/c", "a b/c"] {
        let answer = put(wrong);
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.text());
        assert_eq!(Registry::code(&answer), "MANIFEST_INVALID");
    }
}

#[test]
fn tags_are_listed_in_order_and_in_pages() {
    let registry = Registry::start();
    registry.push_blob("a", b"{}");
    for tag in ["c", "B", "a", "1", "d"] {
        registry.push_manifest("a", tag, &image(&[]));
    }
    let all = ["1", "B", "a", "c", "d"];
    assert_eq!(tags(&registry, "/v2/a/tags/list").0, all);
    let (first, next) = tags(&registry, "/v2/a/tags/list?n=2");
    assert_eq!(first, all[..2]);
    let (second, next) = tags(&registry, &next.expect("a second page"));
    assert_eq!(second, all[2..4]);
    let (third, next) = tags(&registry, &next.expect("a third page"));
    assert_eq!((third.as_slice(), next), (&["d".to_owned()][..], None));
    assert_eq!(tags(&registry, "/v2/a/tags/list?last=a").0, all[3..]);
    assert_eq!(tags(&registry, "/v2/a/tags/list?n=0"), (Vec::new(), None));
    assert_eq!(registry.status("GET", "/v2/a/tags/list?n=-1"), 400);
    let unknown = registry.get("/v2/unknown/tags/list");
    assert_eq!(
        (unknown.status, &*Registry::code(&unknown)),
        (404, "NAME_UNKNOWN")
    );
}

#[test]
fn repositories_are_listed_in_pages() {
    let registry = Registry::start();
    for name in ["b", "a/x", "a", "a-b", "c/d/e"] {
        registry.push_blob(name, b"{}");
    }
    let mut names = Vec::new();
    let mut next = Some("/v2/_catalog?n=2".to_owned());
    while let Some(path) = next.take() {
        let answer = registry.get(&path);
        let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
        let page: Vec<String> =
            serde_json::from_value(json["repositories"].clone()).expect("a list");
        assert!(page.len() <= 2);
        names.extend(page);
        next = answer
            .header("link")
            .and_then(|link| link.strip_prefix('<')?.split_once('>'))
            .map(|(path, _)| path.to_owned());
    }
    assert_eq!(names, ["a", "a/x", "a-b", "b", "c/d/e"]);
}

#[test]
fn referrers_are_listed_filtered_and_paged() {
    let registry = Registry::start();
    let subject = registry.push_image("a", "v1", b"layer");
    let size = image(&[b"layer"]).to_string().len();
    let of = |kind: &str| {
        let mut manifest = image(&[]);
        manifest["artifactType"] = json!(kind);
        manifest["annotations"] = json!({"kind": kind});
        manifest["subject"] = json!({"mediaType": MANIFEST, "digest": subject, "size": size});
        manifest
    };
    let list = |query: &str| {
        let answer = registry.get(&format!("/v2/a/referrers/{subject}{query}"));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some(INDEX));
        let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
        let list = json["manifests"].as_array().expect("a list").clone();
        (list, answer)
    };
    assert!(list("").0.is_empty());
    let bytes = of("sbom/x");
    let put = registry.put_manifest("a", "sbom", &bytes);
    assert_eq!(put.header("oci-subject"), Some(&*subject));
    let signature = registry.push_manifest("a", "signature", &of("signature/x"));
    let (all, _) = list("");
    assert_eq!(all.len(), 2);
    assert!(
        all.iter()
            .all(|it| it["annotations"]["kind"] == it["artifactType"])
    );
    let (filtered, answer) = list("?artifactType=signature%2Fx");
    assert_eq!(answer.header("oci-filters-applied"), Some("artifactType"));
    assert_eq!(filtered.len(), 1);
    assert_eq!(filtered[0]["digest"], json!(signature));
    let (page, answer) = list("?n=1");
    assert_eq!(page.len(), 1);
    assert!(
        answer
            .header("link")
            .is_some_and(|link| link.contains("last="))
    );
    // Whoever is deleted refers to nothing any more.
    let path = format!("/v2/a/manifests/{signature}");
    assert_eq!(registry.status("DELETE", &path), 202);
    assert_eq!(list("").0.len(), 1);
    // A subject may come later, or never.
    let missing = registry.get(&format!("/v2/none/referrers/{}", digest(b"missing")));
    assert_eq!(missing.status, 200);
    assert_eq!(registry.status("GET", "/v2/a/referrers/sha256:x"), 400);
}

#[test]
fn what_is_deleted_is_gone_at_once() {
    let registry = Registry::start();
    let digest = registry.push_image("a", "v1", b"layer");
    registry.push_manifest("a", "also", &image(&[b"layer"]));
    registry.push_manifest("a", "third", &image(&[b"layer"]));
    assert_eq!(registry.status("DELETE", "/v2/a/manifests/third"), 202);
    assert_eq!(registry.status("GET", "/v2/a/manifests/third"), 404);
    assert_eq!(registry.status("GET", "/v2/a/manifests/v1"), 200);
    let path = format!("/v2/a/manifests/{digest}");
    assert_eq!(registry.status("DELETE", &path), 202);
    for reference in [&digest, "v1", "also"] {
        let path = format!("/v2/a/manifests/{reference}");
        assert_eq!(registry.status("GET", &path), 404, "{reference}");
    }
    assert_eq!(tags(&registry, "/v2/a/tags/list").0, Vec::<String>::new());
    assert_eq!(registry.status("DELETE", &path), 404);
    let blob = format!("/v2/a/blobs/{}", program_tests::registry::digest(b"layer"));
    assert_eq!(registry.status("DELETE", &blob), 202);
    assert_eq!(registry.status("GET", &blob), 404);
    assert_eq!(registry.status("DELETE", &blob), 404);
}

#[test]
fn names_that_cannot_be_are_refused() {
    let registry = Registry::start();
    for path in [
        "/v2/UPPER/tags/list",
        "/v2/a/../b/tags/list",
        "/v2/_blobs/tags/list",
        "/v2/a%2f..%2f..%2fb/tags/list",
    ] {
        let answer = registry.get(path);
        assert_eq!(
            (answer.status, &*Registry::code(&answer)),
            (400, "NAME_INVALID"),
            "{path}"
        );
    }
    let place = format!("/v2/a/blobs/uploads/?mount={}&from=../b", digest(b"x"));
    assert_eq!(registry.status("POST", &place), 400);
}

#[test]
fn a_blob_that_is_too_large_is_refused_before_it_is_kept() {
    let registry = Registry::with(&["--max-blob-size=10"]);
    registry.push_blob("a", b"0123456789");
    let place = registry.begin("a");
    let sent = registry.ask("PATCH", &place, &[], b"0123456789a");
    assert_eq!(
        (sent.status, &*Registry::code(&sent)),
        (413, "SIZE_INVALID")
    );
    assert_eq!(registry.ask("PATCH", &place, &[], b"01234567").status, 202);
    assert_eq!(registry.ask("PATCH", &place, &[], b"01234567").status, 413);
}

#[test]
fn plain_http_for_others_needs_a_flag() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = folder.path().display().to_string();
    let flags = ["registry", "serve", "--storage", &storage, "--address"];
    let ended = program_tests::run(&[&flags[..], &["0.0.0.0:0"]].concat());
    assert_eq!(ended.code, Some(2), "{}", ended.said());
    assert!(ended.stderr.contains("--insecure"), "{}", ended.stderr);
}
