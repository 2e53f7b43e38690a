//! `rewrite-target` and what goes with it.

use program_tests::nginx::{Nginx, ingress};
use program_tests::{Conn, HOST};

fn rewriting(path: &str, target: &str) -> Nginx {
    let rule = ingress("a", &[("rewrite-target", target)]).host(HOST);
    Nginx::with(&[rule.path("ImplementationSpecific", path, "web")])
}

#[track_caller]
fn all(site: &Nginx, expected: &[(&str, &str)]) {
    for (path, target) in expected {
        assert_eq!(site.target(HOST, path), *target, "{path}");
    }
}

#[test]
fn captures_are_put_into_the_target_and_the_query_stays() {
    let site = rewriting("/something(/|$)(.*)", "/$2");
    all(
        &site,
        &[
            ("/something", "/"),
            ("/something/", "/"),
            ("/something/new", "/new"),
            ("/SomeThing/New?a=b&c", "/New?a=b&c"),
            ("/something/a%20b/%C3%A4", "/a%20b/%C3%A4"),
            ("/something//a//b", "/a/b"),
            ("/something/?a=%2F", "/?a=%2F"),
        ],
    );
}

#[test]
fn a_target_without_captures_takes_the_place_of_the_whole_path() {
    let site = rewriting("/foo.+", "/new/backend");
    all(
        &site,
        &[
            ("/foo/bar", "/new/backend"),
            ("/food?x=1", "/new/backend?x=1"),
        ],
    );
    all(
        &rewriting("/foo/bar/(.+)", "/new/backend/$1"),
        &[("/foo/bar/bar", "/new/backend/bar")],
    );
}

#[test]
fn all_nine_groups_are_there_and_those_that_took_no_part_are_empty() {
    let site = rewriting(
        "/(a)(b)(c)(d)(e)(f)(g)(h)(i)?(.*)",
        "/$9$8$7$6$5$4$3$2$1-$10",
    );
    all(
        &site,
        &[
            ("/abcdefghi/x", "/ihgfedcba-a0"),
            ("/abcdefgh", "/hgfedcba-a0"),
        ],
    );
}

#[test]
fn a_target_that_is_the_path_changes_nothing_but_below_a_prefix() {
    let site = rewriting("/", "/");
    all(&site, &[("/a/b?c", "/a/b?c")]);
    let site = rewriting("/foo", "/foo");
    all(
        &site,
        &[
            ("/foo", "/foo"),
            ("/foo/bar", "/foo"),
            ("/foobar", "/foobar"),
        ],
    );
}

#[test]
fn only_the_ingress_with_the_target_is_rewritten() {
    let plain = ingress("a", &[])
        .host(HOST)
        .prefix("/.well-known/acme/challenge", "other");
    let rewrite = ingress("b", &[("rewrite-target", "/new/backend")]).host(HOST);
    let site = Nginx::with(&[plain, rewrite.prefix("/", "web")]);
    all(
        &site,
        &[
            ("/.well-known/acme/challenge", "/.well-known/acme/challenge"),
            ("/x", "/new/backend"),
        ],
    );
}

#[test]
fn variables_are_put_into_the_target_and_cannot_end_the_path() {
    let site = rewriting("/(.*)", "/$host/$1/$arg_x/$http_x_name");
    let request = format!("GET /a?x=%3F HTTP/1.1\r\nHost: {HOST}\r\nX-Name: b?c #d\r\n\r\n");
    let seen = Conn::plain(site.narthex.http).ask(&request).echo().target;
    assert_eq!(seen, format!("/{HOST}/a/%3F/b%3Fc%20%23d?x=%3F"));
}

#[test]
fn what_is_no_target_is_not_taken_for_one() {
    for target in ["/a?b=$1", "/a b", "/a;return 200", "/{}", "/$nonsense"] {
        let site = rewriting("/foo", target);
        all(&site, &[("/foo", "/foo")]);
        assert_eq!(site.narthex.backend(HOST, "/foobar"), "404", "{target}");
        site.narthex.until_log("rewrite-target");
    }
}

#[test]
fn a_target_that_is_a_url_sends_the_client_there() {
    let site = rewriting("/old/(.*)", "https://new.example/$1");
    let sent = site.sent(HOST, "/old/a/b?c=d");
    assert_eq!(sent, (302, "https://new.example/a/b?c=d".to_owned()));
}

#[test]
fn nothing_in_the_place_of_a_path_is_an_error() {
    let site = rewriting("/foo(.*)", "$1");
    assert_eq!(site.narthex.get(HOST, "/foo").status, 500);
    all(&site, &[("/foo/bar", "/bar")]);
}

#[test]
fn encoded_slashes_stay_what_they_are() {
    let site = rewriting("/files/(.*)", "/$1");
    all(
        &site,
        &[("/files/a%2Fb", "/a%2Fb"), ("/files/%2e.x", "/..x")],
    );
    for path in ["/files/%2e%2e/x", "/files/..%2fx"] {
        assert_eq!(site.narthex.get(HOST, path).status, 400, "{path}");
    }
}

#[test]
fn the_backend_is_told_the_prefix_where_the_path_is_rewritten() {
    let annotations = [
        ("rewrite-target", "/foo"),
        ("x-forwarded-prefix", "/test/value"),
    ];
    let site = Nginx::with(&[ingress("a", &annotations).host(HOST).prefix("/", "web")]);
    let prefix = |site: &Nginx, path: &str| {
        let seen = site.narthex.get(HOST, path).echo().headers;
        let mut found = program_tests::http1::values(&seen, "x-forwarded-prefix");
        found.next().map(str::to_owned)
    };
    assert_eq!(prefix(&site, "/").as_deref(), Some("/test/value"));
    let annotations = [("rewrite-target", "/$2"), ("x-forwarded-prefix", "/$1")];
    let rule = ingress("a", &annotations).host(HOST);
    let site = Nginx::with(&[rule.path("ImplementationSpecific", "/(a|b)/(.*)", "web")]);
    assert_eq!(prefix(&site, "/b/x").as_deref(), Some("/b"));
    for annotations in [
        [("rewrite-target", "/foo"), ("x-forwarded-prefix", "")],
        [("rewrite-target", "/"), ("x-forwarded-prefix", "/x")],
    ] {
        let site = Nginx::with(&[ingress("a", &annotations).host(HOST).prefix("/", "web")]);
        assert_eq!(prefix(&site, "/"), None);
    }
}

#[test]
fn the_backend_is_told_another_host() {
    let host = |value: &str| {
        let site = Nginx::with(&[ingress("a", &[("upstream-vhost", value)])
            .host(HOST)
            .prefix("/", "web")]);
        let seen = site.narthex.get(HOST, "/x").echo();
        assert_eq!(seen.target, "/x");
        let field = |name| {
            program_tests::http1::values(&seen.headers, name)
                .collect::<Vec<_>>()
                .join(",")
        };
        assert_eq!(field("x-forwarded-host"), HOST);
        field("host")
    };
    assert_eq!(host("upstreamvhost.bar.com"), "upstreamvhost.bar.com");
    assert_eq!(
        host("$service_name.$namespace.svc.cluster.local"),
        "web.default.svc.cluster.local"
    );
    let bad = ingress("a", &[("upstream-vhost", "a;b")])
        .host(HOST)
        .prefix("/", "web");
    assert_eq!(Nginx::with(&[bad]).narthex.backend(HOST, "/"), "404");
}

#[test]
fn explain_tells_what_becomes_of_a_path() {
    let site = rewriting("/something(/|$)(.*)", "/$2");
    let folder = site.folder.path().to_str().expect("a path").to_owned();
    let url = format!("http://{HOST}/Something/new?a");
    let said = program_tests::run(&["explain", &folder, &url]);
    assert!(said.stdout.contains("/new?a"), "{}", said.said());
    assert!(
        said.stdout.contains("~* ^/something(/|$)(.*)"),
        "{}",
        said.said()
    );
}
