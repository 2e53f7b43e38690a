//! Which of two rules is tried first (Gateway API: HTTPRouteRule, GRPCRouteRule, "precedence").

use std::cmp::Reverse;

use model::{Conditions, PathMatch};

use crate::name::Name;

/// Where a rule stands among those of the same host: the smaller one is tried first.
///
/// First what the match says, then which object it is in, then its place there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    path: PathRank,
    method: Reverse<bool>,
    headers: Reverse<usize>,
    parameters: Reverse<usize>,
    owner: Age,
    rule: usize,
    matching: usize,
}

/// An exact path, then a pattern, then a prefix; the longer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    Exact(Reverse<usize>),
    Pattern(Reverse<usize>),
    Prefix(Reverse<usize>),
}

/// The older object, then by namespace and name. One that has not been created, as in manifests, is
/// the youngest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Age {
    pub(super) not_created: bool,
    pub(super) created: Box<str>,
    pub(super) name: Name,
}

impl Rank {
    pub(super) fn new(
        path: &PathMatch,
        conditions: Option<&Conditions>,
        owner: Age,
        rule: usize,
        matching: usize,
    ) -> Self {
        Self {
            path: match path {
                PathMatch::Exact(path) => PathRank::Exact(Reverse(path.len())),
                PathMatch::Pattern(pattern) => PathRank::Pattern(Reverse(pattern.as_str().len())),
                PathMatch::Prefix(path) => PathRank::Prefix(Reverse(path.len())),
            },
            method: Reverse(conditions.is_some_and(|all| all.method.is_some())),
            headers: Reverse(conditions.map_or(0, |all| all.headers.len())),
            parameters: Reverse(conditions.map_or(0, |all| all.query.len())),
            owner,
            rule,
            matching,
        }
    }
}

#[cfg(test)]
mod tests {
    use model::FieldMatch;
    use model::ValueMatch;

    use super::*;

    #[test]
    fn path_then_method_then_headers_then_parameters_then_age_then_place() {
        let field = || FieldMatch {
            name: "a".into(),
            value: ValueMatch::Exact("b".into()),
        };
        let fields = |count: usize| (0..count).map(|_| field()).collect();
        let make = |path: PathMatch, method: bool, headers, parameters, created: &str, rule| {
            let conditions = Conditions {
                method: method.then(|| "GET".into()),
                headers: fields(headers),
                query: fields(parameters),
            };
            let owner = Age {
                not_created: created.is_empty(),
                created: created.into(),
                name: Name::new("default", "a"),
            };
            Rank::new(&path, Some(&conditions), owner, rule, 0)
        };
        let exact = |path: &str| PathMatch::Exact(path.into());
        let prefix = |path: &str| PathMatch::Prefix(path.into());
        let sorted = [
            make(exact("/a"), false, 0, 0, "", 9),
            make(prefix("/long"), false, 0, 0, "", 9),
            make(prefix("/a"), true, 0, 0, "", 9),
            make(prefix("/b"), false, 2, 0, "", 9),
            make(prefix("/c"), false, 1, 2, "", 9),
            make(prefix("/d"), false, 1, 1, "2024", 9),
            make(prefix("/d"), false, 1, 1, "2025", 1),
            make(prefix("/d"), false, 1, 1, "2025", 2),
            make(prefix("/d"), false, 1, 1, "", 0),
        ];
        assert!(sorted.is_sorted_by(|a, b| a < b));
    }
}
