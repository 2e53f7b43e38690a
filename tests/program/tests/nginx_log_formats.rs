//! The access log as ingress-nginx writes it: `log-format-upstream` and the keys beside it.

use std::io::Read as _;
use std::net::Shutdown;

use program_tests::folder::config_map;
use program_tests::nginx::{CONFIGURED, CONTROLLER, configure, configured};
use program_tests::tcp::{TcpBackend, connect, exchange};
use program_tests::{Backend, Conn, Folder, HOST, Ingress, Narthex, eventually, ports, service};

struct World {
    web: Backend,
    folder: Folder,
    narthex: Narthex,
}

fn world(lines: &[(&str, &str)]) -> World {
    let web = Backend::named("web");
    let ingress = Ingress::named("shop").class("nginx");
    let documents = [
        service("web", &[web.address()]),
        ingress.host(HOST).prefix("/", "web").yaml(),
    ];
    let (narthex, folder) = configured(&documents, lines, &[]);
    World {
        web,
        folder,
        narthex,
    }
}

/// The line of the log with a text in it.
#[track_caller]
fn line_with(narthex: &Narthex, text: &str) -> String {
    eventually(&format!("a line with {text:?}"), || {
        let stdout = narthex.stdout();
        let found = stdout.lines().find(|line| line.contains(text));
        found.map(str::to_owned)
    })
}

#[track_caller]
fn ask(narthex: &Narthex, head: &str) -> u16 {
    let mut conn = Conn::plain(narthex.http);
    conn.send(format!("{head}\r\nHost: {HOST}\r\n\r\n"));
    conn.response().status
}

#[test]
fn a_line_is_ingress_nginxs_where_its_config_map_is_given() {
    let world = world(&[]);
    let head = "GET /a?b=c HTTP/1.1\r\nReferer: https://r.example/\r\nUser-Agent: test \"1\"\r\n\
                Authorization: Basic YWxpY2U6c2VjcmV0\r\nX-Request-ID: 0123456789abcdef";
    assert_eq!(ask(&world.narthex, head), 200);
    let line = line_with(&world.narthex, "/a?b=c");
    let rest = line.strip_prefix("127.0.0.1 - alice [").expect(&line);
    let (time, rest) = rest.split_once("] ").expect(&line);
    assert_eq!(time.len(), "31/Jan/2026:12:00:00 +0000".len(), "{line}");
    let rest = rest
        .strip_prefix("\"GET /a?b=c HTTP/1.1\" 200 ")
        .expect(&line);
    let (length, rest) = rest.split_once(' ').expect(&line);
    assert!(length.parse::<u64>().expect(&line) > 0);
    let rest = rest
        .strip_prefix("\"https://r.example/\" \"test \\x221\\x22\" ")
        .expect(&line);
    let words: Vec<&str> = rest.split(' ').collect();
    let sent = head.len() + "\r\nHost: \r\n\r\n".len() + HOST.len();
    assert_eq!(words[0], sent.to_string(), "the request's length: {line}");
    assert!(words[1].parse::<f64>().is_ok(), "{line}");
    assert_eq!(words[2..4], ["[default-web-http]", "[]"], "{line}");
    assert_eq!(words[4], world.web.address().to_string(), "{line}");
    assert_eq!(words[5], length, "{line}");
    assert!(words[6].parse::<f64>().is_ok(), "{line}");
    assert_eq!(words[7..], ["200", "0123456789abcdef"], "{line}");
}

#[test]
fn formats_and_escapes_are_picked_up_while_it_serves() {
    let format = r#"{"mine":"$http_mine","none":"$http_none","x":"$nope"}"#;
    let world = world(&[("log-format-upstream", format)]);
    let narthex = &world.narthex;
    let head = |n: u32| format!("GET / HTTP/1.1\r\nMine: {n} is \"quoted\"");
    assert_eq!(ask(narthex, &head(1)), 200);
    assert_eq!(
        line_with(narthex, "1 is"),
        r#"{"mine":"1 is \x22quoted\x22","none":"-","x":"-"}"#
    );
    narthex.until_log("$nope is no variable that Narthex knows");
    let until = |n: u32, expected: &str| {
        let mut number = n;
        eventually(expected, || {
            ask(narthex, &head(number));
            let line = line_with(narthex, &format!("\"{number} is"));
            let expected = expected.replace('#', &number.to_string());
            number += 1;
            (line == expected).then_some(())
        });
    };
    let set = |lines: &[(&str, &str)]| {
        let lines = [&[("log-format-upstream", format)], lines].concat();
        let text = config_map(CONTROLLER, &lines);
        world.folder.rename_over("config.yaml", &text);
    };
    set(&[("log-format-escape-json", "true")]);
    until(1_000, r##"{"mine":"# is \"quoted\"","none":"","x":""}"##);
    set(&[
        ("log-format-escape-json", "true"),
        ("log-format-escape-none", "true"),
    ]);
    until(2_000, r##"{"mine":"# is "quoted"","none":"","x":""}"##);
}

#[test]
fn every_attempt_is_in_the_line() {
    let web = Backend::named("web");
    let format = concat!(
        "line $request_uri $status [$upstream_addr] [$upstream_status] [$upstream_response_length] ",
        "[$upstream_connect_time] [$upstream_header_time] $namespace/$ingress_name ",
        "$service_name:$service_port $location_path $upstream_http_content_type ",
        "$sent_http_content_type $http_x_forwarded_for $scheme $host $uri $args $arg_a $cookie_c ",
        "$server_port $is_args $proxy_add_x_forwarded_for"
    );
    // Nothing listens there.
    let dead = std::net::SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let folder = Folder::of(&[
        service("web", &[dead, web.address()]),
        Ingress::named("shop")
            .class("nginx")
            .host(HOST)
            .prefix("/p", "web")
            .yaml(),
        config_map(CONTROLLER, &[("log-format-upstream", format)]),
    ]);
    let narthex = Narthex::on(&folder)
        .args(&[CONFIGURED, "--workers=1"])
        .start();
    let line = (0..100).find_map(|n| {
        let head =
            format!("GET /p/%41?a={n} HTTP/1.1\r\nCookie: b=1; C=2\r\nX-Forwarded-For: 192.0.2.9");
        assert_eq!(ask(&narthex, &head), 200);
        let line = line_with(&narthex, &format!("/p/%41?a={n} "));
        line.contains("[502, ").then_some((n, line))
    });
    let (n, line) = line.expect("one request met the dead endpoint first");
    let web = web.address();
    let expected = format!("line /p/%41?a={n} 200 [{dead}, {web}] [502, 200] [0, ");
    let rest = line.strip_prefix(&expected).expect(&line);
    // The response times' end, and two more lists, of which the first endpoint has none.
    let mut rest = rest.split_once("] [-, ").expect(&line).1;
    for end in ["] [-, ", "] "] {
        let (seconds, more) = rest.split_once(end).expect(&line);
        assert!(seconds.parse::<f64>().is_ok(), "{seconds}: {line}");
        rest = more;
    }
    let words: Vec<&str> = rest.split(' ').collect();
    assert_eq!(words[..3], ["default/shop", "web:http", "/p"], "{line}");
    assert_eq!(words[3], words[4], "what the backend says goes on: {line}");
    assert_ne!(words[3], "-", "{line}");
    let args = format!("a={n}");
    let port = narthex.http.to_string();
    let number = n.to_string();
    assert_eq!(
        words[5..],
        [
            "192.0.2.9",
            "http",
            HOST,
            "/p/A",
            &args,
            &number,
            "2",
            &port,
            "?",
            "192.0.2.9,",
            "127.0.0.1"
        ],
        "{line}"
    );
}

#[test]
fn what_is_not_to_be_logged_has_no_line() {
    let world = world(&[("skip-access-log-urls", "/quiet,~^/static/")]);
    let narthex = &world.narthex;
    let set = |lines: &[(&str, &str)]| {
        let text = config_map(CONTROLLER, lines);
        world.folder.rename_over("config.yaml", &text);
    };
    for path in ["/quiet", "/static/a", "/quiet?x"] {
        assert_eq!(ask(narthex, &format!("GET {path} HTTP/1.1")), 200);
    }
    // Nobody's host, which is not logged unless it is asked for.
    assert_eq!(narthex.get("nobody.example", "/nobody").status, 404);
    assert_eq!(ask(narthex, "GET /last HTTP/1.1"), 200);
    line_with(narthex, "/last");
    line_with(narthex, "/quiet?x");
    let stdout = narthex.stdout();
    for path in ["/quiet ", "/static", "/nobody"] {
        assert!(!stdout.contains(path), "{stdout}");
    }
    set(&[("enable-access-log-for-default-backend", "true")]);
    let line = eventually("a line of nobody's host", || {
        narthex.get("nobody.example", "/nobody");
        let stdout = narthex.stdout();
        let found = stdout.lines().find(|line| line.contains("/nobody"));
        found.map(str::to_owned)
    });
    assert!(
        line.contains(" [upstream-default-backend] [] - - - - "),
        "{line}"
    );
    set(&[("disable-http-access-log", "true")]);
    eventually("ten requests in a row without a line", || {
        let before = narthex.stdout().lines().count();
        for _ in 0..10 {
            ask(narthex, "GET /off HTTP/1.1");
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        (narthex.stdout().lines().count() == before).then_some(())
    });
}

#[test]
fn connections_that_are_passed_on_have_a_format_of_their_own() {
    let backend = TcpBackend::named("tcp");
    let (own, port) = (ports::free(), ports::free());
    for (port, lines, ending) in [
        (own, &[][..], " 5 "),
        (
            port,
            &[(
                "log-format-stream",
                "via $protocol to $upstream_addr: $status",
            )][..],
            "",
        ),
    ] {
        let folder = Folder::of(&[
            service("tcp", &[backend.address()]),
            config_map(CONTROLLER, lines),
            config_map(
                "ingress-nginx/tcp",
                &[(&port.to_string(), "default/tcp:80")],
            ),
        ]);
        let narthex = Narthex::on(&folder)
            .args(&[CONFIGURED, "--tcp-services-configmap=ingress-nginx/tcp"])
            .start();
        exchange(&mut connect(port), b"hello");
        let line = line_with(&narthex, "TCP");
        match lines {
            [] => {
                assert!(line.starts_with("[127.0.0.1] ["), "{line}");
                assert!(line.contains("] TCP 200 "), "{line}");
                assert!(line.contains(ending), "{line}");
            }
            _ => assert_eq!(line, format!("via TCP to {}: 200", backend.address())),
        }
    }
}

#[test]
fn requests_and_connections_can_go_without_a_line() {
    let (web, tcp) = (Backend::named("web"), TcpBackend::named("tcp"));
    for (key, has_request, has_connection) in [
        ("disable-access-log", false, false),
        ("disable-http-access-log", false, true),
        ("disable-stream-access-log", true, false),
    ] {
        let port = ports::free();
        let ingress = Ingress::named("shop").class("nginx");
        let documents = [
            service("web", &[web.address()]),
            service("tcp", &[tcp.address()]),
            ingress.host(HOST).prefix("/", "web").yaml(),
            config_map(
                "ingress-nginx/tcp",
                &[(&port.to_string(), "default/tcp:80")],
            ),
        ];
        let flags = ["--workers=1", "--tcp-services-configmap=ingress-nginx/tcp"];
        let (narthex, folder) = configured(&documents, &[(key, "true")], &flags);
        assert_eq!(ask(&narthex, "GET /silent HTTP/1.1"), 200);
        // Read to its end, so that it has ended before the configuration changes.
        let mut client = connect(port);
        exchange(&mut client, b"hello");
        client.shutdown(Shutdown::Write).expect("open");
        let mut name = String::new();
        client.read_to_string(&mut name).expect("an end");
        assert_eq!(name, "tcp");
        configure(&folder, &[]);
        let log = eventually("lines of both", || {
            ask(&narthex, "GET /later HTTP/1.1");
            exchange(&mut connect(port), b"hello again");
            let log = narthex.stdout();
            (log.contains("GET /later") && log.contains("] TCP 200 14 11 ")).then_some(log)
        });
        let connection = log.contains("] TCP 200 8 5 ");
        let found = (log.contains("GET /silent"), connection);
        assert_eq!(found, (has_request, has_connection), "{key}: {log}");
    }
}

#[test]
fn the_log_is_what_the_flag_says() {
    let web = Backend::named("web");
    let folder = Folder::of(&[
        service("web", &[web.address()]),
        Ingress::named("shop")
            .class("nginx")
            .host(HOST)
            .prefix("/", "web")
            .yaml(),
        config_map(CONTROLLER, &[("log-format-upstream", "mine")]),
    ]);
    let narthex = Narthex::on(&folder)
        .args(&[CONFIGURED, "--access-log-format=json"])
        .start();
    assert_eq!(ask(&narthex, "GET /a HTTP/1.1"), 200);
    assert_eq!(narthex.access("/a")["status"], 200);
    let narthex = Narthex::on(&folder)
        .arg("--access-log-format=ingress-nginx")
        .start();
    assert_eq!(ask(&narthex, "GET /a HTTP/1.1"), 200);
    let line = line_with(&narthex, "GET /a");
    assert!(line.contains(" [default-web-http] [] "), "{line}");
}

#[test]
fn whoever_else_answers_is_in_the_line_too() {
    let annotation = |name: &str| format!("nginx.ingress.kubernetes.io/{name}");
    let web = Backend::answering("web", b"HTTP/1.1 502 No\r\nContent-Length: 2\r\n\r\nno");
    let pages = Backend::named("pages");
    let canary = Backend::named("canary");
    let auth = Backend::named("auth");
    let format = "line $request_uri $status [$proxy_upstream_name] \
                  [$proxy_alternative_upstream_name] [$upstream_addr] [$upstream_status]";
    let lines = [
        ("log-format-upstream", format),
        ("enable-auth-access-log", "true"),
    ];
    let asked = format!("http://{}/may", auth.address());
    let ingress = |name: &str| Ingress::named(name).class("nginx");
    let folder = Folder::of(&[
        service("web", &[web.address()]),
        service("pages", &[pages.address()]),
        service("canary", &[canary.address()]),
        ingress("shop")
            .annotation(&annotation("default-backend"), "pages")
            .annotation(&annotation("custom-http-errors"), "502")
            .host(HOST)
            .prefix("/shop", "web")
            .yaml(),
        ingress("new")
            .annotation(&annotation("canary"), "true")
            .annotation(&annotation("canary-by-header"), "new")
            .host(HOST)
            .prefix("/shop", "canary")
            .yaml(),
        ingress("guarded")
            .annotation(&annotation("auth-url"), &asked)
            .host(HOST)
            .prefix("/guarded", "canary")
            .yaml(),
        config_map(CONTROLLER, &lines),
    ]);
    let narthex = Narthex::on(&folder)
        .args(&[CONFIGURED, "--allow-local-external-names"])
        .start();
    let (web, pages, canary, auth) = (
        web.address(),
        pages.address(),
        canary.address(),
        auth.address(),
    );
    ask(&narthex, "GET /shop/a HTTP/1.1");
    assert_eq!(
        line_with(&narthex, "/shop/a"),
        format!("line /shop/a 200 [default-web-http] [] [{web} : {pages}] [502 : 200]")
    );
    ask(&narthex, "GET /shop/b HTTP/1.1\r\nnew: always");
    assert_eq!(
        line_with(&narthex, "/shop/b"),
        format!("line /shop/b 200 [default-web-http] [default-canary-http] [{canary}] [200]")
    );
    assert_eq!(ask(&narthex, "GET /guarded HTTP/1.1"), 200);
    for endpoint in [auth, canary] {
        let expected = format!("line /guarded 200 [default-canary-http] [] [{endpoint}] [200]");
        line_with(&narthex, &expected);
    }
}
