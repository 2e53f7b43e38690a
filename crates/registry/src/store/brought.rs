//! What lists brought, and taking it away when no list names it any more: a tag that is still what it
//! was brought as, and what nobody else needs of it.

use std::collections::{HashMap, HashSet};

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};

use super::manifest::Manifest;
use super::{Error, Result, Store, keys};
use crate::name::{RepositoryName, Tag};

/// Repositories with more manifests have their untagged ones left alone.
const MOST_READ: usize = 20_000;

/// As what a tag was brought.
#[derive(Debug, Serialize, Deserialize)]
struct Brought {
    digest: String,
}

/// What became of a tag that no list names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenBack {
    /// It is gone, or would be.
    Yes,
    /// Somebody has changed or removed it since: it is theirs.
    Theirs,
}

impl Store {
    /// Notes as what a list has brought a tag.
    pub async fn note_brought(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<()> {
        let brought = Brought {
            digest: digest.to_string(),
        };
        self.put_json(&keys::brought(name, tag), &brought).await
    }

    /// The tags that lists have brought.
    pub fn brought(&self) -> BoxStream<'static, Result<(RepositoryName, Tag)>> {
        let listed = self.objects.list(Some(&keys::BROUGHT.into()));
        let named = listed.map_err(Error::from).try_filter_map(async |object| {
            // Whatever else is there is none of ours.
            Ok(keys::brought_of(&object.location))
        });
        named.boxed()
    }

    /// Takes a tag away that a list has brought, if it is still what it was brought as; then its
    /// manifest, and those that this one lists, unless another tag or another index has them.
    /// Nothing is changed if it is only to be said.
    pub async fn take_back(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        say_only: bool,
    ) -> Result<TakenBack> {
        let record = keys::brought(name, tag);
        let _alone = self.repositories.lock(name).await;
        let Some((brought, _)) = self.get_json::<Brought>(&record).await? else {
            return Ok(TakenBack::Theirs);
        };
        let now = self.tagged(name, tag).await?;
        let same = now.filter(|it| it.to_string() == brought.digest);
        if say_only {
            return Ok(match same {
                Some(_) => TakenBack::Yes,
                None => TakenBack::Theirs,
            });
        }
        let Some(digest) = same else {
            self.delete(&record).await?;
            return Ok(TakenBack::Theirs);
        };
        self.delete(&keys::tag(name, tag)).await?;
        self.remove_unneeded(name, digest).await?;
        self.delete(&record).await?;
        Ok(TakenBack::Yes)
    }

    /// Takes a manifest and those that it lists out of a repository that is locked, as far as no
    /// tag and no other manifest has them.
    async fn remove_unneeded(&self, name: &RepositoryName, digest: Digest) -> Result<()> {
        let Some(mut lists) = self.children(name).await? else {
            tracing::warn!("{name}@{digest} stays without a tag: not all of {name} can be read");
            return Ok(());
        };
        let mut next = vec![digest];
        while let Some(digest) = next.pop() {
            let is_listed = lists.values().any(|children| children.contains(&digest));
            if is_listed || !lists.contains_key(&digest) {
                continue;
            }
            if !self.tags_of(name, &digest).await?.is_empty() {
                continue;
            }
            self.remove_manifest(name, &digest).await?;
            next.extend(lists.remove(&digest).unwrap_or_default());
        }
        Ok(())
    }

    /// What each manifest of a repository lists. `None` if one of them cannot be read, or there are
    /// too many.
    async fn children(
        &self,
        name: &RepositoryName,
    ) -> Result<Option<HashMap<Digest, HashSet<Digest>>>> {
        let mut lists = HashMap::new();
        let mut listed = self.objects.list(Some(&keys::manifests(name)));
        while let Some(object) = listed.try_next().await? {
            let Some(digest) = keys::digest_of(&object.location, false) else {
                continue;
            };
            let bytes = match self.manifest_bytes(&digest).await {
                Ok(bytes) => bytes,
                Err(Error::Missing(_) | Error::Failed(_)) => return Ok(None),
                Err(error) => return Err(error),
            };
            let Ok(manifest) = Manifest::read(&bytes, None) else {
                return Ok(None);
            };
            lists.insert(digest, manifest.children.into_iter().collect());
            if lists.len() > MOST_READ {
                return Ok(None);
            }
        }
        Ok(Some(lists))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{Algorithm, Place, Stored};
    use super::*;

    async fn put(store: &Store, name: &RepositoryName, json: &str, tags: &[&str]) -> Digest {
        let digest = Algorithm::Sha256.digest(json.as_bytes());
        let stored = Stored {
            media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
            digest: digest.clone(),
            size: json.len() as u64,
        };
        let bytes = Bytes::copy_from_slice(json.as_bytes());
        let manifest = Manifest::read(&bytes, None).expect("a manifest");
        let tags: Vec<Tag> = tags.iter().map(|it| it.parse().expect("a tag")).collect();
        let put = store.put_manifest(name, &stored, bytes, &manifest, &tags);
        put.await.expect("put");
        digest
    }

    fn index(of: &[&Digest], salt: &str) -> String {
        let of: Vec<_> = of
            .iter()
            .map(|it| serde_json::json!({"digest": it.to_string()}))
            .collect();
        serde_json::json!({"manifests": of, "annotations": {"salt": salt}}).to_string()
    }

    #[tokio::test]
    async fn what_others_need_of_it_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::Folder(folder.path().to_owned());
        let store = Store::open(&place, 1 << 30).expect("a store");
        let name: RepositoryName = "a/b".parse().expect("a name");
        let tag = |text: &str| text.parse::<Tag>().expect("a tag");
        let own = put(&store, &name, &index(&[], "own"), &[]).await;
        let tagged = put(&store, &name, &index(&[], "tagged"), &["x"]).await;
        let shared = put(&store, &name, &index(&[], "shared"), &[]).await;
        let first = index(&[&own, &tagged, &shared], "first");
        let first = put(&store, &name, &first, &["v1", "v2"]).await;
        let second = put(&store, &name, &index(&[&shared], "second"), &[]).await;
        let there = async |digest: &Digest| {
            let found = store.manifest(&name, digest).await;
            found.expect("asked").is_some()
        };
        for text in ["v1", "v2"] {
            let noted = store.note_brought(&name, &tag(text), &first).await;
            noted.expect("noted");
        }
        let take_back = async |text: &str, say_only| {
            let taken = store.take_back(&name, &tag(text), say_only).await;
            taken.expect("taken back")
        };
        let brought: Vec<_> = store.brought().try_collect().await.expect("listed");
        assert_eq!(brought.len(), 2);
        assert_eq!(take_back("v1", true).await, TakenBack::Yes);
        assert!(
            store
                .tagged(&name, &tag("v1"))
                .await
                .expect("asked")
                .is_some()
        );
        // Another tag has it.
        assert_eq!(take_back("v1", false).await, TakenBack::Yes);
        assert!(there(&first).await && there(&own).await);
        assert_eq!(take_back("v2", false).await, TakenBack::Yes);
        assert!(!there(&first).await && !there(&own).await);
        assert!(there(&tagged).await && there(&shared).await && there(&second).await);
        let brought: Vec<_> = store.brought().try_collect().await.expect("listed");
        assert!(brought.is_empty());
        assert_eq!(take_back("v2", false).await, TakenBack::Theirs);
    }

    #[tokio::test]
    async fn what_somebody_has_changed_is_theirs() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::Folder(folder.path().to_owned());
        let store = Store::open(&place, 1 << 30).expect("a store");
        let name: RepositoryName = "a".parse().expect("a name");
        let tag: Tag = "v1".parse().expect("a tag");
        let brought = put(&store, &name, &index(&[], "brought"), &["v1"]).await;
        let noted = store.note_brought(&name, &tag, &brought).await;
        noted.expect("noted");
        let theirs = put(&store, &name, &index(&[], "theirs"), &["v1"]).await;
        for say_only in [true, false] {
            let taken = store.take_back(&name, &tag, say_only).await;
            assert_eq!(taken.expect("asked"), TakenBack::Theirs);
        }
        let now = store.tagged(&name, &tag).await.expect("asked");
        assert_eq!(now, Some(theirs));
        assert!(
            store
                .manifest(&name, &brought)
                .await
                .expect("asked")
                .is_some()
        );
        let left: Vec<_> = store.brought().try_collect().await.expect("listed");
        assert!(left.is_empty());
    }
}
