//! What a host's Ingresses say of paths that are not theirs: of `/`, of paths without their last
//! slash, of what nobody claims, and of the host with or without `www.`.

use std::sync::Arc;

use hashbrown::HashSet;
use model::filter::Send;
use model::filter::send::Rest;
use model::text::Text;
use model::{Action, Filter, PathMatch, Rule};

use super::Claim;
use super::locations::{Layout, Placed};
use super::routes::{Base, Context, built_in, rule_with};
use crate::ingress::annotations::Standing;
use crate::ingress::chain::{self, Part, Place};
use crate::ingress::class::Profile;
use crate::ingress::manner::Defaults;
use crate::ingress::resolve::Resolved;
use crate::name::NameRef;

/// The rules of a host that send clients to another path of it.
pub(super) fn of_paths(
    context: &Context<'_>,
    claims: &[Claim],
    laid: &Layout<'_>,
    rules: &[Arc<Rule>],
) -> Vec<Rule> {
    let mut own: Vec<Rule> = app_root(context, claims, laid, rules).into_iter().collect();
    if !laid.in_order {
        own.extend(slashes(context, claims, laid));
    }
    own
}

/// Clients that ask for `/` are sent to another path (`app-root`): by the Ingress with the longest
/// path, if several say so.
fn app_root(
    context: &Context<'_>,
    claims: &[Claim],
    laid: &Layout<'_>,
    rules: &[Arc<Rule>],
) -> Option<Rule> {
    let root = |placed: &Placed<'_>| {
        let settings = &claims[placed.claim].ingress.parsed.settings;
        settings.rewrite()?.app_root.clone()
    };
    let with_root = laid.paths.iter().zip(rules);
    let with_root = with_root.filter_map(|(placed, rule)| Some((placed, rule, root(placed)?)));
    let (placed, rule, to) = with_root.max_by_key(|(placed, ..)| {
        let (text, _) = placed.rule.path.identity();
        (text.len(), text)
    })?;
    let ingress = &claims[placed.claim].ingress;
    Some(Rule {
        path: PathMatch::Exact("/".into()),
        field: format!("{} (app-root)", placed.rule.place).into(),
        filters: sending(
            context.base.profiles.of(ingress.parsed.profile),
            Send {
                status: 302,
                to,
                rest: Rest::Nothing,
                absolute: false,
                names_port: false,
            },
        ),
        action: rule.action.clone(),
        ..bare(ingress, context.base)
    })
}

/// Paths that end in a slash, and have nothing beside them without it, are led to from there (nginx:
/// `location`).
fn slashes(context: &Context<'_>, claims: &[Claim], laid: &Layout<'_>) -> Vec<Rule> {
    let slashed = |placed: &Placed<'_>| {
        let location = placed.rule.path.location();
        let denied = claims[placed.claim].ingress.parsed.settings.standing == Standing::Denied;
        !denied && location.is_some_and(|location| location.ends_in_slash())
    };
    // Nearly no host has any.
    if !laid.paths.iter().any(slashed) {
        return Vec::new();
    }
    let mut taken: HashSet<&str> = HashSet::new();
    for placed in laid.paths.iter().filter(|placed| !slashed(placed)) {
        if let PathMatch::Exact(path) | PathMatch::Prefix(path) = &placed.path {
            taken.insert(path);
        }
    }
    let mut own = Vec::new();
    for placed in laid.paths.iter().filter(|placed| slashed(placed)) {
        let path = match &placed.path {
            PathMatch::Exact(path) => path.strip_suffix('/').unwrap_or(path),
            PathMatch::Prefix(path) => path,
            PathMatch::Pattern(_) => continue,
        };
        if path.is_empty() || !taken.insert(path) {
            continue;
        }
        let ingress = &claims[placed.claim].ingress;
        let place = place(ingress, context);
        let to = Text::literal(&format!("{path}/"));
        let send = Send {
            rest: Rest::Query,
            ..chain::send(ingress, place, to, 301)
        };
        own.push(Rule {
            path: PathMatch::Exact(path.into()),
            field: format!("{} (its slash)", placed.rule.place).into(),
            filters: sending(place.defaults, send),
            action: Action::Forward(Arc::clone(placed.backend)),
            extras: ingress.manner.extras.clone(),
            ..bare(ingress, context.base)
        });
    }
    own
}

/// The Ingress that made the host, if it is read as ingress-nginx does: what it says is also said of
/// paths that nobody claims there.
pub(super) fn first_of_nginxs<'a>(
    context: &Context<'_>,
    claims: &'a [Claim],
) -> Option<&'a Resolved> {
    if context.of.is_empty() {
        return None;
    }
    let mut of_host = claims.iter().map(|claim| &*claim.ingress);
    let first = of_host.find(|ingress| ingress.parsed.host_index(context.of).is_some())?;
    (first.parsed.profile == Profile::IngressNginx).then_some(first)
}

/// What answers the paths of a host that nobody claims, in the manner of the Ingress that made it.
pub(super) fn unclaimed(context: &Context<'_>, ingress: &Resolved) -> Rule {
    let action = context.last.action.clone();
    let field = String::new();
    let base = context.base;
    let rule = rule_with(ingress, field, action, Part::ROOT, context.has_tls, base);
    if base.options.default_backend_service.is_some() {
        return rule;
    }
    // An Ingress's own default backend makes the pages of its own paths alone.
    let filters = rule.filters.into_iter();
    let filters = filters.filter(|filter| !matches!(filter, Filter::ErrorPages(_)));
    Rule {
        filters: filters.collect(),
        ..rule
    }
}

/// Answers for the host with or without `www.`, where another one is meant (`from-to-www-redirect`).
pub(super) fn to_host(ingress: &Resolved, host: &str, base: Base<'_>) -> Rule {
    // Neither has anything that stands for something else.
    let to = Text::parse(&format!("$pass_access_scheme://{host}:$pass_port"));
    let defaults = base.profiles.of(ingress.parsed.profile);
    Rule {
        field: "metadata.annotations (from-to-www-redirect)".into(),
        filters: sending(
            defaults,
            Send {
                status: defaults.redirects.code,
                to: to.unwrap_or_default(),
                rest: Rest::TargetWithoutSlash,
                absolute: false,
                names_port: false,
            },
        ),
        ..bare(ingress, base)
    }
}

/// Sends clients elsewhere, and says what all answers say.
fn sending(defaults: &Defaults, send: Send) -> Box<[Filter]> {
    let mut filters = chain::of_nobody(defaults);
    filters.insert(0, Filter::Send(Box::new(send)));
    filters.into()
}

fn place<'a>(ingress: &Resolved, context: &Context<'a>) -> Place<'a> {
    Place {
        has_tls: context.has_tls,
        part: Part::ROOT,
        defaults: context.base.profiles.of(ingress.parsed.profile),
        options: context.base.options,
    }
}

/// A rule of an Ingress that does nothing yet.
fn bare(ingress: &Resolved, base: Base<'_>) -> Rule {
    Rule {
        route: NameRef::of(&ingress.parsed.source.metadata)
            .to_string()
            .into(),
        ..built_in(Action::NotFound, base.options)
    }
}
