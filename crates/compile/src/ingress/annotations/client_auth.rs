//! `auth-tls-secret` and its like: certificates that clients have to show.

use model::Pattern;
use model::clients::Demand;

use super::values::{BadValue, boolean};

/// Without its prefix.
pub(crate) const SECRET: &str = "auth-tls-secret";
/// Whole: ingress-nginx has none like it.
pub(crate) const CONFIG_MAP: &str = "narthex.dev/client-ca-configmap";
const VERIFY_CLIENT: &str = "auth-tls-verify-client";
const VERIFY_DEPTH: &str = "auth-tls-verify-depth";
const ERROR_PAGE: &str = "auth-tls-error-page";
const MATCH_CN: &str = "auth-tls-match-cn";
const PASS: &str = "auth-tls-pass-certificate-to-upstream";

/// The names that this group reads.
pub(super) const NAMES: &[&str] = &[
    SECRET,
    VERIFY_CLIENT,
    VERIFY_DEPTH,
    ERROR_PAGE,
    MATCH_CN,
    PASS,
];

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

impl ClientAuth {
    /// Reads one annotation, if it is of this group.
    pub(super) fn read(&mut self, name: &str, value: &str) -> Option<Result<(), BadValue>> {
        Some(match name {
            SECRET => {
                self.secret = Some(value.trim().into());
                Ok(())
            }
            VERIFY_CLIENT => demand(value).map(|demand| self.demand = demand),
            VERIFY_DEPTH => match value.trim().parse() {
                Ok(depth) => {
                    self.depth = depth;
                    Ok(())
                }
                Err(_) => Err(BadValue {
                    hint: "a number from 0 to 255",
                }),
            },
            ERROR_PAGE => url(value).map(|page| self.error_page = Some(page)),
            MATCH_CN => {
                // What cannot be read is nobody's name.
                self.subject = Some(value.trim().into());
                match pattern(value.trim()) {
                    Some(_) => Ok(()),
                    None => Err(BadValue {
                        hint: "CN= and a name, or a regular expression for one; nobody gets in now",
                    }),
                }
            }
            PASS => boolean(value).map(|pass| self.pass = pass),
            _ => return None,
        })
    }
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
        _ => Err(BadValue {
            hint: "on, off, optional or optional_no_ca",
        }),
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
        false => Err(BadValue {
            hint: "a URL, as https://example.com/why, or a path",
        }),
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
