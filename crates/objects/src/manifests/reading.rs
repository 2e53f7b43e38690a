//! One look at all files: which objects are good, and what is known of the others.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::{self, Contents, Entry, Place};
use super::files::{self, Listing};
use super::{Located, Options, Origin};
use crate::kinds::{Object, ObjectKey};
use crate::problem::{Problem, Severity};

/// Everything that one look found.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The good objects in the order of the files; none twice.
    pub(super) objects: Vec<(ObjectKey, (Object, Origin))>,
    /// What is wrong, in the same order.
    pub(super) problems: Vec<Found>,
    /// How many objects there are of each kind that is not read.
    pub(super) ignored: BTreeMap<String, usize>,
    /// Objects that are there but not good.
    pub(super) bad: BTreeSet<ObjectKey>,
    /// Files, or parts of the tree, of which nobody knows what all they hold.
    pub(super) blurred: BTreeSet<Arc<Path>>,
}

/// A problem.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) located: Located,
    /// Whether it leaves open which objects the file holds.
    pub(super) blurs: bool,
}

/// The documents of the last look by a hash of their text, so that only changed ones are parsed
/// again, also where many share a file.
#[derive(Debug, Default)]
pub(super) struct Cache {
    former: HashMap<(u64, usize), Arc<Contents>>,
    current: HashMap<(u64, usize), Arc<Contents>>,
}

impl Cache {
    /// What the document with this text holds.
    fn read(&mut self, text: &[u8]) -> Arc<Contents> {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let key = (hasher.finish(), text.len());
        let contents = self.current.entry(key).or_insert_with(|| {
            let former = self.former.remove(&key);
            former.unwrap_or_else(|| Arc::new(document::read(text)))
        });
        Arc::clone(contents)
    }

    /// Forgets the documents that were not there in the look that ends here.
    fn end_look(&mut self) {
        self.former = std::mem::take(&mut self.current);
    }
}

impl Reading {
    /// Reads every file behind `paths`.
    pub(super) fn of(paths: &[PathBuf], options: &Options, cache: &mut Cache) -> Self {
        let listing = Listing::of(paths);
        let mut reading = Self::default();
        for (path, problem) in listing.problems {
            reading.fail(path.into(), problem, false);
        }
        let unreadable = listing.unreadable.into_iter().map(PathBuf::into);
        reading.blurred.extend(unreadable);

        let mut places = HashMap::new();
        for path in listing.files {
            let file: Arc<Path> = path.into();
            match files::read(&file, options.max_file_bytes) {
                // Gone since the folder was read.
                Ok(None) => {}
                Ok(Some(bytes)) => reading.add_file(&file, &bytes, cache, &mut places),
                Err(problem) => {
                    reading.fail(Arc::clone(&file), problem, true);
                    reading.blurred.insert(file);
                }
            }
        }
        cache.end_look();
        reading
    }

    fn add_file(
        &mut self,
        file: &Arc<Path>,
        bytes: &[u8],
        cache: &mut Cache,
        places: &mut HashMap<ObjectKey, Origin>,
    ) {
        let (chunks, broken) = document::split_file(bytes, files::is_json(file));
        let documents = chunks.len();
        for (document, chunk) in chunks.into_iter().enumerate() {
            let contents = cache.read(&bytes[chunk.bytes]);
            let at = At {
                file,
                document,
                before: chunk.line.saturating_sub(1),
            };
            self.add(&at, &contents, places);
        }
        if let Some((line, message)) = broken {
            let at = At {
                file,
                document: documents,
                before: line.saturating_sub(1),
            };
            self.add(&at, &document::not_json(&message), places);
        }
    }

    fn add(&mut self, at: &At<'_>, contents: &Contents, places: &mut HashMap<ObjectKey, Origin>) {
        for (kind, count) in &contents.ignored {
            *self.ignored.entry(kind.clone()).or_default() += count;
        }
        for entry in &contents.entries {
            for (problem, line) in &entry.problems {
                self.problems.push(Found {
                    located: Located {
                        problem: problem.clone(),
                        file: Arc::clone(at.file),
                        line: at.before.saturating_add(*line),
                    },
                    blurs: entry.blurred && problem.severity == Severity::Error,
                });
            }
            if entry.blurred {
                self.blurred.insert(Arc::clone(at.file));
            }
            match (&entry.key, &entry.object) {
                (Some(key), Some(object)) => self.add_good(at, entry, key, object, places),
                (Some(key), None) => drop(self.bad.insert(key.clone())),
                (None, _) => {}
            }
        }
    }

    fn add_good(
        &mut self,
        at: &At<'_>,
        entry: &Entry,
        key: &ObjectKey,
        object: &Object,
        places: &mut HashMap<ObjectKey, Origin>,
    ) {
        let origin = Origin {
            file: Arc::clone(at.file),
            line: at.before.saturating_add(entry.line),
            place: Place {
                document: at.document,
                items: entry.items.clone(),
            },
        };
        if let Some(first) = places.get(key) {
            let problem = Problem {
                severity: Severity::Error,
                object: Some(key.clone()),
                field: String::new(),
                message: format!("is there twice: {first} has it first and is served"),
                hint: "remove one of the two, or give it another name".to_owned(),
            };
            self.problems.push(Found {
                located: Located {
                    problem,
                    file: origin.file,
                    line: origin.line,
                },
                blurs: false,
            });
            return;
        }
        places.insert(key.clone(), origin.clone());
        self.objects.push((key.clone(), (object.clone(), origin)));
    }

    fn fail(&mut self, file: Arc<Path>, problem: Problem, blurs: bool) {
        self.problems.push(Found {
            located: Located {
                problem,
                file,
                line: 0,
            },
            blurs,
        });
    }
}

/// Where a document stands.
struct At<'a> {
    file: &'a Arc<Path>,
    /// Which document of the file.
    document: usize,
    /// How many lines are before it.
    before: u32,
}
