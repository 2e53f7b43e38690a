//! What a client shows: the `Authorization` field, and the fields of a form.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The longest field in bytes that is looked at.
const LONGEST: usize = 24 * 1024;

/// What a client shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// A name and a password, or a token in its place.
    Basic { name: String, password: String },
    /// A token.
    Bearer(String),
}

// By hand, so that no secret can reach a log.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { name, .. } => f
                .debug_struct("Basic")
                .field("name", name)
                .finish_non_exhaustive(),
            Self::Bearer(_) => f.write_str("Bearer"),
        }
    }
}

/// The field is there, and cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

impl Credentials {
    /// What the `Authorization` field has; none without one.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, Unreadable> {
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let Some(field) = fields.next() else {
            return Ok(None);
        };
        // Which of two would count?
        if fields.next().is_some() || field.len() > LONGEST {
            return Err(Unreadable);
        }
        let field = field.to_str().map_err(|_| Unreadable)?;
        let (scheme, value) = field.split_once(' ').ok_or(Unreadable)?;
        let value = value.trim();
        if scheme.eq_ignore_ascii_case("bearer") && !value.is_empty() {
            return Ok(Some(Self::Bearer(value.to_owned())));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(Unreadable);
        }
        let pair = BASE64_STANDARD.decode(value).map_err(|_| Unreadable)?;
        let pair = String::from_utf8(pair).map_err(|_| Unreadable)?;
        let (name, password) = pair.split_once(':').ok_or(Unreadable)?;
        if name.is_empty() && password.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self::Basic {
            name: name.to_owned(),
            password: password.to_owned(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Result<Option<Credentials>, Unreadable> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().expect("a value"));
        }
        Credentials::of(&headers)
    }

    #[test]
    fn both_schemes_are_read_and_nothing_else_is() {
        assert_eq!(read(&[]), Ok(None));
        let basic = Credentials::Basic {
            name: "alice".to_owned(),
            password: "a:b".to_owned(),
        };
        assert_eq!(read(&["basic YWxpY2U6YTpi"]), Ok(Some(basic.clone())));
        assert!(!format!("{basic:?}").contains("a:b"));
        assert_eq!(
            read(&["Bearer x.y.z"]),
            Ok(Some(Credentials::Bearer("x.y.z".to_owned())))
        );
        for wrong in [
            "Basic ???",
            "Basic YWxpY2U=",
            "Digest x",
            "Bearer",
            "Bearer ",
        ] {
            assert_eq!(read(&[wrong]), Err(Unreadable), "{wrong}");
        }
        assert_eq!(read(&["Bearer a", "Bearer b"]), Err(Unreadable));
    }
}
