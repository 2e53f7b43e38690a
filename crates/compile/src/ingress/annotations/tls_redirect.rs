//! `ssl-redirect` and `force-ssl-redirect`: whether clients are sent to HTTPS.

use super::table::{Annotation, Group, Risk};
use super::values::boolean_or_default;
use crate::ingress::manner::Redirects;

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "To HTTPS",
    annotations: &[
        Annotation::works("ssl-redirect", Risk::Low, |settings, value| {
            boolean_or_default(value).map(|on| settings.tls_redirect.when_tls = Some(on))
        })
        .default("`--ssl-redirect`: true")
        .test("https_redirect"),
        Annotation::works("force-ssl-redirect", Risk::Medium, |settings, value| {
            boolean_or_default(value).map(|on| settings.tls_redirect.always = Some(on))
        })
        .default("false")
        .test("https_redirect"),
    ],
};

/// When clients that came without TLS are sent to HTTPS, and to what URL. None is the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TlsRedirect {
    /// Where the host has TLS.
    pub(crate) when_tls: Option<bool>,
    /// Whether it has TLS or not, for TLS that ends in front of us.
    pub(crate) always: Option<bool>,
    /// Whether a slash at the end of the target stays (`preserve-trailing-slash`).
    pub(crate) keeps_slash: Option<bool>,
    /// Whether URLs have ports in them (`use-port-in-redirects`).
    pub(crate) names_port: Option<bool>,
}

impl TlsRedirect {
    /// Whether clients are redirected, on a host with or without TLS.
    pub(crate) fn applies(self, host_has_tls: bool, defaults: &Redirects) -> bool {
        self.always.unwrap_or(defaults.always)
            || (host_has_tls && self.when_tls.unwrap_or(defaults.when_tls))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn force_needs_no_tls_and_the_annotation_goes_before_the_default() {
        let applies = |when_tls, always, host_has_tls, default| {
            let redirect = TlsRedirect {
                when_tls,
                always,
                ..TlsRedirect::default()
            };
            let defaults = Redirects {
                when_tls: default,
                ..Redirects::default()
            };
            redirect.applies(host_has_tls, &defaults)
        };
        assert!(applies(None, None, true, true));
        assert!(!applies(None, None, true, false));
        assert!(!applies(None, None, false, true));
        assert!(applies(Some(true), None, true, false));
        assert!(!applies(Some(false), None, true, true));
        assert!(applies(Some(false), Some(true), false, false));
    }
}
