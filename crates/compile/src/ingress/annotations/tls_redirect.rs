//! `ssl-redirect` and `force-ssl-redirect`: whether clients are sent to HTTPS.

use super::table::{Annotation, Group, Risk};
use super::values::boolean;

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "To HTTPS",
    annotations: &[
        Annotation::works("ssl-redirect", Risk::Low, |settings, value| {
            boolean(value).map(|on| settings.tls_redirect.when_tls = Some(on))
        })
        .default("`--ssl-redirect`: true")
        .test("https_redirect"),
        Annotation::works("force-ssl-redirect", Risk::Medium, |settings, value| {
            boolean(value).map(|on| settings.tls_redirect.always = on)
        })
        .default("false")
        .test("https_redirect"),
    ],
};

/// When clients that came without TLS are sent to HTTPS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TlsRedirect {
    /// Where the host has TLS; none is as the command line says.
    pub(crate) when_tls: Option<bool>,
    /// Whether it has TLS or not, for TLS that ends in front of us.
    pub(crate) always: bool,
}

impl TlsRedirect {
    /// Whether clients are redirected, on a host with or without TLS.
    pub(crate) fn applies(self, host_has_tls: bool, default: bool) -> bool {
        self.always || (host_has_tls && self.when_tls.unwrap_or(default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn force_needs_no_tls_and_the_annotation_goes_before_the_default() {
        let redirect = |when_tls, always| TlsRedirect { when_tls, always };
        assert!(redirect(None, false).applies(true, true));
        assert!(!redirect(None, false).applies(true, false));
        assert!(!redirect(None, false).applies(false, true));
        assert!(redirect(Some(true), false).applies(true, false));
        assert!(!redirect(Some(false), false).applies(true, true));
        assert!(redirect(Some(false), true).applies(false, false));
    }
}
