//! Sends clients that came without TLS to HTTPS.

use model::HttpsRedirect;

use super::location;
use crate::forwarded::Client;

/// Where the client is sent, unless it came with TLS.
pub(super) fn target(
    redirect: HttpsRedirect,
    path: &[u8],
    client: Client,
    host: &str,
    query: &[u8],
) -> Option<Vec<u8>> {
    // A CA asks here before there is a certificate (RFC 8555, section 8.3).
    if client.secure || host.is_empty() || path.starts_with(b"/.well-known/acme-challenge/") {
        return None;
    }
    Some(location::url(
        "https",
        host,
        Some(redirect.port),
        path,
        query,
    ))
}
