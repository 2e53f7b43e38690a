//! Pulls of what may have to be got first: by the cache.

use std::sync::Arc;

use http::header::RETRY_AFTER;
use http::{Method, StatusCode};

use super::answer::{Answer, Code, error, failed, with};
use super::route::{Reference, Target};
use super::{Exchange, blobs, manifests};
use crate::cache::{Cache, Found, Miss, Place};
use crate::store::Store;

/// What clients wait that are to come again, in seconds.
const AGAIN: &str = "10";

/// Whether it is about something that is got: lists are of what is kept.
pub(super) fn is_content(target: &Target) -> bool {
    matches!(target, Target::Manifest(..) | Target::Blob(..))
}

/// Whether the repository itself has it.
pub(super) async fn has(store: &Store, target: &Target) -> bool {
    let has = match target {
        Target::Manifest(name, Reference::Tag(tag)) => {
            store.tagged(name, tag).await.map(|it| it.is_some())
        }
        Target::Manifest(name, Reference::Digest(digest)) => {
            store.manifest(name, digest).await.map(|it| it.is_some())
        }
        Target::Blob(name, digest) => store.blob(name, digest).await.map(|it| it.is_some()),
        _ => Ok(false),
    };
    // What is wrong with the storage shows when something is served from it.
    has.unwrap_or(false)
}

/// `GET` and `HEAD`.
pub(super) async fn read(
    exchange: &Exchange<'_>,
    cache: &Arc<Cache>,
    place: Place,
    target: &Target,
) -> Answer {
    match target {
        Target::Manifest(_, reference) => {
            let got = match reference {
                Reference::Tag(tag) => cache.tag(&place, tag).await,
                Reference::Digest(digest) => cache.manifest(&place, digest).await,
            };
            match got {
                Ok(kept) => manifests::send(exchange, kept),
                Err(miss) => missed(&miss, Code::ManifestUnknown),
            }
        }
        Target::Blob(_, digest) => {
            let name = place.name.clone();
            let wants_content = exchange.head.method != Method::HEAD;
            match cache.blob(place, digest, wants_content).await {
                Ok(Found::Kept) => blobs::read(exchange, &name, digest).await,
                Ok(Found::There(size)) => blobs::send(exchange, digest, size, None).await,
                Ok(Found::Coming(coming, size)) => {
                    blobs::send(exchange, digest, size, Some(coming)).await
                }
                Err(miss) => missed(&miss, Code::BlobUnknown),
            }
        }
        _ => missed(
            &Miss::Unknown("lists are of what is kept".to_owned()),
            Code::NameUnknown,
        ),
    }
}

/// Nothing is put beside copies: they would no longer be copies.
pub(super) fn not_here(place: &Place) -> Answer {
    let (host, name) = (place.host(), &place.name);
    let message = format!(
        "{name} is a copy of {host}'s: push to {host}, or to a name that does not begin with it"
    );
    error(StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported, &message)
}

fn missed(miss: &Miss, unknown: Code) -> Answer {
    match miss {
        Miss::Unknown(why) => error(StatusCode::NOT_FOUND, unknown, why),
        Miss::Denied(why) => error(StatusCode::FORBIDDEN, Code::Denied, why),
        Miss::Away(why) => {
            let answer = error(StatusCode::SERVICE_UNAVAILABLE, Code::Unknown, why);
            with(answer, RETRY_AFTER, AGAIN)
        }
        Miss::Broken(why) => error(StatusCode::BAD_GATEWAY, Code::Unknown, why),
        Miss::Busy => {
            let why = "as much is being fetched of other registries as may be at once";
            let answer = error(StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests, why);
            with(answer, RETRY_AFTER, AGAIN)
        }
        Miss::Failed(error) => failed(error),
    }
}
