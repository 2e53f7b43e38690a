//! Our own registry, filled: it takes sparse indexes, goes on with broken uploads and knows referrers.

use std::sync::atomic::{AtomicUsize, Ordering};

use program_tests::registry::{Gate, Image, Layout, Registry, Verdict, noise};

use crate::rig::Rig;

fn two_platforms() -> [Image; 2] {
    ["linux/amd64", "linux/arm64"].map(|it| Image::of(it, &[it.as_bytes(), b"in both"]))
}

#[test]
fn an_index_keeps_its_digest_where_only_some_platforms_are_wanted() {
    let (rig, own) = (Rig::start(), Registry::start());
    let host = own.host();
    let mut layout = Layout::new();
    let index = layout.index("v1", &two_platforms());
    let list = rig.list(
        "lines.txt",
        &format!("oci:{}:v1 app\n", layout.path().display()),
    );
    let only = ["--platform", "linux/arm64"];
    let done = rig.fill("sync", &host, &list, &only);
    assert_eq!(done.code, Some(0), "{}", done.said());
    assert!(done.stdout.contains(&index), "{}", done.said());
    let some = rig.fill("status", &host, &list, &only);
    assert_eq!(some.code, Some(0), "{}", some.said());
    // The other platform is missing, though the tag is what it should be.
    let all = rig.fill("status", &host, &list, &[]);
    assert!(all.stdout.contains("1 missing"), "{}", all.said());
    let done = rig.fill("sync", &host, &list, &[]);
    assert!(done.stdout.contains("1 image copied"), "{}", done.said());
    let all = rig.fill("status", &host, &list, &[]);
    assert!(all.stdout.contains("1 present"), "{}", all.said());
}

#[test]
fn an_upload_goes_on_where_it_broke() {
    let (rig, own) = (Rig::start(), Registry::start());
    let mut layout = Layout::new();
    layout.image("1", &Image::of("linux/amd64", &[&noise(11, 40_000_000)]));
    let list = rig.list(
        "lines.txt",
        &format!("oci:{}:1 big\n", layout.path().display()),
    );
    let patches = AtomicUsize::new(0);
    let port = own.host().rsplit(':').next().and_then(|it| it.parse().ok());
    let gate = Gate::before(port.expect("a port"), move |asked| {
        let is_cut = asked.method == "PATCH" && patches.fetch_add(1, Ordering::Relaxed) % 3 == 1;
        match is_cut {
            true => Verdict::CutRequest(1_000_000),
            false => Verdict::Forward,
        }
    });
    let done = rig.fill("sync", &gate.host(), &list, &[]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    // One beginning for the config, one for the layer, and none again.
    assert_eq!(gate.asked_for("POST", "/uploads/").len(), 2);
}
