//! When to look again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::watched::Watched;

/// A change is told when nothing more has happened for this long …
const QUIET: Duration = Duration::from_millis(20);
/// … or at the latest this long after it was seen.
const AT_MOST: Duration = Duration::from_millis(200);
/// How often the places are looked at, for what the kernel does not tell (network file systems).
const SAFETY_NET: Duration = Duration::from_secs(if cfg!(test) { 30 } else { 2 });
/// How often when the kernel tells nothing at all.
const POLLING: Duration = Duration::from_secs(1);

/// Watches what `paths` hold. A path need not exist yet.
///
/// Start this before the first reading, so that nothing between the two is missed.
pub fn watch<P: AsRef<Path>>(paths: &[P]) -> Watcher {
    Watcher::new(paths, true)
}

/// Tells that files, folders, or links on the way to them may have changed.
#[derive(Debug)]
pub struct Watcher {
    paths: Vec<PathBuf>,
    shared: Arc<Shared>,
    watched: Arc<Watched>,
    /// None where the kernel cannot be asked: then polling is all there is.
    kernel: Option<RecommendedWatcher>,
    next_poll: Instant,
    /// Seen, but not told yet.
    pending: bool,
}

#[derive(Debug, Default)]
struct Shared {
    /// What an event must concern to be one; the same as [`Watcher::watched`].
    filter: Mutex<Arc<Watched>>,
    wake: Notify,
}

impl Watcher {
    fn new<P: AsRef<Path>>(paths: &[P], kernel: bool) -> Self {
        let paths: Vec<PathBuf> = paths.iter().map(|path| path.as_ref().to_owned()).collect();
        let shared = Arc::new(Shared::default());
        let mut watcher = Self {
            watched: Arc::default(),
            kernel: None,
            next_poll: Instant::now(),
            pending: false,
            paths,
            shared,
        };
        if kernel {
            let shared = Arc::clone(&watcher.shared);
            match notify::recommended_watcher(move |event| shared.tell(event)) {
                Ok(kernel) => watcher.kernel = Some(kernel),
                Err(error) => warn_of_polling(&error),
            }
        }
        let watched = Watched::of(&watcher.paths);
        watcher.follow(watched);
        watcher
    }

    /// Waits until something may have changed since the last time, or since the start. Changes
    /// that follow each other closely are told once.
    ///
    /// Cancel safe: a change that was seen is told by the next call.
    pub async fn changed(&mut self) {
        if !self.pending {
            self.wait().await;
            self.pending = true;
        }
        self.settle().await;
        // From here on the new places are watched, and then the caller reads: what happens
        // in between is told again.
        let watched = self.look().await;
        self.follow(watched);
        self.pending = false;
    }

    async fn wait(&mut self) {
        loop {
            tokio::select! {
                () = self.shared.wake.notified() => return,
                () = sleep_until(self.next_poll) => {
                    let now = self.look().await;
                    self.plan_poll();
                    if now.prints != self.watched.prints {
                        return;
                    }
                }
            }
        }
    }

    async fn settle(&self) {
        let end = Instant::now() + AT_MOST;
        loop {
            let quiet = (Instant::now() + QUIET).min(end);
            tokio::select! {
                () = self.shared.wake.notified() => {
                    if Instant::now() >= end {
                        return;
                    }
                }
                () = sleep_until(quiet) => return,
            }
        }
    }

    async fn look(&self) -> Watched {
        let paths = self.paths.clone();
        // It fails only when the runtime ends; then what is seen does not matter any more.
        tokio::task::spawn_blocking(move || Watched::of(&paths))
            .await
            .unwrap_or_default()
    }

    /// Watches the folders in `watched`, and no others.
    fn follow(&mut self, watched: Watched) {
        let watched = Arc::new(watched);
        // The filter first: an event of a new folder must find it.
        *self
            .shared
            .filter
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Arc::clone(&watched);
        let former = std::mem::replace(&mut self.watched, watched);
        if let Some(kernel) = &mut self.kernel
            && let Err(error) = watch_folders(kernel, &former, &self.watched)
        {
            warn_of_polling(&error);
            self.kernel = None;
        }
        self.plan_poll();
    }

    fn plan_poll(&mut self) {
        let period = match self.kernel {
            Some(_) => SAFETY_NET,
            None => POLLING,
        };
        self.next_poll = Instant::now() + period;
    }
}

impl Shared {
    /// Takes an event, on the watching thread.
    fn tell(&self, event: notify::Result<notify::Event>) {
        let matters = match event {
            // That somebody (we, for one) has read a file changes nothing.
            Ok(event) if is_reading(event.kind) => false,
            // The kernel has dropped events: anything may have happened.
            Ok(event) if event.need_rescan() => true,
            Ok(event) => {
                let filter = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
                event.paths.iter().any(|path| filter.concerns(path))
            }
            Err(_) => true,
        };
        if matters {
            self.wake.notify_one();
        }
    }
}

fn is_reading(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind != AccessKind::Close(AccessMode::Write),
        _ => false,
    }
}

fn watch_folders(
    kernel: &mut RecommendedWatcher,
    former: &Watched,
    watched: &Watched,
) -> notify::Result<()> {
    for folder in former.folders.difference(&watched.folders) {
        // Fails where the folder is gone, and its watch with it.
        let _ = kernel.unwatch(folder);
    }
    // The known ones again, too: one may have been taken away and made anew.
    for folder in &watched.folders {
        match kernel.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => {}
            Err(error) if is_limit(&error) => return Err(error),
            // Gone again, or not ours to read: the safety net looks at it.
            Err(_) => {}
        }
    }
    Ok(())
}

/// Whether the kernel has no watch left to give.
fn is_limit(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => true,
        notify::ErrorKind::Io(error) => {
            use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};

            !matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
        }
        _ => false,
    }
}

fn warn_of_polling(error: &notify::Error) {
    tracing::warn!(
        %error,
        "cannot watch files through the kernel (raise fs.inotify.max_user_watches and \
         max_user_instances); looking at them once a second instead"
    );
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tokio::time::timeout;

    use super::*;

    /// Longer than any test machine is slow, but shorter than the safety net: what is told within
    /// this time, the kernel has told.
    const SOON: Duration = Duration::from_secs(15);

    async fn told(watcher: &mut Watcher) -> bool {
        timeout(SOON, watcher.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn every_kind_of_change_is_told_once() {
        let temp = tempfile::tempdir().expect("a folder");
        let root = temp.path();
        fs::write(root.join("a.yaml"), "1").expect("written");
        let mut watcher = watch(&[root]);
        type Step<'a> = (&'a str, Box<dyn Fn() + 'a>);
        let steps: [Step<'_>; 8] = [
            (
                "write",
                Box::new(|| fs::write(root.join("a.yaml"), "2").expect("written")),
            ),
            (
                "rename over",
                Box::new(|| {
                    fs::write(root.join(".new"), "3").expect("written");
                    fs::rename(root.join(".new"), root.join("a.yaml")).expect("renamed");
                }),
            ),
            (
                "new folder",
                Box::new(|| fs::create_dir(root.join("sub")).expect("made")),
            ),
            (
                "file in it",
                Box::new(|| fs::write(root.join("sub/b.yaml"), "1").expect("written")),
            ),
            (
                "folder gone",
                Box::new(|| fs::remove_dir_all(root.join("sub")).expect("removed")),
            ),
            (
                "folder again",
                Box::new(|| fs::create_dir(root.join("sub")).expect("made")),
            ),
            (
                "file again",
                Box::new(|| fs::write(root.join("sub/b.yaml"), "1").expect("written")),
            ),
            (
                "file gone",
                Box::new(|| fs::remove_file(root.join("a.yaml")).expect("removed")),
            ),
        ];
        for (name, step) in steps {
            step();
            assert!(told(&mut watcher).await, "{name}");
        }
        // Reading is no change. What a busy machine tells late of the steps before comes to an end.
        let mut is_quiet = false;
        for _ in 0..20 {
            let _ = fs::read(root.join("sub/b.yaml"));
            let told = timeout(Duration::from_millis(300), watcher.changed()).await;
            is_quiet = told.is_err();
            if is_quiet {
                break;
            }
        }
        assert!(is_quiet, "it is told again and again");
    }

    #[tokio::test]
    async fn turned_links_are_told() {
        let temp = tempfile::tempdir().expect("a folder");
        let root = temp.path();
        for version in ["mount/..1", "mount/..2"] {
            fs::create_dir_all(root.join(version)).expect("made");
            fs::write(root.join(version).join("a.yaml"), version).expect("written");
        }
        symlink("..1", root.join("mount/..data")).expect("linked");
        symlink("..data/a.yaml", root.join("mount/a.yaml")).expect("linked");
        symlink("mount", root.join("link")).expect("linked");
        let mut watcher = watch(&[root.join("link/a.yaml")]);

        symlink("..2", root.join("mount/..tmp")).expect("linked");
        fs::rename(root.join("mount/..tmp"), root.join("mount/..data")).expect("renamed");
        assert!(told(&mut watcher).await, "..data turned");
        fs::write(root.join("mount/..2/a.yaml"), "new").expect("written");
        assert!(told(&mut watcher).await, "the target written");

        fs::create_dir(root.join("other")).expect("made");
        fs::write(root.join("other/a.yaml"), "other").expect("written");
        symlink("other", root.join("tmp")).expect("linked");
        fs::rename(root.join("tmp"), root.join("link")).expect("renamed");
        assert!(told(&mut watcher).await, "the path's own link turned");
        fs::write(root.join("other/a.yaml"), "newer").expect("written");
        assert!(told(&mut watcher).await, "the new target written");
    }

    #[tokio::test]
    async fn a_path_that_comes_and_goes_is_told() {
        let temp = tempfile::tempdir().expect("a folder");
        let root = temp.path().join("later");
        let mut watcher = watch(&[&root]);
        for _ in 0..2 {
            fs::create_dir(&root).expect("made");
            assert!(told(&mut watcher).await);
            fs::write(root.join("a.yaml"), "1").expect("written");
            assert!(told(&mut watcher).await);
            fs::remove_dir_all(&root).expect("removed");
            assert!(told(&mut watcher).await);
        }
    }

    #[tokio::test]
    async fn without_the_kernel_polling_tells() {
        let temp = tempfile::tempdir().expect("a folder");
        fs::write(temp.path().join("a.yaml"), "1").expect("written");
        let mut watcher = Watcher::new(&[temp.path()], false);
        fs::write(temp.path().join("a.yaml"), "2").expect("written");
        assert!(timeout(POLLING * 20, watcher.changed()).await.is_ok());
        fs::write(temp.path().join("b.yaml"), "2").expect("written");
        assert!(timeout(POLLING * 20, watcher.changed()).await.is_ok());
    }

    #[tokio::test]
    async fn a_steady_stream_of_writes_is_told_all_the_same() {
        let temp = tempfile::tempdir().expect("a folder");
        let mut watcher = watch(&[temp.path()]);
        let file = temp.path().join("a.yaml");
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let writer = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    fs::write(&file, "x").expect("written");
                    std::thread::sleep(QUIET / 4);
                }
            }
        });
        let told = told(&mut watcher).await;
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().expect("no panic");
        assert!(told);
    }
}
