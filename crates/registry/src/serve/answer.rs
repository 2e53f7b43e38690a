//! Answers, and errors as the distribution specification has them ("Error Codes").

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use serde::Serialize;

use crate::store;

/// What an answer carries.
pub type Body = UnsyncBoxBody<Bytes, store::Error>;

/// What a client is answered.
pub type Answer = Response<Body>;

/// The word for an error that programs understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// `BLOB_UNKNOWN`
    BlobUnknown,
    /// `BLOB_UPLOAD_INVALID`
    BlobUploadInvalid,
    /// `BLOB_UPLOAD_UNKNOWN`
    BlobUploadUnknown,
    /// `DIGEST_INVALID`
    DigestInvalid,
    /// `MANIFEST_BLOB_UNKNOWN`
    ManifestBlobUnknown,
    /// `MANIFEST_INVALID`
    ManifestInvalid,
    /// `MANIFEST_UNKNOWN`
    ManifestUnknown,
    /// `NAME_INVALID`
    NameInvalid,
    /// `NAME_UNKNOWN`
    NameUnknown,
    /// `SIZE_INVALID`
    SizeInvalid,
    /// `UNAUTHORIZED`
    Unauthorized,
    /// `DENIED`
    Denied,
    /// `UNSUPPORTED`
    Unsupported,
    /// `TOOMANYREQUESTS`
    TooManyRequests,
    /// `TAG_INVALID`: not the specification's own, but its predecessor's.
    TagInvalid,
    /// `PAGINATION_NUMBER_INVALID`: the same.
    PaginationNumberInvalid,
    /// `STORAGE_FULL`: ours.
    StorageFull,
    /// `UNKNOWN`: the fault is here.
    Unknown,
}

#[derive(Serialize)]
struct Errors<'a> {
    errors: [One<'a>; 1],
}

#[derive(Serialize)]
struct One<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<serde_json::Value>,
}

impl Code {
    /// As it is sent.
    pub fn word(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::TagInvalid => "TAG_INVALID",
            Self::PaginationNumberInvalid => "PAGINATION_NUMBER_INVALID",
            Self::StorageFull => "STORAGE_FULL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// A body that there is not.
pub(super) fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(nothing());
    *answer.status_mut() = status;
    if status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
        let zero = HeaderValue::from_static("0");
        answer.headers_mut().insert(CONTENT_LENGTH, zero);
    }
    answer
}

/// An answer with a body of some type.
pub fn full(status: StatusCode, media_type: &str, bytes: Bytes) -> Answer {
    let length = HeaderValue::from(bytes.len());
    let body = Full::new(bytes).map_err(|never| match never {});
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_LENGTH, length);
    with(answer, CONTENT_TYPE, media_type)
}

/// An answer in JSON.
pub fn json(status: StatusCode, media_type: &str, value: &impl Serialize) -> Answer {
    // What we answer has texts as its maps' keys.
    let bytes = serde_json::to_vec(value).expect("JSON of our own");
    full(status, media_type, bytes.into())
}

/// The same with one more field; one that cannot be sent is left out.
pub fn with(mut answer: Answer, name: HeaderName, value: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().append(name, value);
    }
    answer
}

/// An error.
pub fn error(status: StatusCode, code: Code, message: &str) -> Answer {
    error_with(status, code, message, None)
}

/// An error that says more to programs.
pub fn error_with(
    status: StatusCode,
    code: Code,
    message: &str,
    detail: Option<serde_json::Value>,
) -> Answer {
    let code = code.word();
    let errors = [One {
        code,
        message,
        detail,
    }];
    json(status, "application/json", &Errors { errors })
}

/// What the storage's error is for a client.
pub fn failed(error: &store::Error) -> Answer {
    use store::Error as E;
    tracing::error!("{error}");
    match error {
        E::Full(_) => self::error(
            StatusCode::INSUFFICIENT_STORAGE,
            Code::StorageFull,
            "the registry's storage is full",
        ),
        E::ReadOnly(_) => self::error(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::Unsupported,
            "the registry's storage may be read and not written",
        ),
        E::Missing(_) => self::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Unknown,
            "the registry has lost this content: push it again",
        ),
        E::Failed(_) => self::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Unknown,
            "the registry's storage failed; its log says how",
        ),
    }
}
