//! From HTTP to HTTPS, and the annotations that decide it.

use program_tests::folder::secret;
use program_tests::tls::Client;
use program_tests::{Backend, Certificate, Folder, HOST, Ingress, Narthex, class, docs, service};

/// A program whose Ingresses and Secrets come from the test; `web` serves them all.
struct World {
    narthex: Narthex,
    _folder: Folder,
    _web: Backend,
}

fn world(documents: &[String], flags: &[&str]) -> World {
    let web = Backend::named("web");
    let folder = Folder::of(&[class(), service("web", &[web.address()])]);
    folder.write("tls.yaml", &docs(documents));
    let narthex = Narthex::on(&folder).args(flags).start();
    World {
        narthex,
        _folder: folder,
        _web: web,
    }
}

fn secure(name: &str, host: &str, secret: &str) -> String {
    Ingress::named(name)
        .tls(&[host], secret)
        .host(host)
        .prefix("/", "web")
        .yaml()
}

#[test]
fn http_is_redirected_to_https_for_hosts_with_tls() {
    let certificate = Certificate::of(&[HOST]);
    let world = world(
        &[
            secret("a", &certificate),
            secure("a", HOST, "a"),
            Ingress::named("b")
                .host("plain.example")
                .prefix("/", "web")
                .yaml(),
        ],
        &[],
    );
    let answer = world.narthex.get(HOST, "/path/x?query=1&y=%2F");
    assert_eq!(answer.status, 308);
    let location = answer.header("location").expect("where to go");
    assert!(
        location.starts_with(&format!("https://{HOST}")),
        "{location}"
    );
    assert!(location.ends_with("/path/x?query=1&y=%2F"), "{location}");
    assert_eq!(world.narthex.backend("plain.example", "/"), "web");
    let (mut conn, _) = Client::trusting_anything()
        .connect(world.narthex.https, HOST)
        .expect("a handshake");
    assert_eq!(conn.get(HOST, "/").backend(), "web");
}

#[test]
fn the_redirect_goes_where_https_is_served() {
    let certificate = Certificate::of(&[HOST]);
    let world = world(&[secret("a", &certificate), secure("a", HOST, "a")], &[]);
    let answer = world
        .narthex
        .get(&format!("{HOST}:{}", world.narthex.http), "/x");
    let location = answer.header("location").expect("where to go");
    let wrong = format!(":{}", world.narthex.http);
    assert!(
        !location.contains(&wrong),
        "the HTTP port serves no HTTPS: {location}"
    );
}

#[test]
fn a_flag_tells_the_port_that_clients_see() {
    let certificate = Certificate::of(&[HOST]);
    let documents = [secret("a", &certificate), secure("a", HOST, "a")];
    for (flag, location) in [
        ("--public-https-port=443", "https://a.example/x"),
        ("--public-https-port=9443", "https://a.example:9443/x"),
    ] {
        let world = world(&documents, &[flag]);
        assert_eq!(
            world.narthex.get(HOST, "/x").header("location"),
            Some(location)
        );
    }
}

#[test]
fn a_redirect_cannot_be_bent() {
    let certificate = Certificate::of(&[HOST]);
    let world = world(&[secret("a", &certificate), secure("a", HOST, "a")], &[]);
    for path in [
        "//evil.example/x",
        "/\\evil.example",
        "/x?y=%0d%0aSet-Cookie:%20a=b",
    ] {
        let answer = world.narthex.get(HOST, path);
        if let Some(location) = answer.header("location") {
            assert!(
                location.starts_with(&format!("https://{HOST}")),
                "{path}: {location}"
            );
        }
        assert_eq!(answer.header("set-cookie"), None);
    }
}

#[test]
fn the_redirect_can_be_turned_off_for_all() {
    let certificate = Certificate::of(&[HOST]);
    let documents = [secret("a", &certificate), secure("a", HOST, "a")];
    let world = world(&documents, &["--ssl-redirect=false"]);
    assert_eq!(world.narthex.backend(HOST, "/"), "web");
}

#[test]
fn an_annotation_turns_the_redirect_off_for_one_ingress() {
    let certificate = Certificate::of(&[HOST]);
    let ingress = |name: &str, path: &str| {
        Ingress::named(name)
            .tls(&[HOST], "a")
            .host(HOST)
            .prefix(path, "web")
    };
    let open =
        ingress("b", "/open").annotation("nginx.ingress.kubernetes.io/ssl-redirect", "false");
    let world = world(
        &[
            secret("a", &certificate),
            ingress("a", "/").yaml(),
            open.yaml(),
        ],
        &[],
    );
    assert_eq!(world.narthex.backend(HOST, "/open"), "web");
    assert_eq!(world.narthex.backend(HOST, "/closed"), "308");
}

#[test]
fn an_annotation_turns_the_redirect_on_where_the_flag_is_off() {
    let certificate = Certificate::of(&[HOST]);
    let ingress = Ingress::named("a")
        .annotation("nginx.ingress.kubernetes.io/ssl-redirect", "true")
        .tls(&[HOST], "a")
        .host(HOST)
        .prefix("/", "web");
    let world = world(
        &[secret("a", &certificate), ingress.yaml()],
        &["--ssl-redirect=false"],
    );
    assert_eq!(world.narthex.backend(HOST, "/"), "308");
}

#[test]
fn force_ssl_redirect_works_without_tls_of_the_host() {
    let ingress = Ingress::named("a")
        .annotation("nginx.ingress.kubernetes.io/force-ssl-redirect", "true")
        .host(HOST)
        .prefix("/", "web");
    let world = world(&[ingress.yaml()], &[]);
    assert_eq!(world.narthex.backend(HOST, "/"), "308");
}

#[test]
fn a_trusted_proxy_that_ended_tls_is_not_redirected() {
    let certificate = Certificate::of(&[HOST]);
    let documents = [secret("a", &certificate), secure("a", HOST, "a")];
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-Proto: https\r\n\r\n");
    let ask = |flags: &[&str]| {
        let world = world(&documents, flags);
        program_tests::Conn::plain(world.narthex.http)
            .ask(&request)
            .status
    };
    assert_eq!(ask(&["--trusted-proxies=127.0.0.0/8"]), 200);
    assert_eq!(ask(&[]), 308, "anybody could say so");
}

#[test]
fn other_annotations_of_ingress_nginx_are_named_once() {
    let ingress = Ingress::named("a")
        .annotation("nginx.ingress.kubernetes.io/made-up-thing", "x")
        .host(HOST)
        .prefix("/", "web");
    let world = world(&[ingress.yaml()], &[]);
    assert_eq!(world.narthex.backend(HOST, "/"), "web");
    world
        .narthex
        .until_log("nginx.ingress.kubernetes.io/made-up-thing");
    let log = world.narthex.log();
    assert_eq!(log.matches("made-up-thing").count(), 1, "{log}");
}

#[test]
fn a_bad_value_of_a_known_annotation_is_reported() {
    let ingress = Ingress::named("a")
        .annotation("nginx.ingress.kubernetes.io/ssl-redirect", "perhaps")
        .host(HOST)
        .prefix("/", "web");
    let world = world(&[ingress.yaml()], &[]);
    assert_eq!(world.narthex.backend(HOST, "/"), "web");
    world.narthex.until_log("perhaps");
}
