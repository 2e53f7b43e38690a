//! TCPRoutes and TLSRoutes that end TLS: who is told what, and how connections end.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::time::{Duration, Instant};

use program_tests::balancing::dead;
use program_tests::certificate::Authority;
use program_tests::gateway::{gateway, route};
use program_tests::h2_backend::server_config;
use program_tests::tcp::{TcpBackend, connect, exchange, is_over};
use program_tests::tls::Client;
use program_tests::{
    Certificate, Conn, Folder, Narthex, docs, eventually, ports, secret, service, until,
};

/// A Gateway `gw` with one listener of TCP, and one that ends TLS.
struct World {
    narthex: Narthex,
    _folder: Folder,
    tcp: u16,
    tls: u16,
}

const HOST: &str = "end.example";

/// TCPRoute and TLSRoute lead to the Service `tcp`, which the documents have.
fn world(documents: &[String], flags: &[&str]) -> World {
    let (tcp, tls) = (ports::free(), ports::free());
    let listeners = [
        format!("{{name: tcp, port: {tcp}, protocol: TCP}}"),
        format!(
            "{{name: tls, port: {tls}, protocol: TLS, hostname: {HOST}, \
             tls: {{mode: Terminate, certificateRefs: [{{name: tls}}]}}}}"
        ),
    ];
    let rule = "{backendRefs: [{name: tcp, port: 80}]}";
    let parent = |section: &str| format!("parentRefs: [{{name: gw, sectionName: {section}}}]");
    let hosts = format!("{}\n  hostnames: [{HOST}]", parent("tls"));
    let mut all = vec![
        gateway("gw", &listeners),
        secret("tls", &Certificate::of(&[HOST])),
        route("TCPRoute", "tcp", &parent("tcp"), &[rule]),
        route("TLSRoute", "tls", &hosts, &[rule]),
    ];
    all.extend(documents.iter().cloned());
    let folder = Folder::new();
    folder.write("site.yaml", &docs(&all));
    World {
        narthex: Narthex::on(&folder).args(flags).start(),
        _folder: folder,
        tcp,
        tls,
    }
}

fn annotated(service: &str, name: &str, value: &str) -> String {
    service.replacen(
        "  namespace: default\n",
        &format!("  namespace: default\n  annotations: {{narthex.dev/{name}: {value:?}}}\n"),
        1,
    )
}

#[test]
fn either_side_may_end_first_and_still_hears_the_other() {
    let backend = TcpBackend::named("bye");
    let world = world(&[service("tcp", &[backend.address()])], &[]);
    let mut client = connect(world.tcp);
    exchange(&mut client, &vec![7; 300_000]);
    client.shutdown(Shutdown::Write).expect("open");
    let mut rest = String::new();
    client.read_to_string(&mut rest).expect("an end");
    assert_eq!(rest, "bye");
    until("the backend's is over, too", || backend.open() == 0);

    // A backend that ends first, and goes on listening.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let world = self::world(&[service("tcp", &[address])], &[]);
    let mut client = connect(world.tcp);
    client.write_all(b"hello").expect("taken");
    let (mut socket, _) = listener.accept().expect("a connection");
    socket.write_all(b"all I have").expect("taken");
    socket.shutdown(Shutdown::Write).expect("open");
    let mut all = String::new();
    client.read_to_string(&mut all).expect("an end");
    assert_eq!(all, "all I have");
    client.write_all(b" and more").expect("taken");
    client.shutdown(Shutdown::Write).expect("open");
    let mut all = String::new();
    socket.read_to_string(&mut all).expect("an end");
    assert_eq!(all, "hello and more");
}

#[test]
fn the_proxy_protocol_is_understood_from_load_balancers_and_spoken_to_backends() {
    let backend = TcpBackend::named("bye");
    let told = annotated(
        &service("tcp", &[backend.address()]),
        "proxy-protocol",
        "v1",
    );
    let flags = ["--proxy-protocol", "--trusted-proxies=127.0.0.0/8"];
    let world = world(&[told], &flags);
    let mut client = connect(world.tcp);
    client
        .write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 80\r\nhello")
        .expect("taken");
    let expected = format!(
        "PROXY TCP4 192.0.2.7 127.0.0.1 12345 {}\r\nhello",
        world.tcp
    );
    let mut back = vec![0; expected.len()];
    client.read_exact(&mut back).expect("it comes back");
    assert_eq!(String::from_utf8_lossy(&back), expected);
    drop(client);
    let line = eventually("a line", || world.narthex.access_log().pop());
    assert_eq!(line["client"], "192.0.2.7", "{line}");
    // Who does not say for whom it speaks is nobody's load balancer.
    let mut client = connect(world.tcp);
    client.write_all(b"hello\r\n").expect("taken");
    assert!(is_over(&mut client));
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn without_the_flag_a_proxy_header_is_bytes_as_any_other() {
    let backend = TcpBackend::named("bye");
    let world = world(&[service("tcp", &[backend.address()])], &[]);
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 80\r\n";
    exchange(&mut connect(world.tcp), header);
}

#[test]
fn silence_ends_a_connection_and_bytes_of_either_side_keep_it() {
    let backend = TcpBackend::named("bye");
    let flags = ["--tunnel-idle-timeout=6s"];
    let world = world(&[service("tcp", &[backend.address()])], &flags);
    let (mut silent, mut busy) = (connect(world.tcp), connect(world.tcp));
    exchange(&mut silent, b"x");
    let begun = Instant::now();
    // Longer than the silence that ends one.
    while begun.elapsed() < Duration::from_secs(9) {
        exchange(&mut busy, b"x");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(is_over(&mut silent));
    exchange(&mut busy, b"x");
    let reason = || {
        let mut lines = world.narthex.access_log().into_iter();
        lines.find(|line| line["reason"] == "idle_timeout")
    };
    eventually("it is logged", reason);
    until("the backend's is over, too", || backend.open() == 1);
}

#[test]
fn connections_are_limited_in_all_of_one_client_and_to_one_backend() {
    let backend = TcpBackend::named("bye");
    let limited = annotated(&service("tcp", &[backend.address()]), "max-requests", "2");
    for (documents, flags) in [
        (service("tcp", &[backend.address()]), "--max-connections=2"),
        (
            service("tcp", &[backend.address()]),
            "--max-connections-per-client=2",
        ),
        (limited, "--workers=2"),
    ] {
        until("nobody is there yet", || backend.open() == 0);
        let world = world(&[documents], &[flags]);
        let mut held: Vec<_> = (0..2).map(|_| connect(world.tcp)).collect();
        for one in &mut held {
            exchange(one, b"x");
        }
        for _ in 0..3 {
            let mut late = connect(world.tcp);
            let _ = late.write_all(b"x");
            assert!(is_over(&mut late), "{flags}");
        }
        for one in &mut held {
            exchange(one, b"y");
        }
        drop(held.pop());
        // Whoever goes makes room.
        let mut next = eventually("there is room", || {
            let mut next = connect(world.tcp);
            next.write_all(b"z").ok()?;
            next.read_exact(&mut [0]).ok().map(|()| next)
        });
        exchange(&mut next, b"x");
    }
}

/// What `BackendTLSPolicy` says of the Service `tcp`.
fn policy(authority: &Authority) -> String {
    let authorities = authority.config_map("ca");
    format!(
        "{authorities}---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {{name: tcp}}
spec:
  targetRefs: [{{group: '', kind: Service, name: tcp}}]
  validation:
    caCertificateRefs: [{{group: '', kind: ConfigMap, name: ca}}]
    hostname: inner.example
"
    )
}

/// The connection is to be kept: closing it with something unread would reset it.
#[must_use]
fn speak_tls(world: &World, text: &[u8]) -> Conn {
    let client = Client::trusting_anything().alpn(&["h2", "http/1.1"]);
    let socket = connect(world.tls);
    let (mut conn, handshake) = client.connect_over(socket, HOST).expect("a handshake");
    assert_eq!(handshake.alpn, None, "nothing is chosen for what is inside");
    conn.send(text);
    conn
}

#[test]
fn tls_to_the_backend_of_what_is_passed_on_offers_no_protocol() {
    let authority = Authority::new();
    let certificate = authority.ecdsa(&["inner.example"]);
    // One that would choose if it were offered anything.
    let config = server_config(&certificate, &["h2", "http/1.1", "acme"]);
    let backend = TcpBackend::secure("bye", config);
    let documents = [service("tcp", &[backend.address()]), policy(&authority)];
    let world = world(&documents, &[]);
    exchange(&mut connect(world.tcp), b"by TCPRoute");
    let _open = speak_tls(&world, b"by TLSRoute");
    until("both have come", || {
        backend.seen().iter().any(|seen| seen == b"by TLSRoute")
    });
    assert_eq!(backend.seen()[0], b"by TCPRoute");
    for hello in backend.hellos() {
        assert_eq!(hello.server_name.as_deref(), Some("inner.example"));
        assert!(hello.alpn.is_empty(), "{:?}", hello.alpn);
    }
    assert_eq!(backend.hellos().len(), 2);
}

#[test]
fn what_the_service_says_of_http_is_nothing_to_connections() {
    let backend = TcpBackend::named("bye");
    let service = service("tcp", &[backend.address()]).replacen(
        "targetPort: 8080",
        "targetPort: 8080\n      appProtocol: https",
        1,
    );
    let world = world(&[service], &[]);
    exchange(&mut connect(world.tcp), b"in the clear");
    let _open = speak_tls(&world, b"ended here");
    until("it has come", || {
        backend.seen().iter().any(|seen| seen == b"ended here")
    });
}

#[test]
fn an_endpoint_that_refuses_is_followed_by_another() {
    let gone = dead();
    let refusing = gone.address();
    let backend = TcpBackend::named("bye");
    let world = world(&[service("tcp", &[refusing, backend.address()])], &[]);
    for _ in 0..20 {
        exchange(&mut connect(world.tcp), b"x");
    }
}
