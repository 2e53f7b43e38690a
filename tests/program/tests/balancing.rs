//! Which endpoint gets a request, and what becomes of those that fail.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use program_tests::folder::{service_on, slice};
use program_tests::{
    Backend, Conn, Folder, HOST, Ingress, Load, Narthex, Response, Then, class, serve, service,
    until,
};

fn ingress() -> Ingress {
    Ingress::named("web").host(HOST).prefix("/", "web")
}

/// The Service `web` with annotations, as `name: value` without the prefix.
fn annotated(addresses: &[SocketAddr], annotations: &[(&str, &str)]) -> String {
    let annotations: String = annotations
        .iter()
        .map(|(name, value)| format!("    narthex.dev/{name}: {value:?}\n"))
        .collect();
    service("web", addresses).replacen(
        "  namespace: default\n",
        &format!("  namespace: default\n  annotations:\n{annotations}"),
        1,
    )
}

fn addresses<const N: usize>(backends: &[Backend; N]) -> [SocketAddr; N] {
    backends.each_ref().map(Backend::address)
}

/// A port that was free a moment ago and that nobody was given.
fn dead() -> SocketAddr {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    closed.local_addr().expect("bound")
}

fn ask(narthex: &Narthex, field: &str) -> Response {
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{field}\r\n\r\n");
    Conn::plain(narthex.http).ask(&request)
}

fn counter(narthex: &Narthex, name: &str) -> u64 {
    let metrics = narthex.metrics();
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

#[test]
fn every_algorithm_uses_all_endpoints() {
    let backends = ["one", "two", "three"].map(Backend::named);
    let at = addresses(&backends);
    for algorithm in ["p2c", "round-robin", "least-request", "random"] {
        let documents = [annotated(&at, &[("balance", algorithm)]), ingress().yaml()];
        let (narthex, _folder) = serve(&documents);
        let seen: HashSet<_> = (0..80).map(|_| narthex.backend(HOST, "/")).collect();
        assert_eq!(seen.len(), 3, "{algorithm}: {seen:?}");
    }
}

#[test]
fn weights_share_out_requests() {
    let backends = ["one", "three"].map(Backend::named);
    let [one, three] = addresses(&backends);
    let endpoints = format!("{one}, {three} weight=3");
    let annotations = [("endpoints", &*endpoints), ("balance", "round-robin")];
    let (narthex, _folder) = serve(&[annotated(&[], &annotations), ingress().yaml()]);
    // Workers take their turns apart; each of four turns is exact, and the rest evens out.
    let count = 200;
    let ones = (0..count)
        .filter(|_| narthex.backend(HOST, "/") == "one")
        .count();
    assert!((35..=65).contains(&ones), "{ones} of {count}");
}

#[test]
fn a_header_leads_to_the_same_endpoint_also_when_others_come_and_go() {
    let backends = ["a", "b", "c", "d"].map(Backend::named);
    let at = addresses(&backends);
    let folder = Folder::of(&[class(), ingress().yaml()]);
    let site = |at: &[SocketAddr]| annotated(at, &[("hash-by", "header:X-User")]);
    folder.write("web.yaml", &site(&at));
    let narthex = Narthex::on(&folder).start();
    let map = |narthex: &Narthex| -> HashMap<String, String> {
        (0..40)
            .map(|user| {
                let answer = ask(narthex, &format!("X-User: user-{user}"));
                (format!("user-{user}"), answer.backend())
            })
            .collect()
    };
    let before = map(&narthex);
    assert_eq!(before, map(&narthex), "sticky");
    assert!(before.values().collect::<HashSet<_>>().len() > 2);
    folder.rename_over("web.yaml", &site(&at[..3]));
    until("the fourth is gone", || {
        map(&narthex).values().all(|backend| backend != "d")
    });
    let moved = map(&narthex)
        .iter()
        .filter(|(user, backend)| before[*user] != "d" && before[*user] != **backend)
        .count();
    assert!(moved <= 8, "{moved} of 40 moved without need");
}

#[test]
fn a_cookie_keeps_a_client_with_its_endpoint_and_moves_it_when_that_is_gone() {
    let backends = ["a", "b", "c", "d"].map(Backend::named);
    let at = addresses(&backends);
    let folder = Folder::of(&[class(), ingress().yaml()]);
    let site = |at: &[SocketAddr]| annotated(at, &[("affinity", "cookie:stay")]);
    folder.write("web.yaml", &site(&at));
    let narthex = Narthex::on(&folder).start();
    let first = ask(&narthex, "X-A: b");
    let cookie = first.header("set-cookie").expect("a cookie").to_owned();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("Max-Age="),
        "{cookie}"
    );
    assert!(!cookie.contains("127.0.0.1"), "{cookie}");
    let pair = cookie.split(';').next().expect("a pair").to_owned();
    assert!(pair.starts_with("stay="), "{pair}");
    let field = format!("Cookie: other=1; {pair}");
    for _ in 0..20 {
        let again = ask(&narthex, &field);
        assert_eq!(again.backend(), first.backend());
        assert_eq!(again.header("set-cookie"), None, "set once");
    }
    let left: Vec<_> = backends
        .iter()
        .filter(|backend| backend.address() != at[index_of(&first.backend())])
        .map(Backend::address)
        .collect();
    folder.rename_over("web.yaml", &site(&left));
    until("another takes over, and says so", || {
        let moved = ask(&narthex, &field);
        moved.backend() != first.backend() && moved.header("set-cookie").is_some()
    });
    // What names no endpoint is balanced anew.
    assert!(
        ask(&narthex, "Cookie: stay=zz")
            .header("set-cookie")
            .is_some()
    );
}

fn index_of(name: &str) -> usize {
    ["a", "b", "c", "d"]
        .iter()
        .position(|known| *known == name)
        .expect("one of them")
}

#[test]
fn an_ejected_endpoint_stays_out_while_routes_change_ten_times_a_second() {
    let [one, two] = ["one", "two"].map(Backend::named);
    let broken = Backend::scripted("broken", |exchange| {
        exchange.read_body()?;
        Ok(Then::Close)
    });
    let at = [one.address(), two.address(), broken.address()];
    let folder = Folder::of(&[class(), ingress().yaml()]);
    folder.write("web.yaml", &annotated(&at, &[("balance", "round-robin")]));
    let narthex = Narthex::on(&folder).start();
    let load = Load::start(narthex.http, 4, HOST, "/", |answer| answer.status == 200);
    until("the broken one is ejected", || {
        counter(&narthex, "narthex_endpoint_ejections_total") > 0
    });
    // What was under way then comes to its end.
    std::thread::sleep(Duration::from_millis(300));
    let asked = broken.seen().len();
    for round in 0..30 {
        let other = Ingress::named("other")
            .host(&format!("h{round}.example"))
            .prefix("/", "web");
        folder.rename_over("other.yaml", &other.yaml());
        std::thread::sleep(Duration::from_millis(100));
    }
    narthex.until_backend("h29.example", "/other", "one");
    let more = broken.seen().len() - asked;
    assert_eq!(more, 0, "it was asked while it was ejected");
    assert_eq!(counter(&narthex, "narthex_endpoint_ejections_total"), 1);
    load.stop().assert_perfect();
}

#[test]
fn dead_endpoints_cost_no_request() {
    let web = Backend::named("web");
    let (narthex, _folder) = serve(&[
        annotated(&[web.address(), dead(), dead()], &[]),
        ingress().yaml(),
    ]);
    let load = Load::start(narthex.http, 4, HOST, "/", |answer| answer.status == 200);
    load.until_more(2000);
    load.stop().assert_perfect();
}

#[test]
fn no_request_is_lost_while_endpoints_come_and_go_under_any_algorithm() {
    for algorithm in ["p2c", "round-robin", "least-request", "hash"] {
        let backends = ["a", "b", "c"].map(Backend::named);
        let at = addresses(&backends);
        let folder = Folder::of(&[class(), ingress().yaml()]);
        let settings = [
            ("balance", algorithm),
            ("affinity", "cookie"),
            ("slow-start", "1s"),
        ];
        let site = |at: &[SocketAddr]| annotated(at, &settings);
        folder.write("web.yaml", &site(&at));
        let narthex = Narthex::on(&folder).start();
        let load = Load::start(narthex.http, 4, HOST, "/", |answer| answer.status == 200);
        for round in 0..12 {
            let (one, two) = (at[round % 3], at[(round + 1) % 3]);
            folder.rename_over("web.yaml", &site(&[one, two]));
            std::thread::sleep(Duration::from_millis(60));
            folder.rename_over("web.yaml", &site(&[two]));
            std::thread::sleep(Duration::from_millis(60));
        }
        load.stop().assert_perfect();
    }
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
        ingress().yaml(),
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
    assert_eq!(narthex.get(HOST, "/fourth").status, 200);
}

#[test]
fn an_endpoint_that_fails_its_health_check_gets_nothing_until_it_is_well() {
    let ill = Arc::new(AtomicBool::new(true));
    let is_ill = Arc::clone(&ill);
    let sick = Backend::scripted("sick", move |exchange| {
        if exchange.request.target == "/healthz" && is_ill.load(Ordering::SeqCst) {
            exchange.send("HTTP/1.1 503 Ill\r\nContent-Length: 0\r\n\r\n")?;
            return Ok(Then::Close);
        }
        exchange.echo()
    });
    let well = Backend::named("well");
    let settings = [
        ("health-check", "http:/healthz"),
        ("health-check-interval", "100ms"),
    ];
    let documents = [
        annotated(&[sick.address(), well.address()], &settings),
        ingress().yaml(),
    ];
    let (narthex, _folder) = serve(&documents);
    narthex.until_log("health check");
    for _ in 0..30 {
        assert_eq!(narthex.backend(HOST, "/"), "well");
    }
    ill.store(false, Ordering::SeqCst);
    narthex.until_backend(HOST, "/", "sick");
}

#[test]
fn endpoints_of_the_same_zone_come_first_and_others_when_they_are_gone() {
    let (near, far) = (Backend::named("near"), Backend::named("far"));
    let zoned = |name: &str, backend: &Backend, zone: &str| {
        slice("default", "web", name, backend.address(), "ready: true")
            + &format!("    zone: {zone}\n")
    };
    let folder = Folder::of(&[
        class(),
        service_on("default", "web", &[("http", 80)]).replacen(
            "spec:\n",
            "spec:\n  trafficDistribution: PreferSameZone\n",
            1,
        ),
        zoned("far", &far, "z2"),
        ingress().yaml(),
    ]);
    folder.write("near.yaml", &zoned("near", &near, "z1"));
    let narthex = Narthex::on(&folder).arg("--zone=z1").start();
    for _ in 0..30 {
        assert_eq!(narthex.backend(HOST, "/"), "near");
    }
    folder.remove("near.yaml");
    narthex.until_backend(HOST, "/", "far");
}

#[test]
fn a_slip_of_the_pen_is_said_and_the_default_stands() {
    let web = Backend::named("web");
    let documents = [
        annotated(&[web.address()], &[("balance", "fair")]),
        ingress().yaml(),
    ];
    let (narthex, _folder) = serve(&documents);
    narthex.until_log("least-request");
    assert_eq!(narthex.backend(HOST, "/"), "web");
}
