//! `configuration-snippet` and `server-snippet`.

use program_tests::backend::Then;
use program_tests::{Backend, Conn, Folder, HOST, Ingress, Narthex, Response, service};

const PREFIX: &str = "nginx.ingress.kubernetes.io/";
const ALLOWED: [&str; 1] = ["--allow-snippet-annotations"];

struct World {
    narthex: Narthex,
    _folder: Folder,
    _web: Backend,
}

/// A backend that echoes, and answers `/status/N` with N.
fn world(annotations: &[(&str, &str)], flags: &[&str]) -> World {
    let web = Backend::scripted("web", |exchange| {
        let target = exchange.request.target.clone();
        let Some((_, status)) = target.split_once("/status/") else {
            return exchange.echo();
        };
        exchange.read_body()?;
        exchange.send(format!(
            "HTTP/1.1 {status} Whatever\r\nX-Backend: web\r\nContent-Length: 3\r\n\r\nweb"
        ))?;
        Ok(Then::Keep)
    });
    let mut ingress = Ingress::named("web").class("nginx");
    for (name, value) in annotations {
        ingress = ingress.annotation(&format!("{PREFIX}{name}"), value);
    }
    let ingress = ingress.host(HOST).prefix("/", "web");
    let other = Ingress::named("other")
        .class("nginx")
        .host("b.example")
        .prefix("/", "web");
    let folder = Folder::of(&[
        service("web", &[web.address()]),
        ingress.yaml(),
        other.yaml(),
    ]);
    let narthex = Narthex::on(&folder).args(flags).start();
    World {
        narthex,
        _folder: folder,
        _web: web,
    }
}

fn snippet(text: &str) -> World {
    world(&[("configuration-snippet", text)], &ALLOWED)
}

impl World {
    fn get(&self, path: &str) -> Response {
        self.narthex.get(HOST, path)
    }

    fn get_with(&self, path: &str, lines: &str) -> Response {
        Conn::plain(self.narthex.http).ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"
        ))
    }
}

#[test]
fn without_leave_a_snippet_has_no_effect_and_its_ingress_is_served() {
    for name in ["configuration-snippet", "server-snippet", "stream-snippet"] {
        let world = world(&[(name, "more_set_headers \"Foo1: Bar1\";")], &[]);
        let answer = world.get("/");
        assert_eq!(
            (answer.backend().as_str(), answer.header("foo1")),
            ("web", None)
        );
        world.narthex.until_log(name);
    }
}

#[test]
fn fields_are_set_whatever_the_status_and_added_where_all_is_well() {
    let world = snippet(
        "more_set_headers \"Foo1: Bar1\" 'X-Backend: ours';\nadd_header X-Added \"$host-$arg_a\";\n\
         add_header X-Always $upstream_http_content_length always;",
    );
    let answer = world.get("/?a=b");
    assert_eq!(answer.header("foo1"), Some("Bar1"));
    assert_eq!(answer.header("x-added"), Some("a.example-b"));
    let answer = world.get("/status/404");
    assert_eq!(answer.status, 404);
    assert_eq!(answer.all("x-backend").collect::<Vec<_>>(), ["ours"]);
    assert_eq!(answer.header("foo1"), Some("Bar1"));
    assert_eq!(answer.header("x-added"), None);
    // Another host's answers stay as they are.
    let answer = world.narthex.get("b.example", "/status/404");
    assert_eq!(answer.header("x-backend"), Some("web"));
    assert_eq!(answer.header("foo1"), None);
}

#[test]
fn a_servers_snippet_goes_before_its_paths() {
    let world = world(
        &[
            (
                "server-snippet",
                "more_set_headers \"Foo: Bar\";\nset $where server;\nadd_header X-A server;",
            ),
            (
                "configuration-snippet",
                "more_set_headers \"Xpto: $where\";\nadd_header X-B location;",
            ),
        ],
        &ALLOWED,
    );
    let answer = world.get("/");
    assert_eq!(answer.header("foo"), Some("Bar"));
    assert_eq!(answer.header("xpto"), Some("server"));
    assert_eq!(
        answer.header("x-a"),
        None,
        "the paths add fields of their own"
    );
    assert_eq!(answer.header("x-b"), Some("location"));
}

#[test]
fn requests_get_other_fields() {
    let world = snippet(
        "more_set_input_headers \"X-One: 1\";\nmore_clear_input_headers X-Secret;\n\
         proxy_set_header X-Host $host;\nproxy_set_header X-Gone \"\";\nproxy_set_header Host in.example;",
    );
    let lines = "X-One: theirs\r\nX-Secret: s\r\nX-Gone: g\r\n";
    let echo = world.get_with("/", lines).echo();
    assert_eq!(echo.all("x-one"), ["1"]);
    assert_eq!(echo.header("x-secret"), None);
    assert_eq!(echo.header("x-gone"), None);
    assert_eq!(echo.header("x-host"), Some(HOST));
    assert_eq!(echo.header("host"), Some("in.example"));
}

#[test]
fn conditions_decide_and_the_last_one_that_holds_counts() {
    let world = snippet(
        "set $blocked 0;\nif ($http_user_agent ~* \"(bot|spider)\") {\n  set $blocked \"$1\";\n}\n\
         if ($request_method = DELETE) { return 405 \"no $request_method\"; }\n\
         if ($blocked) {\n  more_set_headers \"X-Blocked: $blocked\";\n  return 403;\n}\n\
         if ($arg_go !~ ^stay) { add_header X-Go yes; }",
    );
    let answer = world.get_with("/", "User-Agent: My-SPIDER/1\r\n");
    assert_eq!(answer.status, 403);
    assert_eq!(answer.header("x-blocked"), Some("SPIDER"));
    let answer = world.get_with("/?go=stay", "User-Agent: curl\r\n");
    assert_eq!(
        (answer.backend().as_str(), answer.header("x-go")),
        ("web", None)
    );
    assert_eq!(world.get("/").header("x-go"), Some("yes"));
    let answer =
        Conn::plain(world.narthex.http).ask(&format!("DELETE / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!((answer.status, answer.text().as_str()), (405, "no DELETE"));
}

#[test]
fn answers_are_returned_as_nginx_returns_them() {
    let text = snippet("default_type text/plain;\nreturn 200 \"pong $uri\\n\";").get("/ping");
    assert_eq!((text.status, text.text().as_str()), (200, "pong /ping\n"));
    assert_eq!(text.header("content-type"), Some("text/plain"));
    let elsewhere = |directive: &str| {
        let answer = snippet(directive).get("/a?b=c");
        (
            answer.status,
            answer.header("location").unwrap_or_default().to_owned(),
        )
    };
    let to = |status, location: &str| (status, location.to_owned());
    assert_eq!(
        elsewhere("return 301 https://other.example$request_uri;"),
        to(301, "https://other.example/a?b=c")
    );
    assert_eq!(
        elsewhere("return https://other.example/;"),
        to(302, "https://other.example/")
    );
    assert_eq!(
        elsewhere("return 307 /login;"),
        to(307, "http://a.example/login")
    );
    assert_eq!(
        elsewhere("rewrite ^/(.*)$ https://other.example/$1 permanent;"),
        to(301, "https://other.example/a?b=c")
    );
    assert_eq!(
        elsewhere("rewrite ^/(.*)$ /x/$1? redirect;"),
        to(302, "http://a.example/x/a")
    );
}

#[test]
fn paths_are_rewritten_with_what_a_pattern_captures() {
    let world = snippet("rewrite ^/old/(.*)/(.*)$ /new/$2/$1 break;\nrewrite ^/(.*)$ /other/$1;");
    assert_eq!(world.get("/old/a/b?c=d").echo().target, "/new/b/a?c=d");
    assert_eq!(world.get("/x").echo().target, "/other/x");
}

#[test]
fn limits_of_a_snippet_hold() {
    let world = snippet("client_max_body_size 4;");
    let post = |body: &str| {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Conn::plain(world.narthex.http).ask(&request).status
    };
    assert_eq!((post("four"), post("fives")), (200, 413));
}

#[test]
fn a_directive_that_is_not_understood_refuses_its_snippet_alone() {
    let world = world(
        &[
            (
                "configuration-snippet",
                "more_set_headers \"X-A: a\";\nproxy_pass http://evil;",
            ),
            ("server-snippet", "more_set_headers \"X-B: b\";"),
        ],
        &ALLOWED,
    );
    let answer = world.get("/");
    assert_eq!(answer.backend(), "web");
    assert_eq!(
        (answer.header("x-a"), answer.header("x-b")),
        (None, Some("b"))
    );
    world.narthex.until_log("line 2");
    world.narthex.until_log("proxy_pass");
}

#[test]
fn no_snippet_breaks_out_of_a_field() {
    let world = snippet(
        "more_set_headers \"X-A: $arg_a\";\nset $b $arg_a;\nadd_header X-B \"a\\r\\nX-Evil: 1\" always;",
    );
    let answer = world.get("/?a=%0d%0aX-Evil:%201");
    assert_eq!(answer.header("x-evil"), None);
    assert_eq!(answer.header("x-a"), Some("%0d%0aX-Evil:%201"));
}

#[test]
fn what_a_snippet_returns_without_a_text_gets_an_errors_page() {
    let pages = Backend::named("pages");
    let web = Backend::named("web");
    let ingress = Ingress::named("web")
        .class("nginx")
        .annotation(
            &format!("{PREFIX}configuration-snippet"),
            "if ($arg_a = page) { return 403; }\nif ($arg_a = text) { return 403 no; }",
        )
        .annotation(&format!("{PREFIX}custom-http-errors"), "403")
        .annotation(&format!("{PREFIX}default-backend"), "pages")
        .host(HOST)
        .prefix("/", "web");
    let folder = Folder::of(&[
        service("web", &[web.address()]),
        service("pages", &[pages.address()]),
        ingress.yaml(),
    ]);
    let narthex = Narthex::on(&folder).args(&ALLOWED).start();
    let answer = narthex.get(HOST, "/?a=page");
    assert_eq!(answer.echo().header("x-code"), Some("403"));
    let answer = narthex.get(HOST, "/?a=text");
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
    assert_eq!(narthex.backend(HOST, "/"), "web");
}
