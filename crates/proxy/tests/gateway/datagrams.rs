//! Datagrams that are passed on.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use model::{Entrance, Layer, Service, Stream, Target};
use narthex_proxy::{Limits, Settings};

use crate::support::*;

/// Sends each datagram back with its name and its client's port before it.
fn echo(name: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind((LOCALHOST, 0)).expect("a port");
    let address = socket.local_addr().expect("bound");
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            let prefix = format!("{name} {} ", from.port());
            let _ = socket.send_to(&[prefix.as_bytes(), &buffer[..count]].concat(), from);
        }
    });
    address
}

fn udp(endpoints: &[SocketAddr], idle: Duration) -> Service {
    Service::Udp(route(&backend("default/udp:53", endpoints), idle))
}

fn client(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((LOCALHOST, 0)).expect("a port");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    // Answers from any other address are not heard.
    socket.connect(to).expect("an address");
    socket
}

fn ask(socket: &UdpSocket, text: &str) -> String {
    socket.send(text.as_bytes()).expect("sent");
    hear(socket).expect("an answer")
}

fn hear(socket: &UdpSocket) -> Option<String> {
    let mut buffer = vec![0; 64 * 1024];
    let count = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

#[test]
fn each_client_has_a_session_of_its_own() {
    let plane = Plane::new();
    let at = plane.serve(udp(&[echo("a")], Duration::ZERO));
    let clients: Vec<_> = (0..20).map(|_| client(at)).collect();
    let mut ports = BTreeSet::new();
    for round in 0..3 {
        for (index, client) in clients.iter().enumerate() {
            let text = format!("{round} {index}");
            let answer = ask(client, &text);
            let (port, rest) = answer[2..].split_once(' ').expect("a port");
            assert_eq!(rest, text);
            ports.insert(port.to_owned());
        }
    }
    assert_eq!(ports.len(), clients.len(), "a client keeps its socket");
}

#[test]
fn large_and_empty_datagrams_pass() {
    let plane = Plane::new();
    let at = plane.serve(udp(&[echo("a")], Duration::ZERO));
    let client = client(at);
    for length in [0, 1, 1400, 9000, 60_000] {
        let answer = ask(&client, &"x".repeat(length));
        assert!(answer.ends_with(&"x".repeat(length)), "{length}");
        assert_eq!(answer.split(' ').nth(2).map(str::len), Some(length));
    }
}

#[test]
fn many_datagrams_at_once_all_come_back() {
    let plane = Plane::new();
    let at = plane.serve(udp(&[echo("a")], Duration::ZERO));
    let client = client(at);
    let mut back = BTreeSet::new();
    // As many as wait in a socket's queue.
    for round in 0..20 {
        for index in 0..20 {
            client
                .send(format!("{round}-{index}").as_bytes())
                .expect("sent");
        }
        for _ in 0..20 {
            let answer = hear(&client).expect("an answer");
            let text = answer.rsplit(' ').next().expect("a text");
            back.insert(text.to_owned());
        }
    }
    assert_eq!(back.len(), 400);
}

#[test]
fn answers_come_from_the_address_that_was_asked() {
    // Bound to all addresses; a client knows one of them.
    let any = IpAddr::from([0, 0, 0, 0]);
    let plane = Plane::new();
    let entrance = Entrance {
        address: Some(any),
        ..free(Layer::Udp)
    };
    let listening = plane.publish(vec![(entrance, udp(&[echo("a")], Duration::ZERO))]);
    assert_eq!(listening.failed.len(), 0);
    for address in [[127, 0, 0, 1], [127, 0, 0, 7]] {
        let client = client(SocketAddr::new(address.into(), entrance.port));
        assert!(ask(&client, "x").ends_with(" x"));
    }
}

#[test]
fn clients_are_spread_by_weight_and_stay() {
    let plane = Plane::new();
    let target = |name| Target::Backend(backend("default/udp:53", &[echo(name)]));
    let stream = Stream {
        route: "default/route".into(),
        field: "".into(),
        split: Some(split(vec![share(3, target("a")), share(1, target("b"))])),
        connect: Duration::ZERO,
        idle: Duration::ZERO,
        tries: None,
        within: std::time::Duration::ZERO,
        announced: false,
        announces: None,
    };
    let at = plane.serve(Service::Udp(Arc::new(stream)));
    let mut of_a = 0;
    for _ in 0..200 {
        let client = client(at);
        let first = ask(&client, "x")[..1].to_owned();
        assert_eq!(ask(&client, "y")[..1], first);
        of_a += u32::from(first == "a");
    }
    // 150, within six standard deviations.
    assert!((113..=187).contains(&of_a), "{of_a} of 200");
}

#[test]
fn an_endpoint_that_is_not_there_is_not_asked_for_ever() {
    let plane = Plane::new();
    // Nobody is there, nor will be.
    let refused = SocketAddr::new(LOCALHOST, free(Layer::Udp).port);
    let at = plane.serve(udp(&[refused, echo("a")], Duration::ZERO));
    let client = client(at);
    client
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("a limit");
    let answer = eventually(|| {
        client.send(b"x").expect("sent");
        hear(&client)
    });
    assert!(answer.ends_with(" x"), "{answer}");
}

#[test]
fn there_are_no_more_sessions_than_may_be() {
    let settings = Settings {
        limits: Limits {
            udp_sessions: 3,
            ..Limits::default()
        },
        ..Settings::default()
    };
    let plane = Plane::with(settings);
    let idle = Duration::from_secs(8);
    let at = plane.serve(udp(&[echo("a")], idle));
    let clients: Vec<_> = (0..3).map(|_| client(at)).collect();
    for client in &clients {
        assert!(ask(client, "x").ends_with(" x"));
    }
    let late = client(at);
    late.set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a limit");
    late.send(b"x").expect("sent");
    assert_eq!(hear(&late), None);
    // Silent ones make room.
    let answer = eventually(|| {
        late.send(b"y").expect("sent");
        hear(&late)
    });
    assert!(answer.ends_with(" y"));
}

#[test]
fn a_client_moves_when_its_endpoint_is_gone() {
    let plane = Plane::new();
    let (one, two) = (echo("a"), echo("b"));
    let entrance = free(Layer::Udp);
    plane.publish(vec![(entrance, udp(&[one], Duration::ZERO))]);
    let client = client(SocketAddr::new(LOCALHOST, entrance.port));
    assert!(ask(&client, "x").starts_with('a'));
    plane.publish(vec![(entrance, udp(&[two], Duration::ZERO))]);
    eventually(|| {
        std::thread::sleep(Duration::from_millis(100));
        ask(&client, "x").starts_with('b').then_some(())
    });
}
