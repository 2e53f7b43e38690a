//! Fuzz targets of what is read from requests: see the proxy's.

use bolero::check;
use http::header::{CONTENT_TYPE, IF_NONE_MATCH, RANGE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};

use super::blobs::{Part, is_known, part};
use super::manifests::is_media_type;
use super::route::{Reference, Target, encoded, parameter, parameters};
use super::uploads::{content_length, content_range};
use crate::seeds::{first_line, sow};
use crate::store::Algorithm;

fn with_field(name: HeaderName, value: &[u8]) -> Option<Parts> {
    let value = HeaderValue::from_bytes(value).ok()?;
    let request = Request::new(()).into_parts().0;
    let mut parts = request;
    parts.headers.insert(name, value);
    Some(parts)
}

/// A path that is one of ours is it again as we write it, and its repository leads nowhere else.
fn route(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    for (_, value) in parameters(Some(query)) {
        let written = format!("a={}", encoded(&value));
        assert_eq!(parameter(Some(&written), "a").as_deref(), Some(&*value));
    }
    let Ok(target) = Target::of(path) else {
        return;
    };
    assert!(!target.methods().is_empty());
    if let Some(name) = target.repository() {
        let mut parts = name.as_str().split('/');
        assert!(parts.all(|it| !it.is_empty() && it != "." && it != ".."));
    }
    let written = match &target {
        Target::Base => "/v2/".to_owned(),
        Target::Catalog => "/v2/_catalog".to_owned(),
        Target::Blob(name, digest) => format!("/v2/{name}/blobs/{digest}"),
        Target::Manifest(name, Reference::Tag(tag)) => format!("/v2/{name}/manifests/{tag}"),
        Target::Manifest(name, Reference::Digest(digest)) => {
            format!("/v2/{name}/manifests/{digest}")
        }
        Target::Uploads(name) => format!("/v2/{name}/blobs/uploads/"),
        // What is no upload's is not written.
        Target::Upload(..) => return,
        Target::Tags(name) => format!("/v2/{name}/tags/list"),
        Target::Referrers(name, subject) => format!("/v2/{name}/referrers/{subject}"),
    };
    assert_eq!(Target::of(&written), Ok(target));
}

#[test]
fn routes() {
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let seeds = [
        "/v2/",
        "/v2",
        "/v2/_catalog?n=10&last=a%2Fb",
        "/v2/a/tags/list?n=0",
        "/v2/library/nginx/manifests/1.27?ns=docker.io",
        "/v2/a/manifests/%2e%2e",
        "/v2/a/blobs/uploads/",
        "/v2/a/blobs/uploads/3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "/v2/a/blobs/uploads/blobs/uploads/x",
        "/v2/a/blobs/uploads/%",
        &format!("/v2/a/b/blobs/{digest}"),
        &format!("/v2/a/b/blobs/{}", digest.replace(':', "%3A")),
        &format!("/v2/a/referrers/{digest}?artifactType=x%2Fy"),
        &format!("/v2/a/blobs/uploads/?mount={digest}&from=b%2Fc&digest-algorithm=sha512"),
    ];
    sow(&seeds, route);
    check!().for_each(route);
}

/// What is answered to a `Range` is within the blob, and never empty.
fn range(bytes: &[u8]) {
    let Some((size, value)) = bytes.split_first_chunk::<8>() else {
        return;
    };
    let size = u64::from_le_bytes(*size);
    let digest = Algorithm::Sha256.digest(b"");
    let Some(head) = with_field(RANGE, value) else {
        return;
    };
    if let Part::Some(range) = part(&head, &digest, size) {
        assert!(range.start < range.end && range.end <= size, "{range:?}");
    }
    if let Some((first, last)) = std::str::from_utf8(value).ok().and_then(content_range) {
        assert!(first <= last);
        let written = format!("bytes {first}-{last}/*");
        assert_eq!(content_range(&written), Some((first, last)));
    }
    content_length(&head);
    if let Some(head) = with_field(IF_NONE_MATCH, value) {
        is_known(&head, &digest);
    }
}

#[test]
fn ranges() {
    let seeds = [
        "\x0a\0\0\0\0\0\0\0bytes=0-9",
        "\x0a\0\0\0\0\0\0\0bytes=-3",
        "\x0a\0\0\0\0\0\0\0bytes=4-",
        "\0\0\0\0\0\0\0\0bytes=-1",
        "\0\0\0\0\0\0\0\0bytes=0-",
        "\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7fbytes=0-18446744073709551615",
        "\x01\0\0\0\0\0\0\0bytes 5-9/10",
        "\x01\0\0\0\0\0\0\0\"sha256:00\", W/\"x\", *",
    ];
    sow(&seeds, range);
    check!().for_each(range);
}

/// A media type that is kept can be sent again.
fn media_type(bytes: &[u8]) {
    let Some((text, _)) = first_line(bytes) else {
        return;
    };
    if is_media_type(text) {
        let head = with_field(CONTENT_TYPE, text.as_bytes()).expect("a field");
        assert_eq!(head.headers[CONTENT_TYPE].as_bytes(), text.as_bytes());
        assert!(!text.contains([';', ',', ' ']));
    }
}

#[test]
fn media_types() {
    let seeds = [
        "application/vnd.oci.image.manifest.v1+json",
        "text/html; charset=x",
        "a/b",
        "/",
    ];
    sow(&seeds, media_type);
    check!().for_each(media_type);
}
