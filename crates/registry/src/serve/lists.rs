//! Lists: end-points 8 and 12, and the catalogue that clients know besides.

use http::StatusCode;
use http::header::{HeaderName, LINK};
use oci_spec::image::Digest;
use serde::Serialize;

use super::Exchange;
use super::answer::{Answer, Code, error, failed, json, with};
use super::route::{encoded, parameter};
use crate::name::RepositoryName;
use crate::store::{Descriptor, Page, Result};

/// How many a page has at most, and where nobody asks for fewer.
const LONGEST_PAGE: usize = 10_000;

/// The same of referrers, of which each has to be read.
const LONGEST_REFERRERS: usize = 1000;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

#[derive(Serialize)]
struct Tags<'a> {
    name: &'a str,
    tags: Vec<String>,
}

#[derive(Serialize)]
struct Catalogue<'a> {
    repositories: Vec<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

/// `GET /v2/NAME/tags/list`
pub(super) async fn tags(exchange: &Exchange<'_>, name: &RepositoryName) -> Answer {
    let (count, last) = match asked(exchange) {
        Ok(asked) => asked,
        Err(answer) => return *answer,
    };
    match exchange.store.has_repository(name).await {
        Ok(true) => {}
        Ok(false) => {
            let message = "there is no such repository";
            return error(StatusCode::NOT_FOUND, Code::NameUnknown, message);
        }
        Err(error) => return failed(&error),
    }
    let page = match exchange.store.tags(name, last.as_deref(), count).await {
        Ok(page) => page,
        Err(error) => return failed(&error),
    };
    let next = page.items.last().filter(|_| page.more);
    let next = next.map(|last| format!("/v2/{name}/tags/list?n={count}&last={}", encoded(last)));
    let tags = Tags {
        name: name.as_str(),
        tags: page.items,
    };
    linked(json(StatusCode::OK, "application/json", &tags), next)
}

/// `GET /v2/_catalog`
pub(super) async fn catalogue(exchange: &Exchange<'_>) -> Answer {
    let (count, last) = match asked(exchange) {
        Ok(asked) => asked,
        Err(answer) => return *answer,
    };
    let page = match known(exchange, last, count).await {
        Ok(page) => page,
        Err(error) => return failed(&error),
    };
    let next = page.items.last().filter(|_| page.more);
    let next = next.map(|last| format!("/v2/_catalog?n={count}&last={}", encoded(last.as_str())));
    let catalogue = Catalogue {
        repositories: page.items.iter().map(RepositoryName::as_str).collect(),
    };
    linked(json(StatusCode::OK, "application/json", &catalogue), next)
}

/// The repositories after `last` that the client may know of: neither the page nor where it ends
/// tells of others.
async fn known(
    exchange: &Exchange<'_>,
    mut last: Option<String>,
    count: usize,
) -> Result<Page<RepositoryName>> {
    let mut known = Page {
        items: Vec::new(),
        more: false,
    };
    if count == 0 {
        return Ok(known);
    }
    // Most know all, and some hardly any.
    let mut looked_at = count + 1;
    loop {
        let page = exchange
            .store
            .repositories(last.as_deref(), looked_at)
            .await?;
        looked_at = (looked_at * 4).min(LONGEST_PAGE);
        last = page.items.last().map(ToString::to_string);
        for name in page.items {
            if !exchange.may_know(&name).await {
                continue;
            }
            if known.items.len() == count {
                known.more = true;
                return Ok(known);
            }
            known.items.push(name);
        }
        if !page.more {
            return Ok(known);
        }
    }
}

/// `GET /v2/NAME/referrers/DIGEST`
pub(super) async fn referrers(
    exchange: &Exchange<'_>,
    name: &RepositoryName,
    subject: &Digest,
) -> Answer {
    let (count, last) = match asked(exchange) {
        Ok((0, _)) => (LONGEST_REFERRERS, None),
        Ok((count, last)) => (count.min(LONGEST_REFERRERS), last),
        Err(answer) => return *answer,
    };
    let artifact_type = parameter(exchange.head.uri.query(), "artifactType");
    let artifact_type = artifact_type.as_deref().filter(|it| !it.is_empty());
    let page = exchange
        .store
        .referrers(name, subject, artifact_type, last.as_deref(), count)
        .await;
    let page = match page {
        Ok(page) => page,
        Err(error) => return failed(&error),
    };
    let next = page.items.last().filter(|_| page.more).map(|(last, _)| {
        let filter = artifact_type.map(|it| format!("&artifactType={}", encoded(it)));
        let filter = filter.unwrap_or_default();
        let last = encoded(last);
        format!("/v2/{name}/referrers/{subject}?n={count}&last={last}{filter}")
    });
    let index = Index {
        schema_version: 2,
        media_type: INDEX,
        manifests: page.items.into_iter().map(|(_, it)| it).collect(),
    };
    let answer = linked(json(StatusCode::OK, INDEX, &index), next);
    match artifact_type {
        Some(_) => with(answer, FILTERS, "artifactType"),
        None => answer,
    }
}

/// How many are wanted, and after which.
fn asked(exchange: &Exchange<'_>) -> std::result::Result<(usize, Option<String>), Box<Answer>> {
    let query = exchange.head.uri.query();
    let count = match parameter(query, "n") {
        None => LONGEST_PAGE,
        Some(text) => match text.parse::<usize>() {
            Ok(count) => count.min(LONGEST_PAGE),
            Err(_) => {
                let message = "n is how many are wanted: a number";
                let code = Code::PaginationNumberInvalid;
                return Err(Box::new(error(StatusCode::BAD_REQUEST, code, message)));
            }
        },
    };
    let last = parameter(query, "last").filter(|last| !last.is_empty());
    Ok((count, last.map(|last| last.into_owned())))
}

fn linked(answer: Answer, next: Option<String>) -> Answer {
    match next {
        Some(next) => with(answer, LINK, &format!("<{next}>; rel=\"next\"")),
        None => answer,
    }
}
