//! What answers of our own say where the ConfigMap says something for all, and what goes before
//! them: as a real ingress-nginx was seen to answer.

use program_tests::folder::config_map;
use program_tests::http1::Response;
use program_tests::nginx::{configured, ingress as nginx};
use program_tests::tls::Client;
use program_tests::{Backend, Certificate, Conn, Folder, Narthex, Then, secret, services};

const HOST: &str = "a.example";
const SECURE: &str = "secure.example";
const ROOT: &str = "root.example";
const GUARDED: &str = "guarded.example";
const CLOSED: &str = "closed.example";
const HSTS: &str = "strict-transport-security";

struct World {
    web: Backend,
    auth: Backend,
    narthex: Narthex,
    _folder: Folder,
}

/// A host; one with TLS and scripts of other origins; one that leads elsewhere from its root and
/// from `www.`; one about which somebody is asked who says no, unless the request says yes itself;
/// and one that is closed.
fn world(lines: &[(&str, &str)]) -> World {
    let web = Backend::named("web");
    let auth = Backend::scripted("auth", |exchange| {
        let yes = exchange.header("x-yes").is_some();
        exchange.read_body()?;
        let status = if yes { "200 OK" } else { "401 Unauthorized" };
        exchange.send(format!(
            "HTTP/1.1 {status}\r\nWWW-Authenticate: Bearer realm=\"there\"\r\nContent-Length: 0\r\n\r\n"
        ))?;
        Ok(Then::Keep)
    });
    let url = format!("http://{}/", auth.address());
    let mut documents = services(&[("web", &web)]);
    let certificate = Certificate::of(&[SECURE]);
    documents.push(secret("tls", &certificate));
    let leading = [("app-root", "/app"), ("from-to-www-redirect", "true")];
    let asking = [("auth-url", &*url), ("auth-signin", "https://in.example/")];
    let cors = [("enable-cors", "true")];
    let closed = [("denylist-source-range", "nobody")];
    for ingress in [
        nginx("web", &[]).host(HOST).prefix("/", "web"),
        nginx("secure", &cors)
            .host(SECURE)
            .prefix("/", "web")
            .tls(&[SECURE], "tls"),
        nginx("root", &leading).host(ROOT).prefix("/", "web"),
        nginx("guarded", &asking).host(GUARDED).prefix("/", "web"),
        nginx("closed", &closed).host(CLOSED).prefix("/", "web"),
    ] {
        documents.push(ingress.yaml());
    }
    documents.push(config_map(
        "ingress-nginx/answers",
        &[("X-Added", "yes"), ("X-Host", "to $host")],
    ));
    documents.push(config_map(
        "ingress-nginx/requests",
        &[("X-Told", "by us"), ("X-Client", "$remote_addr")],
    ));
    let (narthex, folder) = configured(&documents, lines, &[]);
    World {
        web,
        auth,
        narthex,
        _folder: folder,
    }
}

impl World {
    fn ask(&self, method: &str, host: &str, lines: &str) -> Response {
        let head = format!("{method} / HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
        Conn::plain(self.narthex.http).ask(&head)
    }

    fn post(&self, host: &str, length: usize) -> Response {
        let body = "x".repeat(length);
        let lines = format!("Content-Length: {length}\r\n\r\n{body}");
        let head = format!("POST / HTTP/1.1\r\nHost: {host}\r\n{lines}");
        Conn::plain(self.narthex.http).ask(&head)
    }

    fn secure(&self, host: &str) -> Response {
        let client = Client::trusting_anything();
        let (mut conn, _) = client
            .connect(self.narthex.https, host)
            .expect("a handshake");
        conn.get(host, "/")
    }
}

#[test]
fn what_all_answers_say_is_said_by_our_own() {
    let world = world(&[
        ("add-headers", "ingress-nginx/answers"),
        ("block-user-agents", "~*bot"),
        ("proxy-body-size", "1k"),
        ("server-tokens", "true"),
    ]);
    let www = format!("www.{ROOT}");
    let bot = "User-Agent: a Robot\r\n";
    for (what, status, host, answer) in [
        ("a backend's", 200, HOST, world.ask("GET", HOST, "")),
        ("too large", 413, HOST, world.post(HOST, 1025)),
        ("blocked", 403, HOST, world.ask("GET", HOST, bot)),
        ("to HTTPS", 308, SECURE, world.ask("GET", SECURE, "")),
        (
            "a browser's question",
            204,
            SECURE,
            world.ask("OPTIONS", SECURE, "Origin: http://o.example\r\n"),
        ),
        ("the root", 302, ROOT, world.ask("GET", ROOT, "")),
        ("www", 308, &*www, world.ask("GET", &www, "")),
        (
            "nobody's",
            404,
            "x.example",
            world.ask("GET", "x.example", ""),
        ),
        (
            "nobody's, blocked",
            403,
            "x.example",
            world.ask("GET", "x.example", bot),
        ),
        (
            "nobody's, too large",
            413,
            "x.example",
            world.post("x.example", 1025),
        ),
    ] {
        assert_eq!(answer.status, status, "{what}");
        assert_eq!(answer.header("x-added"), Some("yes"), "{what}");
        let expected = format!("to {host}");
        assert_eq!(answer.header("x-host"), Some(&*expected), "{what}");
    }
    assert_eq!(world.ask("GET", HOST, "").header("server"), Some("nginx"));
    assert_eq!(world.post(HOST, 1025).header("server"), Some("nginx"));
    // Bodies are measured before anybody is sent elsewhere, or told what scripts may do.
    let refused = world.post(SECURE, 1025);
    assert_eq!(refused.status, 413);
    assert_eq!(refused.header("access-control-allow-origin"), None);
}

#[test]
fn hsts_is_for_who_came_with_tls_to_us_and_to_hosts_that_are_nobodys_too() {
    let world = world(&[("use-forwarded-headers", "true")]);
    let forwarded = "X-Forwarded-Proto: https\r\nX-Forwarded-Port: 8443\r\n";
    let answer = world.ask("GET", SECURE, forwarded);
    assert_eq!((answer.status, answer.header(HSTS)), (200, None));
    assert!(world.secure(SECURE).header(HSTS).is_some());
    let nobodys = world.secure("x.example");
    assert_eq!(nobodys.status, 404);
    assert!(nobodys.header(HSTS).is_some());
    assert_eq!(world.ask("GET", "x.example", "").header(HSTS), None);
    let closed = world.secure(CLOSED);
    assert_eq!((closed.status, closed.header(HSTS)), (503, None));
    // The port that is told is the one that clients are led to.
    let led = world.ask("GET", &format!("www.{ROOT}"), forwarded);
    let expected = format!("https://{ROOT}:8443");
    assert_eq!(led.header("location"), Some(&*expected));
}

#[test]
fn who_is_asked_is_not_told_what_backends_are() {
    let lines = [("proxy-set-headers", "ingress-nginx/requests")];
    let world = world(&lines);
    assert_eq!(world.ask("GET", GUARDED, "X-Yes: 1\r\n").status, 200);
    let asked = world.auth.seen().pop().expect("it was asked");
    let told = world.web.seen().pop().expect("it came through");
    for (name, value) in [("x-told", "by us"), ("x-client", "127.0.0.1")] {
        assert_eq!(asked.header(name), None, "{name}");
        assert_eq!(told.header(name), Some(value), "{name}");
    }
}

#[test]
fn who_is_sent_to_sign_in_is_told_of_the_refusal_and_of_nothing_else() {
    let world = world(&[]);
    let answer = world.secure(GUARDED);
    assert_eq!(answer.status, 302);
    let location = answer.header("location").expect("where to sign in");
    assert!(location.starts_with("https://in.example/"), "{location}");
    let challenge = answer.header("www-authenticate");
    assert_eq!(challenge, Some("Bearer realm=\"there\""));
    assert_eq!(answer.header(HSTS), None);
}

#[test]
fn what_snippets_return_goes_before_the_way_to_https_and_may_have_no_page() {
    let snippet = "if ($http_x_tea) { return 418; }\nmore_set_headers \"X-All: $scheme\";";
    let world = world(&[("server-snippet", snippet)]);
    let tea = world.ask("GET", SECURE, "X-Tea: 1\r\n");
    assert_eq!((tea.status, &*tea.text()), (418, ""));
    assert_eq!(tea.header("content-type"), None);
    assert_eq!(tea.header("content-length"), Some("0"));
    let led = world.ask("GET", SECURE, "");
    assert_eq!((led.status, led.header("x-all")), (308, Some("http")));
    let nobodys = world.ask("GET", "x.example", "");
    assert_eq!(
        (nobodys.status, nobodys.header("x-all")),
        (404, Some("http"))
    );
}

#[test]
fn who_makes_an_errors_page_is_told_of_the_error_alone() {
    let errors = Backend::named("errors");
    let web = Backend::answering("web", b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    let mut documents = services(&[("web", &web), ("errors", &errors)]);
    let annotations = [
        ("custom-http-errors", "503"),
        ("default-backend", "errors"),
        ("ssl-redirect", "false"),
    ];
    documents.push(
        nginx("web", &annotations)
            .host(SECURE)
            .prefix("/", "web")
            .tls(&[SECURE], "tls")
            .yaml(),
    );
    documents.push(secret("tls", &Certificate::of(&[SECURE])));
    let (narthex, _folder) = configured(&documents, &[], &[]);
    let client = Client::trusting_anything();
    let (mut conn, _) = client.connect(narthex.https, SECURE).expect("a handshake");
    let answer = conn.get(SECURE, "/x");
    assert_eq!(answer.header(HSTS), None);
    let told = errors.seen().pop().expect("it was asked");
    assert_eq!(told.header("x-code"), Some("503"));
    assert_eq!(told.header("x-forwarded-for"), Some("127.0.0.1"));
    for name in [
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-forwarded-scheme",
        "x-scheme",
    ] {
        assert_eq!(told.header(name), None, "{name}");
    }
}

#[test]
fn the_page_of_a_refusal_says_how_to_be_let_in() {
    let errors = Backend::named("errors");
    let mut documents = services(&[("web", &errors), ("errors", &errors)]);
    let annotations = [
        ("auth-type", "basic"),
        ("auth-secret", "users"),
        ("auth-realm", "Here"),
        ("custom-http-errors", "401"),
        ("default-backend", "errors"),
    ];
    let ingress = nginx("web", &annotations).host(HOST).prefix("/", "web");
    documents.push(ingress.yaml());
    documents.push(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: users\n  namespace: default\n\
         stringData:\n  auth: \"user:{PLAIN}password\"\n"
            .to_owned(),
    );
    let (narthex, _folder) = configured(&documents, &[], &[]);
    let answer = narthex.get(HOST, "/");
    assert_eq!(
        answer.header("www-authenticate"),
        Some("Basic realm=\"Here\"")
    );
    let told = errors.seen().pop().expect("it was asked");
    assert_eq!(told.header("x-code"), Some("401"));
}

#[test]
fn empty_values_are_no_lists_and_no_codes() {
    let web = Backend::named("web");
    let mut documents = services(&[("web", &web)]);
    let code = |name| [("permanent-redirect", "https://other.example/"), (name, "")];
    let cases = [
        (503, vec![("allowlist-source-range", "")]),
        (503, vec![("denylist-source-range", "")]),
        (200, vec![("whitelist-source-range", "")]),
        (200, code("permanent-redirect-code").to_vec()),
        (200, code("temporal-redirect-code").to_vec()),
    ];
    for (at, (_, annotations)) in cases.iter().enumerate() {
        let ingress = nginx(&format!("i{at}"), annotations);
        let ingress = ingress.host(&format!("h{at}.example")).prefix("/", "web");
        documents.push(ingress.yaml());
    }
    let (narthex, _folder) = configured(&documents, &[], &[]);
    for (at, (status, annotations)) in cases.iter().enumerate() {
        let answer = narthex.get(&format!("h{at}.example"), "/");
        assert_eq!(answer.status, *status, "{annotations:?}");
    }
}

#[test]
fn an_ingresss_own_default_backend_makes_the_pages_of_its_own_paths_alone() {
    let (web, errors) = (Backend::named("web"), Backend::named("errors"));
    let mut documents = services(&[("web", &web), ("errors", &errors)]);
    let annotations = [("custom-http-errors", "404"), ("default-backend", "errors")];
    let ingress = nginx("web", &annotations).host(HOST).prefix("/foo", "web");
    documents.push(ingress.yaml());
    let (narthex, _folder) = configured(&documents, &[], &[]);
    assert_eq!(narthex.get(HOST, "/").status, 404);
    assert_eq!(narthex.get(HOST, "/foo").status, 200);
    assert!(errors.seen().is_empty());
}

#[test]
fn a_www_that_is_another_name_as_well_leads_elsewhere() {
    let web = Backend::named("web");
    let mut documents = services(&[("web", &web)]);
    let www = format!("www.{HOST}");
    let annotations = [("from-to-www-redirect", "true"), ("server-alias", &*www)];
    let ingress = nginx("web", &annotations).host(HOST).prefix("/", "web");
    documents.push(ingress.yaml());
    let (narthex, _folder) = configured(&documents, &[], &[]);
    assert_eq!(narthex.get(&www, "/").status, 308);
    assert_eq!(narthex.get(HOST, "/").status, 200);
}

#[test]
fn who_makes_all_pages_makes_those_of_its_own_errors() {
    let errors = Backend::scripted("errors", |exchange| {
        exchange.read_body()?;
        let field = |name| exchange.header(name).unwrap_or_default().to_owned();
        let body = format!("{}:{}", field("x-code"), field("x-service-name"));
        let length = body.len();
        exchange.send(format!(
            "HTTP/1.1 404 No\r\nContent-Length: {length}\r\n\r\n{body}"
        ))?;
        Ok(Then::Keep)
    });
    let web = Backend::named("web");
    let mut documents = services(&[("web", &web), ("errors", &errors)]);
    let ingress = nginx("web", &[]).host(HOST).prefix("/foo", "web");
    documents.push(ingress.yaml());
    let codes = [("custom-http-errors", "404")];
    let flags = ["--default-backend-service=default/errors"];
    let (narthex, _folder) = configured(&documents, &codes, &flags);
    for host in [HOST, "x.example"] {
        let answer = narthex.get(host, "/");
        assert_eq!((answer.status, &*answer.text()), (404, "404:"), "{host}");
    }
}
