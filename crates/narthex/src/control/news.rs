//! Which problems are new and which are solved, so that each is logged once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use objects::{Problem, Severity};

use crate::finding::{Finding, Said, place};

/// The most problems that are logged at one time.
const MOST: usize = 100;

type Key = (Option<Arc<Path>>, Problem);

/// The problems that were told. A problem is the same as long as its words are, wherever in its
/// file it moves.
#[derive(Debug, Default)]
pub(crate) struct News {
    told: BTreeSet<Key>,
    ignored: BTreeMap<String, usize>,
}

impl News {
    /// Logs what is new in `findings` and what was solved since the last time.
    pub(crate) fn tell(&mut self, findings: &[Finding]) {
        let (appeared, solved) = self.difference(findings);
        for finding in appeared.iter().take(MOST) {
            let place = place(finding.file().map(AsRef::as_ref), finding.line());
            let separator = if place.is_empty() { "" } else { ": " };
            let said = Said(&finding.problem);
            match finding.problem.severity {
                Severity::Error => tracing::error!("{place}{separator}{said}"),
                Severity::Warning => tracing::warn!("{place}{separator}{said}"),
            }
        }
        for (file, problem) in solved.iter().take(MOST) {
            let place = place(file.as_deref(), None);
            let separator = if place.is_empty() { "" } else { ": " };
            tracing::info!("solved: {place}{separator}{}", Said(problem));
        }
        let more = appeared.len().saturating_sub(MOST);
        if more > 0 {
            tracing::warn!("… and {more} more problems, see narthex check or /api/problems");
        }
        let more = solved.len().saturating_sub(MOST);
        if more > 0 {
            tracing::info!("… and {more} more problems solved");
        }
    }

    /// Names the kinds that are not read, each once.
    pub(crate) fn tell_ignored(&mut self, ignored: &BTreeMap<String, usize>) {
        let mut new = BTreeMap::new();
        for (kind, count) in ignored {
            if !self.ignored.contains_key(kind) {
                new.insert(kind.clone(), *count);
            }
        }
        if !new.is_empty() {
            let kinds = crate::pipeline::list_kinds(&new);
            tracing::info!("not read, because Narthex has no use for it: {kinds}");
            self.ignored.extend(new);
        }
    }

    fn difference<'a>(&mut self, findings: &'a [Finding]) -> (Vec<&'a Finding>, Vec<Key>) {
        let mut now = BTreeSet::new();
        let mut appeared = Vec::new();
        for finding in findings {
            let key = (finding.file().cloned(), finding.problem.clone());
            let known = self.told.contains(&key);
            if now.insert(key) && !known {
                appeared.push(finding);
            }
        }
        let mut before = std::mem::replace(&mut self.told, now);
        before.retain(|key| !self.told.contains(key));
        (appeared, before.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(message: &str) -> Finding {
        let problem = Problem {
            severity: Severity::Error,
            object: None,
            field: String::new(),
            message: message.to_owned(),
            hint: String::new(),
        };
        Finding::new(problem, None)
    }

    #[test]
    fn each_problem_is_told_when_it_comes_and_when_it_goes() {
        let mut news = News::default();
        let (a, b) = (finding("a"), finding("b"));
        let mut step = |findings: &[Finding]| {
            let (appeared, solved) = news.difference(findings);
            (appeared.len(), solved.len())
        };
        assert_eq!(step(&[a.clone(), a.clone()]), (1, 0));
        assert_eq!(step(&[a.clone(), b.clone()]), (1, 0));
        assert_eq!(step(std::slice::from_ref(&b)), (0, 1));
        assert_eq!(step(&[]), (0, 1));
        assert_eq!(step(&[a]), (1, 0));
    }
}
