//! One process replaced by another with `--upgrade`: nobody notices, and what goes wrong leaves the
//! first one as it was.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use program_tests::hand_over::{HandOver, Waiting, socket_of};
use program_tests::program::Starting;
use program_tests::websocket::WebSocket;
use program_tests::{
    Backend, Conn, Folder, HOST, Ingress, Kind, Load, Narthex, Site, class, docs, ports, service,
    until,
};
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

const SOON: Duration = Duration::from_secs(30);

/// The next process on the same folder.
fn next(site: &Site) -> Starting {
    Narthex::on(&site.folder).after(&site.narthex)
}

#[track_caller]
fn assert_ends_well(mut narthex: Narthex) {
    let status = narthex.ended_within(SOON);
    assert_eq!(status.code(), Some(0), "{}", narthex.log());
}

#[test]
fn a_replacement_under_load_fails_no_request() {
    let (mut site, ..) = Site::secure(&[]);
    let (http, https) = (site.narthex.http, site.narthex.https);
    let loads = [
        Load::of(Kind::Kept, http, 4, HOST),
        Load::of(Kind::Fresh, http, 4, HOST),
        Load::of(Kind::Tls, https, 2, HOST),
        Load::of(Kind::FreshTls, https, 1, HOST),
        Load::of(Kind::Http2, https, 2, HOST),
    ];
    for _ in 0..3 {
        for load in &loads {
            load.until_more(50);
        }
        let replacement = next(&site).start();
        let old = std::mem::replace(&mut site.narthex, replacement);
        assert_ends_well(old);
    }
    for load in loads {
        load.until_more(50);
        load.stop().assert_perfect();
    }
}

#[test]
fn more_or_fewer_workers_lose_no_connection() {
    let mut site = Site::with_flags(&["--workers=3"]);
    let load = Load::of(Kind::Fresh, site.narthex.http, 8, HOST);
    for workers in ["1", "4", "2", "5"] {
        load.until_more(200);
        let replacement = next(&site).args(&["--workers", workers]).start();
        let old = std::mem::replace(&mut site.narthex, replacement);
        assert_ends_well(old);
    }
    load.until_more(200);
    load.stop().assert_perfect();
}

#[test]
fn connections_that_wait_in_the_queues_of_more_sockets_than_workers_are_answered() {
    let web = Backend::named("web");
    let ingress = Ingress::named("web").host(HOST).prefix("/", "web").yaml();
    let folder = Folder::of(&[class(), service("web", &[web.address()]), ingress]);
    let state = tempfile::tempdir().expect("a temporary folder");
    let port = ports::free();
    // The process before, of seven workers, has accepted nothing for a while.
    let sockets: Vec<Socket> = (0..7)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            // As the program does, or the rest of an earlier connection would hold the port.
            socket.set_reuse_address(true).expect("a socket");
            socket.set_reuse_port(true).expect("a socket");
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            socket.bind(&address.into()).expect("a free port");
            socket.listen(64).expect("bound");
            socket
        })
        .collect();
    let waiting = Waiting::at(state.path());
    let mut clients: Vec<Conn> = (0..100).map(|_| Conn::plain(port)).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    }
    let narthex = Narthex::on(&folder)
        .without_state_flag()
        .arg("--state-dir")
        .arg(state.path())
        .args(&["--upgrade", "--bind-address=0.0.0.0"])
        .http_port(port)
        .spawn();
    let old = waiting.accept();
    let (hello, _) = old.hear();
    assert_eq!(hello.expect("a message")["say"], "hello");
    let sockets: Vec<_> = sockets.into_iter().map(Into::into).collect();
    old.say(r#"{"say":"sockets","left":0}"#, &sockets);
    let (ready, _) = old.hear();
    let ready = ready.expect("a message");
    assert_eq!(ready["say"], "ready", "{ready}");
    assert!(
        ready["kept"].to_string().contains(&port.to_string()),
        "{ready}"
    );
    assert!(web.seen().is_empty(), "it accepts before it may");
    old.say(r#"{"say":"go"}"#, &[]);
    let (serving, _) = old.hear();
    assert_eq!(serving.expect("a message")["say"], "serving");
    drop(sockets);
    for client in &mut clients {
        assert_eq!(client.response().backend(), "web", "{}", narthex.log());
    }
}

#[test]
fn the_new_process_serves_its_own_configuration() {
    let site = Site::echo();
    let other = Backend::named("other");
    let ingress = Ingress::named("o").host(HOST).prefix("/", "other").yaml();
    let folder = Folder::of(&[class(), service("other", &[other.address()]), ingress]);
    let before = site.narthex.metrics();
    let replacement = Narthex::on(&folder).after(&site.narthex).start();
    // The old one may still be at its last look into the queues that both have.
    replacement.until_backend(HOST, "/", "other");
    let start = |metrics: &str| {
        let line = metrics
            .lines()
            .find(|line| line.starts_with("process_start_time_seconds"));
        line.expect("a metric").to_owned()
    };
    until("the admin address is the new one's", || {
        let answer = replacement.admin_get("/metrics");
        answer.is_some_and(|(_, after)| start(&before) != start(&after))
    });
    assert_ends_well(site.narthex);
    assert_eq!(replacement.backend(HOST, "/"), "other");
    assert_eq!(replacement.admin_status("/readyz"), Some(200));
}

#[test]
fn readiness_never_turns_off_while_a_process_is_replaced() {
    let mut site = Site::echo();
    let load = Load::start(site.narthex.admin, 1, "localhost", "/readyz", |answer| {
        answer.status == 200
    });
    for _ in 0..2 {
        let replacement = next(&site).start();
        load.until_more(20);
        let old = std::mem::replace(&mut site.narthex, replacement);
        assert_ends_well(old);
    }
    load.until_more(20);
    let outcome = load.stop();
    // The admin server closes idle and kept connections as it goes; only answers count here.
    let wrong: Vec<_> = outcome
        .failures
        .iter()
        .filter(|failure| failure.starts_with("answer") || failure.starts_with("connect"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(outcome.good > 60);
}

#[test]
fn a_new_process_that_fails_its_start_leaves_the_old_one_serving() {
    let site = Site::echo();
    let load = Load::of(Kind::Fresh, site.narthex.http, 4, HOST);
    load.until_more(50);
    let held = TcpListener::bind((Ipv4Addr::UNSPECIFIED, ports::free())).expect("a port");
    let port = held.local_addr().expect("bound").port();
    let ended = next(&site).https_port(port).fail();
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains(&port.to_string()), "{}", ended.said());
    site.narthex.until_log("did not take over");
    load.until_more(200);
    load.stop().assert_perfect();
    assert_eq!(site.narthex.admin_status("/readyz"), Some(200));
    // And the next one can.
    let replacement = next(&site).start();
    assert_eq!(replacement.backend(HOST, "/"), "web");
    assert_ends_well(site.narthex);
}

#[test]
fn a_new_process_that_dies_before_it_is_ready_leaves_the_old_one_serving() {
    let site = Site::echo();
    let load = Load::of(Kind::Fresh, site.narthex.http, 4, HOST);
    let state = site.narthex.state.path();
    for ready in [false, true] {
        load.until_more(50);
        let new = HandOver::with(state);
        let sockets = new.ask();
        assert!(sockets.len() >= 5, "{} sockets", sockets.len());
        if ready {
            new.say(r#"{"say":"ready","kept":[]}"#, &[]);
            let (go, _) = new.hear();
            assert_eq!(go.expect("a message")["say"], "go");
        }
        drop((new, sockets));
        until("the old one says so", || {
            let log = site.narthex.log();
            log.matches("did not take over").count() == 1 + usize::from(ready)
        });
    }
    load.until_more(200);
    load.stop().assert_perfect();
    let replacement = next(&site).start();
    assert_eq!(replacement.backend(HOST, "/"), "web");
    assert_ends_well(site.narthex);
}

#[test]
fn changes_are_served_while_a_new_process_prepares() {
    let site = Site::echo();
    let new = HandOver::with(site.narthex.state.path());
    let sockets = new.ask();
    let ingress = Ingress::named("late").host("late.example");
    site.folder
        .write("late.yaml", &ingress.prefix("/", "web").yaml());
    site.narthex.until_backend("late.example", "/", "web");
    drop((new, sockets));
    site.narthex.until_log("did not take over");
    assert_eq!(site.narthex.backend("late.example", "/"), "web");
}

#[test]
fn one_hand_over_at_a_time() {
    let site = Site::echo();
    let state = site.narthex.state.path();
    let first = HandOver::with(state);
    let sockets = first.ask();
    let ended = next(&site).fail();
    assert_ne!(ended.code, Some(0));
    assert!(ended.said().contains("under way"), "{}", ended.said());
    drop((first, sockets));
    site.narthex.until_log("did not take over");
    let replacement = next(&site).start();
    assert_eq!(replacement.backend(HOST, "/"), "web");
}

#[test]
fn what_is_no_request_to_hand_over_gets_nothing() {
    let site = Site::echo();
    let state = site.narthex.state.path();
    let mode = std::fs::metadata(socket_of(state)).expect("there");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    let long = format!(
        r#"{{"say":"hello","protocol":1,"x":"{}"}}"#,
        "x".repeat(70_000)
    );
    for text in [
        "GET / HTTP/1.1\r\n\r\n",
        "{}",
        r#"{"say":"ready","kept":[]}"#,
        r#"{"say":"serving"}"#,
        r#"{"say":"hello","protocol":2}"#,
        r#"{"say":"hello"}"#,
        &long,
    ] {
        let stranger = HandOver::with(state);
        stranger.say(text, &[]);
        assert!(stranger.is_refused_within(SOON), "{text:.60}");
    }
    // Out of order: the conversation ends, and the process goes on.
    let early = HandOver::with(state);
    let _sockets = early.ask();
    early.say(r#"{"say":"serving"}"#, &[]);
    assert!(early.is_refused_within(SOON));
    // Those that say nothing hold nobody up.
    let silent = [HandOver::with(state), HandOver::with(state)];
    let replacement = next(&site).start();
    assert_eq!(replacement.backend(HOST, "/"), "web");
    drop(silent);
    assert_ends_well(site.narthex);
}

#[test]
fn web_sockets_live_until_the_drain_deadline() {
    let site = Site::with_flags(&["--shutdown-timeout=10s"]);
    let mut socket = WebSocket::open(Conn::plain(site.narthex.http), HOST, "/ws");
    socket.echo("before");
    let replacement = next(&site).start();
    socket.echo("after");
    let mut other = WebSocket::open(Conn::plain(replacement.http), HOST, "/ws");
    std::thread::sleep(Duration::from_secs(2));
    socket.echo("long after");
    assert_ends_well(site.narthex);
    assert!(socket.send("x").and_then(|()| socket.receive()).is_err());
    other.echo("on the new one");
}

#[test]
fn a_request_under_way_ends_on_the_old_process() {
    let go_on = Arc::new(AtomicBool::new(false));
    let may = Arc::clone(&go_on);
    let web = Backend::scripted("web", move |exchange| {
        while exchange.request.target == "/slow" && !may.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        exchange.echo()
    });
    let site = Site::of(web, &["--workers=1"]);
    let mut idle = site.conn();
    assert_eq!(idle.get(HOST, "/").backend(), "web");
    let mut conn = site.conn();
    conn.send("GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n");
    until("it reached the backend", || site.web.seen().len() == 2);
    let replacement = next(&site).start();
    assert_eq!(replacement.backend(HOST, "/"), "web");
    // Once this one is closed, the old one's only worker knows that it is to end.
    assert!(idle.is_closed_within(SOON));
    go_on.store(true, Ordering::SeqCst);
    let answer = conn.response();
    assert_eq!(answer.backend(), "web");
    assert_eq!(answer.header("connection"), Some("close"));
    assert_ends_well(site.narthex);
}

#[test]
fn a_signal_to_a_process_that_was_replaced_cuts_nothing() {
    let mut site = Site::echo();
    let mut socket = WebSocket::open(Conn::plain(site.narthex.http), HOST, "/ws");
    let _replacement = next(&site).start();
    site.narthex.until_log("the new process serves");
    // As of a script that ends the old one by itself, and comes a moment too late.
    site.narthex.signal(Signal::TERM);
    site.narthex.until_log("SIGTERM: it is ending already");
    socket.echo("still there");
    site.narthex.signal(Signal::TERM);
    let status = site.narthex.ended_within(SOON);
    assert_ne!(status.code(), Some(0), "cut, and said so");
    assert!(socket.send("x").and_then(|()| socket.receive()).is_err());
}

#[test]
fn sigterm_during_a_hand_over_fails_no_request() {
    let site = Site::echo();
    // Enough that the new one takes a moment to be ready.
    let many: Vec<_> = (0..2000)
        .map(|index| {
            let host = format!("h{index}.example");
            let name = format!("i{index}");
            Ingress::named(&name).host(&host).prefix("/", "web").yaml()
        })
        .collect();
    site.folder.write("zz-many.yaml", &docs(&many));
    site.narthex.until_backend("h1999.example", "/", "web");
    let load = Load::of(Kind::Fresh, site.narthex.http, 2, HOST);
    let kept = Load::of(Kind::Kept, site.narthex.http, 2, HOST);
    load.until_more(50);
    let replacement = next(&site).spawn();
    site.narthex.until_log("prepares to take over");
    site.narthex.signal(Signal::TERM);
    until("the old one says what becomes of its ports", || {
        // On a machine that held this test up, the new one serves by now.
        let log = site.narthex.log();
        log.contains("left to the process that is taking over")
            || log.contains("SIGTERM: it is ending already")
    });
    replacement.until_log("health, metrics and API on");
    for load in [load, kept] {
        load.until_more(50);
        load.stop().assert_perfect();
    }
    assert_ends_well(site.narthex);
    assert_eq!(replacement.admin_status("/readyz"), Some(200));
}

#[test]
fn a_port_that_the_new_process_does_not_want_is_closed() {
    let site = Site::echo();
    let https = site.narthex.https;
    let address = SocketAddr::from(([127, 0, 0, 1], https));
    assert!(TcpStream::connect(address).is_ok());
    let replacement = next(&site).https_port(ports::free()).start();
    assert_eq!(replacement.backend(HOST, "/"), "web");
    assert_ends_well(site.narthex);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn where_nothing_runs_it_is_an_ordinary_start() {
    let mut site = Site::echo();
    site.narthex.signal(Signal::TERM);
    site.narthex.ended_within(SOON);
    assert!(!socket_of(site.narthex.state.path()).exists());
    let mut again = next(&site).start();
    assert_eq!(again.backend(HOST, "/"), "web");
    // Killed, it leaves its socket behind, which stops nobody.
    again.signal(Signal::KILL);
    again.ended_within(SOON);
    assert!(socket_of(site.narthex.state.path()).exists());
    let third = next(&site).start();
    assert_eq!(third.backend(HOST, "/"), "web");
}

#[test]
fn it_cannot_be_done_without_a_state_folder() {
    let folder = Folder::of(&[class()]);
    let ended = Narthex::on(&folder)
        .without_state_flag()
        .arg("--upgrade")
        .fail();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("--state-dir"), "{}", ended.said());
}

#[test]
fn a_second_process_with_the_same_folder_does_not_get_in_the_way() {
    let site = Site::echo();
    let second = Narthex::on(&site.folder)
        .without_state_flag()
        .arg("--state-dir")
        .arg(site.narthex.state.path())
        .start();
    second.until_log("state-dir of its own");
    let replacement = next(&site).start();
    assert_eq!(replacement.backend(HOST, "/"), "web");
    assert_eq!(second.backend(HOST, "/"), "web");
    assert_ends_well(site.narthex);
}

#[test]
fn a_client_in_the_middle_of_its_request_is_served() {
    let site = Site::echo();
    let mut conn = site.conn();
    conn.write_all(b"GET / HTTP/1.1\r\nHost: a.exa")
        .expect("open");
    let replacement = next(&site).start();
    conn.send("mple\r\n\r\n");
    assert_eq!(conn.response().backend(), "web");
    drop(replacement);
    assert_ends_well(site.narthex);
}
