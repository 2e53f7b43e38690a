//! TLS of an Ingress's hosts that goes on to the backend as it is, beside hosts where it ends.

use program_tests::client_hello::{ech, extension, hello, sni};
use program_tests::h2_backend::server_config;
use program_tests::tcp::{TcpBackend, connect, exchange};
use program_tests::tls::Client;
use program_tests::{
    Backend, Certificate, Folder, Ingress, Narthex, class, docs, eventually, run, secret, service,
    service_speaking, until,
};

const FLAG: &str = "--enable-ssl-passthrough";
const ANNOTATION: &str = "nginx.ingress.kubernetes.io/ssl-passthrough";
const PASSED: &str = "pass.example";
const ENDED: &str = "end.example";

fn passing(name: &str, host: &str, service: &str) -> Ingress {
    Ingress::named(name)
        .annotation(ANNOTATION, "true")
        .host(host)
        .prefix("/", service)
}

/// Passthrough, by TLS and by bytes that are nearly TLS, and HTTPS on one port.
struct World {
    narthex: Narthex,
    folder: Folder,
    secure: TcpBackend,
    raw: TcpBackend,
    own: Certificate,
    ended: Certificate,
    _web: Backend,
}

fn world(flags: &[&str], more: &[String]) -> World {
    let web = Backend::named("web");
    let own = Certificate::of(&[PASSED]);
    let ended = Certificate::of(&[ENDED]);
    let secure = TcpBackend::secure("secure", server_config(&own, &[]));
    let raw = TcpBackend::named("raw");
    let mut documents = vec![
        class(),
        service("web", &[web.address()]),
        // What it speaks is between the client and the backend.
        service_speaking("secure", "https", &[], &[secure.address()]),
        service("raw", &[raw.address()]),
        secret("tls", &ended),
        Ingress::named("web")
            .tls(&[ENDED], "tls")
            .host(ENDED)
            .prefix("/", "web")
            .yaml(),
        passing("secure", PASSED, "secure").yaml(),
        passing("raw", "*.raw.example", "raw").yaml(),
    ];
    documents.extend_from_slice(more);
    let folder = Folder::new();
    folder.write("site.yaml", &docs(&documents));
    let narthex = Narthex::on(&folder).args(flags).start();
    World {
        narthex,
        folder,
        secure,
        raw,
        own,
        ended,
        _web: web,
    }
}

#[test]
fn the_backends_own_certificate_is_seen_beside_hosts_where_tls_ends() {
    let world = world(&[FLAG], &[]);
    let client = Client::trusting_anything();
    let port = world.narthex.https;
    assert_eq!(client.certificate(port, PASSED), world.own.der);
    assert_eq!(client.certificate(port, ENDED), world.ended.der);
    let (mut conn, _) = client.connect(port, ENDED).expect("TLS");
    assert_eq!(conn.get(ENDED, "/").backend(), "web");
    // The backend echoes what is inside.
    let (mut conn, _) = client.connect(port, PASSED).expect("TLS");
    conn.send("through TLS");
    until("the backend was asked for the name", || {
        let hellos = world.secure.hellos();
        hellos
            .last()
            .is_some_and(|last| last.server_name.as_deref() == Some(PASSED))
    });
    let unknown = client.certificate(port, "unknown.example");
    assert!(unknown != world.own.der && unknown != world.ended.der);
}

#[test]
fn whatever_the_hello_looks_like_it_comes_to_its_backend_byte_for_byte() {
    let world = world(&[FLAG], &[]);
    let host = sni("a.raw.example");
    for (index, (extensions, record)) in [
        // Neither signature_algorithms nor supported_groups, as before TLS 1.2.
        (vec![host.clone()], 16384),
        // An encrypted one inside: the outer name counts.
        (vec![ech(), host.clone()], 16384),
        // In records of a byte each, and larger than a record can be.
        (vec![extension(0x2a2a, &[1; 500]), host.clone()], 1),
        (vec![extension(21, &[0; 40_000]), host], 1000),
    ]
    .into_iter()
    .enumerate()
    {
        let hello = hello(&extensions, record);
        exchange(&mut connect(world.narthex.https), &hello);
        let seen = eventually("it has come", || world.raw.seen().get(index).cloned());
        assert!(seen == hello, "{index}: byte for byte");
    }
}

#[test]
fn where_tls_ends_hellos_in_pieces_are_understood_too() {
    let world = world(&[FLAG], &[]);
    let client = Client::post_quantum();
    assert_eq!(
        client.certificate(world.narthex.https, ENDED),
        world.ended.der
    );
    let mut plain = program_tests::Conn::plain(world.narthex.https);
    assert_eq!(plain.get(ENDED, "/").status, 400);
}

#[test]
fn without_the_flag_the_annotation_is_refused_by_name_and_tls_ends_here() {
    let world = world(&[], &[]);
    let client = Client::trusting_anything();
    assert_ne!(
        client.certificate(world.narthex.https, PASSED),
        world.own.der
    );
    world.narthex.until_log("--enable-ssl-passthrough");
    let folder = world.folder.path().to_string_lossy().into_owned();
    let said = run(&["check", &folder]).said();
    assert!(said.contains(FLAG) && said.contains(ANNOTATION), "{said}");
    let said = run(&["check", FLAG, &folder]).said();
    assert!(!said.contains(ANNOTATION), "{said}");
}

#[test]
fn a_host_closer_than_a_wildcard_keeps_its_own_end_of_tls() {
    let exact = Ingress::named("exact")
        .tls(&["end.raw.example"], "tls")
        .host("end.raw.example")
        .prefix("/", "web");
    let world = world(&[FLAG], &[exact.yaml()]);
    let client = Client::trusting_anything();
    let shown = client.certificate(world.narthex.https, "end.raw.example");
    assert_eq!(shown, world.ended.der);
}

#[test]
fn the_older_ingress_says_where_tls_of_a_host_ends_and_the_other_is_told() {
    let thief = passing("zz-thief", ENDED, "raw").created("2030-01-01T00:00:00Z");
    let first = Ingress::named("first")
        .created("2020-01-01T00:00:00Z")
        .host(ENDED)
        .prefix("/first", "web");
    let world = world(&[FLAG], &[thief.yaml(), first.yaml()]);
    let client = Client::trusting_anything();
    assert_eq!(
        client.certificate(world.narthex.https, ENDED),
        world.ended.der
    );
    world.narthex.until_log("is not passed on: it ends here");
    assert_eq!(world.raw.seen().len(), 0);
}

#[test]
fn plain_http_of_the_host_is_sent_to_https_unless_the_annotation_says_otherwise() {
    let stays = passing("stays", "stays.example", "web")
        .annotation("nginx.ingress.kubernetes.io/ssl-redirect", "false");
    let world = world(&[FLAG], &[stays.yaml()]);
    let response = world.narthex.get(PASSED, "/x");
    assert_eq!(response.status, 308);
    let location = response.header("location").unwrap_or_default();
    assert!(location.starts_with("https://pass.example"), "{location}");
    assert_eq!(world.narthex.backend("stays.example", "/"), "web");
}

#[test]
fn a_request_for_the_host_in_another_hosts_tls_is_misdirected() {
    let world = world(&[FLAG], &[]);
    let client = Client::trusting_anything();
    let (mut conn, _) = client.connect(world.narthex.https, ENDED).expect("TLS");
    assert_eq!(conn.get(PASSED, "/").status, 421);
}

#[test]
fn the_backend_is_told_of_the_client_by_the_proxy_protocol_if_its_service_wants_it() {
    let told = TcpBackend::named("told");
    let annotated = service_speaking(
        "told",
        "tcp",
        &[("proxy-protocol", "v1")],
        &[told.address()],
    );
    let world = world(
        &[FLAG],
        &[annotated, passing("told", "told.example", "told").yaml()],
    );
    let hello = hello(&[sni("told.example")], 16384);
    let mut socket = connect(world.narthex.https);
    let client = socket.local_addr().expect("connected");
    std::io::Write::write_all(&mut socket, &hello).expect("taken");
    let line = format!(
        "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n",
        client.port(),
        world.narthex.https
    );
    let expected = [line.as_bytes(), &hello].concat();
    until("all of it has come", || {
        let seen = told.seen();
        seen.first().is_some_and(|seen| *seen == expected)
    });
}

#[test]
fn a_changed_annotation_changes_where_tls_ends() {
    let world = world(&[FLAG], &[]);
    let client = Client::trusting_anything();
    let port = world.narthex.https;
    let shows = |host: &str, certificate: &Certificate| {
        let shaken = client.connect(port, host);
        shaken.is_ok_and(|(_, shaken)| shaken.certificate == certificate.der)
    };
    assert!(shows(PASSED, &world.own));
    let extra = Ingress::named("extra")
        .annotation(ANNOTATION, "true")
        .host("late.example")
        .prefix("/", "secure");
    world.folder.write("extra.yaml", &extra.yaml());
    until("the new host is passed on", || {
        shows("late.example", &world.own)
    });
    world.folder.remove("extra.yaml");
    until("it is not any more", || !shows("late.example", &world.own));
    assert!(shows(PASSED, &world.own));
}

#[test]
fn explain_says_whose_tls_is_passed_on() {
    let world = world(&[FLAG], &[]);
    let folder = world.folder.path().to_string_lossy().into_owned();
    let said = run(&["explain", FLAG, &folder, "https://pass.example/"]).said();
    assert!(said.contains("passed on as it is"), "{said}");
    assert!(said.contains("Ingress default/secure"), "{said}");
}
