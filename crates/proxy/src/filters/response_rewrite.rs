//! What backends say of where things are, in words that hold outside (nginx: `proxy_redirect`,
//! `proxy_cookie_domain`, `proxy_cookie_path`).

use model::filter::ResponseRewrite;
use model::filter::response_rewrite::{Replace, Replaced};

use crate::headers::Headers;

/// `scheme://host` of the client's request, for what is said without it.
pub(super) struct Outside<'a> {
    pub(super) scheme: &'a [u8],
    /// Without a port.
    pub(super) host: &'a [u8],
}

/// Changes a response's fields.
pub(super) fn finish(rewrite: &ResponseRewrite, headers: &mut Headers, outside: &Outside<'_>) {
    if let Some(replace) = &rewrite.redirect {
        change(headers, b"location", |value| {
            // As nginx makes it: what it has changed is whole.
            replaced(replace, value, b"").map(|value| absolute(value, outside))
        });
        change(headers, b"refresh", |value| {
            let (before, url) = value.split_at(url_of(value)?);
            replaced(replace, url, before)
        });
    }
    if rewrite.cookie_domain.is_some() || rewrite.cookie_path.is_some() {
        change(headers, b"set-cookie", |value| cookie(rewrite, value));
    }
}

/// Puts other values in the place of those of a name that `make` makes another of.
fn change(headers: &mut Headers, name: &[u8], make: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let is_it = |field: &[u8]| field.eq_ignore_ascii_case(name);
    let changes = |(_, field, value): (_, &[u8], &[u8])| is_it(field) && make(value).is_some();
    if !headers.iter().any(changes) {
        return;
    }
    let all: Vec<_> = headers
        .iter()
        .filter(|(_, field, _)| is_it(field))
        .map(|(token, field, value)| {
            let value = make(value).unwrap_or_else(|| value.to_vec());
            (token, field.to_vec(), value)
        })
        .collect();
    headers.remove_named(name);
    for (token, field, value) in all {
        headers.push_known(token, &field, &value);
    }
}

/// The value with its beginning, or all of it, replaced; `before` goes before it.
fn replaced(replace: &Replace, value: &[u8], before: &[u8]) -> Option<Vec<u8>> {
    let rest = match &replace.from {
        Replaced::Text(from) => value.strip_prefix(from.as_bytes())?,
        Replaced::Matching(pattern) if pattern.is_match(value) => b"",
        Replaced::Matching(_) => return None,
    };
    Some([before, replace.to.as_bytes(), rest].concat())
}

fn absolute(value: Vec<u8>, outside: &Outside<'_>) -> Vec<u8> {
    match value.starts_with(b"/") {
        true => [outside.scheme, b"://", outside.host, &value].concat(),
        false => value,
    }
}

/// Where the URL begins in `5; url=http://…`.
fn url_of(value: &[u8]) -> Option<usize> {
    const URL: &[u8] = b"url=";
    let at = value
        .windows(URL.len())
        .position(|part| part.eq_ignore_ascii_case(URL))?;
    Some(at + URL.len())
}

/// A cookie with another domain or path; none if it has neither of those that are replaced.
fn cookie(rewrite: &ResponseRewrite, value: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(value.len() + 32);
    let mut is_changed = false;
    for (index, attribute) in value.split(|&byte| byte == b';').enumerate() {
        if index > 0 {
            out.push(b';');
        }
        match Some(attribute)
            .filter(|_| index > 0)
            .and_then(|one| changed(rewrite, one))
        {
            Some(changed) => {
                is_changed = true;
                out.extend_from_slice(&changed);
            }
            None => out.extend_from_slice(attribute),
        }
    }
    is_changed.then_some(out)
}

/// ` Domain=…` or ` Path=…` with another value.
fn changed(rewrite: &ResponseRewrite, attribute: &[u8]) -> Option<Vec<u8>> {
    let equals = attribute.iter().position(|&byte| byte == b'=')?;
    let (name, value) = attribute.split_at(equals + 1);
    let value = value.trim_ascii();
    let is_named = |wanted: &[u8]| name[..equals].trim_ascii().eq_ignore_ascii_case(wanted);
    if is_named(b"path") {
        return replaced(rewrite.cookie_path.as_ref()?, value, name);
    }
    if !is_named(b"domain") {
        return None;
    }
    let replace = rewrite.cookie_domain.as_ref()?;
    let (dot, domain) = match value.strip_prefix(b".") {
        Some(domain) => (&b"."[..], domain),
        None => (&b""[..], value),
    };
    let is_meant = match &replace.from {
        Replaced::Text(from) => domain.eq_ignore_ascii_case(from.as_bytes()),
        Replaced::Matching(pattern) => pattern.is_match(&domain.to_ascii_lowercase()),
    };
    is_meant.then(|| [name, dot, replace.to.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTSIDE: Outside<'static> = Outside {
        scheme: b"https",
        host: b"a.example",
    };

    fn text(from: &str, to: &str) -> Option<Replace> {
        Some(Replace {
            from: Replaced::Text(from.into()),
            to: to.into(),
        })
    }

    fn finished(rewrite: &ResponseRewrite, name: &str, values: &[&str]) -> Vec<String> {
        let mut headers = Headers::default();
        headers.push(b"X-A", b"http://in/");
        for value in values {
            headers.push(name.as_bytes(), value.as_bytes());
        }
        finish(rewrite, &mut headers, &OUTSIDE);
        let values = headers.iter().skip(1);
        let values = values.map(|(_, _, value)| String::from_utf8_lossy(value).into_owned());
        values.collect()
    }

    #[test]
    fn locations_change_where_they_begin_so() {
        let rewrite = ResponseRewrite {
            redirect: text("http://in/one/", "/two/"),
            ..ResponseRewrite::default()
        };
        for (value, expected) in [
            ("http://in/one/x?y", "https://a.example/two/x?y"),
            ("http://in/three/", "http://in/three/"),
            ("/one/", "/one/"),
        ] {
            assert_eq!(finished(&rewrite, "Location", &[value]), [expected]);
        }
        assert_eq!(
            finished(&rewrite, "refresh", &["5; URL=http://in/one/x"]),
            ["5; URL=/two/x"]
        );
        let pattern = model::Pattern::anywhere("in/.ne").expect("right");
        let rewrite = ResponseRewrite {
            redirect: Some(Replace {
                from: Replaced::Matching(pattern),
                to: "http://out/".into(),
            }),
            ..ResponseRewrite::default()
        };
        assert_eq!(
            finished(&rewrite, "location", &["http://in/one/x"]),
            ["http://out/"]
        );
    }

    #[test]
    fn cookies_keep_what_is_not_replaced() {
        let rewrite = ResponseRewrite {
            cookie_domain: text("in.example", "out.example"),
            cookie_path: text("/one", "/two"),
            ..ResponseRewrite::default()
        };
        let values = [
            "a=b; Path=/one/x; HttpOnly; domain=.IN.example; Secure",
            "path=/one; Domain=other.example",
            "c",
        ];
        let expected = [
            "a=b; Path=/two/x; HttpOnly; domain=.out.example; Secure",
            "path=/one; Domain=other.example",
            "c",
        ];
        assert_eq!(finished(&rewrite, "Set-Cookie", &values), expected);
    }
}
