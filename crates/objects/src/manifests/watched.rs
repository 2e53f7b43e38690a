//! Which places in the file system decide what some paths hold.
//!
//! More than the files themselves: every link on the way to one may be turned to another place,
//! and every folder on the way may be taken away and made again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use super::files;

/// How many links one path may go through; the kernel's own limit.
const MAX_LINKS: usize = 40;

/// The places that decide, as they were at one moment.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// The folders to watch; each by a path without links.
    pub(super) folders: BTreeSet<PathBuf>,
    /// What each place looked like; two moments differ if these do.
    pub(super) prints: BTreeMap<PathBuf, Option<Print>>,
    /// The folders of manifests: whatever happens in them matters.
    contents: HashSet<PathBuf>,
    /// Links, files and folders that matter, in folders of which nothing else does.
    points: HashSet<PathBuf>,
}

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Print {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watched {
    /// The places that decide what `paths` hold.
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let mut watched = Self::default();
        for path in paths {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            watched.add(&path);
        }
        watched
    }

    /// Whether something that happened at `path` can matter.
    pub(super) fn concerns(&self, path: &Path) -> bool {
        if self.points.contains(path) || self.contents.contains(path) {
            return true;
        }
        let Some(name) = path.file_name() else {
            return false;
        };
        // An editor's own files are hidden by one dot; `..data` is how a ConfigMap is swapped.
        let name = name.as_encoded_bytes();
        let passed_over = name.starts_with(b".") && !name.starts_with(b"..");
        !passed_over
            && path
                .parent()
                .is_some_and(|folder| self.contents.contains(folder))
    }

    /// Adds a path, every link on the way, and if it is a folder what is in it.
    fn add(&mut self, path: &Path) {
        let Some(path) = self.follow(path) else {
            return;
        };
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => self.add_folder(path, &metadata),
            Ok(metadata) => drop(self.prints.insert(path, Some(Print::of(&metadata)))),
            Err(_) => drop(self.prints.insert(path, None)),
        }
    }

    fn add_folder(&mut self, folder: PathBuf, metadata: &fs::Metadata) {
        if !self.contents.insert(folder.clone()) {
            return;
        }
        self.folders.insert(folder.clone());
        let names = files::read_names(&folder).unwrap_or_default();
        // Its time alone, not its size, would do; but it costs nothing.
        self.prints.insert(folder, Some(Print::of(metadata)));
        for path in names {
            if files::is_hidden(&path) {
                continue;
            }
            let Ok(metadata) = fs::symlink_metadata(&path) else {
                continue;
            };
            if metadata.is_symlink() {
                self.add(&path);
            } else if metadata.is_dir() {
                self.add_folder(path, &metadata);
            } else if files::is_manifest(&path) {
                self.prints.insert(path, Some(Print::of(&metadata)));
            }
        }
    }

    /// Where `path` leads without links, as far as it exists: each link on the way, and the end,
    /// is a point in a folder to watch.
    fn follow(&mut self, path: &Path) -> Option<PathBuf> {
        let mut reached = PathBuf::new();
        let mut ahead: Vec<PathBuf> = components(path);
        let mut links = 0;
        while let Some(step) = ahead.pop() {
            if step.as_os_str() == ".." {
                reached.pop();
                continue;
            }
            let next = reached.join(&step);
            match fs::symlink_metadata(&next) {
                Ok(metadata) if metadata.is_symlink() => {
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    let target = fs::read_link(&next).ok()?;
                    self.prints.insert(next.clone(), Some(Print::of(&metadata)));
                    self.add_point(next);
                    if target.is_absolute() {
                        reached = PathBuf::new();
                    }
                    ahead.extend(components(&target));
                }
                Ok(_) => reached = next,
                Err(_) => {
                    self.prints.insert(next.clone(), None);
                    self.add_point(next);
                    return None;
                }
            }
        }
        self.add_point(reached.clone());
        Some(reached)
    }

    fn add_point(&mut self, point: PathBuf) {
        if let Some(folder) = point.parent() {
            self.folders.insert(folder.to_owned());
        }
        self.points.insert(point);
    }
}

/// The steps of a path, the first one last.
fn components(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .filter(|component| !matches!(component, Component::CurDir))
        .map(|component| PathBuf::from(component.as_os_str()))
        .collect()
}

impl Print {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_on_the_way_and_their_targets_are_watched() {
        let temp = tempfile::tempdir().expect("a folder");
        let root = fs::canonicalize(temp.path()).expect("exists");
        fs::create_dir_all(root.join("real/sub")).expect("written");
        fs::create_dir_all(root.join("else")).expect("written");
        fs::write(root.join("else/b.yaml"), "").expect("written");
        symlink("real", root.join("link")).expect("linked");
        symlink("../else/b.yaml", root.join("real/b.yaml")).expect("linked");

        let watched = Watched::of(&[root.join("link")]);
        for folder in ["", "real", "real/sub", "else"] {
            let folder = root.join(folder);
            let folder = folder.components().collect::<PathBuf>();
            assert!(watched.folders.contains(&folder), "{folder:?}");
        }
        for matters in [
            "link",
            "real/x.yaml",
            "real/..data",
            "real/sub",
            "else/b.yaml",
        ] {
            assert!(watched.concerns(&root.join(matters)), "{matters}");
        }
        for does_not in ["other", "else/c.yaml", "real/.b.yaml.swp"] {
            assert!(!watched.concerns(&root.join(does_not)), "{does_not}");
        }
    }

    #[test]
    fn a_path_that_is_not_there_is_waited_for() {
        let temp = tempfile::tempdir().expect("a folder");
        let root = fs::canonicalize(temp.path()).expect("exists");
        let watched = Watched::of(&[root.join("later/on")]);
        assert!(watched.folders.contains(&root));
        assert!(watched.concerns(&root.join("later")));
    }

    #[test]
    fn links_in_a_circle_end() {
        let temp = tempfile::tempdir().expect("a folder");
        symlink("b", temp.path().join("a")).expect("linked");
        symlink("a", temp.path().join("b")).expect("linked");
        symlink(".", temp.path().join("c")).expect("linked");
        let _ = Watched::of(&[temp.path().to_owned(), temp.path().join("a")]);
    }
}
