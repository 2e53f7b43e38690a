//! What is sent again, and how often at most; and how many requests a backend has at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use program_tests::balancing::{
    Dead, Deaf, addresses, annotated, closing, counter, dead, deaf, ingress, seen,
};
use program_tests::{Backend, Conn, HOST, Load, Narthex, Then, serve, serve_with, until};

fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n")
}

fn status(narthex: &Narthex, method: &str, path: &str) -> u16 {
    Conn::plain(narthex.http).ask(&request(method, path)).status
}

#[test]
fn dead_endpoints_cost_no_request() {
    let (web, gone) = (Backend::named("web"), [dead(), dead()]);
    let at = [web.address(), gone[0].address(), gone[1].address()];
    let (narthex, _folder) = serve(&[annotated(&at, &[]), ingress()]);
    let load = Load::start(narthex.http, 4, HOST, "/", |answer| answer.status == 200);
    load.until_more(2000);
    load.stop().assert_perfect();
}

#[test]
fn what_can_be_repeated_is_sent_again_and_the_rest_is_not() {
    let backends = [closing("closes"), Backend::named("echoes")];
    let settings = [("balance", "round-robin"), ("eject-after", "0")];
    let flags = ["--min-retries-per-second=1000"];
    let site = [annotated(&addresses(&backends), &settings), ingress()];
    let (narthex, _folder) = serve_with(&site, &flags);
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        for _ in 0..8 {
            assert_eq!(status(&narthex, method, "/"), 200, "{method}");
        }
    }
    let before = seen(&[&backends[0], &backends[1]]);
    let posts: Vec<_> = (0..16).map(|_| status(&narthex, "POST", "/")).collect();
    assert!(posts.contains(&502) && posts.contains(&200), "{posts:?}");
    assert_eq!(
        seen(&[&backends[0], &backends[1]]) - before,
        16,
        "once each"
    );
}

#[test]
fn nothing_is_sent_again_once_a_byte_of_the_response_went_out() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n";
    for beginning in [half, interim] {
        let backends = ["one", "two"].map(|name| {
            Backend::scripted(name, move |exchange| {
                exchange.send(beginning)?;
                Ok(Then::Close)
            })
        });
        let (narthex, _folder) = serve(&[annotated(&addresses(&backends), &[]), ingress()]);
        let mut conn = Conn::plain(narthex.http);
        conn.send(request("GET", "/x"));
        let answer = conn.try_response(false);
        assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 502));
        assert_eq!(narthex.access("/x")["attempts"], 1);
        assert_eq!(seen(&[&backends[0], &backends[1]]), 1);
    }
}

#[test]
fn a_request_tries_three_endpoints_or_as_many_as_it_is_told_to() {
    let gone: Vec<_> = (0..6).map(|_| dead()).collect();
    let at: Vec<_> = gone.iter().map(Dead::address).collect();
    for (flags, annotation, attempts) in [
        (&[][..], None, 3),
        (&["--max-attempts=2"][..], None, 2),
        (&["--max-attempts=2"][..], Some("5"), 5),
        (&[][..], Some("1"), 1),
    ] {
        let annotation = annotation.map(|value| ("max-attempts", value));
        let site = [annotated(&at, annotation.as_slice()), ingress()];
        let (narthex, _folder) = serve_with(&site, flags);
        assert_eq!(status(&narthex, "GET", "/x"), 502);
        assert_eq!(narthex.access("/x")["attempts"], attempts);
    }
}

#[test]
fn a_budget_keeps_retries_from_becoming_a_storm() {
    let backends = ["one", "two", "three"].map(closing);
    let settings = [("eject-after", "0"), ("retry-budget", "10%")];
    let site = [annotated(&addresses(&backends), &settings), ingress()];
    let (narthex, _folder) = serve_with(&site, &["--min-retries-per-second=0"]);
    for _ in 0..300 {
        assert_eq!(status(&narthex, "GET", "/"), 502);
    }
    let attempts = seen(&[&backends[0], &backends[1], &backends[2]]);
    assert!(
        (320..=330).contains(&attempts),
        "{attempts} for 300 requests"
    );
    assert_eq!(
        counter(&narthex, "narthex_retries_total"),
        attempts as u64 - 300
    );
    assert!(counter(&narthex, "narthex_retries_refused_total") >= 270);
}

#[test]
fn a_failed_connection_is_made_up_for_once_whatever_the_budget() {
    let web = Backend::named("web");
    let settings = [
        ("balance", "round-robin"),
        ("eject-after", "0"),
        ("retry-budget", "0%"),
    ];
    let gone: Vec<_> = (0..5).map(|_| dead()).collect();
    let at = [web.address(), gone[4].address()];
    let (narthex, _folder) = serve(&[annotated(&at, &settings), ingress()]);
    for method in ["GET", "POST"] {
        for _ in 0..20 {
            assert_eq!(status(&narthex, method, "/"), 200);
        }
    }
    assert!(counter(&narthex, "narthex_retries_total") >= 10);
    // The second one is paid for, and there is nothing to pay with.
    let at: Vec<_> = gone[..4].iter().map(Dead::address).collect();
    let (narthex, _folder) = serve(&[annotated(&at, &settings), ingress()]);
    assert_eq!(status(&narthex, "GET", "/x"), 502);
    assert_eq!(narthex.access("/x")["attempts"], 2);
}

#[test]
fn a_connection_that_takes_too_long_is_tried_elsewhere() {
    let (web, deaf) = (Backend::named("web"), deaf());
    let settings = [("balance", "round-robin"), ("eject-after", "0")];
    let site = [
        annotated(&[web.address(), deaf.address()], &settings),
        ingress(),
    ];
    let (narthex, _folder) = serve_with(&site, &["--connect-timeout=300ms"]);
    for method in ["GET", "POST"] {
        for _ in 0..6 {
            assert_eq!(status(&narthex, method, "/"), 200);
        }
    }
    let failed = "narthex_upstream_connections_total{outcome=\"failed\"}";
    assert!(counter(&narthex, failed) >= 4);
}

#[test]
fn the_time_for_a_request_is_for_all_its_attempts() {
    let deaf = [deaf(), deaf(), deaf()];
    let at = deaf.each_ref().map(Deaf::address);
    let site = [annotated(&at, &[]), ingress()];
    // The second attempt begins after three seconds, and is cut two seconds later.
    let flags = ["--request-timeout=5s", "--connect-timeout=3s"];
    let (narthex, _folder) = serve_with(&site, &flags);
    assert_eq!(status(&narthex, "GET", "/x"), 504);
    assert_eq!(narthex.access("/x")["reason"], "request_timeout");
    assert_eq!(narthex.access("/x")["attempts"], 2);
}

#[test]
fn an_attempt_that_takes_too_long_is_made_elsewhere() {
    let hangs = Backend::scripted("hangs", |_| {
        std::thread::sleep(Duration::from_secs(40));
        Ok(Then::Close)
    });
    let backends = [hangs, Backend::named("answers")];
    let settings = [
        ("balance", "round-robin"),
        ("eject-after", "0"),
        ("try-timeout", "4s"),
    ];
    let (narthex, _folder) = serve(&[annotated(&addresses(&backends), &settings), ingress()]);
    // Of two workers, one has at least two of four, and one of those goes where nobody answers.
    for _ in 0..4 {
        assert_eq!(status(&narthex, "GET", "/"), 200);
    }
    assert!(seen(&[&backends[0]]) >= 1);
    let before = seen(&[&backends[0]]);
    let posts: Vec<_> = (0..4).map(|_| status(&narthex, "POST", "/")).collect();
    let late = posts.iter().filter(|&&status| status == 504).count();
    assert_eq!(seen(&[&backends[0]]) - before, late, "{posts:?}");
    assert!(late >= 1, "{posts:?}");
}

#[test]
fn requests_beyond_the_limit_are_503_with_their_reason() {
    let hold = Arc::new(AtomicBool::new(true));
    let held = Arc::clone(&hold);
    let web = Backend::scripted("web", move |exchange| {
        while held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        exchange.echo()
    });
    let documents = [
        annotated(&[web.address()], &[("max-requests", "2")]),
        ingress(),
    ];
    let (narthex, _folder) = serve(&documents);
    let mut waiting = [Conn::plain(narthex.http), Conn::plain(narthex.http)];
    for conn in &mut waiting {
        conn.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    }
    until("both are at the backend", || web.seen().len() == 2);
    assert_eq!(narthex.get(HOST, "/third").status, 503);
    assert_eq!(narthex.access("/third")["reason"], "backend_overloaded");
    hold.store(false, Ordering::SeqCst);
    for conn in &mut waiting {
        assert_eq!(conn.response().status, 200);
    }
    // They have ended for the clients a moment before they have for the count.
    until("there is room again", || {
        narthex.get(HOST, "/fourth").status == 200
    });
    let refused = "narthex_errors_total{reason=\"backend_overloaded\"}";
    assert!(counter(&narthex, refused) >= 1);
}

#[test]
fn the_limit_of_requests_at_once_has_a_flag() {
    let hold = Arc::new(AtomicBool::new(true));
    let held = Arc::clone(&hold);
    let web = Backend::scripted("web", move |exchange| {
        while held.load(Ordering::SeqCst) && exchange.request.target == "/hold" {
            std::thread::sleep(Duration::from_millis(5));
        }
        exchange.echo()
    });
    let site = [annotated(&[web.address()], &[]), ingress()];
    let (narthex, _folder) = serve_with(&site, &["--max-backend-requests=1"]);
    let mut waiting = Conn::plain(narthex.http);
    waiting.send(request("GET", "/hold"));
    until("it is at the backend", || seen(&[&web]) == 1);
    assert_eq!(status(&narthex, "GET", "/second"), 503);
    hold.store(false, Ordering::SeqCst);
    assert_eq!(waiting.response().status, 200);
    until("there is room again", || {
        status(&narthex, "GET", "/third") == 200
    });
}
