//! Hundreds of clients that take their time: others do not notice, and each is closed at its
//! time-out. And too many of them for the process: accepting backs off and says so.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use program_tests::backend::{Backend, Then};
use program_tests::{
    Conn, Folder, HOST, Ingress, Narthex, Site, class, eventually, service, until,
};

const SLOW: usize = 500;

/// Tests that compare times run one after the other.
static ALONE: Mutex<()> = Mutex::new(());

/// Answers `/large` with 64 MiB, everything else with an echo.
fn web() -> Backend {
    Backend::scripted("web", |exchange| {
        if exchange.request.target != "/large" {
            return exchange.echo();
        }
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n")?;
        for _ in 0..1024 {
            exchange.send([b'x'; 65536])?;
        }
        Ok(Then::Keep)
    })
}

/// The 99th percentile of requests one after another, in this many of them.
#[track_caller]
fn p99(site: &Site) -> Duration {
    let mut conn = site.conn();
    let mut times: Vec<Duration> = (0..3_000)
        .map(|_| {
            let start = Instant::now();
            assert_eq!(conn.get(HOST, "/").status, 200);
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

fn dial(site: &Site) -> TcpStream {
    let tcp = program_tests::http1::dial(([127, 0, 0, 1], site.narthex.http).into());
    tcp.expect("the listener accepts")
}

/// Whether the other side has closed, whatever it said before.
fn is_closed(tcp: &mut TcpStream) -> bool {
    let mut room = [0; 4096];
    tcp.set_nonblocking(true).expect("a socket");
    loop {
        match tcp.read(&mut room) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

/// Opens slow clients that have sent `bytes`; others must not notice while they hang, and they
/// must all be gone in time.
#[track_caller]
fn slow_clients_disturb_nobody(flags: &[&str], bytes: &str) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let site = Site::of(web(), flags);
    p99(&site);
    // The machine is shared: the best of a few rounds on either side is what the program does.
    let best = || (0..5).map(|_| p99(&site)).min().unwrap_or_default();
    let alone = best();
    let mut slow: Vec<TcpStream> = (0..SLOW)
        .map(|_| {
            let mut tcp = dial(&site);
            tcp.write_all(bytes.as_bytes()).expect("it takes bytes");
            tcp
        })
        .collect();
    let among = best();
    assert!(
        among < alone * 2,
        "{among:?} among slow clients, {alone:?} alone"
    );
    // A reader that never reads is closed all the same; what it finds then was on its way.
    until("every slow client is closed", || {
        slow.iter_mut().all(is_closed)
    });
    assert_eq!(site.get("/").status, 200);
}

#[test]
fn slow_heads_disturb_nobody_and_are_closed_in_time() {
    slow_clients_disturb_nobody(
        &["--client-header-timeout", "10s"],
        "GET / HTTP/1.1\r\nHost: a.exa",
    );
}

#[test]
fn slow_bodies_disturb_nobody_and_are_closed_in_time() {
    slow_clients_disturb_nobody(
        &["--client-body-timeout", "10s"],
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\r\nhalf",
    );
}

#[test]
fn slow_readers_disturb_nobody_and_are_closed_in_time() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let site = Site::of(web(), &["--write-timeout", "3s"]);
    let mut slow: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut tcp = dial(&site);
            tcp.write_all(b"GET /large HTTP/1.1\r\nHost: a.example\r\n\r\n")
                .expect("it takes bytes");
            tcp
        })
        .collect();
    until("every download has begun", || {
        site.web.seen().len() >= slow.len()
    });
    until("no backend is held any more", || {
        site.web.open_connections() == 0
    });
    until("every slow client is closed", || {
        slow.iter_mut().all(is_closed)
    });
}

#[test]
fn running_out_of_file_descriptors_backs_off_says_so_and_heals() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let web = Backend::named("web");
    let folder = Folder::of(&[
        class(),
        service("web", &[web.address()]),
        Ingress::named("web").host(HOST).prefix("/", "web").yaml(),
    ]);
    let narthex = Narthex::on(&folder)
        .through(&["prlimit", "--nofile=100:100"])
        .start();
    let address = ([127, 0, 0, 1], narthex.http).into();
    let crowd: Vec<TcpStream> = (0..200)
        .map(|_| program_tests::http1::dial(address).expect("the kernel accepts"))
        .collect();
    narthex.until_log("cannot accept connections");
    let before = narthex.log().lines().count();
    std::thread::sleep(Duration::from_secs(2));
    let said = narthex.log().lines().count() - before;
    assert!(said < 40, "{said} lines in two seconds");
    drop(crowd);
    let healed = eventually("it serves again", || {
        let mut conn = Conn::to(address).ok()?;
        let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        conn.write_all(request.as_bytes()).ok()?;
        conn.try_response(false)
            .ok()
            .filter(|answer| answer.status == 200)
    });
    assert_eq!(healed.status, 200);
    assert!(!narthex.log().contains("panicked"), "{}", narthex.log());
}
