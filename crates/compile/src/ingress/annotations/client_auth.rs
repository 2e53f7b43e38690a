//! `auth-tls-secret` and its like: certificates that clients have to show.

use model::Pattern;
use model::clients::Demand;

use super::Settings;
use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, boolean};

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
            demand(value).map(|demand| of(settings).demand = demand)
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
        .test("client_certificates"),
        Annotation::works("auth-tls-match-cn", Risk::High, |settings, value| {
            // What cannot be read is nobody's name.
            of(settings).subject = Some(value.trim().into());
            pattern(value.trim()).map(|_| ()).ok_or(BadValue::unused(
                "CN= and a name, or a regular expression for one; nobody gets in now",
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
    /// None is nobody's business.
    pub(crate) demand: Option<Demand>,
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
            demand: Some(Demand::Required),
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
    let depth = value.trim().parse();
    depth.map_err(|_| BadValue::invalid("a number from 0 to 255"))
}

/// The pattern of a subject: somewhere in it, as ingress-nginx has it.
pub(crate) fn pattern(text: &str) -> Option<Pattern> {
    text.strip_prefix("CN=").filter(|name| !name.is_empty())?;
    Pattern::beginning(text).ok()?;
    Pattern::beginning(&format!("(?s:.*?)(?:{text})")).ok()
}

fn demand(value: &str) -> Result<Option<Demand>, BadValue> {
    match value.trim() {
        "on" => Ok(Some(Demand::Required)),
        "off" => Ok(None),
        "optional" => Ok(Some(Demand::Optional)),
        "optional_no_ca" => Ok(Some(Demand::Any)),
        _ => Err(BadValue::invalid("on, off, optional or optional_no_ca")),
    }
}

/// Something that can stand in Location.
fn url(value: &str) -> Result<Box<str>, BadValue> {
    let value = value.trim();
    let is_right =
        (value.starts_with('/') || value.starts_with("https://") || value.starts_with("http://"))
            && value.bytes().all(|byte| byte.is_ascii_graphic());
    match is_right {
        true => Ok(value.into()),
        false => Err(BadValue::invalid(
            "a URL, as https://example.com/why, or a path",
        )),
    }
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
        for right in ["https://a.example/why?x=1", "http://a.example/", "/why"] {
            assert_eq!(url(right).as_deref(), Ok(right));
        }
        for wrong in [
            "",
            "why",
            "ftp://a.example",
            "https://a\r\nX: 1",
            "javascript:x",
        ] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
