//! Reading blobs: verified, and taken up again where a connection broke.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use reqwest::Response;

use super::digest::{Digest, Hasher};
use super::error::{Error, Kind};
use super::manifest::pull;
use super::request::Client;
use super::upload::Chunks;

/// A blob that comes piece by piece.
#[derive(Debug)]
pub struct Blob {
    client: Client,
    repository: String,
    digest: Digest,
    size: u64,
    /// How much of it has come.
    at: u64,
    hasher: Option<Hasher>,
    response: Option<Response>,
    /// The end of a piece whose beginning had come before.
    rest: Option<Bytes>,
    /// Failures since the last byte.
    failed: u32,
}

/// What a registry says of a blob without sending it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescribedBlob {
    /// Its size in bytes, if it was told.
    pub size: Option<u64>,
}

impl Client {
    /// A blob of a repository, to be read. Nothing is asked before the first chunk.
    pub fn blob(&self, repository: &str, digest: &Digest, size: u64) -> Blob {
        Blob {
            client: self.clone(),
            repository: repository.to_owned(),
            hasher: Some(digest.hasher()),
            digest: digest.clone(),
            size,
            at: 0,
            response: None,
            rest: None,
            failed: 0,
        }
    }

    /// Whether a repository has a blob.
    ///
    /// # Errors
    /// It cannot be told.
    pub async fn has_blob(&self, repository: &str, digest: &Digest) -> Result<bool, Error> {
        let head = self.head_of_blob(repository, digest).await?;
        Ok(head.is_some())
    }

    /// What a registry says of a blob; none if the repository does not have it. One that does not
    /// tell its size when it is asked for its head is asked for its first byte.
    ///
    /// # Errors
    /// It cannot be told.
    pub async fn describe_blob(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<DescribedBlob>, Error> {
        let Some(head) = self.head_of_blob(repository, digest).await? else {
            return Ok(None);
        };
        if let Some(size) = told_length(&head, digest) {
            return Ok(Some(DescribedBlob { size: Some(size) }));
        }
        let url = self.url(&format!("{repository}/blobs/{digest}")).await?;
        let what = format!("first byte of blob {digest} of {repository}");
        let make = || self.0.http.get(url.clone()).header(RANGE, "bytes=0-0");
        let response = self.send(&what, &pull(repository), &make).await?;
        let size = match response.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                let range = response.headers().get(CONTENT_RANGE);
                range.and_then(|it| it.to_str().ok()?.rsplit_once('/')?.1.parse().ok())
            }
            _ => {
                // Nothing of its body is read.
                let response = self.expect(&what, response, &[StatusCode::OK]).await?;
                told_length(&response, digest)
            }
        };
        Ok(Some(DescribedBlob { size }))
    }

    async fn head_of_blob(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<Response>, Error> {
        let url = self.url(&format!("{repository}/blobs/{digest}")).await?;
        let what = format!("HEAD of blob {digest} of {repository}");
        let make = || self.0.http.head(url.clone());
        let response = self.send(&what, &pull(repository), &make).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let response = self.expect(&what, response, &[StatusCode::OK]).await?;
        Ok(Some(response))
    }
}

/// How long a blob is by an answer about all of it. Some say of any that it has nothing.
fn told_length(response: &Response, digest: &Digest) -> Option<u64> {
    let length = response.headers().get(CONTENT_LENGTH)?;
    let length = length.to_str().ok()?.parse().ok()?;
    (length > 0 || digest.is_of(b"")).then_some(length)
}

impl Blob {
    fn what(&self) -> String {
        format!("blob {} of {}", self.digest, self.repository)
    }

    fn broken(&self, why: &str) -> Error {
        let what = self.client.named(&self.what());
        Error::new(Kind::Broken, format!("{what}: {why}"))
    }

    /// Asks for what has not come yet.
    async fn open(&mut self) -> Result<Response, Error> {
        let (client, what) = (&self.client, self.what());
        let path = format!("{}/blobs/{}", self.repository, self.digest);
        let url = client.url(&path).await?;
        let scope = pull(&self.repository);
        let make = || {
            let request = client.0.http.get(url.clone());
            match self.at {
                0 => request,
                at => request.header(RANGE, format!("bytes={at}-")),
            }
        };
        let response = client.send(&what, &scope, &make).await?;
        let right = [StatusCode::OK, StatusCode::PARTIAL_CONTENT];
        let response = client.expect(&what, response, &right).await?;
        if response.status() == StatusCode::OK {
            return self.after_what_came(response).await;
        }
        let range = response.headers().get(CONTENT_RANGE);
        let start = range.and_then(|it| it.to_str().ok());
        let start = start.and_then(|it| it.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
        match start == Some(self.at) {
            true => Ok(response),
            false => Err(self.broken("another part came than was asked for")),
        }
    }

    /// Whoever knows no ranges sends it all again.
    async fn after_what_came(&mut self, mut response: Response) -> Result<Response, Error> {
        let mut left = self.at;
        while left > 0 {
            let chunk = response.chunk().await;
            let chunk = chunk.map_err(|error| Error::of_transport(&self.what(), &error))?;
            let Some(mut chunk) = chunk else {
                return Err(self.broken("it ends earlier than before"));
            };
            let length = chunk.len() as u64;
            if length > left {
                // Both fit into memory: the chunk is there.
                self.rest = Some(chunk.split_off(usize::try_from(left).unwrap_or(0)));
            }
            left = left.saturating_sub(length);
        }
        Ok(response)
    }

    /// The next piece, or the error of this attempt.
    async fn attempt(&mut self) -> Result<Option<Bytes>, Error> {
        let mut response = match self.response.take() {
            Some(response) => response,
            None => self.open().await?,
        };
        if let Some(rest) = self.rest.take() {
            self.response = Some(response);
            return Ok(Some(rest));
        }
        let next = response.chunk().await;
        let next =
            next.map_err(|error| Error::of_transport(&self.client.named(&self.what()), &error))?;
        if next.is_some() {
            self.response = Some(response);
        }
        Ok(next)
    }
}

impl Chunks for Blob {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.at == self.size {
                return match self.hasher.take().map(Hasher::finish) {
                    Some(found) if found != self.digest => {
                        Err(self.broken(&format!("what came has the digest {found}")))
                    }
                    _ => Ok(None),
                };
            }
            let error = match self.attempt().await {
                Ok(Some(chunk)) if chunk.is_empty() => continue,
                Ok(Some(chunk)) => {
                    self.at += chunk.len() as u64;
                    if self.at > self.size {
                        return Err(self.broken(&format!("it is longer than {} bytes", self.size)));
                    }
                    if let Some(hasher) = &mut self.hasher {
                        hasher.update(&chunk);
                    }
                    self.failed = 0;
                    return Ok(Some(chunk));
                }
                Ok(None) => {
                    self.broken(&format!("it ends after {} of {} bytes", self.at, self.size))
                }
                Err(error) => error,
            };
            let again = matches!(error.kind, Kind::Unreachable | Kind::Broken);
            if !again || self.failed >= self.client.0.settings.retries {
                return Err(error);
            }
            self.rest = None;
            tracing::debug!("{error}: from byte {} again", self.at);
            tokio::time::sleep(self.client.wait(self.failed)).await;
            self.failed += 1;
        }
    }
}
