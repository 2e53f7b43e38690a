//! Fuzz targets of archives and of others' manifests: see the proxy's.

use std::io::Cursor;

use bolero::check;
use bytes::Bytes;

use super::layout::Layout;
use super::parsed::{Narrowed, Parsed, narrowed};
use super::tar;
use crate::client::{Digest, Manifest, is_tag};
use crate::list::{Index, Platform};
use crate::seeds::sow;

const BLOCK: usize = 512;

/// A tar file's header, without its sum.
fn header(name: &str, size: usize, kind: char, link: &str) -> String {
    let mut header = format!("{name:\0<100}{:\0<24}{size:011o}\0", "");
    header += &format!("{:\0<20}{kind}{link:\0<100}ustar\0", "");
    format!("{header:\0<BLOCK$}")
}

/// A file of it.
pub(super) fn file(name: &str, content: &str) -> String {
    let length = content.len().next_multiple_of(BLOCK);
    header(name, content.len(), '0', "") + &format!("{content:\0<length$}")
}

/// The sums of all blocks that could be headers: chance finds none.
pub(super) fn with_sums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(BLOCK) {
        if block.iter().all(|it| *it == 0) {
            continue;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|it| u32::from(*it)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}

/// What is found in a tar file is within it, whatever leads to what.
fn tar_file(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), with_sums(bytes)] {
        let length = bytes.len() as u64;
        let Ok(index) = tar::Index::read(&mut Cursor::new(&bytes), length) else {
            continue;
        };
        for name in index.files.keys().chain(index.links.keys()) {
            assert!(!name.split('/').any(|it| it == ".."), "{name}");
            if let Some((start, size)) = index.find(name) {
                assert!(start.checked_add(size).is_some_and(|end| end <= length));
            }
        }
    }
}

#[test]
fn tar_files() {
    let pax = "27 path=../a/./b/../c/d/e\n18 size=00000000001\n20 linkpath=/x/../y\n";
    let seeds = [
        &(file("a/b", "content") + &header("c", 0, '2', "a/b") + &header("d", 0, '1', "d")),
        &(header("x", pax.len(), 'x', "") + &format!("{pax:\0<BLOCK$}") + &file("f", "g")),
        &(header("././@LongLink", 5, 'L', "")
            + &format!("{:\0<BLOCK$}", "long\0")
            + &file("f", "")),
        &header("x", usize::MAX >> 31, '0', ""),
        "short",
    ];
    sow(&seeds, tar_file);
    check!().for_each(tar_file);
}

/// An archive: what it is to have is there, or it is told that it is not; nothing is what it is not.
fn archive(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("archive");
    let text = String::from_utf8_lossy(bytes);
    let config = r#"{"architecture":"amd64"}"#;
    let saved = file("manifest.json", &text) + &file("c", config) + &file("l", "layer");
    let hex = Digest::sha256(config.as_bytes());
    let blob = format!("blobs/sha256/{}", hex.hex());
    let layout = file("index.json", &text) + &file(&blob, config);
    for content in [
        bytes,
        &with_sums(saved.as_bytes()),
        &with_sums(layout.as_bytes()),
    ] {
        std::fs::write(&path, content).expect("written");
        for opened in [Layout::of_archive(&path), Layout::of_docker(&path)] {
            let Ok(opened) = opened else { continue };
            for (name, digest) in opened.named() {
                if let Ok(manifest) = opened.manifest(digest.as_str()) {
                    assert!(manifest.digest == *digest && digest.is_of(&manifest.bytes));
                }
                let name = name.as_deref().unwrap_or_default();
                assert!(
                    !is_tag(name)
                        || opened.manifest(name).is_ok_and(|it| !it.bytes.is_empty())
                        || opened.manifest(digest.as_str()).is_err()
                        || opened
                            .named()
                            .iter()
                            .filter(|(it, _)| it.as_deref() == Some(name))
                            .count()
                            > 1
                );
                for referrer in opened.referrers(digest) {
                    assert!(opened.manifest(&referrer.digest).is_ok());
                }
            }
        }
    }
}

#[test]
fn archives() {
    let digest = Digest::sha256(br#"{"architecture":"amd64"}"#);
    let seeds = [
        r#"[{"Config":"c","RepoTags":["a/b:1","../x:../../y"],"Layers":["l","l"]}]"#,
        r#"[{"Config":"none","Layers":["../l"]}]"#,
        &format!(
            r#"{{"manifests":[{{"digest":"{digest}","annotations":{{"org.opencontainers.image.ref.name":"x:1"}}}}]}}"#
        ),
        &file("index.json", "{}"),
        "\x1f\u{8b}",
        "",
    ];
    sow(&seeds, archive);
    check!().with_iterations(300).for_each(archive);
}

/// What is wanted of an index is in it, and what takes its place can be read again.
fn index(bytes: &[u8]) {
    let manifest = || Manifest {
        bytes: Bytes::copy_from_slice(bytes),
        media_type: String::new(),
        digest: Digest::sha256(bytes),
    };
    let Ok(parsed) = Parsed::of(&manifest()) else {
        return;
    };
    let all = parsed.wanted(&[]).expect("all of them").len();
    let sizes = parsed.contents().map(|it| it.size);
    sizes.fold(0, u64::saturating_add);
    let platforms: [Platform; 2] =
        ["linux/amd64", "linux/arm64"].map(|it| it.parse().expect("one"));
    if let Ok(wanted) = parsed.wanted(&platforms) {
        assert!(wanted.len() <= 2 * all);
    }
    for form in [Index::Sparse, Index::Filtered, Index::Single] {
        if let Ok(Narrowed::Manifest(narrow)) = narrowed(manifest(), &platforms, form) {
            assert!(narrow.digest.is_of(&narrow.bytes));
            let again = Parsed::of(&narrow).expect("a manifest");
            assert_eq!(again.is_index(), parsed.is_index());
            assert!(again.wanted(&[]).expect("all of them").len() <= all);
        }
    }
}

#[test]
fn indexes() {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let one = |platform: &str| {
        format!(r#"{{"digest":"{digest}","size":18446744073709551615,"platform":{platform}}}"#)
    };
    let (amd, arm) = (
        one(r#"{"os":"linux","architecture":"amd64"}"#),
        one(r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#),
    );
    let seeds = [
        &format!(r#"{{"manifests":[{amd},{arm}]}}"#),
        &format!(
            r#"{{"manifests":[{amd},{{"digest":"x","annotations":{{"vnd.docker.reference.digest":"{digest}"}}}}]}}"#
        ),
        &format!(
            r#"{{"config":{amd},"layers":[{arm},{{"mediaType":"a.foreign.b","digest":"y"}}],"subject":{arm}}}"#
        ),
        r#"{"fsLayers":[]}"#,
        r#"{"manifests":null}"#,
    ];
    sow(&seeds, index);
    check!().for_each(index);
}
