//! What repositories with much in them cost, counted in what the storage is asked.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::{Algorithm, Manifest, Store, Stored, keys};
use crate::name::{RepositoryName, Tag};

/// A storage in memory that counts what is read, and what is listed. It lists as a folder does: all
/// of it, whatever is asked for.
#[derive(Debug, Default)]
struct Counting {
    objects: InMemory,
    done: Arc<AtomicU64>,
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.objects.fmt(f)
    }
}

/// What `async_trait` makes of the trait's methods is written out: each passes a future on that is
/// there.
impl ObjectStore for Counting {
    fn put_opts<'a, 'b, 'c>(
        &'a self,
        at: &'b Path,
        it: PutPayload,
        options: PutOptions,
    ) -> BoxFuture<'c, Result<PutResult>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.objects.put_opts(at, it, options)
    }

    fn put_multipart_opts<'a, 'b, 'c>(
        &'a self,
        at: &'b Path,
        options: PutMultipartOptions,
    ) -> BoxFuture<'c, Result<Box<dyn MultipartUpload>>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.objects.put_multipart_opts(at, options)
    }

    fn get_opts<'a, 'b, 'c>(
        &'a self,
        at: &'b Path,
        options: GetOptions,
    ) -> BoxFuture<'c, Result<GetResult>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.objects.get_opts(at, options)
    }

    fn delete_stream(
        &self,
        all: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(all)
    }

    fn list(&self, below: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let done = Arc::clone(&self.done);
        let listed = self.objects.list(below);
        let count = move |_: &_| {
            done.fetch_add(1, Ordering::Relaxed);
        };
        listed.inspect(count).boxed()
    }

    fn list_with_delimiter<'a, 'b, 'c>(
        &'a self,
        below: Option<&'b Path>,
    ) -> BoxFuture<'c, Result<ListResult>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.objects.list_with_delimiter(below)
    }

    fn copy_opts<'a, 'b, 'd, 'c>(
        &'a self,
        from: &'b Path,
        to: &'d Path,
        options: CopyOptions,
    ) -> BoxFuture<'c, Result<()>>
    where
        'a: 'c,
        'b: 'c,
        'd: 'c,
        Self: 'c,
    {
        self.objects.copy_opts(from, to, options)
    }
}

struct Counted {
    store: Store,
    done: Arc<AtomicU64>,
    name: RepositoryName,
}

impl Counted {
    fn new() -> Self {
        let objects = Counting::default();
        Self {
            done: Arc::clone(&objects.done),
            store: Store::over(Arc::new(objects), u64::MAX),
            name: "a/b".parse().expect("a name"),
        }
    }

    /// Pushes a manifest with an artifact type of its own, a tag, and a subject.
    async fn push(&self, number: usize) {
        let subject = Algorithm::Sha256.digest(b"");
        let part = format!(r#"{{"digest":"{subject}"}}"#);
        let text = format!(r#"{{"artifactType":"a/{number}","subject":{part}}}"#);
        let manifest = Manifest::read(text.as_bytes(), None).expect("a manifest");
        let stored = Stored {
            media_type: "a/b".to_owned(),
            digest: Algorithm::Sha256.digest(text.as_bytes()),
            size: text.len() as u64,
        };
        let tags: [Tag; 1] = [format!("t{number}").parse().expect("a tag")];
        let bytes = Bytes::from(text);
        let put = self
            .store
            .put_manifest(&self.name, &stored, bytes, &manifest, &tags);
        put.await.expect("kept");
    }

    /// What something costs.
    async fn of<T>(&self, what: impl Future<Output = T>) -> u64 {
        let before = self.done.load(Ordering::Relaxed);
        what.await;
        self.done.load(Ordering::Relaxed) - before
    }
}

/// How much more ten times as many cost.
async fn growth(few: usize, cost: impl AsyncFn(&Counted) -> u64) -> f64 {
    let counted = Counted::new();
    for number in 0..few {
        counted.push(number).await;
    }
    let before = cost(&counted).await;
    for number in few..few * 10 {
        counted.push(number).await;
    }
    cost(&counted).await as f64 / before as f64
}

#[tokio::test]
async fn a_filter_that_fits_no_referrer_costs_as_much_as_there_are() {
    let subject = Algorithm::Sha256.digest(b"");
    let growth = growth(1000, async |it| {
        let page = it
            .store
            .referrers(&it.name, &subject, Some("none/such"), None, 1);
        it.of(async { assert!(page.await.expect("a page").items.is_empty()) })
            .await
    });
    let growth = growth.await;
    assert!(growth < 30.0, "{growth}");
}

#[tokio::test]
async fn a_page_of_one_referrer_does_not_read_them_all() {
    let subject = Algorithm::Sha256.digest(b"");
    let counted = Counted::new();
    for number in 0..500 {
        counted.push(number).await;
    }
    let page = counted
        .store
        .referrers(&counted.name, &subject, None, None, 1);
    let cost = counted.of(async { assert!(page.await.expect("a page").more) });
    // They are listed, and some are read ahead.
    assert!(cost.await < 600);
}

#[tokio::test]
async fn what_is_deleted_for_not_being_used_costs_as_much_as_there_is() {
    let growth = growth(100, async |it| {
        let before = it.done.load(Ordering::Relaxed);
        // All of them, and pushed again.
        let count = it.store.delete_unused("a", Duration::ZERO).await;
        let count = count.expect("deleted");
        let cost = it.done.load(Ordering::Relaxed) - before;
        assert!(count >= 100, "{count}");
        assert_eq!(
            it.store
                .tags(&it.name, None, 10)
                .await
                .expect("a page")
                .items
                .len(),
            0
        );
        for number in 0..100 {
            it.push(number).await;
        }
        cost
    });
    let growth = growth.await;
    assert!(growth < 15.0, "{growth}");
}

#[tokio::test]
async fn a_tag_that_moves_while_unused_copies_leave_stays() {
    let counted = Counted::new();
    let (store, name) = (&counted.store, &counted.name);
    counted.push(1).await;
    counted.push(2).await;
    let tags = store.tags_by_digest(name).await.expect("tags");
    let of = |tag: &str| {
        let tag: Tag = tag.parse().expect("a tag");
        let found = tags.iter().find(|(_, all)| all.contains(&tag));
        found.map(|(digest, _)| digest.clone()).expect("tagged")
    };
    let (first, second) = (of("t1"), of("t2"));
    // Somebody has moved the tag since it was read.
    let path = keys::tag(name, &"t1".parse().expect("a tag"));
    let moved = format!(r#"{{"digest":"{second}"}}"#);
    store.put(&path, moved).await.expect("kept");
    let stale = &tags[&first];
    let left = store.delete_unused_manifest(name, &first, Duration::ZERO, stale);
    assert!(left.await.expect("deleted"));
    let tag = "t1".parse().expect("a tag");
    assert_eq!(store.tagged(name, &tag).await.expect("read"), Some(second));
}
