//! A folder over time: what changed since the last look, without losing what was good.
//!
//! A mistake in a file must not take away what that file served a moment ago. So an object goes
//! only when its document is really gone, and as long as that is not certain the last good
//! version stays:
//! - a document that names its object and is wrong keeps that object;
//! - a document that cannot be read so far that it names its object keeps every object that the
//!   file had, for it might be any of them;
//! - a file or folder that cannot be read keeps everything that was read below it;
//! - an object that seems to be gone is looked for once more, 50 ms later: editors
//!   empty a file before they write it, or take it away before they put the new one in place.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::reading::{Cache, Reading};
use super::{Located, Options, Origin};
use crate::kinds::{Object, ObjectKey};
use crate::problem::Severity;

/// How long after a look at which objects were gone the second one follows.
const SETTLE: Duration = Duration::from_millis(50);

/// Files and folders of manifests, and the last good version of each object in them.
#[derive(Debug)]
pub struct Folder {
    paths: Vec<PathBuf>,
    options: Options,
    cache: Cache,
    held: BTreeMap<ObjectKey, (Object, Origin)>,
}

/// What one reload brought.
#[derive(Debug, Default)]
pub struct Reload {
    /// What to do to a store that has followed all reloads before.
    pub changes: Vec<Change>,
    /// Everything that is wrong now, also what was wrong before.
    pub problems: Vec<Located>,
    /// How many objects there are of each kind that is not read, by `apiVersion/Kind`.
    pub ignored: BTreeMap<String, usize>,
}

/// One change to a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The object is new, or other than before.
    Apply(Object),
    /// The object is gone.
    Delete(ObjectKey),
}

impl Folder {
    /// Takes files and folders, of which nothing is read before the first
    /// [`reload`](Self::reload).
    pub fn open<P: AsRef<Path>>(paths: &[P], options: Options) -> Self {
        Self {
            paths: paths.iter().map(|path| path.as_ref().to_owned()).collect(),
            options,
            cache: Cache::default(),
            held: BTreeMap::new(),
        }
    }

    /// Looks at all files again. Blocks for the time that reading takes, and 50 ms more when
    /// objects seem to be gone.
    pub fn reload(&mut self) -> Reload {
        let mut reading = self.read();
        let mut present = keys(&reading);
        if self
            .held
            .iter()
            .any(|held| is_gone(held, &reading, &present))
        {
            std::thread::sleep(SETTLE);
            reading = self.read();
            present = keys(&reading);
        }

        let gone: Vec<ObjectKey> = self
            .held
            .iter()
            .filter(|held| is_gone(*held, &reading, &present))
            .map(|(key, _)| key.clone())
            .collect();
        let problems = self.note_what_stays(&mut reading, &present);
        let mut changes = Vec::new();
        for (key, (object, origin)) in reading.objects {
            let changed = match self.held.get(&key) {
                Some((former, _)) => *former != object,
                None => true,
            };
            if changed {
                changes.push(Change::Apply(object.clone()));
            }
            self.held.insert(key, (object, origin));
        }
        for key in gone {
            self.held.remove(&key);
            changes.push(Change::Delete(key));
        }
        Reload {
            changes,
            problems,
            ignored: reading.ignored,
        }
    }

    /// Where an object's last good version was read.
    pub fn origin(&self, key: &ObjectKey) -> Option<&Origin> {
        self.held.get(key).map(|(_, origin)| origin)
    }

    fn read(&mut self) -> Reading {
        Reading::of(&self.paths, &self.options, &mut self.cache)
    }

    /// The problems of `reading`, those with a note that leave an older version in service.
    fn note_what_stays(&self, reading: &mut Reading, present: &HashSet<ObjectKey>) -> Vec<Located> {
        let stays = |key: &ObjectKey| self.held.contains_key(key) && !present.contains(key);
        // Files with an object of which an older version stays.
        let files: HashSet<&Arc<Path>> = self
            .held
            .iter()
            .filter(|(key, _)| stays(key))
            .map(|(_, (_, origin))| &origin.file)
            .collect();
        let below = |path: &Path| files.iter().any(|file| file.starts_with(path));
        std::mem::take(&mut reading.problems)
            .into_iter()
            .map(|found| {
                let mut located = found.located;
                let problem = &mut located.problem;
                if problem.severity == Severity::Error {
                    if problem.object.as_ref().is_some_and(stays) {
                        problem
                            .message
                            .push_str("; the last good version keeps serving");
                    } else if found.blurs && below(&located.file) {
                        problem
                            .message
                            .push_str("; what the file had before keeps serving");
                    }
                }
                located
            })
            .collect()
    }
}

fn keys(reading: &Reading) -> HashSet<ObjectKey> {
    reading.objects.iter().map(|(key, _)| key.clone()).collect()
}

fn is_gone(
    (key, (_, origin)): (&ObjectKey, &(Object, Origin)),
    reading: &Reading,
    present: &HashSet<ObjectKey>,
) -> bool {
    !present.contains(key)
        && !reading.bad.contains(key)
        && !reading
            .blurred
            .iter()
            .any(|path| origin.file.starts_with(path))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::Store;
    use crate::kinds::Kind;
    use crate::manifests::load;

    struct Fixture {
        root: tempfile::TempDir,
        folder: Folder,
        store: Store,
    }

    impl Fixture {
        fn new() -> Self {
            let root = tempfile::tempdir().expect("a folder");
            let folder = Folder::open(&[root.path()], Options::default());
            Self {
                root,
                folder,
                store: Store::default(),
            }
        }

        fn write(&self, file: &str, text: &str) {
            fs::write(self.root.path().join(file), text).expect("written");
        }

        /// Reloads; returns the number of changes, and every problem's message.
        fn reload(&mut self) -> (usize, Vec<String>) {
            let reload = self.folder.reload();
            let changes = reload.changes.len();
            for change in reload.changes {
                let changed = match change {
                    Change::Apply(object) => self.store.apply(object),
                    Change::Delete(key) => self.store.delete(&key),
                };
                assert!(changed);
            }
            let problems = reload.problems.into_iter();
            let messages = problems.map(|found| found.problem.message).collect();
            (changes, messages)
        }

        fn value(&self, name: &str) -> Option<String> {
            let map = self.store.config_map("default", name)?;
            map.data.as_ref()?.get("key").cloned()
        }
    }

    fn map(name: &str, value: &str) -> String {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  key: {value}\n---\n"
        )
    }

    #[test]
    fn changes_are_told_once() {
        let mut at = Fixture::new();
        at.write("a.yaml", &(map("x", "one") + &map("w", "one")));
        assert_eq!(at.reload().0, 2);
        assert_eq!(at.reload().0, 0);
        at.write("a.yaml", &(map("x", "two") + &map("w", "one")));
        assert_eq!(at.reload().0, 1);
        at.write("a.yaml", &map("x", "two"));
        assert_eq!(at.reload().0, 1);
        assert_eq!(at.value("w"), None);
        fs::remove_file(at.root.path().join("a.yaml")).expect("removed");
        assert_eq!(at.reload().0, 1);
        assert!(at.store.is_empty());
    }

    #[test]
    fn an_object_that_turns_bad_keeps_its_last_good_version() {
        let mut at = Fixture::new();
        at.write("a.yaml", &(map("x", "one") + &map("w", "one")));
        at.reload();
        at.write("a.yaml", &(map("x", "7") + &map("w", "two")));
        let (_, problems) = at.reload();
        assert_eq!(at.value("x").as_deref(), Some("one"));
        assert_eq!(at.value("w").as_deref(), Some("two"));
        assert_eq!(problems.len(), 1);
        assert!(problems[0].ends_with("; the last good version keeps serving"));
        // Its neighbour can go meanwhile: it is clear which of the two is bad.
        at.write("a.yaml", &map("x", "7"));
        at.reload();
        assert_eq!(at.value("x").as_deref(), Some("one"));
        assert_eq!(at.value("w"), None);
        at.write("a.yaml", &map("x", "three"));
        let (_, problems) = at.reload();
        assert_eq!(at.value("x").as_deref(), Some("three"));
        assert!(problems.is_empty());
    }

    #[test]
    fn a_file_that_turns_unreadable_keeps_everything_it_had() {
        for broken in [
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x\n",
            "apiVersion: v1\nmetadata: {name: x}\n",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {nam: x}\n",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: X}\n",
            "just words\n",
            "\u{0}",
        ] {
            let mut at = Fixture::new();
            at.write("a.yaml", &(map("x", "one") + &map("w", "one")));
            at.write("b.yaml", &map("z", "one"));
            at.reload();
            at.write("a.yaml", broken);
            at.write("b.yaml", &map("z", "two"));
            let (_, problems) = at.reload();
            assert_eq!(at.value("x").as_deref(), Some("one"), "{broken}");
            assert_eq!(at.value("w").as_deref(), Some("one"), "{broken}");
            assert_eq!(at.value("z").as_deref(), Some("two"), "{broken}");
            let kept = |message: &String| message.contains("keeps serving");
            assert!(problems.iter().any(kept), "{problems:?}");
            at.write("a.yaml", &map("x", "two"));
            at.reload();
            assert_eq!(at.value("x").as_deref(), Some("two"));
            assert_eq!(at.value("w"), None);
        }
    }

    #[test]
    fn a_lost_separator_takes_nothing_away() {
        let mut at = Fixture::new();
        at.write("a.yaml", &(map("x", "one") + &map("w", "one")));
        at.reload();
        at.write(
            "a.yaml",
            &(map("x", "one").replace("---\n", "") + &map("w", "one")),
        );
        at.reload();
        assert_eq!(at.value("x").as_deref(), Some("one"));
        assert_eq!(at.value("w").as_deref(), Some("one"));
    }

    #[test]
    fn a_file_that_is_empty_for_a_moment_loses_nothing() {
        let mut at = Fixture::new();
        // A machine that keeps the writer from its work makes the moment too long.
        let kept = (0..20).any(|_| {
            at.write("a.yaml", &map("x", "one"));
            at.reload();
            at.write("a.yaml", "");
            let path = at.root.path().join("a.yaml");
            let writer = std::thread::spawn(move || {
                std::thread::sleep(SETTLE / 5);
                fs::write(path, map("x", "two")).expect("written");
            });
            let (changes, _) = at.reload();
            writer.join().expect("no panic");
            (changes, at.value("x").as_deref()) == (1, Some("two"))
        });
        assert!(kept, "it is gone and comes back");
        at.write("a.yaml", "");
        at.reload();
        assert!(at.store.is_empty());
    }

    #[test]
    fn the_origin_follows_the_object() {
        let mut at = Fixture::new();
        let key = ObjectKey::new(Kind::ConfigMap, "default", "x");
        at.write("a.yaml", &map("x", "one"));
        at.reload();
        assert_eq!(at.folder.origin(&key).map(|origin| origin.line), Some(1));
        at.write("a.yaml", &format!("# moved\n{}", map("x", "one")));
        assert_eq!(at.reload().0, 0);
        assert_eq!(at.folder.origin(&key).map(|origin| origin.line), Some(2));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        /// However good documents come, go and change, following the reloads gives what a fresh
        /// look gives; with bad ones among them nothing good is missing.
        #[test]
        fn following_reloads_gives_what_a_fresh_look_gives(
            edits in proptest::collection::vec(
                (0..3_usize, proptest::collection::vec((0..5_usize, 0..4_usize), 0..4)),
                1..6,
            ),
            with_bad in any::<bool>(),
        ) {
            let mut at = Fixture::new();
            for (file, documents) in edits {
                let text: String = documents
                    .into_iter()
                    .map(|(name, value)| match value {
                        3 if with_bad => map(&format!("n{name}"), "[bad"),
                        2 if with_bad => map(&format!("n{name}"), "7"),
                        _ => map(&format!("n{name}"), &format!("v{value}")),
                    })
                    .collect();
                at.write(&format!("{file}.yaml"), &text);
                at.reload();
                let fresh = load(&[at.root.path()], &Options::default());
                for (object, _) in &fresh.objects {
                    // An equal object is no change.
                    prop_assert!(!at.store.clone().apply(object.clone()));
                }
                if !with_bad {
                    prop_assert_eq!(at.store.len(), fresh.objects.len());
                }
            }
        }
    }
}
