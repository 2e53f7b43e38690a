//! Hosts as Ingresses write them.

use model::HostName;

/// What is wrong with a host, and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadHost {
    pub(super) message: String,
    pub(super) hint: &'static str,
}

/// A host as tables have it: lower case, `*.` and a name for wildcards, empty for all hosts.
pub(crate) fn normal_host(text: &str) -> Result<Box<str>, BadHost> {
    if text.is_empty() {
        return Ok(text.into());
    }
    let bad = |hint| BadHost {
        message: format!("{text:?} is no host name"),
        hint,
    };
    let (wildcard, name) = match text.strip_prefix("*.") {
        Some(name) => ("*.", name),
        None => ("", text),
    };
    if text == "*" {
        return Err(bad("no `host` at all, which is every host"));
    }
    if name.contains('*') {
        return Err(bad(
            "`*` only as the whole first label, as in `*.example.com`",
        ));
    }
    if !name.is_ascii() {
        return Err(bad("the name in its ASCII form, which begins with `xn--`"));
    }
    // HostName would take the port off and serve the host on every port.
    if name.contains(':') {
        return Err(bad("a name without a port"));
    }
    let host = HostName::parse(name.as_bytes())
        .ok_or_else(|| bad("a DNS name, or `*.` and a DNS name"))?;
    Ok(format!("{wildcard}{}", host.as_str()).into())
}

/// Whether requests for `host` (itself perhaps a wildcard) are among those for `pattern`.
pub(crate) fn covers(pattern: &str, host: &str) -> bool {
    if pattern.is_empty() || pattern == host {
        return true;
    }
    let (Some(suffix), false) = (pattern.strip_prefix("*."), host.starts_with("*.")) else {
        return false;
    };
    host.split_once('.')
        .is_some_and(|(label, rest)| !label.is_empty() && rest == suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_spelling() {
        for (text, expected) in [
            ("", Some("")),
            ("Example.COM", Some("example.com")),
            ("*.Example.com", Some("*.example.com")),
            ("example.com.", Some("example.com")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("*", None),
            ("*.", None),
            ("a.*.b", None),
            ("*.*.b", None),
            ("example.com:8080", None),
            ("[::1]", None),
            ("b\u{fc}cher.example", None),
            ("a b", None),
        ] {
            assert_eq!(normal_host(text).ok().as_deref(), expected, "{text:?}");
        }
        assert!(normal_host(&"a".repeat(300)).is_err());
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        assert!(covers("*.x.y", "a.x.y"));
        assert!(covers("*.x.y", "*.x.y"));
        assert!(covers("", "*.x.y"));
        assert!(!covers("*.x.y", "a.b.x.y"));
        assert!(!covers("*.y", "*.x.y"));
        assert!(!covers("*.x.y", "x.y"));
        assert!(!covers("a.x.y", "*.x.y"));
    }
}
