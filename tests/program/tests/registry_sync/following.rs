//! A registry that is served keeps itself filled by lists.

use std::path::Path;
use std::time::Duration;

use program_tests::registry::{
    DebianRegistry, Gate, Image, Layout, PASSWORD, Registry, Verdict, noise,
};
use program_tests::{Folder, Narthex, class, curl, ports, until};

use crate::rig::{Rig, digest_at, narthex, push};

const SOON: &str = "--sync-interval=1s";

fn has(registry: &Registry, name: &str, tag: &str) -> bool {
    registry.status("HEAD", &format!("/v2/{name}/manifests/{tag}")) == 200
}

fn digest_of(registry: &Registry, name: &str, tag: &str) -> Option<String> {
    let answer = registry.ask("HEAD", &format!("/v2/{name}/manifests/{tag}"), &[], b"");
    answer.header("docker-content-digest").map(str::to_owned)
}

/// A tag becomes another image.
fn push_another(registry: &DebianRegistry, name: &str, seed: u64) {
    let mut layout = Layout::new();
    layout.image("1", &Image::of("linux/amd64", &[&noise(seed, 3_000)]));
    layout.push("1", &format!("{}/{name}", registry.host()));
}

#[test]
fn what_a_list_names_is_brought_and_follows_its_source_and_the_list() {
    let rig = Rig::start();
    push(&rig.outside, &["a:1", "b:1"]);
    let list = rig.images("    - OUTSIDE/a:1");
    let metrics = ports::free();
    let shown = format!("--metrics-address=127.0.0.1:{metrics}");
    let registry = Registry::with(&["--sync", &list, SOON, &shown]);
    until("the image of the list is there", || {
        has(&registry, "a", "1")
    });
    assert!(!has(&registry, "b", "1"));
    let first = digest_at(&rig.outside, "a:1");
    assert_eq!(digest_of(&registry, "a", "1"), first);

    push_another(&rig.outside, "a:1", 77);
    let second = digest_at(&rig.outside, "a:1");
    assert_ne!(first, second);
    until("the tag follows its source", || {
        digest_of(&registry, "a", "1") == second
    });

    // What is missing fails alone, and comes once it is there.
    rig.images("    - OUTSIDE/c:1\n    - OUTSIDE/a:1\n    - OUTSIDE/b:1");
    until("the list's new image is there", || has(&registry, "b", "1"));
    let said = |registry: &Registry| registry.log().matches("c:1 is not brought").count();
    until("what is missing is told", || said(&registry) == 1);
    let metric = |line: &str| {
        let page = curl(&[&format!("http://127.0.0.1:{metrics}/metrics")]);
        page.text.contains(line)
    };
    until("what fails is counted", || {
        metric("narthex_registry_sync_images{state=\"failing\"} 1")
            && metric("narthex_registry_sync_images{state=\"present\"} 2")
    });
    push(&rig.outside, &["c:1"]);
    until("what was missing has come", || has(&registry, "c", "1"));
    until("nothing fails any more", || {
        metric("narthex_registry_sync_images{state=\"failing\"} 0")
    });
    until("what was copied is counted", || {
        metric("narthex_registry_sync_copied_images_total 4")
    });
    // It was said once, however often it was tried.
    assert_eq!(said(&registry), 1, "{}", registry.log());
    Registry::assert_whole(registry.storage());
}

#[test]
fn what_no_list_names_any_more_leaves_if_that_is_known_and_nobody_has_changed_it() {
    let rig = Rig::start();
    push(&rig.outside, &["a:1", "b:1", "c:1", "b:2"]);
    let all = "    - OUTSIDE/a:1\n    - OUTSIDE/b:1\n    - OUTSIDE/c:1";
    let list = rig.images(all);
    let storage = rig.folder.path().join("images");
    let serve =
        |flags: &[&str]| Registry::on(&storage, &[&["--sync", &list, SOON][..], flags].concat());
    // Nothing leaves unless that is asked for.
    let mut registry = serve(&[]);
    until("the images are there", || {
        ["a", "b", "c"].iter().all(|name| has(&registry, name, "1"))
    });
    let own = registry.push_image("own", "1", b"nobody's list has it");
    registry.kill();
    rig.images("    - OUTSIDE/a:1\n    - OUTSIDE/b:2");
    let mut registry = serve(&["--sync-prune=tell"]);
    until("it is told what would leave", || {
        let said = "2 tags that no list names would leave with --sync-prune=on: b:1, c:1";
        registry.log().contains(said)
    });
    until("a round is over", || has(&registry, "b", "2"));
    assert!(has(&registry, "b", "1") && has(&registry, "c", "1"));
    // What somebody has changed since is his.
    let theirs = registry.push_image("c", "1", b"another");
    let brought = digest_of(&registry, "b", "1").expect("there");
    registry.kill();

    let metrics = ports::free();
    let shown = format!("--metrics-address=127.0.0.1:{metrics}");
    let registry = serve(&["--sync-prune", &shown]);
    until("what no list names leaves", || !has(&registry, "b", "1"));
    until("that is said", || {
        registry.log().contains("c:1 stays: somebody has changed")
    });
    until("its manifest leaves, too", || {
        !has(&registry, "b", &brought)
    });
    assert_eq!(digest_of(&registry, "c", "1"), Some(theirs));
    assert_eq!(digest_of(&registry, "own", "1"), Some(own));
    assert!(has(&registry, "a", "1") && has(&registry, "b", "2"));
    until("it is counted", || {
        let page = curl(&[&format!("http://127.0.0.1:{metrics}/metrics")]);
        let counted = "narthex_registry_sync_pruned_images_total 1\n";
        page.text.contains(counted)
    });

    // Nothing does before all is there that the lists name, nor while it is not known what they
    // mean: an image that cannot be had, a source that cannot list its tags, one that has none of
    // them, a list that cannot be read, and one without any image.
    for (entries, why) in [
        (
            "    - {source: OUTSIDE/nothing, tags: {regex: [x]}}",
            "nothing is not brought",
        ),
        (
            "    - {source: OUTSIDE/b, tags: {regex: ['^x']}}",
            "has none of the tags",
        ),
        (
            "    - OUTSIDE/b:1\n    - OUTSIDE/b:3",
            "/b:3 is not brought",
        ),
        ("    - {}", "the lists of images stay as they were"),
        ("    []", "the lists name no image"),
    ] {
        rig.images(entries);
        let kept = |it: &&str| it.contains("stay") && it.contains(why);
        until(why, || registry.log().lines().filter(kept).count() > 0);
        assert!(
            has(&registry, "a", "1") && has(&registry, "b", "2"),
            "{why}"
        );
    }
    rig.images("    - OUTSIDE/b:1");
    until("what a list names again comes", || has(&registry, "b", "1"));
    until("what it does not leaves", || {
        !has(&registry, "a", "1") && !has(&registry, "b", "2")
    });
    let storage = storage.display().to_string();
    let collected = program_tests::run(&["registry", "gc", "--storage", &storage, "--grace=0s"]);
    assert_eq!(collected.code, Some(0), "{}", collected.said());
    Registry::assert_whole(registry.storage());
}

#[test]
fn a_list_that_becomes_wrong_changes_nothing_and_is_told() {
    let rig = Rig::start();
    push(&rig.outside, &["a:1", "b:1"]);
    let wrong = rig.list(
        "wrong.yaml",
        "apiVersion: narthex.dev/v1alpha1\nkind: ImageList\n",
    );
    let storage = rig.folder.path().join("never").display().to_string();
    let address = format!("--address=127.0.0.1:{}", ports::free());
    let serve = ["registry", "serve", "--storage", &storage, &address];
    let ended = narthex(
        rig.folder.path(),
        &[&serve[..], &["--sync", &wrong]].concat(),
    );
    assert_eq!(ended.code, Some(1), "{}", ended.said());
    assert!(
        ended.stderr.contains("wrong.yaml") && ended.stderr.contains("`spec`"),
        "{}",
        ended.said()
    );

    let list = rig.images("    - OUTSIDE/a:1");
    let registry = Registry::with(&["--sync", &list, SOON]);
    until("the image is there", || has(&registry, "a", "1"));
    rig.list(
        "images.yaml",
        "apiVersion: narthex.dev/v1alpha1\nkind: ImageList\n",
    );
    until("the error is told", || {
        registry
            .log()
            .contains("the lists of images stay as they were")
    });
    push_another(&rig.outside, "a:1", 78);
    let second = digest_at(&rig.outside, "a:1");
    until("the former list is followed", || {
        digest_of(&registry, "a", "1") == second
    });
    rig.images("    - OUTSIDE/b:1");
    until("the list that is right again is followed", || {
        has(&registry, "b", "1")
    });
}

#[test]
fn providers_of_credentials_open_the_sources() {
    let rig = Rig::start();
    let guarded = DebianRegistry::with_password();
    push(&rig.outside, &["a:1"]);
    let auth = format!("--dest-creds=tester:{PASSWORD}");
    let copied = program_tests::registry::skopeo(&[
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        &auth,
        &format!("docker://{}/a:1", rig.outside.host()),
        &format!("docker://{}/a:1", guarded.host()),
    ]);
    assert_eq!(copied.code, Some(0), "{}", copied.said());
    let list = rig.images_from(&guarded.host(), "    - OUTSIDE/a:1");
    rig.list("password", &format!("{PASSWORD}\n"));
    let credentials = rig.list(
        "credentials.yaml",
        &format!(
            "apiVersion: narthex.dev/v1alpha1\nkind: RegistryCredentials\nmetadata: {{name: team}}\n\
             spec:\n  docker: {{server: \"{}\", username: tester, passwordFile: password}}\n",
            guarded.host()
        ),
    );
    let registry = Registry::with(&["--sync", &list, "--sync-credentials-file", &credentials]);
    until("the guarded image is there", || has(&registry, "a", "1"));
    assert!(!registry.log().contains(PASSWORD), "{}", registry.log());
    // And once, by hand.
    let done = rig.sync(&list, &["--credentials-file", &credentials]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    let missing = rig.folder.path().join("nothing.yaml").display().to_string();
    let refused = rig.sync(&list, &["--credentials-file", &missing]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("nothing.yaml"),
        "{}",
        refused.said()
    );
}

#[test]
fn a_registry_that_is_killed_while_images_come_is_whole_and_goes_on() {
    let rig = Rig::start();
    let mut layout = Layout::new();
    layout.image("1", &Image::of("linux/amd64", &[&noise(5, 20_000_000)]));
    layout.push("1", &format!("{}/big:1", rig.outside.host()));
    // Whoever asks for the large blob gets a part of it: it is begun again and again.
    let gate = Gate::before(rig.outside.port(), |asked| {
        match asked.method == "GET" && asked.target.contains("/blobs/") {
            true => Verdict::CutAnswer(6_000_000),
            false => Verdict::Forward,
        }
    });
    let broken = rig.images_from(&gate.host(), "    - OUTSIDE/big:1");
    let storage = rig.folder.path().join("images");
    let mut registry = Registry::on(&storage, &["--sync", &broken, SOON]);
    until("much of it has come", || {
        gate.asked_for("GET", "/blobs/").len() > 2
    });
    registry.kill();
    Registry::assert_whole(&storage);
    let list = rig.images("    - OUTSIDE/big:1");
    let registry = Registry::on(&storage, &["--sync", &list, SOON]);
    until("it is there", || has(&registry, "big", "1"));
    Registry::assert_whole(&storage);
}

#[test]
fn a_registry_beside_the_ingress_follows_lists() {
    let rig = Rig::start();
    push(&rig.outside, &["a:1"]);
    let list = rig.images("    - OUTSIDE/a:1");
    let storage = rig.folder.path().join("images");
    let address = format!("127.0.0.1:{}", ports::free());
    let storage = storage.display().to_string();
    let folder = Folder::of(&[class()]);
    let flags = [
        "--registry",
        &address,
        "--registry-storage",
        &storage,
        "--registry-sync",
        &list,
        "--registry-sync-interval=1s",
    ];
    let mut narthex = Narthex::on(&folder).args(&flags).start();
    let url = format!("http://{address}/v2/a/manifests/1");
    until("the image is there", || curl(&[&url]).status == 200);
    let counted = "narthex_registry_sync_copied_images_total 1";
    until("it is counted", || narthex.metrics().contains(counted));
    narthex.signal(rustix::process::Signal::TERM);
    assert!(narthex.ended_within(Duration::from_secs(20)).success());
    Registry::assert_whole(Path::new(&storage));
}
