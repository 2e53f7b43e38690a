//! Pushing blobs: end-points 4a to 6, 11, 13 and 14.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, LOCATION, RANGE, RETRY_AFTER};
use http::request::Parts;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use oci_spec::image::Digest;
use tokio::time::{Instant, timeout};

use super::answer::{Answer, Code, empty, error, error_with, failed, with};
use super::blobs::DIGEST;
use super::refusal::{BEGUN_BYTES, BEGUN_UPLOADS, UPLOADS, because};
use super::route::{Wrong, digested, parameter};
use super::{Exchange, wrong};
use crate::name::RepositoryName;
use crate::store::{Algorithm, Refused, Upload};

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// `POST /v2/NAME/blobs/uploads/`, with its `mount`, `digest` and `digest-algorithm`.
pub(super) async fn begin(
    exchange: &Exchange<'_>,
    body: &mut Incoming,
    name: &RepositoryName,
) -> Answer {
    let query = exchange.head.uri.query();
    if let Some(digest) = parameter(query, "mount") {
        let from = parameter(query, "from").filter(|from| !from.is_empty());
        match mount(exchange, name, &digest, from.as_deref()).await {
            Ok(Some(answer)) => return answer,
            // What cannot be mounted is uploaded.
            Ok(None) => {}
            Err(answer) => return answer,
        }
    }
    let digest = match parameter(query, "digest")
        .map(|it| digested(&it))
        .transpose()
    {
        Ok(digest) => digest,
        Err(error) => return wrong(error),
    };
    let algorithm = match (&digest, parameter(query, "digest-algorithm")) {
        (Some(digest), _) => Algorithm::of(digest),
        (None, Some(named)) => Algorithm::named(&named),
        (None, None) => Some(Algorithm::Sha256),
    };
    let Some(algorithm) = algorithm else {
        let message = "digests are sha256 or sha512";
        return error(StatusCode::BAD_REQUEST, Code::DigestInvalid, message);
    };
    let upload = match exchange.store.begin_clients_upload(name, algorithm).await {
        Ok(upload) => upload,
        Err(error) => return refused(error, name, None),
    };
    match digest {
        Some(digest) => whole(exchange, body, name, upload, &digest).await,
        None => accepted(StatusCode::ACCEPTED, name, &upload),
    }
}

/// `GET` of an upload: how much has come.
pub(super) async fn status(exchange: &Exchange<'_>, name: &RepositoryName, id: &str) -> Answer {
    match exchange.store.upload(name, id).await {
        Ok(upload) => accepted(StatusCode::NO_CONTENT, name, &upload),
        Err(error) => refused(error, name, None),
    }
}

/// `PATCH` of an upload: more of it.
pub(super) async fn append(
    exchange: &Exchange<'_>,
    body: &mut Incoming,
    name: &RepositoryName,
    id: &str,
) -> Answer {
    let mut upload = match exchange.store.upload(name, id).await {
        Ok(upload) => upload,
        Err(error) => return refused(error, name, None),
    };
    match add(exchange, body, &mut upload).await {
        Ok(()) => accepted(StatusCode::ACCEPTED, name, &upload),
        Err(error) => refused(error, name, Some(&upload)),
    }
}

/// `PUT` of an upload: that was all, and perhaps the last of it.
pub(super) async fn finish(
    exchange: &Exchange<'_>,
    body: &mut Incoming,
    name: &RepositoryName,
    id: &str,
) -> Answer {
    let digest = parameter(exchange.head.uri.query(), "digest");
    let digest = match digested(digest.as_deref().unwrap_or_default()) {
        Ok(digest) => digest,
        Err(error) => return wrong(error),
    };
    let upload = match exchange.store.upload(name, id).await {
        Ok(upload) => upload,
        Err(error) => return refused(error, name, None),
    };
    whole(exchange, body, name, upload, &digest).await
}

/// `DELETE` of an upload.
pub(super) async fn cancel(exchange: &Exchange<'_>, name: &RepositoryName, id: &str) -> Answer {
    let upload = match exchange.store.upload(name, id).await {
        Ok(upload) => upload,
        Err(error) => return refused(error, name, None),
    };
    match exchange.store.cancel(upload).await {
        Ok(()) => empty(StatusCode::NO_CONTENT),
        Err(error) => failed(&error),
    }
}

async fn mount(
    exchange: &Exchange<'_>,
    name: &RepositoryName,
    digest: &str,
    from: Option<&str>,
) -> Result<Option<Answer>, Answer> {
    let digest = digested(digest).map_err(wrong)?;
    let from: Option<RepositoryName> = match from.map(str::parse).transpose() {
        Ok(from) => from,
        Err(error) => return Err(wrong(Wrong::Invalid(Code::NameInvalid, error.to_string()))),
    };
    if !exchange.may_mount(from.as_ref()).await {
        return Ok(None);
    }
    match exchange.store.mount(name, &digest, from.as_ref()).await {
        Ok(true) => Ok(Some(created(name, &digest))),
        Ok(false) => Ok(None),
        Err(error) => Err(failed(&error)),
    }
}

async fn whole(
    exchange: &Exchange<'_>,
    body: &mut Incoming,
    name: &RepositoryName,
    mut upload: Upload,
    digest: &Digest,
) -> Answer {
    if let Err(error) = add(exchange, body, &mut upload).await {
        return refused(error, name, Some(&upload));
    }
    match exchange.store.finish(upload, digest).await {
        Ok(()) => created(name, digest),
        Err(error) => refused(error, name, None),
    }
}

/// Adds a request's body, if it comes where it belongs.
async fn add(
    exchange: &Exchange<'_>,
    body: &mut Incoming,
    upload: &mut Upload,
) -> Result<(), Refused> {
    let _turn = exchange
        .uploading
        .try_acquire()
        .map_err(|_| Refused::Busy)?;
    let length = content_length(exchange.head);
    if let Some(range) = exchange.head.headers.get(CONTENT_RANGE) {
        let range = range.to_str().ok().and_then(content_range);
        let Some((start, end)) = range else {
            return Err(Refused::BrokenOff(
                "its Content-Range is not FIRST-LAST".to_owned(),
            ));
        };
        if start != upload.offset() {
            return Err(Refused::OutOfOrder(upload.offset()));
        }
        if length.is_some_and(|length| (end - start).checked_add(1) != Some(length)) {
            return Err(Refused::BrokenOff(
                "its Content-Range is not as long as its Content-Length".to_owned(),
            ));
        }
    }
    let room = exchange.limits.largest_blob;
    if length.is_some_and(|length| upload.offset().saturating_add(length) > room) {
        return Err(Refused::TooLarge);
    }
    if let Some(length) = length {
        exchange.store.check_upload(upload, length).await?;
    }
    let pieces = pieces(exchange, body);
    exchange.store.append(upload, pieces).await
}

/// How much of a body comes in what `--body-timeout` says, at the least: who sends a byte now and then
/// would keep a turn from others for ever.
const LEAST: usize = 16 * 1024;

/// A body as it comes. A client that sends nothing, or next to nothing, for too long has broken off.
fn pieces<'a>(
    exchange: &'a Exchange<'_>,
    body: &'a mut Incoming,
) -> BoxStream<'a, Result<Bytes, String>> {
    let patience = exchange.limits.body_timeout;
    let begin = Some((body, Pace::new(patience)));
    let pieces = futures_util::stream::unfold(begin, move |state| async move {
        let (body, mut pace) = state?;
        loop {
            let asked = Instant::now();
            let frame = match timeout(patience, body.frame()).await {
                Ok(None) => return None,
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Some((Err(error.to_string()), None)),
                Err(_) => {
                    let message = format!("nothing came for {patience:?}");
                    return Some((Err(message), None));
                }
            };
            if let Ok(data) = frame.into_data() {
                exchange.metrics.received(data.len());
                if let Err(message) = pace.take(data.len(), asked.elapsed()) {
                    return Some((Err(message), None));
                }
                return Some((Ok(data), Some((body, pace))));
            }
        }
    });
    pieces.boxed()
}

/// How fast a body comes. Only the time that the client takes counts, and not what our disk does.
struct Pace {
    patience: Duration,
    waited: Duration,
    bytes: usize,
}

impl Pace {
    fn new(patience: Duration) -> Self {
        Self {
            patience,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// Takes a piece in that was waited for so long.
    fn take(&mut self, bytes: usize, waited: Duration) -> Result<(), String> {
        self.bytes += bytes;
        self.waited += waited;
        if self.waited < self.patience {
            return Ok(());
        }
        let came = self.bytes;
        *self = Self::new(self.patience);
        match came < LEAST {
            true => Err(format!(
                "{came} bytes came in {:?}, and less than {LEAST} is too slow",
                self.patience
            )),
            false => Ok(()),
        }
    }
}

fn accepted(status: StatusCode, name: &RepositoryName, upload: &Upload) -> Answer {
    placed(empty(status), name, upload)
}

/// Says where an upload is, and how far.
fn placed(answer: Answer, name: &RepositoryName, upload: &Upload) -> Answer {
    let id = upload.id();
    let answer = with(answer, LOCATION, &format!("/v2/{name}/blobs/uploads/{id}"));
    let last = upload.offset().saturating_sub(1);
    let answer = with(answer, RANGE, &format!("0-{last}"));
    with(answer, UPLOAD_ID, id)
}

fn created(name: &RepositoryName, digest: &Digest) -> Answer {
    let answer = empty(StatusCode::CREATED);
    let answer = with(answer, LOCATION, &format!("/v2/{name}/blobs/{digest}"));
    with(answer, DIGEST, digest.as_ref())
}

fn refused(refused: Refused, name: &RepositoryName, upload: Option<&Upload>) -> Answer {
    let answer = match refused {
        Refused::Unknown => error(
            StatusCode::NOT_FOUND,
            Code::BlobUploadUnknown,
            "there is no such upload",
        ),
        Refused::Busy => {
            let message = "too much is being uploaded: try again";
            let status = StatusCode::TOO_MANY_REQUESTS;
            let answer = error(status, Code::TooManyRequests, message);
            because(with(answer, RETRY_AFTER, "2"), UPLOADS)
        }
        Refused::TooMany(most) => {
            tracing::warn!("an upload is refused: {most} are begun and not finished");
            let message = format!(
                "{most} uploads are begun and not finished, as many as there may be \
                 (--max-begun-uploads): finish or cancel some, or wait until the garbage \
                 collection takes those that nobody goes on with"
            );
            let status = StatusCode::TOO_MANY_REQUESTS;
            let answer = error(status, Code::TooManyRequests, &message);
            because(with(answer, RETRY_AFTER, "30"), BEGUN_UPLOADS)
        }
        Refused::TooMuch(most) => {
            tracing::warn!("an upload is refused: {most} bytes may come of those that are begun");
            let message = format!(
                "all uploads that are begun and not finished may have {most} bytes together \
                 (--max-begun-bytes): finish or cancel some, or wait until the garbage collection \
                 takes those that nobody goes on with"
            );
            let status = StatusCode::TOO_MANY_REQUESTS;
            let answer = error(status, Code::TooManyRequests, &message);
            because(with(answer, RETRY_AFTER, "30"), BEGUN_BYTES)
        }
        Refused::OutOfOrder(offset) => error(
            StatusCode::RANGE_NOT_SATISFIABLE,
            Code::BlobUploadInvalid,
            &format!("the next byte of this upload is {offset}"),
        ),
        Refused::TooLarge => error(
            StatusCode::PAYLOAD_TOO_LARGE,
            Code::SizeInvalid,
            "the blob is larger than this registry takes (--max-blob-size)",
        ),
        Refused::OtherDigest(computed) => error_with(
            StatusCode::BAD_REQUEST,
            Code::DigestInvalid,
            "the content has another digest",
            Some(serde_json::json!({ "computed": computed.as_ref() })),
        ),
        Refused::BrokenOff(said) => {
            let message = format!("the upload broke off: {said}");
            error(StatusCode::BAD_REQUEST, Code::SizeInvalid, &message)
        }
        Refused::Failed(error) => failed(&error),
    };
    match upload {
        Some(upload) => placed(answer, name, upload),
        None => answer,
    }
}

pub(super) fn content_length(head: &Parts) -> Option<u64> {
    head.headers
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// `FIRST-LAST`; some clients write it as HTTP does, `bytes FIRST-LAST/SIZE`.
pub(super) fn content_range(text: &str) -> Option<(u64, u64)> {
    let text = text.strip_prefix("bytes ").unwrap_or(text);
    let text = text.split_once('/').map_or(text, |(range, _)| range);
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_inclusive() {
        assert_eq!(content_range("0-0"), Some((0, 0)));
        assert_eq!(content_range("bytes 5-9/10"), Some((5, 9)));
        for wrong in ["", "-", "1-0", "a-b", "0", "0-99999999999999999999"] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }
}
