//! The filters of an Ingress's rules, in the order in which ingress-nginx does what they do.

use std::sync::Arc;

use model::{Filter, HttpsRedirect, PathMatch};

use super::manner::Defaults;
use super::resolve::Resolved;
use crate::options::Options;

/// Where a rule stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The rule's path.
    pub(crate) path: &'a PathMatch,
    /// Whether its host has TLS.
    pub(crate) has_tls: bool,
    /// What holds where the Ingress says nothing.
    pub(crate) defaults: &'a Defaults,
    pub(crate) options: &'a Options,
}

/// The filters of a rule.
pub(crate) fn filters(ingress: &Resolved, place: Place<'_>) -> Vec<Filter> {
    let mut filters = Vec::new();
    // A browser's question is answered before anything else is, with TLS or without.
    filters.extend(ingress.answers.cors());
    to_https(ingress, place, &mut filters);
    ingress
        .guard
        .filters(place.path, place.defaults, &mut filters);
    filters.extend(ingress.answers.filters());
    let Defaults {
        request,
        response,
        compression,
        ..
    } = place.defaults;
    filters.extend(
        compression
            .iter()
            .map(|how| Filter::Compress(Arc::clone(how))),
    );
    filters.extend(
        request
            .iter()
            .map(|edit| Filter::RequestHeaders(edit.as_ref().clone().into())),
    );
    filters.extend(
        response
            .iter()
            .map(|edit| Filter::ResponseHeaders(edit.as_ref().clone().into())),
    );
    filters
}

/// Nothing else is said to who is not to be here.
fn to_https(ingress: &Resolved, place: Place<'_>, filters: &mut Vec<Filter>) {
    let Place {
        has_tls,
        defaults,
        options,
        ..
    } = place;
    let redirect = ingress.parsed.settings.tls_redirect;
    if defaults.force_ssl_redirect || redirect.applies(has_tls, defaults.ssl_redirect) {
        filters.push(Filter::HttpsRedirect(HttpsRedirect {
            status: defaults.redirect_status,
            port: options.public_https_port,
        }));
    }
}
