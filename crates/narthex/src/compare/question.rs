//! A request that is only asked about.

use std::borrow::Cow;
use std::fmt;

use model::RequestView;
use model::canary::CanaryView;

/// A request that is only asked about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Question {
    /// Whether it comes with TLS.
    pub(crate) tls: bool,
    /// The port, where it is not what the scheme means by itself.
    pub(crate) port: Option<u16>,
    /// In lower case, without port.
    pub(crate) host: String,
    /// As `GET`.
    pub(crate) method: String,
    /// As it is sent; begins with a slash.
    pub(crate) path: String,
    /// With its question mark, or empty.
    pub(crate) query: String,
    /// Header fields besides Host: names in lower case, and values.
    pub(crate) headers: Vec<(String, String)>,
}

impl Question {
    /// `GET` without anything else.
    pub(crate) fn get(tls: bool, port: Option<u16>, host: &str, path: &str) -> Self {
        Self {
            tls,
            port,
            host: host.to_owned(),
            method: "GET".to_owned(),
            path: path.to_owned(),
            query: String::new(),
            headers: Vec::new(),
        }
    }

    /// As people write it.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// The host as it stands in URLs.
    pub(crate) fn url_host(&self) -> Cow<'_, str> {
        match self.host.contains(':') {
            true => format!("[{}]", self.host).into(),
            false => Cow::Borrowed(&self.host),
        }
    }

    /// A header field, by its name in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.headers.iter();
        let found = fields.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A cookie, by its name in any case.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        let pairs = self.field("cookie")?.split(';');
        let mut pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
        let found = pairs.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }

    /// A parameter of the query, as it stands there.
    pub(crate) fn argument(&self, name: &str) -> Option<&str> {
        let query = self.query.strip_prefix('?')?;
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let found = pairs.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }
}

/// `GET https://a.example/b?c (cookie: d=e)`
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}://{}", self.method, self.scheme(), self.url_host())?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}{}", self.path, self.query)?;
        for (index, (name, value)) in self.headers.iter().enumerate() {
            let before = if index == 0 { " (" } else { ", " };
            write!(f, "{before}{name}: {value}")?;
        }
        f.write_str(if self.headers.is_empty() { "" } else { ")" })
    }
}

impl RequestView for Question {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match name {
            "host" => Some(Cow::Borrowed(self.host.as_bytes())),
            name => Some(Cow::Borrowed(self.field(name)?.as_bytes())),
        }
    }

    fn query(&self) -> &[u8] {
        self.query.as_bytes()
    }
}

impl CanaryView for Question {
    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.header(name)
    }

    fn cookie(&self, name: &str) -> Option<&[u8]> {
        Self::cookie(self, name).map(str::as_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_reads_as_a_request() {
        let mut question = Question::get(true, Some(8443), "a.example", "/b");
        question.query = "?C=d".to_owned();
        question.headers = vec![("cookie".to_owned(), "x=1; Y=2".to_owned())];
        assert_eq!(
            question.to_string(),
            "GET https://a.example:8443/b?C=d (cookie: x=1; Y=2)"
        );
        assert_eq!(question.cookie("y"), Some("2"));
        assert_eq!(question.argument("c"), Some("d"));
        assert_eq!(question.argument("e"), None);
    }
}
