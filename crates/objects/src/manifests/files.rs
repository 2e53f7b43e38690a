//! Which files a list of paths means.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::problem::{Problem, Severity};

/// The files behind some paths.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The files, in the order of the paths, a folder's by name; none twice.
    pub(super) files: Vec<PathBuf>,
    /// What could not be looked into: nothing is known of what is below.
    pub(super) unreadable: Vec<PathBuf>,
    /// What was wrong, and with which path.
    pub(super) problems: Vec<(PathBuf, Problem)>,
}

impl Listing {
    /// Looks for the manifests in `paths`: a file is one whatever its name; of a folder, every
    /// `.yaml`, `.yml` and `.json` file at any depth that is not hidden, nor in a hidden folder.
    ///
    /// Links are followed. A mounted ConfigMap keeps its files in a hidden folder and links to
    /// them from names that are not hidden, so that each is found once, by its visible name.
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let mut listing = Self::default();
        let mut seen = HashSet::new();
        for path in paths {
            match fs::metadata(path) {
                Ok(metadata) if metadata.is_dir() => listing.add_folder(path, &mut seen),
                Ok(metadata) if metadata.is_file() => listing.add_file(path.clone(), &mut seen),
                Ok(_) => listing.fail(path, "is neither a file nor a folder", ""),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let hint = "name a file or a folder of manifests that exists";
                    listing.fail(path, "does not exist", hint);
                }
                Err(error) => listing.fail_unreadable(path, &error),
            }
        }
        listing
    }

    fn add_folder(&mut self, folder: &Path, seen: &mut HashSet<PathBuf>) {
        // By its true name, so that a link to a folder above is no endless way down.
        match fs::canonicalize(folder).map(|true_name| seen.insert(true_name)) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return self.fail_unreadable(folder, &error),
        }
        let mut names = match read_names(folder) {
            Ok(names) => names,
            Err(error) => return self.fail_unreadable(folder, &error),
        };
        names.sort_unstable();
        for path in names {
            if is_hidden(&path) {
                continue;
            }
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => self.add_folder(&path, seen),
                Ok(metadata) if metadata.is_file() && is_manifest(&path) => {
                    self.add_file(path, seen);
                }
                Ok(_) => {}
                // Gone since the folder was read, which is no mistake; or a link to nowhere.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if is_manifest(&path) && fs::symlink_metadata(&path).is_ok() {
                        self.fail(&path, "is a link to nowhere", "");
                        self.unreadable.push(path);
                    }
                }
                Err(error) => self.fail_unreadable(&path, &error),
            }
        }
    }

    fn add_file(&mut self, path: PathBuf, seen: &mut HashSet<PathBuf>) {
        // The first of two names for one file is the one that counts.
        // Where it has gone in between, reading it will say so.
        if fs::canonicalize(&path).map_or(true, |true_name| seen.insert(true_name)) {
            self.files.push(path);
        }
    }

    fn fail_unreadable(&mut self, path: &Path, error: &io::Error) {
        self.unreadable.push(path.to_owned());
        self.fail(path, &format!("cannot be read: {error}"), "");
    }

    fn fail(&mut self, path: &Path, message: &str, hint: &str) {
        self.problems
            .push((path.to_owned(), problem(message, hint)));
    }
}

/// Reads a file of at most `limit` bytes; `Ok(None)` if it is not there any more.
pub(super) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Problem> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| {
        // One byte more than allowed tells a file that is too large from one that just fits.
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)
    });
    match read {
        Ok(length) if u64::try_from(length).is_ok_and(|length| length > limit) => Err(problem(
            &format!("is larger than {limit} bytes"),
            "split it into several files",
        )),
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(problem(&format!("cannot be read: {error}"), "")),
    }
}

/// Whether a file is JSON by its name.
pub(super) fn is_json(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

/// Whether a name in a folder is passed over.
pub(super) fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Whether a name in a folder is that of a manifest.
pub(super) fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"]
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    })
}

/// The paths in a folder.
pub(super) fn read_names(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect()
}

fn problem(message: &str, hint: &str) -> Problem {
    Problem {
        severity: Severity::Error,
        object: None,
        field: String::new(),
        message: message.to_owned(),
        hint: hint.to_owned(),
    }
}
