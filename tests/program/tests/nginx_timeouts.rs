//! `proxy-…-timeout`: how long backends may take.

use std::io::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use program_tests::balancing::deaf;
use program_tests::nginx::serve_annotated;
use program_tests::{Backend, Conn, HOST, Then};

/// A backend that answers after so long.
fn slow(pause: Duration) -> Backend {
    Backend::scripted("slow", move |exchange| {
        exchange.read_body()?;
        sleep(pause);
        exchange.reply("late")
    })
}

#[test]
fn who_does_not_answer_in_time_is_504_and_asked_three_times_if_that_may_be() {
    let web = slow(Duration::from_secs(30));
    let (narthex, _folder) = serve_annotated(&[("proxy-read-timeout", "1")], &[web.address()]);
    let begin = Instant::now();
    assert_eq!(narthex.get(HOST, "/get").status, 504);
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert_eq!(narthex.access("/get")["attempts"], 3);
    assert_eq!(narthex.access("/get")["reason"], "response_timeout");
    let post = format!("POST /post HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(Conn::plain(narthex.http).ask(&post).status, 504);
    assert_eq!(narthex.access("/post")["attempts"], 1);
}

#[test]
fn the_time_is_between_two_reads_and_not_for_the_whole_response() {
    let web = Backend::scripted("web", |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")?;
        for _ in 0..6 {
            sleep(Duration::from_secs(1));
            exchange.send("x")?;
        }
        Ok(Then::Keep)
    });
    let (narthex, _folder) = serve_annotated(&[("proxy-read-timeout", "5")], &[web.address()]);
    assert_eq!(narthex.get(HOST, "/").text(), "xxxxxx");
}

#[test]
fn who_takes_no_connection_in_time_is_504() {
    let deaf = deaf();
    let said = [
        ("proxy-connect-timeout", "1"),
        ("proxy-next-upstream-tries", "1"),
    ];
    let (narthex, _folder) = serve_annotated(&said, &[deaf.address()]);
    assert_eq!(narthex.get(HOST, "/x").status, 504);
    assert_eq!(narthex.access("/x")["reason"], "connect_timeout");
    assert_eq!(narthex.access("/x")["attempts"], 1);
}

#[test]
fn who_reads_nothing_in_time_is_504() {
    let web = Backend::scripted("web", |_| {
        sleep(Duration::from_secs(30));
        Ok(Then::Close)
    });
    let said = [
        ("proxy-send-timeout", "1"),
        ("proxy-body-size", "0"),
        ("proxy-request-buffering", "off"),
    ];
    let (narthex, _folder) = serve_annotated(&said, &[web.address()]);
    let mut conn = Conn::plain(narthex.http);
    let length = 64 << 20;
    conn.send(format!(
        "POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n"
    ));
    let mut socket = conn.socket().try_clone().expect("a socket");
    let writer = std::thread::spawn(move || {
        // It is cut off at some point.
        let _ = socket.write_all(&vec![b'x'; length]);
    });
    assert_eq!(conn.response().status, 504);
    drop(conn);
    writer.join().expect("it ends with the connection");
}

#[test]
fn a_time_that_cannot_be_read_leaves_the_default() {
    let web = slow(Duration::from_millis(1500));
    for wrong in ["20k", "0", "1.5", "-1"] {
        let said = [
            ("proxy-read-timeout", wrong),
            ("proxy-send-timeout", wrong),
            ("proxy-connect-timeout", wrong),
        ];
        let (narthex, _folder) = serve_annotated(&said, &[web.address()]);
        assert_eq!(narthex.get(HOST, "/").status, 200, "{wrong}");
        narthex.until_log("cannot be read; the default stands");
    }
}
