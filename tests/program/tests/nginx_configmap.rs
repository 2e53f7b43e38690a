//! ingress-nginx's ConfigMap: what holds where its Ingresses say nothing, picked up while serving.

use program_tests::folder::config_map;
use program_tests::nginx::{CONFIGURED, CONTROLLER, configure, configured};
use program_tests::tls::Client;
use program_tests::{
    Backend, Certificate, Conn, Folder, Ingress, Narthex, Then, eventually, secret, services, until,
};

const HOST: &str = "a.example";

struct World {
    web: Backend,
    folder: Folder,
    narthex: Narthex,
}

/// One host with TLS of a class of ingress-nginx, and one of ours.
fn world(lines: &[(&str, &str)]) -> World {
    let web = Backend::named("web");
    let nginx = Ingress::named("web")
        .class("nginx")
        .host(HOST)
        .prefix("/", "web");
    let own = Ingress::named("own")
        .class("narthex")
        .host("own.example")
        .prefix("/", "web");
    let mut documents = services(&[("web", &web)]);
    documents.push(nginx.tls(&[HOST], "tls").yaml());
    documents.push(own.tls(&["own.example"], "tls").yaml());
    documents.push(program_tests::class());
    documents.push(secret("tls", &Certificate::of(&[HOST, "own.example"])));
    let (narthex, folder) = configured(&documents, lines, &[]);
    World {
        web,
        folder,
        narthex,
    }
}

impl World {
    /// A connection with TLS.
    fn secure(&self, host: &str) -> Conn {
        let client = Client::trusting_anything();
        client
            .connect(self.narthex.https, host)
            .expect("a handshake")
            .0
    }

    fn set(&self, lines: &[(&str, &str)]) {
        configure(&self.folder, lines);
    }
}

#[test]
fn the_defaults_of_ingress_nginx_hold_for_its_classes_alone() {
    let world = world(&[]);
    let status = |host: &str, bytes: usize| {
        let body = "x".repeat(bytes);
        let mut conn = world.secure(host);
        conn.send(format!(
            "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {bytes}\r\n\r\n{body}"
        ));
        conn.response().status
    };
    assert_eq!(status(HOST, 1 << 20), 200);
    assert_eq!(status(HOST, (1 << 20) + 1), 413);
    assert_eq!(status("own.example", (1 << 20) + 1), 200);
    let hsts = |host: &str| {
        let mut conn = world.secure(host);
        conn.get(host, "/")
            .header("strict-transport-security")
            .map(str::to_owned)
    };
    assert_eq!(
        hsts(HOST).as_deref(),
        Some("max-age=31536000; includeSubDomains")
    );
    assert_eq!(hsts("own.example"), None);
    assert_eq!(world.narthex.get(HOST, "/").status, 308);
    assert!(!world.web.seen().is_empty());
}

#[test]
fn changes_are_picked_up_while_it_serves() {
    let world = world(&[("ssl-redirect", "false")]);
    let get = || world.narthex.get(HOST, "/");
    assert_eq!(get().status, 200);
    world.set(&[("http-redirect-code", "301")]);
    until("it redirects", || get().status == 301);
    world.set(&[
        ("ssl-redirect", "false"),
        ("hsts-max-age", "60"),
        ("hsts-include-subdomains", "false"),
    ]);
    until("it does not", || get().status == 200);
    let mut conn = world.secure(HOST);
    assert_eq!(
        conn.get(HOST, "/").header("strict-transport-security"),
        Some("max-age=60")
    );
    world.set(&[
        ("ssl-redirect", "false"),
        ("hsts", "false"),
        ("proxy-body-size", "10"),
    ]);
    until("it is not said any more", || {
        let mut conn = world.secure(HOST);
        conn.get(HOST, "/")
            .header("strict-transport-security")
            .is_none()
    });
    let mut conn = Conn::plain(world.narthex.http);
    conn.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 11\r\n\r\n12345678901"
    ));
    assert_eq!(conn.response().status, 413);
    // Gone: the defaults stand.
    world.folder.remove("config.yaml");
    until("it redirects", || get().status == 308);
}

#[test]
fn fields_of_other_config_maps_are_added_and_hidden() {
    let world = world(&[("ssl-redirect", "false")]);
    world.folder.write(
        "more.yaml",
        &[
            config_map("ingress-nginx/answers", &[("X-Added", "yes, with spaces")]),
            config_map(
                "ingress-nginx/requests",
                &[
                    ("X-Told", "by us"),
                    ("X-Known", "$cookie_sid $location_path $remote_user"),
                    ("X-For", "$proxy_add_x_forwarded_for"),
                ],
            ),
        ]
        .join("---\n"),
    );
    world.set(&[
        ("ssl-redirect", "false"),
        ("add-headers", "ingress-nginx/answers"),
        ("proxy-set-headers", "ingress-nginx/requests"),
        ("hide-headers", "Content-Type"),
    ]);
    let response = eventually("a field more", || {
        Some(world.narthex.get(HOST, "/")).filter(|it| it.header("x-added").is_some())
    });
    assert_eq!(response.header("x-added"), Some("yes, with spaces"));
    assert_eq!(response.header("content-type"), None);
    let seen = world.web.seen();
    assert_eq!(
        seen.last().and_then(|seen| seen.header("x-told")),
        Some("by us")
    );
    let mut conn = Conn::plain(world.narthex.http);
    conn.ask(&format!(
        "GET / HTTP/1.1\r\nHost: {HOST}\r\nCookie: SID=one\r\nX-Forwarded-For: 192.0.2.9\r\n\
         Authorization: Basic dXNlcjpwYXNzd29yZA==\r\n\r\n"
    ));
    let seen = world.web.seen();
    let field = |name| seen.last().and_then(|seen| seen.header(name));
    assert_eq!(field("x-known"), Some("one / user"));
    assert_eq!(field("x-for"), Some("192.0.2.9, 127.0.0.1"));
    // And what they say may change, too.
    world.folder.rename_over(
        "more.yaml",
        &[
            config_map("ingress-nginx/answers", &[("X-Added", "no")]),
            config_map("ingress-nginx/requests", &[("X-Told", "by us")]),
        ]
        .join("---\n"),
    );
    until("another value", || {
        world.narthex.get(HOST, "/").header("x-added") == Some("no")
    });
}

#[test]
fn what_a_client_is_told_to_be_is_believed_where_the_config_map_says_so() {
    let world = world(&[("ssl-redirect", "false")]);
    let told = |lines: &str| {
        let mut conn = Conn::plain(world.narthex.http);
        conn.send(format!("GET /told HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"));
        assert_eq!(conn.response().status, 200);
        let seen = world.web.seen().pop().expect("a request");
        let of = |name: &str| seen.header(name).unwrap_or_default().to_owned();
        (
            of("x-forwarded-for"),
            of("x-real-ip"),
            of("x-forwarded-host"),
        )
    };
    let said = "X-Forwarded-For: 192.0.2.7, 198.51.100.1\r\nX-Forwarded-Host: other.example\r\n";
    let expect = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    assert_eq!(told(said), expect("127.0.0.1", "127.0.0.1", HOST));
    // What the client itself says goes on by another name, as do two more names of the scheme.
    let seen = world.web.seen().pop().expect("a request");
    for (name, value) in [
        ("x-original-forwarded-for", "192.0.2.7, 198.51.100.1"),
        ("x-scheme", "http"),
        ("x-forwarded-scheme", "http"),
        ("x-forwarded-proto", "http"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    let with = |lines: &[(&str, &str)]| {
        let mut all = vec![("ssl-redirect", "false")];
        all.extend(lines);
        // By which the new configuration is known.
        let mark = (1000 + lines.len() * 10 + lines[0].0.len()).to_string();
        all.push(("hsts-max-age", &mark));
        world.set(&all);
        until("it is served", || {
            let mut conn = world.secure(HOST);
            let hsts = conn
                .get(HOST, "/")
                .header("strict-transport-security")
                .map(str::to_owned);
            hsts.is_some_and(|hsts| hsts.contains(&mark))
        });
    };
    with(&[
        ("use-forwarded-headers", "true"),
        ("proxy-real-ip-cidr", "127.0.0.0/8, 198.51.100.0/24"),
    ]);
    assert_eq!(
        told(said),
        expect("192.0.2.7", "192.0.2.7", "other.example")
    );
    with(&[
        ("use-forwarded-headers", "true"),
        ("compute-full-forwarded-for", "true"),
        ("proxy-real-ip-cidr", "127.0.0.0/8,198.51.100.0/24"),
    ]);
    assert_eq!(
        told(said),
        expect(
            "192.0.2.7, 198.51.100.1, 127.0.0.1",
            "192.0.2.7",
            "other.example"
        )
    );
    // The address alone, from another field.
    with(&[
        ("enable-real-ip", "true"),
        ("forwarded-for-header", "CF-Connecting-IP"),
    ]);
    let said = "CF-Connecting-IP: 192.0.2.9\r\nX-Forwarded-Host: other.example\r\n";
    assert_eq!(told(said), expect("192.0.2.9", "192.0.2.9", HOST));
}

#[test]
fn what_cannot_be_read_or_has_no_meaning_is_said_by_its_key() {
    let world = world(&[
        ("proxy-body-sise", "1m"),
        ("proxy-read-timeout", "soon"),
        ("worker-processes", "4"),
        ("annotations-risk-level", "Low"),
    ]);
    for expected in [
        "data[proxy-body-sise]",
        "perhaps proxy-body-size",
        "data[proxy-read-timeout]",
        "a whole number of seconds",
        "data[worker-processes]",
    ] {
        world.narthex.until_log(expected);
    }
    assert_eq!(world.narthex.get(HOST, "/").status, 308);
}

#[test]
fn responses_are_compressed_for_who_takes_it() {
    let text = "the same line over and over\n".repeat(200);
    let body = text.clone();
    let web = Backend::scripted("web", move |exchange| {
        exchange.read_body()?;
        let kind = match &*exchange.request.target {
            "/image" => "image/png",
            _ => "text/plain; charset=utf-8",
        };
        let body = match &*exchange.request.target {
            "/short" => "short",
            _ => &*body,
        };
        let length = body.len();
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nServer: tests\r\nContent-Type: {kind}\r\nETag: \"1\"\r\nContent-Length: {length}\r\n\r\n{body}"
        ))?;
        Ok(Then::Keep)
    });
    let ingress = Ingress::named("web")
        .class("nginx")
        .host(HOST)
        .prefix("/", "web");
    let mut documents = services(&[("web", &web)]);
    documents.push(ingress.yaml());
    let folder = Folder::of(&documents);
    let lines = [
        ("use-gzip", "true"),
        ("enable-brotli", "true"),
        ("enable-zstd", "true"),
    ];
    folder.write("config.yaml", &config_map(CONTROLLER, &lines));
    let narthex = Narthex::on(&folder).arg(CONFIGURED).start();
    let get = |path: &str, accepts: &str| {
        let mut conn = Conn::plain(narthex.http);
        let accepts = match accepts {
            "" => String::new(),
            accepts => format!("Accept-Encoding: {accepts}\r\n"),
        };
        conn.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{accepts}\r\n"
        ))
    };
    for (accepts, coding) in [
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, zstd", "zstd"),
        ("br;q=0, gzip;q=0.5", "gzip"),
    ] {
        let response = get("/", accepts);
        assert_eq!(
            response.header("content-encoding"),
            Some(coding),
            "{accepts}"
        );
        assert_eq!(response.header("vary"), Some("Accept-Encoding"));
        assert_eq!(response.header("etag"), Some("W/\"1\""));
        assert!(
            response.body.len() < text.len() / 4,
            "{}",
            response.body.len()
        );
    }
    // curl reads what it says.
    let answer = narthex.curl(HOST, "/", &["--compressed"]);
    assert_eq!(answer.text, text);
    for (path, accepts) in [
        ("/", ""),
        ("/", "identity"),
        ("/short", "gzip"),
        ("/image", "gzip"),
    ] {
        let response = get(path, accepts);
        assert_eq!(
            response.header("content-encoding"),
            None,
            "{path} {accepts}"
        );
        assert_eq!(response.header("server"), None, "it is nobody's business");
        assert_eq!(response.header("etag"), Some("\"1\""));
    }
    assert_eq!(get("/", "").text(), text);
}
