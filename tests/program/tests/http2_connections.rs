//! Connections of HTTP/2 to backends: how many there are, when they end, and what becomes of the
//! requests on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{Response, StatusCode};
use program_tests::frames::{self, frame};
use program_tests::h2_backend::{Asked, Behaviour};
use program_tests::http2::{H2, block_on};
use program_tests::{
    Conn, Folder, H2Backend, HOST, Narthex, RawBackend, never, serve_speaking, until,
};
use tokio::sync::Semaphore;

const H2C: &str = "kubernetes.io/h2c";

fn serve(backend: &H2Backend, flags: &[&str]) -> (Narthex, Folder) {
    serve_speaking(H2C, &[], &[backend.address()], flags)
}

fn serve_raw(backend: &RawBackend, flags: &[&str]) -> (Narthex, Folder) {
    serve_speaking(H2C, &[], &[backend.address()], flags)
}

/// Answers with nothing but a status, once the gate lets it.
async fn gated(gate: Arc<Semaphore>, mut asked: Asked) -> Result<(), h2::Error> {
    let permit = gate.acquire().await;
    drop(permit);
    let response = Response::builder().body(()).expect("a response");
    asked.respond.send_response(response, true).map(drop)
}

/// GOAWAY with the last stream that is served.
fn goaway(last: u32) -> Vec<u8> {
    frame(
        frames::GOAWAY,
        0,
        0,
        &[&last.to_be_bytes()[..], &[0; 4]].concat(),
    )
}

#[test]
fn many_requests_at_once_share_a_connection_of_each_worker() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let backend = H2Backend::answering(move |asked| gated(Arc::clone(&held), asked));
    let (narthex, _folder) = serve(&backend, &[]);
    block_on(async {
        let h2 = H2::connect(narthex.https, HOST).await;
        let mut tasks = Vec::new();
        for index in 0..90 {
            let h2 = h2.clone();
            tasks.push(tokio::spawn(async move {
                h2.get(HOST, &format!("/{index}"))
                    .await
                    .expect("an answer")
                    .status
            }));
        }
        while backend.busy() < 90 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        gate.add_permits(1000);
        for task in tasks {
            assert_eq!(task.await.expect("no panic"), StatusCode::OK);
        }
    });
    assert_eq!(
        backend.connections(),
        1,
        "one client connection is one worker's"
    );
    for (outcome, count) in [("new", 1), ("reused", 89)] {
        let line = format!("narthex_upstream_connections_total{{outcome=\"{outcome}\"}} {count}\n");
        until(&line, || narthex.metrics().contains(&line));
    }
}

#[test]
fn beyond_the_backends_streams_another_connection_is_opened_and_then_requests_wait() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let behaviour = Behaviour {
        max_streams: Some(2),
        ..Behaviour::default()
    };
    let backend = H2Backend::with(behaviour, move |asked| gated(Arc::clone(&held), asked));
    let flags = [
        "--upstream-http2-connections=2",
        "--connect-timeout=20s",
        "--workers=1",
    ];
    let (narthex, _folder) = serve(&backend, &flags);
    // The first request lets the backend say what its limit is.
    gate.add_permits(1);
    assert_eq!(narthex.get(HOST, "/first").status, 200);
    let permit = gate.try_acquire().expect("given back");
    permit.forget();
    let threads: Vec<_> = (0..9)
        .map(|index| {
            let port = narthex.http;
            std::thread::spawn(move || Conn::plain(port).get(HOST, &format!("/{index}")).status)
        })
        .collect();
    until("both connections are full", || backend.busy() == 4);
    never("more", Duration::from_millis(300), || backend.busy() > 4);
    gate.add_permits(1000);
    for thread in threads {
        assert_eq!(thread.join().expect("no panic"), 200);
    }
    assert_eq!((backend.connections(), backend.most_busy()), (2, 4));
}

#[test]
fn where_no_stream_comes_free_the_answer_is_503_in_time() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let backend = H2Backend::answering(move |asked| gated(Arc::clone(&held), asked));
    let flags = [
        "--upstream-http2-connections=1",
        "--upstream-http2-streams=1",
        "--connect-timeout=2s",
        "--workers=1",
    ];
    let (narthex, _folder) = serve(&backend, &flags);
    let port = narthex.http;
    let first = std::thread::spawn(move || Conn::plain(port).get(HOST, "/first").status);
    until("it is there", || backend.busy() == 1);
    assert_eq!(narthex.get(HOST, "/second").status, 503);
    let line = narthex.access("/second");
    assert_eq!(line["reason"], "upstream_busy", "{line}");
    gate.add_permits(10);
    assert_eq!(first.join().expect("no panic"), 200);
    assert_eq!(narthex.get(HOST, "/third").status, 200);
}

#[test]
fn what_a_backend_refuses_or_leaves_out_is_sent_again_whatever_its_method() {
    for (what, refuse) in [("REFUSED_STREAM", true), ("GOAWAY", false)] {
        let backend = RawBackend::start(move |peer| {
            peer.greet(&[])?;
            let stream = peer.request()?;
            if peer.number == 0 {
                // Some of the body has gone out by now.
                peer.until(frames::DATA)?;
                if refuse {
                    peer.send(&frame(frames::RST_STREAM, 0, stream, &7u32.to_be_bytes()))?;
                } else {
                    peer.send(&goaway(0))?;
                }
                if !refuse {
                    return peer.drain();
                }
            }
            let (stream, mut length) = match (peer.number, refuse) {
                (0, true) => (peer.request()?, 0),
                _ => (stream, 0),
            };
            while length < 5 {
                peer.until(frames::DATA)?;
                length += 5;
            }
            peer.respond(stream, "200", &[("content-length", "4")], false)?;
            peer.data(stream, b"done", true)?;
            peer.drain()
        });
        let (narthex, _folder) = serve_raw(&backend, &[]);
        let answer = Conn::plain(narthex.http).ask(&format!(
            "POST /again HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello"
        ));
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "done"),
            "{what}"
        );
        let line = narthex.access("/again");
        assert_eq!(
            (&line["attempts"], &line["bytes_in"]),
            (&2.into(), &5.into()),
            "{what}: {line}"
        );
    }
}

#[test]
fn what_a_backend_gave_up_is_not_sent_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let backend = RawBackend::start(move |peer| {
        peer.greet(&[])?;
        loop {
            let stream = peer.request()?;
            counted.fetch_add(1, Ordering::SeqCst);
            peer.send(&frame(frames::RST_STREAM, 0, stream, &2u32.to_be_bytes()))?;
        }
    });
    let (narthex, _folder) = serve_raw(&backend, &[]);
    for (path, method) in [("/get", "GET"), ("/post", "POST")] {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(Conn::plain(narthex.http).ask(&request).status, 502);
        assert_eq!(narthex.access(path)["reason"], "upstream_reset");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn streams_that_a_goaway_leaves_go_on_and_new_ones_take_another_connection() {
    let go_on = Arc::new(AtomicBool::new(false));
    let going = Arc::clone(&go_on);
    let backend = RawBackend::start(move |peer| {
        peer.greet(&[])?;
        let stream = peer.request()?;
        if peer.number == 0 {
            peer.respond(stream, "200", &[], false)?;
            peer.send(&goaway(stream))?;
            while !going.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            peer.data(stream, b"late", true)?;
            // A well-behaved end: whoever still reads sees all of it.
            return peer.drain();
        }
        peer.respond(stream, "200", &[("x-connection", "other")], true)?;
        peer.drain()
    });
    let (narthex, _folder) = serve_speaking(H2C, &[], &[backend.address()], &["--workers=1"]);
    let mut first = Conn::plain(narthex.http);
    first.send(format!("GET /first HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(first.try_head().expect("a head").status, 200);
    let second = narthex.get(HOST, "/second");
    assert_eq!(second.header("x-connection"), Some("other"));
    go_on.store(true, Ordering::SeqCst);
    assert_eq!(first.chunk().expect("a chunk"), Some(b"late".to_vec()));
    assert_eq!(first.chunk().expect("the end"), None);
    assert_eq!(backend.connections(), 2);
}

#[test]
fn a_dead_connection_leaves_and_an_idempotent_request_on_it_is_made_again() {
    let backend = RawBackend::start(|peer| {
        peer.greet(&[])?;
        let stream = peer.request()?;
        peer.respond(stream, "200", &[], true)?;
        if peer.number == 0 {
            // The next request is taken, and never answered.
            peer.request()?;
            return Ok(());
        }
        loop {
            let stream = peer.request()?;
            peer.respond(stream, "200", &[], true)?;
        }
    });
    let (narthex, _folder) = serve_speaking(H2C, &[], &[backend.address()], &["--workers=1"]);
    assert_eq!(narthex.get(HOST, "/1").status, 200);
    assert_eq!(narthex.get(HOST, "/2").status, 200);
    assert_eq!(narthex.get(HOST, "/3").status, 200);
    assert_eq!(backend.connections(), 2);
}

#[test]
fn a_connection_whose_other_end_is_silent_is_found_out_and_replaced() {
    let backend = RawBackend::start(|peer| {
        peer.greet(&[])?;
        let stream = peer.request()?;
        peer.respond(stream, "200", &[], true)?;
        if peer.number == 0 {
            // As behind a black hole: not even pings are answered.
            std::thread::sleep(Duration::from_secs(30));
            return Ok(());
        }
        loop {
            let stream = peer.request()?;
            peer.respond(stream, "200", &[], true)?;
        }
    });
    let flags = [
        "--workers=1",
        "--upstream-ping-after=1ms",
        "--upstream-ping-timeout=3s",
    ];
    let (narthex, _folder) = serve_speaking(H2C, &[], &[backend.address()], &flags);
    assert_eq!(narthex.get(HOST, "/1").status, 200);
    std::thread::sleep(Duration::from_millis(20));
    let begin = Instant::now();
    // Idempotent: on the new connection it is made again.
    assert_eq!(narthex.get(HOST, "/2").status, 200);
    let took = begin.elapsed();
    assert!(
        took > Duration::from_millis(2900),
        "{took:?}: it was asked first"
    );
    assert!(
        took < Duration::from_secs(25),
        "{took:?}: not only at the read time-out"
    );
    assert_eq!(backend.connections(), 2);
}

#[test]
fn idle_connections_are_closed_in_time_and_at_the_end() {
    let backend = H2Backend::echo();
    let (mut narthex, _folder) = serve(&backend, &["--upstream-idle-timeout=300ms"]);
    assert_eq!(narthex.get(HOST, "/").status, 200);
    until("it is closed", || backend.open_connections() == 0);

    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let busy = H2Backend::answering(move |asked| gated(Arc::clone(&held), asked));
    narthex = {
        drop(narthex);
        let (narthex, folder) = serve(&busy, &[]);
        std::mem::forget(folder);
        narthex
    };
    let mut conn = Conn::plain(narthex.http);
    conn.send(format!("GET /slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    until("it is asked", || busy.busy() == 1);
    narthex.signal(rustix::process::Signal::TERM);
    never("the request is cut", Duration::from_millis(300), || {
        busy.busy() == 0
    });
    gate.add_permits(10);
    assert_eq!(conn.response().status, 200);
    assert!(narthex.ended_within(Duration::from_secs(20)).success());
    until("nothing is left open", || busy.open_connections() == 0);
}
