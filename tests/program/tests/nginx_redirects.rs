//! Ingress-nginx's redirects, and the other names of a host.

use program_tests::nginx::{Nginx, ingress};
use program_tests::tls::Client;
use program_tests::{Certificate, Conn, HOST, secret};

const ROOT: &str = "/";

fn one(annotations: &[(&str, &str)], path: &str) -> Nginx {
    Nginx::with(&[ingress("a", annotations).host(HOST).prefix(path, "web")])
}

/// The same with a certificate.
fn secure(annotations: &[(&str, &str)], flags: &[&str]) -> Nginx {
    let rule = ingress("a", annotations).tls(&[HOST], "a-tls").host(HOST);
    let documents = [
        secret("a-tls", &Certificate::of(&[HOST])),
        rule.prefix(ROOT, "web").yaml(),
    ];
    Nginx::with_documents(&documents, flags)
}

fn sent(status: u16, location: &str) -> (u16, String) {
    (status, location.to_owned())
}

#[test]
fn a_permanent_redirect_has_its_code() {
    let url = "http://redirect.example.com";
    let site = one(&[("permanent-redirect", url)], "/something");
    assert_eq!(site.sent(HOST, "/something"), sent(301, url));
    assert_eq!(site.sent(HOST, "/something/else?x"), sent(301, url));
    // What no path claims is the business of the host's first Ingress, too.
    assert_eq!(site.sent(HOST, "/other"), sent(301, url));
    for (code, status) in [("302", 302), ("308", 308), ("309", 301), ("200", 301)] {
        let annotations = [
            ("permanent-redirect", url),
            ("permanent-redirect-code", code),
        ];
        assert_eq!(
            one(&annotations, ROOT).sent(HOST, "/x"),
            sent(status, url),
            "{code}"
        );
    }
}

#[test]
fn a_temporal_redirect_goes_before_a_permanent_one() {
    let (new, old) = ("https://new.example/a?b=c", "http://old.example");
    let both = [("temporal-redirect", new), ("permanent-redirect", old)];
    assert_eq!(one(&both, ROOT).sent(HOST, "/x"), sent(302, new));
    for (code, status) in [("307", 307), ("308", 302), ("303", 303)] {
        let annotations = [("temporal-redirect", new), ("temporal-redirect-code", code)];
        assert_eq!(
            one(&annotations, ROOT).sent(HOST, "/x"),
            sent(status, new),
            "{code}"
        );
    }
    // One that is no URL is none, and what is read with it neither.
    let void = [("temporal-redirect", "/new"), ("permanent-redirect", old)];
    assert_eq!(one(&void, ROOT).narthex.backend(HOST, "/"), "web");
}

#[test]
fn a_redirect_that_validation_refuses_leaves_its_ingress_out() {
    let annotations = [("permanent-redirect", "https://x.example$request_uri")];
    let site = one(&annotations, ROOT);
    assert_eq!(site.narthex.backend(HOST, "/"), "404");
    site.narthex.until_log("permanent-redirect");
}

#[test]
fn a_path_in_a_redirect_becomes_a_url_unless_it_is_to_be_relative() {
    for (relative, location) in [
        ("false", format!("http://{HOST}/redirected")),
        ("true", "/redirected".to_owned()),
    ] {
        let annotations = [
            ("permanent-redirect", "/redirected"),
            ("relative-redirects", relative),
        ];
        let site = one(&annotations, "/redirect");
        assert_eq!(site.sent(HOST, "/redirect"), sent(301, &location));
    }
    let site = one(&[("relative-redirects", "true")], "/x/");
    assert_eq!(site.sent(HOST, "/x"), sent(301, "/x/"));
}

#[test]
fn ports_are_in_urls_where_they_are_asked_for() {
    let site = one(&[("use-port-in-redirects", "true")], "/x/");
    let port = site.narthex.http;
    assert_eq!(
        site.sent(HOST, "/x"),
        sent(301, &format!("http://{HOST}:{port}/x/"))
    );
    let site = secure(&[("use-port-in-redirects", "true")], &[]);
    let port = site.narthex.https;
    assert_eq!(
        site.sent(HOST, "/x"),
        sent(308, &format!("https://{HOST}:{port}/x"))
    );
}

#[test]
fn the_root_is_led_to_the_application() {
    let site = one(&[("app-root", "/foo")], ROOT);
    assert_eq!(
        site.sent(HOST, "/"),
        sent(302, &format!("http://{HOST}/foo"))
    );
    assert_eq!(
        site.sent("a.example:8080", "/?x"),
        sent(302, "http://a.example:8080/foo")
    );
    assert_eq!(site.narthex.backend(HOST, "/foo"), "web");
    // Whatever the path of the Ingress is, and before HTTPS.
    let site = secure(&[("app-root", "/foo")], &[]);
    assert_eq!(
        site.sent(HOST, "/"),
        sent(302, &format!("http://{HOST}/foo"))
    );
    let rule = ingress("a", &[("app-root", "/foo"), ("use-regex", "true")]).host(HOST);
    let site = Nginx::with(&[rule.prefix("/foo[0-9]*", "web")]);
    assert_eq!(
        site.sent(HOST, "/"),
        sent(302, &format!("http://{HOST}/foo"))
    );
    for bad in ["foo", "https://evil.example/"] {
        assert_eq!(
            one(&[("app-root", bad)], ROOT).narthex.backend(HOST, "/"),
            "web"
        );
    }
}

#[test]
fn tls_leads_to_https_without_the_last_slash_unless_it_is_to_stay() {
    // The ninth surprise; with it goes HSTS.
    let site = secure(&[], &[]);
    for (path, location) in [
        ("/", "https://a.example"),
        ("/a/", "https://a.example/a"),
        ("/a//b/?c=/", "https://a.example/a//b/?c="),
        ("/a%20b?c", "https://a.example/a%20b?c"),
    ] {
        assert_eq!(site.sent(HOST, path), sent(308, location));
    }
    let (mut conn, _) = Client::trusting_anything()
        .connect(site.narthex.https, HOST)
        .expect("a handshake");
    let answer = conn.get(HOST, "/");
    assert_eq!(answer.backend(), "web");
    let hsts = answer.header("strict-transport-security");
    assert_eq!(hsts, Some("max-age=31536000; includeSubDomains"));
    let site = secure(&[("preserve-trailing-slash", "true")], &[]);
    assert_eq!(site.sent(HOST, "/"), sent(308, "https://a.example/"));
    let site = secure(&[], &["--public-https-port=9443"]);
    assert_eq!(site.sent(HOST, "/x"), sent(308, "https://a.example:9443/x"));
}

#[test]
fn force_leads_to_https_also_for_paths_that_nobody_claims() {
    let site = one(&[("force-ssl-redirect", "true")], "/foo");
    assert_eq!(site.sent(HOST, "/foo"), sent(308, "https://a.example/foo"));
    assert_eq!(site.sent(HOST, "/bar"), sent(308, "https://a.example/bar"));
    let site = one(&[("force-ssl-redirect", "perhaps")], ROOT);
    assert_eq!(site.narthex.backend(HOST, "/"), "web");
}

#[test]
fn another_redirect_goes_before_the_one_to_https() {
    let site = secure(&[("permanent-redirect", "https://x.example")], &[]);
    assert_eq!(site.sent(HOST, "/a"), sent(301, "https://x.example"));
}

#[test]
fn the_host_with_www_leads_to_the_one_without_and_the_other_way_round() {
    let annotations = [("from-to-www-redirect", "true")];
    let site = one(&annotations, ROOT);
    let port = site.narthex.http;
    assert_eq!(
        site.sent("www.a.example", "/foo?x"),
        sent(308, &format!("http://a.example:{port}/foo?x"))
    );
    assert_eq!(
        site.sent("www.a.example", "/"),
        sent(308, &format!("http://a.example:{port}"))
    );
    assert_eq!(site.narthex.backend(HOST, "/"), "web");
    let www = ingress("a", &annotations)
        .host("www.b.example")
        .prefix(ROOT, "web");
    let own = ingress("b", &[])
        .host("www.c.example")
        .prefix(ROOT, "other");
    let to_own = ingress("c", &annotations)
        .host("c.example")
        .prefix(ROOT, "web");
    let site = Nginx::with(&[www, own, to_own]);
    let port = site.narthex.http;
    assert_eq!(
        site.sent("b.example", "/x"),
        sent(308, &format!("http://www.b.example:{port}/x"))
    );
    assert_eq!(site.narthex.backend("www.c.example", "/"), "other");
    assert_eq!(site.narthex.backend("c.example", "/"), "web");
}

#[test]
fn the_host_with_www_has_tls_where_the_certificate_is_for_it() {
    let names = [HOST, "www.a.example"];
    let rule = ingress("a", &[("from-to-www-redirect", "true")]).tls(&[HOST], "a-tls");
    let documents = [
        secret("a-tls", &Certificate::of(&names)),
        rule.host(HOST).prefix(ROOT, "web").yaml(),
    ];
    let site = Nginx::with_documents(&documents, &[]);
    let port = site.narthex.https;
    let client = Client::trusting_anything();
    let shown = |host| client.certificate(port, host);
    assert_eq!(shown("www.a.example"), shown(HOST));
    let (mut conn, _) = client.connect(port, "www.a.example").expect("a handshake");
    let answer = conn.get("www.a.example", "/");
    assert_eq!(
        answer.header("location"),
        Some(&*format!("https://a.example:{port}"))
    );
}

#[test]
fn aliases_are_answered_as_the_host_is() {
    let plain = ingress("a", &[]).host(HOST).prefix("/app-a", "web");
    let alias = ingress("b", &[("server-alias", "bar, *.wild.example")]).host(HOST);
    let site = Nginx::with(&[plain, alias.prefix("/app-b", "other")]);
    for host in [HOST, "bar", "x.wild.example", "x.y.wild.example"] {
        assert_eq!(site.narthex.backend(host, "/app-a"), "web", "{host}");
        assert_eq!(site.narthex.backend(host, "/app-b/x"), "other", "{host}");
        assert_eq!(site.narthex.backend(host, "/app-c"), "404", "{host}");
    }
    assert_eq!(site.narthex.backend("wild.example", "/app-a"), "404");
    assert_eq!(site.narthex.backend("baz", "/app-a"), "404");
}

#[test]
fn an_alias_that_is_a_host_stays_one() {
    let alias = ingress("a", &[("server-alias", "b.example,~^x$,c.example")]).host(HOST);
    let own = ingress("b", &[]).host("b.example").prefix(ROOT, "other");
    let site = Nginx::with(&[alias.prefix(ROOT, "web"), own]);
    assert_eq!(site.narthex.backend("b.example", "/"), "other");
    assert_eq!(site.narthex.backend("c.example", "/"), "web");
    site.narthex.until_log("a host of its own");
    site.narthex.until_log("~^x$");
}

#[test]
fn aliases_come_and_go_with_the_hosts_that_they_are_of() {
    let rule = |annotations: &[(&str, &str)]| {
        let rule = ingress("a", annotations).host(HOST).prefix(ROOT, "web");
        rule.yaml()
    };
    let site = Nginx::with_documents(&[], &[]);
    site.folder
        .write("a.yaml", &rule(&[("server-alias", "b.example")]));
    site.narthex.until_backend("b.example", "/", "web");
    let newer = ingress("b", &[]).host(HOST).prefix("/x", "other");
    site.folder.write("b.yaml", &newer.yaml());
    site.narthex.until_backend("b.example", "/x", "other");
    site.folder.write("a.yaml", &rule(&[]));
    site.narthex.until_backend("b.example", "/", "404");
    site.folder
        .write("a.yaml", &rule(&[("from-to-www-redirect", "true")]));
    site.narthex.until_backend("www.a.example", "/", "308");
    site.folder.remove("a.yaml");
    site.narthex.until_backend("www.a.example", "/", "404");
}

#[test]
fn what_authorities_ask_for_is_not_led_to_https() {
    let path = "/.well-known/acme-challenge";
    let rule = ingress("a", &[]).tls(&[HOST], "a-tls").host(HOST);
    let documents = [
        secret("a-tls", &Certificate::of(&[HOST])),
        rule.prefix(path, "web").prefix(ROOT, "other").yaml(),
    ];
    let site = Nginx::with_documents(&documents, &[]);
    for asked in ["", "/token"] {
        let found = site.narthex.backend(HOST, &format!("{path}{asked}"));
        assert_eq!(found, "web", "{asked}");
    }
    assert_eq!(site.narthex.backend(HOST, "/x"), "308");
}

#[test]
fn explain_tells_where_clients_are_sent() {
    let annotations = [
        ("app-root", "/app"),
        ("from-to-www-redirect", "true"),
        ("force-ssl-redirect", "true"),
    ];
    let slash = ingress("b", &[]).host("b.example").prefix("/x/", "web");
    let elsewhere = [
        ("permanent-redirect", "/new"),
        ("permanent-redirect-code", "308"),
    ];
    let elsewhere = ingress("c", &elsewhere)
        .host("c.example")
        .prefix(ROOT, "web");
    let first = ingress("a", &annotations).host(HOST).prefix(ROOT, "web");
    let site = Nginx::with(&[first, slash, elsewhere]);
    let folder = site.folder.path().to_str().expect("a path").to_owned();
    for (url, expected) in [
        ("http://a.example/", "302: sent to http://a.example/app"),
        (
            "http://a.example/y/?z",
            "308: redirected to https://a.example/y/?z",
        ),
        (
            "http://www.a.example:8080/y/",
            "308: sent to http://a.example:8080/y",
        ),
        ("http://b.example/x?q", "301: sent to http://b.example/x/?q"),
        ("http://c.example/", "308: sent to http://c.example/new"),
    ] {
        let said = program_tests::run(&["explain", &folder, url]);
        assert!(said.stdout.contains(expected), "{url}: {}", said.said());
    }
}

#[test]
fn an_old_client_without_a_host_is_sent_to_our_address() {
    let rule = ingress("a", &[("permanent-redirect", "/x")]).any_host();
    let site = Nginx::with(&[rule.prefix(ROOT, "web")]);
    let answer = Conn::plain(site.narthex.http).ask("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(answer.header("location"), Some("http://127.0.0.1/x"));
}
