//! When manifests were last used, and taking away those that are not: of copies alone, which can be
//! had again.

use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::ObjectStore;
use oci_spec::image::Digest;

use super::{Link, Result, Store, age, keys};
use crate::name::{RepositoryName, Tag};

/// How many repositories are asked for at once.
const PAGE: usize = 1000;

impl Store {
    /// Notes that a manifest is used, unless that was noted no longer than `after` ago.
    pub async fn note_use(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        after: Duration,
    ) -> Result<()> {
        let path = keys::manifest(name, digest);
        match self.head(&path).await? {
            Some(meta) if age(&meta) > after => {}
            _ => return Ok(()),
        }
        // What is just being deleted does not come back.
        let _alone = self.repositories.lock(name).await;
        if let Some((link, _)) = self.get_json::<Link>(&path).await? {
            self.put_json(&path, &link).await?;
        }
        Ok(())
    }

    /// Deletes the manifests that have not been used for a time, with their tags, in the
    /// repositories whose first component is `first`. How many.
    pub async fn delete_unused(&self, first: &str, unused: Duration) -> Result<u64> {
        let mut count = 0;
        let mut last: Option<RepositoryName> = None;
        loop {
            let after = last.as_ref().map(RepositoryName::as_str);
            let page = self.repositories(after, PAGE).await?;
            for name in &page.items {
                let below = name.as_str().split_once('/');
                if below.is_some_and(|(found, _)| found == first) {
                    count += self.delete_unused_of(name, unused).await?;
                }
            }
            if !page.more {
                return Ok(count);
            }
            last = page.items.last().cloned();
        }
    }

    async fn delete_unused_of(&self, name: &RepositoryName, unused: Duration) -> Result<u64> {
        let mut count = 0;
        let listed = self.objects.list(Some(&keys::manifests(name)));
        let mut listed: Vec<_> = listed.try_collect().await?;
        listed.retain(|it| age(it) > unused);
        if listed.is_empty() {
            return Ok(0);
        }
        // Once for all that leave: each may have thousands of tags beside it.
        let mut tags = self.tags_by_digest(name).await?;
        for object in &listed {
            let Some(digest) = keys::digest_of(&object.location, false) else {
                continue;
            };
            let tags = tags.remove(&digest).unwrap_or_default();
            if self
                .delete_unused_manifest(name, &digest, unused, &tags)
                .await?
            {
                tracing::debug!("{name}@{digest} has not been used and leaves");
                count += 1;
            }
        }
        Ok(count)
    }

    /// Deletes one that still is not used. Whoever has tagged it since its tags were read has used
    /// it.
    pub(super) async fn delete_unused_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        unused: Duration,
        tags: &[Tag],
    ) -> Result<bool> {
        let _pin = self.pins.pin(vec![digest.clone()]).await;
        let _alone = self.repositories.lock(name).await;
        match self.head(&keys::manifest(name, digest)).await? {
            Some(meta) if age(&meta) > unused => {}
            _ => return Ok(false),
        }
        let mut own = Vec::new();
        for tag in tags {
            if self.tagged(name, tag).await?.as_ref() == Some(digest) {
                own.push(tag.clone());
            }
        }
        self.unlink_manifest(name, digest, &own).await
    }
}
