//! Lists, a page at a time.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;

use super::{Result, Store, keys};
use crate::name::RepositoryName;

/// A part of a list, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// At most as many as were asked for.
    pub items: Vec<T>,
    /// Whether there are more after them.
    pub more: bool,
}

impl Store {
    /// The tags of a repository after `last`, in the order of their bytes.
    pub async fn tags(
        &self,
        name: &RepositoryName,
        last: Option<&str>,
        count: usize,
    ) -> Result<Page<String>> {
        self.page(&keys::tags(name), last, count).await
    }

    /// The repositories after `last`, a folder's own before those below it.
    pub async fn repositories(
        &self,
        last: Option<&str>,
        count: usize,
    ) -> Result<Page<RepositoryName>> {
        let last: Option<Vec<&str>> = last.map(|last| last.split('/').collect());
        let mut items = Vec::new();
        // Those still to be looked at, the next one at the end.
        let mut folders = vec![Path::from(keys::REPOSITORIES)];
        while let Some(folder) = folders.pop() {
            let listed = self.objects.list_with_delimiter(Some(&folder)).await?;
            let name = folder.as_ref().strip_prefix(keys::REPOSITORIES);
            let name = name.map(|name| name.trim_start_matches('/'));
            let parts: Vec<&str> = name.unwrap_or_default().split('/').collect();
            let is_after = last.as_ref().is_none_or(|last| parts > *last);
            let is_repository = listed
                .objects
                .iter()
                .any(|object| object.location.filename() == Some(keys::REPOSITORY));
            if is_repository
                && is_after
                && let Some(Ok(name)) = name.map(str::parse)
            {
                if items.len() == count {
                    return Ok(Page { items, more: true });
                }
                items.push(name);
            }
            let mut below: Vec<Path> = listed
                .common_prefixes
                .into_iter()
                .filter(|path| path.filename().is_some_and(|name| !name.starts_with('_')))
                .filter(|path| may_hold_later(path, last.as_deref()))
                .collect();
            below.sort_unstable_by(|a, b| b.filename().cmp(&a.filename()));
            folders.append(&mut below);
        }
        Ok(Page { items, more: false })
    }

    /// The last parts of the keys directly below `folder`, after `last`. In memory is no more than
    /// the answer, however long the list is.
    pub(super) async fn page(
        &self,
        folder: &Path,
        last: Option<&str>,
        count: usize,
    ) -> Result<Page<String>> {
        let mut listed = match last {
            Some(last) => self
                .objects
                .list_with_offset(Some(folder), &folder.clone().join(last)),
            None => self.objects.list(Some(folder)),
        };
        let mut least = BTreeSet::new();
        while let Some(object) = listed.try_next().await? {
            let Some(name) = object.location.filename() else {
                continue;
            };
            // An offset that is written otherwise in a key is compared as it is meant.
            if last.is_some_and(|last| name <= last) {
                continue;
            }
            least.insert(name.to_owned());
            if least.len() > count + 1 {
                least.pop_last();
            }
            // Buckets list in order, folders do not.
            if self.folder.is_none() && least.len() > count {
                break;
            }
        }
        let more = least.len() > count;
        Ok(Page {
            items: least.into_iter().take(count).collect(),
            more,
        })
    }
}

/// Whether a repository in this folder can come after `last`.
fn may_hold_later(folder: &Path, last: Option<&[&str]>) -> bool {
    let Some(last) = last else {
        return true;
    };
    let name = folder.as_ref().strip_prefix(keys::REPOSITORIES);
    let name = name.unwrap_or_default().trim_start_matches('/');
    let parts: Vec<&str> = name.split('/').collect();
    parts.as_slice() >= &last[..last.len().min(parts.len())]
}
