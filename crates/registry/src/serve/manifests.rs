//! Manifests: end-points 3, 7 and 9.

use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, LOCATION,
};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use oci_spec::image::Digest;
use tokio::time::timeout;

use super::answer::{Answer, Code, empty, error, error_with, failed, full, with};
use super::blobs::{DIGEST, etag, is_known};
use super::route::{Reference, parameters};
use super::{Exchange, uploads};
use crate::cache::Kept;
use crate::name::{RepositoryName, Tag};
use crate::store::{Algorithm, Error, Manifest, NotAccepted, Stored};

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");

/// How many tags one push may set.
const MOST_TAGS: usize = 100;

/// `GET` and `HEAD`.
pub(super) async fn read(
    exchange: &Exchange<'_>,
    name: &RepositoryName,
    reference: &Reference,
) -> Answer {
    let store = exchange.store;
    let digest = match reference {
        Reference::Digest(digest) => digest.clone(),
        Reference::Tag(tag) => match store.tagged(name, tag).await {
            Ok(Some(digest)) => digest,
            Ok(None) => return unknown(),
            Err(error) => return failed(&error),
        },
    };
    let stored = match store.manifest(name, &digest).await {
        Ok(Some(stored)) => stored,
        Ok(None) => return unknown(),
        Err(error) => return failed(&error),
    };
    if let Some(answer) = without_content(exchange, &stored) {
        return answer;
    }
    match store.manifest_bytes(&digest).await {
        Ok(bytes) => whole(exchange, &stored, bytes),
        // It has just been taken away.
        Err(Error::Missing(_)) if matches!(store.manifest(name, &digest).await, Ok(None)) => {
            unknown()
        }
        Err(error) => failed(&error),
    }
}

/// Answers a `GET` or `HEAD` by one that has been verified.
pub(super) fn send(exchange: &Exchange<'_>, kept: Kept) -> Answer {
    let Kept { stored, bytes } = kept;
    without_content(exchange, &stored).unwrap_or_else(|| whole(exchange, &stored, bytes))
}

/// The answer to a client that does not want the bytes, or has them.
fn without_content(exchange: &Exchange<'_>, stored: &Stored) -> Option<Answer> {
    if is_known(exchange.head, &stored.digest) {
        return Some(named(empty(StatusCode::NOT_MODIFIED), stored));
    }
    if exchange.head.method != Method::HEAD {
        return None;
    }
    let mut answer = empty(StatusCode::OK);
    let length = stored.size.into();
    answer.headers_mut().insert(CONTENT_LENGTH, length);
    Some(named(
        with(answer, CONTENT_TYPE, &stored.media_type),
        stored,
    ))
}

fn whole(exchange: &Exchange<'_>, stored: &Stored, bytes: Bytes) -> Answer {
    exchange.metrics.sent(bytes.len());
    let answer = named(full(StatusCode::OK, &stored.media_type, bytes), stored);
    // Whatever type its pusher gave it.
    with(answer, CONTENT_SECURITY_POLICY, "sandbox")
}

fn named(answer: Answer, stored: &Stored) -> Answer {
    let digest = &stored.digest;
    with(with(answer, DIGEST, digest.as_ref()), ETAG, &etag(digest))
}

/// `PUT`, with its `tag`s.
pub(super) async fn write(
    exchange: &Exchange<'_>,
    body: &mut Incoming,
    name: &RepositoryName,
    reference: &Reference,
) -> Answer {
    let mut tags = Vec::new();
    for (key, value) in parameters(exchange.head.uri.query()) {
        if key != "tag" {
            continue;
        }
        match value.parse::<Tag>() {
            Ok(tag) => tags.push(tag),
            Err(wrong) => return invalid(Code::TagInvalid, &wrong.to_string()),
        }
    }
    if tags.len() > MOST_TAGS {
        let message = format!("one push may set {MOST_TAGS} tags");
        return error(StatusCode::URI_TOO_LONG, Code::TagInvalid, &message);
    }
    let bytes = match collect(exchange, body).await {
        Ok(bytes) => bytes,
        Err(answer) => return answer,
    };
    exchange.metrics.received(bytes.len());
    let digest = match reference {
        Reference::Tag(_) => Algorithm::Sha256.digest(&bytes),
        Reference::Digest(digest) => {
            let computed = Algorithm::of(digest).map(|algorithm| algorithm.digest(&bytes));
            if computed.as_ref() != Some(digest) {
                let message = "the manifest has another digest";
                return invalid(Code::DigestInvalid, message);
            }
            digest.clone()
        }
    };
    let content_type = exchange.head.headers.get(CONTENT_TYPE);
    let content_type = content_type
        .and_then(|value| value.to_str().ok())
        .map(|value| value.split(';').next().unwrap_or_default().trim())
        .filter(|value| !value.is_empty());
    let manifest = match Manifest::read(&bytes, content_type) {
        Ok(manifest) if exchange.limits.missing_blobs => manifest.needing_nothing(),
        Ok(manifest) => manifest,
        Err(wrong) => return invalid(Code::ManifestInvalid, &wrong),
    };
    let Some(media_type) = content_type.or(manifest.media_type.as_deref()) else {
        let message = "neither Content-Type nor mediaType says what it is";
        return invalid(Code::ManifestInvalid, message);
    };
    if !is_media_type(media_type) {
        let message = "its media type is none, as application/vnd.oci.image.manifest.v1+json is";
        return invalid(Code::ManifestInvalid, message);
    }
    let stored = Stored {
        media_type: media_type.to_owned(),
        size: bytes.len() as u64,
        digest,
    };
    let by_parameter = tags.len();
    if let Reference::Tag(tag) = reference {
        tags.push(tag.clone());
    }
    let put = exchange
        .store
        .put_manifest(name, &stored, bytes, &manifest, &tags);
    match put.await {
        Ok(()) => created(
            name,
            reference,
            &stored.digest,
            &manifest,
            &tags[..by_parameter],
        ),
        Err(NotAccepted::Needs(missing)) => {
            let missing: Vec<&str> = missing.iter().map(AsRef::as_ref).collect();
            error_with(
                StatusCode::NOT_FOUND,
                Code::ManifestBlobUnknown,
                "the repository does not have all blobs that the manifest names",
                Some(serde_json::json!({ "missing": missing })),
            )
        }
        Err(NotAccepted::Failed(error)) => failed(&error),
    }
}

/// `DELETE`.
pub(super) async fn delete(
    exchange: &Exchange<'_>,
    name: &RepositoryName,
    reference: &Reference,
) -> Answer {
    let deleted = match reference {
        Reference::Tag(tag) => exchange.store.delete_tag(name, tag).await,
        Reference::Digest(digest) => exchange.store.delete_manifest(name, digest).await,
    };
    match deleted {
        Ok(true) => empty(StatusCode::ACCEPTED),
        Ok(false) => unknown(),
        Err(error) => failed(&error),
    }
}

fn created(
    name: &RepositoryName,
    reference: &Reference,
    digest: &Digest,
    manifest: &Manifest,
    tags: &[Tag],
) -> Answer {
    let place = match reference {
        Reference::Tag(tag) => tag.as_str(),
        Reference::Digest(digest) => digest.as_ref(),
    };
    let answer = empty(StatusCode::CREATED);
    let answer = with(answer, LOCATION, &format!("/v2/{name}/manifests/{place}"));
    let mut answer = with(answer, DIGEST, digest.as_ref());
    if let Some(subject) = &manifest.subject {
        answer = with(answer, SUBJECT, subject.as_ref());
    }
    for tag in tags {
        answer = with(answer, TAG, tag.as_str());
    }
    answer
}

async fn collect(exchange: &Exchange<'_>, body: &mut Incoming) -> Result<Bytes, Answer> {
    let limit = exchange.limits.largest_manifest;
    let too_large = || {
        let message = format!("a manifest has at most {limit} bytes here");
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        error(status, Code::SizeInvalid, &message)
    };
    let length = uploads::content_length(exchange.head);
    if length.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let collected = Limited::new(body, limit).collect();
    match timeout(exchange.limits.body_timeout, collected).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(invalid(
            Code::ManifestInvalid,
            &format!("the manifest broke off: {error}"),
        )),
        Err(_) => Err(invalid(
            Code::ManifestInvalid,
            "the manifest came too slowly",
        )),
    }
}

/// Whether a text is a media type without parameters (RFC 6838, section 4.2).
pub(super) fn is_media_type(text: &str) -> bool {
    let is_of = |it: u8| it.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&it);
    let is_name = |it: &str| {
        it.len() <= 127
            && it.bytes().all(is_of)
            && it.starts_with(|it: char| it.is_ascii_alphanumeric())
    };
    text.split_once('/')
        .is_some_and(|(kind, name)| is_name(kind) && is_name(name))
}

fn unknown() -> Answer {
    let message = "the repository has no such manifest";
    error(StatusCode::NOT_FOUND, Code::ManifestUnknown, message)
}

fn invalid(code: Code, message: &str) -> Answer {
    error(StatusCode::BAD_REQUEST, code, message)
}
