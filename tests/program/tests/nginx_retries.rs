//! `proxy-next-upstream`: what is sent again, and how often.

use std::thread::sleep;
use std::time::Duration;

use program_tests::balancing::{addresses, closing, dead, failing, seen};
use program_tests::nginx::serve_annotated;
use program_tests::{Backend, Conn, HOST, Narthex, Then};

fn ask(narthex: &Narthex, method: &str, path: &str, body: &str) -> u16 {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    Conn::plain(narthex.http).ask(&request).status
}

#[test]
fn who_closes_is_followed_by_the_next_unless_the_request_may_have_been_served() {
    let backends = [closing("closes"), Backend::named("echoes")];
    let (narthex, _folder) = serve_annotated(&[], &addresses(&backends));
    for method in ["GET", "PUT", "DELETE"] {
        for _ in 0..4 {
            assert_eq!(ask(&narthex, method, "/", "body"), 200, "{method}");
        }
    }
    for method in ["POST", "PATCH", "LOCK"] {
        let before = seen(&[&backends[0], &backends[1]]);
        let answers: Vec<_> = (0..4).map(|_| ask(&narthex, method, "/", "body")).collect();
        assert!(
            answers.contains(&502) && answers.contains(&200),
            "{method} {answers:?}"
        );
        assert_eq!(seen(&[&backends[0], &backends[1]]) - before, 4, "{method}");
    }
}

#[test]
fn everything_is_sent_again_where_that_is_asked_for() {
    let backends = [closing("closes"), Backend::named("echoes")];
    let said = [("proxy-next-upstream", "error timeout non_idempotent")];
    let (narthex, _folder) = serve_annotated(&said, &addresses(&backends));
    for _ in 0..6 {
        assert_eq!(ask(&narthex, "POST", "/", "body"), 200);
    }
}

#[test]
fn nothing_was_sent_where_there_was_no_connection() {
    let (web, gone) = (Backend::named("web"), dead());
    let (narthex, _folder) = serve_annotated(&[], &[web.address(), gone.address()]);
    for _ in 0..6 {
        assert_eq!(ask(&narthex, "POST", "/", "body"), 200);
    }
}

#[test]
fn a_large_body_is_sent_again_as_it_was() {
    let backends = [closing("closes"), Backend::named("echoes")];
    let (narthex, _folder) = serve_annotated(&[], &addresses(&backends));
    let body = "0123456789abcdef".repeat(40_000);
    let request = format!(
        "PUT / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for _ in 0..4 {
        let answer = Conn::plain(narthex.http).ask(&request);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.echo().body_length, body.len() as u64);
    }
    assert!(seen(&[&backends[0]]) >= 1);
}

#[test]
fn a_body_that_is_not_waited_for_is_not_sent_again() {
    let backends = [closing("closes"), Backend::named("echoes")];
    let said = [("proxy-request-buffering", "off")];
    let (narthex, _folder) = serve_annotated(&said, &addresses(&backends));
    let answers: Vec<_> = (0..4).map(|_| ask(&narthex, "PUT", "/", "body")).collect();
    assert!(
        answers.contains(&502) && answers.contains(&200),
        "{answers:?}"
    );
}

#[test]
fn statuses_that_are_named_are_followed_by_the_next_and_the_last_one_is_passed_on() {
    let (ill, _switch) = failing("ill");
    let backends = [ill, Backend::named("echoes")];
    let at = addresses(&backends);
    let said = [("proxy-next-upstream", "error timeout http_503")];
    let (narthex, _folder) = serve_annotated(&said, &at);
    for _ in 0..4 {
        assert_eq!(ask(&narthex, "GET", "/", ""), 200);
    }
    let answers: Vec<_> = (0..4).map(|_| ask(&narthex, "POST", "/", "")).collect();
    assert!(answers.contains(&503), "{answers:?}");
    let (narthex, _folder) = serve_annotated(&[], &at);
    let answers: Vec<_> = (0..4).map(|_| ask(&narthex, "GET", "/", "")).collect();
    assert!(answers.contains(&503), "{answers:?}");
    // Alone, it is asked as often as may be.
    let (narthex, _folder) = serve_annotated(&said, &at[..1]);
    let before = seen(&[&backends[0]]);
    assert_eq!(ask(&narthex, "GET", "/x", ""), 503);
    assert_eq!(seen(&[&backends[0]]) - before, 3);
}

#[test]
fn as_often_as_is_said_and_not_at_all_where_it_is_off() {
    for (said, attempts) in [
        (&[][..], 3),
        (&[("proxy-next-upstream-tries", "1")], 1),
        (&[("proxy-next-upstream-tries", "2")], 2),
        (&[("proxy-next-upstream-tries", "12")], 12),
        (&[("proxy-next-upstream-tries", "0")], 32),
        (&[("proxy-next-upstream", "off")], 1),
        (&[("proxy-next-upstream", "timeout")], 1),
        (&[("proxy-next-upstream", "http_5xx")], 3),
    ] {
        let gone = dead();
        let (narthex, _folder) = serve_annotated(said, &[gone.address()]);
        assert_eq!(ask(&narthex, "GET", "/x", ""), 502, "{said:?}");
        assert_eq!(narthex.access("/x")["attempts"], attempts, "{said:?}");
    }
}

#[test]
fn no_attempt_begins_after_the_time_for_it() {
    let web = Backend::scripted("web", |exchange| {
        exchange.read_body()?;
        sleep(Duration::from_millis(1500));
        Ok(Then::Close)
    });
    let said = [("proxy-next-upstream-timeout", "1")];
    let (narthex, _folder) = serve_annotated(&said, &[web.address()]);
    assert_eq!(ask(&narthex, "GET", "/x", ""), 502);
    assert_eq!(narthex.access("/x")["attempts"], 1);
}

#[test]
fn what_is_no_http_is_followed_by_the_next_where_that_is_asked_for() {
    let backends = [
        Backend::answering("strange", b"HELLO\r\n\r\n"),
        Backend::named("echoes"),
    ];
    let at = addresses(&backends);
    let said = [("proxy-next-upstream", "error invalid_header")];
    let (narthex, _folder) = serve_annotated(&said, &at);
    for _ in 0..4 {
        assert_eq!(ask(&narthex, "GET", "/", ""), 200);
    }
    let (narthex, _folder) = serve_annotated(&[], &at);
    let answers: Vec<_> = (0..4).map(|_| ask(&narthex, "GET", "/", "")).collect();
    assert!(answers.contains(&502), "{answers:?}");
}

#[test]
fn a_head_that_is_cut_counts_as_an_error() {
    let web = Backend::scripted("web", |exchange| {
        exchange.read_body()?;
        exchange.send("HTTP/1.1 200 OK\r\nContent-Le")?;
        Ok(Then::Close)
    });
    let (narthex, _folder) = serve_annotated(&[], &[web.address()]);
    assert_eq!(ask(&narthex, "GET", "/", ""), 502);
    assert_eq!(seen(&[&web]), 3);
    assert_eq!(ask(&narthex, "POST", "/", "body"), 502);
    assert_eq!(seen(&[&web]), 4);
}

#[test]
fn a_kept_connection_that_is_closed_is_one_of_the_attempts() {
    let web = Backend::scripted("web", |exchange| {
        let ready = exchange.request.target == "/ready";
        match ready {
            true => exchange.echo(),
            false => Ok(Then::Close),
        }
    });
    let (narthex, _folder) = serve_annotated(&[], &[web.address()]);
    assert_eq!(ask(&narthex, "GET", "/ready", ""), 200);
    let before = seen(&[&web]);
    assert_eq!(ask(&narthex, "GET", "/", ""), 502);
    assert_eq!(seen(&[&web]) - before, 3);
}
