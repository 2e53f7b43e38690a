//! `canary` and its like: some requests go to another backend.

use model::Pattern;
use model::canary::{Canary as Decision, CanaryHeader};

use super::Settings;
use super::table::{Annotation, Group, Risk};
use super::values::{
    BadValue, boolean_or_default, integer, is_basic, is_regex as is_pattern, lines,
};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Canary",
    annotations: &[
        Annotation::works("canary", Risk::Low, |settings, value| {
            boolean_or_default(value).map(|on| of(settings).enabled = on)
        })
        .default("false")
        .differs("it is about the host and the path that both Ingresses name, and not about others of the same backend")
        .test("nginx_canary"),
        Annotation::works("canary-by-cookie", Risk::Medium, |settings, value| {
            name(value).map(|cookie| of(settings).cookie = Some(cookie))
        })
        .test("nginx_canary"),
        Annotation::works("canary-by-header", Risk::Medium, |settings, value| {
            name(value).map(|header| of(settings).header = Some(header))
        })
        .test("nginx_canary"),
        Annotation::works("canary-by-header-pattern", Risk::Medium, |settings, value| {
            if !settings.unchecked && !is_pattern(value) {
                return Err(BadValue::unused("a regular expression"));
            }
            let pattern = Pattern::anywhere(&lines(value));
            let is_good = pattern.is_ok();
            of(settings).pattern = Some(pattern.ok());
            is_good.then_some(()).ok_or(BadValue::unused(UNREADABLE))
        })
        .differs("look-around and back references are refused")
        .test("nginx_canary"),
        Annotation::works("canary-by-header-value", Risk::Medium, |settings, value| {
            name(value).map(|value| of(settings).value = Some(value))
        })
        .default("`always` and `never` decide")
        .test("nginx_canary"),
        Annotation::works("canary-weight", Risk::Low, |settings, value| {
            number(value).map(|weight| of(settings).weight = weight)
        })
        .default("0")
        .test("nginx_canary"),
        Annotation::works("canary-weight-total", Risk::Low, |settings, value| {
            number(value).map(|total| of(settings).total = total)
        })
        .default("100")
        .test("nginx_canary"),
    ],
};

const UNREADABLE: &str = "a regular expression without look-around and back references; until \
                          then no request with the header is the canary's";

/// Which of another Ingress's requests are an Ingress's own.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Canary {
    pub(crate) enabled: bool,
    header: Option<Box<str>>,
    value: Option<Box<str>>,
    /// None inside is one that cannot be read.
    pattern: Option<Option<Pattern>>,
    cookie: Option<Box<str>>,
    weight: i64,
    total: i64,
}

impl Canary {
    /// The part that comes by chance, and of how many.
    pub(crate) fn weight(&self) -> (u32, u32) {
        // A smaller total is none, as in ingress-nginx.
        let total = u32::try_from(self.total.max(100)).unwrap_or(u32::MAX);
        let weight = u32::try_from(self.weight.max(0)).unwrap_or(u32::MAX);
        (weight.min(total), total)
    }

    /// What else decides.
    pub(crate) fn decision(&self) -> Decision {
        let header = self.header.as_ref().map(|name| {
            let value = match (&self.value, &self.pattern) {
                (Some(value), _) => CanaryHeader::Value(value.clone()),
                (None, Some(Some(pattern))) => CanaryHeader::Pattern(pattern.clone()),
                (None, Some(None)) => CanaryHeader::Unreadable,
                (None, None) => CanaryHeader::AlwaysNever,
            };
            (name.to_ascii_lowercase().replace('_', "-").into(), value)
        });
        Decision {
            header,
            cookie: self.cookie.clone(),
            sessionless: false,
        }
    }
}

fn of(settings: &mut Settings) -> &mut Canary {
    settings.routing_mut().canary.get_or_insert_default()
}

fn name(value: &str) -> Result<Box<str>, BadValue> {
    if !is_basic(&value.replace(' ', "")) {
        return Err(BadValue::unused("letters, digits and `-._~/:`"));
    }
    Ok(lines(value).into())
}

fn number(value: &str) -> Result<i64, BadValue> {
    integer(value).ok_or(BadValue::unused("a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_of_at_least_a_hundred() {
        for (weight, total, expected) in [
            (0, 0, (0, 100)),
            (50, 10, (50, 100)),
            (100, 200, (100, 200)),
            (300, 200, (200, 200)),
            (-1, 100, (0, 100)),
            (i64::MAX, i64::MAX, (u32::MAX, u32::MAX)),
        ] {
            let canary = Canary {
                weight,
                total,
                ..Canary::default()
            };
            assert_eq!(canary.weight(), expected);
        }
    }
}
