//! The filters of an Ingress's rules, in the order in which ingress-nginx does what they do.

use std::sync::Arc;

use model::filter::send::Rest;
use model::filter::{RedirectTarget, Send, Substitute};
use model::{Filter, HttpsRedirect, Pattern};

use super::annotations::Standing;
use super::class::Profile;
use super::manner::Defaults;
use super::resolve::Resolved;
use crate::options::Options;

/// Where a rule stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Whether its host has TLS.
    pub(crate) has_tls: bool,
    /// What it answers.
    pub(crate) part: Part<'a>,
    /// What holds where the Ingress says nothing.
    pub(crate) defaults: &'a Defaults,
    pub(crate) options: &'a Options,
}

/// What a rule answers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part<'a> {
    /// A path.
    Path {
        /// As it was written.
        text: &'a str,
        /// What is rewritten in paths, if anything is.
        rewritten: Option<&'a Pattern>,
    },
    /// What nobody claims at all.
    Rest,
}

impl Part<'_> {
    /// What no path of a host claims.
    pub(crate) const ROOT: Self = Self::Path {
        text: "/",
        rewritten: None,
    };
}

/// The filters of a rule.
pub(crate) fn filters(ingress: &Resolved, place: Place<'_>) -> Vec<Filter> {
    let mut filters = Vec::new();
    // A browser's question is answered before anything else is, with TLS or without.
    filters.extend(ingress.answers.cors());
    if !elsewhere(ingress, place, &mut filters) {
        to_https(ingress, place, &mut filters);
    }
    rewrite(ingress, place, &mut filters);
    let path = match place.part {
        Part::Path { text, .. } => text,
        Part::Rest => "/",
    };
    ingress.guard.filters(path, place.defaults, &mut filters);
    upstream_host(ingress, &mut filters);
    filters.extend(ingress.answers.filters());
    filters.extend(
        place
            .defaults
            .compression
            .iter()
            .map(|how| Filter::Compress(Arc::clone(how))),
    );
    filters.extend(fields(place.defaults));
    filters
}

/// The filters of what no Ingress has a say in: those of the ConfigMap.
pub(crate) fn of_nobody(defaults: &Defaults) -> Vec<Filter> {
    let snippet = defaults.answers.snippet().into_iter();
    snippet.chain(fields(defaults)).collect()
}

/// What all requests and all answers say.
fn fields(defaults: &Defaults) -> impl Iterator<Item = Filter> {
    let request = defaults.request.iter();
    let request = request.map(|edit| Filter::RequestHeaders(edit.as_ref().clone().into()));
    let response = defaults.response.iter();
    let response = response.map(|edit| Filter::ResponseHeaders(edit.as_ref().clone().into()));
    request.chain(response)
}

/// Nothing else is said to who is not to be here.
fn to_https(ingress: &Resolved, place: Place<'_>, filters: &mut Vec<Filter>) {
    let Place {
        has_tls,
        defaults,
        options,
        ..
    } = place;
    let nginx = ingress.parsed.profile == Profile::IngressNginx;
    // Of a location that is denied, and of what nobody claims, nothing else is said there.
    if nginx
        && (ingress.parsed.settings.standing == Standing::Denied
            || matches!(place.part, Part::Rest))
    {
        return;
    }
    if let Part::Path { text, .. } = place.part
        && defaults.stays_http(text)
    {
        return;
    }
    let redirect = ingress.parsed.settings.tls_redirect;
    let defaults = &defaults.redirects;
    if !redirect.applies(has_tls, defaults) {
        return;
    }
    let names_port = redirect.names_port.unwrap_or(defaults.names_port);
    let target = match nginx {
        false => RedirectTarget::Normalised,
        true => RedirectTarget::Sent {
            keeps_slash: redirect.keeps_slash.unwrap_or(defaults.keeps_slash),
            names_port,
        },
    };
    let port = match nginx {
        true if names_port => options.https_port,
        // Clients see the port that they ask for by `https` alone, unless somebody says otherwise.
        true if options.public_https_port == options.https_port => 443,
        _ => options.public_https_port,
    };
    filters.push(Filter::HttpsRedirect(HttpsRedirect {
        status: defaults.code,
        port,
        target,
    }));
}

/// Where all requests are sent. It goes before the way to HTTPS, as nginx's `return` does. Whether
/// there is such a place.
fn elsewhere(ingress: &Resolved, place: Place<'_>, filters: &mut Vec<Filter>) -> bool {
    let settings = &ingress.parsed.settings;
    if settings.standing == Standing::Denied || matches!(place.part, Part::Rest) {
        return false;
    }
    let redirect = settings.redirect();
    let Some((to, status)) = redirect.and_then(|redirect| redirect.target()) else {
        let rewrite = settings.rewrite();
        let target = rewrite.and_then(|rewrite| rewrite.target.as_ref());
        let rewrites = matches!(
            place.part,
            Part::Path {
                rewritten: Some(_),
                ..
            }
        );
        return rewrites && target.is_some_and(|target| target.redirects());
    };
    let to = to.clone();
    filters.push(Filter::Send(Box::new(send(ingress, place, to, status))));
    true
}

/// Sends clients to a text as an Ingress's redirects do.
pub(crate) fn send(
    ingress: &Resolved,
    place: Place<'_>,
    to: model::text::Text,
    status: u16,
) -> Send {
    let settings = &ingress.parsed.settings;
    let defaults = &place.defaults.redirects;
    let redirect = settings.redirect();
    let relative = defaults.relative || redirect.is_some_and(|redirect| redirect.is_relative());
    let names_port = settings.tls_redirect.names_port;
    Send {
        status,
        to,
        rest: Rest::Nothing,
        absolute: !relative,
        names_port: names_port.unwrap_or(defaults.names_port),
    }
}

/// Another path for the backend.
fn rewrite(ingress: &Resolved, place: Place<'_>, filters: &mut Vec<Filter>) {
    let settings = &ingress.parsed.settings;
    let rewrite = settings.rewrite();
    let target = rewrite.and_then(|rewrite| rewrite.target.as_ref());
    let (
        Some(target),
        Part::Path {
            rewritten: Some(pattern),
            ..
        },
    ) = (target, place.part)
    else {
        return;
    };
    if settings.standing == Standing::Denied {
        return;
    }
    let host = settings.upstream_host();
    filters.push(Filter::Substitute(Box::new(Substitute {
        pattern: pattern.clone(),
        to: target.text.clone(),
        redirects: target.redirects(),
        prefix: host.and_then(|host| host.prefix.clone()),
    })));
}

fn upstream_host(ingress: &Resolved, filters: &mut Vec<Filter>) {
    let host = ingress.parsed.settings.upstream_host();
    if let Some(host) = host.and_then(|host| host.host.as_ref()) {
        filters.push(Filter::UpstreamHost(Box::new(host.clone())));
    }
}
