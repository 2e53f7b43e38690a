//! Fuzz targets of what a registry keeps: see the proxy's.

use std::sync::Arc;

use bolero::check;
use bytes::Bytes;
use futures_util::FutureExt as _;
use object_store::memory::InMemory;
use regex_automata::meta::Regex;

use super::{Algorithm, Manifest, Store, Stored, keys, parse_digest};
use crate::client;
use crate::name::{RepositoryName, Tag};
use crate::seeds::sow;

/// In memory, where nothing has to be waited for.
fn store() -> Store {
    Store::over(Arc::new(InMemory::new()), u64::MAX)
}

/// Names are those of the specification's expressions, and each thing of a repository is within its
/// own folder, by its own name.
fn name(bytes: &[u8]) {
    thread_local! {
        static EXPRESSIONS: [Regex; 2] = [
            r"^(?-u:[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*)$",
            r"^(?-u:[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127})$",
        ]
        .map(|it| Regex::new(it).expect("an expression"));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (name, tag) = (text.parse::<RepositoryName>(), text.parse::<Tag>());
    EXPRESSIONS.with(|[names, tags]| {
        assert_eq!(name.is_ok(), text.len() <= 255 && names.is_match(text));
        assert_eq!(tag.is_ok(), tags.is_match(text));
    });
    let digest = Algorithm::Sha512.digest(b"a");
    if let Ok(name) = name {
        assert_eq!(name.as_str(), text);
        let folder = format!("repositories/{name}/");
        for (path, rest) in [
            (keys::marker(&name), "_repository".to_owned()),
            (keys::blob(&name, &digest), {
                format!("_blobs/sha512/{}", digest.digest())
            }),
            (keys::manifest(&name, &digest), {
                format!("_manifests/sha512/{}", digest.digest())
            }),
        ] {
            assert_eq!(path.as_ref().strip_prefix(&folder), Some(rest.as_str()));
        }
        let path = keys::manifest(&name, &digest);
        assert_eq!(keys::digest_of(&path, false), Some(digest));
    }
    if let Ok(tag) = tag {
        let path = keys::tag(&"a".parse().expect("a name"), &tag);
        assert_eq!(path.as_ref(), format!("repositories/a/_tags/{text}"));
    }
}

#[test]
fn names() {
    let seeds = [
        "a",
        "library/alpine",
        "a.b/c_d/e__f/g---h/0",
        "a//b",
        "../a",
        "a/..",
        "1.27-rc.1",
        "_",
        "...",
        "A",
        "a___b",
    ];
    sow(&seeds, name);
    check!().for_each(name);
}

/// The digests of a registry and of its client are the same, and print what they were.
fn digest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (own, foreign) = (parse_digest(text), text.parse::<client::Digest>());
    assert_eq!(own.is_some(), foreign.is_ok(), "{text}");
    if let (Some(own), Ok(foreign)) = (own, foreign) {
        assert_eq!((own.as_ref(), foreign.as_str()), (text, text));
        let path = keys::content(&own);
        assert_eq!(path.parts().count(), 4);
        assert_eq!(keys::digest_of(&path, true), Some(own));
        assert!(!foreign.is_of(b"something else"));
    }
}

#[test]
fn digests() {
    let hex = "0123456789abcdef".repeat(4);
    let seeds = [
        &format!("sha256:{hex}"),
        &format!("sha512:{hex}{hex}"),
        &format!("sha256:{}", hex.to_uppercase()),
        &format!("sha512:{hex}"),
        "sha256:",
        "sha384:00",
        "sha256+b64:..",
    ];
    sow(&seeds, digest);
    check!().for_each(digest);
}

/// A manifest comes back as it was pushed, its subject knows of it, and what was pushed can be read
/// by collections; what is deleted leaves nothing.
fn manifest(bytes: &[u8]) {
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let named = Manifest::read(bytes, Some(media_type)).is_ok();
    let Ok(read) = Manifest::read(bytes, None) else {
        assert!(!named);
        return;
    };
    let done = async {
        let store = store();
        let (name, tag) = ("a/b".parse().expect("a name"), "1".parse().expect("a tag"));
        let stored = Stored {
            media_type: media_type.to_owned(),
            digest: Algorithm::Sha256.digest(bytes),
            size: bytes.len() as u64,
        };
        let content = Bytes::copy_from_slice(bytes);
        let needs = !read.needs.is_empty();
        let tags = std::slice::from_ref(&tag);
        let put = store.put_manifest(&name, &stored, content.clone(), &read, tags);
        assert_eq!(put.await.is_err(), needs);
        let read = read.needing_nothing();
        let put = store.put_manifest(&name, &stored, content.clone(), &read, tags);
        put.await.expect("kept");
        let digest = &stored.digest;
        assert_eq!(
            store.tagged(&name, &tag).await.expect("read").as_ref(),
            Some(digest)
        );
        assert_eq!(store.manifest_bytes(digest).await.expect("read"), content);
        let found = store.manifest(&name, digest).await.expect("read");
        assert_eq!(found.as_ref(), Some(&stored));
        let referrers = async |subject| {
            let page = store.referrers(&name, subject, None, None, 10).await;
            page.expect("read").items.len()
        };
        if let Some(subject) = &read.subject {
            assert_eq!(referrers(subject).await, 1);
        }
        assert!(store.delete_manifest(&name, digest).await.expect("deleted"));
        assert_eq!(store.tagged(&name, &tag).await.expect("read"), None);
        assert_eq!(store.manifest(&name, digest).await.expect("read"), None);
        if let Some(subject) = &read.subject {
            assert_eq!(referrers(subject).await, 0);
        }
    };
    done.now_or_never().expect("nothing to wait for");
}

#[test]
fn manifests() {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let part = format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":1}}"#);
    let seeds = [
        &format!(r#"{{"schemaVersion":2,"config":{part},"layers":[{part},{part}]}}"#),
        &format!(r#"{{"manifests":[{part}],"annotations":{{"a":"b"}}}}"#),
        &format!(r#"{{"artifactType":"x/y","blobs":[],"subject":{part}}}"#),
        &format!(r#"{{"layers":[{{"digest":"{digest}","urls":["http://a"],"data":""}}]}}"#),
        r#"{"fsLayers":[{"blobSum":"x"}]}"#,
        r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#,
        r#"{"layers":[],"layers":[]}"#,
        "{}",
        "[]",
    ];
    sow(&seeds, manifest);
    check!().for_each(manifest);
}

/// Pages of a list are in order, as long as they may be, and all of it, wherever one begins.
#[test]
fn pages_are_the_whole_list() {
    let name: RepositoryName = "a".parse().expect("a name");
    check!()
        .with_iterations(200)
        .with_type::<(Vec<u16>, u8)>()
        .for_each(|(tags, count)| {
            let done = async {
                let store = store();
                let mut expected: Vec<String> = tags.iter().map(|it| format!("t{it}")).collect();
                for tag in &expected {
                    let path = keys::tag(&name, &tag.parse().expect("a tag"));
                    store.put(&path, "{}").await.expect("kept");
                }
                expected.sort();
                expected.dedup();
                let (mut found, mut last) = (Vec::new(), None);
                let count = usize::from(*count).max(1);
                loop {
                    let page = store.tags(&name, last.as_deref(), count).await;
                    let page = page.expect("a page");
                    assert!(page.items.len() <= count);
                    last = page.items.last().cloned();
                    found.extend(page.items);
                    if !page.more {
                        break;
                    }
                }
                assert_eq!(found, expected);
            };
            done.now_or_never().expect("nothing to wait for");
        });
}
