//! `auth-url` and its like: somebody else decides whether a request may pass.

use std::time::Duration;

use model::filter::access::Validity;
use model::text::Text;

use super::Settings;
use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, boolean, has_only, integer};

/// Without their prefix.
pub(crate) const URL: &str = "auth-url";
pub(crate) const SET_HEADERS: &str = "auth-proxy-set-headers";

const TEST: &str = "nginx_external_auth";

/// Connections are kept as to every backend.
const KEPT: &str = "connections to those who are asked are always kept";

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "External authentication",
    annotations: &[
        Annotation::works("auth-always-set-cookie", Risk::Low, |settings, value| {
            let on = boolean(value);
            let on = on.map_err(|_| BadValue::denied("\"true\" or \"false\""))?;
            of(settings).always_cookies = on;
            Ok(())
        })
        .default("false")
        .differs("several cookies stay several; a bad value answers 503 and does not open the path")
        .test(TEST),
        Annotation::works("auth-cache-duration", Risk::Medium, |settings, value| {
            let hint = "statuses and a time, with commas between several, as 200 202 30m, 401 1m";
            let valid = durations(value).ok_or_else(|| BadValue::denied(hint))?;
            of(settings).valid = Some(valid);
            Ok(())
        })
        .default("200 202 401 5m")
        .differs("a bad value answers 503 and does not open the path")
        .test(TEST),
        Annotation::works("auth-cache-key", Risk::Medium, |settings, value| {
            let is_right = |byte: u8| byte.is_ascii_alphanumeric() || b"-_${}".contains(&byte);
            let packed = value.replace(' ', "");
            let text = Some(value.trim()).filter(|_| packed.bytes().all(is_right));
            let text = text.and_then(|text| Text::parse(text).ok());
            let hint = "a text with variables, as $remote_user$http_authorization";
            of(settings).cache_key = Some(text.ok_or_else(|| BadValue::unused(hint))?);
            Ok(())
        })
        .default("answers are not remembered")
        .differs("answers with Vary, or with Expires and no age, are not remembered")
        .test(TEST),
        Annotation::idle("auth-keepalive", Risk::Low, KEPT, number),
        Annotation::idle("auth-keepalive-requests", Risk::Low, KEPT, number),
        Annotation::idle(
            "auth-keepalive-share-vars",
            Risk::Low,
            "there are no variables to share",
            |_, value| {
                let unused = |_| BadValue::unused("\"true\" or \"false\"");
                boolean(value).map(|_| ()).map_err(unused)
            },
        ),
        Annotation::idle("auth-keepalive-timeout", Risk::Low, KEPT, number),
        Annotation::works("auth-method", Risk::Low, |settings, value| {
            const METHODS: [&str; 9] = [
                "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE",
            ];
            let value = value.trim();
            if !METHODS.contains(&value) {
                return Err(BadValue::denied("a method, as GET or POST"));
            }
            of(settings).method = Some(value.into());
            Ok(())
        })
        .default("GET")
        .test(TEST),
        Annotation::works(SET_HEADERS, Risk::Medium, |settings, value| {
            if !has_only(&value.replace(' ', ""), "") {
                return Err(BadValue::unused(
                    "the name of a ConfigMap, with its namespace",
                ));
            }
            of(settings).set_headers = Some(value.trim().into());
            Ok(())
        })
        .differs("a name alone is one of the Ingress's namespace")
        .test(TEST),
        Annotation::works("auth-request-redirect", Risk::Medium, |settings, value| {
            let hint = "a URL of letters, digits and -._~/:,?&=";
            let text = Some(value.trim()).filter(|text| has_only(text, ",?&="));
            let text = text.ok_or_else(|| BadValue::denied(hint))?;
            of(settings).redirect = Some(Text::literal(text));
            Ok(())
        })
        .default("path and query of the request")
        .differs("a bad value answers 503 and does not open the path")
        .test(TEST),
        Annotation::works("auth-response-headers", Risk::Medium, |settings, value| {
            let names = value.split(',').map(str::trim);
            let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
            let hint = "names of header fields with commas between";
            if !names.iter().all(|name| is_field(name)) {
                return Err(BadValue::denied(hint));
            }
            of(settings).response_headers = names.into_iter().map(Into::into).collect();
            Ok(())
        })
        .default("none")
        .test(TEST),
        Annotation::works("auth-signin", Risk::High, |settings, value| {
            let hint = "a URL, which may have variables, as https://$host/oauth2/start";
            let is_right = has_only(&value.replace(' ', ""), ",?&=$");
            let text = Some(value.trim()).filter(|text| is_right && Text::parse(text).is_ok());
            of(settings).signin = Some(text.ok_or_else(|| BadValue::unused(hint))?.into());
            Ok(())
        })
        .default("401 stays 401")
        .test(TEST),
        Annotation::works(
            "auth-signin-redirect-param",
            Risk::Medium,
            |settings, value| {
                let text = Some(value.trim()).filter(|text| has_only(text, ",?&="));
                let text = text.ok_or(BadValue::unused("the name of a parameter"))?;
                of(settings).signin_param = Some(text.into());
                Ok(())
            },
        )
        .default("rd")
        .test(TEST),
        Annotation::works(URL, Risk::High, |settings, value| {
            // Whatever it is, somebody is to be asked.
            of(settings).is_asked = true;
            if !has_only(&value.replace(' ', ""), ",?&=$") {
                return Err(BadValue::invalid(
                    "a URL of letters, digits, variables and -._~/:,?&=",
                ));
            }
            of(settings).url = Some(AuthUrl::parse(value.trim())?);
            Ok(())
        })
        .default("nobody is asked")
        .differs("a Service's name needs no DNS; a host with variables may not be a loopback, link-local or metadata address")
        .test(TEST),
        Annotation::works("enable-global-auth", Risk::Low, |settings, value| {
            let unused = |_| BadValue::unused("\"true\" or \"false\"");
            of(settings).is_exempt = !boolean(value).map_err(unused)?;
            Ok(())
        })
        .default("true")
        .test(TEST),
    ],
};

/// Who decides, as far as an Ingress says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ExternalAuth {
    /// Whether a URL is said, good or bad.
    pub(crate) is_asked: bool,
    pub(crate) url: Option<AuthUrl>,
    pub(crate) method: Option<Box<str>>,
    /// As it is written.
    pub(crate) signin: Option<Box<str>>,
    pub(crate) signin_param: Option<Box<str>>,
    pub(crate) cache_key: Option<Text>,
    pub(crate) valid: Option<Box<[Validity]>>,
    pub(crate) response_headers: Box<[Box<str>]>,
    /// A ConfigMap as it is written: `namespace/name`, or a name.
    pub(crate) set_headers: Option<Box<str>>,
    pub(crate) redirect: Option<Text>,
    pub(crate) always_cookies: bool,
    /// Text of nginx's configuration about the question (`auth-snippet`).
    pub(crate) snippet: Option<Box<str>>,
    /// Whether who is asked for all Ingresses is not asked for this one.
    pub(crate) is_exempt: bool,
}

impl ExternalAuth {
    /// Where clients are sent to sign in, with what they asked for.
    pub(crate) fn signin_text(&self) -> Option<Text> {
        const WANTED: &str = "$pass_access_scheme://$http_host$escaped_request_uri";

        let url = self.signin.as_deref()?;
        let name = self.signin_param.as_deref().unwrap_or("rd");
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let mut pairs = query.split('&').filter(|pair| !pair.is_empty());
        let is_said = query.split('&').any(|pair| {
            let pair = pair.split_once('=');
            pair.is_some_and(|(own, value)| own == name && !value.is_empty())
        });
        let text = match pairs.next() {
            None => format!("{url}?{name}={WANTED}"),
            Some(_) if is_said => url.to_owned(),
            Some(_) => format!("{url}&{name}={WANTED}"),
        };
        // Both parts are texts with variables that are known.
        Text::parse(&text).ok()
    }

    /// How long answers are good.
    pub(crate) fn validity(&self) -> Box<[Validity]> {
        self.valid.clone().unwrap_or_else(|| {
            let default = Validity {
                codes: Some([200, 202, 401].into()),
                time: Duration::from_secs(300),
            };
            [default].into()
        })
    }
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthUrl {
    pub(crate) tls: bool,
    /// Host and port, where there are variables in them.
    pub(crate) named: Option<Text>,
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
    /// Path and query, if the URL has any.
    pub(crate) target: Option<Text>,
}

impl AuthUrl {
    fn parse(url: &str) -> Result<Self, BadValue> {
        const HINT: BadValue =
            BadValue::denied("a URL with a host, as http://auth.default.svc.cluster.local/verify");
        let (tls, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(HINT),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| HINT)?),
            None => (authority, if tls { 443 } else { 80 }),
        };
        let named = match host.contains('$') {
            true => {
                let bad = BadValue::denied("a host with variables that nginx knows, or none");
                Some(Text::parse(authority).map_err(|_| bad)?)
            }
            false => None,
        };
        let is_host = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_$".contains(&byte))
        };
        if !host.trim_end_matches('.').split('.').all(is_host) || port == 0 {
            return Err(HINT);
        }
        let target = match target.as_bytes().first() {
            None => None,
            Some(b'?') => Some(format!("/{target}")),
            Some(_) => Some(target.to_owned()),
        };
        let target = target.map(|target| Text::parse(&target)).transpose();
        Ok(Self {
            tls,
            named,
            host: host.trim_end_matches('.').into(),
            port,
            target: target
                .map_err(|_| BadValue::denied("a URL with variables that nginx knows, or none"))?,
        })
    }

    /// The Service that the host is the name of, as `(name, namespace)`.
    pub(crate) fn service(&self) -> Option<(&str, &str)> {
        if self.named.is_some() {
            return None;
        }
        let host = &*self.host;
        let short = host.strip_suffix(".svc.cluster.local");
        let (name, namespace) = short
            .or_else(|| host.strip_suffix(".svc"))?
            .split_once('.')?;
        (!namespace.contains('.')).then_some((name, namespace))
    }
}

/// Takes `auth-snippet` over, which is read where it can be said what is wrong.
pub(super) fn say_snippet(settings: &mut Settings, value: &str) {
    of(settings).snippet = Some(value.into());
}

fn of(settings: &mut Settings) -> &mut ExternalAuth {
    let guard = settings.guard.get_or_insert_default();
    guard.external_auth.get_or_insert_default()
}

fn number(_: &mut Settings, value: &str) -> Result<(), BadValue> {
    let unused = BadValue::unused("a number");
    integer(value).map(|_| ()).ok_or(unused)
}

/// Whether it can be the name of a field.
pub(crate) fn is_field(name: &str) -> bool {
    let is_right = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !name.is_empty() && name.bytes().all(is_right)
}

/// Statuses and times, as nginx's `proxy_cache_valid`.
fn durations(value: &str) -> Option<Box<[Validity]>> {
    let parts = value.split(',').map(str::trim);
    let valid: Option<Vec<Validity>> = parts
        .filter(|part| !part.is_empty())
        .map(validity)
        .collect();
    valid.filter(|valid| !valid.is_empty()).map(Into::into)
}

fn validity(text: &str) -> Option<Validity> {
    let mut codes = Vec::new();
    let (mut all, mut time) = (false, None);
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let is_code = word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit());
        if is_code && time.is_none() {
            codes.push(word.parse().ok()?);
        } else if word == "any" && time.is_none() {
            all = true;
        } else {
            let sum = time.unwrap_or(Duration::ZERO);
            time = Some(sum.saturating_add(duration(word)?));
        }
    }
    let codes = match (all, codes.is_empty()) {
        (true, _) => None,
        (false, true) => Some([200, 301, 302].into()),
        (false, false) => Some(codes.into()),
    };
    Some(Validity { codes, time: time? })
}

/// A time as nginx writes it, with its unit.
fn duration(text: &str) -> Option<Duration> {
    let end = text.find(|first: char| !first.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let number: u32 = number.parse().ok()?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number.into())),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "M" => 30 * 86_400,
        "y" => 365 * 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(u64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::annotations::values::Consequence;

    #[test]
    fn urls_have_a_host_without_variables() {
        let url = AuthUrl::parse("https://auth.example.com:8443/a/$host?b=$arg_c").expect("a URL");
        assert_eq!(
            (url.tls, &*url.host, url.port),
            (true, "auth.example.com", 8443)
        );
        let parts = url.target.expect("a path");
        assert_eq!(parts.pieces().len(), 4);
        let named = AuthUrl::parse("http://auth.$host:81/a").expect("a URL");
        assert_eq!(named.named, Text::parse("auth.$host:81").ok());
        assert_eq!(named.service(), None);
        let none = AuthUrl::parse("http://10.0.0.1").expect("a URL");
        assert_eq!((none.port, none.target), (80, None));
        for wrong in [
            "",
            "auth.example.com",
            "http://",
            "http:///a",
            "ftp://a/b",
            "https://invalid..auth.url",
            "http://a:b/c",
            "http://a:0/c",
            "http://$nothing/a",
            "http://a/$nothing",
            "http://a b/",
        ] {
            let bad = AuthUrl::parse(wrong).expect_err(wrong);
            assert_eq!(bad.consequence, Consequence::Denied, "{wrong}");
        }
    }

    #[test]
    fn services_are_known_by_their_names() {
        let service = |url: &str| {
            let url = AuthUrl::parse(url).expect("a URL");
            url.service()
                .map(|(name, namespace)| format!("{namespace}/{name}"))
        };
        let same = Some("default/auth".to_owned());
        assert_eq!(service("http://auth.default.svc.cluster.local:80/x"), same);
        assert_eq!(service("http://auth.default.svc/x"), same);
        assert_eq!(service("http://auth.default/x"), None);
        assert_eq!(service("http://a.b.default.svc/x"), None);
    }

    #[test]
    fn the_way_back_is_added_where_it_is_not_said() {
        let text = |signin: &str, param: Option<&str>| {
            let auth = ExternalAuth {
                signin: Some(signin.into()),
                signin_param: param.map(Into::into),
                ..ExternalAuth::default()
            };
            auth.signin_text()
        };
        let wanted = |before: &str| {
            let wanted = "$pass_access_scheme://$http_host$escaped_request_uri";
            Text::parse(&format!("{before}{wanted}")).ok()
        };
        assert_eq!(text("http://a/b", None), wanted("http://a/b?rd="));
        assert_eq!(text("http://a/b?c=d", None), wanted("http://a/b?c=d&rd="));
        assert_eq!(text("http://a/b", Some("to")), wanted("http://a/b?to="));
        let own = "https://a/b?rd=$escaped_request_uri";
        assert_eq!(text(own, None), Text::parse(own).ok());
    }

    #[test]
    fn durations_are_statuses_and_times() {
        let read = durations("200 202 401 30m, any 1m30s").map(|_| ());
        assert_eq!(read, None, "a time has one unit");
        let read = durations("200 202 30m,, any 1m 30s, 10s").expect("durations");
        let short: Vec<_> = read
            .iter()
            .map(|it| (it.codes.as_deref().unwrap_or(&[]), it.time.as_secs()))
            .collect();
        let short: Vec<_> = short
            .iter()
            .map(|(codes, time)| (codes.to_vec(), *time))
            .collect();
        assert_eq!(
            short,
            [
                (vec![200, 202], 1800),
                (vec![], 90),
                (vec![200, 301, 302], 10)
            ]
        );
        for wrong in ["", "200", "30m 200", "x", "200 30q"] {
            assert_eq!(durations(wrong), None, "{wrong}");
        }
    }
}
