//! How somebody is sent away, as the distribution specification has it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

/// Why somebody may not. It does not say whether there is what was asked for: nobody has looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub(crate) Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Credentials are needed, others, or a token for more: 401 with what the client has to do.
    Unauthorized {
        challenge: Option<String>,
        message: String,
    },
    /// We know who it is, and he may not: 403.
    Denied { message: String },
    /// Too many wrong passwords: 429.
    TooMany(Duration),
    /// Nobody can tell now: 503.
    Unavailable,
}

impl Refusal {
    /// What is sent.
    pub fn response(&self) -> Response<Bytes> {
        let (status, code, message) = match &self.0 {
            Kind::Unauthorized { message, .. } => {
                (StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message.as_str())
            }
            Kind::Denied { message } => (StatusCode::FORBIDDEN, "DENIED", message.as_str()),
            Kind::TooMany(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "TOOMANYREQUESTS",
                "too many wrong passwords; wait before the next",
            ),
            Kind::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "UNAVAILABLE",
                "credentials cannot be verified now; try again",
            ),
        };
        let body = json!({"errors": [{"code": code, "message": message}]}).to_string();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match &self.0 {
            Kind::Unauthorized {
                challenge: Some(challenge),
                ..
            } => {
                // Made of what a header field may have; if it were not, the client is not told how.
                if let Ok(value) = HeaderValue::from_str(challenge) {
                    headers.insert(WWW_AUTHENTICATE, value);
                }
            }
            Kind::TooMany(wait) => {
                let seconds = wait.as_secs() + 1;
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            Kind::Unavailable => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }

    /// Its name, for a metric.
    pub fn name(&self) -> &'static str {
        match self.0 {
            Kind::Unauthorized { .. } => "unauthorized",
            Kind::Denied { .. } => "denied",
            Kind::TooMany(_) => "too_many_attempts",
            Kind::Unavailable => "unavailable",
        }
    }
}
