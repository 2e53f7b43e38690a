//! Sends clients that came without TLS to HTTPS.

use model::HttpsRedirect;
use model::filter::RedirectTarget;

use super::location;
use crate::forwarded::Client;
use crate::headers::RequestHead;
use crate::respond::decimal;

/// Where the client is sent, unless it came with TLS. `path` is the one that is routed.
pub(super) fn target(
    redirect: HttpsRedirect,
    request: &RequestHead,
    path: &[u8],
    client: Client,
    host: &str,
) -> Option<Vec<u8>> {
    // A CA asks here before there is a certificate (RFC 8555, section 8.3).
    if client.secure || host.is_empty() || path.starts_with(b"/.well-known/acme-challenge/") {
        return None;
    }
    // The host that a trusted proxy has told.
    let told = match redirect.target {
        RedirectTarget::Sent { .. } => request.told_host(),
        RedirectTarget::Normalised => None,
    };
    let host = told.unwrap_or(host);
    let url = |path, query| location::url("https", host, Some(redirect.port), path, query);
    let RedirectTarget::Sent {
        keeps_slash,
        names_port,
    } = redirect.target
    else {
        return Some(url(path, request.query()));
    };
    let mut url = match redirect.port {
        443 if names_port => {
            let mut url = url(b"", b"");
            url.push(b':');
            url.extend_from_slice(decimal(&mut [0; 20], 443));
            url.extend_from_slice(request.path());
            url.extend_from_slice(request.query());
            url
        }
        _ => url(request.path(), request.query()),
    };
    if !keeps_slash && url.ends_with(b"/") {
        url.pop();
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Version;

    #[test]
    fn ingress_nginx_repeats_the_target_without_its_last_slash() {
        let mut request = RequestHead::default();
        request.start(Version::Http11, b"GET", b"/%61/?q=/");
        let client = Client {
            address: [192, 0, 2, 1].into(),
            secure: false,
        };
        let target = |port, target| {
            let redirect = HttpsRedirect {
                status: 308,
                port,
                target,
            };
            let url = super::target(redirect, &request, b"/a/", client, "x.test");
            String::from_utf8(url.expect("a URL")).expect("text")
        };
        let sent = |keeps_slash, names_port| RedirectTarget::Sent {
            keeps_slash,
            names_port,
        };
        for (port, how, expected) in [
            (443, RedirectTarget::Normalised, "https://x.test/a/?q=/"),
            (443, sent(false, false), "https://x.test/%61/?q="),
            (443, sent(true, false), "https://x.test/%61/?q=/"),
            (443, sent(true, true), "https://x.test:443/%61/?q=/"),
            (8443, sent(false, false), "https://x.test:8443/%61/?q="),
        ] {
            assert_eq!(target(port, how), expected);
        }
    }
}
