//! TLS to backends (`appProtocol: https` and `kubernetes.io/wss`).

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use program_tests::certificate::Authority;
use program_tests::h2_backend::{Behaviour, echo, server_config};
use program_tests::http2::{H2, block_on};
use program_tests::{
    Certificate, Conn, Folder, H2Backend, HOST, Narthex, run, serve_speaking, service_speaking,
    until, websocket,
};

/// The name that the certificate of the Service `default/web` has to have.
const NAME: &str = "web.default.svc";

struct Trusted {
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Trusted {
    fn new() -> Self {
        let authority = Authority::new();
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("ca.pem"), &authority.pem).expect("a file");
        Self { authority, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn flag(&self) -> String {
        format!("--backend-ca-file={}", self.file().display())
    }

    fn serve(&self, backend: &H2Backend, annotations: &[(&str, &str)]) -> (Narthex, Folder) {
        self.serve_as("https", backend, annotations)
    }

    fn serve_as(
        &self,
        app_protocol: &str,
        backend: &H2Backend,
        annotations: &[(&str, &str)],
    ) -> (Narthex, Folder) {
        let flags = [self.flag(), "--workers=1".to_owned()];
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        serve_speaking(app_protocol, annotations, &[backend.address()], &flags)
    }
}

#[test]
fn http2_is_agreed_on_and_the_certificate_verified_for_the_services_name() {
    let trusted = Trusted::new();
    let backend = H2Backend::secure(&trusted.authority.ecdsa(&[NAME]), &["h2", "http/1.1"]);
    let (narthex, _folder) = trusted.serve(&backend, &[]);
    let answer = narthex.get(HOST, "/x?y=1");
    let echo = answer.echo();
    assert_eq!(
        (echo.version.as_str(), echo.target.as_str()),
        ("HTTP/2", "/x?y=1")
    );
    assert_eq!(echo.all(":scheme"), ["https"]);
    assert_eq!(echo.all(":authority"), [HOST], "the host is the client's");
    assert_eq!(narthex.get(HOST, "/").status, 200);
    assert_eq!(backend.server_names(), [NAME]);
    assert_eq!(backend.protocols(), ["h2"]);
    assert_eq!(backend.connections(), 1, "the connection is kept");
    let from_http2 =
        block_on(async { H2::connect(narthex.https, HOST).await.get(HOST, "/z").await });
    assert_eq!(from_http2.expect("an answer").echo().target, "/z");
}

#[test]
fn http1_is_spoken_to_backends_that_prefer_it_and_their_connections_are_kept() {
    for alpn in [&["http/1.1"][..], &[]] {
        let trusted = Trusted::new();
        let backend = H2Backend::secure(&trusted.authority.rsa(&[NAME]), alpn);
        let (narthex, _folder) = trusted.serve(&backend, &[]);
        for path in ["/1", "/2", "/3"] {
            let answer = narthex.get(HOST, path);
            let expected = format!("HTTP/1.1 behind TLS: GET {path} HTTP/1.1");
            assert_eq!((answer.status, answer.text()), (200, expected));
        }
        assert_eq!(backend.connections(), 1, "{alpn:?}: the connection is kept");
    }
}

#[test]
fn many_requests_at_once_find_out_what_a_backend_speaks_by_one_handshake() {
    let trusted = Trusted::new();
    let backend = H2Backend::secure(&trusted.authority.ecdsa(&[NAME]), &["h2"]);
    let (narthex, _folder) = trusted.serve(&backend, &[]);
    let threads: Vec<_> = (0..20)
        .map(|_| {
            let port = narthex.http;
            std::thread::spawn(move || Conn::plain(port).get(HOST, "/").status)
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().expect("no panic"), 200);
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn sessions_are_resumed() {
    let trusted = Trusted::new();
    let backend = H2Backend::secure(&trusted.authority.ecdsa(&[NAME]), &["h2"]);
    let flags = [
        trusted.flag(),
        "--workers=1".to_owned(),
        "--upstream-idle-timeout=100ms".to_owned(),
    ];
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let (narthex, _folder) = serve_speaking("https", &[], &[backend.address()], &flags);
    for _ in 0..3 {
        assert_eq!(narthex.get(HOST, "/").status, 200);
        until("the connection is closed", || {
            backend.open_connections() == 0
        });
    }
    assert_eq!((backend.connections(), backend.resumed()), (3, 2));
}

#[test]
fn a_backend_that_cannot_prove_who_it_is_gets_no_request_and_the_log_says_why() {
    let trusted = Trusted::new();
    let stranger = Authority::new();
    for (what, certificate, reason) in [
        (
            "another name",
            trusted.authority.ecdsa(&["other.default.svc"]),
            "upstream_certificate_name",
        ),
        (
            "another issuer",
            stranger.ecdsa(&[NAME]),
            "upstream_certificate_issuer",
        ),
        ("itself", Certificate::of(&[NAME]), "upstream_certificate_"),
        (
            "no time",
            Certificate::expired(&[NAME]),
            "upstream_certificate_",
        ),
    ] {
        let backend = H2Backend::secure(&certificate, &["h2", "http/1.1"]);
        let (narthex, _folder) = trusted.serve(&backend, &[]);
        assert_eq!(narthex.get(HOST, "/refused").status, 502, "{what}");
        let line = narthex.access("/refused");
        let said = line["reason"].as_str().unwrap_or_default();
        assert!(said.starts_with(reason), "{what}: {line}");
        assert_eq!(backend.streams(), 0, "{what}");
        until(&format!("{what}: {said} is counted"), || {
            narthex.metrics().contains(said)
        });
    }
}

#[test]
fn the_system_is_asked_where_no_file_is_given() {
    let trusted = Trusted::new();
    let backend = H2Backend::secure(&trusted.authority.ecdsa(&[NAME]), &["h2"]);
    let address = [backend.address()];
    let (narthex, _folder) = serve_speaking("https", &[], &address, &[]);
    assert_eq!(narthex.get(HOST, "/refused").status, 502);
    assert_eq!(
        narthex.access("/refused")["reason"],
        "upstream_certificate_issuer"
    );
    drop(narthex);
    // As the system's own list says, wherever it is.
    let ingress = program_tests::Ingress::named("web")
        .host(HOST)
        .prefix("/", "web");
    let service = service_speaking("web", "https", &[], &address);
    let folder = Folder::of(&[program_tests::class(), service, ingress.yaml()]);
    let narthex = Narthex::on(&folder)
        .env("SSL_CERT_FILE", trusted.file())
        .start();
    assert_eq!(narthex.get(HOST, "/").status, 200);
}

#[test]
fn an_annotation_gives_another_name_to_verify() {
    let trusted = Trusted::new();
    let certificate = trusted.authority.ecdsa(&["legacy.example"]);
    let backend = H2Backend::secure(&certificate, &["h2"]);
    let annotations = [("backend-tls-server-name", "legacy.example")];
    let (narthex, _folder) = trusted.serve(&backend, &annotations);
    assert_eq!(narthex.get(HOST, "/").status, 200);
    assert_eq!(backend.server_names(), ["legacy.example"]);
}

#[test]
fn verification_can_be_switched_off_for_a_service_and_check_warns_of_it() {
    let trusted = Trusted::new();
    let backend = H2Backend::secure(&Certificate::expired(&["nobody"]), &["h2"]);
    let (narthex, folder) = trusted.serve(&backend, &[("backend-tls-verify", "off")]);
    assert_eq!(narthex.get(HOST, "/").status, 200);
    let ended = run(&["check", folder.path().to_str().expect("text")]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.said().contains("backend-tls-verify"),
        "{}",
        ended.said()
    );
    // Switched on again, what was trusted blindly is trusted no more: not by a connection that is
    // open, nor by a session that could be resumed.
    let ingress = program_tests::Ingress::named("web")
        .host(HOST)
        .prefix("/", "web");
    let verified = service_speaking("web", "https", &[], &[backend.address()]);
    folder.write(
        "site.yaml",
        &program_tests::docs(&[verified, ingress.yaml()]),
    );
    narthex.until_backend(HOST, "/after", "502");
}

#[test]
fn a_backend_without_tls_is_a_clear_error() {
    let trusted = Trusted::new();
    let plain = program_tests::RawBackend::start(|peer| {
        peer.tcp.read_exact(&mut [0; 5])?;
        peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    });
    let flag = trusted.flag();
    let (narthex, _folder) = serve_speaking("https", &[], &[plain.address()], &[&flag]);
    assert_eq!(narthex.get(HOST, "/refused").status, 502);
    assert_eq!(narthex.access("/refused")["reason"], "upstream_tls_failed");
}

#[test]
fn a_handshake_that_never_ends_is_cut_like_a_connection() {
    let trusted = Trusted::new();
    let silent = program_tests::RawBackend::start(|_| {
        std::thread::sleep(Duration::from_secs(30));
        Ok(())
    });
    let flag = trusted.flag();
    let flags = [flag.as_str(), "--connect-timeout=300ms"];
    let (narthex, _folder) = serve_speaking("https", &[], &[silent.address()], &flags);
    assert_eq!(narthex.get(HOST, "/late").status, 504);
    assert_eq!(narthex.access("/late")["reason"], "connect_timeout");
}

#[test]
fn websockets_work_over_tls_whatever_else_the_backend_speaks() {
    for (app_protocol, alpn) in [
        ("kubernetes.io/wss", &["h2", "http/1.1"][..]),
        ("https", &["h2", "http/1.1"]),
        ("https", &[]),
    ] {
        let trusted = Trusted::new();
        let backend = H2Backend::secure(&trusted.authority.ecdsa(&[NAME]), alpn);
        let (narthex, _folder) = trusted.serve_as(app_protocol, &backend, &[]);
        let mut conn = Conn::plain(narthex.http);
        conn.send(format!(
            "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\r\n",
            websocket::KEY
        ));
        let head = conn.try_head().expect("a head");
        assert_eq!(head.status, 101, "{app_protocol} {alpn:?}");
        assert_eq!(head.header("sec-websocket-accept"), Some(websocket::ACCEPT));
        for text in ["hello", "again"] {
            conn.write_all(text.as_bytes()).expect("open");
            let mut back = [0; 5];
            conn.read_exact(&mut back).expect("an echo");
            assert_eq!(&back, text.as_bytes());
        }
        assert!(backend.protocols().iter().all(|protocol| protocol != "h2"));
    }
}

#[test]
fn large_bodies_pass_by_tls_over_either_protocol() {
    let trusted = Trusted::new();
    let certificate = trusted.authority.ecdsa(&[NAME]);
    let behaviour = Behaviour {
        tls: Some(server_config(&certificate, &["h2"])),
        ..Behaviour::default()
    };
    let backend = H2Backend::with(behaviour, |asked| echo("h2", asked));
    let (narthex, _folder) = trusted.serve(&backend, &[]);
    let body: Arc<Vec<u8>> = Arc::new((0..5_000_000u32).map(|at| at.to_le_bytes()[1]).collect());
    let mut conn = Conn::plain(narthex.http);
    conn.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    conn.send(&*body);
    let echo = conn.response().echo();
    let hash = program_tests::backend::Hash::of(program_tests::backend::Hash::START, &body);
    assert_eq!(
        (echo.body_length, echo.body_hash),
        (body.len() as u64, hash)
    );
}

#[test]
fn a_file_that_has_no_certificates_is_refused_at_the_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("ca.pem");
    let manifests = Folder::new();
    for (text, says) in [(None, "No such file"), (Some("nothing"), "no CERTIFICATE")] {
        if let Some(text) = text {
            std::fs::write(&file, text).expect("a file");
        }
        let ended = Narthex::on(&manifests)
            .args(&["--backend-ca-file", file.to_str().expect("text")])
            .fail();
        assert_ne!(ended.code, Some(0));
        assert!(
            ended.said().contains("--backend-ca-file"),
            "{}",
            ended.said()
        );
        assert!(ended.said().contains(says), "{}", ended.said());
    }
}

#[test]
fn an_external_name_is_verified_by_that_name() {
    let trusted = Trusted::new();
    let backend = H2Backend::secure(&trusted.authority.ecdsa(&["localhost"]), &["h2"]);
    let service = format!(
        "apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: default
spec:
  type: ExternalName
  externalName: localhost
  ports:
    - name: http
      port: {}
      appProtocol: https
",
        backend.address().port()
    );
    let ingress = program_tests::Ingress::named("web")
        .host(HOST)
        .prefix("/", "web");
    let flag = trusted.flag();
    let flags = [flag.as_str(), "--allow-local-external-names"];
    let (narthex, _folder) = program_tests::serve_with(&[service, ingress.yaml()], &flags);
    narthex.until_backend(HOST, "/", "h2");
    assert_eq!(backend.server_names()[0], "localhost");
}

#[test]
fn health_checks_use_the_protocol_of_the_requests() {
    let trusted = Trusted::new();
    let secure = H2Backend::secure(&trusted.authority.ecdsa(&[NAME]), &["h2"]);
    let stranger = H2Backend::secure(&Certificate::of(&[NAME]), &["h2"]);
    let flag = trusted.flag();
    let annotations = [
        ("health-check", "http:/healthz"),
        ("health-check-interval", "100ms"),
        // Whoever is well is, however long this machine holds it up.
        ("health-check-timeout", "30s"),
    ];
    let addresses = [secure.address(), stranger.address()];
    let (narthex, _folder) = serve_speaking("https", &annotations, &addresses, &[&flag]);
    until("the one that cannot prove who it is is left out", || {
        narthex.log().contains(&stranger.address().to_string())
    });
    assert!(
        !narthex.log().contains(&secure.address().to_string()),
        "{}",
        narthex.log()
    );
    until("the other one was asked", || secure.streams() > 1);
    for _ in 0..10 {
        let answer = narthex.get(HOST, "/");
        assert_eq!(answer.status, 200);
    }
    assert!(
        narthex
            .access_log()
            .iter()
            .all(|line| line["attempts"] == 1)
    );
    drop(narthex);

    let clear = H2Backend::echo();
    let addresses = [clear.address()];
    let (narthex, _folder) = serve_speaking("kubernetes.io/h2c", &annotations, &addresses, &[]);
    until("it is asked by HTTP/2", || clear.streams() > 5);
    assert_eq!(narthex.get(HOST, "/").status, 200);
    assert!(!narthex.log().contains("health check"), "{}", narthex.log());
}
