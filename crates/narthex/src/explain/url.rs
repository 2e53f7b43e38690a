//! The URL that is asked for.

use model::HostName;

use crate::compare::Question;

/// An http or https URL, in the parts that a request has.
#[derive(Debug, Clone)]
pub(crate) struct Url {
    /// As it was typed.
    pub(crate) text: String,
    pub(crate) tls: bool,
    pub(crate) host: HostName,
    /// What was typed, if a port was.
    pub(crate) port: Option<u16>,
    /// Never empty.
    pub(crate) path: String,
    /// With its question mark.
    pub(crate) query: String,
}

impl Url {
    /// The URL of a request. None if its host is none.
    pub(crate) fn of(question: &Question) -> Option<Self> {
        Some(Self {
            text: String::new(),
            tls: question.tls,
            host: HostName::parse(question.url_host().as_bytes())?,
            port: question.port,
            path: question.path.clone(),
            query: question.query.clone(),
        })
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (tls, rest) = strip_scheme(text).ok_or_else(|| {
            format!(
                "`{text}` is no URL: the last argument must be one, as http://example.com/path \
                 or https://example.com/path"
            )
        })?;
        // A fragment stays with the client.
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let host = HostName::parse(authority.as_bytes())
            .ok_or_else(|| format!("`{authority}` in `{text}` is no host name or address"))?;
        let port = port(authority)
            .map_err(|port| format!("`{port}` in `{text}` is no port: 1 to 65535 are"))?;
        let (path, query) = match target.find('?') {
            Some(mark) => target.split_at(mark),
            None => (target, ""),
        };
        Ok(Self {
            text: text.to_owned(),
            tls,
            host,
            port,
            path: if path.is_empty() { "/" } else { path }.to_owned(),
            query: query.to_owned(),
        })
    }
}

fn strip_scheme(text: &str) -> Option<(bool, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    if scheme.eq_ignore_ascii_case("https") {
        Some((true, rest))
    } else if scheme.eq_ignore_ascii_case("http") {
        Some((false, rest))
    } else {
        None
    }
}

fn port(authority: &str) -> Result<Option<u16>, &str> {
    let after_host = authority
        .rfind(']')
        .map_or(authority, |end| &authority[end..]);
    match after_host.split_once(':') {
        None | Some((_, "")) => Ok(None),
        Some((_, port)) => match port.parse() {
            Ok(number) if number != 0 => Ok(Some(number)),
            _ => Err(port),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_apart() {
        let url = Url::parse("https://Shop.Example.com:8443/a/b?c=/d#e").expect("a URL");
        assert!(url.tls);
        assert_eq!(url.host.as_str(), "shop.example.com");
        assert_eq!(url.port, Some(8443));
        assert_eq!((url.path.as_str(), url.query.as_str()), ("/a/b", "?c=/d"));
        let url = Url::parse("http://[::1]?q").expect("a URL");
        assert_eq!((url.host.as_str(), url.port, url.tls), ("::1", None, false));
        assert_eq!((url.path.as_str(), url.query.as_str()), ("/", "?q"));
    }

    #[test]
    fn what_is_no_url_is_told_so() {
        for wrong in [
            "example.com/a",
            "dir",
            "ftp://a/",
            "http://",
            "http://a b/",
            "http://a:0/",
        ] {
            Url::parse(wrong).expect_err(wrong);
        }
    }
}
