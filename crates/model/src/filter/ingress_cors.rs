//! What scripts of other origins may do, as ingress-nginx tells browsers.

/// What scripts of other origins may do, as ingress-nginx tells browsers: the same fields with every
/// response, and every OPTIONS of an origin that may come is answered (`enable-cors`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressCors {
    /// From where (`cors-allow-origin`).
    pub origins: Origins,
    /// `Access-Control-Allow-Methods`, as it is written.
    pub methods: Box<str>,
    /// `Access-Control-Allow-Headers`, as it is written.
    pub headers: Box<str>,
    /// `Access-Control-Expose-Headers`, as it is written; empty is none.
    pub expose: Box<str>,
    /// `Access-Control-Max-Age`, in seconds. ingress-nginx takes any number.
    pub max_age: i64,
    /// Whether cookies and the like may be sent.
    pub credentials: bool,
}

/// Where scripts may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// From anywhere, which is told as an asterisk.
    Any,
    /// From one of these, which is told as it came.
    These(Box<[Origin]>),
}

/// One origin, or several of which one label differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// All of it, or what is before the asterisk.
    before: Box<str>,
    /// What is after the asterisk, if there is one: it stands for one label.
    after: Option<Box<str>>,
}

impl Origin {
    /// Reads one as it is written: `https://example.com:8443`, `https://*.example.com` or `null`.
    pub fn new(text: &str) -> Self {
        let (before, after) = match text.split_once('*') {
            Some((before, after)) => (before, Some(after.into())),
            None => (text, None),
        };
        Self {
            before: before.into(),
            after,
        }
    }

    /// Whether an `Origin` field's value is meant, in any case.
    fn matches(&self, origin: &[u8]) -> bool {
        let before = self.before.as_bytes();
        let Some(after) = &self.after else {
            return origin.eq_ignore_ascii_case(before);
        };
        let after = after.as_bytes();
        let Some(label) = origin.len().checked_sub(before.len() + after.len()) else {
            return false;
        };
        let (start, rest) = origin.split_at(before.len());
        let (label, end) = rest.split_at(label);
        let is_of_label = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        !label.is_empty()
            && label.iter().all(is_of_label)
            && start.eq_ignore_ascii_case(before)
            && end.eq_ignore_ascii_case(after)
    }
}

/// As it is written.
impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.before)?;
        match &self.after {
            Some(after) => write!(f, "*{after}"),
            None => Ok(()),
        }
    }
}

impl IngressCors {
    /// What `Access-Control-Allow-Origin` says to a request of this `Origin`; none if it says
    /// nothing.
    pub fn allowed<'a>(&self, origin: Option<&'a [u8]>) -> Option<&'a [u8]> {
        match &self.origins {
            Origins::Any => Some(b"*"),
            Origins::These(all) => {
                let origin = origin?;
                all.iter().any(|one| one.matches(origin)).then_some(origin)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asterisk_is_one_label_and_all_else_is_compared_in_any_case() {
        let origins = ["https://*.example.com:8443", "http://a.example", "null"];
        let cors = IngressCors {
            origins: Origins::These(origins.map(Origin::new).into()),
            methods: "".into(),
            headers: "".into(),
            expose: "".into(),
            max_age: 0,
            credentials: true,
        };
        for (origin, is_allowed) in [
            ("https://a-1.Example.com:8443", true),
            ("https://a.b.example.com:8443", false),
            ("https://example.com:8443", false),
            ("https://.example.com:8443", false),
            ("https://a.example.com", false),
            ("HTTP://a.example", true),
            ("http://a.example:80", false),
            ("http://b.a.example", false),
            ("null", true),
            ("https://evil.null", false),
            ("", false),
        ] {
            let allowed = cors.allowed(Some(origin.as_bytes()));
            assert_eq!(allowed.is_some(), is_allowed, "{origin}");
        }
        assert_eq!(cors.allowed(None), None);
        let any = IngressCors {
            origins: Origins::Any,
            ..cors
        };
        assert_eq!(any.allowed(None), Some(&b"*"[..]));
    }
}
