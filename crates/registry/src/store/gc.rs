//! Taking away what nothing needs, beside traffic.
//!
//! A blob that no manifest of its repository names leaves the repository, content that no repository
//! has leaves the storage, and so do uploads that nobody goes on with: each after a time of grace,
//! since a push sends blobs first. Every manifest stays until somebody deletes it, tagged or not.

use std::collections::HashSet;
use std::fs;
use std::path::Path as FilePath;
use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};

use super::manifest::Manifest;
use super::pins::Collecting;
use super::{Result, Store, age, keys};
use crate::name::RepositoryName;

/// How many repositories are asked for at once.
const PAGE: usize = 1000;

/// What a collection took away.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Blobs out of repositories.
    pub links: u64,
    /// Content that no repository had.
    pub contents: u64,
    /// In bytes, of that content.
    pub bytes: u64,
    /// Uploads and what killed processes had begun to write.
    pub uploads: u64,
    /// Repositories that were left alone, since a manifest of theirs cannot be read.
    pub unreadable: Vec<String>,
}

impl Store {
    /// Takes away what nothing has needed for `grace`. `None` if that is under way already.
    pub async fn collect(&self, grace: Duration) -> Result<Option<Collected>> {
        let Some(collecting) = self.pins.collect() else {
            return Ok(None);
        };
        let mut collected = Collected::default();
        let mut linked = HashSet::new();
        let mut last: Option<RepositoryName> = None;
        loop {
            let last_name = last.as_ref().map(RepositoryName::as_str);
            let page = self.repositories(last_name, PAGE).await?;
            for name in &page.items {
                self.collect_links(name, grace, &collecting, &mut linked, &mut collected)
                    .await?;
            }
            if !page.more {
                break;
            }
            last = page.items.last().cloned();
        }
        self.collect_contents(grace, &collecting, &linked, &mut collected)
            .await?;
        self.collect_uploads(grace, &mut collected).await?;
        if let Some(folder) = self.folder.clone() {
            let opened = self.opened;
            let swept = tokio::task::spawn_blocking(move || sweep_staged(&folder, opened));
            // It ends by itself only if the process does.
            collected.uploads += swept.await.unwrap_or_default();
        }
        drop(collecting);
        Ok(Some(collected))
    }

    /// What the manifests of a repository name, by digest.
    async fn named(
        &self,
        name: &RepositoryName,
        linked: &mut HashSet<Digest>,
    ) -> Result<Option<HashSet<Digest>>> {
        let mut named = Some(HashSet::new());
        let mut listed = self.objects.list(Some(&keys::manifests(name)));
        while let Some(object) = listed.try_next().await? {
            let Some(digest) = keys::digest_of(&object.location, false) else {
                continue;
            };
            linked.insert(digest.clone());
            let bytes = match self.manifest_bytes(&digest).await {
                Ok(bytes) => Some(bytes),
                // It may just have been deleted; then it names nothing.
                Err(_) if self.head(&object.location).await?.is_none() => continue,
                Err(_) => None,
            };
            let read = bytes.and_then(|bytes| Manifest::read(&bytes, None).ok());
            match (read, &mut named) {
                (Some(manifest), Some(named)) => {
                    named.extend(manifest.needs);
                    named.extend(manifest.may_have);
                }
                _ => named = None,
            }
        }
        Ok(named)
    }

    async fn collect_links(
        &self,
        name: &RepositoryName,
        grace: Duration,
        collecting: &Collecting,
        linked: &mut HashSet<Digest>,
        collected: &mut Collected,
    ) -> Result<()> {
        let named = self.named(name, linked).await?;
        if named.is_none() {
            tracing::error!(
                "{name} is left as it is: a manifest of it cannot be read; scrub the storage"
            );
            collected.unreadable.push(name.to_string());
        }
        let mut listed = self.objects.list(Some(&keys::blobs(name)));
        while let Some(object) = listed.try_next().await? {
            let Some(digest) = keys::digest_of(&object.location, false) else {
                continue;
            };
            let is_named = named.as_ref().is_none_or(|named| named.contains(&digest));
            let is_young = age(&object) < grace;
            if !is_named
                && !is_young
                && self
                    .sweep(&digest, &object.location, grace, collecting)
                    .await?
                    .is_some()
            {
                tracing::debug!("{digest} leaves {name}");
                collected.links += 1;
            } else {
                linked.insert(digest);
            }
        }
        Ok(())
    }

    async fn collect_contents(
        &self,
        grace: Duration,
        collecting: &Collecting,
        linked: &HashSet<Digest>,
        collected: &mut Collected,
    ) -> Result<()> {
        let mut listed = self.objects.list(Some(&Path::from(keys::BLOBS)));
        while let Some(object) = listed.try_next().await? {
            let Some(digest) = keys::digest_of(&object.location, true) else {
                continue;
            };
            if linked.contains(&digest) || age(&object) < grace {
                continue;
            }
            let path = &object.location;
            if let Some(size) = self.sweep(&digest, path, grace, collecting).await? {
                collected.contents += 1;
                collected.bytes += size;
            }
        }
        Ok(())
    }

    /// Takes one object away, unless somebody relies on it or has written it anew. Its size.
    async fn sweep(
        &self,
        digest: &Digest,
        path: &Path,
        grace: Duration,
        collecting: &Collecting,
    ) -> Result<Option<u64>> {
        let Some(_sweeping) = collecting.sweep(digest) else {
            return Ok(None);
        };
        match self.head(path).await? {
            Some(meta) if age(&meta) >= grace => {
                self.remove(path).await?;
                Ok(Some(meta.size))
            }
            _ => Ok(None),
        }
    }

    async fn collect_uploads(&self, grace: Duration, collected: &mut Collected) -> Result<()> {
        let uploads = Path::from(keys::UPLOADS);
        let listed = self.objects.list_with_delimiter(Some(&uploads)).await?;
        for upload in listed.common_prefixes {
            let Some(id) = upload.filename() else {
                continue;
            };
            let objects: Vec<_> = self.objects.list(Some(&upload)).try_collect().await?;
            // A folder that has just been made has nothing yet.
            if objects.is_empty() || objects.iter().any(|object| age(object) < grace) {
                continue;
            }
            if !self.abandon_upload(id).await? {
                continue;
            }
            collected.uploads += 1;
        }
        Ok(())
    }
}

/// Files that were being written when their process was killed: `NAME#N`, which nothing lists; and
/// folders of uploads that have nothing any more. What this process writes is younger than its
/// opening of the storage, and no other one writes.
fn sweep_staged(folder: &FilePath, opened: SystemTime) -> u64 {
    let mut count = 0;
    let mut folders: Vec<_> = [keys::BLOBS, keys::REPOSITORIES, keys::UPLOADS]
        .map(|name| folder.join(name))
        .into();
    let uploads = folder.join(keys::UPLOADS);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else {
                continue;
            };
            let is_old = meta.modified().is_ok_and(|written| written < opened);
            if meta.is_dir() {
                folders.push(entry.path());
            } else if is_old && is_staged(&entry.file_name().to_string_lossy()) {
                count += u64::from(fs::remove_file(entry.path()).is_ok());
            }
            if meta.is_dir() && is_old && folder == uploads {
                // One that is not empty stays.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
    count
}

fn is_staged(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}
