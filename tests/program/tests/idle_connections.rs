//! Many connections that were used once and are kept: what they cost, and that they still work.

use std::io::{ErrorKind, Read, Write};

use program_tests::tls::Client;
use program_tests::{HOST, Site, allow_open_files, http1};

const REQUEST: &str = "GET /once HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// For longer than opening them takes on any machine.
const KEPT: [&str; 1] = ["--keep-alive-timeout=10m"];

/// Asks once, and reads until the answer's body has begun to come.
fn ask(io: &mut (impl Read + Write)) {
    io.write_all(REQUEST.as_bytes()).expect("it takes bytes");
    let mut room = [0; 8192];
    let mut seen = 0;
    while !room[..seen].ends_with(b"}") {
        let count = match io.read(&mut room[seen..]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.expect("an answer"),
        };
        assert!(count > 0, "closed: {}", String::from_utf8_lossy(&room));
        seen += count;
    }
    assert!(room.starts_with(b"HTTP/1.1 200 "), "an answer");
}

/// What each of `count` connections costs the program in bytes, once they have done their work.
fn cost<T: Read + Write>(site: &Site, count: usize, open: impl Fn() -> T) -> u64 {
    // The first ones make pools and caches.
    for _ in 0..100 {
        ask(&mut open());
    }
    let (before, _) = site.narthex.memory();
    let mut idle: Vec<T> = (0..count)
        .map(|_| {
            let mut io = open();
            ask(&mut io);
            io
        })
        .collect();
    let (after, _) = site.narthex.memory();
    // They were held, not dropped.
    let some = count / 50;
    for io in idle.iter_mut().step_by(50).take(some) {
        ask(io);
    }
    after.saturating_sub(before) / count as u64
}

#[test]
fn fifteen_thousand_idle_connections_cost_less_than_20_kb_each() {
    allow_open_files(16_000);
    let site = Site::with_flags(&KEPT);
    let address = ([127, 0, 0, 1], site.narthex.http).into();
    let cost = cost(&site, 15_000, || {
        http1::dial(address).expect("the listener accepts")
    });
    println!("{cost} bytes a connection");
    assert!(cost < 20_000, "{cost} bytes a connection");
}

#[test]
fn idle_tls_connections_cost_less_than_40_kb_each() {
    allow_open_files(8_000);
    let (site, ..) = Site::secure(&KEPT);
    let client = Client::trusting_anything();
    let cost = cost(&site, 1_500, || {
        let (conn, _) = client
            .connect(site.narthex.https, HOST)
            .expect("a handshake");
        conn
    });
    println!("{cost} bytes a connection");
    assert!(cost < 40_000, "{cost} bytes a connection");
}
