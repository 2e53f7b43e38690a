//! `custom-headers`, `proxy-redirect-from`, `proxy-cookie-domain` and their like.

use program_tests::backend::Then;
use program_tests::folder::config_map;
use program_tests::nginx::{configured, ingress};
use program_tests::{Backend, Conn, Folder, HOST, Ingress, Narthex, Response, service};

const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// A backend that answers with these lines, each ended by CRLF, behind these annotations.
fn answer(lines: &'static str, annotations: &[(&str, &str)]) -> Response {
    let web = Backend::scripted("web", move |exchange| {
        exchange.read_body()?;
        exchange.send(format!(
            "HTTP/1.1 302 Found\r\n{lines}Content-Length: 0\r\n\r\n"
        ))?;
        Ok(Then::Keep)
    });
    let mut ingress = Ingress::named("web").class("nginx");
    for (name, value) in annotations {
        ingress = ingress.annotation(&format!("{PREFIX}{name}"), value);
    }
    let ingress = ingress.host(HOST).prefix("/", "web");
    let folder = Folder::of(&[service("web", &[web.address()]), ingress.yaml()]);
    let narthex = Narthex::on(&folder).start();
    narthex.get(&format!("{HOST}:8000"), "/")
}

#[test]
fn locations_of_backends_are_put_into_words_that_hold_outside() {
    let lines = "Location: http://in.example:8080/one/x?y=1\r\nRefresh: 5; url=http://in.example:8080/one/z\r\n";
    let with = |from: &str, to: &str| {
        let answer = answer(
            lines,
            &[("proxy-redirect-from", from), ("proxy-redirect-to", to)],
        );
        let value = |name: &str| answer.header(name).unwrap_or_default().to_owned();
        (value("location"), value("refresh"))
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        with("http://in.example:8080/one/", "http://out.example/two/"),
        pair(
            "http://out.example/two/x?y=1",
            "5; url=http://out.example/two/z"
        )
    );
    assert_eq!(
        with("http://in.example:8080/", "/"),
        pair(&format!("http://{HOST}/one/x?y=1"), "5; url=/one/z"),
        "what is without a host gets the client's"
    );
    let same = pair(
        "http://in.example:8080/one/x?y=1",
        "5; url=http://in.example:8080/one/z",
    );
    for (from, to) in [
        ("off", "/"),
        ("default", "/"),
        ("http://in.example:8080/", "off"),
        ("http://IN.example:8080/", "/"),
    ] {
        assert_eq!(with(from, to), same, "{from} {to}");
    }
}

#[test]
fn cookies_of_backends_get_other_domains_and_paths() {
    let lines = "Set-Cookie: a=b; Domain=.in.example; Path=/one/x; Secure\r\nSet-Cookie: c=d\r\n";
    let answer = answer(
        lines,
        &[
            ("proxy-cookie-domain", "IN.example out.example"),
            ("proxy-cookie-path", "/one /two"),
        ],
    );
    let cookies: Vec<_> = answer.all("set-cookie").collect();
    assert_eq!(
        cookies,
        ["a=b; Domain=.out.example; Path=/two/x; Secure", "c=d"]
    );
}

#[test]
fn cookies_stay_where_nothing_is_said_or_it_is_off() {
    let lines = "Set-Cookie: a=b; Domain=in.example; Path=/one\r\n";
    for annotations in [
        &[][..],
        &[("proxy-cookie-domain", "off"), ("proxy-cookie-path", "off")],
        &[
            ("proxy-cookie-domain", "n.example out.example"),
            ("proxy-cookie-path", "/two /"),
        ],
    ] {
        let answer = answer(lines, annotations);
        assert_eq!(
            answer.header("set-cookie"),
            Some("a=b; Domain=in.example; Path=/one")
        );
    }
}

#[test]
fn fields_of_a_configmap_that_is_not_there_close_the_paths() {
    let web = Backend::named("web");
    let map = |data: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: fields\n  namespace: default\n{data}"
        )
    };
    let ingress = Ingress::named("web")
        .class("nginx")
        .annotation(&format!("{PREFIX}custom-headers"), "default/fields")
        .host(HOST)
        .prefix("/", "web");
    let other = Ingress::named("other")
        .class("nginx")
        .host("b.example")
        .prefix("/", "web");
    let folder = Folder::of(&[
        service("web", &[web.address()]),
        ingress.yaml(),
        other.yaml(),
    ]);
    let narthex = Narthex::on(&folder).start();
    assert_eq!(narthex.get(HOST, "/").status, 503);
    assert_eq!(narthex.backend("b.example", "/"), "web");
    narthex.until_log("custom-headers");
    // One without a field is as none.
    folder.write("map.yaml", &map(""));
    narthex.until_backend(HOST, "/", "web");
    // Nobody has allowed any field.
    folder.write("map.yaml", &map("data: {My-Header: '42'}\n"));
    narthex.until_backend(HOST, "/", "503");
    narthex.until_log("global-allowed-response-headers");
}

#[test]
fn what_cors_says_goes_before_fields_of_a_configmap() {
    let web = Backend::named("web");
    let ingress = ingress(
        "web",
        &[
            ("custom-headers", "default/fields"),
            ("enable-cors", "true"),
            ("cors-allow-origin", "https://a.example"),
        ],
    );
    let fields = [
        ("Access-Control-Allow-Methods", "BREW"),
        ("My-Header", "42"),
    ];
    let (narthex, _folder) = configured(
        &[
            service("web", &[web.address()]),
            config_map("default/fields", &fields),
            ingress.host(HOST).prefix("/", "web").yaml(),
        ],
        &[(
            "global-allowed-response-headers",
            "My-Header,Access-Control-Allow-Methods",
        )],
        &[],
    );
    let ask = |origin: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nOrigin: {origin}\r\n\r\n");
        Conn::plain(narthex.http).ask(&request)
    };
    const METHODS: &str = "access-control-allow-methods";
    let response = ask("https://a.example");
    assert_eq!(response.header("my-header"), Some("42"));
    let methods = "GET, PUT, POST, DELETE, PATCH, OPTIONS";
    assert_eq!(response.header(METHODS), Some(methods));
    // Who is not meant is told nothing by it.
    assert_eq!(ask("https://b.example").header(METHODS), Some("BREW"));
}
