//! `permanent-redirect` and its like: clients are sent elsewhere.

use model::text::Text;

use super::Settings;
use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, boolean, boolean_or_default, is_url, lines, number};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Redirects",
    annotations: &[
        Annotation::works("permanent-redirect", Risk::Medium, |settings, value| {
            url(settings, value).map(|to| of(settings).permanent = Some(to))
        })
        .test("nginx_redirects"),
        Annotation::works("permanent-redirect-code", Risk::Low, |settings, value| {
            let code = code(settings, value)?;
            of(settings).permanent_code = Some(code);
            Ok(())
        })
        .even_empty()
        .default("301")
        .test("nginx_redirects"),
        Annotation::works("temporal-redirect", Risk::Medium, |settings, value| {
            let to = url(settings, value)?;
            if !is_http(value.trim()) {
                // All that ingress-nginx reads with it is void, too.
                of(settings).is_void = true;
                return Err(BadValue::unused("a URL that begins with http"));
            }
            of(settings).temporal = Some(to);
            Ok(())
        })
        .test("nginx_redirects"),
        Annotation::works("temporal-redirect-code", Risk::Low, |settings, value| {
            let code = code(settings, value)?;
            of(settings).temporal_code = Some(code);
            Ok(())
        })
        .even_empty()
        .default("302")
        .test("nginx_redirects"),
        Annotation::works("from-to-www-redirect", Risk::Low, |settings, value| {
            boolean(value).map(|on| of(settings).from_to_www = on)
        })
        .default("false")
        .test("nginx_redirects"),
        Annotation::works("relative-redirects", Risk::Low, |settings, value| {
            boolean(value).map(|on| of(settings).relative = on)
        })
        .default("false")
        .test("nginx_redirects"),
        Annotation::works("use-port-in-redirects", Risk::Low, |settings, value| {
            boolean_or_default(value).map(|on| settings.tls_redirect.names_port = Some(on))
        })
        .default("false")
        .test("nginx_redirects"),
        Annotation::works(
            "preserve-trailing-slash",
            Risk::Medium,
            |settings, value| {
                boolean_or_default(value).map(|on| settings.tls_redirect.keeps_slash = Some(on))
            },
        )
        .default("false")
        .test("nginx_redirects"),
    ],
};

/// Where clients are sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Redirect {
    temporal: Option<Text>,
    temporal_code: Option<i64>,
    permanent: Option<Text>,
    permanent_code: Option<i64>,
    from_to_www: bool,
    relative: bool,
    /// Whether nothing of it has an effect.
    is_void: bool,
}

impl Redirect {
    /// Where all requests are sent, and with which status.
    pub(crate) fn target(&self) -> Option<(&Text, u16)> {
        let code = |code: Option<i64>, most, default| {
            let code = code.and_then(|code| u16::try_from(code).ok());
            let code = code.filter(|code| (300..=most).contains(code));
            code.unwrap_or(default)
        };
        if self.is_void {
            return None;
        }
        let temporal = self.temporal.as_ref();
        let temporal = temporal.map(|to| (to, code(self.temporal_code, 307, 302)));
        temporal.or_else(|| {
            let permanent = self.permanent.as_ref()?;
            Some((permanent, code(self.permanent_code, 308, 301)))
        })
    }

    /// Whether the host with or without `www.` leads to the one that the Ingress names.
    pub(crate) fn leads_from_www(&self) -> bool {
        self.from_to_www && !self.is_void
    }

    /// Whether paths are not made URLs in `Location`.
    pub(crate) fn is_relative(&self) -> bool {
        self.relative && !self.is_void
    }
}

fn of(settings: &mut Settings) -> &mut Redirect {
    settings.routing_mut().redirect.get_or_insert_default()
}

/// An empty one is no number, with which all is void that ingress-nginx reads with it.
fn code(settings: &mut Settings, value: &str) -> Result<i64, BadValue> {
    if value.is_empty() {
        of(settings).is_void = true;
        return Err(BadValue::unused(
            "a status from 300 on, or no such annotation",
        ));
    }
    number(value)
}

fn url(settings: &Settings, value: &str) -> Result<Text, BadValue> {
    const HINT: &str = "a URL of letters, digits and `-._~/:,?&=`";
    if !settings.unchecked && !is_url(value) {
        return Err(BadValue::invalid(HINT));
    }
    Text::parse(&lines(value)).map_err(|_| BadValue::unused("variables that nginx has"))
}

fn is_http(url: &str) -> bool {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    scheme.to_ascii_lowercase().starts_with("http")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_temporal_one_goes_first_and_codes_have_their_ranges() {
        let to = |text: &str| Some(Text::literal(text));
        let mut redirect = Redirect {
            permanent: to("p"),
            permanent_code: Some(308),
            temporal_code: Some(308),
            ..Redirect::default()
        };
        assert_eq!(redirect.target(), to("p").as_ref().map(|to| (to, 308)));
        redirect.permanent_code = Some(309);
        assert_eq!(redirect.target(), to("p").as_ref().map(|to| (to, 301)));
        redirect.temporal = to("t");
        assert_eq!(redirect.target(), to("t").as_ref().map(|to| (to, 302)));
        redirect.is_void = true;
        assert_eq!(redirect.target(), None);
        let unchecked = Settings::unchecked();
        let with_variable = "https://x$request_uri";
        assert!(url(&Settings::default(), with_variable).is_err());
        assert!(url(&unchecked, with_variable).is_ok() && url(&unchecked, "/$nonsense").is_err());
        assert!(is_http("HTTPS://x") && !is_http("/http:") && !is_http("ftp://x"));
    }
}
