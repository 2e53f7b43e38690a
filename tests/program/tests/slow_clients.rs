//! Thousands of clients that take their time: others do not notice, and each is closed at its
//! time-out. And too many of them for the process: accepting backs off and says so.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use program_tests::backend::Then;
use program_tests::{
    Backend, Conn, Folder, HOST, Ingress, Narthex, Site, allow_open_files, class, eventually,
    service, until,
};
use socket2::{Domain, SockRef, Socket, Type};

/// How many clients do each of: send half a head, send half a body, not read.
const EACH: usize = 667;

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

/// The 99th percentiles of two sites, asked in turns: whatever else the machine does meanwhile
/// meets both.
#[track_caller]
fn p99s(one: &Site, other: &Site) -> [Duration; 2] {
    let mut sides = [one, other].map(|site| (site.conn(), Vec::new()));
    for _ in 0..300 {
        for (conn, times) in &mut sides {
            let start = Instant::now();
            assert_eq!(conn.get(HOST, "/").status, 200);
            times.push(start.elapsed());
        }
    }
    sides.map(|(_, mut times)| {
        times.sort_unstable();
        times[times.len() * 99 / 100]
    })
}

/// A client with little room for what it does not read, which has sent `bytes`.
fn slow_client(site: &Site, bytes: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a socket option");
    let address = SocketAddr::from(([127, 0, 0, 1], site.narthex.http));
    socket.connect(&address.into()).expect("it accepts");
    let mut tcp = TcpStream::from(socket);
    tcp.write_all(bytes.as_bytes()).expect("it takes bytes");
    tcp
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

/// A site with all slow clients, for each phase of which there is this limit.
#[track_caller]
fn besieged(quiet: &Site, limit: Duration) -> (Site, Vec<TcpStream>) {
    let flag_value = format!("{}ms", limit.as_millis());
    let flags = ["header", "body"].map(|phase| format!("--client-{phase}-timeout={flag_value}"));
    let write = format!("--write-timeout={flag_value}");
    let busy = Site::of(web(), &[&flags[0], &flags[1], &write]);
    p99s(quiet, &busy);
    let phases = [
        "GET / HTTP/1.1\r\nHost: a.exa",
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\r\nhalf",
        "GET /large HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ];
    let before = busy.web.seen().len();
    let slow: Vec<TcpStream> = phases
        .iter()
        .flat_map(|bytes| std::iter::repeat_n(bytes, EACH))
        .map(|bytes| slow_client(&busy, bytes))
        .collect();
    until("every slow exchange has begun", || {
        busy.web.seen().len() >= before + 2 * EACH
    });
    (busy, slow)
}

#[test]
fn two_thousand_slow_clients_disturb_nobody_and_are_closed_in_time() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    allow_open_files(8_000);
    let quiet = Site::of(web(), &[]);
    let begin = Instant::now();
    p99s(&quiet, &quiet);
    // The limit of each phase: the comparison must be over by then, and is some rounds as long as
    // this one on whatever machine.
    let limit = (Duration::from_secs(15) + begin.elapsed() * 10).min(Duration::from_secs(60));
    // A machine that opens them slowly gets more time for the comparison.
    let limits = [limit, Duration::from_secs(60), Duration::from_secs(120)];
    let mut rounds = Vec::new();
    let besieged = limits.into_iter().find_map(|limit| {
        let begin = Instant::now();
        let (busy, slow) = besieged(&quiet, limit);
        let end = Instant::now() + limit;
        // One round in which the slow ones cost nothing shows that they need not.
        while begin.elapsed() < limit * 2 / 3 {
            let [alone, among] = p99s(&quiet, &busy);
            rounds.push((alone, among));
            // None of them was closed before the end of it.
            if among < alone * 2 && begin.elapsed() < limit {
                return Some((busy, slow, end));
            }
        }
        None
    });
    let Some((busy, mut slow, end)) = besieged else {
        panic!("alone and among slow clients: {rounds:?}");
    };
    std::thread::sleep(end.saturating_duration_since(Instant::now()));

    // Those that never read are let go all the same; what they find then was on its way.
    until("no backend is held any more", || {
        busy.web.open_connections() <= 2
    });
    // A window of a few KiB lets it through: with more room for it, and for all at once, it comes
    // soon.
    for tcp in &slow {
        let room = SockRef::from(tcp).set_recv_buffer_size(1 << 20);
        room.expect("a socket option");
    }
    until("every slow client is closed", || {
        slow.retain_mut(|tcp| !is_closed(tcp));
        slow.is_empty()
    });
    assert_eq!(busy.get("/").status, 200);
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
    let (before, begun) = (narthex.log().lines().count(), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    let said = narthex.log().lines().count() - before;
    // What was said in a moment before is there now, too.
    let most = 20.0 * begun.elapsed().as_secs_f64() + 20.0;
    assert!((said as f64) < most, "{said} lines in some seconds");
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
