//! What was accepted, what was refused and why: for each object, and in numbers.

use std::cmp::Ordering;
use std::sync::Arc;

use objects::kinds::ObjectKey;
use objects::sorted::Order;
use objects::{Problem, Severity, Sorted};

/// What a compilation made of the objects.
///
/// Equal reports of following compilations are the same `Arc`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Every Ingress that is served or should have been, and every other object that has a
    /// problem; in the order of their keys, each once. What is said of an object that did not
    /// change is the same `Arc` from one report to the next, so that [`Sorted::changes`] finds
    /// what is new without looking at everything.
    pub objects: Sorted<ObjectReport, ByObject>,
    /// Those of them that have a problem.
    pub troubled: Sorted<ObjectReport, ByObject>,
    /// In numbers.
    pub counts: Counts,
}

/// Reports by the key of their object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByObject {}

impl Order<ObjectReport> for ByObject {
    type Key<'a> = &'a ObjectKey;

    fn key(report: &ObjectReport) -> &ObjectKey {
        &report.object
    }

    fn compare(report: &ObjectReport, key: &&ObjectKey) -> Ordering {
        report.object.cmp(key)
    }
}

impl Report {
    /// Every problem, by object.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.troubled.iter().flat_map(|object| object.problems())
    }

    /// Replaces what is said of an object. Whether that is another thing.
    pub(crate) fn say(&mut self, key: &ObjectKey, report: Option<ObjectReport>) -> bool {
        let former = self.objects.get(&key);
        if former.map(|former| &**former) == report.as_ref() {
            return false;
        }
        match report.map(Arc::new) {
            Some(report) => {
                self.objects.insert(Arc::clone(&report));
                if report.parts.is_empty() {
                    self.troubled.remove(&key);
                } else {
                    self.troubled.insert(report);
                }
            }
            None => {
                self.objects.remove(&key);
                self.troubled.remove(&key);
            }
        }
        true
    }

    /// The Ingresses that are served, perhaps with problems.
    pub fn served(&self) -> impl Iterator<Item = &ObjectKey> {
        self.objects
            .iter()
            .filter(|object| object.served)
            .map(|object| &object.object)
    }
}

/// What became of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectReport {
    /// Which one.
    pub object: ObjectKey,
    /// Whether it is an Ingress that is served.
    pub served: bool,
    /// Its problems in groups, each shared with the part of the compiler that found it.
    parts: Box<[Arc<[Problem]>]>,
}

impl ObjectReport {
    /// Of an object that is served or not, with what is wrong with it in groups.
    pub fn new(
        object: ObjectKey,
        served: bool,
        parts: impl IntoIterator<Item = Arc<[Problem]>>,
    ) -> Self {
        let parts = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Self {
            object,
            served,
            parts,
        }
    }

    /// Both reports' problems, for one object.
    pub(crate) fn merged(&self, other: &Self) -> Self {
        let parts = self.parts.iter().chain(&other.parts).cloned().collect();
        Self {
            object: self.object.clone(),
            served: self.served || other.served,
            parts,
        }
    }

    /// What is wrong with it.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.parts.iter().flat_map(|part| part.iter())
    }
}

/// A compilation in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ingresses that are served.
    pub ingresses: usize,
    /// Ingresses of other controllers' classes, left alone.
    pub foreign: usize,
    /// Ingresses without a class, or with one that nothing defines, left alone because nothing says
    /// that they are ours.
    pub classless: usize,
    /// Gateways that are ours.
    pub gateways: usize,
    /// Routes of Gateway API that have a parent of ours.
    pub routes: usize,
    /// Hosts that are claimed; all hosts together (a rule without host) count as one.
    pub hosts: usize,
    /// Paths of all hosts.
    pub paths: usize,
    /// Services that something refers to.
    pub services: usize,
    /// Hosts with a certificate of their own.
    pub certificates: usize,
}

/// Problems of one object, in the making.
#[derive(Debug)]
pub(crate) struct Problems {
    object: ObjectKey,
    found: Vec<Problem>,
}

impl Problems {
    pub(crate) fn of(object: ObjectKey) -> Self {
        Self {
            object,
            found: Vec::new(),
        }
    }

    pub(crate) fn error(
        &mut self,
        field: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(Severity::Error, field.into(), message.into(), hint.into());
    }

    pub(crate) fn warning(
        &mut self,
        field: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(Severity::Warning, field.into(), message.into(), hint.into());
    }

    fn push(&mut self, severity: Severity, field: String, message: String, hint: String) {
        let object = Some(self.object.clone());
        self.found.push(Problem {
            severity,
            object,
            field,
            message,
            hint,
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn into_shared(self) -> Arc<[Problem]> {
        // An empty one made from a Vec would be an allocation of its own.
        if self.found.is_empty() {
            return Arc::default();
        }
        self.found.into()
    }

    pub(crate) fn into_report(self, served: bool) -> ObjectReport {
        let object = self.object.clone();
        ObjectReport::new(object, served, [self.into_shared()])
    }
}

/// The field path of an annotation.
pub(crate) fn annotation_field(name: &str) -> String {
    format!("metadata.annotations[{name}]")
}
