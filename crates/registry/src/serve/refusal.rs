//! Why clients are refused, in words of a metric.

use http::StatusCode;
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::answer::Answer;

/// Which limit it was, where the status does not say it.
#[derive(Debug, Clone, Copy)]
struct Limit(&'static str);

/// Too much is being uploaded at once.
pub(super) const UPLOADS: &str = "uploads";

/// Too many uploads are begun and not finished.
pub(super) const BEGUN_UPLOADS: &str = "begun_uploads";

/// Too much has come of uploads that are begun and not finished.
pub(super) const BEGUN_BYTES: &str = "begun_bytes";

/// A connection beyond the limit.
pub(super) const CONNECTIONS: &str = "connections";

/// Remembers which limit an answer comes from.
pub(super) fn because(mut answer: Answer, limit: &'static str) -> Answer {
    answer.extensions_mut().insert(Limit(limit));
    answer
}

/// Why a request was refused, if it was. What is wrong or not there is no refusal.
pub(super) fn refusal(head: &Parts, answer: &Answer) -> Option<&'static str> {
    if let Some(Limit(limit)) = answer.extensions().get() {
        return Some(limit);
    }
    Some(match answer.status() {
        StatusCode::UNAUTHORIZED if head.headers.contains_key(AUTHORIZATION) => "credentials",
        // How every client begins that is to show who it is.
        StatusCode::UNAUTHORIZED => "no_credentials",
        StatusCode::FORBIDDEN => "rights",
        StatusCode::TOO_MANY_REQUESTS => "attempts",
        StatusCode::PAYLOAD_TOO_LARGE => "size",
        StatusCode::INSUFFICIENT_STORAGE => "storage_full",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::answer::empty;
    use super::*;

    #[test]
    fn a_refusal_is_told_by_its_limit_or_its_status() {
        let (mut head, ()) = http::Request::new(()).into_parts();
        let of = |head: &Parts, status| refusal(head, &empty(status));
        assert_eq!(of(&head, StatusCode::OK), None);
        assert_eq!(of(&head, StatusCode::NOT_FOUND), None);
        let unauthorized = StatusCode::UNAUTHORIZED;
        assert_eq!(of(&head, unauthorized), Some("no_credentials"));
        let basic = http::HeaderValue::from_static("Basic YTpi");
        head.headers.insert(AUTHORIZATION, basic);
        assert_eq!(of(&head, unauthorized), Some("credentials"));
        let busy = empty(StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refusal(&head, &busy), Some("attempts"));
        assert_eq!(refusal(&head, &because(busy, UPLOADS)), Some(UPLOADS));
    }
}
