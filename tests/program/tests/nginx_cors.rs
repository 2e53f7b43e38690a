//! `enable-cors` and its like, as ingress-nginx answers.

use program_tests::folder::secret;
use program_tests::{
    Backend, Certificate, Conn, Folder, HOST, Ingress, Narthex, Response, docs, service,
};

const PREFIX: &str = "nginx.ingress.kubernetes.io/";
const ALLOW_ORIGIN: &str = "access-control-allow-origin";

struct World {
    narthex: Narthex,
    _folder: Folder,
    web: Backend,
}

fn world(annotations: &[(&str, &str)]) -> World {
    let web = Backend::scripted("web", |exchange| {
        exchange.read_body()?;
        exchange.send(
            "HTTP/1.1 404 Not Found\r\nAccess-Control-Allow-Origin: theirs\r\n\
             Access-Control-Max-Age: theirs\r\nContent-Length: 3\r\n\r\nweb",
        )?;
        Ok(program_tests::backend::Then::Keep)
    });
    let mut ingress = Ingress::named("web")
        .class("nginx")
        .annotation(&format!("{PREFIX}enable-cors"), "true")
        .host(HOST)
        .prefix("/", "web");
    for (name, value) in annotations {
        ingress = ingress.annotation(&format!("{PREFIX}{name}"), value);
    }
    let folder = Folder::of(&[service("web", &[web.address()]), ingress.yaml()]);
    let narthex = Narthex::on(&folder).start();
    World {
        narthex,
        _folder: folder,
        web,
    }
}

impl World {
    fn ask(&self, method: &str, origin: Option<&str>) -> Response {
        let origin = origin.map(|origin| format!("Origin: {origin}\r\n"));
        Conn::plain(self.narthex.http).ask(&format!(
            "{method} / HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n",
            origin.unwrap_or_default()
        ))
    }

    /// What is said of an origin that may come or not.
    fn allowed(&self, origin: &str) -> Option<String> {
        let answer = self.ask("GET", Some(origin));
        let allowed = answer.header(ALLOW_ORIGIN).map(str::to_owned);
        allowed.filter(|allowed| allowed != "theirs")
    }
}

#[test]
fn without_more_words_all_origins_may_come_with_all_that_is_usual() {
    let world = world(&[]);
    for origin in [None, Some("https://a.example")] {
        let answer = world.ask("GET", origin);
        assert_eq!((answer.status, answer.text().as_str()), (404, "web"));
        for (name, value) in [
            (ALLOW_ORIGIN, "*"),
            ("access-control-allow-credentials", "true"),
            (
                "access-control-allow-methods",
                "GET, PUT, POST, DELETE, PATCH, OPTIONS",
            ),
            (
                "access-control-allow-headers",
                "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,\
                 Content-Type,Range,Authorization",
            ),
            ("access-control-max-age", "1728000"),
        ] {
            let values: Vec<_> = answer.all(name).collect();
            assert_eq!(values, [value], "{name}");
        }
        assert_eq!(answer.header("access-control-expose-headers"), None);
    }
}

#[test]
fn a_question_is_answered_here_with_204() {
    let world = world(&[
        ("cors-allow-methods", "POST, GET"),
        ("cors-allow-headers", "DNT, User-Agent"),
        ("cors-expose-headers", "X-One, X-Two"),
        ("cors-allow-credentials", "false"),
        ("cors-max-age", "200"),
    ]);
    let answer = world.ask("OPTIONS", None);
    assert_eq!(answer.status, 204);
    for (name, value) in [
        (ALLOW_ORIGIN, "*"),
        ("access-control-allow-methods", "POST, GET"),
        ("access-control-allow-headers", "DNT, User-Agent"),
        ("access-control-expose-headers", "X-One, X-Two"),
        ("access-control-max-age", "200"),
        ("content-length", "0"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert!(world.web.seen().is_empty());
}

#[test]
fn who_may_not_come_is_told_nothing_and_asks_the_backend() {
    let world = world(&[("cors-allow-origin", "https://a.example:8080")]);
    assert_eq!(
        world.allowed("https://a.example:8080").as_deref(),
        Some("https://a.example:8080")
    );
    for origin in [
        "https://a.example",
        "http://a.example:8080",
        "https://b.example:8080",
    ] {
        assert_eq!(world.allowed(origin), None, "{origin}");
    }
    assert_eq!(
        world.ask("OPTIONS", Some("https://a.example:8080")).status,
        204
    );
    let before = world.web.seen().len();
    assert_eq!(world.ask("OPTIONS", Some("https://b.example")).status, 404);
    assert_eq!(world.ask("OPTIONS", None).status, 404);
    assert_eq!(world.web.seen().len(), before + 2);
}

#[test]
fn lists_of_origins_have_wildcards_for_one_label_and_any_scheme() {
    let origins = "http://*.origin.cors.com, https://origin-123.cors.com:8080,   ,\
                   tauri://localhost:3000, origin.cors.com:8080,";
    let world = world(&[("cors-allow-origin", origins)]);
    for (origin, may) in [
        ("http://foo.origin.cors.com", true),
        ("http://bar-1.origin.cors.com", true),
        ("http://a.b.origin.cors.com", false),
        ("http://origin.cors.com", false),
        ("https://origin-123.cors.com:8080", true),
        ("https://origin-123.cors.com", false),
        ("tauri://localhost:3000", true),
        ("http://origin.cors.com:8080", false),
    ] {
        let allowed = world.allowed(origin);
        assert_eq!(allowed.as_deref(), may.then_some(origin));
    }
}

#[test]
fn an_asterisk_in_a_list_or_a_blank_list_is_all_origins() {
    for value in ["*", "*, foo.bar.com", "      "] {
        let world = world(&[("cors-allow-origin", value)]);
        assert_eq!(
            world.allowed("https://b.example").as_deref(),
            Some("*"),
            "{value:?}"
        );
    }
}

#[test]
fn a_value_that_is_refused_is_named_and_its_default_holds() {
    let world = world(&[
        ("cors-allow-methods", "GET; POST"),
        ("cors-max-age", "soon"),
        ("cors-allow-credentials", "perhaps"),
    ]);
    let answer = world.ask("GET", None);
    assert_eq!(
        answer.header("access-control-allow-methods"),
        Some("GET, PUT, POST, DELETE, PATCH, OPTIONS")
    );
    assert_eq!(answer.header("access-control-max-age"), Some("1728000"));
    assert_eq!(
        answer.header("access-control-allow-credentials"),
        Some("true")
    );
    for name in [
        "cors-allow-methods",
        "cors-max-age",
        "cors-allow-credentials",
    ] {
        world.narthex.until_log(name);
    }
}

#[test]
fn questions_are_answered_before_clients_are_sent_to_https() {
    let web = Backend::named("web");
    let ingress = Ingress::named("web")
        .class("nginx")
        .annotation(&format!("{PREFIX}enable-cors"), "true")
        .tls(&[HOST], "a")
        .host(HOST)
        .prefix("/", "web");
    let folder = Folder::new();
    let documents = [
        service("web", &[web.address()]),
        secret("a", &Certificate::of(&[HOST])),
        ingress.yaml(),
    ];
    folder.write("site.yaml", &docs(&documents));
    let narthex = Narthex::on(&folder).start();
    let ask = |method: &str| {
        let request = format!("{method} / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        Conn::plain(narthex.http).ask(&request)
    };
    assert_eq!(ask("OPTIONS").status, 204);
    let redirect = ask("GET");
    assert_eq!(redirect.status, 308);
    assert_eq!(redirect.header(ALLOW_ORIGIN), Some("*"));
}

#[test]
fn questions_by_http2_are_answered_the_same() {
    let world = world(&[("cors-allow-origin", "https://a.example")]);
    let arguments = [
        "--include",
        "--http2-prior-knowledge",
        "--request",
        "OPTIONS",
        "--header",
        "Origin: https://a.example",
    ];
    let answer = world.narthex.curl(HOST, "/", &arguments);
    assert_eq!((answer.code, answer.status), (0, 204), "{answer:?}");
    assert_eq!(answer.version, "2");
    let head = answer.text.to_ascii_lowercase();
    assert!(
        head.contains("access-control-allow-origin: https://a.example"),
        "{head}"
    );
}
