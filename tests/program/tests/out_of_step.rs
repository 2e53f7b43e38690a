//! Early responses, refused expectations and uploads that break off: neither the client's nor the
//! backend's connection is used again while anything of the request could still be on it.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use program_tests::backend::{Backend, Then};
use program_tests::{HOST, Site, until};

const ONE_WORKER: [&str; 2] = ["--workers", "1"];

fn head(fields: &str) -> String {
    format!("POST /early HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")
}

/// Answers `/early` at once with `status` and keeps the connection open, without reading a body.
fn hasty(status: &'static str) -> Backend {
    Backend::scripted("hasty", move |exchange| {
        if exchange.request.target != "/early" {
            return exchange.reply("clean");
        }
        exchange.send(format!(
            "HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\nearly"
        ))?;
        // Whatever comes next is read as a request, as careless servers do.
        Ok(Then::Keep)
    })
}

/// The connections that requests after the first one came on, and the first one's.
fn connections(site: &Site) -> (usize, Vec<usize>) {
    let seen = site.web.seen();
    let first = seen[0].connection;
    (
        first,
        seen[1..].iter().map(|seen| seen.connection).collect(),
    )
}

#[track_caller]
fn assert_never_reused(site: &Site) {
    for _ in 0..3 {
        assert_eq!(site.get("/clean").text(), "clean");
    }
    let (first, others) = connections(site);
    assert!(!others.contains(&first), "{:?}", site.web.seen());
    for seen in site.web.seen() {
        assert!(matches!(&*seen.target, "/early" | "/clean"), "{seen:?}");
    }
}

#[test]
fn an_early_response_to_a_length_ends_both_connections() {
    let site = Site::of(hasty("200 OK"), &ONE_WORKER);
    let mut conn = site.conn();
    conn.send(head("Content-Length: 60\r\n") + "GET /smuggled");
    let answer = conn.response();
    assert_eq!((answer.status, &*answer.text()), (200, "early"));
    assert_eq!(answer.header("connection"), Some("close"));
    // Its rest would be a request to whoever lost count.
    let rest =
        format!(" HTTP/1.1\r\nHost: {HOST}\r\n\r\nGET /next HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    // The connection may be closed by now.
    let _ = conn.write_all(rest.as_bytes());
    assert!(conn.is_closed_within(Duration::from_secs(15)));
    assert_never_reused(&site);
}

#[test]
fn an_early_response_to_chunks_ends_both_connections() {
    let site = Site::of(hasty("403 Forbidden"), &ONE_WORKER);
    let mut conn = site.conn();
    conn.send(head("Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n");
    assert_eq!(conn.response().header("connection"), Some("close"));
    let _ = conn.write_all(b"0\r\n\r\n");
    assert!(conn.is_closed_within(Duration::from_secs(15)));
    assert_never_reused(&site);
}

#[test]
fn an_early_response_that_outlasts_the_upload_still_ends_the_backends_connection() {
    let backend = Backend::scripted("hasty", |exchange| {
        if exchange.request.target != "/early" {
            return exchange.reply("clean");
        }
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n")?;
        exchange.read_body()?;
        exchange.send("0\r\n\r\n")?;
        Ok(Then::Keep)
    });
    let site = Site::of(backend, &ONE_WORKER);
    let mut conn = site.conn();
    conn.send(head("Content-Length: 10\r\n") + "hello");
    let started = conn
        .try_head()
        .expect("the head comes before the body ends");
    assert_eq!(started.header("connection"), Some("close"));
    conn.send("world");
    assert_eq!(conn.chunk().expect("a chunk"), Some(b"early".to_vec()));
    assert_eq!(conn.chunk().expect("the end"), None);
    assert_never_reused(&site);
}

#[test]
fn a_request_that_was_sent_whole_keeps_both_connections() {
    let site = Site::of(Backend::named("web"), &ONE_WORKER);
    let mut conn = site.conn();
    for body in [
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        let answer = conn.ask(&format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{body}"));
        assert_eq!(answer.echo().body, "hello");
        assert_ne!(answer.header("connection"), Some("close"));
    }
    assert_eq!(site.web.connections(), 1);
}

#[test]
fn a_refused_expectation_ends_both_connections() {
    for status in [
        "417 Expectation Failed",
        "401 Unauthorized",
        "413 Content Too Large",
        "200 OK",
    ] {
        let site = Site::of(hasty(status), &ONE_WORKER);
        let mut conn = site.conn();
        conn.send(head("Content-Length: 12\r\nExpect: 100-continue\r\n"));
        let answer = conn.response();
        assert_eq!(answer.informational.len(), 0, "{status}");
        assert_eq!(answer.header("connection"), Some("close"), "{status}");
        // A client may send the body all the same, or take the connection for free.
        let _ =
            conn.write_all(format!("GET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes());
        assert!(conn.is_closed_within(Duration::from_secs(15)), "{status}");
        assert_never_reused(&site);
    }
}

#[test]
fn an_expectation_that_we_refuse_ourselves_ends_the_connection_and_reaches_nobody() {
    let site = Site::with_flags(&["--max-body-bytes", "10"]);
    for (path, fields, status) in [
        ("/", "Content-Length: 60\r\nExpect: 100-continue\r\n", 413),
        ("/", "Content-Length: 5\r\nExpect: 200-ok\r\n", 417),
        ("/%zz", "Content-Length: 5\r\nExpect: 100-continue\r\n", 400),
    ] {
        let mut conn = site.conn();
        conn.send(format!(
            "POST {path} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n"
        ));
        let answer = conn.response();
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("connection"), Some("close"), "{status}");
        let _ =
            conn.write_all(format!("GET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes());
        assert!(conn.is_closed_within(Duration::from_secs(15)), "{status}");
    }
    assert!(site.web.seen().is_empty(), "{:?}", site.web.seen());
}

#[test]
fn an_expectation_to_no_route_ends_the_connection() {
    let site = Site::echo();
    let mut conn = site.conn();
    conn.send("POST / HTTP/1.1\r\nHost: nobody.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let answer = conn.response();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (404, Some("close"))
    );
    assert!(conn.is_closed_within(Duration::from_secs(15)));
}

#[test]
fn an_upload_that_breaks_off_ends_the_backends_connection() {
    for (fields, part) in [
        ("Content-Length: 100\r\n", "half"),
        ("Transfer-Encoding: chunked\r\n", "4\r\nhalf\r\n"),
        ("Transfer-Encoding: chunked\r\n", "4\r\nhalf\r\n0\r\n"),
        ("Transfer-Encoding: chunked\r\n", "ffff\r\nhalf"),
    ] {
        let backend = Backend::scripted("web", |exchange| {
            exchange.read_body()?;
            exchange.reply("clean")
        });
        let site = Site::of(backend, &ONE_WORKER);
        let mut conn = site.conn();
        conn.send(head(fields) + part);
        until("the backend has the head", || !site.web.seen().is_empty());
        drop(conn);
        until("the backend's connection ends", || {
            site.web.open_connections() == 0
        });
        assert_never_reused(&site);
    }
}

#[test]
fn an_upload_that_breaks_off_after_100_continue_ends_the_backends_connection() {
    let backend = Backend::scripted("web", |exchange| {
        if exchange.request.target == "/early" {
            exchange.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        exchange.read_body()?;
        exchange.reply("clean")
    });
    let site = Site::of(backend, &ONE_WORKER);
    let mut conn = site.conn();
    conn.send(head("Content-Length: 100\r\nExpect: 100-continue\r\n"));
    assert_eq!(conn.try_head().expect("an interim response").status, 100);
    conn.send("half");
    drop(conn);
    until("the backend's connection ends", || {
        site.web.open_connections() == 0
    });
    assert_never_reused(&site);
}

#[test]
fn a_backend_that_stops_reading_and_answers_leaves_nothing_behind() {
    // Large enough that its end waits in the proxy while the backend does not read.
    let backend = Backend::scripted("hasty", |exchange| {
        if exchange.request.target != "/early" {
            return exchange.reply("clean");
        }
        std::thread::sleep(Duration::from_millis(300));
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")?;
        exchange.read_body()?;
        Ok(Then::Keep)
    });
    let site = Site::of(backend, &ONE_WORKER);
    let mut conn = site.conn();
    let body = "x".repeat(32 * 1024 * 1024);
    let mut sending = conn_writer(&conn);
    let sender = std::thread::spawn(move || {
        let request = head(&format!("Content-Length: {}\r\n", body.len())) + &body;
        // The proxy may close before it has all.
        let _ = sending.write_all(request.as_bytes());
    });
    assert_eq!(conn.response().text(), "early");
    let _ = conn.socket().shutdown(Shutdown::Both);
    sender.join().expect("ends with the connection");
    assert_never_reused(&site);
}

fn conn_writer(conn: &program_tests::Conn) -> std::net::TcpStream {
    conn.socket().try_clone().expect("a socket")
}
