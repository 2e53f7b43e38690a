//! HTTPRoutes: rules with matches, filters and backends.

use std::sync::Arc;
use std::time::Duration;

use model::policy::{Affinity, Retry, RetryOn, RouteRetry};
use model::{
    Action, Conditions, FieldMatch, Filter, PathMatch, Pattern, Rule, Share, Split, Target,
    Timeouts, ValueMatch,
};
use objects::kinds::gateway::{
    self as api, BackendRef, HttpRoute, HttpRouteMatch, HttpRouteRule, MatchType, PathMatchType,
};

use super::backend::Backends;
use super::filters::{self, Filters};
use super::rank::{Age, Rank};
use super::references::Reference;
use super::session;
use crate::options::Options;
use crate::status::Wrong;

/// How often a request is sent again where a route wants that, and does not say how often.
const ATTEMPTS: u8 = 2;

/// The least time between two attempts where a route does not say.
const BACKOFF: Duration = Duration::from_millis(25);

/// What came of a route's rules.
#[derive(Debug, Default)]
pub(super) struct Built {
    pub(super) rules: Vec<(Rank, Arc<Rule>)>,
    /// What is not supported or cannot be understood, of one rule or more.
    pub(super) unsupported: Option<Wrong>,
    /// How many rules that is.
    pub(super) bad: usize,
    /// What is referred to and is not there.
    pub(super) unresolved: Option<Wrong>,
}

/// One rule as HTTPRoutes and GRPCRoutes have it, before it is known what it matches.
pub(super) struct Body<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) filters: Filters,
    pub(super) action: Action,
    pub(super) timeouts: Arc<Timeouts>,
    pub(super) retry: Option<Arc<RouteRetry>>,
    pub(super) affinity: Option<Arc<Affinity>>,
}

/// A match: a path, and what else there is to match.
pub(super) type Matching = (PathMatch, Conditions);

/// The rules of an HTTPRoute.
pub(super) fn build(
    route: &HttpRoute,
    age: &Age,
    backends: &mut Backends<'_, '_>,
    options: &Options,
) -> Built {
    let mut built = Built::default();
    // A route without rules has one that matches all.
    let none = HttpRouteRule::default();
    let rules = match &route.spec.rules {
        Some(rules) => &**rules,
        None => std::slice::from_ref(&none),
    };
    for (index, rule) in rules.iter().enumerate() {
        let place = format!("spec.rules[{index}]");
        let uid = &route.metadata.uid;
        let body = read(rule, &place, uid, age, backends, options, &mut built);
        let matches = rule.matches.as_deref().unwrap_or_default();
        let matches: Vec<_> = matches
            .iter()
            .enumerate()
            .map(|(at, one)| read_match(one, &format!("{place}.matches[{at}]")))
            .collect();
        let matches = match matches.is_empty() {
            true => vec![Ok((PathMatch::Prefix("".into()), Conditions::default()))],
            false => matches,
        };
        add(body, matches, index, &place, age, options, &mut built);
    }
    built
}

/// Adds a rule for each of its matches.
pub(super) fn add(
    body: Result<Body<'_>, Wrong>,
    matches: Vec<Result<Matching, Wrong>>,
    index: usize,
    place: &str,
    age: &Age,
    options: &Options,
    built: &mut Built,
) {
    let body = match body {
        Ok(body) => body,
        Err(wrong) => {
            built.unsupported.get_or_insert(wrong);
            built.bad += 1;
            return;
        }
    };
    let field: Arc<str> = match body.name {
        Some(name) => format!("{place} ({name})").into(),
        None => place.into(),
    };
    let route: Box<str> = age.name.to_string().into();
    let mut good = false;
    for (at, matching) in matches.into_iter().enumerate() {
        let (path, conditions) = match matching {
            Ok(matching) => matching,
            Err(wrong) => {
                built.unsupported.get_or_insert(wrong);
                continue;
            }
        };
        if !filters::fit(&body.filters.all, &path) {
            built.unsupported.get_or_insert_with(|| {
                Wrong::new(
                    "UnsupportedValue",
                    place,
                    "only a path of type PathPrefix has a prefix to replace",
                    "ReplaceFullPath, or matches of type PathPrefix",
                )
            });
            continue;
        }
        good = true;
        let conditions = (!conditions.is_empty()).then(|| Box::new(conditions));
        let rank = Rank::new(&path, conditions.as_deref(), age.clone(), index, at);
        let rule = Rule {
            route: route.clone(),
            field: Arc::clone(&field),
            path,
            conditions,
            filters: body.filters.all.clone().into(),
            action: body.action.clone(),
            timeouts: Arc::clone(&body.timeouts),
            max_body: options.max_body,
            retry: body.retry.clone(),
            affinity: body.affinity.clone(),
            extras: options.extras(),
        };
        built.rules.push((rank, Arc::new(rule)));
    }
    built.bad += usize::from(!good);
}

fn read<'a>(
    rule: &'a HttpRouteRule,
    place: &str,
    uid: &str,
    age: &Age,
    backends: &mut Backends<'_, '_>,
    options: &Options,
    built: &mut Built,
) -> Result<Body<'a>, Wrong> {
    let list = rule.filters.as_deref().unwrap_or_default();
    let filters = filters::read(list, place, backends);
    note(&filters, built)?;
    let references = rule.backend_refs.as_deref().unwrap_or_default();
    let action = action(references, &filters, place, backends, built);
    let timeouts = timeouts(rule.timeouts.as_deref(), place, options)?;
    let retry = rule.retry.as_ref().map(|retry| self::retry(retry, place));
    let affinity = rule.session_persistence.as_deref();
    let affinity = affinity.map(|wanted| session::read(wanted, place, uid, age));
    Ok(Body {
        name: rule.name.as_deref(),
        action,
        filters,
        timeouts,
        retry: retry.transpose()?.map(Arc::new),
        affinity: affinity.transpose()?.map(Arc::new),
    })
}

/// Notes what is wrong with filters; those that cannot be done at all spoil the rule.
pub(super) fn note(filters: &Filters, built: &mut Built) -> Result<(), Wrong> {
    if let Some(wrong) = &filters.unresolved {
        built.unresolved.get_or_insert_with(|| wrong.clone());
    }
    match &filters.unsupported {
        Some(wrong) => Err(wrong.clone()),
        None => Ok(()),
    }
}

/// What answers: nobody, one backend, or several by weight.
pub(super) fn action(
    references: &[BackendRef],
    filters: &Filters,
    place: &str,
    backends: &mut Backends<'_, '_>,
    built: &mut Built,
) -> Action {
    let mut shares = Vec::new();
    for (index, reference) in references.iter().enumerate() {
        let field = format!("{place}.backendRefs[{index}]");
        let found = backends.find(&field, Reference::to_backend(reference), reference.port);
        let own = reference.filters.as_deref().unwrap_or_default();
        let own = filters::read(own, &field, backends);
        let spoilt = note(&own, built);
        let target = match (found, spoilt) {
            (Ok(backend), Ok(())) => Target::Backend(backend),
            (Err(wrong), _) => {
                built.unresolved.get_or_insert(wrong);
                Target::Invalid
            }
            (Ok(_), Err(wrong)) => {
                built.unsupported.get_or_insert(wrong);
                Target::Invalid
            }
        };
        shares.push(Share {
            weight: reference.weight(),
            target,
            filters: own.all.into(),
        });
    }
    let answers = |filter: &Filter| matches!(filter, Filter::Redirect(_));
    if filters.unresolved.is_some() && !filters.all.iter().any(answers) {
        let mirrors_only = filters.unresolved.is_some() && !references.is_empty();
        // A mirror that is not there spoils nothing (HTTPRequestMirrorFilter).
        if !mirrors_only {
            return Action::Invalid;
        }
    }
    if let [share] = &*shares
        && share.filters.is_empty()
        && share.weight > 0
    {
        return match &share.target {
            Target::Backend(backend) => Action::Forward(Arc::clone(backend)),
            Target::Invalid => Action::Invalid,
        };
    }
    if !shares.is_empty() && shares.iter().all(|share| share.weight == 0) {
        // Nobody gets anything but the sessions that he has.
        shares.push(Share {
            weight: 1,
            target: Target::Invalid,
            filters: [].into(),
        });
    }
    Split::new(shares).map_or(Action::Invalid, |split| Action::Split(Arc::new(split)))
}

fn read_match(one: &HttpRouteMatch, place: &str) -> Result<Matching, Wrong> {
    let path = match &one.path {
        None => PathMatch::Prefix("".into()),
        Some(path) => {
            let text = path.value();
            match path.type_() {
                PathMatchType::Exact => PathMatch::Exact(text.into()),
                PathMatchType::PathPrefix => PathMatch::Prefix(text.trim_end_matches('/').into()),
                PathMatchType::RegularExpression => {
                    let pattern = Pattern::beginning(text);
                    PathMatch::Pattern(pattern.map_err(|why| bad_pattern(place, "path", &why))?)
                }
                PathMatchType::Other(other) => return Err(unknown(place, "path.type", other)),
            }
        }
    };
    let headers = one.headers.iter().flatten().map(|header| {
        let name = header.name.to_ascii_lowercase();
        field(&name, header.type_(), &header.value, place, "headers")
    });
    let parameters = one.query_params.iter().flatten().map(|parameter| {
        let kind = parameter.type_();
        field(
            &parameter.name,
            kind,
            &parameter.value,
            place,
            "queryParams",
        )
    });
    Ok((
        path,
        Conditions {
            method: one.method.as_deref().map(Into::into),
            headers: once(headers.collect::<Result<Vec<_>, _>>()?),
            query: once(parameters.collect::<Result<Vec<_>, _>>()?),
        },
    ))
}

/// Of several entries of one name, the first counts (HTTPHeaderMatch, HTTPQueryParamMatch).
pub(super) fn once(fields: Vec<FieldMatch>) -> Box<[FieldMatch]> {
    let mut kept: Vec<FieldMatch> = Vec::with_capacity(fields.len());
    for field in fields {
        if !kept.iter().any(|known| known.name == field.name) {
            kept.push(field);
        }
    }
    kept.into()
}

pub(super) fn field(
    name: &str,
    kind: &MatchType,
    value: &str,
    place: &str,
    part: &str,
) -> Result<FieldMatch, Wrong> {
    let value = match kind {
        MatchType::Exact => ValueMatch::Exact(value.into()),
        MatchType::RegularExpression => {
            let pattern = Pattern::whole(value);
            ValueMatch::Pattern(pattern.map_err(|why| bad_pattern(place, part, &why))?)
        }
        MatchType::Other(other) => return Err(unknown(place, part, other)),
    };
    Ok(FieldMatch {
        name: name.into(),
        value,
    })
}

pub(super) fn unknown(place: &str, part: &str, what: &str) -> Wrong {
    Wrong::new(
        "UnsupportedValue",
        format!("{place}.{part}"),
        format!("the type {what} is not known"),
        "a type of the Gateway API",
    )
}

fn bad_pattern(place: &str, part: &str, why: &str) -> Wrong {
    Wrong::new(
        "UnsupportedValue",
        format!("{place}.{part}"),
        format!("the regular expression {why}"),
        "RE2's syntax, which has neither back references nor look-around",
    )
}

/// Time limits; those that a rule does not name are the program's.
fn timeouts(
    wanted: Option<&api::HttpRouteTimeouts>,
    place: &str,
    options: &Options,
) -> Result<Arc<Timeouts>, Wrong> {
    let Some(wanted) = wanted else {
        return Ok(Arc::clone(&options.timeouts));
    };
    let read = |text: Option<&str>, part| text.map(|text| duration(text, place, part)).transpose();
    let mut timeouts = *options.timeouts;
    if let Some(total) = read(wanted.request.as_deref(), "timeouts.request")? {
        timeouts.total = total;
    }
    if let Some(attempt) = read(wanted.backend_request.as_deref(), "timeouts.backendRequest")? {
        timeouts.attempt = attempt;
    }
    Ok(Arc::new(timeouts))
}

pub(super) fn duration(text: &str, place: &str, part: &str) -> Result<Duration, Wrong> {
    api::duration::parse(text).ok_or_else(|| {
        Wrong::new(
            "UnsupportedValue",
            format!("{place}.{part}"),
            format!("{text:?} is no duration"),
            "a number and a unit, as 1h30m, 10s or 250ms (GEP-2257)",
        )
    })
}

fn retry(wanted: &api::HttpRouteRetry, place: &str) -> Result<RouteRetry, Wrong> {
    let backoff = wanted.backoff.as_deref();
    let backoff = backoff.map(|text| duration(text, place, "retry.backoff"));
    Ok(RouteRetry {
        attempts: wanted.attempts.map_or(ATTEMPTS, |attempts| {
            let most = Retry::MOST_ATTEMPTS - 1;
            u8::try_from(attempts).map_or(most, |attempts| attempts.min(most))
        }),
        codes: wanted.codes.clone().unwrap_or_default(),
        backoff: backoff.transpose()?.unwrap_or(BACKOFF),
        on: RetryOn::ANY_REQUEST,
        within: Duration::ZERO,
    })
}
