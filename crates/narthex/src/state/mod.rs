//! What outlives the process: the state folder, and what is kept in it.

mod certificate;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub(crate) use certificate::{default_certificate, is_fresh};

/// The file of the admin token.
pub(crate) const TOKEN: &str = "admin-token";

/// Where state is kept: in a folder, or nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// In this folder, which exists and can be written.
    Folder(PathBuf),
    /// In memory: every start begins anew.
    Memory,
}

impl State {
    /// Opens the folder, making it if need be. Whatever is wrong with it is a warning: requests
    /// can be served without.
    pub(crate) fn open(folder: Option<PathBuf>) -> Self {
        let Some(folder) = folder else {
            tracing::warn!(
                "no state folder: the self-signed certificate is new at every start; \
                 give --state-dir DIR"
            );
            return Self::Memory;
        };
        match prepare(&folder) {
            Ok(()) => Self::Folder(folder),
            Err(error) => {
                tracing::warn!(
                    folder = %folder.display(), %error,
                    "the state folder cannot be written: the self-signed certificate is new at \
                     every start; give another one with --state-dir DIR"
                );
                Self::Memory
            }
        }
    }

    /// The folder, if there is one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Memory => None,
        }
    }

    /// What whoever orders something over the admin address has to show: the one that is kept, or
    /// a new one. None without a folder.
    pub(crate) fn token(&self) -> Option<String> {
        self.folder()?;
        if let Ok(Some(token)) = self.read(TOKEN)
            && token.len() >= 32
        {
            return Some(token);
        }
        // A name that nobody guesses, as the system's random bytes make it.
        let token = random_token()?;
        match self.write(TOKEN, &token) {
            Ok(()) => Some(token),
            Err(error) => {
                tracing::warn!(file = TOKEN, %error, "the admin token cannot be kept");
                None
            }
        }
    }

    /// Reads a file, `None` if it is not there.
    fn read(&self, name: &str) -> io::Result<Option<String>> {
        let Self::Folder(folder) = self else {
            return Ok(None);
        };
        match fs::read_to_string(folder.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a file that only this user may read. Whoever reads meanwhile, and a crash, finds
    /// the whole old one or the whole new one.
    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let Self::Folder(folder) = self else {
            return Ok(());
        };
        let temporary = folder.join(format!(".{name}.{}", std::process::id()));
        let result = write_private(&temporary, text)
            .and_then(|()| fs::rename(&temporary, folder.join(name)))
            .and_then(|()| File::open(folder)?.sync_all());
        if result.is_err() {
            // It may not be there; what went wrong before is what matters.
            let _ = fs::remove_file(&temporary);
        }
        result
    }
}

/// 32 random bytes, in hexadecimal.
fn random_token() -> Option<String> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut bytes = [0; 32];
    provider.secure_random.fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn prepare(folder: &Path) -> io::Result<()> {
    if !folder.is_dir() {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    }
    let probe = folder.join(format!(".probe.{}", std::process::id()));
    write_private(&probe, "")?;
    fs::remove_file(&probe)
}

pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    // The mode above holds for new files only.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_private_and_replaced_as_a_whole() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let state = State::open(Some(folder.path().join("new/state")));
        let State::Folder(path) = &state else {
            panic!("it can be written");
        };
        assert_eq!(state.read("a").expect("reads"), None);
        for text in ["one", "two"] {
            state.write("a", text).expect("writes");
            assert_eq!(state.read("a").expect("reads").as_deref(), Some(text));
        }
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&path.join("a")), 0o600);
        assert_eq!(mode(path), 0o700);
        assert_eq!(fs::read_dir(path).expect("a folder").count(), 1);
    }

    #[test]
    fn what_cannot_be_a_folder_is_memory() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        assert_eq!(State::open(Some(file.path().to_owned())), State::Memory);
        assert_eq!(State::open(None), State::Memory);
    }
}
