//! The filters of an Ingress's rules, in the order in which ingress-nginx does what they do.

use model::{Filter, HttpsRedirect};

use super::manner::Defaults;
use super::resolve::Resolved;
use crate::options::Options;

/// Where a rule stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Whether its host has TLS.
    pub(crate) has_tls: bool,
    /// What holds where the Ingress says nothing.
    pub(crate) defaults: &'a Defaults,
    pub(crate) options: &'a Options,
}

/// The filters of a rule.
pub(crate) fn filters(ingress: &Resolved, place: Place<'_>) -> Vec<Filter> {
    let mut filters = Vec::new();
    // Where ingress-nginx closes the paths, it says no more than that they are.
    let is_open = !ingress.is_denied();
    // A browser's question is answered before anything else is, with TLS or without.
    filters.extend(ingress.answers.cors().filter(|_| is_open));
    to_https(ingress, place, &mut filters);
    filters.extend(ingress.answers.filters().filter(|_| is_open));
    filters
}

/// Nothing else is said to who is not to be here.
fn to_https(ingress: &Resolved, place: Place<'_>, filters: &mut Vec<Filter>) {
    let Place {
        has_tls,
        defaults,
        options,
    } = place;
    let redirect = ingress.parsed.settings.tls_redirect;
    if redirect.applies(has_tls, defaults.ssl_redirect) {
        filters.push(Filter::HttpsRedirect(HttpsRedirect {
            status: 308,
            port: options.public_https_port,
        }));
    }
}
