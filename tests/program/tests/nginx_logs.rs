//! `enable-access-log` and `enable-rewrite-log`; and what is told of HTTPS where ingress-nginx tells it.

use program_tests::folder::secret;
use program_tests::tls::Client;
use program_tests::{Backend, Certificate, Folder, HOST, Ingress, Narthex, service};

const PREFIX: &str = "nginx.ingress.kubernetes.io/";

#[test]
fn requests_of_an_ingress_can_be_left_out_of_the_access_log() {
    let web = Backend::named("web");
    let quiet = Ingress::named("quiet")
        .class("nginx")
        .annotation(&format!("{PREFIX}enable-access-log"), "false")
        .host(HOST)
        .prefix("/quiet", "web");
    let loud = Ingress::named("loud")
        .class("nginx")
        .host(HOST)
        .prefix("/", "web");
    let folder = Folder::of(&[service("web", &[web.address()]), quiet.yaml(), loud.yaml()]);
    let narthex = Narthex::on(&folder).start();
    assert_eq!(narthex.backend(HOST, "/quiet"), "web");
    assert_eq!(narthex.backend(HOST, "/loud"), "web");
    // Lines come in the order of requests.
    narthex.access("/loud");
    let lines = narthex.access_log();
    let is_quiet = |line: &serde_json::Value| line.to_string().contains("/quiet");
    assert!(!lines.iter().any(is_quiet), "{lines:?}");
}

#[test]
fn clients_with_tls_are_told_to_stay_with_it() {
    let web = Backend::named("web");
    let ingress = |class: &str, name: &str, host: &str| {
        Ingress::named(name)
            .class(class)
            .tls(&[host], name)
            .host(host)
            .prefix("/", "web")
            .yaml()
    };
    let folder = Folder::of(&[
        service("web", &[web.address()]),
        secret("nginx", &Certificate::of(&[HOST])),
        secret("own", &Certificate::of(&["b.example"])),
        ingress("nginx", "nginx", HOST),
        ingress("own", "own", "b.example"),
    ]);
    let narthex = Narthex::on(&folder).start();
    let get = |host: &str| {
        let client = Client::trusting_anything().connect(narthex.https, host);
        let (mut conn, _) = client.expect("a handshake");
        let answer = conn.get(host, "/");
        answer
            .header("strict-transport-security")
            .map(str::to_owned)
    };
    assert_eq!(
        get(HOST).as_deref(),
        Some("max-age=31536000; includeSubDomains")
    );
    assert_eq!(get("b.example"), None);
}

#[test]
fn rewrites_are_logged_where_an_ingress_wants_it() {
    let web = Backend::named("web");
    let ingress = |name: &str, on: &str| {
        Ingress::named(name)
            .class("nginx")
            .annotation(&format!("{PREFIX}enable-rewrite-log"), on)
            .annotation(
                &format!("{PREFIX}configuration-snippet"),
                "rewrite ^/(.*)/x$ /other/$1;",
            )
            .host(&format!("{name}.example"))
            .prefix("/", "web")
            .yaml()
    };
    let folder = Folder::of(&[
        service("web", &[web.address()]),
        ingress("quiet", "false"),
        ingress("loud", "true"),
    ]);
    let flags = ["--allow-snippet-annotations"];
    let narthex = Narthex::on(&folder).args(&flags).start();
    assert_eq!(
        narthex.get("quiet.example", "/a/x").echo().target,
        "/other/a"
    );
    assert_eq!(narthex.get("loud.example", "/b").echo().target, "/b");
    assert_eq!(
        narthex.get("loud.example", "/c/x").echo().target,
        "/other/c"
    );
    narthex.until_log("/other/c");
    let log = narthex.log();
    assert!(!log.contains("/other/a"), "{log}");
}
