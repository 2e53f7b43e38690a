//! GRPCRoutes: the same rules as HTTPRoutes have, of which a method is the path.

use std::sync::Arc;

use model::{Conditions, PathMatch, Pattern};
use objects::kinds::gateway::{
    GrpcMethodMatch, GrpcRoute, GrpcRouteMatch, GrpcRouteRule, MatchType,
};

use super::backend::Backends;
use super::filters;
use super::http::{self, Body, Built, Matching};
use super::rank::Age;
use super::session;
use crate::options::Options;
use crate::status::Wrong;

/// The rules of a GRPCRoute.
pub(super) fn build(
    route: &GrpcRoute,
    age: &Age,
    backends: &mut Backends<'_, '_>,
    options: &Options,
) -> Built {
    let mut built = Built::default();
    let rules = route.spec.rules.as_deref().unwrap_or_default();
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
        http::add(body, matches, index, &place, age, options, &mut built);
    }
    built
}

fn read<'a>(
    rule: &'a GrpcRouteRule,
    place: &str,
    uid: &str,
    age: &Age,
    backends: &mut Backends<'_, '_>,
    options: &Options,
    built: &mut Built,
) -> Result<Body<'a>, Wrong> {
    let list = rule.filters.as_deref().unwrap_or_default();
    let filters = filters::read(list, place, backends);
    http::note(&filters, built)?;
    let references = rule.backend_refs.as_deref().unwrap_or_default();
    let action = http::action(references, &filters, place, backends, built);
    let affinity = rule.session_persistence.as_deref();
    let affinity = affinity.map(|wanted| session::read(wanted, place, uid, age));
    Ok(Body {
        name: rule.name.as_deref(),
        action,
        filters,
        timeouts: Arc::clone(&options.timeouts),
        retry: None,
        affinity: affinity.transpose()?.map(Arc::new),
    })
}

fn read_match(one: &GrpcRouteMatch, place: &str) -> Result<Matching, Wrong> {
    let path = match &one.method {
        Some(method) => path(method, place)?,
        None => PathMatch::Prefix("".into()),
    };
    let headers = one.headers.iter().flatten().map(|header| {
        let name = header.name.to_ascii_lowercase();
        let kind = header.type_();
        http::field(&name, kind, &header.value, place, "headers")
    });
    Ok((
        path,
        Conditions {
            headers: http::once(headers.collect::<Result<Vec<_>, _>>()?),
            ..Conditions::default()
        },
    ))
}

/// A method is `/service/method` on the wire (gRPC over HTTP/2).
fn path(method: &GrpcMethodMatch, place: &str) -> Result<PathMatch, Wrong> {
    let given = |text: &Option<Box<str>>| text.clone().filter(|text| !text.is_empty());
    let (service, name) = (given(&method.service), given(&method.method));
    let pattern = |text: String| {
        Pattern::whole(&text)
            .map(PathMatch::Pattern)
            .map_err(|why| {
                Wrong::new(
                    "UnsupportedValue",
                    format!("{place}.method"),
                    format!("the regular expression {why}"),
                    "RE2's syntax, which has neither back references nor look-around",
                )
            })
    };
    Ok(match method.type_() {
        MatchType::Exact => match (service, name) {
            (Some(service), Some(name)) => PathMatch::Exact(format!("/{service}/{name}").into()),
            (Some(service), None) => PathMatch::Prefix(format!("/{service}").into()),
            (None, Some(name)) => pattern(format!("/[^/]+/{}", escaped(&name)))?,
            (None, None) => PathMatch::Prefix("".into()),
        },
        MatchType::RegularExpression => {
            let any = || "[^/]+".into();
            let service = service.unwrap_or_else(any);
            let name = name.unwrap_or_else(any);
            pattern(format!("/(?:{service})/(?:{name})"))?
        }
        MatchType::Other(other) => return Err(http::unknown(place, "method.type", other)),
    })
}

/// A name of letters, digits, dots and underscores as a pattern.
fn escaped(name: &str) -> String {
    name.replace('.', "\\.")
}
