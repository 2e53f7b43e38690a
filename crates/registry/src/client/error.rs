//! Why a registry did not do what it was asked.

use std::fmt;

use http::StatusCode;
use serde::Deserialize;

/// Why, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no such repository, tag, manifest or blob.
    NotFound,
    /// The credential is missing, wrong, or not enough.
    Denied,
    /// Nobody answers, or the connection broke, or TLS is not what was expected.
    Unreachable,
    /// The registry is there and does not do it.
    Refused,
    /// What came is not what it should be.
    Broken,
    /// What was asked for makes no sense.
    Invalid,
}

/// Why a registry did not do what it was asked, for people. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Why, in a word.
    pub kind: Kind,
    /// Why, in a sentence.
    pub message: String,
    /// Whether it is this request that is refused (4xx): others may be answered.
    pub(crate) is_of_request: bool,
}

impl Error {
    /// An error.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            is_of_request: false,
        }
    }

    /// An answer that is none of those expected, with what its body says.
    pub(super) fn of_answer(what: &str, status: StatusCode, body: &[u8]) -> Self {
        let kind = match status {
            StatusCode::NOT_FOUND => Kind::NotFound,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Kind::Denied,
            _ => Kind::Refused,
        };
        let said = match said(body) {
            // As of a HEAD.
            none if none.is_empty() && status == StatusCode::UNAUTHORIZED => {
                ": it wants credentials, or others".to_owned()
            }
            none if none.is_empty() => none,
            said => format!(": {said}"),
        };
        let passes = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        );
        Self {
            is_of_request: status.is_client_error() && !passes,
            ..Self::new(kind, format!("{what} is answered by {status}{said}"))
        }
    }

    /// A request that got no answer.
    pub(super) fn of_transport(what: &str, error: &reqwest::Error) -> Self {
        Self::new(
            Kind::Unreachable,
            format!("{what} is not answered: {}", causes(error)),
        )
    }

    /// The same with what was being done in front.
    #[must_use]
    pub fn during(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// The innermost cause says most: "connection refused", "unknown issuer".
fn causes(error: &reqwest::Error) -> String {
    let mut source = std::error::Error::source(error);
    let mut last = None;
    while let Some(cause) = source {
        last = Some(cause.to_string());
        source = cause.source();
    }
    let text = last.unwrap_or_else(|| {
        // Its own words quote the address, which may hold a signature.
        match error.is_timeout() {
            true => "it took too long".to_owned(),
            false => "the request failed".to_owned(),
        }
    });
    match text.contains("InvalidContentType") || text.contains("corrupt message") {
        true => format!(
            "{text} (it speaks HTTP, not TLS: --insecure takes that, and in a list `tls.mode: disabled`)"
        ),
        false => text,
    }
}

/// The specification's errors of a body, cut to what a line can hold.
fn said(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let all = serde_json::from_slice::<Errors>(body).map(|it| it.errors);
    let texts = all.unwrap_or_default().into_iter().take(3);
    let texts: Vec<_> = texts
        .map(|one| match one.message.is_empty() {
            true => one.code,
            false => format!("{} ({})", one.code, one.message),
        })
        .collect();
    let text = texts.join(", ");
    text.chars()
        .filter(|it| !it.is_control())
        .take(300)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_with_what_it_says() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such\u001b tag"}]}"#;
        let error = Error::of_answer("GET /v2/a", StatusCode::NOT_FOUND, body);
        assert_eq!(error.kind, Kind::NotFound);
        assert_eq!(
            error.message,
            "GET /v2/a is answered by 404 Not Found: MANIFEST_UNKNOWN (no such tag)"
        );
        let error = Error::of_answer("GET", StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(error.message, "GET is answered by 502 Bad Gateway");
        let error = Error::of_answer("HEAD", StatusCode::UNAUTHORIZED, b"");
        assert_eq!(
            error.message,
            "HEAD is answered by 401 Unauthorized: it wants credentials, or others"
        );
    }
}
