//! The whole configuration at one moment.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::condition::RequestView;
use crate::listener::{Entrance, Listener};
use crate::path::NormalPath;
use crate::route::{PathMatch, Rule};
use crate::router::PathRouter;

/// The whole configuration at one moment, shared by all workers through one pointer.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts compilations, from 1.
    pub generation: u64,
    /// What is listened on, sorted by entrance.
    pub listeners: Box<[Arc<Listener>]>,
}

impl Snapshot {
    /// The listener of an entrance.
    pub fn listener(&self, entrance: Entrance) -> Option<&Arc<Listener>> {
        let index = self
            .listeners
            .binary_search_by_key(&entrance, |listener| listener.entrance)
            .ok()?;
        Some(&self.listeners[index])
    }
}

/// One host's rules.
#[derive(Debug)]
pub struct VirtualHost {
    /// The host as configured: a name, `*.` or `.` and a name, or empty for all.
    pub name: Arc<str>,
    /// Its rules, the preferred ones first.
    rules: Box<[Arc<Rule>]>,
    /// From paths to indexes of `rules`: the first of each path.
    paths: PathRouter,
    /// The rules whose paths are patterns.
    patterns: Box<[u32]>,
    /// For each rule, which one is tried if its conditions do not hold: of the same path, else of
    /// the next shorter prefix. Empty if no rule has conditions.
    next: Box<[u32]>,
    /// Whose rules are tried if none of these answers: those of a wildcard that covers the host.
    pub below: Option<Arc<VirtualHost>>,
    /// Answers what no rule claims.
    pub default: Arc<Rule>,
    /// Which counters of the metrics the host's requests go to; 0 is shared by unknown hosts.
    pub metrics_slot: u16,
}

/// No rule.
const NONE: u32 = u32::MAX;

/// What a request got.
#[derive(Debug)]
pub struct Selection<'a> {
    /// The host that was selected.
    pub host: &'a Arc<VirtualHost>,
    /// The rule that answers.
    pub rule: &'a Arc<Rule>,
    /// The path to send upstream: one that every reader reads as this rule's.
    pub path: &'a [u8],
}

/// A path that two readers would read as two rules' paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AmbiguousPath;

impl VirtualHost {
    /// A host with these rules. Of those of the same path the first is tried first; else an exact
    /// path comes before a pattern, the patterns in their order, and a pattern before a prefix, the
    /// longest prefix first. Rules without conditions have paths of their own each.
    pub fn new(
        name: Arc<str>,
        rules: Vec<Arc<Rule>>,
        default: Arc<Rule>,
        metrics_slot: u16,
    ) -> Self {
        let mut paths = PathRouter::default();
        let mut patterns = Vec::new();
        for (index, rule) in (0..).zip(&rules) {
            match &rule.path {
                PathMatch::Pattern(_) => patterns.push(index),
                path => drop(paths.insert(path, index)),
            }
        }
        paths.shrink_to_fit();
        let conditional = rules.iter().any(|rule| rule.conditions.is_some());
        let next = if conditional {
            chain(&rules)
        } else {
            Box::default()
        };
        Self {
            name,
            rules: rules.into(),
            paths,
            patterns: patterns.into(),
            next,
            below: None,
            default,
            metrics_slot,
        }
    }

    /// The same, with rules of a wildcard's that are tried if none of these answers.
    #[must_use]
    pub fn above(self, below: Option<Arc<Self>>) -> Self {
        Self { below, ..self }
    }

    /// Its rules, the preferred ones first.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// The rule for a path.
    #[inline]
    pub fn rule(&self, path: &[u8], request: &impl RequestView) -> &Arc<Rule> {
        self.claims(path, request).unwrap_or(&self.default)
    }

    #[inline]
    fn claims(&self, path: &[u8], request: &impl RequestView) -> Option<&Arc<Rule>> {
        let found = self.paths.find(path);
        if self.next.is_empty() && self.patterns.is_empty() && self.below.is_none() {
            return found.closest().map(|index| &self.rules[index as usize]);
        }
        let pattern = || {
            let mut patterns = self.patterns.iter();
            patterns.find(|&&index| {
                let rule = &self.rules[index as usize];
                rule.path.matches(path) && rule.holds(request)
            })
        };
        let index = self
            .holding(found.exact, request)
            .or_else(|| pattern().copied())
            .or_else(|| self.holding(found.prefix, request));
        match (index, &self.below) {
            (Some(index), _) => Some(&self.rules[index as usize]),
            (None, Some(below)) => below.claims(path, request),
            (None, None) => None,
        }
    }

    /// The first rule of a chain whose conditions hold.
    fn holding(&self, first: Option<u32>, request: &impl RequestView) -> Option<u32> {
        let mut index = first?;
        loop {
            if self.rules.get(index as usize)?.holds(request) {
                return Some(index);
            }
            // There is no rule of the index that stands for none.
            index = self.next.get(index as usize).copied().unwrap_or(NONE);
        }
    }

    /// The rule that answers a request, and the path that goes upstream.
    ///
    /// # Errors
    /// [`AmbiguousPath`] if an encoded slash, read as a slash, would select another rule.
    #[inline(never)] // The instruction counts name it.
    pub fn select<'a>(
        self: &'a Arc<Self>,
        path: &'a NormalPath<'_>,
        request: &impl RequestView,
    ) -> Result<Selection<'a>, AmbiguousPath> {
        let rule = self.rule(path.routed(), request);
        if let Some(slashed) = path.slashed()
            && !Arc::ptr_eq(rule, self.rule(slashed, request))
        {
            return Err(AmbiguousPath);
        }
        // Empty elements go upstream as they came where that changes nothing.
        let kept = path.kept();
        let path = if Arc::ptr_eq(rule, self.rule(kept, request)) {
            kept
        } else {
            path.routed()
        };
        Ok(Selection {
            host: self,
            rule,
            path,
        })
    }
}

/// For each rule, the next one of the same path; for the last one of a prefix, the first one of the
/// next shorter prefix.
fn chain(rules: &[Arc<Rule>]) -> Box<[u32]> {
    let mut next = vec![NONE; rules.len()].into_boxed_slice();
    // The first and the last so far.
    let mut ends: HashMap<&PathMatch, (u32, usize)> = HashMap::new();
    for (index, rule) in (0..).zip(rules) {
        if matches!(rule.path, PathMatch::Pattern(_)) {
            continue;
        }
        let place = index as usize;
        match ends.get_mut(&rule.path) {
            Some((_, last)) => {
                next[*last] = index;
                *last = place;
            }
            None => drop(ends.insert(&rule.path, (index, place))),
        }
    }
    for (path, &(_, last)) in &ends {
        let PathMatch::Prefix(path) = path else {
            continue;
        };
        let mut rest = &**path;
        while let Some((shorter, _)) = rest.rsplit_once('/') {
            if let Some(&(first, _)) = ends.get(&PathMatch::Prefix(shorter.into())) {
                next[last] = first;
                break;
            }
            rest = shorter;
        }
    }
    next
}
