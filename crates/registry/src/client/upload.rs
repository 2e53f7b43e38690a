//! Writing blobs: in pieces that can be sent again, or by mounting what the registry has.

use std::future::Future;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use reqwest::{Response, Url};

use super::digest::Digest;
use super::error::{Error, Kind};
use super::manifest::push;
use super::request::Client;

/// How much is sent at once and kept until it is acknowledged, in bytes.
pub(super) const PIECE: usize = 8 << 20;

/// Content that comes in chunks, and is verified by its last one.
pub trait Chunks: Send {
    /// The next chunk; none after the last.
    ///
    /// # Errors
    /// There is no more, or what came was not what was wanted.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, Error>> + Send;
}

/// What became of the wish to mount a blob.
#[derive(Debug)]
pub enum Mounted {
    /// It is there.
    Yes,
    /// It is not: an upload has been begun in its place.
    No(Upload),
}

/// An upload that has begun.
#[derive(Debug)]
pub struct Upload(Url);

impl Client {
    /// Has a repository have a blob that another one of the same registry has; without `from`,
    /// any that this credential may read, where the registry looks for it.
    ///
    /// # Errors
    /// It may not be.
    pub async fn mount(
        &self,
        repository: &str,
        digest: &Digest,
        from: Option<&str>,
    ) -> Result<Mounted, Error> {
        let mut url = self.url(&format!("{repository}/blobs/uploads/")).await?;
        url.query_pairs_mut().append_pair("mount", digest.as_str());
        let mut scope = push(repository);
        if let Some(from) = from {
            url.query_pairs_mut().append_pair("from", from);
            scope.push_str(&format!(" repository:{from}:pull"));
        }
        let what = format!("an upload of blob {digest} into {repository}");
        let response = self.begin(&what, &scope, url).await?;
        match response.status() {
            StatusCode::CREATED => Ok(Mounted::Yes),
            _ => self
                .location(&what, &response)
                .map(|it| Mounted::No(Upload(it))),
        }
    }

    /// Writes a blob, from a begun upload if there is one. `sent` is told of each piece.
    ///
    /// # Errors
    /// It is not taken, or what came was not the blob. Nothing is kept then that anybody sees.
    pub async fn upload(
        &self,
        repository: &str,
        digest: &Digest,
        begun: Option<Upload>,
        from: &mut impl Chunks,
        sent: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Error> {
        let mut location = match begun {
            Some(Upload(location)) => location,
            None => self.new_upload(repository).await?,
        };
        let mut at = 0;
        loop {
            let (piece, last) = piece(from).await?;
            let length = piece.len() as u64;
            if last {
                self.finish(repository, digest, location, at, piece).await?;
                sent(length);
                return Ok(());
            }
            location = self.patch(repository, location, at, piece).await?;
            at += length;
            sent(length);
        }
    }

    /// Ends an upload of which nothing is to come.
    ///
    /// # Errors
    /// The registry does not do that; it forgets it by itself some day.
    pub async fn cancel(&self, repository: &str, upload: Upload) -> Result<(), Error> {
        let Upload(url) = upload;
        let what = format!("the end of an upload into {repository}");
        let make = || self.0.http.delete(url.clone());
        let response = self.send(&what, &push(repository), &make).await?;
        let right = [StatusCode::NO_CONTENT, StatusCode::OK, StatusCode::ACCEPTED];
        self.expect(&what, response, &right).await.map(drop)
    }

    async fn new_upload(&self, repository: &str) -> Result<Url, Error> {
        let url = self.url(&format!("{repository}/blobs/uploads/")).await?;
        let what = format!("an upload into {repository}");
        let response = self.begin(&what, &push(repository), url).await?;
        self.location(&what, &response)
    }

    async fn begin(&self, what: &str, scope: &str, url: Url) -> Result<Response, Error> {
        let make = || self.0.http.post(url.clone()).header(CONTENT_LENGTH, 0);
        let response = self.send(what, scope, &make).await?;
        let right = [StatusCode::ACCEPTED, StatusCode::CREATED];
        self.expect(what, response, &right).await
    }

    fn location(&self, what: &str, response: &Response) -> Result<Url, Error> {
        let text = response
            .headers()
            .get(LOCATION)
            .and_then(|it| it.to_str().ok());
        let found = text.and_then(|it| response.url().join(it).ok());
        let found = found.filter(|it| it.scheme() == "https" || response.url().scheme() == "http");
        found.ok_or_else(|| {
            let why = format!(
                "{}: it does not say where the upload goes on",
                self.named(what)
            );
            Error::new(Kind::Refused, why)
        })
    }

    /// Sends a piece, and what of it did not arrive again.
    async fn patch(
        &self,
        repository: &str,
        mut location: Url,
        start: u64,
        piece: Bytes,
    ) -> Result<Url, Error> {
        let what = format!("PATCH of an upload into {repository}");
        let end = start + piece.len() as u64;
        let (mut at, mut failed) = (start, 0);
        loop {
            // What is left of a piece of our own size.
            let rest = piece.slice(usize::try_from(at - start).unwrap_or(piece.len())..);
            let request = self
                .0
                .http
                .patch(location.clone())
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_RANGE, format!("{at}-{}", end - 1))
                .body(rest);
            let error = match self.send_once(&what, &push(repository), request).await {
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED && failed == 0 => {
                    self.0.auth.challenged(&response, &push(repository))?;
                    Error::new(Kind::Denied, self.named(&what))
                }
                Ok(response) if is_final(response.status()) => {
                    let right = [
                        StatusCode::ACCEPTED,
                        StatusCode::NO_CONTENT,
                        StatusCode::CREATED,
                    ];
                    let response = self.expect(&what, response, &right).await?;
                    let next = self.location(&what, &response)?;
                    match received(&response) {
                        Some(have) if have < end && have > at => {
                            (at, location) = (have, next);
                            continue;
                        }
                        _ => return Ok(next),
                    }
                }
                Ok(response) => {
                    let status = response.status();
                    Error::of_answer(&self.named(&what), status, &[])
                }
                Err(error) => error,
            };
            if failed >= self.0.settings.retries {
                return Err(error);
            }
            tokio::time::sleep(self.wait(failed)).await;
            failed += 1;
            (location, at) = self.status(repository, &location, start).await?;
            if at >= end {
                return Ok(location);
            }
        }
    }

    /// How far an upload has come: where it goes on, and from which byte, which is one of those
    /// that we still have.
    async fn status(
        &self,
        repository: &str,
        location: &Url,
        start: u64,
    ) -> Result<(Url, u64), Error> {
        let what = format!("the status of an upload into {repository}");
        let make = || self.0.http.get(location.clone());
        let response = self.send(&what, &push(repository), &make).await?;
        let right = [StatusCode::NO_CONTENT, StatusCode::ACCEPTED, StatusCode::OK];
        let response = self.expect(&what, response, &right).await?;
        let next = self
            .location(&what, &response)
            .unwrap_or_else(|_| location.clone());
        match received(&response) {
            // `0-0` is nothing as well as one byte.
            None | Some(1) if start == 0 => Ok((next, 0)),
            Some(have) if have >= start => Ok((next, have)),
            _ => Err(Error::new(
                Kind::Refused,
                format!("{}: what it acknowledged is lost", self.named(&what)),
            )),
        }
    }

    /// Sends the last piece. What is broken off is begun anew where this was the only one.
    async fn finish(
        &self,
        repository: &str,
        digest: &Digest,
        mut location: Url,
        at: u64,
        piece: Bytes,
    ) -> Result<(), Error> {
        let what = format!("PUT of blob {digest} of {repository}");
        if at > 0 && !piece.is_empty() {
            location = self.patch(repository, location, at, piece.clone()).await?;
        }
        let body = if at > 0 { Bytes::new() } else { piece };
        let mut failed = 0;
        loop {
            let mut url = location.clone();
            url.query_pairs_mut().append_pair("digest", digest.as_str());
            let request = self
                .0
                .http
                .put(url)
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_LENGTH, body.len())
                .body(body.clone());
            let error = match self.send_once(&what, &push(repository), request).await {
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED && failed == 0 => {
                    self.0.auth.challenged(&response, &push(repository))?;
                    Error::new(Kind::Denied, self.named(&what))
                }
                Ok(response) if is_final(response.status()) => {
                    let right = [
                        StatusCode::CREATED,
                        StatusCode::NO_CONTENT,
                        StatusCode::ACCEPTED,
                    ];
                    return self.expect(&what, response, &right).await.map(drop);
                }
                Ok(response) => Error::of_answer(&self.named(&what), response.status(), &[]),
                Err(error) => error,
            };
            if failed >= self.0.settings.retries {
                return Err(error);
            }
            tokio::time::sleep(self.wait(failed)).await;
            failed += 1;
            // The answer may have been lost alone.
            if self.has_blob(repository, digest).await? {
                return Ok(());
            }
            if at == 0 {
                location = self.new_upload(repository).await?;
            }
        }
    }
}

/// Whether an answer will not be another one soon.
fn is_final(status: StatusCode) -> bool {
    !status.is_server_error()
        && !matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::RANGE_NOT_SATISFIABLE
        )
}

/// How much of an upload has arrived: `Range: 0-99` is 100 bytes.
fn received(response: &Response) -> Option<u64> {
    received_of(response.headers().get(RANGE)?.to_str().ok()?)
}

pub(super) fn received_of(text: &str) -> Option<u64> {
    let text = text.strip_prefix("bytes=").unwrap_or(text);
    let (_, last) = text.split_once('-')?;
    last.parse::<u64>().ok()?.checked_add(1)
}

/// As much as is sent at once, and whether it is the last of it.
async fn piece(from: &mut impl Chunks) -> Result<(Bytes, bool), Error> {
    let mut all = BytesMut::new();
    loop {
        match from.chunk().await? {
            None => return Ok((all.freeze(), true)),
            Some(chunk) => {
                all.extend_from_slice(&chunk);
                if all.len() >= PIECE {
                    return Ok((all.freeze(), false));
                }
            }
        }
    }
}
