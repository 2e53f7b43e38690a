//! `custom-http-errors`, `default-backend` and `disable-proxy-intercept-errors`.

use program_tests::backend::Then;
use program_tests::{
    Backend, Conn, Echo, Folder, HOST, Ingress, Narthex, Response, service, until,
};

const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// The file of the Ingress.
const SITE: &str = "ingress.yaml";

struct World {
    narthex: Narthex,
    folder: Folder,
    web: Backend,
    errors: Backend,
    general: Backend,
}

/// A backend `web` that answers `/status/N` with N, and two that echo.
fn world(annotations: &[(&str, &str)], flags: &[&str]) -> World {
    let web = Backend::scripted("web", |exchange| {
        let target = exchange.request.target.clone();
        let Some((_, status)) = target.split_once("/status/") else {
            return exchange.echo();
        };
        let status = status.split('?').next().unwrap_or_default().to_owned();
        exchange.read_body()?;
        exchange.send(format!(
            "HTTP/1.1 {status} Whatever\r\nContent-Length: 3\r\n\r\nweb"
        ))?;
        Ok(Then::Keep)
    });
    let (errors, general) = (Backend::named("errors"), Backend::named("general"));
    let folder = Folder::of(&[
        service("web", &[web.address()]),
        service("empty", &[]),
        service("errors", &[errors.address()]),
        service("general", &[general.address()]),
    ]);
    folder.write(SITE, &site(annotations));
    let narthex = Narthex::on(&folder).args(flags).start();
    World {
        narthex,
        folder,
        web,
        errors,
        general,
    }
}

/// The Ingress, with annotations.
fn site(annotations: &[(&str, &str)]) -> String {
    annotated("site", annotations)
        .host(HOST)
        .prefix("/", "web")
        .prefix("/nobody", "nobody")
        .prefix("/empty", "empty")
        .yaml()
}

fn annotated(name: &str, annotations: &[(&str, &str)]) -> Ingress {
    let ingress = Ingress::named(name).class("nginx");
    annotations.iter().fold(ingress, |ingress, (name, value)| {
        ingress.annotation(&format!("{PREFIX}{name}"), value)
    })
}

impl World {
    /// What answers for a status of the backend.
    fn of(&self, path: &str) -> String {
        let answer = self.get(path);
        match answer.status {
            200 => answer.backend(),
            status => status.to_string(),
        }
    }

    fn get(&self, path: &str) -> Response {
        Conn::plain(self.narthex.http).ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/x\r\nX-Request-ID: unique\r\n\r\n"
        ))
    }
}

#[track_caller]
fn told(echo: &Echo, fields: &[(&str, Option<&str>)]) {
    for (name, value) in fields {
        assert_eq!(echo.header(name), *value, "{name}");
    }
}

#[test]
fn errors_of_the_backend_are_answered_by_the_default_backend() {
    let world = world(
        &[
            ("custom-http-errors", "404, 500"),
            ("default-backend", "errors"),
        ],
        &[],
    );
    let answer = world.get("/status/404?a=b");
    assert_eq!((answer.status, answer.backend().as_str()), (200, "errors"));
    let echo = answer.echo();
    assert_eq!(
        (echo.method.as_str(), echo.target.as_str()),
        ("GET", "/?a=b")
    );
    told(
        &echo,
        &[
            ("x-code", Some("404")),
            ("x-format", Some("text/x")),
            ("x-original-uri", Some("/status/404?a=b")),
            ("x-namespace", Some("default")),
            ("x-ingress-name", Some("site")),
            ("x-service-name", Some("web")),
            ("x-service-port", Some("http")),
            ("x-request-id", Some("unique")),
            ("x-forwarded-for", Some("127.0.0.1")),
            ("host", Some(HOST)),
        ],
    );
    assert_eq!(
        world.get("/status/500").echo().header("x-code"),
        Some("500")
    );
    for status in [200, 403, 503] {
        let answer = world.get(&format!("/status/{status}"));
        assert_eq!((answer.status, answer.text().as_str()), (status, "web"));
    }
}

#[test]
fn the_default_backends_status_is_the_answers() {
    let errors = Backend::answering(
        "errors",
        b"HTTP/1.1 418 Teapot\r\nX-Page: yes\r\nContent-Length: 4\r\n\r\npage",
    );
    let web = Backend::answering("web", b"HTTP/1.1 404 No\r\nContent-Length: 3\r\n\r\nweb");
    let ingress = Ingress::named("site")
        .class("nginx")
        .annotation(&format!("{PREFIX}custom-http-errors"), "404")
        .annotation(&format!("{PREFIX}default-backend"), "errors")
        .host(HOST)
        .prefix("/", "web");
    let folder = Folder::of(&[
        service("web", &[web.address()]),
        service("errors", &[errors.address()]),
        ingress.yaml(),
    ]);
    let narthex = Narthex::on(&folder).start();
    let answer = narthex.get(HOST, "/");
    assert_eq!((answer.status, answer.text().as_str()), (418, "page"));
    assert_eq!(answer.header("x-page"), Some("yes"));
}

#[test]
fn a_method_stays_and_its_body_does_not_go_twice() {
    let world = world(
        &[("custom-http-errors", "404"), ("default-backend", "errors")],
        &[],
    );
    let mut conn = Conn::plain(world.narthex.http);
    let answer = conn.ask(&format!(
        "POST /status/404 HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello"
    ));
    let echo = answer.echo();
    assert_eq!((echo.method.as_str(), echo.body_length), ("POST", 0));
    assert_eq!(
        conn.get(HOST, "/").backend(),
        "web",
        "the connection goes on"
    );
}

#[test]
fn our_own_errors_are_answered_by_the_default_backend_too() {
    let world = world(
        &[
            ("custom-http-errors", "413,503"),
            ("default-backend", "errors"),
            ("disable-proxy-intercept-errors", "true"),
        ],
        &[],
    );
    let mut conn = Conn::plain(world.narthex.http);
    let answer = conn.ask(&format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1048577\r\n\r\n"
    ));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.echo().header("x-code"), Some("413"));
    assert!(world.web.seen().is_empty());
}

#[test]
fn backends_errors_can_be_left_as_they_are() {
    let world = world(
        &[
            ("custom-http-errors", "404"),
            ("default-backend", "errors"),
            ("disable-proxy-intercept-errors", "true"),
        ],
        &[],
    );
    let answer = world.get("/status/404");
    assert_eq!((answer.status, answer.text().as_str()), (404, "web"));
    assert!(world.errors.seen().is_empty());
}

#[test]
fn without_one_of_its_own_the_processs_default_backend_answers() {
    let flags = ["--default-backend-service=default/general"];
    let world = world(&[("custom-http-errors", "503,404")], &flags);
    assert_eq!(world.get("/status/404").backend(), "general");
    let echo = world.get("/empty").echo();
    assert_eq!(
        (echo.backend.as_str(), echo.target.as_str()),
        ("general", "/")
    );
    told(
        &echo,
        &[("x-code", Some("503")), ("x-service-name", Some("empty"))],
    );
    assert_eq!(world.general.seen().len(), 2);
}

#[test]
fn without_any_default_backend_the_answer_is_404() {
    let world = world(&[("custom-http-errors", "500")], &[]);
    let answer = world.get("/status/500");
    assert_eq!(answer.status, 404);
    assert_ne!(answer.text(), "web");
}

#[test]
fn a_default_backend_takes_requests_where_there_is_no_endpoint() {
    let world = world(&[("default-backend", "errors")], &[]);
    for (path, service) in [("/nobody/alma", "nobody"), ("/empty/armud?x", "empty")] {
        let answer = world.get(path);
        assert_eq!(answer.status, 200);
        let echo = answer.echo();
        assert_eq!(
            (echo.backend.as_str(), echo.target.as_str()),
            ("errors", path)
        );
        told(
            &echo,
            &[
                ("x-code", Some("503")),
                ("x-ingress-name", Some("site")),
                ("x-service-name", Some(service)),
                ("x-request-id", Some("unique")),
                ("x-original-uri", None),
            ],
        );
    }
    assert_eq!(world.get("/").backend(), "web");
    assert_eq!(world.get("/status/404").status, 404, "no code is asked for");
}

#[test]
fn a_default_backend_that_is_not_there_is_named_and_is_as_none() {
    let world = world(&[("default-backend", "gone")], &[]);
    assert_eq!(world.get("/empty").status, 503);
    world.narthex.until_log("default/gone");
}

#[test]
fn a_list_that_is_none_leaves_the_ingress_out() {
    let world = world(&[("custom-http-errors", "200")], &[]);
    assert_eq!(world.get("/").status, 404);
    world.narthex.until_log("custom-http-errors");
}

#[test]
fn a_path_that_is_closed_says_no_more_than_that() {
    let world = world(
        &[
            ("custom-http-errors", "503"),
            ("default-backend", "errors"),
            ("enable-cors", "true"),
            ("custom-headers", "default/gone"),
        ],
        &[],
    );
    let answer = world.get("/");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert!(world.errors.seen().is_empty());
}

#[test]
fn codes_and_who_answers_for_them_change_while_it_serves() {
    let flags = ["--default-backend-service=default/general"];
    let world = world(&[("custom-http-errors", "404,500")], &flags);
    let found = || [404, 500, 503].map(|status| world.of(&format!("/status/{status}")));
    assert_eq!(found(), ["general", "general", "503"]);
    let change = |said: &[(&str, &str)], expected: [&str; 3]| {
        world.folder.rename_over(SITE, &site(said));
        until("it is so", || found() == expected);
    };
    change(&[("custom-http-errors", "503")], ["404", "500", "general"]);
    // Another Ingress of the host has its own.
    let said = [
        ("custom-http-errors", "404, 503"),
        ("rewrite-target", "/status/404"),
    ];
    let other = annotated("else", &said).host(HOST).prefix("/else", "web");
    world.folder.write("else.yaml", &other.yaml());
    until("it is there", || world.of("/else") == "general");
    assert_eq!(found(), ["404", "500", "general"]);
    let own = [("custom-http-errors", "503"), ("default-backend", "errors")];
    change(&own, ["404", "500", "errors"]);
    assert_eq!(world.of("/else"), "general");
    let left = ("disable-proxy-intercept-errors", "true");
    change(&[own[0], own[1], left], ["404", "500", "503"]);
    let taken = ("disable-proxy-intercept-errors", "false");
    change(&[own[0], own[1], taken], ["404", "500", "errors"]);
}
