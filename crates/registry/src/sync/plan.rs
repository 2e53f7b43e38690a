//! Which images a list means.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::StreamExt as _;

use super::layout::Layout;
use super::source::From;
use super::syncer::Syncer;
use crate::client::{Error, Kind, is_repository, is_tag};
use crate::list::{Image, Index, Place, Platform, Source};

/// Entries that are looked at at once.
const AT_ONCE: usize = 8;

/// What a list means.
#[derive(Debug, Default)]
pub struct Plan {
    /// Images, in the list's order.
    pub items: Vec<Item>,
    /// Entries of which it cannot be told.
    pub failed: Vec<Failed>,
    /// Entries that mean no image: no tag there is one of theirs.
    pub without: Vec<String>,
}

/// An image: what it is, and where it goes.
#[derive(Debug, Clone)]
pub struct Item {
    /// Where the list has it.
    pub place: Place,
    /// What it is called where it comes from.
    pub name: String,
    /// The target's repository.
    pub repository: String,
    /// Its tag there; none if it has a digest alone.
    pub tag: Option<String>,
    pub(super) from: From,
    /// The source's registry, if it is one.
    pub(super) host: Option<String>,
    /// Tag or digest at the source.
    pub(super) reference: String,
    pub(super) platforms: Vec<Platform>,
    pub(super) index: Index,
    pub(super) referrers: bool,
}

/// An entry that cannot be looked at.
#[derive(Debug, Clone)]
pub struct Failed {
    /// Where the list has it.
    pub place: Place,
    /// What it names.
    pub name: String,
    /// Why.
    pub error: Error,
}

impl Item {
    /// What it is called at the target, without the registry.
    pub fn goes_to(&self) -> String {
        match &self.tag {
            Some(tag) => format!("{}:{tag}", self.repository),
            None => format!("{}@{}", self.repository, self.reference),
        }
    }
}

impl Syncer {
    /// Asks the sources which images the list means.
    pub async fn plan(&self) -> Plan {
        // What is not wanted any more takes no room before that is known.
        let room = &AtomicUsize::new(self.options.most.images);
        let entries =
            futures_util::stream::iter((0..self.list.images.len()).map(|at| async move {
                let image = &self.list.images[at];
                (image, self.expand(image, room).await)
            }));
        let expanded: Vec<_> = entries.buffered(AT_ONCE).collect().await;
        let mut plan = Plan::default();
        let mut taken: HashMap<String, String> = HashMap::new();
        for (image, items) in expanded {
            let failed = |name: String, error: Error| Failed {
                place: image.place.clone(),
                name,
                error,
            };
            let items = match items {
                Ok(items) => items,
                Err(error) => {
                    plan.failed.push(failed(image.source.to_string(), error));
                    continue;
                }
            };
            if items.is_empty() {
                plan.without.push(image.source.to_string());
            }
            for item in items {
                let goes_to = item.goes_to();
                let other = taken.get(&goes_to);
                match other {
                    Some(other) if *other == item.name => {}
                    Some(other) => {
                        let why = format!(
                            "it would go to {goes_to}, where {other} goes: give one of both a \
                             `target`, or use --scoped"
                        );
                        plan.failed
                            .push(failed(item.name, Error::new(Kind::Invalid, why)));
                    }
                    None => {
                        taken.insert(goes_to, item.name.clone());
                        plan.items.push(item);
                    }
                }
            }
        }
        plan
    }

    async fn expand(&self, image: &Image, room: &AtomicUsize) -> Result<Vec<Item>, Error> {
        match &image.source {
            Source::Repository {
                registry,
                repository,
            } => {
                let target = match &image.repository {
                    Some(target) => target.clone(),
                    None => self.scoped(registry, repository),
                };
                let (at, target) = ((registry.as_str(), repository.as_str()), &target);
                self.of_repository(image, at, target, room).await
            }
            Source::Registry {
                registry,
                repositories,
                strip,
            } => {
                let client = self.client(registry)?;
                let all = client.catalog().await?;
                let mut items = Vec::new();
                for name in all
                    .iter()
                    .filter(|it| is_repository(it) && repositories.take(it))
                {
                    let rest = name.strip_prefix(strip.as_str());
                    let rest = rest.map(|it| it.trim_start_matches('/'));
                    let rest = rest.filter(|it| !it.is_empty()).unwrap_or(name);
                    let target = match &image.repository {
                        Some(prefix) => format!("{prefix}/{rest}"),
                        None => self.scoped(registry, rest),
                    };
                    let at = (registry.as_str(), name.as_str());
                    match self.of_repository(image, at, &target, room).await {
                        Ok(some) => items.extend(some),
                        // A catalog names what has no tag any more.
                        Err(error) if error.kind == Kind::NotFound => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(items)
            }
            Source::Layout(_) | Source::Archive(_) | Source::DockerArchive(_) => {
                self.of_files(image).await
            }
        }
    }

    fn scoped(&self, registry: &str, repository: &str) -> String {
        match self.options.scoped {
            // A colon is nothing that a repository has.
            true => format!(
                "{}/{repository}",
                registry.to_lowercase().replace([':', '[', ']'], "_")
            ),
            false => repository.to_owned(),
        }
    }

    async fn of_repository(
        &self,
        image: &Image,
        (registry, repository): (&str, &str),
        target: &str,
        room: &AtomicUsize,
    ) -> Result<Vec<Item>, Error> {
        let client = self.client(registry)?;
        let there = match image.tags.need_listing() {
            true => client.tags(repository).await?,
            false => Vec::new(),
        };
        let from = From::Registry {
            client,
            repository: repository.to_owned(),
        };
        let references = image.tags.of(&there);
        let taken = |left: usize| left.checked_sub(references.len());
        if room.fetch_update(Relaxed, Relaxed, taken).is_err() {
            let most = self.options.most.images;
            let why = format!("the list means more than {most} images");
            return Err(Error::new(Kind::Invalid, why));
        }
        let mut items = Vec::new();
        for reference in references {
            let (tag, reference) = match reference.split_once('@') {
                Some((tag, digest)) => (Some(tag), digest),
                None if reference.contains(':') => (None, reference),
                None => (Some(reference), reference),
            };
            let separator = if reference.contains(':') { '@' } else { ':' };
            let mut item = self.item(image, from.clone(), target)?;
            item.host = Some(registry.to_owned());
            item.name = format!("{registry}/{repository}{separator}{reference}");
            item.tag = image.tag.as_deref().or(tag).map(str::to_owned);
            item.reference = reference.to_owned();
            items.push(item);
        }
        Ok(items)
    }

    async fn of_files(&self, image: &Image) -> Result<Vec<Item>, Error> {
        let source = image.source.clone();
        // It may read gigabytes.
        let open = tokio::task::spawn_blocking(move || match &source {
            Source::Layout(folder) => Layout::of_folder(folder).map(|it| (it, folder.clone())),
            Source::Archive(file) => Layout::of_archive(file).map(|it| (it, file.clone())),
            Source::DockerArchive(file) => Layout::of_docker(file).map(|it| (it, file.clone())),
            _ => Err(Error::new(Kind::Invalid, "it is no file")),
        });
        let opened = open.await;
        let (layout, path) =
            opened.map_err(|error| Error::new(Kind::Broken, error.to_string()))??;
        let layout = Arc::new(layout);
        let stem = path
            .file_stem()
            .and_then(|it| it.to_str())
            .unwrap_or_default();
        // Of what is compressed, there is another one.
        let stem = stem.strip_suffix(".tar").unwrap_or(stem).to_lowercase();
        let named = layout.named().to_vec();
        let named = named.into_iter().map(|(name, digest)| {
            // `docker save` has whole names.
            let whole = name.as_deref().filter(|it| !is_tag(it));
            let split = whole.and_then(|it| it.rsplit_once(':'));
            let (repository, tag) = match split {
                Some((repository, tag)) => (repository_of(repository), tag.to_owned()),
                None => (None, name.clone().unwrap_or_else(|| "latest".to_owned())),
            };
            (name, digest, repository, tag)
        });
        let named: Vec<_> = named.collect();
        let several = named.len() > 1;
        let mut items = Vec::new();
        for (name, digest, repository, tag) in &named {
            let exact = &image.tags.exact;
            let is_asked =
                |it: &String| it == tag || Some(it) == name.as_ref() || it == digest.as_str();
            let selected = match exact.is_empty() {
                true => !image.tags.of(std::slice::from_ref(tag)).is_empty(),
                false => {
                    exact.iter().any(is_asked)
                        || image.tags.of(std::slice::from_ref(tag)).len() > exact.len()
                }
            };
            // What has no name can be told from nothing else where there are others.
            if !selected || (several && name.is_none()) {
                continue;
            }
            let shown = name.as_deref().unwrap_or(digest.as_str());
            if !is_tag(tag) {
                let why = format!("it has {shown:?}, whose tag is none");
                return Err(Error::new(Kind::Broken, why));
            }
            let target = image.repository.clone().or_else(|| repository.clone());
            let target = target.unwrap_or_else(|| stem.clone());
            let mut item = self.item(image, From::Files(layout.clone()), &target)?;
            item.name = format!("{}:{shown}", image.source);
            item.tag = Some(image.tag.clone().unwrap_or_else(|| tag.clone()));
            item.reference = name.clone().unwrap_or_else(|| digest.to_string());
            items.push(item);
        }
        match items.is_empty() {
            false => Ok(items),
            true => {
                let there: Vec<_> = named
                    .iter()
                    .map(|it| it.0.as_deref().unwrap_or("(no name)"))
                    .collect();
                let why = format!("it has no such image; it has {}", there.join(", "));
                Err(Error::new(Kind::NotFound, why))
            }
        }
    }

    fn item(&self, image: &Image, from: From, repository: &str) -> Result<Item, Error> {
        let repository = self.repository(repository);
        if !is_repository(&repository) {
            let why = format!("{repository:?} can be no repository: give it a `target`");
            return Err(Error::new(Kind::Invalid, why));
        }
        let platforms = match self.options.platforms.is_empty() {
            true => image.platforms.clone(),
            false => self.options.platforms.clone(),
        };
        Ok(Item {
            place: image.place.clone(),
            name: String::new(),
            repository,
            tag: None,
            from,
            host: None,
            reference: String::new(),
            platforms,
            index: self.options.index.unwrap_or(image.index),
            referrers: image.referrers || self.options.referrers,
        })
    }
}

/// The repository of an image's name as `docker save` has it: `nginx` is `library/nginx`.
fn repository_of(name: &str) -> Option<String> {
    let parsed: oci_spec::distribution::Reference = name.parse().ok()?;
    Some(parsed.repository().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::fuzz::{file, with_sums};
    use super::super::{Options, Target};
    use super::*;
    use crate::list::ImageList;

    /// It would be put at another path of the registry that is filled.
    #[tokio::test]
    async fn a_tag_of_an_archive_that_is_none_leads_nowhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let plan = async |tag: &str| {
            let saved = format!(r#"[{{"Config":"c","RepoTags":["a/b:{tag}"]}}]"#);
            let archive = file("manifest.json", &saved) + &file("c", "{}");
            let path = folder.path().join("saved.tar");
            std::fs::write(&path, with_sums(archive.as_bytes())).expect("written");
            let list = folder.path().join("list");
            let list = ImageList::of_text("docker-archive:saved.tar", &list, &|_| None);
            let target = Target::parse("localhost:1").expect("a target");
            let list = list.expect("a list");
            let syncer = Syncer::new(list, target, Options::default()).expect("a syncer");
            syncer.plan().await
        };
        assert_eq!(plan("1.0").await.items[0].goes_to(), "a/b:1.0");
        let plan = plan("../../victim/manifests/latest").await;
        assert!(plan.items.is_empty());
        let said = &plan.failed[0].error.message;
        assert!(said.contains("whose tag is none"), "{said}");
    }
}
