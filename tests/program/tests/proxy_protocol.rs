//! The PROXY protocol from load balancers that are trusted, and from nobody else.

use std::net::Ipv6Addr;
use std::time::Duration;

use program_tests::{Conn, HOST, Narthex, Site, run};

const TRUSTING: [&str; 3] = ["--proxy-protocol", "--trusted-proxies", "127.0.0.0/8"];

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

/// A header of version 2 over TCP and IPv4, with `more` behind the addresses.
fn binary(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(payload.len()).expect("short").to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0, 80];

/// The client that the backend is told of, and the access log.
#[track_caller]
fn client_of(site: &Site, header: &[u8], path: &str) -> String {
    let mut conn = site.conn();
    conn.send([header, get(path).as_bytes()].concat());
    let echo = conn.response().echo();
    let told = echo.header("x-forwarded-for").expect("is told").to_owned();
    assert_eq!(echo.header("x-real-ip"), Some(&*told));
    assert_eq!(site.narthex.access(path)["client"], *told);
    told
}

#[test]
fn the_client_is_whom_the_header_names() {
    let site = Site::with_flags(&TRUSTING);
    let v6 = [
        &"2001:db8::7"
            .parse::<Ipv6Addr>()
            .expect("an address")
            .octets()[..],
        &[0; 16],
        &[0x30, 0x39, 0, 80],
    ]
    .concat();
    let with_tlvs = [&V4[..], &[0x04, 0, 2, 0, 0], &[0x20; 600]].concat();
    for (index, (header, client)) in [
        (
            b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 80\r\n".to_vec(),
            "192.0.2.7",
        ),
        (
            b"PROXY TCP6 2001:db8::7 ::1 12345 80\r\n".to_vec(),
            "2001:db8::7",
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (binary(0x21, 0x11, &V4), "192.0.2.7"),
        (binary(0x21, 0x21, &v6), "2001:db8::7"),
        (binary(0x21, 0x11, &with_tlvs), "192.0.2.7"),
        (binary(0x20, 0x00, b""), "127.0.0.1"),
        (binary(0x20, 0x11, &V4), "127.0.0.1"),
        (binary(0x21, 0x00, b""), "127.0.0.1"),
        (binary(0x21, 0x31, &[b'x'; 216]), "127.0.0.1"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(
            client_of(&site, &header, &format!("/{index}")),
            client,
            "{header:?}"
        );
    }
}

#[test]
fn a_header_may_arrive_byte_by_byte_and_counts_for_all_requests() {
    let site = Site::with_flags(&TRUSTING);
    for header in [
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1 80\r\n".to_vec(),
        binary(0x21, 0x11, &V4),
    ] {
        let mut conn = site.conn();
        for byte in header {
            conn.send([byte]);
            std::thread::sleep(Duration::from_millis(1));
        }
        for path in ["/one", "/two"] {
            let echo = conn.get(HOST, path).echo();
            assert_eq!(echo.header("x-forwarded-for"), Some("192.0.2.7"));
        }
    }
}

#[test]
fn what_the_client_behind_the_load_balancer_forwards_is_not_believed() {
    let site = Site::with_flags(&TRUSTING);
    let mut conn = site.conn();
    conn.send("PROXY TCP4 192.0.2.7 198.51.100.1 1 80\r\n");
    let echo = conn
        .ask(&format!(
            "GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\n\r\n"
        ))
        .echo();
    assert_eq!(echo.all("x-forwarded-for"), ["192.0.2.7"]);
    assert_eq!(echo.all("x-real-ip"), ["192.0.2.7"]);
}

#[test]
fn connections_without_the_header_or_with_a_broken_one_are_closed() {
    let site = Site::with_flags(&TRUSTING);
    for bytes in [
        get("/").into_bytes(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1 80\n".to_vec(),
        [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat(),
        binary(0x23, 0x11, &V4),
        binary(0x21, 0x44, &V4),
        binary(0x21, 0x11, &V4[..8]),
        binary(0x21, 0x11, &[0; 5000]),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
    ] {
        let mut conn = site.conn();
        conn.send(&bytes);
        assert!(conn.is_closed_within(Duration::from_secs(15)), "{bytes:?}");
    }
    assert!(site.web.seen().is_empty(), "{:?}", site.web.seen());
}

#[test]
fn a_header_that_does_not_come_in_time_ends_the_connection() {
    let flags = [&TRUSTING[..], &["--client-header-timeout", "500ms"]].concat();
    let site = Site::with_flags(&flags);
    for bytes in ["", "PROXY TCP4 192", "\r\n\r\n\0\r\nQUIT\n"] {
        let mut conn = site.conn();
        conn.send(bytes);
        assert!(conn.is_closed_within(Duration::from_secs(15)), "{bytes:?}");
    }
}

#[test]
fn a_peer_that_is_not_trusted_is_taken_for_itself() {
    let site = Site::with_flags(&["--proxy-protocol", "--trusted-proxies", "192.0.2.0/24"]);
    let echo = site.get("/plain").echo();
    assert_eq!(echo.header("x-forwarded-for"), Some("127.0.0.1"));
    let mut conn = site.conn();
    conn.send(format!(
        "PROXY TCP4 203.0.113.9 198.51.100.1 1 80\r\n{}",
        get("/claimed")
    ));
    assert_eq!(conn.response().status, 400);
    assert!(site.web.seen().iter().all(|seen| seen.target == "/plain"));
}

#[test]
fn connections_per_client_are_those_of_the_client_that_is_named() {
    let flags = [&TRUSTING[..], &["--max-connections-per-client", "2"]].concat();
    let site = Site::with_flags(&flags);
    let mut kept: Vec<Conn> = Vec::new();
    for client in ["192.0.2.7", "192.0.2.7", "192.0.2.8", "192.0.2.9"] {
        let mut conn = site.conn();
        conn.send(format!("PROXY TCP4 {client} 198.51.100.1 1 80\r\n"));
        assert_eq!(conn.get(HOST, "/").status, 200, "{client}");
        kept.push(conn);
    }
    let mut third = site.conn();
    third.send("PROXY TCP4 192.0.2.7 198.51.100.1 1 80\r\n");
    assert!(third.is_closed_within(Duration::from_secs(15)));
}

#[test]
fn a_header_stands_before_tls() {
    let (site, _, _) = Site::secure(&TRUSTING);
    let mut tcp = program_tests::http1::dial(([127, 0, 0, 1], site.narthex.https).into())
        .expect("the listener accepts");
    std::io::Write::write_all(&mut tcp, b"PROXY TCP4 192.0.2.7 198.51.100.1 1 443\r\n")
        .expect("sent");
    let (mut conn, _) = program_tests::tls::Client::trusting_anything()
        .connect_over(tcp, HOST)
        .expect("a handshake");
    let echo = conn.get(HOST, "/").echo();
    assert_eq!(echo.header("x-forwarded-for"), Some("192.0.2.7"));
}

#[test]
fn the_flag_alone_is_refused_with_what_to_do() {
    let folder = program_tests::Folder::of(&[program_tests::class()]);
    let ended = Narthex::on(&folder).args(&["--proxy-protocol"]).fail();
    assert_ne!(ended.code, Some(0));
    assert!(ended.said().contains("--trusted-proxies"), "{ended:?}");
    assert!(
        run(&["serve", "--help"])
            .stdout
            .contains("NARTHEX_PROXY_PROTOCOL")
    );
}
