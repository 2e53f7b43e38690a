//! The forms of names in Kubernetes. Each check returns what would be right.

use std::net::IpAddr;

const LABEL: &str =
    "lower case letters, digits and `-`, not first or last, at most 63 characters (DNS-1123 label)";
const SUBDOMAIN: &str = "lower case letters, digits, `-` and `.`, beginning and ending each part \
                         with a letter or digit, at most 253 characters (DNS-1123)";

/// A DNS-1123 label: the name of a Namespace, a Service or a port.
pub(super) fn label(name: &str) -> Result<(), &'static str> {
    if is_label(name) { Ok(()) } else { Err(LABEL) }
}

/// A DNS-1123 subdomain: the name of most objects.
pub(super) fn subdomain(name: &str) -> Result<(), &'static str> {
    if is_subdomain(name) {
        Ok(())
    } else {
        Err(SUBDOMAIN)
    }
}

/// The host of an Ingress rule or of its TLS: a name, or `*.` and a name.
pub(super) fn host(host: &str) -> Result<(), &'static str> {
    // Four numbers are an IPv4 address to somebody, even with leading zeros or out of range.
    let numbers =
        host.split('.').count() == 4 && host.bytes().all(|b| b == b'.' || b.is_ascii_digit());
    if numbers || host.parse::<IpAddr>().is_ok() || host.starts_with('[') {
        return Err("a host name, no IP address; without `host` the rule is for every host");
    }
    if host.contains("://") || host.contains('/') {
        return Err("the host name alone, without scheme and path");
    }
    if host.contains(':') {
        return Err("the host name alone, without port");
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    if is_subdomain(name) {
        Ok(())
    } else if name.contains('*') {
        Err("`*` stands for the whole first part only, as in *.example.com")
    } else {
        Err(SUBDOMAIN)
    }
}

/// The key of a label or an annotation: a name, perhaps after a domain and `/`.
pub(super) fn qualified(key: &str) -> Result<(), &'static str> {
    let (domain, name) = match key.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, key),
    };
    if domain.is_none_or(is_subdomain) && !name.is_empty() && is_word(name) {
        Ok(())
    } else {
        Err(
            "letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit, \
             at most 63 characters, perhaps after a domain and `/`",
        )
    }
}

/// The value of a label.
pub(super) fn label_value(value: &str) -> Result<(), &'static str> {
    if value.is_empty() || is_word(value) {
        Ok(())
    } else {
        Err(
            "empty, or letters, digits, `-`, `_` and `.`, beginning and ending with a letter or \
             digit, at most 63 characters",
        )
    }
}

/// A key of a Secret's or ConfigMap's data.
pub(super) fn data_key(key: &str) -> Result<(), &'static str> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=253).contains(&key.len())
        && key.bytes().all(legal)
        && key != "."
        && !key.starts_with("..")
    {
        Ok(())
    } else {
        Err("letters, digits, `-`, `_` and `.`, at most 253 characters")
    }
}

/// A container port's name, as a Service's `targetPort` has it.
pub(super) fn port_name(name: &str) -> Result<(), &'static str> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=15).contains(&name.len())
        && name.bytes().all(legal)
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
    {
        Ok(())
    } else {
        Err("at most 15 lower case letters, digits and `-`, with at least one letter")
    }
}

pub(super) fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_part)
}

fn is_label(name: &str) -> bool {
    name.len() <= 63 && is_part(name)
}

/// One part of a DNS name as Kubernetes checks it, which bounds the whole but not the part.
fn is_part(part: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !part.is_empty() && part.bytes().all(legal) && !part.starts_with('-') && !part.ends_with('-')
}

fn is_word(word: &str) -> bool {
    let bytes = word.as_bytes();
    word.len() <= 63
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_with_at_most_one_leading_wildcard() {
        for good in [
            "a",
            "a.example",
            "*.a.example",
            "xn--mnchen-3ya.de",
            "1.2.3.4.5",
        ] {
            assert_eq!(host(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "*",
            "A.example",
            "a..b",
            ".a",
            "a.",
            "-a",
            "a_b",
            "10.0.0.1",
            "::1",
            "[::1]",
            "a:80",
            "a.*.b",
            "*a.b",
            "*.",
            "http://a",
            "a/b",
            "é.fr",
        ] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_have_their_forms() {
        assert!(label("web-1").is_ok() && label("web.1").is_err());
        assert!(label(&"a".repeat(64)).is_err());
        assert!(subdomain("web.1").is_ok() && subdomain("Web").is_err());
        assert!(qualified("nginx.ingress.kubernetes.io/rewrite-target").is_ok());
        assert!(qualified("a/b/c").is_err() && qualified("").is_err());
        assert!(label_value("").is_ok() && label_value("a b").is_err());
        assert!(data_key("tls.crt").is_ok() && data_key("a/b").is_err());
        assert!(port_name("http").is_ok() && port_name("8080").is_err());
    }
}
