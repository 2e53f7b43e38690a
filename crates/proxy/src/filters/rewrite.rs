//! Asks backends for another host or path (Gateway API: HTTPURLRewriteFilter).

use model::PathMatch;
use model::filter::Rewrite;

use super::location::edited;
use crate::headers::RequestHead;

/// Changes what goes upstream. The client's host stays in X-Forwarded-Host.
pub(super) fn apply(
    rewrite: &Rewrite,
    request: &mut RequestHead,
    path: &mut Vec<u8>,
    matched: &PathMatch,
) {
    if let Some(host) = &rewrite.host {
        request.set_upstream_authority(host.as_bytes());
    }
    if let Some(edit) = &rewrite.path {
        *path = edited(edit, path, matched);
    }
}
