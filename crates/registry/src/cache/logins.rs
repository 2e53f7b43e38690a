//! Who we are to the registries that are cached.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::client::{Credential, Keys};

/// How long what was read holds.
const READ_FOR: Duration = Duration::from_secs(10);

/// Credentials, from files that are read again now and then.
#[derive(Debug)]
pub struct Logins {
    /// Those of docker, podman and skopeo if there is none.
    file: Option<PathBuf>,
    read: Mutex<Read>,
}

#[derive(Debug, Clone)]
struct Read {
    keys: Keys,
    at: Instant,
    is_right: bool,
}

impl Logins {
    /// Those of a file as docker's `config.json`, or of the files where docker, podman and skopeo
    /// keep them.
    ///
    /// # Errors
    /// One is there and cannot be read; for people, without what is in it.
    pub fn open(file: Option<PathBuf>) -> Result<Self, String> {
        let keys = read(file.as_ref())?;
        Ok(Self {
            file,
            read: Mutex::new(Read {
                keys,
                at: Instant::now(),
                is_right: true,
            }),
        })
    }

    /// The credential of a repository, as the files have it now; where they cannot be read, as
    /// they had it.
    pub(super) fn of(&self, host: &str, repository: &str) -> Option<Credential> {
        let mut last = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if last.at.elapsed() > READ_FOR {
            last.at = Instant::now();
            match read(self.file.as_ref()) {
                Ok(keys) => {
                    last.keys = keys;
                    last.is_right = true;
                }
                Err(wrong) => {
                    if last.is_right {
                        tracing::warn!("{wrong}; the credentials of before hold on");
                    }
                    last.is_right = false;
                }
            }
        }
        last.keys.of(host, repository).cloned()
    }
}

impl Clone for Logins {
    fn clone(&self) -> Self {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            file: self.file.clone(),
            read: Mutex::new(read.clone()),
        }
    }
}

fn read(file: Option<&PathBuf>) -> Result<Keys, String> {
    match file {
        Some(file) => Keys::of_file(file),
        None => Keys::of_this_user(),
    }
}
