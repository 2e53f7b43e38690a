//! What clients of ingress-nginx's classes get besides their backends' answers: pages, limits of
//! heads, and what backends are told of clients. Compared with a real nginx.

use program_tests::nginx::{Nginx, ingress};
use program_tests::{Conn, HOST, Ingress, Response, Site, until};

fn page(title: &str) -> String {
    format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1>\
         </center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
}

#[track_caller]
fn is_page(answer: &Response, status: u16, title: &str) {
    assert_eq!((answer.status, answer.text()), (status, page(title)));
    assert_eq!(answer.header("content-type"), Some("text/html"));
}

#[test]
fn pages_of_ours_are_nginxs() {
    let site = Nginx::with(&[
        ingress("web", &[("proxy-body-size", "10")])
            .host(HOST)
            .prefix("/web", "web")
            .prefix("/gone", "nobody"),
        ingress("denied", &[("denylist-source-range", "127.0.0.0/8")])
            .host("denied.example")
            .prefix("/", "web"),
        ingress("sent", &[("permanent-redirect", "https://b.example/")])
            .host("sent.example")
            .prefix("/", "web"),
        ingress("tls", &[("force-ssl-redirect", "true")])
            .host("tls.example")
            .prefix("/", "web"),
    ]);
    let get = |host: &str, path: &str| site.narthex.get(host, path);
    is_page(&get("unknown.example", "/"), 404, "404 Not Found");
    is_page(&get(HOST, "/"), 404, "404 Not Found");
    is_page(
        &get(HOST, "/gone"),
        503,
        "503 Service Temporarily Unavailable",
    );
    is_page(&get("denied.example", "/"), 403, "403 Forbidden");
    is_page(&get("sent.example", "/"), 301, "301 Moved Permanently");
    is_page(&get("tls.example", "/"), 308, "308 Permanent Redirect");
    let mut conn = Conn::plain(site.narthex.http);
    let large = format!("POST /web HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 11\r\n\r\n");
    is_page(&conn.ask(&large), 413, "413 Request Entity Too Large");
    let mut conn = Conn::plain(site.narthex.http);
    is_page(&conn.ask("GET / HTTP/1.1\r\n\r\n"), 400, "400 Bad Request");
    // HEAD tells how long the page would have been.
    let mut conn = Conn::plain(site.narthex.http);
    let head = conn.ask("HEAD / HTTP/1.1\r\nHost: unknown.example\r\n\r\n");
    let length = page("404 Not Found").len().to_string();
    assert_eq!(head.header("content-length"), Some(length.as_str()));
}

#[test]
fn pages_are_a_line_of_text_where_no_ingress_is_of_its_classes_and_change_with_them() {
    let site = Site::echo();
    let text = || site.narthex.get("unknown.example", "/").text();
    assert_eq!(text(), "404 Not Found\n");
    let other = ingress("other", &[]).host("b.example").prefix("/", "web");
    site.folder.write("other.yaml", &other.yaml());
    until("nginx's page", || text() == page("404 Not Found"));
    site.folder.remove("other.yaml");
    until("a line of text", || text() == "404 Not Found\n");
}

#[test]
fn a_line_of_a_head_fits_into_8_kib_or_what_the_config_map_says() {
    let rules = ingress("web", &[]).host(HOST).prefix("/", "web");
    let site = Nginx::with_documents(&[rules.yaml()], &["--configmap=default/controller"]);
    let ask = |target: usize, field: usize| {
        let (target, field) = ("a".repeat(target), "b".repeat(field));
        let mut conn = Conn::plain(site.narthex.http);
        conn.ask(&format!(
            "GET /{target} HTTP/1.1\r\nHost: {HOST}\r\nX-Large: {field}\r\n\r\n"
        ))
    };
    for (target, field) in [(8000, 8000), (10, 8100)] {
        assert_eq!(ask(target, field).status, 200, "{target} {field}");
    }
    is_page(&ask(8200, 10), 414, "414 Request-URI Too Large");
    for field in [8200, 20_000, 40_000] {
        let answer = ask(10, field);
        assert_eq!(answer.status, 400, "{field}");
        let text = answer.text();
        assert!(
            text.contains("Request Header Or Cookie Too Large"),
            "{text}"
        );
    }
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: controller, namespace: \
               default}\ndata: {large-client-header-buffers: 4 12k}\n";
    site.folder.write("map.yaml", map);
    until("larger lines", || {
        ask(9000, 10).status == 200 && ask(10, 9000).status == 200
    });
    assert_eq!(ask(10, 13_000).status, 400);
}

#[test]
fn load_balancers_are_told_that_it_is_well_where_nobody_claims_the_host() {
    let rules = ingress("web", &[]).host(HOST).prefix("/app", "web");
    let site = Nginx::with(&[rules]);
    let answer = site.narthex.get("10.0.0.1", "/healthz");
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(site.narthex.get("10.0.0.1", "/health").status, 404);
    assert_eq!(site.narthex.get(HOST, "/healthz").status, 404);
    // Whoever claims all hosts is asked.
    let any: Ingress = ingress("any", &[]).any_host().prefix("/", "other");
    site.folder.write("any.yaml", &any.yaml());
    site.narthex.until_backend("10.0.0.1", "/healthz", "other");
}

#[test]
fn backends_are_told_what_the_client_says_and_nothing_that_scripts_take_for_their_own() {
    let site = Nginx::with(&[ingress("web", &[]).host(HOST).prefix("/", "web")]);
    let lines = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: said.example\r\nForwarded: \
                 for=1.2.3.4\r\nProxy: http://evil.example\r\nX-Original-Forwarded-Host: evil\r\n";
    let echo = Conn::plain(site.narthex.http)
        .ask(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"))
        .echo();
    for (name, expected) in [
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-host", Some(HOST)),
        ("x-original-forwarded-for", Some("1.2.3.4")),
        ("x-original-forwarded-host", Some("said.example")),
        ("forwarded", Some("for=1.2.3.4")),
        ("proxy", None),
    ] {
        assert_eq!(echo.header(name), expected, "{name}");
    }
}

#[test]
fn what_is_rewritten_is_written_as_nginx_writes_it() {
    let rules = ingress("rw", &[("rewrite-target", "/$2")]).host(HOST);
    let rules = rules.path("ImplementationSpecific", "/something(/|$)(.*)", "web");
    let site = Nginx::with(&[rules]);
    for (path, expected) in [
        ("/something", "/"),
        ("/something/", "/"),
        ("/something/a%20b", "/a%20b"),
        ("/something/a%3Fb%23c%25d", "/a%3Fb%23c%25d"),
        ("/something/a%3Ab%40c%5Bd%5D", "/a:b@c[d]"),
        ("/something/a\"b{c}", "/a%22b%7Bc%7D"),
        ("/something/%C3%A9", "/%C3%A9"),
        ("/something/a;b=c&d+e", "/a;b=c&d+e"),
        ("/something/a?b=%20&c=%zz", "/a?b=%20&c=%zz"),
    ] {
        assert_eq!(site.target(HOST, path), expected, "{path}");
    }
}

#[test]
fn a_query_without_anything_in_it_is_not_sent_along() {
    let site = Nginx::with(&[ingress("a", &[]).host(HOST).prefix("/dir/", "web")]);
    for (query, expected) in [("?", ""), ("?a=b", "?a=b"), ("", "")] {
        let found = site.sent(HOST, &format!("/dir{query}"));
        assert_eq!(found, (301, format!("http://{HOST}/dir/{expected}")));
    }
}
