//! Keys about TLS towards clients.

use model::Groups;
use rustls::SupportedCipherSuite;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::kx_group;

use crate::ingress::annotations::listed_suites;

/// `ssl-protocols`: whether TLS 1.2 is spoken, and whether 1.3 is. Older versions are not spoken by
/// anybody any more.
pub(super) fn versions(value: &str) -> Result<(bool, bool), &'static str> {
    let has = |name: &str| value.split_ascii_whitespace().any(|word| word == name);
    let both = (has("TLSv1.2"), has("TLSv1.3"));
    match both {
        (false, false) => Err("TLSv1.2, TLSv1.3 or both, with a space between"),
        both => Ok(both),
    }
}

/// `ssl-ciphers`: those of OpenSSL's list that there are.
pub(super) fn suites(value: &str) -> Result<Box<[SupportedCipherSuite]>, &'static str> {
    let suites = listed_suites(value);
    match suites.is_empty() {
        true => Err("OpenSSL's names with colons between, as ECDHE-ECDSA-AES128-GCM-SHA256"),
        false => Ok(suites.into()),
    }
}

/// `ssl-ecdh-curve`: none is `auto`, which is as the command line says.
pub(super) fn groups(value: &str) -> Result<Option<Groups>, &'static str> {
    if value.trim() == "auto" {
        return Ok(None);
    }
    let mut groups: Vec<&'static dyn SupportedKxGroup> = Vec::new();
    for group in value.split(':').filter_map(|name| group(name.trim())) {
        if !groups.iter().any(|known| known.name() == group.name()) {
            groups.push(group);
        }
    }
    match groups.is_empty() {
        true => {
            Err("auto, or X25519, prime256v1, secp384r1 and X25519MLKEM768, with colons between")
        }
        false => Ok(Some(Groups(groups.into()))),
    }
}

/// The group that OpenSSL calls so; none if there is none here.
fn group(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    match &*name.to_ascii_lowercase() {
        "x25519" => Some(kx_group::X25519),
        "prime256v1" | "p-256" | "secp256r1" => Some(kx_group::SECP256R1),
        "secp384r1" | "p-384" => Some(kx_group::SECP384R1),
        "x25519mlkem768" => Some(kx_group::X25519MLKEM768),
        "secp256r1mlkem768" => Some(kx_group::SECP256R1MLKEM768),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_suites_and_groups_are_openssls() {
        assert_eq!(versions("TLSv1.2 TLSv1.3"), Ok((true, true)));
        assert_eq!(versions("TLSv1 TLSv1.1 TLSv1.2"), Ok((true, false)));
        assert_eq!(versions("TLSv1.3"), Ok((false, true)));
        assert!(versions("TLSv1").is_err() && versions("").is_err());
        assert_eq!(
            suites("ECDHE-RSA-AES128-GCM-SHA256:DES").map(|all| all.len()),
            Ok(1)
        );
        assert!(suites("DES-CBC3-SHA").is_err());
        assert_eq!(groups("auto"), Ok(None));
        let two = groups("X25519:prime256v1:secp521r1")
            .expect("two")
            .expect("two");
        assert_eq!(two.0.len(), 2);
        assert!(groups("secp521r1").is_err());
    }
}
