//! `proxy-redirect-from`, `proxy-cookie-domain` and their like: what backends say of themselves.

use model::Pattern;
use model::filter::response_rewrite::{Replace, Replaced};

use super::Settings;
use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, OF_NAMES, OF_URLS, has_only_or_blanks};

/// Without their prefix.
pub(crate) const FROM: &str = "proxy-redirect-from";
pub(crate) const TO: &str = "proxy-redirect-to";

const URL: &str = "a URL, or the beginning of one";

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Rewriting of responses",
    annotations: &[
        Annotation::works("proxy-cookie-domain", Risk::Medium, |settings, value| {
            let valid = "off, or a domain and what takes its place";
            if !has_only_or_blanks(value, &format!("{OF_NAMES}\t")) {
                return Err(BadValue::unused(valid));
            }
            let pair = pair(value).ok_or_else(|| BadValue::unused(valid))?;
            let replace = |(from, to): (&str, &str)| {
                // The dot in front of a domain means nothing any more.
                let bare = |domain: &str| domain.strip_prefix('.').unwrap_or(domain).to_owned();
                let from = replaced(&bare(from))?;
                let to = bare(to).into();
                Ok(Replace { from, to })
            };
            of(settings).cookie_domain = pair.map(replace).transpose()?;
            Ok(())
        })
        .default("off")
        .test("nginx_headers"),
        Annotation::works("proxy-cookie-path", Risk::Medium, |settings, value| {
            let valid = "off, or a path and what takes its place";
            if !has_only_or_blanks(value, OF_URLS) {
                return Err(BadValue::unused(valid));
            }
            let pair = pair(value).ok_or_else(|| BadValue::unused(valid))?;
            let replace = |(from, to): (&str, &str)| {
                let from = replaced(from)?;
                let to = to.into();
                Ok(Replace { from, to })
            };
            of(settings).cookie_path = pair.map(replace).transpose()?;
            Ok(())
        })
        .default("off")
        .test("nginx_headers"),
        Annotation::works(FROM, Risk::Medium, |settings, value| {
            of(settings).from = Some(url(value)?);
            Ok(())
        })
        .default("off")
        .test("nginx_headers"),
        Annotation::works(TO, Risk::Medium, |settings, value| {
            of(settings).to = Some(url(value)?);
            Ok(())
        })
        .default("off")
        .test("nginx_headers"),
    ],
};

/// What responses say of where things are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ResponseRewrite {
    /// Of Location; none is as the defaults say.
    pub(crate) from: Option<Box<str>>,
    pub(crate) to: Option<Box<str>>,
    pub(crate) cookie_domain: Option<Replace>,
    pub(crate) cookie_path: Option<Replace>,
}

/// What is replaced in `Location`, if anything is: `default` means the address that nginx itself
/// gives backends, of which none knows.
pub(crate) fn redirect(from: &str, to: &str) -> Result<Option<Replace>, BadValue> {
    if matches!(from, "off" | "default") || to == "off" {
        return Ok(None);
    }
    let from = replaced(from)?;
    Ok(Some(Replace {
        from,
        to: to.into(),
    }))
}

fn of(settings: &mut Settings) -> &mut ResponseRewrite {
    settings.response_rewrite.get_or_insert_default()
}

fn url(value: &str) -> Result<Box<str>, BadValue> {
    let lines = value.trim();
    match has_only_or_blanks(value, OF_URLS) {
        true if lines.contains(' ') => Err(BadValue::unused(URL)),
        true => Ok(lines.into()),
        false => Err(BadValue::unused(URL)),
    }
}

/// Two words, or none for `off`.
fn pair(value: &str) -> Option<Option<(&str, &str)>> {
    let mut words = value.split_whitespace();
    match (words.next()?, words.next(), words.next()) {
        ("off", None, None) => Some(None),
        (from, Some(to), None) => Some(Some((from, to))),
        _ => None,
    }
}

/// A text, or after a tilde a pattern.
fn replaced(from: &str) -> Result<Replaced, BadValue> {
    let Some(pattern) = from.strip_prefix('~') else {
        return Ok(Replaced::Text(from.into()));
    };
    let pattern = Pattern::anywhere(pattern);
    let pattern = pattern.map_err(|_| BadValue::unused("a regular expression after the tilde"))?;
    Ok(Replaced::Matching(pattern))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_two_words_or_off() {
        assert_eq!(pair("off"), Some(None));
        assert_eq!(pair("a  b"), Some(Some(("a", "b"))));
        for wrong in ["a", "a b c", "", "off off off"] {
            assert_eq!(pair(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn redirects_are_replaced_only_where_both_say_something() {
        for (from, to) in [("off", "/"), ("default", "/"), ("http://a/", "off")] {
            assert_eq!(redirect(from, to), Ok(None));
        }
        let replace = redirect("http://a/", "/b/").expect("right").expect("one");
        assert_eq!(replace.from, Replaced::Text("http://a/".into()));
        assert!(redirect("~a", "/").is_ok_and(|found| found.is_some()));
    }
}
