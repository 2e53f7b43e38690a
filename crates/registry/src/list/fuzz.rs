//! Fuzz targets of lists and of what is in them: see the proxy's.

use std::path::Path;

use bolero::check;

use super::formats::is_host;
use super::range::version;
use super::{ImageList, Needs, Platform, Range, Source};
use crate::client::{is_repository, is_tag};
use crate::seeds::{first_line, sow};

/// A list that is taken leads to places that are some; of one that is not there is something wrong.
fn list(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let environment = |name: &str| (name != "NONE").then(|| "a.example/b".to_owned());
    let list = match ImageList::of_text(text, Path::new("none/list"), &environment) {
        Ok(list) => list,
        Err(problems) => {
            assert!(!problems.is_empty() && problems.len() <= text.len() + 1);
            assert!(problems.iter().all(|it| !it.to_string().is_empty()));
            return;
        }
    };
    assert!(!list.images.is_empty());
    for image in &list.images {
        if let Some(repository) = &image.repository {
            assert!(is_repository(repository), "{repository}");
        }
        if let Some(tag) = &image.tag {
            assert!(is_tag(tag), "{tag}");
        }
        if let Some(registry) = image.source.registry() {
            assert!(!registry.is_empty() && !registry.contains(['/', '@', '?', '#']));
        }
        let there = ["latest", "1.0", "v2.3.4-rc1", "nightly-2026"].map(str::to_owned);
        let wanted = image.tags.of(&there);
        let mut once = wanted.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), wanted.len());
    }
    assert!(list.registries.keys().all(|it| is_host(it)));
}

#[test]
fn lists() {
    let seeds = [
        "nginx:1.27\nquay.io/a/b@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef c/d:1 # x\noci:dir:1\n",
        "apiVersion: narthex.dev/v1alpha1\nkind: ImageList\nspec:\n  defaults: {platforms: [linux/amd64], index: filtered, exclude: '-rc'}\n  registries:\n  - host: quay.io\n    credentials: {username: a, passwordEnv: B}\n    tls: {mode: insecure, caFile: x}\n    parallel: 2.5\n  images:\n  - nginx\n  - source: quay.io/a/b\n    target: c\n    tags: {regex: ['^v'], semver: '>= 1.2', all: true}\n    referrers: true\n",
        "quay.io:\n  tls-verify: false\n  credentials: {username: a, password: b}\n  images:\n    a/b: [3.10, latest]\n  images-by-tag-regex:\n    a/c: ^1\\.\n  images-by-semver:\n    a/d: '>= 3.12.0'\n",
        "version: 1\ncreds:\n- registry: '{{env \"R\"}}'\n  user: a\n  pass: '{{file \"x\"}}'\nsync:\n- source: '{{ env \"S\" }}:1'\n  target: t.example/{{.Sync.Source}}\n  type: image\n- source: quay.io/a/b\n  target: t.example/b\n  type: repository\n  tags: {allow: ['1.*'], semverRange: ['>=1']}\n- {source: quay.io, target: t.example/q, type: registry, repos: {deny: [x]}}\n",
        "{\"extensions\": {\"sync\": {\"registries\": [{\"urls\": [\"https://index.docker.io\"], \"content\": [{\"prefix\": \"a/**\", \"destination\": \"/b\", \"stripPrefix\": true, \"tags\": {\"regex\": \"x\", \"semver\": true}}]}]}}}",
        "kind: Pod\n---\napiVersion: narthex.dev/v1alpha1\nkind: ImageList\nspec: {images: [a]}\n",
        "a: &a [*a]\n",
        "{{env \"NONE\"}}",
    ];
    sow(&seeds, list);
    check!().for_each(list);
}

/// A reference that is read is the same when it is written out.
fn reference(bytes: &[u8]) {
    let Some((text, _)) = first_line(bytes) else {
        return;
    };
    let folder = Path::new("folder");
    let Ok((source, reference)) = Source::parse(text, folder) else {
        return;
    };
    let Source::Repository { repository, .. } = &source else {
        return;
    };
    assert!(is_repository(repository), "{repository}");
    let written = match &reference {
        None => source.to_string(),
        // A digest alone, or behind a tag.
        Some(digest) if digest.contains(':') && !digest.contains('@') => {
            format!("{source}@{digest}")
        }
        Some(tag) => format!("{source}:{tag}"),
    };
    let (again, found) = Source::parse(&written, folder).expect("what was read");
    assert_eq!((again.to_string(), found), (source.to_string(), reference));
}

#[test]
fn references() {
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let seeds = [
        "nginx",
        "docker://localhost:5000/a/b:1.0",
        &format!("quay.io/a@{digest}"),
        &format!("a/b:1@{digest}"),
        "oci:dir:1",
        "oci-archive:a.tar",
        "docker-archive::",
        "[::1]:5000/a",
        "a.example",
    ];
    sow(&seeds, reference);
    check!().for_each(reference);
}

/// What is a version is its own, and is in every range that says so.
fn range(bytes: &[u8]) {
    let Some((text, tag)) = first_line(bytes) else {
        return;
    };
    let range = text.parse::<Range>();
    let Some(version) = version(tag) else {
        assert!(!range.is_ok_and(|it| it.takes(tag)));
        return;
    };
    let takes = |text: String| text.parse::<Range>().ok().map(|it| it.takes(tag));
    for operator in ["=", ">=", "<="] {
        assert_ne!(
            takes(format!("{operator}{version}")),
            Some(false),
            "{operator}{version}"
        );
    }
    for operator in ["!=", "<", ">"] {
        assert_ne!(
            takes(format!("{operator}{version}")),
            Some(true),
            "{operator}{version}"
        );
    }
    // One of two is enough, and both are not too much.
    if let Ok(range) = range {
        let is_in = range.takes(tag);
        assert_eq!(takes(format!("{text} || {text}")), Some(is_in));
        assert_eq!(
            takes(format!("{text} || *")),
            Some(is_in || version.pre.is_empty())
        );
    }
}

#[test]
fn semver_ranges() {
    let seeds = [
        ">= 1.2, < 2 || 3.x\nv1.2.3",
        "~1.2\n1.2",
        "^0.3\n0.3.1-rc1+b",
        "1.2 - 1.4\n1.4.9",
        "!=1.5.0 *\n1.5.0",
        "<=2.x\n2.9",
        ">=1.0.0-0\n1.0.0-rc.1",
        "=>1,~>2,==3\n01.2",
        ">=0.4.1-x11.x\n0.4.1-x11.x",
    ];
    sow(&seeds, range);
    check!().for_each(range);
}

/// A platform prints what it was, and takes itself.
fn platform(bytes: &[u8]) {
    let Some((text, other)) = first_line(bytes) else {
        return;
    };
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string(), text);
        assert!(platform.takes(&platform));
        if let Ok(other) = other.parse::<Platform>() {
            let same = platform.os == other.os && platform.architecture == other.architecture;
            assert!(same || !platform.takes(&other));
        }
    }
}

#[test]
fn platforms() {
    let seeds = [
        "linux/amd64\nlinux/arm64/v8",
        "linux/arm\nlinux/arm/v7",
        "a/b/c/d",
        "/",
    ];
    sow(&seeds, platform);
    check!().for_each(platform);
}

/// Whatever objects are, the images that they need are named once, and by somebody.
fn needed(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for owned_too in [false, true] {
        let mut needs = Needs::default();
        for node in objects::tree::documents(text).flatten() {
            needs.take(&node.to_json(), owned_too);
        }
        for need in needs.all() {
            assert!(!need.image.is_empty() && !need.by.is_empty());
        }
    }
}

#[test]
fn needs_of_objects() {
    let seeds = [
        "kind: Deployment\nmetadata: {name: a, namespace: b}\nspec: {template: {spec: {containers: [{image: c}], initContainers: [{image: d}]}}}\n",
        "kind: List\nitems:\n- kind: CronJob\n  spec: {jobTemplate: {spec: {template: {spec: {volumes: [{image: {reference: e}}]}}}}}\n- kind: List\n  items: [{}]\n",
        "kind: PodList\nitems: [{metadata: {ownerReferences: [{kind: Job}]}, spec: {containers: [{}], ephemeralContainers: [{image: f}]}}]\n",
    ];
    sow(&seeds, needed);
    check!().for_each(needed);
}
