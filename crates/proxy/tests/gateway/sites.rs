//! Whose business a request or a connection is.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use model::{
    Action, Certificate, CertificateSet, CertificateTable, Conditions, FieldMatch, HostTable,
    HttpSites, HttpsSite, Pattern, Rule, Service, TlsSite, TlsSites, TlsStreams, ValueMatch,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::support::*;

fn answering(name: &'static str) -> Vec<Rule> {
    let server = Server::named(name);
    vec![rule(Action::Forward(backend(
        "default/web:80",
        &[server.address],
    )))]
}

#[test]
fn a_request_is_the_business_of_the_closest_listener_alone() {
    let mut gateways = HostTable::default();
    gateways.insert("a.example", site(answering("exact")));
    gateways.insert(".example", site(answering("wildcard")));
    let plane = Plane::new();
    let at = plane.serve(Service::Http(Arc::new(HttpSites {
        gateways,
        ingress: None,
    })));
    for (host, expected) in [
        ("a.example", Some("exact")),
        ("A.example:8080", Some("exact")),
        ("b.example", Some("wildcard")),
        ("x.b.example", Some("wildcard")),
        ("example", None),
        ("other.org", None),
    ] {
        let response = get(at, "/", &[&format!("Host: {host}")]);
        match expected {
            Some(name) => assert_eq!(response.body, name, "{host}"),
            None => assert_eq!(response.status, 404, "{host}"),
        }
    }
}

#[test]
fn conditions_decide_between_rules_of_one_path() {
    let field = |name: &str, value| FieldMatch {
        name: name.into(),
        value,
    };
    let exact = |value: &str| ValueMatch::Exact(value.into());
    let when = |conditions, name| {
        let mut rules = answering(name);
        rules[0].conditions = Some(Box::new(conditions));
        rules.remove(0)
    };
    let plane = Plane::new();
    let at = plane.serve(http(vec![
        when(
            Conditions {
                method: Some("PUT".into()),
                ..Conditions::default()
            },
            "method",
        ),
        when(
            Conditions {
                headers: [field("x-a", exact("1,2"))].into(),
                ..Conditions::default()
            },
            "header",
        ),
        when(
            Conditions {
                query: [field(
                    "q",
                    ValueMatch::Pattern(Pattern::whole("a+").expect("good")),
                )]
                .into(),
                ..Conditions::default()
            },
            "query",
        ),
        when(
            Conditions {
                headers: [field("host", exact("named.example"))].into(),
                ..Conditions::default()
            },
            "host",
        ),
        answering("none").remove(0),
    ]));
    assert_eq!(ask(at, "PUT", "/", &[], b"x").body, "method");
    assert_eq!(get(at, "/", &["X-A: 1", "x-a: 2"]).body, "header");
    assert_eq!(get(at, "/", &["X-A: 1"]).body, "none");
    assert_eq!(get(at, "/?x=1&q=aaa", &[]).body, "query");
    assert_eq!(get(at, "/?q=ab", &[]).body, "none");
    assert_eq!(get(at, "/", &["Host: named.example"]).body, "host");
}

fn certificates() -> Arc<CertificateTable> {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["example".to_owned()]).expect("a name");
    let der = params.self_signed(&key).expect("signed").der().clone();
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let signer = any_supported_type(&private).expect("a kind that is known");
    let certificate = Arc::new(Certificate {
        key: Arc::new(CertifiedKey::new(vec![der], signer)),
        source: "test".into(),
        not_after: 0,
        staple: model::Staple::default(),
    });
    Arc::new(CertificateTable {
        hosts: HostTable::default(),
        default: Arc::new(CertificateSet {
            certificates: [certificate].into(),
            used: None,
            suites: None,
        }),
    })
}

fn https(rules: Vec<Rule>) -> Arc<TlsSite> {
    Arc::new(TlsSite::Https(HttpsSite {
        site: site(rules),
        certificates: certificates(),
        clients: None,
    }))
}

fn tls(gateways: Vec<(&str, Arc<TlsSite>)>) -> Service {
    let mut table = HostTable::default();
    for (host, site) in gateways {
        table.insert(host, site);
    }
    Service::Tls(Arc::new(TlsSites {
        gateways: table,
        ..TlsSites::default()
    }))
}

/// Believes every certificate.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn connect(at: SocketAddr, name: &str) -> StreamOwned<ClientConnection, TcpStream> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting))
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let socket = TcpStream::connect(at).expect("connects");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    StreamOwned::new(client, socket)
}

fn get_tls(at: SocketAddr, name: &str, host: &str) -> Response {
    let mut stream = connect(at, name);
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("taken");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    response(&answer)
}

#[test]
fn a_request_for_another_listeners_host_belongs_on_another_connection() {
    let plane = Plane::new();
    let mut limited = HostTable::default();
    let rules = answering("any").into_iter().map(Arc::new).collect();
    let host = model::VirtualHost::new("example.org".into(), rules, None, 0);
    limited.insert("example.org", Arc::new(host));
    let any = model::Site {
        hosts: Arc::new(limited),
        ..Arc::try_unwrap(site(vec![])).expect("nobody else has it")
    };
    let any = Arc::new(TlsSite::Https(HttpsSite {
        site: Arc::new(any),
        certificates: certificates(),
        clients: None,
    }));
    let at = plane.serve(tls(vec![
        ("", any),
        ("second-example.org", https(answering("second"))),
        (".wildcard.org", https(answering("third"))),
        ("fourth-example.wildcard.org", https(answering("fourth"))),
    ]));
    // The cases of the conformance suite.
    for (name, host, expected) in [
        ("example.org", "example.org", (200, "any")),
        ("example.org", "second-example.org", (421, "")),
        ("example.org", "unknown-example.org", (404, "")),
        ("second-example.org", "second-example.org", (200, "second")),
        ("second-example.org", "example.org", (421, "")),
        ("second-example.org", "unknown-example.org", (421, "")),
        (
            "third-example.wildcard.org",
            "third-example.wildcard.org",
            (200, "third"),
        ),
        (
            "third-example.wildcard.org",
            "fith-example.wildcard.org",
            (200, "third"),
        ),
        (
            "third-example.wildcard.org",
            "fourth-example.wildcard.org",
            (421, ""),
        ),
        (
            "third-example.wildcard.org",
            "second-example.org",
            (421, ""),
        ),
        (
            "third-example.wildcard.org",
            "unknown-example.org",
            (421, ""),
        ),
        (
            "fourth-example.wildcard.org",
            "fourth-example.wildcard.org",
            (200, "fourth"),
        ),
        (
            "fourth-example.wildcard.org",
            "fith-example.wildcard.org",
            (421, ""),
        ),
        ("unknown-example.org", "example.org", (200, "any")),
        ("unknown-example.org", "unknown-example.org", (404, "")),
    ] {
        let response = get_tls(at, name, host);
        assert_eq!(response.status, expected.0, "{name} {host}");
        if expected.0 == 200 {
            assert_eq!(response.body, expected.1, "{name} {host}");
        }
    }
}

#[test]
fn one_port_ends_tls_for_some_names_and_passes_it_on_for_others() {
    // A backend that ends TLS itself.
    let inner = Plane::new();
    let inside = inner.serve(tls(vec![("", https(answering("inside")))]));
    let plain = Server::named("plain");
    let table = |name: &str, to: SocketAddr| {
        let mut streams = HostTable::default();
        let to = backend("default/tls:443", &[to]);
        streams.insert(name, route(&to, Duration::ZERO));
        streams
    };
    let plane = Plane::new();
    let at = plane.serve(tls(vec![
        ("http.example", https(answering("http"))),
        (
            "stream.example",
            Arc::new(TlsSite::Tcp(TlsStreams {
                streams: table("stream.example", plain.address),
                certificates: certificates(),
                clients: None,
            })),
        ),
        (
            ".pass.example",
            Arc::new(TlsSite::Passthrough(table("a.pass.example", inside))),
        ),
    ]));
    assert_eq!(get_tls(at, "http.example", "http.example").body, "http");
    assert_eq!(get_tls(at, "stream.example", "x").body, "plain");
    assert_eq!(
        plain.seen()[0].field("x-forwarded-for"),
        None,
        "byte for byte"
    );
    assert_eq!(
        get_tls(at, "a.pass.example", "a.pass.example").body,
        "inside"
    );
    // Who would have passed it on says nothing of its own in TLS.
    for (name, is_told) in [("b.pass.example", false), ("other.example", true)] {
        let mut stream = connect(at, name);
        let refused = stream.write_all(b"x").and_then(|()| stream.read(&mut [0]));
        let error = refused.expect_err("nothing is served by that name");
        let told = format!("{error:?}").contains("ecogni");
        assert_eq!(told, is_told, "{name}: {error:?}");
    }
}

#[test]
fn a_hello_in_many_pieces_is_passed_on_whole() {
    let inner = Plane::new();
    let inside = inner.serve(tls(vec![("", https(answering("inside")))]));
    let mut streams = HostTable::default();
    let to = backend("default/tls:443", &[inside]);
    streams.insert("", route(&to, Duration::ZERO));
    let plane = Plane::new();
    let at = plane.serve(tls(vec![("", Arc::new(TlsSite::Passthrough(streams)))]));
    let mut stream = connect(at, "a.example");
    let mut hello = Vec::new();
    stream.conn.write_tls(&mut hello).expect("memory");
    stream.sock.set_nodelay(true).expect("open");
    for piece in hello.chunks(40) {
        stream.sock.write_all(piece).expect("taken");
        std::thread::sleep(Duration::from_millis(2));
    }
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        .expect("taken");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    assert_eq!(response(&answer).body, "inside");
}
