//! Sends clients that came without TLS to HTTPS.

use model::HttpsRedirect;

use crate::forwarded::Client;
use crate::respond;

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
    let mut location = b"https://".to_vec();
    if host.contains(':') {
        location.extend([b"[", host.as_bytes(), b"]"].concat());
    } else {
        location.extend_from_slice(host.as_bytes());
    }
    if redirect.port != 443 {
        location.push(b':');
        location.extend_from_slice(respond::decimal(&mut [0; 20], u64::from(redirect.port)));
    }
    location.extend_from_slice(path);
    location.extend_from_slice(query);
    Some(location)
}
