//! `custom-http-errors` and `default-backend`: who answers in the place of a backend that fails.

use super::Settings;
use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, boolean};

/// Without its prefix.
pub(crate) const DEFAULT_BACKEND: &str = "default-backend";

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Error pages",
    annotations: &[
        Annotation::works("custom-http-errors", Risk::Low, |settings, value| {
            of(settings).codes = Some(codes(value)?);
            Ok(())
        })
        .default("none")
        .differs("the request's body is not sent to whoever makes the page")
        .test("nginx_errors"),
        Annotation::works(DEFAULT_BACKEND, Risk::Low, |settings, value| {
            of(settings).service = Some(service(value.trim())?);
            Ok(())
        })
        .default("`--default-backend-service`, else 404")
        .test("nginx_errors"),
        Annotation::works(
            "disable-proxy-intercept-errors",
            Risk::Low,
            |settings, value| {
                of(settings).leaves_backends = Some(boolean(value)?);
                Ok(())
            },
        )
        .default("false")
        .test("nginx_errors"),
    ],
};

/// Who answers in the place of a backend that fails.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Errors {
    /// For which statuses; none is as the defaults say.
    pub(crate) codes: Option<Box<[u16]>>,
    /// A Service of the Ingress's namespace.
    pub(crate) service: Option<Box<str>>,
    /// Whether backends' own errors stay as they are; none is as the defaults say.
    pub(crate) leaves_backends: Option<bool>,
}

fn of(settings: &mut Settings) -> &mut Errors {
    settings.errors.get_or_insert_default()
}

/// Statuses from 400 to 599 with commas in between.
fn codes(value: &str) -> Result<Box<[u16]>, BadValue> {
    let invalid = || BadValue::invalid("statuses from 400 to 599, as 404,503");
    let value = value.replace(' ', "");
    let mut codes = Vec::new();
    for word in value.split(',').filter(|word| !word.is_empty()) {
        let code: u16 = word.parse().map_err(|_| invalid())?;
        if word.len() != 3 || !(400..600).contains(&code) {
            return Err(invalid());
        }
        codes.push(code);
    }
    codes.sort_unstable();
    codes.dedup();
    Ok(codes.into())
}

/// A name of a Service, as Kubernetes allows it.
fn service(value: &str) -> Result<Box<str>, BadValue> {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_name = value.starts_with(|first: char| first.is_ascii_lowercase())
        && !value.ends_with('-')
        && value.len() < 64
        && value.bytes().all(is_inner);
    match is_name {
        true => Ok(value.into()),
        false => Err(BadValue::unused("the name of a Service of the namespace")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_errors() {
        assert_eq!(codes("404, 503,,404").as_deref(), Ok(&[404, 503][..]));
        assert_eq!(codes(",").as_deref(), Ok(&[][..]));
        for wrong in ["200", "0404", "404;503", "4xx", "600", "+404"] {
            assert!(codes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn services_have_names_as_kubernetes_allows_them() {
        assert!(service("errors-1").is_ok());
        for wrong in ["Errors", "1a", "a-", "a.b", "ns/a", ""] {
            assert!(service(wrong).is_err(), "{wrong}");
        }
    }
}
