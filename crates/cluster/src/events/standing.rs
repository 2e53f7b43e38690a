//! Which problems stand, and which of them were told.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use compile::{ObjectReport, Report};
use objects::Problem;
use objects::kinds::ObjectKey;

use super::note::{Note, digest};

/// How many problems that were solved are remembered, should they return.
const REMEMBERED: usize = 10_000;

/// The problems that stand, by object.
#[derive(Debug, Default)]
pub(super) struct Standing {
    objects: BTreeMap<ObjectKey, Told>,
    /// Those that are not told yet, by object and digest; no more than there are problems.
    untold: VecDeque<(ObjectKey, u64)>,
    /// How often those were told that do not stand any more.
    solved: HashMap<u64, i32>,
    last: Option<Arc<Report>>,
}

#[derive(Debug)]
struct Told {
    report: Arc<ObjectReport>,
    /// How often each of its problems appeared.
    problems: BTreeMap<u64, i32>,
}

impl Standing {
    /// Takes over what stands now.
    pub(super) fn update(&mut self, report: &Arc<Report>) {
        let last = self.last.replace(Arc::clone(report)).unwrap_or_default();
        report.troubled.changes(&last.troubled, |was, is| {
            let Some(key) = was.or(is).map(|it| &it.object) else {
                return;
            };
            let told = self.objects.remove(key);
            let told = told.map(|told| told.problems).unwrap_or_default();
            match is {
                Some(report) => self.replace(told, report),
                None => self.solve(told),
            }
        });
        if self.solved.len() > REMEMBERED {
            self.solved.clear();
        }
    }

    /// The next that is to be told. It is taken to be told from then on.
    pub(super) fn next(&mut self) -> Option<Note> {
        while let Some((key, wanted)) = self.untold.pop_front() {
            let Some(told) = self.objects.get(&key) else {
                continue;
            };
            let Some(&times) = told.problems.get(&wanted) else {
                continue;
            };
            let mut problems = told.report.problems();
            if let Some(problem) = problems.find(|problem| identity(&key, problem) == wanted) {
                let note = Note::problem(key, problem, told.report.served);
                return Some(Note { times, ..note });
            }
        }
        None
    }

    fn replace(&mut self, mut old: BTreeMap<u64, i32>, report: &Arc<ObjectReport>) {
        let key = &report.object;
        let mut problems = BTreeMap::new();
        for problem in report.problems() {
            let digest = identity(key, problem);
            if problems.contains_key(&digest) {
                continue;
            }
            let times = old.remove(&digest).unwrap_or_else(|| {
                self.untold.push_back((key.clone(), digest));
                self.solved.remove(&digest).unwrap_or(0).saturating_add(1)
            });
            problems.insert(digest, times);
        }
        self.solve(old);
        if !problems.is_empty() {
            let report = Arc::clone(report);
            self.objects.insert(key.clone(), Told { report, problems });
        }
    }

    fn solve(&mut self, problems: BTreeMap<u64, i32>) {
        self.solved.extend(problems);
        // What was not told before it was solved need not be; it is passed over in its turn.
        if self.untold.len() > REMEMBERED {
            let objects = &self.objects;
            self.untold.retain(|(key, digest)| {
                let told = objects.get(key);
                told.is_some_and(|told| told.problems.contains_key(digest))
            });
        }
    }
}

fn identity(key: &ObjectKey, problem: &Problem) -> u64 {
    let severity = match problem.severity {
        objects::Severity::Error => "error",
        objects::Severity::Warning => "warning",
    };
    digest(key, &[severity, &problem.field, &problem.message])
}

#[cfg(test)]
mod tests {
    use objects::Severity;
    use objects::kinds::Kind;

    use super::*;

    fn report(objects: &[(&str, &[&str])]) -> Arc<Report> {
        let object = |(name, messages): &(&str, &[&str])| {
            let problem = |message: &&str| Problem {
                severity: Severity::Error,
                object: None,
                field: String::new(),
                message: (*message).to_owned(),
                hint: String::new(),
            };
            let problems: Arc<[Problem]> = messages.iter().map(problem).collect();
            let key = ObjectKey::new(Kind::Ingress, "shop", name);
            Arc::new(ObjectReport::new(key, true, [problems]))
        };
        let mut report = Report::default();
        for object in objects.iter().map(object) {
            report.troubled.insert(object);
        }
        Arc::new(report)
    }

    /// What is to be told now: `name message times`.
    fn told(standing: &mut Standing, objects: &[(&str, &[&str])]) -> Vec<String> {
        standing.update(&report(objects));
        let next = || standing.next();
        std::iter::from_fn(next)
            .map(|note| format!("{} {} {}", note.object.name, note.text, note.times))
            .collect()
    }

    #[test]
    fn a_problem_is_told_once_while_it_stands_and_counted_when_it_returns() {
        let mut standing = Standing::default();
        let nothing: [&str; 0] = [];
        let both: &[(&str, &[&str])] = &[("a", &["x", "x", "y"]), ("b", &["x"])];
        assert_eq!(told(&mut standing, both), ["a x 1", "a y 1", "b x 1"]);
        assert_eq!(told(&mut standing, both), nothing);
        assert_eq!(
            told(&mut standing, &[("a", &["z", "y"]), ("b", &[])]),
            ["a z 1"]
        );
        assert_eq!(told(&mut standing, both), ["a x 2", "b x 2"]);
        assert_eq!(told(&mut standing, &[]), nothing);
        assert_eq!(told(&mut standing, &[("b", &["x"])]), ["b x 3"]);
    }

    #[test]
    fn what_is_solved_before_its_turn_is_not_told() {
        let mut standing = Standing::default();
        standing.update(&report(&[("a", &["x"]), ("b", &["y"])]));
        assert_eq!(told(&mut standing, &[("b", &["y"])]), ["b y 1"]);
    }
}
