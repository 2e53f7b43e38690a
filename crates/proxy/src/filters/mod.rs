//! Filters: what happens to a request between routing and forwarding, one file a filter.

mod https_redirect;

use model::{Filter, Selection};

use crate::forwarded::Client;

/// Runs the filters. The target of a redirect, if one of them wants it.
pub(crate) fn run(
    selection: &Selection<'_>,
    client: Client,
    host: &str,
    query: &[u8],
) -> Option<Vec<u8>> {
    selection
        .rule
        .filters
        .iter()
        .find_map(|filter| match filter {
            Filter::HttpsRedirect(redirect) => {
                https_redirect::target(*redirect, selection.path, client, host, query)
            }
        })
}
