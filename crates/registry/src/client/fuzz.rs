//! Fuzz targets of what registries and token services answer: see the proxy's.

use std::time::SystemTime;

use bolero::check;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::Url;

use super::auth::{challenge, challenges, repository, token_of};
use super::error::Error;
use super::manifest::{media_type_in, next_of};
use super::pace::retry_after;
use super::request::{below, parse_base};
use super::upload::received_of;
use super::{Scheme, is_repository, is_tag};
use crate::seeds::{first_line, sow};

/// A challenge is as long as what was sent, and is the same as we would write it.
fn challenged(bytes: &[u8]) {
    let Some((text, _)) = first_line(bytes) else {
        return;
    };
    let all = challenges(text);
    let parts: usize = all.iter().map(|(_, parameters)| 1 + parameters.len()).sum();
    assert!(parts <= text.len());
    repository(text);
    let Ok(value) = HeaderValue::from_str(text) else {
        return;
    };
    let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, value)]);
    let Some(Scheme::Bearer { realm, service }) = challenge(&headers) else {
        return;
    };
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut written = format!("Bearer realm=\"{}\"", quoted(&realm));
    if let Some(service) = &service {
        written += &format!(",service=\"{}\"", quoted(service));
    }
    let value = HeaderValue::from_str(&written).expect("what a field may have");
    let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, value)]);
    assert_eq!(challenge(&headers), Some(Scheme::Bearer { realm, service }));
}

#[test]
fn challenges_of_registries() {
    let seeds = [
        "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\"",
        "Basic realm=\"x\", Bearer realm=\"a\\\"b\"",
        "Bearer realm=https://a/b, service = c ,scope=\"repository:a:pull,push\"",
        "bEARER",
        "=, ==\"\\",
        "Negotiate, Basic",
    ];
    sow(&seeds, challenged);
    check!().for_each(challenged);
}

/// The next page is one that was named.
fn link(bytes: &[u8]) {
    let Some((text, _)) = first_line(bytes) else {
        return;
    };
    let Some(target) = next_of(text) else {
        return;
    };
    assert!(text.contains(&format!("<{target}>")));
    let written = format!("<{target}>; rel=\"next\"");
    assert_eq!(next_of(&written), Some(target));
}

#[test]
fn links() {
    let seeds = [
        "</v2/a/tags/list?last=x&n=2>; rel=\"next\"",
        "<a>; rel=\"prev\", <b>; title=\"a,b\"; rel=next",
        "<a>;rel",
        "<>; rel=\"last next\"",
        ",,<a",
    ];
    sow(&seeds, link);
    check!().for_each(link);
}

/// Whatever a name is, a request for it goes where such requests go, and names that are right do.
fn url(bytes: &[u8]) {
    let Some((repository, reference)) = first_line(bytes) else {
        return;
    };
    let base = Url::parse("https://a.example:5000/v2/").expect("a URL");
    let path = format!("{repository}/manifests/{reference}");
    match below(&base, &path) {
        Some(url) => {
            assert_eq!(url.origin(), base.origin());
            let wanted = path.split('?').next().unwrap_or_default();
            assert_eq!(url.path(), format!("/v2/{wanted}"));
            assert!(!url.path().split('/').any(|it| it == ".." || it == "."));
        }
        None => assert!(!(is_repository(repository) && is_tag(reference)), "{path}"),
    }
    if let Ok(url) = parse_base("https", repository) {
        assert_eq!(
            (url.path(), url.query(), url.fragment()),
            ("/v2/", None, None)
        );
        assert!(url.username().is_empty() && url.password().is_none());
    }
}

#[test]
fn urls() {
    let seeds = [
        "library/nginx\n1.27",
        "a\n../../b/manifests/latest",
        "a\n%2e%2e/x",
        "a\nx?tag=y",
        "a\nx#y",
        "http://b/c\nx",
        "//b\nx",
        "a\\..\nx",
        "localhost:5000\nx",
        "[::1]:80\n",
    ];
    sow(&seeds, url);
    check!().for_each(url);
}

/// What is answered is read, and what is said of it fits on a line.
fn answer(bytes: &[u8]) {
    let error = Error::of_answer("x", StatusCode::BAD_REQUEST, bytes);
    assert!(error.message.chars().count() < 400 && !error.message.contains(char::is_control));
    media_type_in(bytes);
    if let Some(token) = token_of(bytes) {
        assert!(!token.is_empty());
    }
    let Some((text, _)) = first_line(bytes) else {
        return;
    };
    received_of(text);
    if let Ok(value) = HeaderValue::from_str(text) {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value)]);
        retry_after(&headers, SystemTime::now());
    }
}

#[test]
fn answers() {
    let seeds = [
        r#"{"errors":[{"code":"DENIED","message":"no\u001b[31m","detail":{}}]}"#,
        r#"{"token":"a","expires_in":300}"#,
        r#"{"access_token":"a","expires_in":18446744073709551615}"#,
        r#"{"mediaType":"a/b"}"#,
        "0-18446744073709551615",
        "bytes=0-99",
        "Wed, 21 Oct 2015 07:28:00 GMT",
        "120",
    ];
    sow(&seeds, answer);
    check!().for_each(answer);
}
