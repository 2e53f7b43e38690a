//! The harness itself, without the program: clients and backends understand each other.

use program_tests::tls::Client;
use program_tests::websocket::WebSocket;
use program_tests::{Backend, Certificate, Conn, Folder, Ingress, Load, Then, class, curl, docs};

#[test]
fn a_client_reads_what_a_backend_echoes() {
    let web = Backend::named("web");
    let mut conn = Conn::to(web.address()).expect("accepts");
    for body in ["", "hello"] {
        let answer = conn.ask(&format!(
            "POST /x HTTP/1.1\r\nHost: a\r\nX-CaSe: 1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let echo = answer.echo();
        assert_eq!((echo.backend.as_str(), echo.body.as_str()), ("web", body));
        assert!(echo.headers.contains(&("X-CaSe".into(), "1".into())));
    }
    let chunked = "POST /y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n";
    let echo = conn.ask(chunked).echo();
    assert_eq!((echo.body.as_str(), echo.body_length), ("abc", 3));
    assert_eq!(echo.trailers, [("X-Sum".to_owned(), "1".to_owned())]);
    assert_eq!((web.seen().len(), web.connections()), (3, 1));
    assert!(
        conn.ask("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            .body
            .is_empty()
    );
}

#[test]
fn a_client_reads_chunks_trailers_and_interim_responses() {
    let web = Backend::scripted("web", |exchange| {
        exchange.send(
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\
             Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
        )?;
        Ok(Then::Keep)
    });
    let answer = Conn::to(web.address()).expect("accepts").get("a", "/");
    assert_eq!(answer.text(), "abc");
    assert_eq!(answer.informational[0].0, 103);
    assert_eq!(answer.trailers.len(), 1);
}

#[test]
fn a_websocket_echoes() {
    let web = Backend::named("web");
    let mut socket = WebSocket::open(Conn::to(web.address()).expect("accepts"), "a", "/");
    socket.echo("hello");
    socket.echo(&"x".repeat(70_000));
}

#[test]
fn curl_runs() {
    let web = Backend::named("web");
    let answer = curl(&[&format!("http://{}/x", web.address())]);
    assert_eq!(
        (answer.code, answer.status, answer.version.as_str()),
        (0, 200, "1.1")
    );
    assert!(answer.text.contains("\"target\":\"/x\""));
}

#[test]
fn load_counts_every_request() {
    let web = Backend::named("web");
    let load = Load::start(web.address().port(), 4, "a", "/", |answer| {
        answer.backend() == "web"
    });
    load.until_more(100);
    let outcome = load.stop();
    outcome.assert_perfect();
    assert!(outcome.good >= 100);
}

#[test]
fn load_counts_failures_and_ends_when_refused() {
    let web = Backend::named("web");
    let port = web.address().port();
    let load = Load::start(port, 2, "a", "/", |answer| answer.status == 500);
    program_tests::eventually("failures", || (load.failures() > 3).then_some(()));
    load.expect_refusal();
    drop(web);
    assert!(!load.join().failures.is_empty());
}

#[test]
fn manifests_are_what_kubernetes_reads() {
    let ingress = Ingress::named("x")
        .created("2024-01-01T00:00:00Z")
        .annotation("a.example/b", "c: \"d\"")
        .default_backend("fallback")
        .tls(&["a.example"], "tls")
        .host("a.example")
        .prefix("/", "web")
        .prefix_to_number("/n", "web", 80)
        .any_host()
        .pathless("web");
    let expected = "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: x
  namespace: default
  creationTimestamp: \"2024-01-01T00:00:00Z\"
  annotations:
    a.example/b: \"c: \\\"d\\\"\"
spec:
  ingressClassName: narthex
  defaultBackend:
    service:
      name: fallback
      port:
        name: http
  tls:
    - hosts: [\"a.example\"]
      secretName: tls
  rules:
    - host: \"a.example\"
      http:
        paths:
          - pathType: Prefix
            path: \"/\"
            backend:
              service:
                name: web
                port:
                  name: http
          - pathType: Prefix
            path: \"/n\"
            backend:
              service:
                name: web
                port:
                  number: 80
    - http:
        paths:
          - pathType: ImplementationSpecific
            backend:
              service:
                name: web
                port:
                  name: http
";
    assert_eq!(ingress.yaml(), expected);
    let folder = Folder::of(&[class(), ingress.yaml()]);
    let text = std::fs::read_to_string(folder.file("site.yaml")).expect("written");
    assert_eq!(text, docs(&[class(), ingress.yaml()]));
}

#[test]
fn certificates_of_every_kind_are_made() {
    let authority = program_tests::certificate::Authority::new();
    for certificate in [
        authority.ecdsa(&["a.example"]),
        authority.rsa(&["a.example"]),
        Certificate::of(&["*.a.example"]),
        Certificate::expired(&["a.example"]),
    ] {
        assert!(certificate.chain_pem.contains("BEGIN CERTIFICATE"));
        assert!(certificate.key_pem.contains("PRIVATE KEY"));
    }
    Client::able_only("RSA");
    Client::able_only("ECDSA").alpn(&["h2"]).without_sni();
}
