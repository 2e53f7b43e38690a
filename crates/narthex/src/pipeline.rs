//! From the manifests to what is served: read, compile, and collect what is wrong on the way.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use compile::{Compiled, Compiler};
use objects::Store;
use objects::kinds::{Kind, ObjectKey};
use objects::manifests::{self, Change, Folder, Origin};

use crate::finding::Finding;

/// The manifests, what is known of them, and their compiler.
#[derive(Debug)]
pub(crate) struct Pipeline {
    folder: Folder,
    store: Store,
    compiler: Compiler,
}

/// What one run brought.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) compiled: Compiled,
    /// Everything that is wrong, by file and place.
    pub(crate) findings: Vec<Finding>,
    /// How many objects there are of each kind that is not read, by `apiVersion/Kind`.
    pub(crate) ignored: BTreeMap<String, usize>,
    /// How many objects there are of each kind that is read.
    pub(crate) objects: BTreeMap<&'static str, usize>,
    /// How long compiling took, without reading.
    pub(crate) compiling: Duration,
}

impl Pipeline {
    /// Nothing is read before the first [`run`](Self::run).
    pub(crate) fn new(paths: &[PathBuf], options: compile::Options) -> Self {
        Self {
            folder: Folder::open(paths, manifests::Options::default()),
            store: Store::default(),
            compiler: Compiler::new(options),
        }
    }

    /// Reads what has changed, and compiles. Blocks.
    pub(crate) fn run(&mut self) -> Outcome {
        let reload = self.folder.reload();
        for change in reload.changes {
            match change {
                Change::Apply(object) => drop(self.store.apply(object)),
                Change::Delete(key) => drop(self.store.delete(&key)),
            }
        }
        let begin = Instant::now();
        let compiled = self
            .compiler
            .compile(&self.store, seconds(SystemTime::now()));
        let compiling = begin.elapsed();
        let read = reload.problems.into_iter().map(Finding::from);
        let found = compiled.report.problems().map(|problem| {
            let origin = problem
                .object
                .as_ref()
                .and_then(|key| self.folder.origin(key));
            Finding::new(problem.clone(), origin)
        });
        let mut findings: Vec<Finding> = read.chain(found).collect();
        // Stable: in one file, problems stay in the order of objects and fields.
        findings.sort_by(|a, b| a.file().cmp(&b.file()));
        Outcome {
            findings,
            ignored: reload.ignored,
            objects: self.count_objects(),
            compiled,
            compiling,
        }
    }

    /// Goes on with other options; what was remembered of earlier compilations is forgotten.
    pub(crate) fn set_options(&mut self, options: compile::Options) {
        self.compiler = Compiler::new(options);
    }

    /// Where an object was read.
    pub(crate) fn origin(&self, key: &ObjectKey) -> Option<&Origin> {
        self.folder.origin(key)
    }

    fn count_objects(&self) -> BTreeMap<&'static str, usize> {
        Kind::ALL
            .map(|kind| (kind.name(), self.store.count(kind)))
            .into()
    }
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// `4 Deployment, 1 HorizontalPodAutoscaler`, of kinds by `apiVersion/Kind`.
pub(crate) fn list_kinds(ignored: &BTreeMap<String, usize>) -> String {
    let kinds = ignored.iter().map(|(kind, count)| {
        let name = kind.rsplit('/').next().unwrap_or(kind);
        format!("{count} {name}")
    });
    kinds.collect::<Vec<_>>().join(", ")
}
