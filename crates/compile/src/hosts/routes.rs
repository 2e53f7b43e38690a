//! One host's router out of every Ingress that names it.

use std::sync::Arc;

use hashbrown::HashMap;
use model::{Action, Backend, ClientPolicy, Filter, PathMatch, Rule, Split, VirtualHost};
use objects::kinds::Shared;

use super::canaries::Canaries;
use super::slots::Slots;
use super::{Claim, locations, redirects};
use crate::ingress::chain::{self, Part, Place};
use crate::ingress::class::Profile;
use crate::ingress::key;
use crate::ingress::manner::Profiles;
use crate::ingress::resolve::Resolved;
use crate::name::NameRef;
use crate::options::Options;
use crate::report::Problems;

/// What a host is built with.
pub(super) struct Context<'a> {
    pub(super) name: &'a Arc<str>,
    /// The host whose rules it has: another one where `name` is an alias.
    pub(super) of: &'a str,
    pub(super) has_tls: bool,
    /// Those that get some of the others' requests.
    pub(super) canaries: &'a [Claim],
    /// Answers the paths that no rule claims, if no Ingress of the host says what does.
    pub(super) fallback: &'a Arc<Rule>,
    /// The same where Ingresses without rules have no say in it, as in ingress-nginx.
    pub(super) last: &'a Arc<Rule>,
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
    let requests = |claim: &&Claim| claim.ingress.claims_requests(context.of);
    if !claims.iter().any(|claim| requests(&claim)) {
        return Built {
            virtual_host: None,
            own_default: false,
        };
    }
    let reuse = Reuse::of(context.former);
    let (rules, in_order) = merge_paths(&context, &reuse, claims, problems);
    let own_default = merge_defaults(&context, claims, problems);
    let default = match (own_default, redirects::first_of_nginxs(&context, claims)) {
        (Some(ingress), _) => reuse.rule(default_rule(ingress, context.has_tls, context.base)),
        (None, Some(ingress)) => reuse.rule(redirects::unclaimed(&context, ingress)),
        (None, None) => Arc::clone(context.fallback),
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
        && (former.is_in_order() || rules.is_empty()) == (in_order || rules.is_empty())
    {
        return Built {
            virtual_host: Some(Arc::clone(former)),
            own_default,
        };
    }
    let slot = context.slots.of(context.name);
    let make = match in_order {
        true => VirtualHost::in_order,
        false => VirtualHost::new,
    };
    let virtual_host =
        make(Arc::clone(context.name), rules, Some(default), slot).asking(context.clients);
    Built {
        virtual_host: Some(Arc::new(virtual_host)),
        own_default,
    }
}

/// A host whose clients are all sent to another one.
pub(super) fn redirecting(context: Context<'_>, ingress: &Resolved) -> Built {
    let reuse = Reuse::of(context.former);
    let default = reuse.rule(redirects::to_host(ingress, context.of, context.base));
    let is_former = |host: &&Arc<VirtualHost>| {
        let same = host.default.as_ref();
        host.rules().is_empty() && same.is_some_and(|former| Arc::ptr_eq(former, &default))
    };
    let virtual_host = match context.former.filter(is_former) {
        Some(former) => Arc::clone(former),
        None => {
            let slot = context.slots.of(context.name);
            let name = Arc::clone(context.name);
            Arc::new(VirtualHost::new(name, Vec::new(), Some(default), slot))
        }
    };
    Built {
        virtual_host: Some(virtual_host),
        own_default: true,
    }
}

/// Every path once: the first Ingress by precedence keeps it.
fn merge_paths(
    context: &Context<'_>,
    reuse: &Reuse<'_>,
    claims: &[Claim],
    problems: &mut [Problems],
) -> (Vec<Arc<Rule>>, bool) {
    let laid = locations::lay_out(context.of, claims, problems);
    let canaries = Canaries::of(context.of, context.canaries);
    let mut rules: Vec<Arc<Rule>> = Vec::with_capacity(laid.paths.len());
    for placed in &laid.paths {
        let ingress = &*claims[placed.claim].ingress;
        let rewritten = match placed.rewritten(ingress) {
            None => None,
            Some(Ok(pattern)) => Some(pattern),
            Some(Err(why)) => {
                let problems = &mut problems[placed.claim];
                problems.error(
                    format!("{}.path", placed.rule.place),
                    format!(
                        "{:?} {why}; the path is not rewritten",
                        placed.rule.path.identity().0
                    ),
                    locations::PATTERN_HINT,
                );
                None
            }
        };
        let field = placed.rule.place.to_string();
        let part = Part::Path {
            text: placed.rule.path.identity().0,
            rewritten: rewritten.as_deref(),
        };
        let mut rule = rule(
            ingress,
            field,
            placed.backend,
            part,
            context.has_tls,
            context.base,
        );
        if let Action::Forward(main) = &rule.action
            && let Some(split) = canaries.split(placed.rule, main)
        {
            rule.action = Action::Split(split);
        }
        let path = placed.path.clone();
        rules.push(reuse.rule(Rule { path, ..rule }));
    }
    let own = redirects::of_paths(context, claims, &laid, &rules);
    let shadowed = |rule: &Arc<Rule>| own.iter().any(|own| own.path == rule.path);
    rules.retain(|rule| !shadowed(rule));
    rules.splice(0..0, own.into_iter().map(|rule| reuse.rule(rule)));
    (rules, laid.in_order)
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
        if ingress.default_backend.is_none() || !ingress.claims_requests(context.of) {
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
        Some(backend) => rule(ingress, field, backend, Part::ROOT, has_tls, base),
        None => not_found(base.options),
    }
}

/// The same for what nobody claims at all.
pub(super) fn rest_rule(ingress: &Resolved, base: Base<'_>) -> Rule {
    let field = "spec.defaultBackend".to_owned();
    match &ingress.default_backend {
        Some(backend) => rule(ingress, field, backend, Part::Rest, false, base),
        None => not_found(base.options),
    }
}

/// The rule for what nobody claims at all.
pub(super) fn not_found(options: &Options) -> Rule {
    built_in(Action::NotFound, options)
}

/// The same in ingress-nginx's manner, as its default server has it.
pub(super) fn in_nginxs_manner(rule: Rule, base: Base<'_>) -> Rule {
    let defaults = base.profiles.of(Profile::IngressNginx);
    let mut filters = chain::of_nobody(defaults);
    if let Action::Forward(backend) = &rule.action {
        let pages = defaults.answers.pages(backend);
        filters.extend(pages.map(|pages| Filter::ErrorPages(Arc::new(pages))));
    }
    Rule {
        filters: filters.into(),
        max_body: defaults.manner.max_body,
        extras: defaults.manner.extras.clone(),
        ..rule
    }
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
        extras: options.extras(),
    }
}

/// The rule of what stands at a field of its Ingress.
fn rule(
    ingress: &Resolved,
    field: String,
    backend: &Arc<Backend>,
    part: Part<'_>,
    has_tls: bool,
    base: Base<'_>,
) -> Rule {
    let action = match ingress.speech.secure(backend) {
        Some(secure) => Action::Split(Arc::new(Split::by_scheme(backend, secure))),
        None => Action::Forward(Arc::clone(backend)),
    };
    rule_with(ingress, field, action, part, has_tls, base)
}

/// A rule with an action of its own, unless the Ingress is denied.
pub(super) fn rule_with(
    ingress: &Resolved,
    field: String,
    action: Action,
    part: Part<'_>,
    has_tls: bool,
    base: Base<'_>,
) -> Rule {
    let manner = &ingress.manner;
    let action = match ingress.is_denied() {
        true => Action::Denied,
        false => action,
    };
    let place = Place {
        has_tls,
        part,
        defaults: base.profiles.of(ingress.parsed.profile),
        options: base.options,
    };
    let filters = match action {
        // Before all filters, as in ingress-nginx.
        Action::Denied => Vec::new(),
        _ => chain::filters(ingress, place),
    };
    Rule {
        route: NameRef::of(&ingress.parsed.source.metadata)
            .to_string()
            .into(),
        // Most rules stand at the same place of their objects.
        field: Shared::from(field).into(),
        path: PathMatch::Prefix("".into()),
        conditions: None,
        filters: filters.into(),
        action,
        timeouts: Arc::clone(&manner.timeouts),
        max_body: manner.max_body,
        retry: manner.retry.clone(),
        affinity: manner.affinity.clone(),
        extras: manner.extras.clone(),
    }
}

pub(super) fn host_for_people(name: &str) -> &str {
    if name.is_empty() { "all hosts" } else { name }
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
