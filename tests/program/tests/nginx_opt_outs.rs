//! How each of ingress-nginx's surprises is turned off, for an Ingress or for all of a class.

use program_tests::nginx::{Nginx, ingress};
use program_tests::tls::Client;
use program_tests::{Certificate, Conn, HOST, Ingress, secret, until};

const NARTHEX: (&str, &str) = ("narthex.dev/defaults", "narthex");
const KUBERNETES: (&str, &str) = ("narthex.dev/path-semantics", "kubernetes");

/// A class of ingress-nginx whose Ingresses have Narthex's defaults.
fn class() -> String {
    "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: calm, annotations: \
     {narthex.dev/defaults: narthex}}\nspec: {controller: k8s.io/ingress-nginx}\n"
        .to_owned()
}

/// The status of a body of 2 MiB.
fn large(site: &Nginx, host: &str) -> u16 {
    let length = 2 << 20;
    let mut conn = Conn::plain(site.narthex.http);
    let head = format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n");
    conn.send(head);
    // Whoever refuses it does not read it.
    let _ = std::io::Write::write_all(&mut conn, &vec![b'a'; length]);
    conn.try_response(false).map_or(0, |answer| answer.status)
}

#[test]
fn an_ingress_or_a_class_may_have_narthexs_defaults() {
    let rules = |name: &str, host: &str| ingress(name, &[]).host(host).prefix("/", "web");
    let calm = ingress("calm", &[NARTHEX]).host("calm.example");
    let site = Nginx::with_documents(
        &[
            class(),
            rules("plain", HOST).yaml(),
            calm.prefix("/", "web").yaml(),
            rules("class", "class.example").class("calm").yaml(),
        ],
        &[],
    );
    // The tenth: bodies of a mebibyte.
    assert_eq!(large(&site, HOST), 413);
    assert_eq!(large(&site, "calm.example"), 200);
    assert_eq!(large(&site, "class.example"), 200);
    // What is told backends changes with it, and at once.
    let scheme = |host: &str| {
        let echo = site.narthex.get(host, "/").echo();
        echo.header("x-scheme").map(str::to_owned)
    };
    assert_eq!(scheme(HOST).as_deref(), Some("http"));
    assert_eq!(scheme("class.example"), None);
    let said = class().replace("defaults: narthex", "defaults: ingress-nginx");
    site.folder.write("class.yaml", &said);
    site.folder.write(
        "site.yaml",
        &std::fs::read_to_string(site.folder.file("site.yaml"))
            .expect("the site")
            .replace(&class(), ""),
    );
    until("ingress-nginx's defaults", || {
        scheme("class.example").is_some()
    });
    assert_eq!(large(&site, "class.example"), 413);
}

#[test]
fn defaults_that_are_none_are_said_and_those_of_the_controller_stand() {
    let wrong = ingress("web", &[("narthex.dev/defaults", "caddy")]).host(HOST);
    let site = Nginx::with(&[wrong.prefix("/", "web")]);
    assert_eq!(large(&site, HOST), 413);
    site.narthex.until_log("\"caddy\" names no defaults");
}

#[test]
fn surprises_1_to_6_paths_are_as_kubernetes_says() {
    let regex = [("use-regex", "true")];
    for said in [NARTHEX, KUBERNETES] {
        let own = |name: &str| ingress(name, &[said]).host(HOST);
        let site = Nginx::with(&[
            own("plain")
                .exact("/exact", "other")
                .prefix("/my-path/", "other"),
            ingress("regex", &regex).host(HOST).prefix("/zzz.*", "web"),
        ]);
        for (path, expected) in [
            ("/exact", "other"),
            ("/EXACT", "404"),
            ("/exactly", "404"),
            ("/my-path", "other"),
            ("/my-path/x", "other"),
            ("/MY-path/x", "404"),
            ("/zzzz", "web"),
        ] {
            let found = site.narthex.backend(HOST, path);
            assert_eq!(found, expected, "{said:?} {path}");
        }
    }
}

#[test]
fn surprise_9_nobody_is_sent_to_https_or_told_to_stay_there() {
    let names = [HOST, "calm.example"];
    let rules = |name: &str, said: &[(&str, &str)], host: &str| -> Ingress {
        let ingress = ingress(name, said).tls(&[host], "tls");
        ingress.host(host).prefix("/", "web")
    };
    let calm = [NARTHEX, ("ssl-redirect", "false")];
    let site = Nginx::with_documents(
        &[
            secret("tls", &Certificate::of(&names)),
            rules("plain", &[], HOST).yaml(),
            rules("calm", &calm, "calm.example").yaml(),
        ],
        &[],
    );
    assert_eq!(site.narthex.get(HOST, "/").status, 308);
    assert_eq!(site.narthex.backend("calm.example", "/"), "web");
    let hsts = |host: &str| {
        let client = Client::trusting_anything();
        let connected = client.connect(site.narthex.https, host);
        let answer = connected.expect("a handshake").0.get(host, "/");
        answer
            .header("strict-transport-security")
            .map(str::to_owned)
    };
    assert!(hsts(HOST).is_some());
    assert_eq!(hsts("calm.example"), None);
}
