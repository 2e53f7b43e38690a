//! Where a store is, and that no two processes write to one folder.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path as FilePath, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::{fmt, io};

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use rustix::fs::{FlockOperation, flock};
use url::Url;

use super::{Error, Result};

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder.
    Folder(PathBuf),
    /// A bucket, perhaps with a prefix: `s3://BUCKET/PREFIX`, `gs://…`, `az://…`. Credentials are
    /// those of the environment, by the names that the providers' own tools know.
    Bucket(Url),
}

/// Nobody else writes to this folder while this lives.
#[derive(Debug)]
pub struct Lock {
    /// The kernel's lock ends with it.
    _file: File,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text.is_empty() {
            return Err("name a folder or the URL of a bucket".to_owned());
        }
        if !text.contains("://") {
            return Ok(Self::Folder(text.into()));
        }
        let url: Url = text.parse().map_err(|error| format!("no URL: {error}"))?;
        match url.scheme() {
            "file" => match url.to_file_path() {
                Ok(path) => Ok(Self::Folder(path)),
                Err(()) => Err("a file's URL has no host: file:///DIR".to_owned()),
            },
            "s3" | "s3a" | "gs" | "az" | "azure" | "abfs" | "abfss" => Ok(Self::Bucket(url)),
            other => Err(format!(
                "`{other}` is no kind of storage: s3, gs and az are"
            )),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            // What could be a password is not shown.
            Self::Bucket(url) => write!(
                f,
                "{}://{}{}",
                url.scheme(),
                url.host_str().unwrap_or_default(),
                url.path()
            ),
        }
    }
}

impl Place {
    /// The storage itself, for what is no image.
    pub fn storage(&self) -> Result<Arc<dyn ObjectStore>> {
        self.open().map(|(storage, _)| storage)
    }

    /// Makes the folder if there is none.
    pub(super) fn open(&self) -> Result<(Arc<dyn ObjectStore>, Option<PathBuf>)> {
        match self {
            Self::Folder(path) => {
                fs::create_dir_all(path)?;
                let folder = fs::canonicalize(path)?;
                let objects = LocalFileSystem::new_with_prefix(&folder)?.with_fsync(true);
                Ok((Arc::new(objects), Some(folder)))
            }
            Self::Bucket(url) => {
                let environment = std::env::vars_os().filter_map(|(name, value)| {
                    let name = name.into_string().ok()?.to_ascii_lowercase();
                    Some((name, value.into_string().ok()?))
                });
                let (objects, prefix) = object_store::parse_url_opts(url, environment)?;
                Ok((Arc::new(PrefixStore::new(objects, prefix)), None))
            }
        }
    }

    /// Has nobody but our own user look into what is below `name`, where the storage is a folder. Who may read a bucket is said
    /// by its owner.
    pub fn conceal(&self, name: &str) -> io::Result<()> {
        let Self::Folder(folder) = self else {
            return Ok(());
        };
        let folder = folder.join(name);
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, Permissions::from_mode(0o700))
    }

    /// Takes the lock. `None` if another process has it; a bucket has none to take.
    pub fn lock(&self) -> io::Result<Option<Lock>> {
        let Self::Folder(folder) = self else {
            return Ok(None);
        };
        fs::create_dir_all(folder)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(lock_file(folder))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Not an object of the store: nothing lists its root.
fn lock_file(folder: &FilePath) -> PathBuf {
    folder.join("lock")
}

impl From<url::ParseError> for Error {
    fn from(error: url::ParseError) -> Self {
        Self::Failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_folder_or_a_bucket() {
        assert_eq!("a/b".parse(), Ok(Place::Folder("a/b".into())));
        assert_eq!("file:///a".parse(), Ok(Place::Folder("/a".into())));
        assert!(matches!("s3://b/p".parse(), Ok(Place::Bucket(_))));
        assert!("http://a/b".parse::<Place>().is_err());
        assert!("".parse::<Place>().is_err());
    }

    #[test]
    fn what_is_concealed_is_for_our_own_user_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::Folder(folder.path().join("new"));
        for _ in 0..2 {
            place.conceal("access").expect("ours");
            let mode = fs::metadata(folder.path().join("new/access"));
            assert_eq!(mode.expect("there").permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn a_folder_is_locked_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::Folder(folder.path().join("new"));
        let lock = place.lock().expect("a lock");
        assert!(lock.is_some());
        assert!(place.lock().expect("an answer").is_none());
        drop(lock);
        assert!(place.lock().expect("a lock").is_some());
    }
}
