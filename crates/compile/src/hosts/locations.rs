//! Which of a host's paths are served, and how each is matched.
//!
//! Paths that are read as ingress-nginx reads them are plain, or all of them are patterns, because
//! one Ingress says so: tried one after the other, the longest first.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use hashbrown::HashMap;
use model::{Backend, PathMatch, Pattern};

use super::Claim;
use super::routes::host_for_people;
use crate::ingress::class::Profile;
use crate::ingress::key;
use crate::ingress::parse::{Parsed, PathRule};
use crate::ingress::path::{Location, WrittenPath};
use crate::ingress::resolve::Resolved;
use crate::report::Problems;

/// What is right where a pattern is wrong.
pub(super) const PATTERN_HINT: &str =
    "a regular expression without look-around, back references and possessive quantifiers";

/// The paths of a host.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    /// In the order in which they are tried, if they are.
    pub(super) paths: Vec<Placed<'a>>,
    /// Whether they are tried one after the other.
    pub(super) in_order: bool,
}

/// A path that is served.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    /// The index of the claim that it is of.
    pub(super) claim: usize,
    pub(super) rule: &'a PathRule,
    pub(super) backend: &'a Arc<Backend>,
    pub(super) path: PathMatch,
}

impl Placed<'_> {
    /// What is searched for in paths to rewrite them, if they are.
    pub(super) fn rewritten(
        &self,
        ingress: &Resolved,
    ) -> Option<Result<Cow<'_, Pattern>, &String>> {
        let rewrite = ingress.parsed.settings.rewrite()?;
        let target = &rewrite.target.as_ref()?.written;
        match &self.rule.path {
            // The whole of them, for there is nothing to capture.
            WrittenPath::Kubernetes(_) => Some(Ok(Cow::Borrowed(ANY.as_ref()?))),
            WrittenPath::Nginx(location) => {
                let found = location.rewritten(target, rewrite.use_regex)?;
                Some(found.as_ref().map(Cow::Borrowed))
            }
        }
    }
}

static ANY: LazyLock<Option<Pattern>> = LazyLock::new(|| Pattern::rewrite("^").ok());

/// Every path once: the first Ingress by precedence keeps it. `problems` has one entry for each
/// claim.
pub(super) fn lay_out<'a>(
    host: &str,
    claims: &'a [Claim],
    problems: &mut [Problems],
) -> Layout<'a> {
    let mut all = Vec::new();
    for (index, claim) in claims.iter().enumerate() {
        let ingress = &*claim.ingress;
        let Some(of_host) = ingress.parsed.host_index(host) else {
            continue;
        };
        let paths = ingress.parsed.hosts[of_host].paths.iter();
        all.extend(
            paths
                .zip(ingress.backends(of_host))
                .map(|(rule, backend)| Candidate {
                    claim: index,
                    rule,
                    backend,
                }),
        );
    }
    let in_order = has_patterns(host, claims, &all);
    let paths = match in_order {
        true => patterns(host, claims, all, problems),
        false => plain(host, claims, all, problems),
    };
    Layout { paths, in_order }
}

/// A path that is served if no other one has it.
#[derive(Debug, Clone, Copy)]
struct Candidate<'a> {
    claim: usize,
    rule: &'a PathRule,
    backend: &'a Arc<Backend>,
}

/// Whether a path that is served makes patterns of all those that are read as ingress-nginx does.
fn has_patterns(host: &str, claims: &[Claim], all: &[Candidate<'_>]) -> bool {
    let asks = |parsed: &Parsed| {
        let rewrite = parsed.settings.rewrite();
        rewrite.is_some_and(|it| it.use_regex || it.target.is_some())
    };
    // Nearly no host has any.
    if !claims.iter().any(|claim| asks(&claim.ingress.parsed)) {
        return false;
    }
    let mut taken: HashMap<(&str, bool), ()> = HashMap::new();
    let mut found = false;
    for candidate in all {
        let Some(location) = candidate.rule.path.location() else {
            continue;
        };
        if taken.insert((&location.text, location.exact), ()).is_none() {
            found |= makes_patterns(&claims[candidate.claim].ingress.parsed, location);
        }
    }
    // The first Ingress of a host is also about what no path claims.
    let root = || {
        let mut of_host = claims.iter().map(|claim| &claim.ingress.parsed);
        let first = of_host.find(|parsed| parsed.host_index(host).is_some())?;
        let rewrite = first.settings.rewrite()?;
        let target = rewrite.target.as_ref();
        let rewrites = target.is_some_and(|target| *target.written != *"/");
        let mut own = first.hosts[first.host_index(host)?].paths.iter();
        let is_nginxs = first.profile == Profile::IngressNginx
            && own.all(|rule| rule.path.location().is_some());
        Some(is_nginxs && (rewrite.use_regex || rewrites))
    };
    let has_nginxs = !taken.is_empty();
    found
        || (has_nginxs
            && !host.is_empty()
            && !taken.contains_key(&("/", false))
            && root() == Some(true))
}

fn makes_patterns(parsed: &Parsed, location: &Location) -> bool {
    let Some(rewrite) = parsed.settings.rewrite() else {
        return false;
    };
    let target = rewrite.target.as_ref();
    rewrite.use_regex || target.is_some_and(|target| location.is_rewritten(&target.written, false))
}

/// Whether a prefix has no slash added to it: it is a pattern by its own Ingress's word.
fn stays_as_written(parsed: &Parsed, location: &Location) -> bool {
    let rewrite = parsed.settings.rewrite();
    rewrite.is_some_and(|rewrite| {
        let target = rewrite.target.as_ref();
        rewrite.use_regex || target.is_some_and(|target| target.written != location.text)
    })
}

fn plain<'a>(
    host: &str,
    claims: &[Claim],
    all: Vec<Candidate<'a>>,
    problems: &mut [Problems],
) -> Vec<Placed<'a>> {
    let mut placed = Vec::with_capacity(all.len());
    let mut taken: HashMap<&PathMatch, Candidate<'_>> = HashMap::with_capacity(all.len());
    for candidate in all {
        let Candidate {
            claim,
            rule,
            backend,
        } = candidate;
        let path = match rule.path.plain() {
            Ok(path) => path,
            Err(bad) => {
                let message = format!("{}; the path is left out", bad.message);
                problems[claim].error(format!("{}.path", rule.place), message, bad.hint.clone());
                continue;
            }
        };
        if let Some(winner) = taken.get(path) {
            lose(host, claims, path, *winner, candidate, problems);
            continue;
        }
        taken.insert(path, candidate);
        placed.push(Placed {
            claim,
            rule,
            backend,
            path: path.clone(),
        });
    }
    placed
}

fn patterns<'a>(
    host: &str,
    claims: &[Claim],
    all: Vec<Candidate<'a>>,
    problems: &mut [Problems],
) -> Vec<Placed<'a>> {
    let mut taken: HashMap<(&str, bool, bool), Candidate<'_>> = HashMap::with_capacity(all.len());
    let mut kept = Vec::with_capacity(all.len());
    for candidate in all {
        let (text, exact) = candidate.rule.path.identity();
        let identity = (text, exact, candidate.rule.path.location().is_some());
        if let Some(winner) = taken.get(&identity) {
            let written = written(text, exact);
            lose(host, claims, &written, *winner, candidate, problems);
            continue;
        }
        taken.insert(identity, candidate);
        kept.push(candidate);
    }
    let has_exact = |text: &str| taken.contains_key(&(text, true, true));
    let mut placed = Vec::with_capacity(kept.len());
    for Candidate {
        claim,
        rule,
        backend,
    } in kept
    {
        let parsed = &claims[claim].ingress.parsed;
        let found = match &rule.path {
            WrittenPath::Kubernetes(path) => Ok(path.clone()),
            // What no path claims is a pattern before it, and matches whatever it does.
            WrittenPath::Nginx(location) if location.exact && *location.text == *"/" => {
                problems[claim].warning(
                    format!("{}.path", rule.place),
                    format!(
                        "Exact / of {} is never reached: the host's paths are patterns",
                        host_for_people(host)
                    ),
                    "pathType: Prefix, or narthex.dev/path-semantics: kubernetes",
                );
                continue;
            }
            WrittenPath::Nginx(location) => {
                let below = !location.exact
                    && has_exact(&location.text)
                    && !stays_as_written(parsed, location);
                let pattern = match below {
                    true => location.pattern_below(),
                    false => location.pattern(),
                };
                pattern.clone().map(PathMatch::Pattern)
            }
        };
        match found {
            Ok(path) => placed.push(Placed {
                claim,
                rule,
                backend,
                path,
            }),
            Err(why) => problems[claim].error(
                format!("{}.path", rule.place),
                format!(
                    "{:?} is a pattern on {} and {why}; the path is left out",
                    rule.path.identity().0,
                    host_for_people(host)
                ),
                PATTERN_HINT,
            ),
        }
    }
    placed.sort_by(|a, b| rank(a).cmp(&rank(b)));
    placed
}

/// As ingress-nginx orders locations; exact ones of Kubernetes are before them.
fn rank<'a>(placed: &'a Placed<'_>) -> impl Ord + use<'a> {
    use std::cmp::Reverse;

    let (text, _) = placed.rule.path.identity();
    let is_exact = matches!(placed.path, PathMatch::Exact(_));
    (!is_exact, Reverse(text.len()), Reverse(text))
}

fn written(text: &str, exact: bool) -> String {
    let kind = if exact { "Exact" } else { "Prefix" };
    format!("{kind} {text}")
}

/// Says that somebody else has a path.
fn lose(
    host: &str,
    claims: &[Claim],
    path: &dyn std::fmt::Display,
    winner: Candidate<'_>,
    loser: Candidate<'_>,
    problems: &mut [Problems],
) {
    let by = match winner.claim == loser.claim {
        true => format!("{} of the same Ingress", winner.rule.place),
        false => {
            let winners = key(&claims[winner.claim].ingress.parsed.source);
            format!("{winners} {}", winner.rule.place)
        }
    };
    problems[loser.claim].warning(
        format!("{}.path", loser.rule.place),
        format!("{path} of {} is taken by {by}", host_for_people(host)),
        "each path of a host once; the older Ingress keeps it",
    );
}
