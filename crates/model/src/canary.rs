//! Canaries: which requests go to the other of two backends.

use std::borrow::Cow;

use crate::condition::Pattern;

/// Which requests are a canary's, before its weight is asked (ingress-nginx: `canary-by-…`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Canary {
    /// A header field, by its name in lower case, and what its value has to be.
    pub header: Option<(Box<str>, CanaryHeader)>,
    /// A cookie by its name in any case: `always` or `never`.
    pub cookie: Option<Box<str>>,
    /// Whether sessions of the main neither lead to the canary nor are begun there
    /// (`affinity-canary-behavior: legacy`).
    pub sessionless: bool,
}

/// What a header field's value tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CanaryHeader {
    /// `always` and `never` decide, and others say nothing.
    AlwaysNever,
    /// This value means the canary, and others say nothing.
    Value(Box<str>),
    /// A value with this in it means the canary, and others say nothing.
    Pattern(Pattern),
    /// Nobody can read what was to be looked for: who has the field is not the canary's.
    Unreadable,
}

/// What a canary looks at.
pub trait CanaryView {
    /// The value of a header field by its name in lower case.
    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>>;

    /// The value of a cookie by its name in any case.
    fn cookie(&self, name: &str) -> Option<&[u8]>;
}

impl Canary {
    /// Whether a request is the canary's; none if nothing but chance tells. A header field goes
    /// before a cookie.
    pub fn decides(&self, request: &impl CanaryView) -> Option<bool> {
        let header = self.header.as_ref();
        header
            .and_then(|(name, header)| header.decides(&request.field(name)?))
            .or_else(|| always_never(request.cookie(self.cookie.as_deref()?)?))
    }
}

impl CanaryHeader {
    fn decides(&self, value: &[u8]) -> Option<bool> {
        match self {
            Self::AlwaysNever => always_never(value),
            Self::Value(wanted) => (wanted.as_bytes() == value).then_some(true),
            Self::Pattern(pattern) => pattern.is_match(value).then_some(true),
            Self::Unreadable => Some(false),
        }
    }
}

fn always_never(value: &[u8]) -> Option<bool> {
    match value {
        b"always" => Some(true),
        b"never" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Asked(Option<&'static str>, Option<&'static str>);

    impl CanaryView for Asked {
        fn field(&self, _: &str) -> Option<Cow<'_, [u8]>> {
            self.0.map(|value| Cow::Borrowed(value.as_bytes()))
        }

        fn cookie(&self, _: &str) -> Option<&[u8]> {
            self.1.map(str::as_bytes)
        }
    }

    #[test]
    fn the_header_goes_before_the_cookie_and_says_nothing_by_other_values() {
        let of = |header| Canary {
            header: Some(("x".into(), header)),
            cookie: Some("c".into()),
            ..Canary::default()
        };
        let pattern = Pattern::anywhere("^Do[A-Z]").expect("a pattern");
        for (canary, header, cookie, expected) in [
            (
                CanaryHeader::AlwaysNever,
                Some("always"),
                Some("never"),
                Some(true),
            ),
            (
                CanaryHeader::AlwaysNever,
                Some("never"),
                Some("always"),
                Some(false),
            ),
            (
                CanaryHeader::AlwaysNever,
                Some("Always"),
                Some("always"),
                Some(true),
            ),
            (CanaryHeader::AlwaysNever, Some("x"), Some("y"), None),
            (CanaryHeader::AlwaysNever, None, None, None),
            (CanaryHeader::Value("v".into()), Some("v"), None, Some(true)),
            (CanaryHeader::Value("v".into()), Some("never"), None, None),
            (
                CanaryHeader::Value("v".into()),
                Some("w"),
                Some("never"),
                Some(false),
            ),
            (
                CanaryHeader::Pattern(pattern.clone()),
                Some("DoIt"),
                None,
                Some(true),
            ),
            (CanaryHeader::Pattern(pattern), Some("doIt"), None, None),
            (
                CanaryHeader::Unreadable,
                Some("x"),
                Some("always"),
                Some(false),
            ),
            (CanaryHeader::Unreadable, None, Some("always"), Some(true)),
        ] {
            let found = of(canary.clone()).decides(&Asked(header, cookie));
            assert_eq!(found, expected, "{canary:?} {header:?} {cookie:?}");
        }
    }
}
