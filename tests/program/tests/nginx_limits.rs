//! How often and how much at once one client may ask, and how quickly it is answered (`limit-…`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use program_tests::guarded::{Guarded, OPEN};
use program_tests::nginx::ingress as nginx;
use program_tests::websocket::WebSocket;
use program_tests::{Backend, Conn, HOST, until};

const TRUSTING: [&str; 1] = ["--trusted-proxies=127.0.0.1/32"];

fn from(client: &str) -> String {
    format!("X-Forwarded-For: {client}\r\n")
}

/// How many of some requests in a row are answered by the backend; all others are refused so.
#[track_caller]
fn passed(site: &Guarded, requests: usize, client: &str, refused: u16) -> usize {
    let statuses: Vec<u16> = (0..requests)
        .map(|_| site.get_with("/", &from(client)).status)
        .collect();
    let passed = statuses.iter().filter(|status| **status == 200).count();
    let others = statuses.iter().filter(|status| **status == refused).count();
    assert_eq!(passed + others, requests, "{statuses:?}");
    passed
}

#[test]
fn surprise_8_limits_are_each_clients_own_with_a_burst_of_five_and_503() {
    // One leaves the bucket each minute, so that what passes is the first and the burst.
    let site = Guarded::with(&[("limit-rpm", "1")], &[], &TRUSTING);
    assert_eq!(passed(&site, 10, "192.0.2.1", 503), 6);
    assert_eq!(passed(&site, 10, "192.0.2.2", 503), 6, "another client");
    assert_eq!(passed(&site, 10, "2001:db8::1", 503), 6, "and one more");
    assert_eq!(site.get_with("/often", &from("192.0.2.1")).status, 503);
    assert_eq!(site.reason("/often"), "request_limit");
    site.assert_others_are_open();
    // Another replica counts for itself.
    let other = Guarded::with(&[("limit-rpm", "1")], &[], &TRUSTING);
    assert_eq!(passed(&other, 10, "192.0.2.1", 503), 6);
}

#[test]
fn requests_a_second_leak_away() {
    let site = Guarded::with(&[("limit-rps", "2")], &[], &TRUSTING);
    let start = Instant::now();
    let first = passed(&site, 40, "192.0.2.1", 503);
    let most = 11 + 2 * usize::try_from(start.elapsed().as_secs() + 1).expect("a few");
    assert!((11..=most).contains(&first), "{first} of at most {most}");
    until("there is room again", || {
        site.get_from("192.0.2.1").status == 200
    });
}

#[test]
fn the_burst_is_multiplied_as_said() {
    let annotations = [("limit-rpm", "2"), ("limit-burst-multiplier", "1")];
    let site = Guarded::with(&annotations, &[], &TRUSTING);
    assert_eq!(passed(&site, 10, "192.0.2.1", 503), 3);
    let annotations = [("limit-rpm", "2"), ("limit-burst-multiplier", "0")];
    let site = Guarded::with(&annotations, &[], &TRUSTING);
    assert_eq!(passed(&site, 5, "192.0.2.1", 503), 1);
}

#[test]
fn who_is_exempt_is_not_counted() {
    for name in ["limit-allowlist", "limit-whitelist"] {
        let annotations = [("limit-rpm", "1"), (name, "192.0.2.0/24")];
        let site = Guarded::with(&annotations, &[], &TRUSTING);
        assert_eq!(passed(&site, 20, "192.0.2.1", 503), 20, "{name}");
        assert_eq!(passed(&site, 10, "198.51.100.1", 503), 6, "{name}");
    }
}

#[test]
fn what_was_counted_is_not_forgotten_when_the_ingress_changes() {
    // Who looks whether the change is served is not counted.
    let mut annotations = vec![("limit-rpm", "1"), ("limit-allowlist", "192.0.2.9")];
    let site = Guarded::with(&annotations, &[], &TRUSTING);
    assert_eq!(passed(&site, 10, "192.0.2.1", 503), 6);
    annotations.push(("denylist-source-range", "192.0.2.9"));
    site.change(&annotations);
    until("the change is served", || {
        site.get_from("192.0.2.9").status == 403
    });
    assert_eq!(passed(&site, 5, "192.0.2.1", 503), 0);
}

#[test]
fn a_client_has_so_many_requests_at_once_and_no_more() {
    let go = Arc::new(AtomicBool::new(false));
    let held = Arc::clone(&go);
    let web = Backend::scripted("web", move |exchange| {
        while exchange.request.target != "/quick" && !held.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(5));
        }
        exchange.reply("done")
    });
    let ingress = nginx("web", &[("limit-connections", "8")])
        .host(HOST)
        .prefix("/", "web");
    let site = Guarded::of(web, &ingress, &[], &[]);
    let port = site.narthex.http;
    let slow: Vec<_> = (0..8)
        .map(|_| spawn(move || Conn::plain(port).get(HOST, "/slow").status))
        .collect();
    until("all eight are there", || site.web.seen().len() == 8);
    for _ in 0..12 {
        assert_eq!(site.get("/quick").status, 503);
    }
    assert_eq!(site.reason("/quick"), "connection_limit");
    assert_eq!(site.narthex.get(OPEN, "/quick").status, 200);
    go.store(true, Ordering::SeqCst);
    for one in slow {
        assert_eq!(one.join().expect("an answer"), 200);
    }
    until("there are places again", || {
        site.get("/quick").status == 200
    });
}

#[test]
fn responses_go_out_no_quicker_than_said_and_whole() {
    const LENGTH: usize = 48 * 1024;
    let body = "x".repeat(LENGTH);
    let web = move || {
        let body = body.clone();
        Backend::scripted("web", move |exchange| exchange.reply(&body))
    };
    let ingress =
        |annotations: &[(&str, &str)]| nginx("web", annotations).host(HOST).prefix("/", "web");
    // A second's worth goes out at once, and the other two thirds in two seconds.
    let site = Guarded::of(web(), &ingress(&[("limit-rate", "16")]), &[], &[]);
    let start = Instant::now();
    let response = site.get("/");
    assert_eq!(response.body.len(), LENGTH);
    let slow = start.elapsed();
    assert!(slow > Duration::from_millis(1700), "{slow:?}");
    let after = [("limit-rate", "1"), ("limit-rate-after", "64")];
    let site = Guarded::of(web(), &ingress(&after), &[], &[]);
    // At one KiB a second it would take most of a minute, which no read here waits for.
    let start = Instant::now();
    assert_eq!(site.get("/").body.len(), LENGTH);
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn what_is_no_number_leaves_the_ingress_out_or_changes_nothing() {
    for name in [
        "limit-rps",
        "limit-rpm",
        "limit-connections",
        "limit-allowlist",
    ] {
        let site = Guarded::by(&[(name, "ten")]);
        assert_eq!(site.get("/").status, 404, "{name}");
        site.assert_others_are_open();
    }
    let annotations = [
        ("limit-rpm", "1"),
        ("limit-burst-multiplier", "many"),
        ("limit-rate", "x"),
    ];
    let site = Guarded::with(&annotations, &[], &TRUSTING);
    assert_eq!(passed(&site, 10, "192.0.2.1", 503), 6);
    let site = Guarded::with(&[("limit-rps", "0"), ("limit-rpm", "-1")], &[], &TRUSTING);
    assert_eq!(passed(&site, 20, "192.0.2.1", 503), 20);
}

#[test]
fn a_websocket_is_one_request_for_as_long_as_it_is_open() {
    let site = Guarded::by(&[("limit-connections", "2")]);
    let open = || WebSocket::open(Conn::plain(site.narthex.http), HOST, "/chat");
    let (mut one, mut two) = (open(), open());
    one.echo("one");
    two.echo("two");
    assert_eq!(site.get("/").status, 503);
    drop(one);
    until("there is a place again", || site.get("/").status == 200);
    two.echo("still there");
}

#[test]
fn clients_of_http2_are_answered_no_quicker_either() {
    const LENGTH: usize = 48 * 1024;
    let body = "x".repeat(LENGTH);
    let web = Backend::scripted("web", move |exchange| exchange.reply(&body));
    let ingress = nginx("web", &[("limit-rate", "16"), ("limit-rpm", "1")])
        .host(HOST)
        .prefix("/", "web");
    let site = Guarded::of(web, &ingress, &[], &[]);
    let start = Instant::now();
    let answer = site.narthex.curl(HOST, "/", &["--http2-prior-knowledge"]);
    assert_eq!((answer.status, answer.version.as_str()), (200, "2"));
    assert_eq!(answer.text.len(), LENGTH);
    let slow = start.elapsed();
    assert!(slow > Duration::from_millis(1700), "{slow:?}");
    let often: Vec<_> = (0..8)
        .map(|_| {
            let flags = ["--http2-prior-knowledge", "--head"];
            site.narthex.curl(HOST, "/", &flags).status
        })
        .collect();
    assert_eq!(often, [200, 200, 200, 200, 200, 503, 503, 503]);
}
