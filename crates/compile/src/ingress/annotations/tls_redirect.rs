//! `ssl-redirect` and `force-ssl-redirect`: whether clients are sent to HTTPS.

use super::values::{BadValue, boolean};

/// The names that this group reads.
pub(super) const NAMES: &[&str] = &["ssl-redirect", "force-ssl-redirect"];

/// When clients that came without TLS are sent to HTTPS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TlsRedirect {
    /// Where the host has TLS; none is as the command line says.
    pub(crate) when_tls: Option<bool>,
    /// Whether it has TLS or not, for TLS that ends in front of us.
    pub(crate) always: bool,
}

impl TlsRedirect {
    /// Reads one annotation, if it is of this group.
    pub(super) fn read(&mut self, name: &str, value: &str) -> Option<Result<(), BadValue>> {
        let read = boolean(value);
        match name {
            "ssl-redirect" => Some(read.map(|on| self.when_tls = Some(on))),
            "force-ssl-redirect" => Some(read.map(|on| self.always = on)),
            _ => None,
        }
    }

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
