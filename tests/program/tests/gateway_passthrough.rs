//! TLS that is passed on as it is: whatever a ClientHello looks like, its server name decides.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use program_tests::client_hello::{ech, extension, hello, sni};
use program_tests::gateway::{gateway, route};
use program_tests::h2_backend::server_config;
use program_tests::tcp::{TcpBackend, connect, exchange, is_over};
use program_tests::{
    Backend, Certificate, Folder, Narthex, docs, eventually, ports, secret, service, services,
    until,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

const PASSED: &str = "x.pass.example";
const ENDED: &str = "end.example";

/// Passthrough and HTTPS on one port.
struct World {
    narthex: Narthex,
    _folder: Folder,
    port: u16,
    secure: TcpBackend,
    raw: TcpBackend,
    _web: Backend,
}

fn world(flags: &[&str]) -> World {
    let port = ports::free();
    let listeners = [
        format!(
            "{{name: https, port: {port}, protocol: HTTPS, hostname: {ENDED}, \
             tls: {{certificateRefs: [{{name: tls}}]}}}}"
        ),
        format!(
            "{{name: pass, port: {port}, protocol: TLS, hostname: '*.pass.example', \
             tls: {{mode: Passthrough}}}}"
        ),
    ];
    let web = Backend::named("web");
    let certificate = Certificate::of(&[PASSED]);
    let secure = TcpBackend::secure("secure", server_config(&certificate, &[]));
    let raw = TcpBackend::named("raw");
    let to = |name: &str, host: &str| {
        route(
            "TLSRoute",
            name,
            &format!("parentRefs: [{{name: gw}}]\n  hostnames: [{host}]"),
            &[&format!("{{backendRefs: [{{name: {name}, port: 80}}]}}")],
        )
    };
    let mut documents = vec![
        gateway("gw", &listeners),
        secret("tls", &Certificate::of(&[ENDED])),
        route(
            "HTTPRoute",
            "web",
            "parentRefs: [{name: gw}]",
            &["{backendRefs: [{name: web, port: 80}]}"],
        ),
        to("secure", PASSED),
        to("raw", "raw.pass.example"),
        service("secure", &[secure.address()]),
        service("raw", &[raw.address()]),
    ];
    documents.extend(services(&[("web", &web)]));
    let folder = Folder::new();
    folder.write("site.yaml", &docs(&documents));
    World {
        narthex: Narthex::on(&folder).args(flags).start(),
        _folder: folder,
        port,
        secure,
        raw,
        _web: web,
    }
}

/// A client with post-quantum key shares, and so many bytes of ALPN, which nobody chooses from.
fn client(alpn: usize) -> Arc<ClientConfig> {
    let mut config = program_tests::tls::Client::post_quantum().config;
    let names = (0..alpn / 250).map(|index| format!("{index:0>249}").into_bytes());
    config.alpn_protocols = names.collect();
    Arc::new(config)
}

/// The ClientHello, and what goes on with the handshake.
fn begin(config: &Arc<ClientConfig>, host: &str) -> (Vec<u8>, ClientConnection) {
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    let mut tls = ClientConnection::new(Arc::clone(config), name).expect("a client");
    let mut hello = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut hello).expect("memory");
    }
    (hello, tls)
}

/// A whole handshake whose ClientHello comes in pieces, and an exchange through it.
fn shake_hands(world: &World, hello: &[u8], tls: ClientConnection, piece: usize) {
    let mut socket = connect(world.port);
    for (index, part) in hello.chunks(piece).enumerate() {
        socket.write_all(part).expect("taken");
        // Now and then long enough that all of it is read before the next.
        if index % 64 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let mut stream = StreamOwned::new(tls, socket);
    exchange(&mut stream, b"through TLS");
}

#[test]
fn hellos_of_any_size_and_in_any_pieces_come_to_their_backend() {
    let world = world(&[]);
    for alpn in [0, 15_000, 25_000, 55_000] {
        let config = client(alpn);
        for piece in [1 << 20, 5000, 1400] {
            let (hello, tls) = begin(&config, PASSED);
            assert!(hello.len() > alpn + 1200, "{} bytes", hello.len());
            shake_hands(&world, &hello, tls, piece);
        }
    }
    // Byte by byte.
    for alpn in [0, 17_000] {
        let (hello, tls) = begin(&client(alpn), PASSED);
        shake_hands(&world, &hello, tls, 1);
    }
    let hellos = world.secure.hellos();
    assert_eq!(hellos.len(), 14);
    let right = |hello: &program_tests::tcp::Hello| hello.server_name.as_deref() == Some(PASSED);
    assert!(hellos.iter().all(right));
}

#[test]
fn where_tls_ends_on_the_same_port_hellos_in_pieces_are_understood_too() {
    let world = world(&[]);
    let mut config = client(0).as_ref().clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    for piece in [1 << 20, 100, 1] {
        let (hello, tls) = begin(&config, ENDED);
        let mut socket = connect(world.port);
        for part in hello.chunks(piece) {
            socket.write_all(part).expect("taken");
        }
        let kept = socket.try_clone().expect("a descriptor");
        let stream = StreamOwned::new(tls, socket);
        let mut conn = program_tests::Conn::over(Box::new(stream), kept);
        assert_eq!(conn.get(ENDED, "/").backend(), "web");
    }
    // Of a name that is nobody's, the client is told so; and that a port speaks no plain HTTP.
    let client = program_tests::tls::Client::trusting_anything();
    let error = client.connect(world.port, "nobody.example").err();
    assert!(
        format!("{error:?}").contains("UnrecognisedName"),
        "{error:?}"
    );
    let mut plain = program_tests::Conn::plain(world.port);
    assert_eq!(plain.get(ENDED, "/").status, 400);
}

#[test]
fn what_rustls_would_refuse_goes_on_byte_for_byte() {
    let world = world(&[]);
    let host = sni("raw.pass.example");
    for (index, (extensions, record)) in [
        // Neither signature_algorithms nor supported_groups, as before TLS 1.2.
        (vec![host.clone()], 16384),
        // An encrypted ClientHello, whose outer name counts.
        (vec![ech(), host.clone()], 16384),
        // What nobody knows; and records of a byte each.
        (vec![extension(0x2a2a, &[1; 500]), host.clone()], 1),
        (vec![extension(21, &[0; 40_000]), host], 1000),
    ]
    .into_iter()
    .enumerate()
    {
        let hello = hello(&extensions, record);
        let mut socket = connect(world.port);
        // The backend sends it back.
        exchange(&mut socket, &hello);
        let seen = eventually("it has come", || world.raw.seen().get(index).cloned());
        assert!(seen == hello, "{index}: byte for byte");
    }
}

#[test]
fn what_names_nobody_for_certain_is_closed_and_counted() {
    let world = world(&[]);
    let failures = || {
        let metrics = world.narthex.metrics();
        let name = "narthex_tls_handshake_failures_total ";
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|count| count.parse::<u32>().ok())
            .expect("a count")
    };
    let two = [sni("raw.pass.example"), sni(PASSED)];
    for (count, bytes) in [
        hello(&two, 16384),
        hello(&[sni("raw.other.example")], 16384),
        hello(&[], 16384),
        // More than 64 KiB: in crumbs, and as its length says.
        hello(&[extension(21, &[0; 20_000]), sni("raw.pass.example")], 1),
        [&[22, 3, 1, 0, 4, 1, 1, 0, 0][..], &[0; 100]].concat(),
        [
            &[22, 3, 1, 0, 0][..],
            &hello(&[sni("raw.pass.example")], 100),
        ]
        .concat(),
    ]
    .into_iter()
    .enumerate()
    {
        let mut socket = connect(world.port);
        // It may have been closed before it was all sent.
        let _ = socket.write_all(&bytes);
        assert!(is_over(&mut socket), "{count}");
        until("it is counted", || failures() as usize == count + 1);
    }
    assert_eq!(world.raw.seen().len(), 0);
}

#[test]
fn the_limits_of_size_and_time_are_flags() {
    let flags = ["--max-client-hello=2KiB", "--tls-handshake-timeout=8s"];
    let world = world(&flags);
    let padded = |length| {
        hello(
            &[extension(21, &vec![0; length]), sni("raw.pass.example")],
            512,
        )
    };
    exchange(&mut connect(world.port), &padded(1500));
    let mut large = connect(world.port);
    let _ = large.write_all(&padded(2500));
    assert!(is_over(&mut large));
    let mut slow = connect(world.port);
    let bytes = padded(100);
    slow.write_all(&bytes[..bytes.len() - 1]).expect("taken");
    assert!(is_over(&mut slow), "it was not complete in time");
    assert_eq!(world.raw.seen().len(), 1);
}
