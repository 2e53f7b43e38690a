//! Sends clients elsewhere (Gateway API: HTTPRequestRedirectFilter).

use std::borrow::Cow;

use model::filter::Redirect;

use super::Context;
use super::location::{edited, url, well_known};

/// Where the client is sent.
pub(super) fn target(
    redirect: &Redirect,
    path: &[u8],
    query: &[u8],
    context: Context<'_>,
) -> Vec<u8> {
    let own = if context.client.secure {
        "https"
    } else {
        "http"
    };
    let scheme = redirect.scheme.as_deref().unwrap_or(own);
    let port = match (redirect.port, &redirect.scheme) {
        (Some(port), _) => Some(port),
        (None, Some(scheme)) => well_known(scheme).or(Some(context.public_port)),
        // It came by another port than ours, to a proxy before us.
        (None, None) if context.client.secure != context.tls => None,
        (None, None) => Some(context.public_port),
    };
    let host = redirect.host.as_deref().unwrap_or(context.host);
    let path = match &redirect.path {
        Some(edit) => Cow::Owned(edited(edit, path, context.matched)),
        None => Cow::Borrowed(path),
    };
    url(scheme, host, port, &path, query)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use model::filter::PathEdit;
    use model::{Action, Entrance, PathMatch, Rule, Timeouts};

    use super::*;
    use crate::client::Connection;
    use crate::forwarded::Client;

    fn rule(path: PathMatch) -> Rule {
        let never = Duration::ZERO;
        Rule {
            route: "".into(),
            field: "".into(),
            path,
            conditions: None,
            filters: [].into(),
            action: Action::NotFound,
            timeouts: Arc::new(Timeouts {
                connect: never,
                send: never,
                read: never,
                total: never,
                attempt: never,
            }),
            max_body: 0,
            retry: None,
            affinity: None,
            extras: None,
        }
    }

    fn connection(port: u16) -> Connection {
        let end = ([192, 0, 2, 1], port).into();
        Connection {
            entrance: Entrance::tcp(port),
            public_port: port,
            peer: end,
            local: end,
            peer_text: "192.0.2.1".into(),
            trusted: false,
            announced_https: false,
            geo: None,
            tls: None,
        }
    }

    fn target_of(redirect: &Redirect, port: u16, tls: bool, secure: bool) -> String {
        let rule = rule(PathMatch::Prefix("/old".into()));
        let context = Context {
            client: Client {
                address: [192, 0, 2, 1].into(),
                secure,
            },
            tls,
            public_port: port,
            host: "example.org",
            matched: &rule.path,
            connection: &connection(port),
            rule: &rule,
        };
        String::from_utf8(target(redirect, b"/old/a", b"?q", context)).expect("text")
    }

    fn redirect(scheme: Option<&str>, port: Option<u16>) -> Redirect {
        Redirect {
            scheme: scheme.map(Box::from),
            host: None,
            path: None,
            port,
            status: 302,
        }
    }

    #[test]
    fn the_port_is_the_one_given_else_the_schemes_else_the_listeners() {
        for (scheme, port, listener, tls, expected) in [
            (None, None, 80, false, "http://example.org/old/a?q"),
            (None, None, 8080, false, "http://example.org:8080/old/a?q"),
            (None, Some(80), 8080, false, "http://example.org/old/a?q"),
            (
                None,
                Some(8080),
                80,
                false,
                "http://example.org:8080/old/a?q",
            ),
            (
                Some("https"),
                None,
                8080,
                false,
                "https://example.org/old/a?q",
            ),
            (
                Some("https"),
                Some(8443),
                80,
                false,
                "https://example.org:8443/old/a?q",
            ),
            (None, None, 443, true, "https://example.org/old/a?q"),
            (None, None, 8443, true, "https://example.org:8443/old/a?q"),
            (Some("http"), None, 443, true, "http://example.org/old/a?q"),
            (
                Some("http"),
                Some(443),
                443,
                true,
                "http://example.org:443/old/a?q",
            ),
        ] {
            let found = target_of(&redirect(scheme, port), listener, tls, tls);
            assert_eq!(found, expected, "{scheme:?} {port:?} {listener}");
        }
        // Behind a proxy that ends TLS our port is nobody's business.
        let found = target_of(&redirect(None, None), 8080, false, true);
        assert_eq!(found, "https://example.org/old/a?q");
    }

    #[test]
    fn host_and_path_are_replaced_and_the_query_stays() {
        let to = |path| Redirect {
            host: Some("new.example".into()),
            path: Some(path),
            ..redirect(None, None)
        };
        let found = target_of(&to(PathEdit::Prefix("/new".into())), 80, false, false);
        assert_eq!(found, "http://new.example/new/a?q");
        let found = target_of(&to(PathEdit::Full("/all".into())), 80, false, false);
        assert_eq!(found, "http://new.example/all?q");
    }
}
