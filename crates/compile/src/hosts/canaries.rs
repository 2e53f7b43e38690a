//! Ingresses that get some requests of others (ingress-nginx: `canary`).

use std::sync::Arc;

use hashbrown::HashMap;
use model::{Backend, Split};

use super::Claim;
use super::routes::host_for_people;
use crate::ingress::parse::PathRule;
use crate::ingress::resolve::Resolved;
use crate::report::Problems;

/// A host's canaries by the path that each has in common with others, and whether it is Exact.
#[derive(Debug)]
pub(super) struct Canaries<'a>(HashMap<(&'a str, bool), (&'a Resolved, &'a Arc<Backend>)>);

impl<'a> Canaries<'a> {
    /// Of several for a path the first by precedence has it.
    pub(super) fn of(host: &str, claims: &'a [Claim]) -> Self {
        let mut by_path = HashMap::new();
        for claim in claims {
            for (rule, backend) in paths(host, claim) {
                let identity = rule.path.identity();
                by_path
                    .entry(identity)
                    .or_insert((&*claim.ingress, backend));
            }
        }
        Self(by_path)
    }

    /// The backends of a path of which a canary has a part.
    pub(super) fn split(&self, rule: &PathRule, main: &Arc<Backend>) -> Option<Arc<Split>> {
        // Most hosts have none.
        if self.0.is_empty() {
            return None;
        }
        let (ingress, backend) = self.0.get(&rule.path.identity())?;
        split(ingress, backend, main)
    }
}

/// What a canary and the backend that it is the canary of come to; none if both are one.
pub(super) fn split(
    ingress: &Resolved,
    backend: &Arc<Backend>,
    main: &Arc<Backend>,
) -> Option<Arc<Split>> {
    let canary = ingress.parsed.settings.canary()?;
    if backend.name == main.name {
        return None;
    }
    let session = ingress.parsed.settings.affinity.as_deref();
    let decision = model::Canary {
        sessionless: session.is_some_and(|session| session.leaves_canary),
        ..canary.decision()
    };
    Some(Arc::new(Split::with_canary(
        Arc::clone(main),
        Arc::clone(backend),
        canary.weight(),
        decision,
    )))
}

/// Says which canaries have no path in common with another Ingress, or not alone. `problems` has one
/// entry for each canary.
pub(super) fn explain(host: &str, claims: &[Claim], canaries: &[Claim], problems: &mut [Problems]) {
    if canaries.is_empty() {
        return;
    }
    let mut mains: HashMap<(&str, bool), &Arc<Backend>> = HashMap::new();
    for claim in claims {
        for (rule, backend) in paths(host, claim) {
            mains.entry(rule.path.identity()).or_insert(backend);
        }
    }
    let mut taken: HashMap<(&str, bool), String> = HashMap::new();
    for (claim, problems) in canaries.iter().zip(problems) {
        for (rule, backend) in paths(host, claim) {
            let identity = rule.path.identity();
            let kind = if identity.1 { "Exact" } else { "Prefix" };
            let path = format!("{kind} {} of {}", identity.0, host_for_people(host));
            let field = format!("{}.path", rule.place);
            match (mains.get(&identity), taken.get(&identity)) {
                (None, _) => problems.warning(
                    field,
                    format!("no other Ingress has {path}: there is nothing to be the canary of"),
                    "host, path and pathType as in the Ingress that it is the canary of",
                ),
                (Some(main), _) if main.name == backend.name => problems.warning(
                    format!("{}.backend", rule.place),
                    format!("{path} goes to the same backend without it"),
                    "another Service",
                ),
                (Some(_), Some(winner)) => problems.warning(
                    field,
                    format!("{path} has a canary already: {winner}"),
                    "one canary for a path; the older one is taken",
                ),
                (Some(_), None) => {
                    let own = crate::ingress::key(&claim.ingress.parsed.source);
                    taken.insert(identity, format!("{own} {}", rule.place));
                }
            }
        }
    }
}

fn paths<'a>(
    host: &str,
    claim: &'a Claim,
) -> impl Iterator<Item = (&'a PathRule, &'a Arc<Backend>)> + use<'a> {
    let index = claim.ingress.parsed.host_index(host);
    index.into_iter().flat_map(|index| {
        let paths = claim.ingress.parsed.hosts[index].paths.iter();
        paths.zip(claim.ingress.backends(index))
    })
}
