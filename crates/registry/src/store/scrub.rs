//! Whether everything is still what it was, and which images it hits where it is not.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use futures_util::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use oci_spec::image::Digest;
use serde::Serialize;

use super::digest::{Algorithm, Hasher};
use super::manifest::Manifest;
use super::{Error, Result, Store, keys};
use crate::name::RepositoryName;

/// How many repositories or tags are asked for at once.
const PAGE: usize = 1000;

/// What was looked at, and what is not as it should be.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Scrubbed {
    /// How many contents were read.
    pub contents: u64,
    /// In bytes.
    pub bytes: u64,
    /// How many manifests were looked at in their repositories.
    pub manifests: u64,
    /// What is not as it should be.
    pub broken: Vec<Broken>,
}

/// Content that is not what it was, or not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// What it is called by.
    pub digest: String,
    /// What is wrong with it, for people.
    pub problem: String,
    /// The images that are not whole without it: `REPOSITORY:TAG`, or `REPOSITORY@DIGEST` where
    /// no tag leads to it. Empty if nothing needs it.
    pub hits: Vec<String>,
}

/// What a manifest refers to within its repository.
#[derive(Default)]
struct Refers {
    children: Vec<Digest>,
    /// The digests of what is broken of it.
    broken: Vec<Digest>,
}

impl Store {
    /// Reads everything. Changes nothing; what comes or goes in the meantime is no fault.
    pub async fn scrub(&self) -> Result<Scrubbed> {
        let mut scrubbed = Scrubbed::default();
        let (mut whole, mut problems) = (HashSet::new(), BTreeMap::new());
        let mut listed = self.objects.list(Some(&Path::from(keys::BLOBS)));
        while let Some(object) = listed.try_next().await? {
            let Some(digest) = keys::digest_of(&object.location, true) else {
                continue;
            };
            match self.check_content(&digest).await {
                Ok(size) => {
                    scrubbed.contents += 1;
                    scrubbed.bytes += size;
                    whole.insert(digest);
                }
                Err(Error::Missing(_)) => {}
                Err(error) => {
                    scrubbed.contents += 1;
                    problems.insert(digest.to_string(), error.to_string());
                }
            }
        }
        let mut hits: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut last: Option<RepositoryName> = None;
        loop {
            let last_name = last.as_ref().map(RepositoryName::as_str);
            let page = self.repositories(last_name, PAGE).await?;
            for name in &page.items {
                self.scrub_repository(name, &whole, &mut problems, &mut hits, &mut scrubbed)
                    .await?;
            }
            if !page.more {
                break;
            }
            last = page.items.last().cloned();
        }
        for (digest, problem) in problems {
            let hits = hits.remove(&digest).unwrap_or_default();
            scrubbed.broken.push(Broken {
                digest,
                problem,
                hits: hits.into_iter().collect(),
            });
        }
        Ok(scrubbed)
    }

    /// The size of content that is what it should be.
    async fn check_content(&self, digest: &Digest) -> Result<u64> {
        let Some(algorithm) = Algorithm::of(digest) else {
            return Ok(0);
        };
        let mut content = self.read(digest, None).await?;
        let mut hasher = Hasher::new(algorithm);
        while let Some(piece) = content.pieces.try_next().await? {
            hasher.update(&piece);
        }
        let computed = hasher.finish();
        if computed == *digest {
            Ok(content.size)
        } else {
            Err(Error::Failed(format!("its content has digest {computed}")))
        }
    }

    async fn scrub_repository(
        &self,
        name: &RepositoryName,
        whole: &HashSet<Digest>,
        problems: &mut BTreeMap<String, String>,
        hits: &mut BTreeMap<String, BTreeSet<String>>,
        scrubbed: &mut Scrubbed,
    ) -> Result<()> {
        let mut manifests: HashMap<Digest, Refers> = HashMap::new();
        let mut listed = self.objects.list(Some(&keys::manifests(name)));
        while let Some(object) = listed.try_next().await? {
            let Some(digest) = keys::digest_of(&object.location, false) else {
                continue;
            };
            scrubbed.manifests += 1;
            let mut refers = Refers::default();
            if self.is_broken(&digest, whole, problems).await? {
                // A manifest that was deleted meanwhile misses nothing.
                if self.head(&object.location).await?.is_none() {
                    continue;
                }
                refers.broken.push(digest.clone());
            } else if let Ok(bytes) = self.manifest_bytes(&digest).await
                && let Ok(manifest) = Manifest::read(&bytes, None)
            {
                for blob in &manifest.needs {
                    if self.is_broken(blob, whole, problems).await? {
                        refers.broken.push(blob.clone());
                    }
                }
                refers.children = manifest.children;
            }
            manifests.insert(digest, refers);
        }
        if manifests.values().any(|refers| !refers.broken.is_empty()) {
            self.hit(name, &manifests, hits).await?;
        }
        Ok(())
    }

    /// Whether content is not what it should be, now that it is needed.
    async fn is_broken(
        &self,
        digest: &Digest,
        whole: &HashSet<Digest>,
        problems: &mut BTreeMap<String, String>,
    ) -> Result<bool> {
        if whole.contains(digest) {
            return Ok(false);
        }
        if problems.contains_key(digest.as_ref()) {
            return Ok(true);
        }
        // It may have come after the contents were listed.
        match self.check_content(digest).await {
            Ok(_) => Ok(false),
            Err(Error::Missing(_)) => {
                problems.insert(digest.to_string(), "it is not there".to_owned());
                Ok(true)
            }
            Err(error) => {
                problems.insert(digest.to_string(), error.to_string());
                Ok(true)
            }
        }
    }

    /// Says which tags lead to what is broken, and which manifests no tag leads to.
    async fn hit(
        &self,
        name: &RepositoryName,
        manifests: &HashMap<Digest, Refers>,
        hits: &mut BTreeMap<String, BTreeSet<String>>,
    ) -> Result<()> {
        let mut reached = HashSet::new();
        let mut last: Option<String> = None;
        loop {
            let page = self.tags(name, last.as_deref(), PAGE).await?;
            for tag in page.items.iter().filter_map(|tag| tag.parse().ok()) {
                let Some(digest) = self.tagged(name, &tag).await? else {
                    continue;
                };
                for below in descendants(&digest, manifests) {
                    for broken in manifests.get(below).into_iter().flat_map(|it| &it.broken) {
                        let image = format!("{name}:{tag}");
                        hits.entry(broken.to_string()).or_default().insert(image);
                    }
                    reached.insert(below.clone());
                }
            }
            if !page.more {
                break;
            }
            last = page.items.last().cloned();
        }
        for (digest, refers) in manifests {
            for broken in refers.broken.iter().filter(|_| !reached.contains(digest)) {
                let image = format!("{name}@{digest}");
                hits.entry(broken.to_string()).or_default().insert(image);
            }
        }
        Ok(())
    }
}

/// A manifest and all that its lists lead to.
fn descendants<'a>(
    from: &'a Digest,
    manifests: &'a HashMap<Digest, Refers>,
) -> HashSet<&'a Digest> {
    let (mut seen, mut next) = (HashSet::new(), vec![from]);
    while let Some(digest) = next.pop() {
        if seen.insert(digest) {
            let children = manifests.get(digest).map(|refers| &refers.children);
            next.extend(children.into_iter().flatten());
        }
    }
    seen
}
