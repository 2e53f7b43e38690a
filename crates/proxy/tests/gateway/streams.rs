//! Connections that are passed on byte for byte.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::policy::ProxyHeader;
use model::{Policy, Service, Stream, Target};

use crate::support::*;

/// Says its name, then sends back what it gets until its client ends, and then `bye`.
fn echo(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut socket = socket;
                let _ = socket.write_all(name.as_bytes());
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(count @ 1..) = socket.read(&mut buffer) {
                    if socket.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                }
                let _ = socket.write_all(b"bye");
            });
        }
    });
    address
}

fn connect(at: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(at).expect("connects");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    socket.set_write_timeout(Some(PATIENCE)).expect("a limit");
    socket
}

fn tcp(endpoints: &[SocketAddr], idle: Duration) -> Service {
    Service::Tcp(route(&backend("default/tcp:80", endpoints), idle))
}

#[test]
fn bytes_go_both_ways_and_either_side_may_end_first() {
    let plane = Plane::new();
    let at = plane.serve(tcp(&[echo("hi")], Duration::ZERO));
    let mut socket = connect(at);
    let mut hello = [0; 2];
    // The backend speaks first.
    socket.read_exact(&mut hello).expect("a greeting");
    assert_eq!(&hello, b"hi");
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut writer = socket.try_clone().expect("a hold");
    let writing = {
        let sent = sent.clone();
        std::thread::spawn(move || {
            writer.write_all(&sent).expect("it is taken");
            // We have said all, and go on listening.
            writer.shutdown(Shutdown::Write).expect("open");
        })
    };
    let mut all = Vec::new();
    socket.read_to_end(&mut all).expect("all of it");
    writing.join().expect("no panic");
    assert!(
        all.strip_suffix(b"bye") == Some(&sent),
        "{} bytes",
        all.len()
    );
}

#[test]
fn an_endpoint_that_refuses_is_followed_by_another() {
    let plane = Plane::new();
    let at = plane.serve(tcp(&[nobody(), echo("hi"), nobody()], Duration::ZERO));
    for _ in 0..20 {
        let mut hello = [0; 2];
        connect(at).read_exact(&mut hello).expect("a greeting");
    }
}

/// How a connection ended that nobody takes.
fn ending(at: SocketAddr) -> std::io::Result<usize> {
    let mut socket = connect(at);
    // It may have been reset already, which is told once.
    socket.write_all(b"x")?;
    socket.read(&mut [0; 1])
}

#[test]
fn where_nobody_is_connections_are_closed() {
    let plane = Plane::new();
    let invalid = Arc::new(Stream {
        split: Some(split(vec![share(1, Target::Invalid)])),
        ..stream_to_nobody()
    });
    let services = [
        tcp(&[], Duration::ZERO),
        tcp(&[nobody()], Duration::ZERO),
        Service::Tcp(invalid),
        Service::Tcp(Arc::new(stream_to_nobody())),
    ];
    for (index, service) in services.into_iter().enumerate() {
        let at = plane.serve(service);
        let end = ending(at);
        let reset = end.as_ref().is_err_and(|error| {
            matches!(
                error.kind(),
                std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
            )
        });
        assert!(reset, "{index}: {end:?}");
    }
}

fn stream_to_nobody() -> Stream {
    Stream {
        route: "default/route".into(),
        field: "".into(),
        split: None,
        connect: Duration::ZERO,
        idle: Duration::ZERO,
        tries: None,
        within: std::time::Duration::ZERO,
        announced: false,
        announces: None,
    }
}

#[test]
fn connections_are_spread_by_weight() {
    let plane = Plane::new();
    let target = |name| Target::Backend(backend("default/tcp:80", &[echo(name)]));
    let shares = vec![share(3, target("a")), share(1, target("b"))];
    let stream = Stream {
        split: Some(split(shares)),
        ..stream_to_nobody()
    };
    let at = plane.serve(Service::Tcp(Arc::new(stream)));
    let mut of_a = 0;
    for _ in 0..400 {
        let mut name = [0];
        connect(at).read_exact(&mut name).expect("a greeting");
        of_a += u32::from(name[0] == b'a');
    }
    // 300, within six standard deviations.
    assert!((248..=352).contains(&of_a), "{of_a} of 400");
}

#[test]
fn silence_ends_a_connection_and_bytes_keep_it() {
    let plane = Plane::new();
    let idle = Duration::from_secs(6);
    let at = plane.serve(tcp(&[echo("")], idle));
    let (mut silent, mut busy) = (connect(at), connect(at));
    let begin = Instant::now();
    while begin.elapsed() < idle + idle / 2 {
        busy.write_all(b"x").expect("it is open");
        busy.read_exact(&mut [0]).expect("it is open");
        std::thread::sleep(Duration::from_millis(50));
    }
    let end = silent.read(&mut [0]);
    assert!(!matches!(end, Ok(1..)), "{end:?}");
}

#[test]
fn an_endpoint_is_told_of_the_client() {
    let listener = TcpListener::bind((LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    let policy = Policy {
        proxy_header: Some(ProxyHeader::V1),
        ..Policy::default()
    };
    let told = backend_with("default/tcp:80", &[address], policy);
    let plane = Plane::new();
    let at = plane.serve(Service::Tcp(route(&told, Duration::ZERO)));
    let mut client = connect(at);
    let own = client.local_addr().expect("bound");
    client.write_all(b"hello").expect("taken");
    let (mut socket, _) = listener.accept().expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let expected = format!(
        "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\nhello",
        own.port(),
        at.port()
    );
    let mut read = vec![0; expected.len()];
    socket.read_exact(&mut read).expect("all of it");
    assert_eq!(String::from_utf8_lossy(&read), expected);
}

#[test]
fn a_backend_that_resets_has_its_client_see_it() {
    let listener = TcpListener::bind((LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    let plane = Plane::new();
    let at = plane.serve(tcp(&[address], Duration::ZERO));
    let mut client = connect(at);
    client.write_all(b"hello").expect("taken");
    let (socket, _) = listener.accept().expect("a connection");
    // With what it was sent unread, its close is a reset.
    std::thread::sleep(Duration::from_millis(100));
    drop(socket);
    let end = client.read(&mut [0]);
    assert!(end.is_err(), "{end:?}");
}
