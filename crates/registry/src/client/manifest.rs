//! Manifests, tags, referrers and the catalog.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, LINK};
use http::{HeaderMap, StatusCode};
use reqwest::{Response, Url};
use serde::Deserialize;

use super::digest::Digest;
use super::error::{Error, Kind};
use super::names::is_tag;
use super::request::{Client, read};

/// The largest manifest, in bytes: what the specification asks of registries.
pub(super) const MAX_MANIFEST: usize = 4 << 20;

/// Pages of a listing.
const MAX_PAGES: usize = 1_000;

/// Names of a listing.
const MAX_NAMES: usize = 200_000;

/// What we understand; the rest as it comes.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.artifact.manifest.v1+json, */*;q=0.1";

/// A manifest as it was sent.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Its bytes: nothing else has its digest.
    pub bytes: Bytes,
    /// What it is.
    pub media_type: String,
    /// Its digest, computed here.
    pub digest: Digest,
}

/// What a registry says of a manifest without sending it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its digest.
    pub digest: Digest,
    /// What it is.
    pub media_type: String,
    /// Its size in bytes, if it was told.
    pub size: Option<u64>,
}

/// What became of a manifest that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put {
    /// Whether the registry has noted the manifest's subject (`OCI-Subject`).
    pub subject_noted: bool,
}

impl Client {
    /// A manifest by tag or digest.
    ///
    /// # Errors
    /// There is none, or it is not what its digest says.
    pub async fn manifest(&self, repository: &str, reference: &str) -> Result<Manifest, Error> {
        let what = format!("manifest {reference} of {repository}");
        let response = self
            .get_manifest(&what, repository, reference, false)
            .await?;
        let response = self.expect(&what, response, &[StatusCode::OK]).await?;
        let said = digest_of(response.headers());
        let sent_type = media_type_of(response.headers());
        let bytes = read(response, MAX_MANIFEST).await;
        let bytes = bytes.map_err(|error| error.during(&self.named(&what)))?;
        let wanted = reference.parse::<Digest>().ok().or(said);
        let digest = match wanted {
            Some(wanted) if wanted.is_of(&bytes) => wanted,
            Some(wanted) => {
                let why = format!("what came does not have the digest {wanted}");
                return Err(Error::new(Kind::Broken, why).during(&self.named(&what)));
            }
            None => Digest::sha256(&bytes),
        };
        Ok(Manifest {
            media_type: media_type_in(&bytes).unwrap_or(sent_type),
            bytes,
            digest,
        })
    }

    /// What a tag or digest is; none if there is none.
    ///
    /// # Errors
    /// It cannot be told.
    pub async fn describe(
        &self,
        repository: &str,
        reference: &str,
    ) -> Result<Option<Described>, Error> {
        let what = format!("HEAD of manifest {reference} of {repository}");
        let response = self
            .get_manifest(&what, repository, reference, true)
            .await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let response = self.expect(&what, response, &[StatusCode::OK]).await?;
        let length = response.headers().get(http::header::CONTENT_LENGTH);
        let size = length.and_then(|it| it.to_str().ok()?.parse().ok());
        let said = reference
            .parse()
            .ok()
            .or_else(|| digest_of(response.headers()));
        match said {
            Some(digest) => Ok(Some(Described {
                digest,
                media_type: media_type_of(response.headers()),
                size,
            })),
            // The specification lets it be left out.
            None => self.manifest(repository, reference).await.map(|it| {
                Some(Described {
                    digest: it.digest,
                    media_type: it.media_type,
                    size: Some(it.bytes.len() as u64),
                })
            }),
        }
    }

    /// Stores a manifest under a tag or its digest.
    ///
    /// # Errors
    /// It is not taken.
    pub async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        manifest: &Manifest,
    ) -> Result<Put, Error> {
        let url = self
            .url(&format!("{repository}/manifests/{reference}"))
            .await?;
        let what = format!("PUT of manifest {reference} of {repository}");
        let make = || {
            let request = self.0.http.put(url.clone());
            request
                .header(CONTENT_TYPE, manifest.media_type.as_str())
                .body(manifest.bytes.clone())
        };
        let response = self.send(&what, &push(repository), &make).await?;
        let right = [StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED];
        let response = self.expect(&what, response, &right).await?;
        match digest_of(response.headers()) {
            Some(said) if !said.is_of(&manifest.bytes) => Err(Error::new(
                Kind::Broken,
                format!("{}: it was stored as {said}", self.named(&what)),
            )),
            _ => Ok(Put {
                subject_noted: response.headers().contains_key("oci-subject"),
            }),
        }
    }

    /// Deletes a tag, or a manifest by its digest.
    ///
    /// # Errors
    /// There is none, or the registry does not delete.
    pub async fn delete_manifest(&self, repository: &str, reference: &str) -> Result<(), Error> {
        let url = self
            .url(&format!("{repository}/manifests/{reference}"))
            .await?;
        let what = format!("DELETE of manifest {reference} of {repository}");
        let scope = format!("repository:{repository}:delete,pull,push");
        let response = self
            .send(&what, &scope, &|| self.0.http.delete(url.clone()))
            .await?;
        let right = [StatusCode::ACCEPTED, StatusCode::OK, StatusCode::NO_CONTENT];
        self.expect(&what, response, &right).await.map(drop)
    }

    /// All tags of a repository.
    ///
    /// # Errors
    /// There is no such repository, or it cannot be told.
    pub async fn tags(&self, repository: &str) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let path = format!("{repository}/tags/list?n=1000");
        let what = format!("tags of {repository}");
        let pages = self.pages::<Page>(&what, &path, &pull(repository)).await?;
        let tags = pages.into_iter().flat_map(|it| it.tags.unwrap_or_default());
        // What is no tag would be another path where it is asked for, or put.
        Ok(tags.filter(|it| is_tag(it)).collect())
    }

    /// All repositories, where the registry has a catalog.
    ///
    /// # Errors
    /// It has none, or it cannot be told.
    pub async fn catalog(&self) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            repositories: Option<Vec<String>>,
        }
        let pages = self
            .pages::<Page>("the catalog", "_catalog?n=1000", "registry:catalog:*")
            .await?;
        let names = pages
            .into_iter()
            .flat_map(|it| it.repositories.unwrap_or_default());
        // They are shown to people.
        Ok(names.filter(|it| !it.contains(char::is_control)).collect())
    }

    /// What refers to a manifest: an OCI index, from the referrers API, else from the tag that
    /// the specification has for registries without it. None if nothing does.
    ///
    /// # Errors
    /// It cannot be told.
    pub async fn referrers(&self, repository: &str, subject: &Digest) -> Result<Vec<Bytes>, Error> {
        let what = format!("referrers of {subject} of {repository}");
        let url = self
            .url(&format!("{repository}/referrers/{subject}"))
            .await?;
        let make = || self.0.http.get(url.clone());
        let response = self.send(&what, &pull(repository), &make).await?;
        if response.status() != StatusCode::OK {
            let tag = format!("{}-{}", subject.algorithm(), subject.hex());
            return match self.manifest(repository, &tag).await {
                Ok(index) => Ok(vec![index.bytes]),
                Err(error) if error.kind == Kind::NotFound => Ok(Vec::new()),
                Err(error) => Err(error),
            };
        }
        self.follow(&what, response, &pull(repository)).await
    }

    async fn get_manifest(
        &self,
        what: &str,
        repository: &str,
        reference: &str,
        head: bool,
    ) -> Result<Response, Error> {
        let url = self
            .url(&format!("{repository}/manifests/{reference}"))
            .await?;
        let make = || {
            let request = match head {
                true => self.0.http.head(url.clone()),
                false => self.0.http.get(url.clone()),
            };
            request.header(ACCEPT, ACCEPTED)
        };
        self.send(what, &pull(repository), &make).await
    }

    async fn pages<T: for<'a> Deserialize<'a>>(
        &self,
        what: &str,
        path: &str,
        scope: &str,
    ) -> Result<Vec<T>, Error> {
        let url = self.url(path).await?;
        let response = self
            .send(what, scope, &|| self.0.http.get(url.clone()))
            .await?;
        let response = self.expect(what, response, &[StatusCode::OK]).await?;
        let pages = self.follow(what, response, scope).await?;
        let read = pages.iter().map(|page| serde_json::from_slice(page));
        read.collect::<Result<_, _>>().map_err(|_| {
            Error::new(
                Kind::Broken,
                format!("{} are not understood", self.named(what)),
            )
        })
    }

    /// The bodies of all pages.
    async fn follow(&self, what: &str, first: Response, scope: &str) -> Result<Vec<Bytes>, Error> {
        let mut pages = Vec::new();
        let mut bytes = 0;
        let mut response = first;
        loop {
            let next = next_page(&response);
            let page = self.body(what, response).await?;
            bytes += page.len();
            pages.push(page);
            // A name and what is around it, at least.
            if pages.len() >= MAX_PAGES || bytes > MAX_NAMES * 128 {
                let why = format!("{}: there is no end of it", self.named(what));
                return Err(Error::new(Kind::Broken, why));
            }
            let Some(next) = next else {
                return Ok(pages);
            };
            // Behind a proxy it may not know what it is called: the rest is where the first was,
            // and to leave it out would be to say that it is not there.
            let mut url = self.url("").await?;
            url.set_path(next.path());
            url.set_query(next.query());
            let sent = self
                .send(what, scope, &|| self.0.http.get(url.clone()))
                .await?;
            response = self.expect(what, sent, &[StatusCode::OK]).await?;
        }
    }
}

pub(super) fn pull(repository: &str) -> String {
    format!("repository:{repository}:pull")
}

pub(super) fn push(repository: &str) -> String {
    format!("repository:{repository}:pull,push")
}

fn digest_of(headers: &HeaderMap) -> Option<Digest> {
    headers
        .get("docker-content-digest")?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

fn media_type_of(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let value = value.unwrap_or_default();
    value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned()
}

pub(super) fn media_type_in(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        media_type: Option<String>,
    }
    let typed: Typed = serde_json::from_slice(bytes).ok()?;
    typed.media_type.filter(|it| !it.is_empty())
}

/// `Link: </v2/a/tags/list?last=x>; rel="next"`
fn next_page(response: &Response) -> Option<Url> {
    let fields = response.headers().get_all(LINK).iter();
    let target = fields.filter_map(|it| it.to_str().ok()).find_map(next_of)?;
    response.url().join(target).ok()
}

/// Where the link with the relation `next` leads, of those of a field (RFC 8288, section 3).
pub(super) fn next_of(field: &str) -> Option<&str> {
    let mut rest = field;
    loop {
        let (target, after) = rest
            .trim_start_matches([' ', ',', '\t'])
            .strip_prefix('<')?
            .split_once('>')?;
        // A comma ends a link's parameters, unless it is in quotes.
        let mut quoted = false;
        let end = after.find(|it| {
            quoted ^= it == '"';
            it == ',' && !quoted
        });
        let (parameters, more) = after.split_at(end.unwrap_or(after.len()));
        if parameters.split(';').any(is_next) {
            return Some(target);
        }
        rest = more;
    }
}

fn is_next(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return false;
    };
    let mut relations = value.trim().trim_matches('"').split(' ');
    name.trim().eq_ignore_ascii_case("rel") && relations.any(|it| it.eq_ignore_ascii_case("next"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_other_links() {
        for (field, expected) in [
            (
                "</v2/a/tags/list?last=x>; rel=\"next\"",
                Some("/v2/a/tags/list?last=x"),
            ),
            ("<b>;rel=next", Some("b")),
            (
                "<a>; rel=\"prev\", <b>; title=\"a,b\"; REL=\"last next\"",
                Some("b"),
            ),
            ("<a>; rel=\"prev\"", None),
            ("<a>; title=\"rel=next\"", None),
            ("<a>", None),
            ("a; rel=next", None),
            ("", None),
        ] {
            assert_eq!(next_of(field), expected, "{field}");
        }
    }
}
