//! `enable-cors` and its like: scripts of other origins.

use model::filter::IngressCors;
use model::filter::ingress_cors::{Origin, Origins};

use super::Settings;
use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, boolean, integer, lines};

const METHODS: &str = "GET, PUT, POST, DELETE, PATCH, OPTIONS";
const HEADERS: &str = "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,\
                       Content-Type,Range,Authorization";
const MAX_AGE: i64 = 1_728_000;

/// What this group reads. ingress-nginx falls back to defaults where its validation refuses a value.
pub(super) const GROUP: Group = Group {
    title: "CORS",
    annotations: &[
        Annotation::works("enable-cors", Risk::Low, |settings, value| {
            of(settings).enabled = boolean(value).map_err(unused)?;
            Ok(())
        })
        .default("false")
        .test("nginx_cors"),
        Annotation::works("cors-allow-credentials", Risk::Low, |settings, value| {
            of(settings).credentials = boolean(value).map_err(unused)?;
            Ok(())
        })
        .default("true")
        .test("nginx_cors"),
        Annotation::works("cors-allow-headers", Risk::Medium, |settings, value| {
            let value = words(value, |byte| matches!(byte, b'-' | b'_' | b'0'..=b'9'))
                .ok_or(BadValue::unused("names with commas in between"))?;
            of(settings).headers = value;
            Ok(())
        })
        .default("DNT, Keep-Alive, User-Agent and more")
        .test("nginx_cors"),
        Annotation::works("cors-allow-methods", Risk::Medium, |settings, value| {
            of(settings).methods = words(value, |_| false)
                .filter(|value| is_list(value))
                .ok_or(BadValue::unused("methods with commas in between"))?;
            Ok(())
        })
        .default(METHODS)
        .test("nginx_cors"),
        Annotation::works("cors-allow-origin", Risk::Medium, |settings, value| {
            let cors = of(settings);
            let (origins, ignored) = origins(value);
            cors.origins = origins;
            match ignored {
                false => Ok(()),
                true => Err(BadValue::partly(
                    "scheme://host, scheme://*.domain, with a port or without, null or *; what is \
                     none of these is left out",
                )),
            }
        })
        .default("*")
        .differs("compared as a whole, where nginx compares the end")
        .test("nginx_cors"),
        Annotation::works("cors-expose-headers", Risk::Medium, |settings, value| {
            let is_more = |byte| matches!(byte, b'-' | b'_' | b'*' | b'0'..=b'9');
            of(settings).expose = words(value, is_more)
                .filter(|value| is_list(value))
                .ok_or(BadValue::unused("names with commas in between, or *"))?;
            Ok(())
        })
        .test("nginx_cors"),
        Annotation::works("cors-max-age", Risk::Low, |settings, value| {
            of(settings).max_age = integer(value).ok_or(BadValue::unused("a number of seconds"))?;
            Ok(())
        })
        .default("1728000")
        .test("nginx_cors"),
    ],
};

/// What is told of an Ingress to scripts of other origins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cors {
    pub(crate) enabled: bool,
    origins: Origins,
    methods: Box<str>,
    headers: Box<str>,
    expose: Box<str>,
    max_age: i64,
    credentials: bool,
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            enabled: false,
            origins: Origins::Any,
            methods: METHODS.into(),
            headers: HEADERS.into(),
            expose: "".into(),
            max_age: MAX_AGE,
            credentials: true,
        }
    }
}

impl Cors {
    /// As a filter.
    pub(crate) fn filter(&self) -> IngressCors {
        IngressCors {
            origins: self.origins.clone(),
            methods: self.methods.clone(),
            headers: self.headers.clone(),
            expose: self.expose.clone(),
            max_age: self.max_age,
            credentials: self.credentials,
        }
    }
}

fn of(settings: &mut Settings) -> &mut Cors {
    settings.cors.get_or_insert_default()
}

fn unused(bad: BadValue) -> BadValue {
    BadValue::unused(bad.hint)
}

/// Letters, and what else may be between commas and spaces.
fn words(value: &str, is_more: impl Fn(u8) -> bool) -> Option<Box<str>> {
    let value = lines(value);
    let is_ours =
        |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b',' | b' ') || is_more(byte);
    (!value.is_empty() && value.bytes().all(is_ours)).then(|| value.into())
}

/// Whether there is a comma, a space, or the one and then the other, between words, and nothing before
/// them.
fn is_list(value: &str) -> bool {
    let wrong = ["  ", " ,", ",,"];
    !value.starts_with([',', ' ']) && !wrong.iter().any(|wrong| value.contains(wrong))
}

/// The origins of a list, and whether anything of it is none. An asterisk among them is all.
fn origins(value: &str) -> (Origins, bool) {
    let all = || {
        value
            .split(',')
            .map(str::trim)
            .filter(|one| !one.is_empty())
    };
    if value.trim().is_empty() || all().any(|one| one == "*") {
        return (Origins::Any, false);
    }
    // What its validation refuses as a whole counts as nothing said.
    if lines(value).contains('\n') || !all().all(is_valid) {
        return (Origins::Any, true);
    }
    let origins = all().filter(|one| is_origin(one)).map(Origin::new);
    (Origins::These(origins.collect()), !all().all(is_origin))
}

/// Whether ingress-nginx's validation lets it pass.
fn is_valid(one: &str) -> bool {
    let (_, rest) = one.split_once("://").unwrap_or(("", one));
    let (scheme, _) = one.split_once("://").unwrap_or_default();
    scheme.bytes().all(|byte| byte.is_ascii_lowercase()) && is_authority(&rest.replace(' ', ""))
}

/// Whether it is an origin: `scheme://`, perhaps `*.`, a host, perhaps a port; or `null`.
fn is_origin(one: &str) -> bool {
    one == "null"
        || one.split_once("://").is_some_and(|(scheme, rest)| {
            !scheme.is_empty()
                && scheme.bytes().all(|byte| byte.is_ascii_lowercase())
                && is_authority(rest)
        })
}

/// A host, perhaps with an asterisk as its first label, perhaps with a port.
fn is_authority(text: &str) -> bool {
    let text = text.strip_prefix("*.").unwrap_or(text);
    let (host, port) = text.split_once(':').unwrap_or((text, "0"));
    let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    host.bytes().all(is_of_host)
        && !port.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_origin_is_left_out_and_what_is_refused_is_as_nothing() {
        let these = |all: &[&str]| Origins::These(all.iter().map(|one| Origin::new(one)).collect());
        for (value, expected, ignored) in [
            (
                "https://a.example:8080",
                these(&["https://a.example:8080"]),
                false,
            ),
            (
                "https://a.example,   ,tauri://*.b:1,",
                these(&["https://a.example", "tauri://*.b:1"]),
                false,
            ),
            (
                "a.example:80, http://b.example, null",
                these(&["http://b.example", "null"]),
                true,
            ),
            ("a.example", these(&[]), true),
            ("*", Origins::Any, false),
            ("*, a.example", Origins::Any, false),
            ("      ", Origins::Any, false),
            ("https://a.example/path", Origins::Any, true),
            ("https://a$pid", Origins::Any, true),
            ("https://a.*.example", Origins::Any, true),
            (
                "https://a.example,\n  https://b.example",
                Origins::Any,
                true,
            ),
        ] {
            assert_eq!(origins(value), (expected, ignored), "{value}");
        }
    }

    #[test]
    fn lists_stay_as_they_are_written() {
        let none = |_| false;
        assert_eq!(words("POST, GET", none).as_deref(), Some("POST, GET"));
        for wrong in ["GET;", "GET\nPOST", "", "X-1"] {
            assert_eq!(words(wrong, none), None, "{wrong:?}");
        }
        for (value, is) in [
            ("GET, POST,PUT DELETE", true),
            ("GET, ", true),
            (",GET", false),
            ("GET ,POST", false),
            ("GET,,POST", false),
            ("GET,  POST", false),
        ] {
            assert_eq!(is_list(value), is, "{value:?}");
        }
    }
}
