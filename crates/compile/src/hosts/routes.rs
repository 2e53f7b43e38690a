//! One host's router out of every Ingress that names it.

use std::sync::Arc;

use hashbrown::HashMap;
use model::{Action, Backend, ClientPolicy, PathMatch, Rule, Split, VirtualHost};
use objects::kinds::Shared;

use super::Claim;
use super::slots::Slots;
use crate::ingress::annotations::Standing;
use crate::ingress::chain::{self, Place};
use crate::ingress::key;
use crate::ingress::manner::Profiles;
use crate::ingress::resolve::Resolved;
use crate::name::NameRef;
use crate::options::Options;
use crate::report::Problems;

/// What a host is built with.
pub(super) struct Context<'a> {
    pub(super) name: &'a Arc<str>,
    pub(super) has_tls: bool,
    /// Answers the paths that no rule claims, if no Ingress of the host says what does.
    pub(super) fallback: &'a Arc<Rule>,
    /// The host as it was: what did not change is taken from it.
    pub(super) former: Option<&'a Arc<VirtualHost>>,
    /// What clients are asked for.
    pub(super) clients: Option<Arc<ClientPolicy>>,
    pub(super) slots: &'a mut Slots,
    pub(super) base: Base<'a>,
}

/// What holds where no object says something else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base<'a> {
    pub(crate) options: &'a Options,
    pub(crate) profiles: &'a Profiles,
}

pub(super) struct Built {
    /// None if no Ingress has anything to say about the host's requests.
    pub(super) virtual_host: Option<Arc<VirtualHost>>,
    /// Whether one of them has a default backend.
    pub(super) own_default: bool,
}

/// Merges the claims. `problems` has one entry for each of them.
pub(super) fn build(context: Context<'_>, claims: &[Claim], problems: &mut [Problems]) -> Built {
    let requests = |claim: &&Claim| claim.ingress.claims_requests(context.name);
    if !claims.iter().any(|claim| requests(&claim)) {
        return Built {
            virtual_host: None,
            own_default: false,
        };
    }
    let reuse = Reuse::of(context.former);
    let rules = merge_paths(&context, &reuse, claims, problems);
    let own_default = merge_defaults(&context, claims, problems);
    let default = match own_default {
        Some(ingress) => reuse.rule(default_rule(ingress, context.has_tls, context.base)),
        None => Arc::clone(context.fallback),
    };
    let own_default = own_default.is_some();
    if let Some(former) = context.former
        && former
            .default
            .as_ref()
            .is_some_and(|former| Arc::ptr_eq(former, &default))
        && former.rules().len() == rules.len()
        && former
            .rules()
            .iter()
            .zip(&rules)
            .all(|(a, b)| Arc::ptr_eq(a, b))
        && former.clients == context.clients
    {
        return Built {
            virtual_host: Some(Arc::clone(former)),
            own_default,
        };
    }
    let slot = context.slots.of(context.name);
    let virtual_host = VirtualHost::new(Arc::clone(context.name), rules, Some(default), slot)
        .asking(context.clients);
    Built {
        virtual_host: Some(Arc::new(virtual_host)),
        own_default,
    }
}

/// Every path once: the first Ingress by precedence keeps it.
fn merge_paths(
    context: &Context<'_>,
    reuse: &Reuse<'_>,
    claims: &[Claim],
    problems: &mut [Problems],
) -> Vec<Arc<Rule>> {
    let mut rules: Vec<Arc<Rule>> = Vec::new();
    let mut taken: HashMap<&PathMatch, usize> = HashMap::new();
    for (claim, problems) in claims.iter().zip(problems) {
        let ingress = &*claim.ingress;
        let Some(index) = ingress.parsed.host_index(context.name) else {
            continue;
        };
        let paths = ingress.parsed.hosts[index]
            .paths
            .iter()
            .zip(ingress.backends(index));
        for (path, backend) in paths {
            if let Some(&winner) = taken.get(&path.path) {
                let winner = &rules[winner];
                problems.warning(
                    format!("{}.path", path.place),
                    format!(
                        "{} of {} is taken by {}",
                        path.path,
                        host_for_people(context.name),
                        place_for_people(winner, ingress),
                    ),
                    "each path of a host once; the older Ingress keeps it",
                );
                continue;
            }
            taken.insert(&path.path, rules.len());
            let field = path.place.to_string();
            rules.push(reuse.rule(Rule {
                path: path.path.clone(),
                ..rule(ingress, field, backend, context.has_tls, context.base)
            }));
        }
    }
    rules
}

/// The Ingress whose default backend answers the host's other paths.
fn merge_defaults<'a>(
    context: &Context<'_>,
    claims: &'a [Claim],
    problems: &mut [Problems],
) -> Option<&'a Resolved> {
    let mut first: Option<&Resolved> = None;
    for (claim, problems) in claims.iter().zip(problems) {
        let ingress = &*claim.ingress;
        if ingress.default_backend.is_none() || !ingress.claims_requests(context.name) {
            continue;
        }
        match first {
            None => first = Some(ingress),
            Some(first) => problems.warning(
                "spec.defaultBackend",
                format!(
                    "the other paths of {} go to the default backend of {}",
                    host_for_people(context.name),
                    key(&first.parsed.source),
                ),
                "one default backend for a host; the older Ingress's is taken",
            ),
        }
    }
    first
}

/// The rule for what no path of an Ingress's hosts claims.
pub(super) fn default_rule(ingress: &Resolved, has_tls: bool, base: Base<'_>) -> Rule {
    let field = "spec.defaultBackend".to_owned();
    match &ingress.default_backend {
        Some(backend) => rule(ingress, field, backend, has_tls, base),
        None => not_found(base.options),
    }
}

/// The rule for what nobody claims at all.
pub(super) fn not_found(options: &Options) -> Rule {
    built_in(Action::NotFound, options)
}

/// A rule that comes from no object.
pub(super) fn built_in(action: Action, options: &Options) -> Rule {
    Rule {
        route: "".into(),
        field: "".into(),
        path: PathMatch::Prefix("".into()),
        conditions: None,
        filters: [].into(),
        action,
        timeouts: Arc::clone(&options.timeouts),
        max_body: options.max_body,
        retry: None,
        affinity: None,
        extras: None,
    }
}

fn rule(
    ingress: &Resolved,
    field: String,
    backend: &Arc<Backend>,
    has_tls: bool,
    base: Base<'_>,
) -> Rule {
    let manner = &ingress.manner;
    let action = match ingress.parsed.settings.standing {
        Standing::Denied => Action::Denied,
        _ if ingress.speech.is_denied() => Action::Denied,
        _ => match ingress.speech.secure(backend) {
            Some(secure) => Action::Split(Arc::new(Split::by_scheme(backend, secure))),
            None => Action::Forward(Arc::clone(backend)),
        },
    };
    let place = Place {
        has_tls,
        defaults: base.profiles.of(ingress.parsed.profile),
        options: base.options,
    };
    Rule {
        route: NameRef::of(&ingress.parsed.source.metadata)
            .to_string()
            .into(),
        // Most rules stand at the same place of their objects.
        field: Shared::from(field).into(),
        path: PathMatch::Prefix("".into()),
        conditions: None,
        filters: chain::filters(ingress, place).into(),
        action,
        timeouts: Arc::clone(&manner.timeouts),
        max_body: manner.max_body,
        retry: manner.retry.clone(),
        affinity: manner.affinity.clone(),
        extras: manner.extras.clone(),
    }
}

fn host_for_people(name: &str) -> &str {
    if name.is_empty() { "all hosts" } else { name }
}

fn place_for_people(winner: &Rule, loser: &Resolved) -> String {
    let loser = NameRef::of(&loser.parsed.source.metadata).to_string();
    match *winner.route == *loser {
        true => format!("{} of the same Ingress", winner.field),
        false => format!("Ingress {} {}", winner.route, winner.field),
    }
}

/// The rules of a host as it was, by where they come from.
struct Reuse<'a>(HashMap<(&'a str, &'a str), &'a Arc<Rule>>);

impl<'a> Reuse<'a> {
    fn of(former: Option<&'a Arc<VirtualHost>>) -> Self {
        let rules = former
            .into_iter()
            .flat_map(|host| host.rules().iter().chain(&host.default));
        Self(
            rules
                .map(|rule| ((&*rule.route, &*rule.field), rule))
                .collect(),
        )
    }

    /// The former rule where it says the same, so that a rule's identity lasts.
    fn rule(&self, rule: Rule) -> Arc<Rule> {
        match self.0.get(&(&*rule.route, &*rule.field)) {
            Some(former) if says_the_same(former, &rule) => Arc::clone(former),
            _ => Arc::new(rule),
        }
    }
}

fn says_the_same(a: &Rule, b: &Rule) -> bool {
    let same_action = match (&a.action, &b.action) {
        (Action::Forward(a), Action::Forward(b)) => Arc::ptr_eq(a, b),
        (Action::Split(a), Action::Split(b)) => a == b,
        (Action::NotFound, Action::NotFound) | (Action::Denied, Action::Denied) => true,
        _ => false,
    };
    same_action
        && a.path == b.path
        && a.filters == b.filters
        && a.timeouts == b.timeouts
        && a.max_body == b.max_body
        && a.retry == b.retry
        && a.affinity == b.affinity
        && a.extras == b.extras
}
