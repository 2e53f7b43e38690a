//! The names of TLS cipher suites.

use rustls::{CipherSuite, SupportedCipherSuite};

/// The name of a suite in IANA's registry.
pub fn iana(suite: &SupportedCipherSuite) -> String {
    registered(suite.suite())
}

/// The same of a suite that is known by its number.
pub fn registered(suite: CipherSuite) -> String {
    // Those of TLS 1.3 have no such name in rustls, which would not tell them from older ones.
    format!("{:?}", suite).replacen("TLS13_", "TLS_", 1)
}

/// OpenSSL's name of the suite that IANA calls so, which for TLS 1.3 is the same.
pub fn openssl(iana: &str) -> String {
    let Some((exchange, cipher)) = iana
        .strip_prefix("TLS_")
        .and_then(|rest| rest.split_once("_WITH_"))
    else {
        return iana.to_owned();
    };
    let cipher = cipher
        .replace("AES_", "AES")
        .replace("CHACHA20_POLY1305_SHA256", "CHACHA20_POLY1305");
    format!("{exchange}_{cipher}").replace('_', "-")
}
