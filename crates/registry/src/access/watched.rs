//! Files that are read again when they have changed.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

/// How often a file is looked at.
const EVERY: Duration = Duration::from_secs(2);

/// The largest file in bytes.
const LARGEST: u64 = 4 << 20;

/// A file's meaning, as it was when the file was last right.
#[derive(Debug)]
pub struct Watched<T> {
    path: PathBuf,
    parse: fn(&str) -> Result<T, String>,
    current: ArcSwap<T>,
}

impl<T: Send + Sync + PartialEq + 'static> Watched<T> {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, with its name, for people.
    pub fn open(path: &Path, parse: fn(&str) -> Result<T, String>) -> Result<Arc<Self>, String> {
        let current = read(path).and_then(|text| parse(&text));
        let current = current.map_err(|what| format!("{}: {what}", path.display()))?;
        Ok(Arc::new(Self {
            path: path.to_owned(),
            parse,
            current: ArcSwap::from_pointee(current),
        }))
    }

    /// What it means now.
    pub fn get(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Reads it again when it has changed, for as long as the future is polled. What is wrong
    /// is logged once, and changes nothing.
    pub async fn watch(self: Arc<Self>) {
        let mut last_trouble = None;
        loop {
            tokio::time::sleep(EVERY).await;
            let this = Arc::clone(&self);
            let look = move || read(&this.path).and_then(|text| (this.parse)(&text));
            // The only failure is that the process ends.
            let Ok(looked) = tokio::task::spawn_blocking(look).await else {
                return;
            };
            match looked {
                Ok(new) => {
                    last_trouble = None;
                    if *self.current.load_full() != new {
                        tracing::info!(file = %self.path.display(), "read again");
                        self.current.store(Arc::new(new));
                    }
                }
                Err(trouble) => {
                    if last_trouble.as_ref() != Some(&trouble) {
                        tracing::error!(
                            file = %self.path.display(),
                            "{trouble}; what it said before holds on"
                        );
                        last_trouble = Some(trouble);
                    }
                }
            }
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let mut file = File::open(path)
        .map_err(|error| error.to_string())?
        .take(LARGEST + 1);
    file.read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    match text.len() as u64 > LARGEST {
        true => Err(format!("it is larger than {LARGEST} bytes")),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_that_has_changed_is_read_and_one_that_is_wrong_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("number");
        std::fs::write(&file, "1").expect("written");
        let parse = |text: &str| text.trim().parse::<u32>().map_err(|it| it.to_string());
        let watched = Watched::open(&file, parse).expect("a number");
        let task = tokio::spawn(Arc::clone(&watched).watch());
        let becomes = async |value: u32| {
            while *watched.get() != value {
                tokio::time::sleep(EVERY).await;
            }
        };
        std::fs::write(&file, "2").expect("written");
        becomes(2).await;
        std::fs::write(&file, "two").expect("written");
        tokio::time::sleep(EVERY * 3).await;
        assert_eq!(*watched.get(), 2);
        std::fs::write(&file, "3").expect("written");
        becomes(3).await;
        task.abort();
        let wrong = Watched::open(&folder.path().join("none"), parse).expect_err("no file");
        assert!(wrong.contains("none"), "{wrong}");
    }
}
