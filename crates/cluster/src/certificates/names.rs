//! What the objects of a certificate are called.

use crate::client::sha256;

/// How much of an id is in a name, for people.
const READABLE: usize = 40;

/// Namespace and name of the Secret `namespace/name`.
pub(super) fn split(id: &str) -> Result<(&str, &str), String> {
    match id.split_once('/') {
        Some((namespace, name)) if is_name(namespace) && is_name(name) => Ok((namespace, name)),
        _ => Err(format!(
            "{id:?} is no Secret: it is named as namespace/name"
        )),
    }
}

/// The Lease of a certificate.
pub(super) fn lease(id: &str) -> String {
    let readable: String = id
        .chars()
        .take(READABLE)
        .map(|it| match it.to_ascii_lowercase() {
            it @ ('a'..='z' | '0'..='9') => it,
            _ => '-',
        })
        .collect();
    format!(
        "narthex-certificate-{}-{}",
        readable.trim_matches('-'),
        short(id)
    )
}

/// The field manager of the answers for a certificate.
pub(super) fn manager(short: &str) -> String {
    format!("narthex-challenge-{short}")
}

/// Tells certificates from each other, in 16 letters.
pub(super) fn short(id: &str) -> String {
    let mut hash = sha256(id.as_bytes());
    hash.truncate(16);
    hash
}

/// Whether a name may be in a path: a subdomain (RFC 1123), which the API server looks at again.
fn is_name(name: &str) -> bool {
    let is_letter = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b"-.".contains(&it);
    (1..=253).contains(&name.len()) && name.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_named_after_its_secret_and_no_two_secrets_share_one() {
        let one = lease("shop/web.tls");
        assert!(
            one.starts_with("narthex-certificate-shop-web-tls-"),
            "{one}"
        );
        assert_ne!(one, lease("shop/web-tls"));
        let long = lease(&format!("shop/{}", "a".repeat(253)));
        assert!(long.len() < 100, "{long}");
    }

    #[test]
    fn what_names_no_secret_is_refused() {
        assert_eq!(split("shop/web.tls"), Ok(("shop", "web.tls")));
        for wrong in ["web", "/web", "shop/", "shop/a/b", "shop/..%2f", "Shop/web"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }
}
