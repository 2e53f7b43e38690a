//! XBackends: hosts outside, by name, behind routes of every kind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use program_tests::certificate::Authority;
use program_tests::gateway::{gateway, route};
use program_tests::grpc::{self, Server};
use program_tests::h2_backend::{Behaviour, echo, server_config};
use program_tests::{
    Backend, Certificate, Conn, Folder, H2Backend, Narthex, Response, docs, eventually, ports, run,
    secret, services, until,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::Value;

const HOST: &str = "a.example";

/// These names stand for this machine, which is not allowed without the flag.
const LOCAL: &str = "--allow-local-external-names";

/// An XBackend for `localhost`, with more of its spec.
fn outside(name: &str, address: SocketAddr, more: &str) -> String {
    outside_in("default", name, address, more)
}

fn outside_in(namespace: &str, name: &str, address: SocketAddr, more: &str) -> String {
    format!(
        "apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  type: ExternalHostname
  port: {{port: {}}}
  externalHostname: {{hostname: localhost}}
  {more}
",
        address.port()
    )
}

/// A reference to one.
fn to(name: &str) -> String {
    format!("{{group: gateway.networking.x-k8s.io, kind: XBackend, name: {name}}}")
}

fn rule(name: &str) -> String {
    format!("{{backendRefs: [{}]}}", to(name))
}

/// A Gateway `gw` with one listener, and what else there is.
struct World {
    narthex: Narthex,
    folder: Folder,
    port: u16,
}

impl World {
    fn of(protocol: &str, documents: &[String], flags: &[&str]) -> Self {
        let port = ports::free();
        let listener = format!("{{name: it, port: {port}, protocol: {protocol}}}");
        let mut all = vec![gateway("gw", &[listener])];
        all.extend(documents.iter().cloned());
        let folder = Folder::new();
        folder.write("site.yaml", &docs(&all));
        Self {
            narthex: Narthex::on(&folder).args(flags).start(),
            folder,
            port,
        }
    }

    fn http(kind: &str, backend: &str, rule: &str) -> Self {
        let route = route(kind, "r", "parentRefs: [{name: gw}]", &[rule]);
        Self::of("HTTP", &[backend.to_owned(), route], &[LOCAL])
    }

    fn get(&self, path: &str) -> Response {
        Conn::plain(self.port).get(HOST, path)
    }

    /// What is answered once the name is resolved.
    fn resolved(&self, path: &str) -> Response {
        eventually("the name is resolved", || {
            Some(self.get(path)).filter(|answer| answer.status != 503)
        })
    }
}

/// The reason of a condition of an object at its one parent, as `check` says it.
fn reason(folder: &Folder, object: &str, condition: &str) -> String {
    let path = folder.path().display().to_string();
    let checked = run(&["check", "--output=json", &path]);
    let checked: Value = serde_json::from_str(&checked.stdout).expect("JSON");
    let objects = checked["objects"].as_array().expect("objects").iter();
    let name = |it: &Value| format!("{}/{}", text(&it["kind"]), text(&it["metadata"]["name"]));
    let found = objects.clone().find(|it| name(it) == object);
    let found = found.unwrap_or_else(|| panic!("no {object} in {checked:#}"));
    let conditions = found["status"]["parents"][0]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let found = conditions.find(|it| it["type"] == condition);
    found.map_or_else(String::new, |it| text(&it["reason"]).to_owned())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn a_host_outside_is_served_by_its_name() {
    let web = Backend::named("web");
    let world = World::http(
        "HTTPRoute",
        &outside("api", web.address(), ""),
        &rule("api"),
    );
    assert_eq!(world.resolved("/x").backend(), "web");
    let line = world.narthex.access("/x");
    let name = format!("default/XBackend/api:{}", web.address().port());
    assert_eq!(line["backend"], name);
    assert_eq!(
        reason(&world.folder, "HTTPRoute/r", "ResolvedRefs"),
        "ResolvedRefs"
    );
    let (status, said) = world
        .narthex
        .admin_get("/api/objects?kind=XBackend")
        .expect("an answer");
    assert_eq!(status, 200, "{said}");
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let parent = &said["items"][0]["status"]["parents"][0];
    assert_eq!(parent["parentRef"]["name"], "gw", "{said}");
    assert_eq!(parent["conditions"][0]["type"], "Accepted", "{said}");
    assert_eq!(parent["conditions"][0]["status"], "True", "{said}");
}

#[test]
fn a_name_that_stands_for_this_machine_is_not_connected_to() {
    let web = Backend::named("web");
    let documents = [
        outside("api", web.address(), ""),
        route(
            "HTTPRoute",
            "r",
            "parentRefs: [{name: gw}]",
            &[&rule("api")],
        ),
    ];
    let world = World::of("HTTP", &documents, &[]);
    assert_eq!(world.get("/x").status, 503);
    world.narthex.access("/x");
    assert_eq!(world.get("/y").status, 503);
    assert_eq!(web.connections(), 0);
}

#[test]
fn what_it_says_is_spoken() {
    let h2 = H2Backend::echo();
    for protocol in ["H2C", "HTTP2"] {
        let backend = outside("api", h2.address(), &format!("protocol: {protocol}"));
        let world = World::http("HTTPRoute", &backend, &rule("api"));
        assert_eq!(world.resolved("/").echo().version, "HTTP/2", "{protocol}");
    }
    let http1 = Backend::named("web");
    for protocol in ["HTTP", "HTTP11"] {
        let backend = outside("api", http1.address(), &format!("protocol: {protocol}"));
        let world = World::http("HTTPRoute", &backend, &rule("api"));
        assert_eq!(world.resolved("/").backend(), "web", "{protocol}");
    }
}

#[test]
fn grpc_is_spoken_for_a_route_of_grpc() {
    let server = Server::start();
    let world = World::http(
        "GRPCRoute",
        &outside("api", server.address, ""),
        &rule("api"),
    );
    until("the name is resolved", || {
        grpc::client(world.port, HOST, false, &["empty_unary"]).code == Some(0)
    });
    grpc::succeeds(world.port, HOST, false, &["large_unary", "ping_pong"]);
}

fn validated(mode: &str, name: &str, more: &str) -> String {
    format!(
        "tls: {{mode: {mode}, validation: {{hostname: {name}, caCertificateRefs: [{{group: '', kind: \
         ConfigMap, name: ca}}]}}{more}}}"
    )
}

#[test]
fn its_certificate_is_verified_for_the_name_that_it_says() {
    let authority = Authority::new();
    let backend = H2Backend::secure(&authority.ecdsa(&["api.example"]), &["h2", "http/1.1"]);
    let world = |name: &str| {
        let tls = validated("ServerOnly", name, "");
        let documents = [
            authority.config_map("ca"),
            outside("api", backend.address(), &tls),
            route(
                "HTTPRoute",
                "r",
                "parentRefs: [{name: gw}]",
                &[&rule("api")],
            ),
        ];
        World::of("HTTP", &documents, &[LOCAL])
    };
    let right = world("api.example");
    assert_eq!(right.resolved("/").echo().version, "HTTP/2");
    assert_eq!(backend.server_names(), ["api.example"]);
    let wrong = world("other.example");
    assert_eq!(wrong.resolved("/").status, 502);
}

/// A server's settings that ask for a certificate of an authority.
fn asking(certificate: &Certificate, authority: &Authority) -> Arc<ServerConfig> {
    let plain = server_config(certificate, &["http/1.1"]);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der.clone()).expect("an authority");
    let provider = Arc::clone(plain.crypto_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let chain = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(chain, key);
    Arc::new(config.expect("a certificate with its key"))
}

#[test]
fn it_is_shown_a_certificate_where_both_are_to_be_known() {
    let authority = Authority::new();
    let behaviour = Behaviour {
        tls: Some(asking(&authority.ecdsa(&["api.example"]), &authority)),
        ..Behaviour::default()
    };
    let backend = H2Backend::with(behaviour, |asked| echo("api", asked));
    let own = secret("own", &authority.ecdsa(&["narthex.example"]));
    let world = |tls: &str| {
        let documents = [
            authority.config_map("ca"),
            own.clone(),
            outside("api", backend.address(), tls),
            route(
                "HTTPRoute",
                "r",
                "parentRefs: [{name: gw}]",
                &[&rule("api")],
            ),
        ];
        World::of("HTTP", &documents, &[LOCAL])
    };
    let shown = ", clientCertificateRef: {name: own}";
    let both = world(&validated("ClientAndServer", "api.example", shown));
    assert_eq!(both.resolved("/").status, 200);
    let one = world(&validated("ServerOnly", "api.example", ""));
    assert_eq!(one.resolved("/").status, 502);
    let none = ", clientCertificateRef: {name: nothing}";
    let missing = world(&validated("ClientAndServer", "api.example", none));
    assert_eq!(missing.get("/").status, 500);
    let why = reason(&missing.folder, "XBackend/api", "ResolvedRefs");
    assert_eq!(why, "InvalidCertificateRef");
    let why = reason(&missing.folder, "HTTPRoute/r", "ResolvedRefs");
    assert_eq!(why, "BackendNotFound");
}

/// Sends back what comes.
fn repeating() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &socket, &mut &socket));
        }
    });
    address
}

#[test]
fn connections_are_passed_on_to_it() {
    let route = |kind: &str, more: &str| {
        let more = format!("parentRefs: [{{name: gw}}]{more}");
        route(kind, "r", &more, &[&rule("api")])
    };
    let backend = outside("api", repeating(), "protocol: TCP");
    let world = World::of("TCP", &[backend, route("TCPRoute", "")], &[LOCAL]);
    until("the name is resolved", || {
        let mut socket = TcpStream::connect(("127.0.0.1", world.port)).expect("open");
        let limit = Some(Duration::from_secs(20));
        socket.set_read_timeout(limit).expect("a limit");
        let mut bytes = [0; 5];
        socket.write_all(b"hello").is_ok()
            && socket.read_exact(&mut bytes).is_ok()
            && bytes == *b"hello"
    });

    let secure = H2Backend::secure(&Certificate::of(&[HOST]), &["http/1.1"]);
    let backend = outside("api", secure.address(), "");
    let passed = route("TLSRoute", "\n  hostnames: [a.example]");
    let world = World::of(
        "TLS, tls: {mode: Passthrough}",
        &[backend, passed],
        &[LOCAL],
    );
    let client = program_tests::tls::Client::trusting_anything().alpn(&["http/1.1"]);
    let mut conn = eventually("the name is resolved", || {
        client.connect(world.port, HOST).ok().map(|(conn, _)| conn)
    });
    assert_eq!(conn.get(HOST, "/").status, 200);
    assert_eq!(secure.server_names().last().map(String::as_str), Some(HOST));
}

#[test]
fn copies_and_questions_go_there_too() {
    let (web, copy) = (Backend::named("web"), Backend::named("copy"));
    let asked = Backend::answering(
        "asked",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    );
    let mirror = format!(
        "{{matches: [{{path: {{value: /copied}}}}], filters: [{{type: RequestMirror, requestMirror: \
         {{backendRef: {}}}}}], backendRefs: [{{name: web, port: 80}}]}}",
        to("copy")
    );
    let auth = format!(
        "{{matches: [{{path: {{value: /asked}}}}], filters: [{{type: ExternalAuth, externalAuth: \
         {{protocol: HTTP, backendRef: {}, http: {{path: /auth}}}}}}], backendRefs: [{{name: web, \
         port: 80}}]}}",
        to("asked")
    );
    let mut documents = vec![
        outside("copy", copy.address(), ""),
        outside("asked", asked.address(), ""),
        route(
            "HTTPRoute",
            "r",
            "parentRefs: [{name: gw}]",
            &[&mirror, &auth],
        ),
    ];
    documents.extend(services(&[("web", &web)]));
    let world = World::of("HTTP", &documents, &[LOCAL]);
    until("a copy", || {
        assert_eq!(world.get("/copied").backend(), "web");
        copy.connections() > 0
    });
    until("somebody is asked", || world.get("/asked").status == 403);
    assert!(asked.connections() > 0);
}

#[test]
fn anothers_is_led_to_only_by_leave() {
    let web = Backend::named("web");
    let reference = "{backendRefs: [{group: gateway.networking.x-k8s.io, kind: XBackend, name: api, \
                     namespace: other}]}";
    let documents = [
        outside_in("other", "api", web.address(), ""),
        route("HTTPRoute", "r", "parentRefs: [{name: gw}]", &[reference]),
    ];
    let world = World::of("HTTP", &documents, &[LOCAL]);
    assert_eq!(world.get("/").status, 500);
    assert_eq!(
        reason(&world.folder, "HTTPRoute/r", "ResolvedRefs"),
        "RefNotPermitted"
    );
    world.folder.write(
        "grant.yaml",
        "apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: may, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: gateway.networking.x-k8s.io, kind: XBackend}]
",
    );
    until("it is allowed", || world.get("/").status == 200);
    world.folder.remove("grant.yaml");
    until("it is not any more", || world.get("/").status == 500);
}

#[test]
fn what_cannot_be_served_is_refused_by_name() {
    let web = Backend::named("web");
    let both = "tls: {mode: ServerOnly}";
    for (kind, protocol, more, expected, words) in [
        (
            "HTTPRoute",
            "HTTP",
            "protocol: MCP",
            "UnsupportedProtocol",
            "MCP",
        ),
        (
            "HTTPRoute",
            "HTTP",
            "protocol: TCP",
            "UnsupportedProtocol",
            "speaks TCP",
        ),
        (
            "GRPCRoute",
            "HTTP",
            "protocol: HTTP11",
            "UnsupportedProtocol",
            "gRPC",
        ),
        ("UDPRoute", "UDP", "", "UnsupportedProtocol", "UDP"),
        ("TCPRoute", "TCP", both, "UnsupportedValue", "spec.tls"),
    ] {
        let documents = [
            gateway(
                "gw",
                &[format!(
                    "{{name: it, port: {}, protocol: {protocol}}}",
                    ports::free()
                )],
            ),
            outside("api", web.address(), more),
            route(kind, "r", "parentRefs: [{name: gw}]", &[&rule("api")]),
        ];
        let folder = Folder::of(&documents);
        let found = reason(&folder, &format!("{kind}/r"), "ResolvedRefs");
        assert_eq!(found, expected, "{kind} {more}");
        let checked = run(&["check", &folder.path().display().to_string()]);
        assert_eq!(checked.code, Some(1), "{kind} {more}");
        let line = checked.line_with(&format!("error: {kind} default/r"));
        assert!(line.contains(words), "{kind} {more}: {line}");
    }
    let missing = route(
        "HTTPRoute",
        "r",
        "parentRefs: [{name: gw}]",
        &[&rule("none")],
    );
    let listener = format!("{{name: it, port: {}, protocol: HTTP}}", ports::free());
    let folder = Folder::of(&[gateway("gw", &[listener]), missing]);
    assert_eq!(
        reason(&folder, "HTTPRoute/r", "ResolvedRefs"),
        "BackendNotFound"
    );
}

#[test]
fn names_and_addresses_of_the_inside_are_refused() {
    for host in ["10.0.0.1", "web.default.svc.cluster.local"] {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let inside = outside("api", address, "").replace("localhost", host);
        let folder = Folder::of(&[inside]);
        let checked = run(&["check", &folder.path().display().to_string()]);
        assert_eq!(checked.code, Some(1), "{host}: {}", checked.said());
        let line = checked.line_with("XBackend default/api");
        assert!(line.contains("spec.externalHostname.hostname"), "{line}");
    }
}

#[test]
fn another_host_is_led_to_when_it_says_another() {
    let (old, new) = (Backend::named("old"), Backend::named("new"));
    let world = World::http(
        "HTTPRoute",
        &outside("api", old.address(), ""),
        &rule("api"),
    );
    assert_eq!(world.resolved("/").backend(), "old");
    let listener = format!("{{name: it, port: {}, protocol: HTTP}}", world.port);
    let documents = [
        gateway("gw", &[listener]),
        outside("api", new.address(), ""),
        route(
            "HTTPRoute",
            "r",
            "parentRefs: [{name: gw}]",
            &[&rule("api")],
        ),
    ];
    world.folder.write("site.yaml", &docs(&documents));
    until("the other one answers", || {
        let answer = world.get("/");
        answer.status == 200 && answer.backend() == "new"
    });
}
