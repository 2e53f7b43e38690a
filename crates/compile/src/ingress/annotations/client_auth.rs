//! `auth-tls-secret` and its like: certificates that clients have to show.

use model::Pattern;
use model::clients::Demand;

use super::Settings;
use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, boolean, integer};

/// Without its prefix.
pub(crate) const SECRET: &str = "auth-tls-secret";
/// Whole: ingress-nginx has none like it.
pub(crate) const CONFIG_MAP: &str = "narthex.dev/client-ca-configmap";

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Certificates of clients",
    annotations: &[
        Annotation::works(SECRET, Risk::Medium, |settings, value| {
            of(settings).secret = Some(value.trim().into());
            Ok(())
        })
        .test("client_certificates"),
        Annotation::works("auth-tls-verify-client", Risk::Medium, |settings, value| {
            of(settings).demand = demand(value)?;
            Ok(())
        })
        .default("on")
        .test("client_certificates"),
        Annotation::works("auth-tls-verify-depth", Risk::Low, |settings, value| {
            depth(value).map(|depth| of(settings).depth = depth)
        })
        .default("1")
        .test("client_certificates"),
        Annotation::works("auth-tls-error-page", Risk::High, |settings, value| {
            url(value).map(|page| of(settings).error_page = Some(page))
        })
        .differs(
            "of a page that is a path, the access log shows the path and not what was asked for",
        )
        .test("client_certificates"),
        Annotation::works("auth-tls-match-cn", Risk::High, |settings, value| {
            // What cannot be read is nobody's name.
            of(settings).subject = Some(value.trim().into());
            pattern(value.trim()).map(|_| ()).ok_or(BadValue::invalid(
                "CN= and a name, or a regular expression for one",
            ))
        })
        .test("client_certificates"),
        Annotation::works(
            "auth-tls-pass-certificate-to-upstream",
            Risk::Low,
            |settings, value| boolean(value).map(|pass| of(settings).pass = pass),
        )
        .default("false")
        .test("client_certificates"),
    ],
};

/// What clients have to show, as far as an Ingress says by itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClientAuth {
    /// As it is written: `namespace/name`, or a name.
    pub(crate) secret: Option<Box<str>>,
    /// The same of a ConfigMap.
    pub(crate) config_map: Option<Box<str>>,
    pub(crate) demand: Demand,
    pub(crate) depth: u8,
    pub(crate) error_page: Option<Box<str>>,
    /// What the subject has to have in it.
    pub(crate) subject: Option<Box<str>>,
    pub(crate) pass: bool,
}

impl Default for ClientAuth {
    fn default() -> Self {
        Self {
            secret: None,
            config_map: None,
            demand: Demand::Required,
            depth: 1,
            error_page: None,
            subject: None,
            pass: false,
        }
    }
}

fn of(settings: &mut Settings) -> &mut ClientAuth {
    settings.client_auth.get_or_insert_default()
}

fn depth(value: &str) -> Result<u8, BadValue> {
    let depth = integer(value).filter(|depth| *depth >= 0);
    let depth = depth.ok_or(BadValue::unused("a number from 0 to 255"))?;
    // ingress-nginx takes 0 for none.
    Ok(u8::try_from(depth.max(1)).unwrap_or(u8::MAX))
}

/// The pattern of a subject: somewhere in it, as ingress-nginx has it.
pub(crate) fn pattern(text: &str) -> Option<Pattern> {
    text.strip_prefix("CN=").filter(|name| !name.is_empty())?;
    Pattern::beginning(text).ok()?;
    Pattern::beginning(&format!("(?s:.*?)(?:{text})")).ok()
}

fn demand(value: &str) -> Result<Demand, BadValue> {
    match value.trim() {
        "on" => Ok(Demand::Required),
        "off" => Ok(Demand::Unasked),
        "optional" => Ok(Demand::Optional),
        "optional_no_ca" => Ok(Demand::Any),
        _ => Err(BadValue::unused("on, off, optional or optional_no_ca")),
    }
}

/// Something that can stand in Location, in no more characters than ingress-nginx's validator takes.
fn url(value: &str) -> Result<Box<str>, BadValue> {
    let value = value.trim();
    let host = ["https://", "http://"]
        .iter()
        .find_map(|it| value.strip_prefix(it));
    let (is_host, path) = match host {
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
            let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
            let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            let is_right = !host.is_empty() && host.bytes().all(is_host) && is_port;
            (is_right, path)
        }
        None => (value.starts_with('/'), value),
    };
    let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let is_right = is_host && path.bytes().all(is_path) && !path.contains("//");
    is_right.then(|| value.into()).ok_or(BadValue::invalid(
        "a URL without a query, as https://example.com/why, or a path",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_found_anywhere_and_what_is_no_pattern_is_nobodys() {
        let finds = |text: &str, subject: &str| {
            pattern(text).is_some_and(|pattern| pattern.is_match(subject.as_bytes()))
        };
        assert!(finds("CN=alice", "CN=alice,O=Team"));
        assert!(finds("CN=alice|CN=bob", "O=Team,CN=bob"));
        assert!(!finds("CN=alice", "CN=mallory"));
        for wrong in ["", "CN=", "alice", "CN=(", "CN=a)(b"] {
            assert!(pattern(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn pages_are_urls_that_cannot_end_their_line() {
        for right in ["https://a.example:8443/why", "http://a.example", "/why/"] {
            assert_eq!(url(right).as_deref(), Ok(right));
        }
        for wrong in [
            "",
            "why",
            "ftp://a.example",
            "https://a\r\nX: 1",
            "https://a/;return 200",
            "https://a/why?x=1",
            "https://a//why",
            "https:///why",
            "javascript:x",
        ] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
