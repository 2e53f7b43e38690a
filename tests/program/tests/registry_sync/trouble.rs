//! Connections that break, and registries that want to be left alone for a while.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use program_tests::registry::{Gate, Image, Layout, Verdict, noise};

use crate::rig::{Rig, digest_at, push};

fn push_large(rig: &Rig, length: usize) {
    let mut layout = Layout::new();
    layout.image("1", &Image::of("linux/amd64", &[&noise(11, length)]));
    layout.push("1", &format!("{}/big:1", rig.outside.host()));
}

#[test]
fn a_download_that_breaks_goes_on_where_it_broke() {
    let rig = Rig::start();
    push_large(&rig, 3_000_000);
    let cuts = AtomicUsize::new(0);
    let gate = Gate::before(rig.outside.port(), move |asked| {
        let is_blob = asked.method == "GET" && asked.target.contains("/blobs/");
        match is_blob && cuts.fetch_add(1, Ordering::Relaxed) < 4 {
            true => Verdict::CutAnswer(700_000),
            false => Verdict::Forward,
        }
    });
    let list = rig.images_from(&gate.host(), "    - OUTSIDE/big:1");
    let done = rig.sync(&list, &[]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    assert_eq!(rig.digest("big:1"), digest_at(&rig.outside, "big:1"));
    let ranges: Vec<_> = gate
        .asked_for("GET", "/blobs/")
        .iter()
        .filter_map(|it| it.header("range").map(str::to_owned))
        .collect();
    assert!(!ranges.is_empty(), "{:?}", gate.asked());
    assert!(ranges.iter().all(|it| it != "bytes=0-"), "{ranges:?}");
}

#[test]
fn an_upload_that_breaks_is_completed() {
    let rig = Rig::start();
    push_large(&rig, 20_000_000);
    let cuts = AtomicUsize::new(0);
    let gate = Gate::before(rig.inside.port(), move |asked| {
        // The second one, and later another.
        let is_cut =
            asked.method == "PATCH" && [1, 4].contains(&cuts.fetch_add(1, Ordering::Relaxed));
        match is_cut {
            true => Verdict::CutRequest(1_000_000),
            false => Verdict::Forward,
        }
    });
    let list = rig.images("    - OUTSIDE/big:1");
    let done = rig.fill("sync", &gate.host(), &list, &[]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    assert_eq!(rig.digest("big:1"), digest_at(&rig.outside, "big:1"));
    assert!(
        gate.asked_for("PATCH", "/uploads/").len() >= 4,
        "{:?}",
        gate.asked()
    );
}

/// It would be put at another path of the registry that is filled, into another repository.
#[test]
fn a_tag_of_a_source_that_is_none_is_left_out() {
    let rig = Rig::start();
    push(&rig.outside, &["team/app:v1"]);
    let gate = Gate::before(rig.outside.port(), |asked| {
        let tags = r#"{"tags":["v1","../../victim/manifests/latest","v1?tag=other","v1#"]}"#;
        match asked.target.contains("/tags/list") {
            true => Verdict::Answer(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{tags}",
                tags.len()
            )),
            false => Verdict::Forward,
        }
    });
    let target = Gate::before(rig.inside.port(), |_| Verdict::Forward);
    let entries = "    - source: OUTSIDE/team/app\n      tags: {all: true}";
    let list = rig.images_from(&gate.host(), entries);
    let ended = rig.fill("sync", &target.host(), &list, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert!(rig.digest("team/app:v1").is_some());
    for asked in target.asked().iter().chain(&gate.asked()) {
        assert!(
            !asked.target.contains("victim") && !asked.target.contains("other"),
            "{}",
            asked.target
        );
    }
}

#[test]
fn a_registry_that_is_busy_is_left_alone_as_long_as_it_says() {
    let rig = Rig::start();
    push(&rig.outside, &["a:1"]);
    let gate = Gate::before(rig.outside.port(), |asked| match asked.number {
        0 => Verdict::Answer(
            "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"
                .to_owned(),
        ),
        1 => Verdict::Answer(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_owned(),
        ),
        _ => Verdict::Forward,
    });
    let list = rig.images_from(&gate.host(), "    - OUTSIDE/a:1");
    let done = rig.sync(&list, &[]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    let asked = gate.asked();
    let wait = asked[1].at - asked[0].at;
    assert!(wait >= Duration::from_secs(2), "{wait:?}");
}

#[test]
fn requests_keep_the_pace_that_the_list_sets() {
    let rig = Rig::start();
    push(&rig.outside, &["a:1", "b:1", "c:1", "d:1"]);
    let gate = Gate::before(rig.outside.port(), |_| Verdict::Forward);
    let images = ["a", "b", "c", "d"].map(|name| format!("    - OUTSIDE/{name}:1"));
    let list = rig.images_from(&gate.host(), &images.join("\n"));
    let text = std::fs::read_to_string(&list).expect("a list");
    let text = text.replace(
        "tls: {mode: disabled}",
        "tls: {mode: disabled}\n      requestsPerSecond: 4",
    );
    std::fs::write(&list, text).expect("a file");
    let begun = Instant::now();
    let done = rig.sync(&list, &[]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    let asked = gate.asked();
    // Not from when the first one came: it may have been held up on its way, as any other.
    let span = asked[asked.len() - 1].at - begun;
    let least = Duration::from_millis(250) * u32::try_from(asked.len() - 2).expect("few");
    assert!(
        asked.len() >= 14 && span >= least,
        "{} in {span:?}",
        asked.len()
    );
}

#[test]
fn one_image_that_fails_does_not_keep_others_if_so_asked() {
    let rig = Rig::start();
    push(&rig.outside, &["a:1", "b:1", "c:1"]);
    let gate = Gate::before(rig.outside.port(), |asked| {
        match asked.method == "GET" && asked.target.contains("/b/blobs/") {
            true => Verdict::Answer("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n".to_owned()),
            false => Verdict::Forward,
        }
    });
    let list = rig.images_from(
        &gate.host(),
        "    - OUTSIDE/a:1\n    - OUTSIDE/b:1\n    - OUTSIDE/c:1",
    );
    let done = rig.sync(&list, &["--keep-going", "--retries=1"]);
    assert_eq!(done.code, Some(1), "{}", done.said());
    assert!(
        done.stdout.contains("2 images copied") && done.stdout.contains("1 failed"),
        "{}",
        done.said()
    );
    assert!(
        done.stderr.contains("/b:1: ") && done.stderr.contains("500"),
        "{}",
        done.said()
    );
    assert!(
        rig.digest("a:1").is_some() && rig.digest("b:1").is_none() && rig.digest("c:1").is_some()
    );
}

#[test]
fn what_a_registry_sends_in_place_of_content_is_not_taken() {
    let rig = Rig::start();
    push(&rig.outside, &["a:1"]);
    let gate = Gate::before(rig.outside.port(), |asked| {
        match asked.method == "GET" && asked.target.contains("/blobs/") {
            true => {
                let page = "x".repeat(2_000);
                Verdict::Answer(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n{page}"
                ))
            }
            false => Verdict::Forward,
        }
    });
    let list = rig.images_from(&gate.host(), "    - OUTSIDE/a:1");
    let done = rig.sync(&list, &["--retries=1"]);
    assert_eq!(done.code, Some(1), "{}", done.said());
    assert_eq!(rig.digest("a:1"), None);
}

#[test]
fn a_registry_without_tls_is_named_as_such_unless_it_is_this_machines() {
    let rig = Rig::start();
    push(&rig.outside, &["a:1"]);
    // A name of this machine that does not say so.
    let host = rig.outside.host().replace("127.0.0.1", "0.0.0.0");
    let list = rig.list("lines.txt", &format!("{host}/a:1\n"));
    let done = rig.sync(&list, &["--retries=0"]);
    assert_eq!(done.code, Some(1), "{}", done.said());
    assert!(
        done.stderr.contains("it speaks HTTP, not TLS"),
        "{}",
        done.said()
    );
    let list = rig.list("local.txt", "OUTSIDE/a:1\n");
    let done = rig.sync(&list, &["--retries=0"]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    assert_eq!(rig.digest("a:1"), digest_at(&rig.outside, "a:1"));
}
