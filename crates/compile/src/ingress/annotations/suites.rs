//! Cipher suites by OpenSSL's names (`proxy-ssl-ciphers`, `ssl-ciphers`).

use model::suite::{iana, openssl};
use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;

/// The suites of a list in OpenSSL's form, each once, in the list's order: of words that name none
/// that there is, nothing. Words for all that is good are all, those with `!` and `-` take out.
pub(crate) fn listed(list: &str) -> Vec<SupportedCipherSuite> {
    let mut found: Vec<SupportedCipherSuite> = Vec::new();
    let words = list.split([':', ' ', ',']).filter(|word| !word.is_empty());
    for word in words {
        let word = word.split('@').next().unwrap_or_default();
        // What only moves suites to the end takes none in.
        if word.starts_with('+') {
            continue;
        }
        let (takes_out, word) = match word.strip_prefix(['!', '-']) {
            Some(word) => (true, word),
            None => (false, word),
        };
        for suite in ALL_CIPHER_SUITES
            .iter()
            .filter(|suite| is_meant(suite, word))
        {
            match found.iter().position(|known| known == suite) {
                Some(at) if takes_out => drop(found.remove(at)),
                None if !takes_out => found.push(*suite),
                _ => {}
            }
        }
    }
    found
}

/// Whether a word of OpenSSL's means a suite; words that it joins with `+` all have to.
fn is_meant(suite: &SupportedCipherSuite, word: &str) -> bool {
    let iana = iana(suite);
    let openssl = openssl(&iana);
    if iana.eq_ignore_ascii_case(word) || openssl.eq_ignore_ascii_case(word) {
        return true;
    }
    // Such lists say nothing of TLS 1.3.
    if suite.tls13().is_some() || word.is_empty() {
        return false;
    }
    let has = |part: &str| openssl.split('-').any(|known| known == part);
    word.split('+').all(|part| match part {
        "ALL"
        | "DEFAULT"
        | "HIGH"
        | "COMPLEMENTOFDEFAULT"
        | "FIPS"
        | "AEAD"
        | "TLSv1.2"
        | "EECDH"
        | "ECDHE"
        | "kECDHE"
        | "kEECDH" => true,
        "RSA" | "aRSA" => has("RSA"),
        "ECDSA" | "aECDSA" => has("ECDSA"),
        "AES" | "AESGCM" => has("GCM"),
        "AES128" => has("AES128"),
        "AES256" => has("AES256"),
        "CHACHA20" => has("CHACHA20"),
        "SHA256" | "SHA384" => has(part),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<String> {
        let suites = listed(list);
        suites.iter().map(|suite| openssl(&iana(suite))).collect()
    }

    #[test]
    fn a_list_is_openssls() {
        assert_eq!(
            names("ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256:DES-CBC3-SHA"),
            ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"]
        );
        assert_eq!(names("HIGH:!aNULL:!MD5").len(), 6);
        assert_eq!(names("HIGH:!ECDSA:!CHACHA20").len(), 2);
        assert_eq!(names("EECDH+AESGCM").len(), 4);
        assert_eq!(names("ALL:!aNULL:!EXPORT56:RC4+RSA:+HIGH:+SSLv2").len(), 6);
        assert_eq!(names("RC4-SHA:DES").len(), 0);
    }
}
