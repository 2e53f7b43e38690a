//! Limits and time-outs: what they are set to, and what happens beyond them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use program_tests::tls::Client;
use program_tests::{
    Backend, Conn, HOST, Ingress, Site, Then, eventually, run, serve_with, service, until,
};

/// Between the steps of something slow that goes on: its limits are four of them, so that a machine
/// that stops for two or three is none, and it takes longer than that as a whole.
const STEP: Duration = Duration::from_secs(1);

/// Longer than any limit that these tests set, and any client here waits.
const SILENCE: Duration = Duration::from_secs(40);

fn with_header(name: &str, length: usize) -> String {
    format!("{name}: {}\r\n", "x".repeat(length))
}

#[test]
fn header_too_large_is_431() {
    let site = Site::echo();
    let answer = site.get_with("/x", &with_header("X-Large", 40 * 1024));
    assert_eq!(answer.status, 431);
    assert!(site.web.seen().is_empty());
    assert_eq!(
        site.get_with("/y", &with_header("X-Fine", 20 * 1024))
            .status,
        200
    );
}

#[test]
fn the_header_limit_is_a_flag() {
    let site = Site::with_flags(&["--max-header-bytes=2000"]);
    assert_eq!(
        site.get_with("/", &with_header("X-Large", 2000)).status,
        431
    );
    assert_eq!(site.get_with("/", &with_header("X-Fine", 1000)).status, 200);
}

#[test]
fn many_small_headers_count_together() {
    let site = Site::with_flags(&["--max-headers=1000"]);
    let lines: String = (0..500)
        .map(|index| with_header(&format!("X-{index}"), 100))
        .collect();
    assert_eq!(site.get_with("/", &lines).status, 431);
}

#[test]
fn too_many_headers_are_431() {
    let site = Site::echo();
    let lines = |count: usize| {
        (0..count)
            .map(|index| format!("X-{index}: y\r\n"))
            .collect::<String>()
    };
    assert_eq!(site.get_with("/", &lines(150)).status, 431);
    assert_eq!(site.get_with("/", &lines(90)).status, 200);
    let strict = Site::with_flags(&["--max-headers=10"]);
    assert_eq!(strict.get_with("/", &lines(20)).status, 431);
}

#[test]
fn a_head_that_never_ends_is_cut_off() {
    let site = Site::echo();
    let mut conn = site.conn();
    conn.send("GET / HTTP/1.1\r\nHost: a.example\r\nX-A: ");
    let noise = [b'x'; 16 * 1024];
    let mut sent = 0;
    // Writing may fail once the other side has closed, which is the point.
    while sent < 64 * 1024 * 1024 && conn.write_all(&noise).is_ok() {
        sent += noise.len();
    }
    assert!(sent < 64 * 1024 * 1024, "all of it was read");
}

#[test]
fn a_uri_too_long_is_414() {
    let site = Site::echo();
    assert_eq!(site.get(&format!("/{}", "x".repeat(20_000))).status, 414);
    assert_eq!(site.get(&format!("/?{}", "x".repeat(20_000))).status, 414);
    assert_eq!(site.get(&format!("/{}", "x".repeat(10_000))).status, 200);
    let strict = Site::with_flags(&["--max-uri-bytes=100"]);
    assert_eq!(strict.get(&format!("/{}", "x".repeat(200))).status, 414);
    assert_eq!(strict.get("/short").status, 200);
}

#[test]
fn a_body_has_no_limit_unless_one_is_set() {
    let site = Site::echo();
    let body = "x".repeat(3_000_000);
    let answer = site.conn().ask(&format!(
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(answer.echo().body_length, 3_000_000);
}

#[test]
fn a_body_too_long_by_its_length_is_413_and_reaches_nobody() {
    let site = Site::with_flags(&["--max-body-bytes=1000"]);
    let mut conn = site.conn();
    conn.send("POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1001\r\n\r\n");
    assert_eq!(conn.response().status, 413);
    assert!(site.web.seen().is_empty());
    let fine = site.conn().ask(&format!(
        "POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000\r\n\r\n{}",
        "x".repeat(1000)
    ));
    assert_eq!(fine.status, 200);
}

#[test]
fn who_reads_no_answer_before_a_body_is_sent_reads_that_it_is_too_long() {
    let flags = ["--max-body-bytes=1000"];
    let plain = Site::with_flags(&flags);
    let (site, ..) = Site::secure(&flags);
    let secure = Client::trusting_anything().connect(site.narthex.https, HOST);
    let (secure, _) = secure.expect("TLS");
    // More than sockets have room for.
    let (parts, part) = (24, vec![b'x'; 1 << 20]);
    for mut conn in [plain.conn(), secure] {
        let length = parts * part.len();
        conn.send(format!(
            "POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n"
        ));
        for _ in 0..parts {
            conn.send(&part);
        }
        assert_eq!(conn.response().status, 413);
    }
}

#[test]
fn a_chunked_body_too_long_is_413() {
    let site = Site::with_flags(&["--max-body-bytes=1000"]);
    let mut conn = site.conn();
    conn.send("POST /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n");
    conn.send(format!("1f4\r\n{0}\r\n1f5\r\n{0}y\r\n", "x".repeat(500)));
    assert_eq!(conn.response().status, 413);
    assert!(site.narthex.access("/x")["reason"].is_string());
}

#[test]
fn a_head_that_comes_too_slowly_is_408() {
    let site = Site::with_flags(&["--client-header-timeout=2s"]);
    let mut conn = site.conn();
    conn.send("GET / HTTP/1.1\r\nHost: a.ex");
    let answer = conn.response();
    assert_eq!(answer.status, 408);
    assert!(conn.is_closed_within(Duration::from_secs(15)));
}

#[test]
fn a_head_that_drips_is_408_all_the_same() {
    let site = Site::with_flags(&["--client-header-timeout=2s"]);
    let started = Instant::now();
    let mut conn = site.conn();
    conn.send("GET / HTTP/1.1\r\nHost: a.example\r\n");
    conn.set_read_timeout(Duration::from_millis(50));
    let answer = eventually("the drip is ended", || {
        // A write may fail once the other side has closed; the answer is read all the same.
        let _ = conn.write_all(b"X-Drip: 1\r\n");
        conn.try_head().ok()
    });
    assert_eq!(answer.status, 408);
    assert!(
        started.elapsed() >= Duration::from_millis(1900),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_body_that_stalls_is_408() {
    let site = Site::with_flags(&["--client-body-timeout=2s"]);
    let mut conn = site.conn();
    conn.send("POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\nhalf");
    match conn.try_response(false) {
        Ok(answer) => assert_eq!(answer.status, 408),
        Err(error) => panic!("closed without an answer: {error}"),
    }
    assert!(conn.is_closed_within(Duration::from_secs(15)));
    assert!(site.narthex.access("/x")["reason"].is_string());
}

#[test]
fn a_slow_body_that_goes_on_is_not_cut() {
    let site = Site::with_flags(&["--client-body-timeout=4s"]);
    let mut conn = site.conn();
    conn.send("POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n");
    for byte in ["h", "e", "l", "l", "o"] {
        std::thread::sleep(STEP);
        conn.send(byte);
    }
    assert_eq!(conn.response().echo().body, "hello");
}

#[test]
fn an_idle_connection_is_closed() {
    let site = Site::with_flags(&["--keep-alive-timeout=2s"]);
    let mut conn = site.conn();
    assert_eq!(conn.get(HOST, "/").status, 200);
    assert!(
        conn.is_closed_within(Duration::from_secs(15)),
        "without a word"
    );
}

#[test]
fn a_connection_without_any_request_is_closed() {
    let flags = [
        "--client-header-timeout=500ms",
        "--keep-alive-timeout=500ms",
    ];
    let site = Site::with_flags(&flags);
    let mut conn = site.conn();
    conn.set_read_timeout(Duration::from_secs(30));
    let mut rest = Vec::new();
    conn.read_to_end(&mut rest).expect("closed in time");
    assert!(
        rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"),
        "{rest:?}"
    );
}

#[test]
fn a_connection_in_use_outlives_the_keep_alive_time() {
    let site = Site::with_flags(&["--keep-alive-timeout=4s"]);
    let mut conn = site.conn();
    for index in 0..6 {
        assert_eq!(conn.get(HOST, &format!("/{index}")).status, 200);
        std::thread::sleep(STEP);
    }
}

/// A listener whose queue is full: connecting to it takes for ever.
fn black_hole() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .expect("a port");
    socket.listen(0).expect("listens");
    let listener: TcpListener = socket.into();
    let address = listener.local_addr().expect("bound");
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
        held.push(stream);
        assert!(held.len() < 100, "the queue has no end");
    }
    (listener, held, address)
}

#[test]
fn an_endpoint_that_cannot_be_connected_in_time_is_504() {
    let (_listener, _held, address) = black_hole();
    let (narthex, _folder) = serve_with(
        &[
            service("web", &[address]),
            Ingress::named("web").host(HOST).prefix("/", "web").yaml(),
        ],
        &["--connect-timeout=500ms"],
    );
    let started = Instant::now();
    let answer = narthex.get(HOST, "/x");
    assert_eq!(answer.status, 504);
    assert!(
        started.elapsed() < Duration::from_secs(14),
        "{:?}",
        started.elapsed()
    );
    assert!(narthex.access("/x")["reason"].is_string());
}

fn silent() -> Backend {
    Backend::scripted("web", |_| {
        std::thread::sleep(SILENCE);
        Ok(Then::Close)
    })
}

#[test]
fn a_backend_that_does_not_answer_in_time_is_504() {
    let site = Site::of(silent(), &["--read-timeout=500ms"]);
    let answer = site.get("/x");
    assert_eq!(answer.status, 504);
    assert!(
        answer
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain"))
    );
    assert!(site.narthex.access("/x")["reason"].is_string());
}

#[test]
fn a_response_that_stalls_is_cut_off() {
    let web = Backend::scripted("web", |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")?;
        std::thread::sleep(SILENCE);
        Ok(Then::Close)
    });
    let site = Site::of(web, &["--read-timeout=2s"]);
    let mut conn = site.conn();
    conn.send("GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let started = Instant::now();
    assert!(conn.try_response(false).is_err(), "never taken for whole");
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
    assert!(site.narthex.access("/x")["reason"].is_string());
}

#[test]
fn a_slow_response_that_goes_on_is_not_cut() {
    let web = Backend::scripted("web", |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")?;
        for byte in ["h", "e", "l", "l", "o"] {
            std::thread::sleep(STEP);
            exchange.send(byte)?;
        }
        Ok(Then::Keep)
    });
    let site = Site::of(web, &["--read-timeout=4s"]);
    assert_eq!(site.get("/").text(), "hello");
}

#[test]
fn a_whole_request_may_be_given_a_time() {
    let web = Backend::scripted("web", |exchange| {
        std::thread::sleep(SILENCE);
        exchange.reply("late")
    });
    let site = Site::of(web, &["--request-timeout=600ms"]);
    let started = Instant::now();
    assert_eq!(site.get("/x").status, 504);
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_backend_that_stops_reading_is_504() {
    let site = Site::of(silent(), &["--send-timeout=700ms"]);
    let mut conn = site.conn();
    conn.send("PUT /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000000000\r\n\r\n");
    let block = [0; 64 * 1024];
    // Writing ends when the proxy has given up; the answer may be there before.
    conn.set_write_timeout(Duration::from_secs(4));
    while conn.write_all(&block).is_ok() {}
    if let Ok(answer) = conn.try_response(false) {
        assert_eq!(answer.status, 504);
    }
    let line = site.narthex.access("/x");
    assert!(
        line["status"] == 504 && line["reason"].is_string(),
        "{line}"
    );
}

#[test]
fn a_client_that_stops_reading_is_let_go() {
    let web = Backend::scripted("web", |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")?;
        let block = [0; 64 * 1024];
        loop {
            exchange.send(block)?;
        }
    });
    let site = Site::of(web, &["--write-timeout=700ms"]);
    let mut conn = site.conn();
    conn.send("GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n");
    conn.try_head().expect("a head");
    until("the backend is let go too", || {
        site.web.open_connections() == 0
    });
    assert!(site.narthex.access("/x")["reason"].is_string());
}

/// How many of `count` fresh connections are answered within `patience` while all stay open.
fn answered(site: &Site, count: usize, patience: Duration) -> (usize, Vec<Conn>) {
    let mut kept = Vec::new();
    let mut good = 0;
    for _ in 0..count {
        let address = SocketAddr::from(([127, 0, 0, 1], site.narthex.http));
        let Ok(mut conn) = Conn::to(address) else {
            continue;
        };
        conn.set_read_timeout(patience);
        let sent = conn.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
        if sent
            .and_then(|()| conn.try_response(false))
            .is_ok_and(|answer| answer.status == 200)
        {
            good += 1;
        }
        kept.push(conn);
    }
    (good, kept)
}

#[test]
fn connections_per_client_are_limited() {
    let site = Site::with_flags(&["--max-connections-per-client=4"]);
    // Those beyond are closed at once.
    let (good, kept) = answered(&site, 6, Duration::from_secs(20));
    assert_eq!(good, 4);
    drop(kept);
    until("a place is free again", || {
        site.narthex.backend(HOST, "/") == "web"
    });
}

#[test]
fn connections_in_all_are_limited() {
    let site = Site::with_flags(&["--max-connections=4"]);
    // Those beyond wait.
    let (good, kept) = answered(&site, 6, Duration::from_secs(8));
    assert!(good <= 4 && good > 0, "{good}");
    assert_eq!(
        site.narthex.admin_status("/healthz"),
        Some(200),
        "the admin address is not counted"
    );
    drop(kept);
    until("a place is free again", || {
        site.narthex.backend(HOST, "/") == "web"
    });
}

#[test]
fn a_tls_handshake_that_stalls_is_ended() {
    let (site, ..) = Site::secure(&["--tls-handshake-timeout=500ms"]);
    let mut conn = Conn::plain(site.narthex.https);
    conn.send(b"\x16\x03\x01\x02\x00");
    conn.set_read_timeout(Duration::from_secs(30));
    let mut rest = Vec::new();
    // A reset ends it as well as an end does; nothing at all does not.
    if let Err(error) = conn.read_to_end(&mut rest) {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "still open");
    }
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
}

#[test]
fn the_defaults_are_those_of_ingress_nginx() {
    let help = run(&["serve", "--help"]);
    assert_eq!(help.code, Some(0));
    // Help is wrapped to the terminal; what matters is each flag and the next default after it.
    for (flag, default) in [
        ("--client-header-timeout", "60s"),
        ("--client-body-timeout", "60s"),
        ("--keep-alive-timeout", "75s"),
        ("--connect-timeout", "5s"),
        ("--read-timeout", "60s"),
        ("--send-timeout", "60s"),
        ("--request-timeout", "0"),
        ("--write-timeout", "60s"),
        ("--tls-handshake-timeout", "10s"),
        ("--shutdown-timeout", "30s"),
        ("--max-header-bytes", "32KiB"),
        ("--max-headers", "100"),
        ("--max-uri-bytes", "16KiB"),
        ("--max-body-bytes", "0"),
    ] {
        let (_, after) = help
            .stdout
            .split_once(&format!("{flag} "))
            .unwrap_or_else(|| panic!("{flag}"));
        let (_, default_and_more) = after.split_once("[default: ").expect(flag);
        let (value, _) = default_and_more.split_once(']').expect(flag);
        assert_eq!(value, default, "{flag}");
    }
    for flag in ["--max-connections ", "--max-connections-per-client "] {
        assert!(help.stdout.contains(flag), "{flag}");
    }
}

#[test]
fn durations_need_a_unit_that_is_known() {
    for value in ["5 parsecs", "fast", "-1s"] {
        let folder = program_tests::Folder::new();
        let ended = program_tests::Narthex::on(&folder)
            .arg(format!("--read-timeout={value}"))
            .fail();
        assert_ne!(ended.code, Some(0), "{value}");
        assert!(
            ended.stderr.contains("--read-timeout"),
            "{value}: {}",
            ended.said()
        );
    }
}
