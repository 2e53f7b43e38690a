//! What the flags of TLS mean.

use std::fmt::Write as _;

use proxy::TlsSettings;
use rustls::SupportedCipherSuite;

use crate::flags::tls::{Tls, TlsVersion};

/// TLS towards clients.
pub(super) fn settings(flags: &Tls) -> TlsSettings {
    let named = flags.tls_ciphers.as_ref().map(|named| named.0.as_slice());
    TlsSettings {
        tls12: flags.tls_min_version == TlsVersion::V12,
        tls13: true,
        cipher_suites: cipher_suites(named.unwrap_or_default()),
        groups: flags.tls_curves.0.clone(),
        http2: flags.tls_http2,
        strict_sni: flags.tls_strict_sni,
        known_hosts_only: false,
        on_demand: None,
    }
}

/// Those that were named, and all of the version that none was named of: as with OpenSSL's lists,
/// one for TLS 1.2 says nothing about 1.3.
fn cipher_suites(named: &[SupportedCipherSuite]) -> Vec<SupportedCipherSuite> {
    let of_13 = |suite: &SupportedCipherSuite| suite.tls13().is_some();
    let all = TlsSettings::default().cipher_suites;
    let others = all.iter().filter(|default| {
        let version = of_13(default);
        !named.iter().any(|named| of_13(named) == version)
    });
    named.iter().chain(others).copied().collect()
}

/// Strict-Transport-Security, if it is to be said (RFC 6797, section 6.1).
pub(super) fn hsts(flags: &Tls) -> Option<Box<str>> {
    if !flags.hsts {
        return None;
    }
    let mut value = String::new();
    // Text takes everything.
    let _ = write!(value, "max-age={}", flags.hsts_max_age.as_secs());
    if flags.hsts_include_subdomains {
        value.push_str("; includeSubDomains");
    }
    if flags.hsts_preload {
        value.push_str("; preload");
    }
    Some(value.into())
}
