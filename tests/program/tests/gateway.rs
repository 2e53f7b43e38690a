//! Gateway API from a folder: what a route says is what happens.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use program_tests::gateway::{gateway, route};
use program_tests::{
    Backend, Certificate, Conn, Folder, Ingress, Narthex, Response, Then, class, docs, eventually,
    ports, secret, services,
};

const HOST: &str = "a.example";

/// A Gateway `gw` with one HTTP listener, and backends behind routes.
struct World {
    narthex: Narthex,
    folder: Folder,
    port: u16,
    backends: Vec<Backend>,
}

fn world(backends: Vec<Backend>, names: &[&str], routes: &[String]) -> World {
    let port = ports::free();
    let listener = format!("{{name: http, port: {port}, protocol: HTTP}}");
    let mut documents = vec![gateway("gw", &[listener])];
    let named: Vec<_> = names.iter().copied().zip(&backends).collect();
    documents.extend(services(&named));
    documents.extend(routes.iter().cloned());
    let folder = Folder::new();
    folder.write("site.yaml", &docs(&documents));
    World {
        narthex: Narthex::on(&folder).start(),
        folder,
        port,
        backends,
    }
}

fn one(rules: &[&str]) -> World {
    let route = route("HTTPRoute", "r", "parentRefs: [{name: gw}]", rules);
    world(vec![Backend::named("web")], &["web"], &[route])
}

impl World {
    fn ask(&self, path: &str, lines: &str) -> Response {
        Conn::plain(self.port).ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"
        ))
    }
}

#[test]
fn fields_are_changed_on_the_way_there_and_back() {
    let world = one(&[
        "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Set, value: new}], \
         add: [{name: X-Add, value: b}], remove: [X-Gone]}}, {type: ResponseHeaderModifier, \
         responseHeaderModifier: {set: [{name: Content-Type, value: text/odd}], add: [{name: X-Via, value: us}]}}], \
         backendRefs: [{name: web, port: 80}]}",
    ]);
    let response = world.ask("/", "x-set: old\r\nX-Add: a\r\nx-gone: 1\r\n");
    let echo = response.echo();
    let all = |name: &str| {
        let found = echo
            .headers
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found
            .map(|(_, value)| value.as_str())
            .collect::<Vec<_>>()
            .join(",")
    };
    assert_eq!((all("X-Set"), all("X-Gone")), ("new".into(), String::new()));
    assert_eq!(all("X-Add"), "a,b");
    assert_eq!(
        response.all("Content-Type").collect::<Vec<_>>(),
        ["text/odd"]
    );
    assert_eq!(response.header("X-Via"), Some("us"));
}

#[test]
fn requests_are_redirected_and_rewritten() {
    let world = one(&[
        "{matches: [{path: {value: /old}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https, \
         hostname: b.example, statusCode: 301, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]}",
        "{matches: [{path: {value: /port}}], filters: [{type: RequestRedirect, requestRedirect: {port: 8444}}]}",
        "{matches: [{path: {value: /p}}], filters: [{type: URLRewrite, urlRewrite: {hostname: inner.example, \
         path: {type: ReplacePrefixMatch, replacePrefixMatch: /q}}}], backendRefs: [{name: web, port: 80}]}",
    ]);
    let response = world.ask("/old/x?y=z", "");
    assert_eq!(response.status, 301);
    assert_eq!(
        response.header("Location"),
        Some("https://b.example/new/x?y=z")
    );
    let response = world.ask("/port", "");
    assert_eq!(response.status, 302);
    assert_eq!(
        response.header("Location"),
        Some("http://a.example:8444/port")
    );
    let echo = world.ask("/p/x?y", "").echo();
    assert_eq!(echo.target, "/q/x?y");
    let host = echo.headers.iter().find(|(name, _)| name == "Host");
    assert_eq!(host.map(|(_, value)| value.as_str()), Some("inner.example"));
    assert_eq!(world.ask("/p", "").echo().target, "/q");
    assert_eq!(world.ask("/pq", "").status, 404);
}

#[test]
fn weights_are_kept_and_wrong_references_have_their_share_of_errors() {
    let backends = vec![Backend::named("a"), Backend::named("b")];
    let split = "{backendRefs: [{name: a, port: 80, weight: 3}, {name: b, port: 80}, \
        {name: none, port: 80, weight: 2}, {name: a, port: 80, weight: 0}]}";
    let route = route("HTTPRoute", "r", "parentRefs: [{name: gw}]", &[split]);
    let world = world(backends, &["a", "b"], &[route]);
    let mut conn = Conn::plain(world.port);
    let (mut a, mut b, mut wrong) = (0, 0, 0);
    for _ in 0..600 {
        let response = conn.get(HOST, "/");
        match response.status {
            500 => wrong += 1,
            _ if response.backend() == "a" => a += 1,
            _ => b += 1,
        }
    }
    // Of 600, with six standard deviations.
    assert!((225..=375).contains(&a), "{a} of 300");
    assert!((45..=155).contains(&b), "{b} of 100");
    assert!((130..=270).contains(&wrong), "{wrong} of 200");
    assert_eq!(world.backends.len(), 2);
}

#[test]
fn nobody_behind_a_service_is_503_and_no_service_500() {
    let empty = program_tests::service("empty", &[]);
    let routes = [
        route(
            "HTTPRoute",
            "r",
            "parentRefs: [{name: gw}]",
            &[
                "{matches: [{path: {value: /empty}}], backendRefs: [{name: empty, port: 80}]}",
                "{matches: [{path: {value: /none}}], backendRefs: [{name: none, port: 80}]}",
                "{matches: [{path: {value: /nothing}}]}",
            ],
        ),
        empty,
    ];
    let world = world(Vec::new(), &[], &routes);
    for (path, status) in [
        ("/empty", 503),
        ("/none", 500),
        ("/nothing", 500),
        ("/x", 404),
    ] {
        assert_eq!(world.ask(path, "").status, status, "{path}");
    }
}

#[test]
fn a_mirror_gets_a_copy_and_delays_nobody() {
    let backends = vec![
        Backend::named("web"),
        Backend::scripted("mirror", |exchange| {
            exchange.read_body()?;
            std::thread::sleep(Duration::from_secs(40));
            Ok(Then::Close)
        }),
    ];
    let rule = "{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: mirror, port: 80}}}], \
        backendRefs: [{name: web, port: 80}]}";
    let route = route("HTTPRoute", "r", "parentRefs: [{name: gw}]", &[rule]);
    let world = world(backends, &["web", "mirror"], &[route]);
    let begun = std::time::Instant::now();
    assert_eq!(world.ask("/copied?x", "").backend(), "web");
    let took = begun.elapsed();
    let seen = eventually("the mirror is asked", || {
        world.backends[1].seen().first().cloned()
    });
    assert_eq!(seen.target, "/copied?x");
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn other_origins_are_let_in_as_cors_says() {
    let world = one(&[
        "{filters: [{type: CORS, cors: {allowOrigins: ['https://*.example.com'], allowMethods: [PUT], \
         allowHeaders: [X-One], exposeHeaders: [X-Two], maxAge: 60, allowCredentials: true}}], \
         backendRefs: [{name: web, port: 80}]}",
    ]);
    let preflight = |origin: &str| {
        Conn::plain(world.port).ask(&format!(
            "OPTIONS / HTTP/1.1\r\nHost: {HOST}\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: PUT\r\n\r\n"
        ))
    };
    let allowed = preflight("https://x.example.com");
    assert!(matches!(allowed.status, 200 | 204), "{}", allowed.status);
    let field = |name: &str| allowed.header(name).unwrap_or_default().to_owned();
    assert_eq!(
        field("Access-Control-Allow-Origin"),
        "https://x.example.com"
    );
    assert_eq!(field("Access-Control-Allow-Methods"), "PUT");
    assert_eq!(field("Access-Control-Max-Age"), "60");
    assert_eq!(field("Access-Control-Allow-Credentials"), "true");
    let refused = preflight("https://evil.example");
    assert_eq!(refused.header("Access-Control-Allow-Origin"), None);
    assert!(world.backends[0].seen().is_empty(), "we answer ourselves");
    let actual = world.ask("/", "Origin: https://x.example.com\r\n");
    assert_eq!(
        actual.header("Access-Control-Allow-Origin"),
        Some("https://x.example.com")
    );
    assert_eq!(
        actual.header("Access-Control-Expose-Headers"),
        Some("X-Two")
    );
}

#[test]
fn a_listener_comes_and_goes_without_touching_another() {
    let world = one(&["{backendRefs: [{name: web, port: 80}]}"]);
    let mut kept = Conn::plain(world.port);
    assert_eq!(kept.get(HOST, "/").status, 200);
    let second = ports::free();
    let listeners = [world.port, second]
        .map(|port| format!("{{name: http-{port}, port: {port}, protocol: HTTP}}"));
    let base = docs(&[route(
        "HTTPRoute",
        "r",
        "parentRefs: [{name: gw}]",
        &["{backendRefs: [{name: web, port: 80}]}"],
    )]);
    let site = |listeners: &[String]| {
        let mut documents = vec![gateway("gw", listeners), base.clone()];
        documents.extend(services(&[("web", &world.backends[0])]));
        docs(&documents)
    };
    world.folder.write("site.yaml", &site(&listeners));
    eventually("the second port is open", || {
        TcpStream::connect(("127.0.0.1", second)).ok()
    });
    assert_eq!(Conn::plain(second).get(HOST, "/").status, 200);
    assert_eq!(kept.get(HOST, "/").status, 200);
    world.folder.write("site.yaml", &site(&listeners[..1]));
    eventually("the second port is closed", || {
        match TcpStream::connect(("127.0.0.1", second)) {
            Ok(_) => None,
            Err(_) => Some(()),
        }
    });
    assert_eq!(kept.get(HOST, "/").status, 200);
    assert!(world.narthex.admin_status("/readyz") == Some(200));
}

#[test]
fn on_ingresses_port_the_closer_host_is_served_and_of_two_the_gateways() {
    let port = ports::free();
    let (ours, theirs) = (Backend::named("gateway"), Backend::named("ingress"));
    let listener = format!("{{name: http, port: {port}, protocol: HTTP}}");
    let mut documents = vec![
        class(),
        gateway("gw", &[listener]),
        route(
            "HTTPRoute",
            "r",
            "parentRefs: [{name: gw}]\n  hostnames: ['*.example', both.example]",
            &["{backendRefs: [{name: gateway, port: 80}]}"],
        ),
        Ingress::named("i")
            .host("both.example")
            .prefix("/", "ingress")
            .yaml(),
        Ingress::named("j")
            .host("own.example")
            .prefix("/", "ingress")
            .yaml(),
        Ingress::named("k")
            .host("far.test")
            .prefix("/", "ingress")
            .yaml(),
    ];
    documents.extend(services(&[("gateway", &ours), ("ingress", &theirs)]));
    let folder = Folder::new();
    folder.write("site.yaml", &docs(&documents));
    let _narthex = Narthex::on(&folder).http_port(port).start();
    for (host, backend) in [
        ("x.example", "gateway"),
        ("both.example", "gateway"),
        ("own.example", "ingress"),
        ("far.test", "ingress"),
    ] {
        assert_eq!(
            Conn::plain(port).get(host, "/").backend(),
            backend,
            "{host}"
        );
    }
}

#[test]
fn tls_ends_here_or_goes_on_as_it_is_on_one_port() {
    let port = ports::free();
    let backend = Backend::named("web");
    let certificate = Certificate::of(&["end.example"]);
    // Somebody who only takes note of what comes.
    let (sender, received) = std::sync::mpsc::channel();
    let raw = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = raw.local_addr().expect("bound");
    std::thread::spawn(move || {
        let (mut socket, _) = raw.accept().expect("a connection");
        let mut bytes = [0; 64 * 1024];
        let count = socket.read(&mut bytes).expect("bytes");
        let _ = sender.send(bytes[..count].to_vec());
    });
    let listeners = [
        format!(
            "{{name: https, port: {port}, protocol: HTTPS, hostname: end.example, tls: {{certificateRefs: [{{name: tls}}]}}}}"
        ),
        format!(
            "{{name: pass, port: {port}, protocol: TLS, hostname: '*.pass.example', tls: {{mode: Passthrough}}}}"
        ),
    ];
    let mut documents = vec![
        gateway("gw", &listeners),
        secret("tls", &certificate),
        route(
            "HTTPRoute",
            "r",
            "parentRefs: [{name: gw}]",
            &["{backendRefs: [{name: web, port: 80}]}"],
        ),
        route(
            "TLSRoute",
            "t",
            "parentRefs: [{name: gw}]\n  hostnames: [x.pass.example]",
            &["{backendRefs: [{name: raw, port: 80}]}"],
        ),
        program_tests::service("raw", &[address]),
    ];
    documents.extend(services(&[("web", &backend)]));
    let folder = Folder::new();
    folder.write("site.yaml", &docs(&documents));
    let _narthex = Narthex::on(&folder).start();
    let client = program_tests::tls::Client::trusting_anything();
    let (mut conn, _) = client.connect(port, "end.example").expect("a handshake");
    assert_eq!(conn.get("end.example", "/").backend(), "web");
    assert_eq!(conn.get("x.pass.example", "/").status, 421);
    assert!(
        client.connect(port, "other.example").is_err(),
        "nobody's name"
    );
    // Nobody answers the handshake.
    std::thread::spawn(move || client.connect(port, "x.pass.example").is_ok());
    let hello = received
        .recv_timeout(Duration::from_secs(20))
        .expect("a ClientHello");
    assert_eq!(hello[0], 22, "a TLS record");
    let name = b"x.pass.example";
    assert!(hello.windows(name.len()).any(|part| part == name));
}

#[test]
fn connections_and_datagrams_are_passed_on() {
    let (tcp, udp) = (ports::free(), ports::free());
    let echo = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let tcp_address = echo.local_addr().expect("bound");
    std::thread::spawn(move || {
        for socket in echo.incoming().flatten() {
            std::thread::spawn(move || {
                let (mut from, mut to) = (&socket, &socket);
                let mut all = Vec::new();
                // The client closes its direction first, and still gets an answer.
                let _ = from.read_to_end(&mut all);
                let _ = to.write_all(&all);
            });
        }
    });
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let udp_address = datagrams.local_addr().expect("bound");
    std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((count, from)) = datagrams.recv_from(&mut bytes) {
            let _ = datagrams.send_to(&bytes[..count], from);
        }
    });
    let listeners = [
        format!("{{name: tcp, port: {tcp}, protocol: TCP}}"),
        format!("{{name: udp, port: {udp}, protocol: UDP}}"),
    ];
    let udp_service = program_tests::service("udp", &[udp_address])
        .replace("targetPort: 8080", "protocol: UDP")
        .replace("protocol: TCP", "protocol: UDP");
    let documents = [
        gateway("gw", &listeners),
        route(
            "TCPRoute",
            "t",
            "parentRefs: [{name: gw, sectionName: tcp}]",
            &["{backendRefs: [{name: tcp, port: 80}]}"],
        ),
        route(
            "UDPRoute",
            "u",
            "parentRefs: [{name: gw, sectionName: udp}]",
            &["{backendRefs: [{name: udp, port: 80}]}"],
        ),
        program_tests::service("tcp", &[tcp_address]),
        udp_service,
    ];
    let folder = Folder::new();
    folder.write("site.yaml", &docs(&documents));
    let narthex = Narthex::on(&folder).start();
    let mut socket = TcpStream::connect(("127.0.0.1", tcp)).expect("open");
    socket.write_all(b"hello").expect("sent");
    socket
        .shutdown(std::net::Shutdown::Write)
        .expect("half closed");
    let mut all = String::new();
    socket.read_to_string(&mut all).expect("an answer");
    assert_eq!(all, "hello");
    let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
    client
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a limit");
    for text in ["one", "two"] {
        client
            .send_to(text.as_bytes(), ("127.0.0.1", udp))
            .expect("sent");
        let mut bytes = [0; 64];
        let (count, from) = client.recv_from(&mut bytes).expect("an answer");
        assert_eq!(&bytes[..count], text.as_bytes());
        assert_eq!(from.port(), udp);
    }
    assert_eq!(narthex.admin_status("/readyz"), Some(200));
}

#[test]
fn parameters_of_a_folder_are_checked_and_a_data_plane_of_its_own_means_nothing_there() {
    let port = ports::free();
    let listener = format!("{{name: http, port: {port}, protocol: HTTP}}");
    let reference = "{infrastructure: {parametersRef: {group: '', kind: ConfigMap, name: plane}}, ";
    let plane = |data: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: plane}}\ndata: {{{data}}}\n")
    };
    let web = Backend::named("web");
    let mut documents = vec![gateway("gw", &[listener]).replace(
        "spec: {gatewayClassName",
        &format!("spec: {reference}gatewayClassName"),
    )];
    documents.extend(services(&[("web", &web)]));
    let to_web = "{backendRefs: [{name: web, port: 80}]}";
    documents.push(route(
        "HTTPRoute",
        "r",
        "parentRefs: [{name: gw}]",
        &[to_web],
    ));
    let folder = Folder::new();
    folder.write("site.yaml", &docs(&documents));
    folder.write("plane.yaml", &plane("data-plane: dedicated, replicas: '3'"));
    let narthex = Narthex::on(&folder).start();
    let ask = || {
        Conn::plain(port)
            .ask(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
            .status
    };
    assert_eq!(ask(), 200);
    narthex.until_log("dedicated means nothing without a cluster");
    folder.write("plane.yaml", &plane("replicas: '0', colour: blue"));
    narthex.until_log("replicas is \"0\": write a number from 1 to 100");
    narthex.until_log("colour is no key that is known: write data-plane, replicas");
    eventually("nothing of it is served", || {
        TcpStream::connect(("127.0.0.1", port)).err()
    });
    folder.write("plane.yaml", &plane("service-type: NodePort"));
    eventually("it is served again", || {
        (TcpStream::connect(("127.0.0.1", port)).is_ok() && ask() == 200).then_some(())
    });
}
