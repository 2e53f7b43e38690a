//! Hosts that Ingresses mean by annotations: other names of a host (`server-alias`), and the one with
//! or without `www.` that leads there (`from-to-www-redirect`).

use std::sync::Arc;

use hashbrown::HashMap;

use super::{Claim, Host};
use crate::ingress::annotations::aliases::SERVER_ALIAS;
use crate::ingress::parse::counterpart;
use crate::ingress::resolve::Resolved;
use crate::report::{Problems, annotation_field};

/// What a host is to another one.
pub(super) struct Derived<'a> {
    /// The other one.
    pub(super) of: Arc<str>,
    pub(super) claims: &'a [Claim],
    pub(super) canaries: &'a [Claim],
    /// The Ingress that has all clients be sent there; none if it is answered as the other one is.
    pub(super) redirects: Option<&'a Resolved>,
}

type Hosts = HashMap<Arc<str>, Host>;

/// What `name` is to another host, if Ingresses mean it by annotations and none has rules for it.
pub(super) fn of<'a>(name: &str, host: &'a Host, all: &'a Hosts) -> Option<Derived<'a>> {
    // Nearly no host is.
    if host.derived().is_empty() || is_served(name, host) {
        return None;
    }
    let hosts = host
        .derived()
        .iter()
        .flat_map(|ingress| &ingress.parsed.hosts);
    let mut hosts: Vec<&str> = hosts.map(|host| &*host.host).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let known = |of: &str| all.get_key_value(of);
    let alias = || {
        hosts.iter().find_map(|of| {
            let (of, host) = known(of)?;
            let aliases = aliases(of, &host.claims)?;
            let is_it = aliases.parsed.settings.aliases()?;
            is_it
                .names
                .iter()
                .any(|alias| **alias == *name)
                .then_some((of, host, None))
        })
    };
    // What leads elsewhere goes before what is another name.
    let redirect = || {
        let (of, host) = known(&counterpart(name)?)?;
        let ingress = from_to_www(of, &host.claims)?;
        Some((of, host, Some(ingress)))
    };
    let (of, host, redirects) = redirect().or_else(alias)?;
    Some(Derived {
        of: Arc::clone(of),
        claims: &host.claims,
        canaries: host.canaries(),
        redirects,
    })
}

/// Says which other names of a host it does not have. `problems` has one entry for each claim.
pub(super) fn explain(name: &Arc<str>, all: &Hosts, prefix: &str, problems: &mut [Problems]) {
    let Some(own) = all.get(name) else {
        return;
    };
    let first = aliases(name, &own.claims);
    for (claim, problems) in own.claims.iter().zip(problems) {
        let parsed = &claim.ingress.parsed;
        if parsed.host_index(name).is_none() {
            continue;
        }
        if let Some(aliases) = parsed.settings.aliases() {
            let field = annotation_field(&format!("{prefix}/{SERVER_ALIAS}"));
            let is_first = first.is_some_and(|first| std::ptr::eq(first, &*claim.ingress));
            if !is_first && !aliases.names.is_empty() {
                let message = format!("{name} has other names already, as an older Ingress says");
                problems.warning(field.clone(), message, "all of them on one Ingress");
            }
            for alias in aliases.names.iter().filter(|_| is_first) {
                let host = all.get(&**alias);
                if let Some(host) = host.filter(|host| is_served(alias, host)) {
                    let by = crate::ingress::key(&host.claims[0].ingress.parsed.source);
                    let message = format!("{alias} is a host of its own, of {by}");
                    problems.warning(field.clone(), message, "a name that no rule has");
                } else if let Some(of) = host.and_then(|host| of(alias, host, all))
                    && of.of != *name
                {
                    let message = format!("{alias} is another name of {} already", of.of);
                    problems.warning(field.clone(), message, "each name for one host");
                }
            }
        }
        let redirect = parsed.settings.redirect();
        if redirect.is_some_and(|redirect| redirect.leads_from_www()) {
            let field = annotation_field(&format!("{prefix}/from-to-www-redirect"));
            match counterpart(name) {
                None => problems.warning(
                    field,
                    "has no effect on wildcards and rules without a host",
                    "a host name",
                ),
                Some(other) if all.get(&*other).is_some_and(|host| is_served(&other, host)) => {
                    let message = format!("{other} has rules of its own and does not lead here");
                    problems.warning(field, message, "");
                }
                Some(_) => {}
            }
        }
    }
}

/// The Ingress whose aliases a host has: the first that has any.
fn aliases<'a>(host: &str, claims: &'a [Claim]) -> Option<&'a Resolved> {
    let mut ingresses = claims.iter().map(|claim| &*claim.ingress);
    ingresses.find(|ingress| {
        let aliases = ingress.parsed.settings.aliases();
        ingress.parsed.host_index(host).is_some()
            && aliases.is_some_and(|aliases| !aliases.names.is_empty())
    })
}

fn from_to_www<'a>(host: &str, claims: &'a [Claim]) -> Option<&'a Resolved> {
    let mut ingresses = claims.iter().map(|claim| &*claim.ingress);
    ingresses.find(|ingress| {
        let redirect = ingress.parsed.settings.redirect();
        ingress.parsed.host_index(host).is_some()
            && redirect.is_some_and(|redirect| redirect.leads_from_www())
    })
}

/// Whether an Ingress has requests for a host in its own right.
fn is_served(name: &str, host: &Host) -> bool {
    let mut claims = host.claims.iter();
    claims.any(|claim| claim.ingress.claims_requests(name))
}
