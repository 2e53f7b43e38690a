//! Flags of TLS towards clients.

use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use model::suite::{iana, openssl};
use rustls::SupportedCipherSuite;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, kx_group};

use super::values;

/// Flags of TLS towards clients.
#[derive(Debug, Clone, Args)]
pub(crate) struct Tls {
    /// The oldest version of TLS that clients may speak.
    #[arg(long, env = "NARTHEX_TLS_MIN_VERSION", value_name = "VERSION")]
    #[arg(default_value = "1.2", help_heading = "Clients: TLS")]
    pub(crate) tls_min_version: TlsVersion,

    /// The cipher suites, the preferred one first, by their IANA or OpenSSL names, separated by
    /// commas or colons. Of a version of TLS that none is named of, all stay.
    /// [default: all; AES-128-GCM first]
    #[arg(long, env = "NARTHEX_TLS_CIPHERS", value_name = "SUITE,…")]
    #[arg(value_parser = cipher_suites, help_heading = "Clients: TLS")]
    pub(crate) tls_ciphers: Option<CipherSuites>,

    /// The groups of key exchange (curves), separated by commas or colons. Of those, the client's
    /// order decides.
    #[arg(long, env = "NARTHEX_TLS_CURVES", value_name = "GROUP,…")]
    #[arg(default_value = "X25519MLKEM768,X25519,P-256,P-384")]
    #[arg(value_parser = groups, help_heading = "Clients: TLS")]
    pub(crate) tls_curves: Groups,

    /// Offer HTTP/2 to clients that come with TLS.
    #[arg(long, env = "NARTHEX_TLS_HTTP2", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = true, action = ArgAction::Set, help_heading = "Clients: TLS")]
    pub(crate) tls_http2: bool,

    /// Refuse handshakes without a server name, or with one that no certificate is for, at the
    /// port of Ingresses, in place of showing the default certificate.
    #[arg(long, env = "NARTHEX_TLS_STRICT_SNI", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, help_heading = "Clients: TLS")]
    pub(crate) tls_strict_sni: bool,

    /// Let OCSP responders, which certificates name, be at loopback, link-local and metadata
    /// addresses.
    #[arg(long, env = "NARTHEX_OCSP_ALLOW_LOCAL", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, help_heading = "Clients: TLS")]
    pub(crate) ocsp_allow_local: bool,

    /// Tell browsers, in every answer over HTTPS, to come with HTTPS only (HSTS). They remember it
    /// for --hsts-max-age, and it cannot be taken back sooner.
    #[arg(long, env = "NARTHEX_HSTS", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, help_heading = "Clients: TLS")]
    pub(crate) hsts: bool,

    /// For how long browsers remember; 0 has them forget.
    #[arg(long, env = "NARTHEX_HSTS_MAX_AGE", value_name = "DURATION")]
    #[arg(default_value = "31536000", value_parser = values::duration)]
    #[arg(help_heading = "Clients: TLS")]
    pub(crate) hsts_max_age: Duration,

    /// The same for all names below that of the host.
    #[arg(long, env = "NARTHEX_HSTS_INCLUDE_SUBDOMAINS", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = true, action = ArgAction::Set, help_heading = "Clients: TLS")]
    pub(crate) hsts_include_subdomains: bool,

    /// Agree to be put on the lists that browsers come with.
    #[arg(long, env = "NARTHEX_HSTS_PRELOAD", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, help_heading = "Clients: TLS")]
    pub(crate) hsts_preload: bool,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TlsVersion {
    /// TLS 1.2.
    #[value(name = "1.2", alias = "TLSv1.2")]
    V12,
    /// TLS 1.3.
    #[value(name = "1.3", alias = "TLSv1.3")]
    V13,
}

/// Cipher suites, the preferred one first.
#[derive(Debug, Clone)]
pub(crate) struct CipherSuites(pub(crate) Vec<SupportedCipherSuite>);

/// Groups of key exchange.
#[derive(Debug, Clone)]
pub(crate) struct Groups(pub(crate) Vec<&'static dyn SupportedKxGroup>);

/// Cipher suites by name, separated by commas or colons.
fn cipher_suites(text: &str) -> Result<CipherSuites, String> {
    let known: Vec<_> = ALL_CIPHER_SUITES
        .iter()
        .map(|suite| (iana(suite), *suite))
        .collect();
    let find = |name: &str| {
        let mut known = known.iter();
        let found = known.find(|(iana, _)| {
            iana.eq_ignore_ascii_case(name) || openssl(iana).eq_ignore_ascii_case(name)
        });
        found.map(|(_, suite)| *suite)
    };
    let possible = || {
        let names = known.iter().map(|(iana, _)| iana.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    let mut suites: Vec<SupportedCipherSuite> = Vec::new();
    for name in names(text) {
        let suite = find(name).ok_or_else(|| {
            format!(
                "{name:?} is no cipher suite that Narthex has; possible are {}, and OpenSSL's \
                 names of these",
                possible()
            )
        })?;
        if !suites.contains(&suite) {
            suites.push(suite);
        }
    }
    match suites.is_empty() {
        true => Err(format!("name at least one of {}", possible())),
        false => Ok(CipherSuites(suites)),
    }
}

/// Each group with all names that people call it by; the first is the one to tell.
const GROUPS: &[(&dyn SupportedKxGroup, &[&str])] = &[
    (kx_group::X25519MLKEM768, &["X25519MLKEM768"]),
    (kx_group::SECP256R1MLKEM768, &["SecP256r1MLKEM768"]),
    (kx_group::X25519, &["X25519"]),
    (kx_group::SECP256R1, &["P-256", "secp256r1", "prime256v1"]),
    (kx_group::SECP384R1, &["P-384", "secp384r1"]),
    (kx_group::MLKEM768, &["MLKEM768"]),
    (kx_group::MLKEM1024, &["MLKEM1024"]),
];

/// Groups of key exchange by name, separated by commas or colons.
fn groups(text: &str) -> Result<Groups, String> {
    let possible = || {
        let names = GROUPS.iter().map(|(_, names)| names[0]);
        names.collect::<Vec<_>>().join(", ")
    };
    let mut groups: Vec<&'static dyn SupportedKxGroup> = Vec::new();
    for name in names(text) {
        let mut known = GROUPS.iter();
        let found = known.find(|(_, names)| names.iter().any(|it| it.eq_ignore_ascii_case(name)));
        let Some((group, _)) = found else {
            return Err(format!(
                "{name:?} is no group that Narthex has; possible are {}",
                possible()
            ));
        };
        if !groups.iter().any(|other| other.name() == group.name()) {
            groups.push(*group);
        }
    }
    match groups.is_empty() {
        true => Err(format!("name at least one of {}", possible())),
        false => Ok(Groups(groups)),
    }
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    let names = text.split([',', ':']).map(str::trim);
    names.filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::ALL_KX_GROUPS;

    use super::*;

    #[test]
    fn every_suite_is_known_by_both_its_names() {
        for (openssl, iana) in [
            ("TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
            (
                "TLS_CHACHA20_POLY1305_SHA256",
                "tls_chacha20_poly1305_sha256",
            ),
            (
                "ECDHE-ECDSA-AES256-GCM-SHA384",
                "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            ),
            (
                "ECDHE-RSA-AES128-GCM-SHA256",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ),
            (
                "ECDHE-RSA-CHACHA20-POLY1305",
                "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            ),
        ] {
            let of = |name: &str| cipher_suites(name).expect(name).0[0].suite();
            assert_eq!(of(openssl), of(iana), "{openssl}");
        }
        let both = cipher_suites("ECDHE-RSA-AES128-GCM-SHA256:TLS_AES_128_GCM_SHA256");
        assert_eq!(both.expect("two").0.len(), 2);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_possible_ones() {
        let message = cipher_suites("ECDHE-RSA-DES-CBC3-SHA").expect_err("weak");
        assert!(message.contains("TLS_AES_256_GCM_SHA384"), "{message}");
        let message = groups("X448").expect_err("unknown");
        assert!(message.contains("X25519MLKEM768, "), "{message}");
        assert!(cipher_suites(" , ").is_err() && groups("").is_err());
    }

    #[test]
    fn no_group_is_left_without_a_name() {
        let named = |group: &dyn SupportedKxGroup| {
            let mut known = GROUPS.iter();
            known.any(|(known, _)| known.name() == group.name())
        };
        assert!(ALL_KX_GROUPS.iter().all(|group| named(*group)));
        let default = groups("X25519MLKEM768,X25519,P-256,prime256v1").expect("right");
        assert_eq!(default.0.len(), 3, "each once");
    }
}
