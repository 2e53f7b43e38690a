//! `affinity` and `session-cookie-…`: what keeps clients with an endpoint.
//!
//! What ingress-nginx's validation refuses here does not leave the Ingress out: its default stands.

use model::policy::{CookieTerms, SameSite};

use super::Settings;
use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, boolean};

/// Without its prefix.
pub(crate) const PATH: &str = "session-cookie-path";

const DEFAULT_NAME: &str = "INGRESSCOOKIE";

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Session affinity",
    annotations: &[
        Annotation::works("affinity", Risk::Low, |settings, value| {
            match value.trim() {
                "cookie" => of(settings).wanted = true,
                _ => return Err(BadValue::unused("cookie")),
            }
            Ok(())
        })
        .default("none")
        .differs("a session goes on elsewhere when its endpoint is gone, as there, and its cookie has another form of value")
        .test("nginx_affinity"),
        Annotation::works("affinity-mode", Risk::Medium, |settings, value| {
            of(settings).persistent = match value.trim() {
                "balanced" => false,
                "persistent" => true,
                _ => return Err(BadValue::unused("balanced or persistent")),
            };
            Ok(())
        })
        .default("balanced")
        .test("nginx_affinity"),
        Annotation::works(
            "affinity-canary-behavior",
            Risk::Low,
            |settings, value| {
                of(settings).leaves_canary = match value.trim() {
                    "sticky" => false,
                    "legacy" => true,
                    _ => return Err(BadValue::unused("sticky or legacy")),
                };
                Ok(())
            },
        )
        .default("sticky; the canary's Ingress says it")
        .test("nginx_affinity"),
        Annotation::works("session-cookie-name", Risk::Medium, |settings, value| {
            let name = value.trim();
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(BadValue::unused("the name of a cookie, as letters, digits and -._~"));
            }
            of(settings).name = Some(name.into());
            Ok(())
        })
        .default(DEFAULT_NAME)
        .test("nginx_affinity"),
        Annotation::works(PATH, Risk::Medium, |settings, value| {
            of(settings).terms.path = Some(attribute(value, "a path, as /app")?);
            Ok(())
        })
        .default("the path of the rule")
        .test("nginx_affinity"),
        Annotation::works("session-cookie-domain", Risk::Medium, |settings, value| {
            of(settings).terms.domain = Some(attribute(value, "a host name")?);
            Ok(())
        })
        .default("none")
        .test("nginx_affinity"),
        Annotation::works("session-cookie-expires", Risk::Medium, |settings, value| {
            of(settings).terms.expires = Some(seconds(value)?);
            Ok(())
        })
        .default("none: until the browser ends")
        .test("nginx_affinity"),
        Annotation::works("session-cookie-max-age", Risk::Medium, |settings, value| {
            of(settings).terms.max_age = Some(seconds(value)?);
            Ok(())
        })
        .default("none: until the browser ends")
        .test("nginx_affinity"),
        Annotation::works("session-cookie-samesite", Risk::Low, |settings, value| {
            of(settings).terms.same_site = Some(match value.trim() {
                "None" => SameSite::None,
                "Lax" => SameSite::Lax,
                "Strict" => SameSite::Strict,
                _ => return Err(BadValue::unused("None, Lax or Strict")),
            });
            Ok(())
        })
        .default("none")
        .test("nginx_affinity"),
        Annotation::works(
            "session-cookie-conditional-samesite-none",
            Risk::Low,
            |settings, value| {
                let spare = boolean(value).map_err(BadValue::tolerated)?;
                of(settings).terms.spare_old_browsers = spare;
                Ok(())
            },
        )
        .default("false")
        .test("nginx_affinity"),
        Annotation::works("session-cookie-secure", Risk::Low, |settings, value| {
            of(settings).terms.secure = boolean(value).map_err(BadValue::tolerated)?;
            Ok(())
        })
        .default("for clients that came with TLS")
        .test("nginx_affinity"),
        Annotation::works(
            "session-cookie-change-on-failure",
            Risk::Low,
            |settings, value| {
                let moves = boolean(value).map_err(BadValue::tolerated)?;
                of(settings).terms.moves_on_failure = moves;
                Ok(())
            },
        )
        .default("false")
        .test("nginx_affinity"),
    ],
};

/// What keeps clients with an endpoint.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Session {
    /// Whether anything is to.
    pub(crate) wanted: bool,
    /// Whether sessions stay where they are when there are more endpoints.
    pub(crate) persistent: bool,
    name: Option<Box<str>>,
    pub(crate) terms: CookieTerms,
    /// Of a canary: whether its main's sessions are not its.
    pub(crate) leaves_canary: bool,
}

impl Session {
    /// The cookie's name.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(DEFAULT_NAME)
    }
}

fn of(settings: &mut Settings) -> &mut Session {
    settings.affinity.get_or_insert_default()
}

/// RFC 9110, section 5.6.2, of what ingress-nginx lets pass.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The value of an attribute: nothing that would end it.
fn attribute(value: &str, hint: &'static str) -> Result<Box<str>, BadValue> {
    let value = value.trim();
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b';' | b'"' | b'\\');
    match !value.is_empty() && value.bytes().all(plain) {
        true => Ok(value.into()),
        false => Err(BadValue::unused(hint)),
    }
}

/// Seconds from now, perhaps before now.
fn seconds(value: &str) -> Result<i64, BadValue> {
    let bad = BadValue::unused("a whole number of seconds");
    value.trim().parse().map_err(|_| bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_said_of_a_cookie_ends_it() {
        for wrong in ["", "/a; Secure", "/a\r\nX: y", "a b"] {
            assert!(attribute(wrong, "").is_err(), "{wrong:?}");
        }
        assert_eq!(attribute(" /a,b ", "").as_deref(), Ok("/a,b"));
        for (value, expected) in [("0", Some(0)), ("-1", Some(-1)), ("1h", None)] {
            assert_eq!(seconds(value).ok(), expected, "{value}");
        }
    }
}
