//! Keys of ingress-nginx's ConfigMap that say for all Ingresses what annotations say for one: they
//! hold where an Ingress says nothing, and are picked up while serving.

use std::io::Write as _;
use std::time::{Duration, Instant};

use program_tests::folder::raw_secret;
use program_tests::http1::Response;
use program_tests::nginx::{configure, configured, ingress as nginx};
use program_tests::tcp::{TcpBackend, connect, exchange};
use program_tests::tls::Client;
use program_tests::{
    Backend, Certificate, Conn, Folder, Ingress, Narthex, Then, ports, secret, service, services,
    until,
};

const HOST: &str = "a.example";
const OWN: &str = "own.example";

struct World {
    web: Backend,
    folder: Folder,
    narthex: Narthex,
}

/// A host that says nothing, and one with annotations.
fn world(
    web: Backend,
    lines: &[(&str, &str)],
    own: &[(&str, &str)],
    more: &[String],
    flags: &[&str],
) -> World {
    let mut documents = services(&[("web", &web)]);
    let silent = nginx("web", &[]).host(HOST).prefix("/", "web");
    documents.push(silent.yaml());
    documents.push(nginx("own", own).host(OWN).prefix("/", "web").yaml());
    documents.extend_from_slice(more);
    let (narthex, folder) = configured(&documents, lines, flags);
    World {
        web,
        folder,
        narthex,
    }
}

impl World {
    fn set(&self, lines: &[(&str, &str)]) {
        configure(&self.folder, lines);
    }

    fn get(&self, host: &str, path: &str) -> Response {
        self.narthex.get(host, path)
    }

    fn status(&self, host: &str, path: &str) -> u16 {
        self.get(host, path).status
    }
}

/// A backend that answers `/status/404` so, and `/slow` after two seconds.
fn answering(name: &str) -> Backend {
    let text = name.to_owned();
    Backend::scripted(name, move |exchange| {
        let target = exchange.request.target.clone();
        exchange.read_body()?;
        let status = target.strip_prefix("/status/").unwrap_or("200");
        if target == "/slow" {
            std::thread::sleep(Duration::from_secs(2));
        }
        let code = exchange.header("x-code").unwrap_or_default().to_owned();
        let body = format!("{text} {code}");
        let length = body.len();
        exchange.send(format!(
            "HTTP/1.1 {status} Whatever\r\nServer: tests\r\nX-User: alice\r\nStrict-Transport-Security: max-age=3600\r\nContent-Length: {length}\r\n\r\n{body}"
        ))?;
        Ok(Then::Keep)
    })
}

#[test]
fn lists_of_addresses_hold_where_an_ingress_has_none() {
    let own = [("whitelist-source-range", "127.0.0.0/8")];
    let world = world(
        Backend::named("web"),
        &[("whitelist-source-range", "192.0.2.1, 198.51.100.0/24")],
        &own,
        &[],
        &[],
    );
    assert_eq!(
        (world.status(HOST, "/"), world.status(OWN, "/")),
        (403, 200)
    );
    world.set(&[("denylist-source-range", "127.0.0.1")]);
    until("its own does not help against the other list", || {
        world.status(OWN, "/") == 403
    });
    assert_eq!(world.status(HOST, "/"), 403);
    world.set(&[("whitelist-source-range", "127.0.0.1,10.0.0.0/8")]);
    until("all may come", || {
        (world.status(HOST, "/"), world.status(OWN, "/")) == (200, 200)
    });
    world.set(&[("whitelist-source-range", "192.0.2.1")]);
    until("nobody may", || world.status(HOST, "/") == 403);
    world.folder.remove("config.yaml");
    until("nothing is said any more", || {
        world.status(HOST, "/") == 200
    });
}

#[test]
fn errors_are_answered_by_the_default_backend_where_an_ingress_names_none() {
    let errors = answering("errors");
    let more = services(&[("errors", &errors)]);
    let own = [("custom-http-errors", "418")];
    let world = world(
        answering("web"),
        &[("custom-http-errors", "404, 503,nonsense")],
        &own,
        &more,
        &["--default-backend-service=default/errors"],
    );
    let text = |host: &str, path: &str| world.get(host, path).text();
    assert_eq!(text(HOST, "/status/404"), "errors 404");
    assert_eq!(text(HOST, "/status/418"), "web ");
    // What it says itself takes the place of what is said for all.
    assert_eq!(text(OWN, "/status/404"), "web ");
    assert_eq!(text(OWN, "/status/418"), "errors 418");
    world.set(&[
        ("custom-http-errors", "404"),
        ("disable-proxy-intercept-errors", "true"),
    ]);
    until("the backend's own stays", || {
        text(HOST, "/status/404") == "web "
    });
    world.set(&[("custom-http-errors", "418")]);
    until("another one", || text(HOST, "/status/418") == "errors 418");
    assert_eq!(text(HOST, "/status/404"), "web ");
}

#[test]
fn somebody_is_asked_for_all_but_those_who_say_otherwise() {
    let auth = Backend::scripted("auth", |exchange| {
        let target = exchange.request.target.clone();
        exchange.read_body()?;
        let status = target.strip_prefix("/status/").unwrap_or("200");
        exchange.send(format!(
            "HTTP/1.1 {status} Whatever\r\nSet-Cookie: alma=armud\r\nX-User: alice\r\nContent-Length: 0\r\n\r\n"
        ))?;
        Ok(Then::Keep)
    });
    let own = [("enable-global-auth", "false")];
    let url = |path: &str| format!("http://{}{path}", auth.address());
    let no = url("/status/401");
    let world = world(
        Backend::named("web"),
        &[("global-auth-url", &no)],
        &own,
        &[],
        &[],
    );
    assert_eq!(
        (world.status(HOST, "/"), world.status(OWN, "/")),
        (401, 200)
    );
    world.set(&[
        ("global-auth-url", &no),
        ("global-auth-signin", "http://sign.example/in"),
        ("global-auth-signin-redirect-param", "back"),
    ]);
    until("they are sent to sign in", || {
        let answer = world.get(HOST, "/");
        let location = answer.header("location").unwrap_or_default().to_owned();
        answer.status == 302 && location.starts_with("http://sign.example/in?back=")
    });
    let yes = url("/");
    world.set(&[
        ("global-auth-url", &yes),
        ("global-auth-method", "POST"),
        ("global-auth-response-headers", "X-User, X-None"),
        ("global-auth-request-redirect", "/there"),
    ]);
    until("they come in", || world.status(HOST, "/") == 200);
    let seen = world.web.seen();
    let user = seen.last().and_then(|seen| seen.header("x-user"));
    assert_eq!(user, Some("alice"));
    let asked = auth.seen().pop().expect("it was asked");
    assert_eq!(asked.method, "POST");
    assert_eq!(asked.header("x-auth-request-redirect"), Some("/there"));
}

#[test]
fn cookies_of_whom_all_ask_go_with_errors_where_that_is_said() {
    let auth = Backend::scripted("auth", |exchange| {
        exchange.read_body()?;
        exchange.send("HTTP/1.1 200 OK\r\nSet-Cookie: alma=armud\r\nContent-Length: 0\r\n\r\n")?;
        Ok(Then::Keep)
    });
    let url = format!("http://{}/", auth.address());
    let world = world(
        answering("web"),
        &[("global-auth-url", &url)],
        &[],
        &[],
        &[],
    );
    let cookie = |path: &str| {
        let answer = world.get(HOST, path);
        answer.header("set-cookie").is_some()
    };
    assert!(cookie("/") && !cookie("/status/500"));
    world.set(&[
        ("global-auth-url", &url),
        ("global-auth-always-set-cookie", "true"),
    ]);
    until("it goes with errors", || cookie("/status/500"));
    assert!(cookie("/"));
}

#[test]
fn times_for_backends_hold_where_an_ingress_says_nothing() {
    let own = [("proxy-read-timeout", "30")];
    let lines = [
        ("proxy-read-timeout", "1"),
        ("proxy-next-upstream", "off"),
        ("proxy-connect-timeout", "50k"),
    ];
    let world = world(answering("web"), &lines, &own, &[], &[]);
    assert_eq!(world.status(HOST, "/slow"), 504);
    assert_eq!(world.status(OWN, "/slow"), 200);
    world.narthex.until_log("data[proxy-connect-timeout]");
    world.set(&[("proxy-read-timeout", "50k")]);
    until("the default, a minute", || {
        world.status(HOST, "/slow") == 200
    });
}

#[test]
fn another_endpoint_is_asked_where_the_config_map_says_so() {
    let (bad, good) = (answering("bad"), answering("good"));
    let failing = Backend::scripted("failing", |exchange| {
        exchange.read_body()?;
        exchange.send("HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n")?;
        Ok(Then::Keep)
    });
    let both = service("both", &[failing.address(), good.address()]);
    let ingress = Ingress::named("both").class("nginx").host("both.example");
    let more = [both, ingress.prefix("/", "both").yaml()];
    let world = world(bad, &[], &[], &more, &["--workers=1"]);
    let all = || -> Vec<u16> {
        let ask = |_| world.status("both.example", "/");
        (0..8).map(ask).collect()
    };
    assert!(all().contains(&502));
    world.set(&[
        ("proxy-next-upstream", "error http_502"),
        ("proxy-next-upstream-tries", "2"),
        ("proxy-next-upstream-timeout", "999999"),
    ]);
    until("the other one answers", || {
        all().iter().all(|status| *status == 200)
    });
    world.set(&[
        ("proxy-next-upstream", "error http_502"),
        ("proxy-next-upstream-tries", "1"),
    ]);
    until("once and no more", || all().contains(&502));
}

#[test]
fn connections_end_after_the_requests_and_the_time_that_are_said() {
    let lines = [("keep-alive-requests", "3"), ("keep-alive", "6")];
    let world = world(Backend::named("web"), &lines, &[], &[], &[]);
    let mut conn = Conn::plain(world.narthex.http);
    for number in 1..=3 {
        let answer = conn.get(HOST, "/");
        let last = answer.header("connection") == Some("close");
        assert_eq!(last, number == 3, "{number}");
    }
    assert!(conn.is_closed_within(Duration::from_secs(15)));
    let mut conn = Conn::plain(world.narthex.http);
    assert_eq!(conn.get(HOST, "/").status, 200);
    assert!(conn.is_closed_within(Duration::from_secs(20)), "idle");
}

#[test]
fn servers_and_their_hsts_are_told_as_the_config_map_says() {
    let certificate = secret("tls", &Certificate::of(&["tls.example"]));
    let ingress = Ingress::named("tls").class("nginx").host("tls.example");
    let ingress = ingress.prefix("/", "web").tls(&["tls.example"], "tls");
    let more = [certificate, ingress.yaml()];
    let world = world(answering("web"), &[], &[], &more, &[]);
    let server = || world.get(HOST, "/").header("server").map(str::to_owned);
    assert_eq!(server(), None);
    world.set(&[
        ("allow-backend-server-header", "true"),
        ("hsts-preload", "true"),
        ("hsts-max-age", "86400"),
    ]);
    until("it is told", || server().as_deref() == Some("tests"));
    // What the backend itself says of HSTS does not count.
    let client = Client::trusting_anything();
    let (mut conn, _) = client
        .connect(world.narthex.https, "tls.example")
        .expect("TLS");
    let answer = conn.get("tls.example", "/");
    let all: Vec<_> = answer.all("strict-transport-security").collect();
    assert_eq!(all, ["max-age=86400; includeSubDomains; preload"]);
}

#[test]
fn compression_has_the_types_lengths_and_levels_that_are_said() {
    let web = Backend::scripted("web", |exchange| {
        let target = exchange.request.target.clone();
        exchange.read_body()?;
        let mut parts = target.trim_start_matches('/').split('-');
        let kind = parts.next().unwrap_or_default().replace('_', "/");
        let length = parts.next().unwrap_or_default().parse().unwrap_or(0);
        let body = "a".repeat(length);
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
        ))?;
        Ok(Then::Keep)
    });
    let world = world(web, &[], &[], &[], &[]);
    let coding = |path: &str, accepts: &str| {
        let mut conn = Conn::plain(world.narthex.http);
        let answer = conn.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAccept-Encoding: {accepts}\r\n\r\n"
        ));
        answer.header("content-encoding").map(str::to_owned)
    };
    assert_eq!(coding("/application_xml-1000", "gzip"), None);
    world.set(&[("use-gzip", "true"), ("gzip-level", "4")]);
    until("it is compressed", || {
        coding("/application_xml-1000", "gzip").as_deref() == Some("gzip")
    });
    assert_eq!(coding("/application_xml-255", "gzip"), None);
    assert_eq!(coding("/application_xml-1000", "*"), None, "as nginx");
    let asked = |line: &str| {
        let mut conn = Conn::plain(world.narthex.http);
        let accepts = "Accept-Encoding: gzip";
        conn.send(format!("{line}\r\nHost: {HOST}\r\n{accepts}\r\n\r\n"));
        conn.try_response(line.starts_with("HEAD"))
            .expect("an answer")
    };
    let head = asked("HEAD /application_xml-1000 HTTP/1.1");
    assert_eq!(head.header("content-encoding"), Some("gzip"));
    assert_eq!(head.header("content-length"), None);
    assert_eq!(head.header("transfer-encoding"), None);
    let old = asked("GET /application_xml-1000 HTTP/1.0");
    assert_eq!(old.header("content-encoding"), None, "as nginx");
    assert_eq!(old.header("vary"), Some("Accept-Encoding"));
    assert_eq!(coding("/application_octet-stream-1000", "gzip"), None);
    world.set(&[
        ("use-gzip", "true"),
        ("gzip-min-length", "100"),
        ("gzip-types", "application/octet"),
    ]);
    until("other types", || {
        coding("/application_octet-100", "gzip").as_deref() == Some("gzip")
    });
    assert_eq!(coding("/application_octet-99", "gzip"), None);
    assert_eq!(coding("/application_xml-1000", "gzip"), None);
    assert_eq!(coding("/text_html-1000", "gzip").as_deref(), Some("gzip"));
    world.set(&[
        ("enable-brotli", "true"),
        ("brotli-types", "application/octet"),
        ("brotli-min-length", "24"),
    ]);
    until("brotli", || {
        coding("/application_octet-24", "br").as_deref() == Some("br")
    });
    assert_eq!(coding("/application_octet-23", "br"), None);
    assert_eq!(coding("/application_octet-1000", "gzip"), None);
    // Each has types of its own, and what the preferred one is not for is the other one's.
    world.set(&[
        ("use-gzip", "true"),
        ("gzip-types", "application/xml"),
        ("enable-brotli", "true"),
        ("brotli-types", "application/octet"),
    ]);
    until("gzip beside brotli", || {
        coding("/application_xml-1000", "gzip, br").as_deref() == Some("gzip")
    });
    let octets = coding("/application_octet-1000", "gzip, br");
    assert_eq!(octets.as_deref(), Some("br"));
}

#[test]
fn external_names_are_refused_where_the_flag_says_so() {
    let external = "apiVersion: v1\nkind: Service\nmetadata: {name: outside}\nspec: {type: ExternalName, externalName: localhost}\n";
    let ingress = Ingress::named("outside")
        .class("nginx")
        .host("outside.example");
    let more = [
        external.to_owned(),
        ingress.prefix_to_number("/", "outside", 80).yaml(),
    ];
    let world = world(
        Backend::named("web"),
        &[],
        &[],
        &more,
        &["--disable-svc-external-name"],
    );
    assert_eq!(world.status(HOST, "/"), 200);
    assert!((500..600).contains(&world.status("outside.example", "/")));
}

#[test]
fn a_tcp_port_may_be_of_an_external_name_and_be_given_to_another_service() {
    let (one, two) = (TcpBackend::named("one"), TcpBackend::named("two"));
    let port = ports::free();
    let external = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: outside}}\nspec: {{type: ExternalName, externalName: localhost, ports: [{{name: tcp, port: {0}, targetPort: {0}}}]}}\n",
        one.address().port()
    );
    let lines = |to: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{namespace: ingress-nginx, name: tcp}}\ndata: {{\"{port}\": \"{to}\"}}\n"
        )
    };
    let folder = Folder::of(&[external, service("two", &[two.address()])]);
    let outside = format!("default/outside:{}", one.address().port());
    folder.write("tcp.yaml", &lines(&outside));
    let flags = [
        "--tcp-services-configmap=ingress-nginx/tcp",
        "--allow-local-external-names",
    ];
    let _narthex = Narthex::on(&folder).args(&flags).start();
    // Until there is an endpoint, connections are closed.
    let say = || {
        let _ = connect(port).write_all(b"hello");
    };
    until("its name is resolved", || {
        say();
        !one.seen().is_empty()
    });
    folder.rename_over("tcp.yaml", &lines("default/two:80"));
    until("it is the other's", || {
        say();
        !two.seen().is_empty()
    });
    exchange(&mut connect(port), b"hello");
}

/// The names that the certificate shown for a host is for.
fn shown(narthex: &Narthex, host: &str) -> Option<Vec<u8>> {
    let client = Client::trusting_anything();
    let (_, shaken) = client.connect(narthex.https, host).ok()?;
    Some(shaken.certificate.to_vec())
}

#[test]
fn certificates_come_change_and_go_with_ingresses_and_secrets() {
    let (first, second) = (Certificate::of(&[HOST]), Certificate::of(&[HOST]));
    let world = world(Backend::named("web"), &[], &[], &[], &[]);
    let narthex = &world.narthex;
    let default = shown(narthex, HOST).expect("a certificate of our own");
    assert_eq!(
        world.status(HOST, "/"),
        200,
        "without TLS, nobody is sent away"
    );
    // TLS of an Ingress whose Secret is missing.
    let plain = nginx("secure", &[]).host("b.example").prefix("/", "web");
    let secure = nginx("secure", &[]).host("b.example").prefix("/", "web");
    let secure = secure.tls(&["b.example"], "b");
    world.folder.write("b.yaml", &secure.yaml());
    until("they are sent to HTTPS all the same", || {
        let answer = world.get("b.example", "/");
        answer.status == 308 && answer.header("location") == Some("https://b.example")
    });
    assert_eq!(shown(narthex, "b.example"), Some(default.clone()));
    let b = Certificate::of(&["b.example"]);
    world.folder.write("b-tls.yaml", &secret("b", &b));
    until("it is shown", || {
        shown(narthex, "b.example").as_deref() == Some(&*b.der)
    });
    // Whatever dot is behind the name.
    let client = Client::trusting_anything();
    let (mut conn, _) = client.connect(narthex.https, "b.example").expect("TLS");
    assert_eq!(conn.get("b.example.", "/").status, 200);
    let again = Certificate::of(&["b.example"]);
    world.folder.rename_over("b-tls.yaml", &secret("b", &again));
    until("the new one is shown", || {
        shown(narthex, "b.example").as_deref() == Some(&*again.der)
    });
    world.folder.rename_over("b.yaml", &plain.yaml());
    until("without TLS", || world.status("b.example", "/") == 200);
    until("the default is shown", || {
        shown(narthex, "b.example") == Some(default.clone())
    });
    // One with keys that are none.
    let broken = secure.yaml();
    world.folder.rename_over("b.yaml", &broken);
    let nonsense = raw_secret("b", "no certificate", "no key");
    world.folder.remove("b-tls.yaml");
    world.folder.write("broken.yaml", &nonsense);
    until("the default is shown", || {
        shown(narthex, "b.example") == Some(default.clone())
    });
    drop((first, second));
}

#[test]
fn the_default_certificate_is_for_hosts_that_their_own_is_not_for() {
    let default = Certificate::of(&["default.example"]);
    let other = Certificate::of(&["not.example"]);
    let ingress = Ingress::named("secure").class("nginx").host("b.example");
    let ingress = ingress.prefix("/", "web").tls(&["b.example"], "b");
    let more = [
        secret("catch", &default),
        secret("b", &other),
        ingress.yaml(),
    ];
    let world = world(
        Backend::named("web"),
        &[],
        &[],
        &more,
        &["--default-ssl-certificate=default/catch"],
    );
    let is_default = |host: &str| shown(&world.narthex, host).as_deref() == Some(&*default.der);
    assert!(is_default("unknown.example"));
    assert!(is_default(HOST));
    assert!(is_default("b.example"), "its own is another host's");
}

#[test]
fn the_name_of_what_is_asked_is_there_for_snippets() {
    let said = |more: &[(&str, &str)]| {
        // Without its semicolon, as ingress-nginx's own test has it.
        let snippet = (
            "configuration-snippet",
            "more_set_headers \"Custom-Header: $proxy_host\"",
        );
        let all = [&[snippet], more].concat();
        let world = world(
            Backend::named("web"),
            &[
                ("allow-snippet-annotations", "true"),
                ("annotations-risk-level", "Critical"),
            ],
            &all,
            &[],
            &[],
        );
        let answer = world.get(OWN, "/");
        answer.header("custom-header").map(str::to_owned)
    };
    assert_eq!(said(&[]).as_deref(), Some("default-web-http"));
    let vhost = ("upstream-vhost", "other.example");
    assert_eq!(said(&[vhost]).as_deref(), Some("default-web-http"));
}

#[test]
fn responses_go_out_no_quicker_than_is_said_for_all() {
    let web = Backend::scripted("web", |exchange| {
        exchange.read_body()?;
        let body = "a".repeat(3 << 10);
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))?;
        Ok(Then::Keep)
    });
    let world = world(
        web,
        &[("limit-rate", "1")],
        &[("limit-rate", "1000")],
        &[],
        &[],
    );
    let begun = Instant::now();
    assert_eq!(world.get(HOST, "/").body.len(), 3 << 10);
    let slow = begun.elapsed();
    assert!(slow >= Duration::from_secs(1), "{slow:?}");
    // One that the machine held up says nothing.
    let quicker = (0..5).any(|_| {
        let begun = Instant::now();
        assert_eq!(world.get(OWN, "/").body.len(), 3 << 10);
        begun.elapsed() < slow
    });
    assert!(quicker, "its own rate is another");
}

#[test]
fn paths_that_ask_nobody_are_those_that_the_config_map_names() {
    let auth = Backend::scripted("auth", |exchange| {
        exchange.read_body()?;
        exchange.send("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")?;
        Ok(Then::Keep)
    });
    let paths = nginx("paths", &[]).host("paths.example");
    let paths = paths.prefix("/foo", "web").prefix("/bar", "web");
    // foo:{PLAIN}bar
    let users = "apiVersion: v1\nkind: Secret\nmetadata: {name: users}\ndata: {auth: Zm9vOntQTEFJTn1iYXI=}\n";
    let basic = [("auth-type", "basic"), ("auth-secret", "users")];
    let basic = nginx("basic", &basic).host("basic.example");
    let basic = basic.prefix("/", "web").prefix("/noauth", "web");
    let url = format!("http://{}/", auth.address());
    let keys = [("global-auth-url", &*url)];
    let more = [paths.yaml(), users.to_owned(), basic.yaml()];
    let world = world(Backend::named("web"), &keys, &[], &more, &[]);
    let both = || {
        let status = |path: &str| world.status("paths.example", path);
        (status("/foo"), status("/bar"))
    };
    assert_eq!(both(), (401, 401));
    world.set(&[keys[0], ("no-auth-locations", "/bar")]);
    until("one asks nobody", || both() == (401, 200));
    world.set(&[("no-auth-locations", "/noauth")]);
    until("nobody is asked for all", || both() == (200, 200));
    let status = |path: &str| world.status("basic.example", path);
    assert_eq!((status("/"), status("/noauth")), (401, 200));
    let mut conn = Conn::plain(world.narthex.http);
    let answer = conn
        .ask("GET / HTTP/1.1\r\nHost: basic.example\r\nAuthorization: Basic Zm9vOmJhcg==\r\n\r\n");
    assert_eq!(answer.status, 200);
}

#[test]
fn answers_of_whom_all_ask_are_remembered() {
    let auth = Backend::scripted("auth", |exchange| {
        exchange.read_body()?;
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        Ok(Then::Keep)
    });
    let url = format!("http://{}/", auth.address());
    let keys = [
        ("global-auth-url", &*url),
        ("global-auth-cache-key", "foo"),
        ("global-auth-cache-duration", "200 201 401 30m"),
    ];
    let world = world(Backend::named("web"), &keys, &[], &[], &["--workers=1"]);
    assert_eq!(world.status(HOST, "/"), 200);
    let asked = auth.seen().len();
    drop(auth);
    for _ in 0..3 {
        assert_eq!(world.status(HOST, "/"), 200, "asked {asked} times");
    }
    // Of another path nothing is remembered, and nobody answers.
    assert!(world.status(OWN, "/") >= 403);
}

#[test]
fn some_paths_are_not_led_to_https() {
    let paths = nginx("paths", &[]).host("paths.example");
    let paths = paths.prefix("/", "web").prefix("/free", "web");
    let more = [
        secret("tls", &Certificate::of(&["paths.example"])),
        paths.tls(&["paths.example"], "tls").yaml(),
    ];
    let world = world(Backend::named("web"), &[], &[], &more, &[]);
    let both = || {
        let status = |path: &str| world.status("paths.example", path);
        (status("/"), status("/free"))
    };
    assert_eq!(both(), (308, 308));
    world.set(&[("no-tls-redirect-locations", "/free, /other")]);
    until("one stays", || both() == (308, 200));
}

#[test]
fn fields_that_the_config_map_lists_may_have_variables_and_take_others_out() {
    let fields = |name: &str, lines: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{namespace: ingress-nginx, name: {name}}}\ndata:\n{lines}"
        )
    };
    let more = [
        fields(
            "told",
            "  X-Plain: plain\n  X-Ip: \"ip=$remote_addr\"\n  X-Bad: \"$nonsense\"\n  X-Gone: \"\"\n",
        ),
        fields("added", "  X-Host: \"${host}!\"\n  X-Fixed: a b\n"),
    ];
    let keys = [
        ("proxy-set-headers", "ingress-nginx/told"),
        ("add-headers", "ingress-nginx/added"),
    ];
    let world = world(Backend::named("web"), &keys, &[], &more, &[]);
    let mut conn = Conn::plain(world.narthex.http);
    let answer = conn.ask(&format!(
        "GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Gone: 1\r\n\r\n"
    ));
    assert_eq!(answer.header("x-host"), Some("a.example!"));
    assert_eq!(answer.header("x-fixed"), Some("a b"));
    let seen = world.web.seen().pop().expect("a request");
    assert_eq!(seen.header("x-plain"), Some("plain"));
    assert_eq!(seen.header("x-ip"), Some("ip=127.0.0.1"));
    assert_eq!((seen.header("x-bad"), seen.header("x-gone")), (None, None));
    world.narthex.until_log("X-Bad");
}

#[test]
fn without_a_time_no_connection_is_kept() {
    let world = world(Backend::named("web"), &[("keep-alive", "0")], &[], &[], &[]);
    let mut conn = Conn::plain(world.narthex.http);
    let answer = conn.get(HOST, "/");
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close"))
    );
}
