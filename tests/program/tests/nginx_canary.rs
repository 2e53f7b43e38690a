//! Canaries: Ingresses that get some requests of others.

use std::collections::HashMap;

use program_tests::nginx::{Nginx, ingress};
use program_tests::{Conn, HOST, Ingress};

fn main_ingress() -> Ingress {
    ingress("main", &[]).host(HOST).prefix("/info", "web")
}

fn canary(annotations: &[(&str, &str)]) -> Ingress {
    let all = [&[("canary", "true")], annotations].concat();
    ingress("the-canary", &all)
        .host(HOST)
        .prefix("/info", "other")
}

fn both(annotations: &[(&str, &str)]) -> Nginx {
    Nginx::with(&[main_ingress(), canary(annotations)])
}

/// Who answers a request with these header lines.
#[track_caller]
fn who(site: &Nginx, lines: &str) -> String {
    let request = format!("GET /info HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n");
    Conn::plain(site.narthex.http).ask(&request).backend()
}

#[track_caller]
fn all(site: &Nginx, expected: &[(&str, &str)]) {
    for (lines, backend) in expected {
        assert_eq!(who(site, lines), *backend, "{lines:?}");
    }
}

fn counts(site: &Nginx) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for _ in 0..300 {
        *counts.entry(who(site, "")).or_default() += 1;
    }
    counts
}

#[test]
fn a_header_decides_by_always_and_never() {
    let site = both(&[("canary-by-header", "CanaryByHeader")]);
    all(
        &site,
        &[
            ("", "web"),
            ("CanaryByHeader: always\r\n", "other"),
            ("canarybyheader: always\r\n", "other"),
            ("CanaryByHeader: never\r\n", "web"),
            ("CanaryByHeader: badheadervalue\r\n", "web"),
        ],
    );
    let site = both(&[("canary-by-header", "X_Canary"), ("canary-weight", "100")]);
    all(&site, &[("X-Canary: never\r\n", "web"), ("", "other")]);
}

#[test]
fn a_header_may_have_a_value_of_its_own() {
    let site = both(&[
        ("canary-by-header", "CanaryByHeader"),
        ("canary-by-header-value", "DoCanary"),
    ]);
    all(
        &site,
        &[
            ("CanaryByHeader: DoCanary\r\n", "other"),
            ("CanaryByHeader: always\r\n", "web"),
            ("CanaryByHeader: never\r\n", "web"),
            ("CanaryByHeader: otherheadervalue\r\n", "web"),
        ],
    );
}

#[test]
fn a_header_may_match_a_pattern_unless_it_has_a_value() {
    let pattern = ("canary-by-header-pattern", "^Do[A-Z][a-z]+y$");
    let header = ("canary-by-header", "CanaryByHeader");
    let site = both(&[header, pattern]);
    all(
        &site,
        &[
            ("CanaryByHeader: DoCanary\r\n", "other"),
            ("CanaryByHeader: Docanary\r\n", "web"),
        ],
    );
    let site = both(&[header, pattern, ("canary-by-header-value", "DoCanary")]);
    all(&site, &[("CanaryByHeader: DoCananry\r\n", "web")]);
}

#[test]
fn a_pattern_that_nobody_can_read_is_nobodys() {
    let site = both(&[
        ("canary-by-header", "CanaryByHeader"),
        ("canary-by-header-pattern", "[][**da?$&*"),
        ("canary-by-cookie", "CanaryByCookie"),
    ]);
    all(
        &site,
        &[
            (
                "CanaryByHeader: DoCanary\r\nCookie: CanaryByCookie=always\r\n",
                "web",
            ),
            ("Cookie: CanaryByCookie=always\r\n", "other"),
        ],
    );
    site.narthex.until_log("canary-by-header-pattern");
}

#[test]
fn a_cookie_decides_after_the_header() {
    let site = both(&[
        ("canary-by-header", "CanaryByHeader"),
        ("canary-by-header-value", "DoCanary"),
        ("canary-by-cookie", "Canary-By-Cookie"),
    ]);
    all(
        &site,
        &[
            (
                "CanaryByHeader: other\r\nCookie: a=b; Canary-By-Cookie=always\r\n",
                "other",
            ),
            (
                "CanaryByHeader: DoCanary\r\nCookie: Canary-By-Cookie=never\r\n",
                "other",
            ),
            ("Cookie: canary-by-cookie=always\r\n", "other"),
            ("Cookie: Canary-By-Cookie=never\r\n", "web"),
            ("Cookie: Canary-By-Cookie=badcookievalue\r\n", "web"),
        ],
    );
}

#[test]
fn weights_are_of_a_hundred_or_of_what_is_said() {
    for (weight, total, backend) in [
        ("0", "", "web"),
        ("100", "", "other"),
        ("1000", "1000", "other"),
        ("101", "", "other"),
        ("-5", "", "web"),
    ] {
        let site = both(&[("canary-weight", weight), ("canary-weight-total", total)]);
        for _ in 0..20 {
            assert_eq!(who(&site, ""), backend, "{weight} of {total}");
        }
    }
    for (weight, total) in [("50", ""), ("100", "200")] {
        let counts = counts(&both(&[
            ("canary-weight", weight),
            ("canary-weight-total", total),
        ]));
        // Of 300 by a half, less than 90 come once in 10^12 times.
        assert!(counts["web"] > 90 && counts["other"] > 90, "{counts:?}");
    }
}

#[test]
fn header_and_cookie_go_before_the_weight() {
    let site = both(&[
        ("canary-by-header", "X"),
        ("canary-by-cookie", "c"),
        ("canary-weight", "100"),
    ]);
    all(
        &site,
        &[
            ("X: never\r\n", "web"),
            ("Cookie: c=never\r\n", "web"),
            ("X: what\r\nCookie: c=what\r\n", "other"),
        ],
    );
}

#[test]
fn a_canary_alone_serves_nothing() {
    let alone = canary(&[("canary-weight", "100")]).tls(&[HOST], "none");
    let site = Nginx::with(&[alone]);
    assert_eq!(site.narthex.backend(HOST, "/info"), "404");
    site.narthex.until_log("nothing to be the canary of");
    let catch_all = ingress("c", &[("canary", "true"), ("canary-weight", "100")]);
    let site = Nginx::with(&[catch_all.default_backend("other"), main_ingress()]);
    assert_eq!(site.narthex.backend("unknown.example", "/"), "404");
    assert_eq!(site.narthex.backend(HOST, "/info"), "web");
}

#[test]
fn a_canary_without_endpoints_gets_nothing() {
    for service in ["nobody", "missing"] {
        let nobody = "apiVersion: v1\nkind: Service\nmetadata: {name: nobody}\n\
                      spec: {ports: [{port: 80}]}\n";
        let with = |name: &str, said: &[(&str, &str)], service: &str| {
            ingress(name, said)
                .host(HOST)
                .prefix("/info", service)
                .yaml()
        };
        let said = [("canary", "true"), ("canary-weight", "100")];
        let site = Nginx::with_documents(
            &[
                with("main", &[], "web"),
                with("the-canary", &said, service),
                nobody.to_owned(),
            ],
            &[],
        );
        all(&site, &[("", "web")]);
        let site = Nginx::with_documents(
            &[
                with("main", &[], service),
                with("the-canary", &said, "other"),
                nobody.to_owned(),
            ],
            &[],
        );
        all(&site, &[("", "503")]);
    }
}

#[test]
fn a_canary_of_what_catches_all_gets_a_part_of_it() {
    let main = ingress("a", &[]).default_backend("web");
    let annotations = [("canary", "true"), ("canary-by-header", "X")];
    let canary = ingress("b", &annotations).default_backend("other");
    let site = Nginx::with(&[main, canary]);
    all(&site, &[("", "web"), ("X: always\r\n", "other")]);
}

#[test]
fn a_canary_is_about_the_host_and_the_path_that_both_have() {
    let main = main_ingress().prefix("/other", "web").exact("/info", "web");
    let canary = canary(&[("canary-weight", "100")]).prefix("/own", "other");
    let site = Nginx::with(&[main, canary]);
    for (path, backend) in [
        ("/info", "web"),
        ("/info/x", "other"),
        ("/other", "web"),
        ("/own", "404"),
    ] {
        assert_eq!(site.narthex.backend(HOST, path), backend, "{path}");
    }
}

#[test]
fn a_canary_ignores_its_other_annotations_and_its_tls() {
    // The seventh surprise.
    let canary = canary(&[
        ("canary-weight", "100"),
        ("rewrite-target", "/rewritten"),
        ("use-regex", "true"),
        ("permanent-redirect", "https://x.example"),
        ("force-ssl-redirect", "true"),
        ("server-alias", "b.example"),
        ("upstream-vhost", "x.example"),
    ]);
    let site = Nginx::with(&[main_ingress(), canary]);
    let seen = site.narthex.get(HOST, "/info/x").echo();
    assert_eq!((&*seen.backend, &*seen.target), ("other", "/info/x"));
    assert_eq!(site.narthex.backend(HOST, "/INFO"), "404");
    assert_eq!(site.narthex.backend("b.example", "/info"), "404");
}

#[test]
fn of_several_canaries_of_a_path_one_is_taken() {
    let first = canary(&[("canary-by-header", "X")]);
    let all = [("canary", "true"), ("canary-by-header", "Y")];
    let second = ingress("z", &all).host(HOST).prefix("/info", "other");
    let site = Nginx::with(&[main_ingress(), first, second]);
    assert_eq!(who(&site, "X: always\r\n"), "other");
    assert_eq!(who(&site, "Y: always\r\n"), "web");
    site.narthex.until_log("has a canary already");
}

#[test]
fn canaries_come_and_change_and_go_while_it_runs() {
    let site = Nginx::with_documents(&[], &[]);
    let asks = |lines: &str, backend: &str| {
        program_tests::wait::until(backend, || {
            let request = format!("GET /info HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n");
            Conn::plain(site.narthex.http).ask(&request).backend() == backend
        });
    };
    site.folder
        .write("canary.yaml", &canary(&[("canary-by-header", "A")]).yaml());
    site.folder.write("main.yaml", &main_ingress().yaml());
    asks("A: always\r\n", "other");
    asks("A: never\r\n", "web");
    site.folder
        .write("canary.yaml", &canary(&[("canary-by-header", "B")]).yaml());
    asks("B: always\r\n", "other");
    asks("A: always\r\n", "web");
    site.folder.remove("canary.yaml");
    asks("B: always\r\n", "web");
}

#[test]
fn a_canary_may_be_beside_a_pattern_and_is_rewritten_as_its_main() {
    let main = ingress("main", &[("rewrite-target", "/$1")]).host(HOST);
    let annotations = [("canary", "true"), ("canary-by-header", "X")];
    let canary = ingress("other", &annotations).host(HOST);
    let path = "/info(.*)";
    let site = Nginx::with(&[
        main.path("ImplementationSpecific", path, "web"),
        canary.path("Prefix", path, "other"),
    ]);
    let request = format!("GET /info/x HTTP/1.1\r\nHost: {HOST}\r\nX: always\r\n\r\n");
    let seen = Conn::plain(site.narthex.http).ask(&request).echo();
    assert_eq!((&*seen.backend, &*seen.target), ("other", "//x"));
}

#[test]
fn explain_tells_which_requests_are_the_canarys() {
    let site = both(&[
        ("canary-by-header", "X"),
        ("canary-by-cookie", "c"),
        ("canary-weight", "10"),
    ]);
    let folder = site.folder.path().to_str().expect("a path").to_owned();
    let url = format!("http://{HOST}/info");
    let said = program_tests::run(&["explain", &folder, &url]);
    for expected in [
        "default/other:http beside default/web:http",
        "header x decides by always and never",
        "else 10 of 100",
    ] {
        assert!(
            said.stdout.contains(expected),
            "{expected}: {}",
            said.said()
        );
    }
}

#[test]
fn conditions_of_what_is_no_canary_mean_nothing() {
    let annotations = [("canary-weight", "100")];
    let other = ingress("z", &annotations)
        .host(HOST)
        .prefix("/info", "other");
    let site = Nginx::with(&[main_ingress(), other]);
    assert_eq!(site.narthex.backend(HOST, "/info"), "web");
}
