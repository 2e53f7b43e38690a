//! Objects from files: what is in them, what is wrong with them, and when they change.
//!
//! In: files and folders. Out: [`load`] reads them once; a [`Folder`] reads them again and again
//! and keeps the last good version of every object; a [`Watcher`] says when to. Each document
//! stands for itself: whatever is wrong with one is a [`Located`] problem, and all others are
//! read.

mod document;
mod files;
mod folder;
#[cfg(test)]
mod fuzz;
mod identity;
mod object;
mod reading;
mod schema;
mod shape;
pub(crate) mod split;
mod watch;
mod watched;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use folder::{Change, Folder, Reload};
pub use watch::{Watcher, watch};

use crate::kinds::Object;
use crate::problem::Problem;
use reading::{Cache, Reading};

/// How manifests are read.
#[derive(Debug, Clone)]
pub struct Options {
    /// The size of the largest file that is read; a larger one is an error.
    pub max_file_bytes: u64,
}

impl Options {
    /// The default of `max_file_bytes`: 16 MiB.
    pub const MAX_FILE_BYTES: u64 = 16 << 20;
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_file_bytes: Self::MAX_FILE_BYTES,
        }
    }
}

/// Where an object was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file, by the path under which it was found.
    pub file: Arc<Path>,
    /// The first line of the document, or of the List's item; from 1.
    pub line: u32,
    place: document::Place,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A problem and its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Located {
    /// What is wrong.
    pub problem: Problem,
    /// The file, or the path that was asked for.
    pub file: Arc<Path>,
    /// The line of the field, or of the nearest field around it that is there; from 1, and 0
    /// where the file as a whole is meant.
    pub line: u32,
}

/// What some files hold.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The good objects, in the order of the files and of the documents in them; none twice.
    pub objects: Vec<(Object, Origin)>,
    /// What is wrong, in the same order.
    pub problems: Vec<Located>,
    /// How many objects there are of each kind that is not read, by `apiVersion/Kind`.
    pub ignored: BTreeMap<String, usize>,
}

/// Reads files, and folders at any depth. A path that is not there is a problem naming it.
pub fn load<P: AsRef<Path>>(paths: &[P], options: &Options) -> Loaded {
    let paths: Vec<PathBuf> = paths.iter().map(|path| path.as_ref().to_owned()).collect();
    let reading = Reading::of(&paths, options, &mut Cache::default());
    Loaded {
        objects: reading.objects.into_iter().map(|(_, good)| good).collect(),
        problems: reading
            .problems
            .into_iter()
            .map(|found| found.located)
            .collect(),
        ignored: reading.ignored,
    }
}

/// The line of a field of an object that was read earlier.
///
/// `field` is a path as problems have it: `spec.rules[0].http.paths[1].pathType`, or
/// `metadata.annotations.example.com/x` (`metadata.annotations[example.com/x]` is understood
/// too). Lines of fields are not kept in memory: the file is read again here, and the answer is
/// the line of the deepest part of the path that is there. If the file has changed so much that
/// the object is not at its place any more, or cannot be read, it is `origin.line`.
pub fn locate(origin: &Origin, field: &str) -> u32 {
    files::read(&origin.file, Options::MAX_FILE_BYTES)
        .ok()
        .flatten()
        .and_then(|bytes| document::find(&bytes, files::is_json(&origin.file), &origin.place))
        .filter(|node| node.line == origin.line)
        .map_or(origin.line, |node| node.line_of(field))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn map(name: &str) -> String {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n")
    }

    fn names(loaded: &Loaded) -> Vec<&str> {
        let objects = loaded.objects.iter();
        objects
            .map(|(object, _)| object.metadata().name.as_str())
            .collect()
    }

    #[test]
    fn folders_are_read_at_any_depth_and_hidden_names_are_not() {
        let temp = tempfile::tempdir().expect("a folder");
        let root = temp.path();
        fs::create_dir_all(root.join("b/c")).expect("written");
        fs::create_dir_all(root.join(".git")).expect("written");
        for (file, name) in [
            ("b/c/x.YAML", "deep"),
            ("a.yml", "top"),
            (".git/y.yaml", "hidden"),
            (".z.yaml", "hidden"),
            ("notes.txt", "other"),
        ] {
            fs::write(root.join(file), map(name)).expect("written");
        }
        let json = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"json"}}"#;
        fs::write(root.join("c.json"), json).expect("written");
        let loaded = load(&[root], &Options::default());
        assert_eq!(names(&loaded), ["top", "deep", "json"]);
        assert_eq!(loaded.problems, []);
        // A file that is named is read whatever its name, and twice named is read once.
        let paths = [root.join("notes.txt"), root.join("b"), root.join("b/c")];
        assert_eq!(names(&load(&paths, &Options::default())), ["other", "deep"]);
    }

    #[test]
    fn a_mounted_config_map_is_read_once_by_its_visible_names() {
        let temp = tempfile::tempdir().expect("a folder");
        let root = temp.path();
        fs::create_dir(root.join("..2026_1")).expect("written");
        fs::write(root.join("..2026_1/a.yaml"), map("a")).expect("written");
        symlink("..2026_1", root.join("..data")).expect("linked");
        symlink("..data/a.yaml", root.join("a.yaml")).expect("linked");
        let loaded = load(&[root], &Options::default());
        assert_eq!(names(&loaded), ["a"]);
        assert_eq!(*loaded.objects[0].1.file, root.join("a.yaml"));
    }

    #[test]
    fn the_second_of_two_objects_is_an_error_that_names_the_first() {
        let temp = tempfile::tempdir().expect("a folder");
        fs::write(temp.path().join("b.yaml"), map("same")).expect("written");
        let a = temp.path().join("a.yaml");
        fs::write(&a, format!("# one\n{}", map("same"))).expect("written");
        let loaded = load(&[temp.path()], &Options::default());
        assert_eq!(*loaded.objects[0].1.file, *a);
        assert_eq!(loaded.problems.len(), 1);
        let problem = &loaded.problems[0];
        assert_eq!(*problem.file, temp.path().join("b.yaml"));
        let first = format!("{}:2 has it first", a.display());
        assert!(problem.problem.message.contains(&first), "{problem:?}");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let temp = tempfile::tempdir().expect("a folder");
        fs::write(temp.path().join("big.yaml"), map("big")).expect("written");
        symlink("nowhere", temp.path().join("gone.yaml")).expect("linked");
        let options = Options { max_file_bytes: 10 };
        let missing = temp.path().join("missing");
        let loaded = load(&[temp.path().to_owned(), missing.clone()], &options);
        let told: Vec<(&Path, &str)> = loaded
            .problems
            .iter()
            .map(|found| (&*found.file, found.problem.message.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (&*temp.path().join("gone.yaml"), "is a link to nowhere"),
                (&*missing, "does not exist"),
                (&*temp.path().join("big.yaml"), "is larger than 10 bytes"),
            ]
        );
    }

    #[test]
    fn a_field_is_located_by_reading_its_file_again() {
        let temp = tempfile::tempdir().expect("a folder");
        let file = temp.path().join("a.yaml");
        let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    name: b\n  data:\n    tls.crt: x\n";
        fs::write(&file, format!("{}---\n{text}", map("a"))).expect("written");
        let loaded = load(&[&file], &Options::default());
        let origin = &loaded.objects[1].1;
        assert_eq!(origin.line, 9);
        assert_eq!(locate(origin, "data.tls.crt"), 14);
        assert_eq!(locate(origin, "data.tls.key"), 13);
        assert_eq!(locate(origin, ""), 9);
        assert_eq!(locate(&loaded.objects[0].1, "metadata.name"), 4);
        fs::remove_file(&file).expect("removed");
        assert_eq!(locate(origin, "data.tls.crt"), 9);
    }
}
