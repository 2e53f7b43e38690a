//! From the manifests to what is served: read, compile, and collect what is wrong on the way.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cluster::{Classes, Position};
use compile::{Compiled, Compiler, OnDemand, Report};
use model::Entrance;
use objects::kinds::{Kind, Object, ObjectKey};
use objects::manifests::{self, Change, Folder, Origin};
use objects::{Problem, Store};

use crate::finding::Finding;

/// Where the objects are read.
#[derive(Debug)]
pub(crate) enum Input {
    /// Files and folders.
    Files(Folder),
    /// A cluster.
    Cluster(Arc<cluster::Inbox>),
}

impl Input {
    /// Files and folders, of which nothing is read yet.
    pub(crate) fn files(paths: &[PathBuf]) -> Self {
        Self::Files(Folder::open(paths, manifests::Options::default()))
    }
}

/// Where objects are read, what is known of them, and their compiler.
#[derive(Debug)]
pub(crate) struct Pipeline {
    input: Input,
    present: Present,
    options: compile::Options,
    compiler: Compiler,
    /// What clients may have certificates for: it outlives a compiler.
    on_demand: Arc<[OnDemand]>,
    /// What is to be told beside the objects' problems.
    remark: Option<Problem>,
    told: Option<Told>,
}

/// The objects as they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Present(Arc<Mutex<Store>>);

impl Present {
    /// A view of all of them, which costs nothing to take. Whoever keeps it makes the next change
    /// of each namespace copy that namespace's table.
    pub(crate) fn get(&self) -> Store {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        // A change that panicked half way has put in some objects and not others, each whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bug in the compiler.
#[derive(Debug)]
pub(crate) struct CompilerBug(String);

impl fmt::Display for CompilerBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a bug in the compiler: {}", self.0)
    }
}

/// What is wrong with what was read, apart from its meaning.
#[derive(Debug)]
enum Read {
    Files(Vec<Finding>),
    /// The same list as last time if it is the same.
    Cluster(Arc<[Problem]>),
}

/// What was told last.
#[derive(Debug)]
struct Told {
    report: Arc<Report>,
    read: Read,
    remark: Option<Problem>,
    findings: Arc<[Finding]>,
}

/// What was read.
struct Taken {
    has_cert_manager: bool,
    problems: Read,
    ignored: BTreeMap<String, usize>,
    received: Option<Instant>,
    cluster: Option<(Arc<BTreeMap<Kind, &'static str>>, Position)>,
}

/// What one run brought.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) compiled: Compiled,
    /// Everything that is wrong, by file and place; the same list as last time if nothing changed
    /// in a cluster.
    pub(crate) findings: Arc<[Finding]>,
    /// How many objects there are of each kind that is not read, by `apiVersion/Kind`.
    pub(crate) ignored: BTreeMap<String, usize>,
    /// Whether the cluster has the kinds of cert-manager.
    pub(crate) has_cert_manager: bool,
    /// How many objects there are of each kind that is read.
    pub(crate) objects: BTreeMap<&'static str, usize>,
    /// How long compiling took, without reading.
    pub(crate) compiling: Duration,
    /// When the first of the changes was received, where a cluster told of them.
    pub(crate) received: Option<Instant>,
    /// Of a cluster: what of it is not in the objects' meaning.
    pub(crate) cluster: Option<Cluster>,
}

/// What is known of a cluster beside the meaning of its objects.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Its classes.
    pub(crate) classes: Arc<Classes>,
    /// The kinds of Gateway API that are read, each with the `apiVersion` in which it is.
    pub(crate) kinds: Arc<BTreeMap<Kind, &'static str>>,
    /// How new all of it is.
    pub(crate) position: Position,
}

impl Pipeline {
    /// Nothing is read before the first [`run`](Self::run).
    pub(crate) fn new(input: Input, options: compile::Options) -> Self {
        Self {
            input,
            present: Present::default(),
            compiler: Compiler::new(options.clone()),
            on_demand: Arc::default(),
            options,
            remark: None,
            told: None,
        }
    }

    /// Takes objects from elsewhere, until the source tells otherwise.
    pub(crate) fn restore(&self, objects: Vec<Object>) {
        let mut store = self.present.lock();
        for object in objects {
            store.apply(object);
        }
    }

    /// What is to be told beside the objects' problems.
    pub(crate) fn set_remark(&mut self, remark: Option<Problem>) {
        self.remark = remark;
    }

    /// Reads what has changed, and compiles. Blocks.
    ///
    /// # Errors
    /// [`CompilerBug`], after which everything is compiled anew.
    pub(crate) fn run(&mut self) -> Result<Outcome, CompilerBug> {
        let taken = self.read();
        // Given back before the next change, which is made in place then.
        let store = self.present.get();
        let begin = Instant::now();
        let compiled = self.compile(&store)?;
        let compiling = begin.elapsed();
        Ok(Outcome {
            findings: self.tell(&compiled.report, taken.problems),
            ignored: taken.ignored,
            received: taken.received,
            cluster: taken.cluster.map(|(kinds, position)| Cluster {
                classes: Arc::new(Classes::read(&store)),
                kinds,
                position,
            }),
            has_cert_manager: taken.has_cert_manager,
            objects: count_objects(&store),
            compiled,
            compiling,
        })
    }

    /// Goes on with other options; what was remembered of earlier compilations is forgotten.
    pub(crate) fn set_options(&mut self, options: compile::Options) {
        self.options = options;
        self.begin_anew();
    }

    /// Takes note of what could not be opened, each with why, for the next [`run`](Self::run).
    pub(crate) fn set_unbound(&mut self, unbound: &[(Entrance, String)]) {
        self.compiler.set_unbound(unbound);
    }

    /// Takes note of why certificates are not obtained, for the next [`run`](Self::run).
    pub(crate) fn set_certificate_news(&mut self, news: BTreeMap<(Box<str>, Box<str>), String>) {
        self.compiler.set_certificate_news(news);
    }

    /// Takes over what clients may have certificates for, for the next [`run`](Self::run).
    pub(crate) fn set_on_demand(&mut self, all: Arc<[OnDemand]>) {
        self.on_demand = all;
        self.compiler.set_on_demand(Arc::clone(&self.on_demand));
    }

    /// Forgets earlier compilations.
    fn begin_anew(&mut self) {
        self.compiler = Compiler::new(self.options.clone());
        self.compiler.set_on_demand(Arc::clone(&self.on_demand));
    }

    /// The objects as they are, for others to look at.
    pub(crate) fn present(&self) -> Present {
        self.present.clone()
    }

    /// Where an object was read, if in a file.
    pub(crate) fn origin(&self, key: &ObjectKey) -> Option<&Origin> {
        match &self.input {
            Input::Files(folder) => folder.origin(key),
            Input::Cluster(_) => None,
        }
    }

    /// Brings the store up to date.
    fn read(&mut self) -> Taken {
        match &mut self.input {
            Input::Files(folder) => {
                let reload = folder.reload();
                let mut store = self.present.lock();
                for change in reload.changes {
                    match change {
                        Change::Apply(object) => drop(store.apply(object)),
                        Change::Delete(key) => drop(store.delete(&key)),
                    }
                }
                Taken {
                    has_cert_manager: false,
                    problems: Read::Files(reload.problems.into_iter().map(Finding::from).collect()),
                    ignored: reload.ignored,
                    received: None,
                    cluster: None,
                }
            }
            Input::Cluster(inbox) => {
                let batch = inbox.take();
                let problems = Read::Cluster(Arc::clone(&batch.problems));
                let (received, position) = (batch.earliest, batch.position.clone());
                let offers = inbox.offers().into_iter().flat_map(|offer| offer.kinds);
                let offers: Vec<_> = offers.collect();
                let has_cert_manager = offers.iter().any(|(kind, _)| *kind == Kind::Certificate);
                let kinds = offers
                    .into_iter()
                    .filter(|(kind, _)| kind.is_of_gateway_api());
                let kinds = Arc::new(kinds.collect());
                batch.apply(&mut self.present.lock());
                Taken {
                    has_cert_manager,
                    problems,
                    ignored: BTreeMap::new(),
                    received,
                    cluster: Some((kinds, position)),
                }
            }
        }
    }

    /// Everything that is wrong.
    fn tell(&mut self, report: &Arc<Report>, read: Read) -> Arc<[Finding]> {
        if let Some(told) = &self.told
            && told.says(report, &read, self.remark.as_ref())
        {
            return Arc::clone(&told.findings);
        }
        let plain = |problem: &Problem| Finding::new(problem.clone(), None);
        let mut findings: Vec<Finding> = self.remark.iter().map(plain).collect();
        match &read {
            Read::Files(found) => findings.extend_from_slice(found),
            Read::Cluster(problems) => findings.extend(problems.iter().map(plain)),
        }
        findings.extend(report.problems().map(|problem| {
            let origin = problem.object.as_ref().and_then(|key| self.origin(key));
            Finding::new(problem.clone(), origin)
        }));
        // Stable: in one file, problems stay in the order of objects and fields.
        findings.sort_by(|a, b| a.file().cmp(&b.file()));
        let told = self.told.insert(Told {
            report: Arc::clone(report),
            read,
            remark: self.remark.clone(),
            findings: findings.into(),
        });
        Arc::clone(&told.findings)
    }

    /// What was read must not be lost to a bug: a cluster tells it once.
    fn compile(&mut self, store: &Store) -> Result<Compiled, CompilerBug> {
        let now = seconds(SystemTime::now());
        // The compiler is thrown away if it panics, and the store is only read.
        let compiled = catch_unwind(AssertUnwindSafe(|| self.compiler.compile(store, now)));
        compiled.map_err(|panic| {
            self.begin_anew();
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
            CompilerBug(message.unwrap_or_default().to_owned())
        })
    }
}

impl Told {
    /// Whether this is what there is to be said. Costs little however many problems there are.
    fn says(&self, report: &Report, read: &Read, remark: Option<&Problem>) -> bool {
        let is_read = match (&self.read, read) {
            (Read::Cluster(a), Read::Cluster(b)) => Arc::ptr_eq(a, b),
            // Lines move.
            _ => false,
        };
        let mut same = is_read && self.remark.as_ref() == remark;
        if same {
            let troubled = &report.troubled;
            troubled.changes(&self.report.troubled, |_, _| same = false);
        }
        same
    }
}

fn count_objects(store: &Store) -> BTreeMap<&'static str, usize> {
    Kind::ALL
        .map(|kind| (kind.name(), store.count(kind)))
        .into()
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
