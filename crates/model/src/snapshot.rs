//! The whole configuration at one moment.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::certificate::Challenges;
use crate::clients::ClientPolicy;
use crate::condition::RequestView;
use crate::listener::{Entrance, Listener};
use crate::route::{PathMatch, Rule};
use crate::router::PathRouter;
use crate::ticket::TicketKeys;
use crate::tuning::Tuning;

/// The whole configuration at one moment, shared by all workers through one pointer.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts compilations, from 1.
    pub generation: u64,
    /// What is listened on, sorted by entrance.
    pub listeners: Box<[Arc<Listener>]>,
    /// What ACME servers are to be shown.
    pub challenges: Arc<Challenges>,
    /// The keys of session tickets that all replicas share; without any, tickets are the process's
    /// own.
    pub ticket_keys: Option<Arc<TicketKeys>>,
    /// What holds for the whole process in the place of what the command line says.
    pub tuning: Arc<Tuning>,
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
    /// In which order rules are tried, where there is any.
    order: Option<Box<Order>>,
    /// Answers what no rule claims. Without one, the rules of less specific hosts that stand for
    /// the request's are tried (Gateway API), and the site's own default is last.
    pub default: Option<Arc<Rule>>,
    /// Which counters of the metrics the host's requests go to; 0 is shared by unknown hosts.
    pub metrics_slot: u16,
    /// What clients are asked for.
    pub clients: Option<Arc<ClientPolicy>>,
}

/// In which order rules with conditions or patterns are tried.
#[derive(Debug)]
struct Order {
    /// The rules that are tried one after the other: those whose paths are patterns, or all.
    patterns: Box<[u32]>,
    /// For each rule, which one is tried if its conditions do not hold: of the same path, else of
    /// the next shorter prefix.
    next: Box<[u32]>,
}

/// No rule.
const NONE: u32 = u32::MAX;

impl VirtualHost {
    /// A host with these rules. Of those of the same path the first is tried first; else an exact
    /// path comes before a pattern, the patterns in their order, and a pattern before a prefix, the
    /// longest prefix first. Rules without conditions have paths of their own each.
    pub fn new(
        name: Arc<str>,
        rules: Vec<Arc<Rule>>,
        default: Option<Arc<Rule>>,
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
        let order = (conditional || !patterns.is_empty()).then(|| {
            Box::new(Order {
                patterns: patterns.into(),
                next: chain(&rules),
            })
        });
        Self {
            name,
            rules: rules.into(),
            paths,
            order,
            default,
            metrics_slot,
            clients: None,
        }
    }

    /// A host whose rules are tried as they stand, whatever their paths are; the first one answers
    /// (nginx: locations of regular expressions).
    pub fn in_order(
        name: Arc<str>,
        rules: Vec<Arc<Rule>>,
        default: Option<Arc<Rule>>,
        metrics_slot: u16,
    ) -> Self {
        // A host has fewer than 2^32 paths: each comes from an object held in memory.
        let all = 0..u32::try_from(rules.len()).unwrap_or(u32::MAX);
        Self {
            name,
            rules: rules.into(),
            paths: PathRouter::default(),
            order: Some(Box::new(Order {
                patterns: all.collect(),
                next: [].into(),
            })),
            default,
            metrics_slot,
            clients: None,
        }
    }

    /// Whether its rules are tried as they stand.
    pub fn is_in_order(&self) -> bool {
        let all = |order: &Order| order.patterns.len() == self.rules.len();
        !self.rules.is_empty() && self.order.as_deref().is_some_and(all)
    }

    /// The same, where clients are asked who they are.
    pub fn asking(self, clients: Option<Arc<ClientPolicy>>) -> Self {
        Self { clients, ..self }
    }

    /// Its rules, the preferred ones first.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// The rule for a path, if one of its own answers.
    #[inline]
    pub fn rule(&self, path: &[u8], request: &impl RequestView) -> Option<&Arc<Rule>> {
        let found = self.paths.find(path);
        let Some(order) = &self.order else {
            return found.closest().map(|index| &self.rules[index as usize]);
        };
        let pattern = || {
            let mut patterns = order.patterns.iter();
            patterns.find(|&&index| {
                let rule = &self.rules[index as usize];
                rule.path.matches(path) && rule.holds(request)
            })
        };
        let index = self
            .holding(order, found.exact, request)
            .or_else(|| pattern().copied())
            .or_else(|| self.holding(order, found.prefix, request));
        index.map(|index| &self.rules[index as usize])
    }

    /// The first rule of a chain whose conditions hold.
    fn holding(
        &self,
        order: &Order,
        first: Option<u32>,
        request: &impl RequestView,
    ) -> Option<u32> {
        let mut index = first?;
        loop {
            if self.rules.get(index as usize)?.holds(request) {
                return Some(index);
            }
            // There is no rule of the index that stands for none.
            index = order.next.get(index as usize).copied().unwrap_or(NONE);
        }
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

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::condition::Conditions;
    use crate::route::{Action, Timeouts};

    struct Asked(&'static str);

    impl RequestView for Asked {
        fn method(&self) -> &[u8] {
            self.0.as_bytes()
        }

        fn header(&self, _: &str) -> Option<Cow<'_, [u8]>> {
            None
        }

        fn query(&self) -> &[u8] {
            b""
        }
    }

    fn rule(path: PathMatch, method: Option<&'static str>) -> Arc<Rule> {
        let conditions = method.map(|method| {
            Box::new(Conditions {
                method: Some(method.into()),
                ..Conditions::default()
            })
        });
        Arc::new(Rule {
            route: "".into(),
            field: "".into(),
            path,
            conditions,
            filters: [].into(),
            action: Action::NotFound,
            timeouts: Arc::new(Timeouts {
                connect: Duration::ZERO,
                send: Duration::ZERO,
                read: Duration::ZERO,
                total: Duration::ZERO,
                attempt: Duration::ZERO,
            }),
            max_body: 0,
            retry: None,
            affinity: None,
            extras: None,
        })
    }

    /// How rules are preferred: exact before pattern before the longest prefix, then as they stand.
    fn naive<'a>(rules: &'a [Arc<Rule>], path: &[u8], request: &Asked) -> Option<&'a Arc<Rule>> {
        let rank = |rule: &Rule| match &rule.path {
            PathMatch::Exact(_) => (0, 0),
            PathMatch::Pattern(_) => (1, 0),
            PathMatch::Prefix(prefix) => (2, usize::MAX - prefix.len()),
        };
        let matching = rules
            .iter()
            .filter(|rule| rule.path.matches(path) && rule.holds(request));
        // The first of the least.
        matching.min_by_key(|rule| rank(rule))
    }

    fn path() -> impl Strategy<Value = String> {
        prop::collection::vec("[ab]", 0..4).prop_map(|elements| format!("/{}", elements.join("/")))
    }

    fn rules() -> impl Strategy<Value = Vec<Arc<Rule>>> {
        let method = prop::sample::select(vec![None, Some("GET"), Some("PUT")]);
        let one = (path(), 0..5_u8, method).prop_map(|(path, kind, method)| {
            let path = match kind {
                0 => PathMatch::Exact(path.into()),
                1 => PathMatch::Pattern(
                    crate::condition::Pattern::beginning(&path).expect("a pattern"),
                ),
                _ => PathMatch::Prefix(path.trim_end_matches('/').into()),
            };
            rule(path, method)
        });
        prop::collection::vec(one, 0..20)
    }

    #[test]
    fn rules_in_order_are_tried_as_they_stand() {
        let prefix = rule(PathMatch::Prefix("/a".into()), None);
        let exact = rule(PathMatch::Exact("/a/b".into()), None);
        let put = rule(PathMatch::Prefix("".into()), Some("PUT"));
        let host = VirtualHost::in_order("".into(), vec![prefix, exact, put], None, 0);
        let index = |path: &[u8], method| {
            let found = host.rule(path, &Asked(method))?;
            host.rules()
                .iter()
                .position(|rule| Arc::ptr_eq(rule, found))
        };
        assert_eq!(index(b"/a/b", "GET"), Some(0));
        assert_eq!(index(b"/b", "GET"), None);
        assert_eq!(index(b"/b", "PUT"), Some(2));
        assert!(host.is_in_order());
    }

    proptest! {
        #[test]
        fn conditions_are_tried_in_the_order_of_preference(
            rules in rules(),
            paths in prop::collection::vec(path(), 1..10),
        ) {
            // Something with a condition, so that chains are made at all.
            let mut rules = rules;
            rules.push(rule(PathMatch::Prefix("/zzz".into()), Some("GET")));
            let host = VirtualHost::new("".into(), rules.clone(), None, 0);
            for path in paths {
                for method in ["GET", "PUT", "POST"] {
                    let request = Asked(method);
                    let found = host.rule(path.as_bytes(), &request).map(Arc::as_ptr);
                    let expected = naive(&rules, path.as_bytes(), &request).map(Arc::as_ptr);
                    prop_assert_eq!(found, expected, "{} {}", method, path);
                }
            }
        }
    }
}
