//! Endpoints that fail are left out, and come back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use program_tests::balancing::{
    Dead, addresses, annotated, closing, counter, dead, failing, grpc_health, ingress, seen,
};
use program_tests::{Backend, Folder, HOST, Ingress, Load, Narthex, Then, class, serve, until};

const EJECTIONS: &str = "narthex_endpoint_ejections_total";

#[test]
fn an_ejected_endpoint_stays_out_while_routes_change_ten_times_a_second() {
    let [one, two] = ["one", "two"].map(Backend::named);
    let broken = closing("broken");
    let three = Backend::named("three");
    let at = [&one, &two, &broken, &three].map(Backend::address);
    let folder = Folder::of(&[class(), ingress()]);
    // As long as the test may take.
    let settings = [("balance", "round-robin"), ("eject-for", "1h")];
    folder.write("web.yaml", &annotated(&at[..3], &settings));
    let narthex = Narthex::on(&folder).start();
    let load = Load::start(narthex.http, 4, HOST, "/", |answer| answer.status == 200);
    until("the broken one is ejected", || {
        counter(&narthex, "narthex_endpoint_ejections_total") > 0
    });
    // What was under way then has come to its end.
    load.stop().assert_perfect();
    let asked = broken.seen().len();
    let load = Load::start(narthex.http, 4, HOST, "/", |answer| answer.status == 200);
    for round in 0..30 {
        let other = Ingress::named("other")
            .host(&format!("h{round}.example"))
            .prefix("/", "web");
        folder.rename_over("other.yaml", &other.yaml());
        // Endpoints come and go as well, so that the set is another one each time.
        let count = if round % 2 == 0 { 4 } else { 3 };
        let site = annotated(&at[..count], &settings);
        folder.rename_over("web.yaml", &site);
        std::thread::sleep(Duration::from_millis(100));
    }
    narthex.until_backend("h29.example", "/other", "one");
    let more = broken.seen().len() - asked;
    assert_eq!(more, 0, "it was asked while it was ejected");
    assert_eq!(counter(&narthex, "narthex_endpoint_ejections_total"), 1);
    load.stop().assert_perfect();
}

#[test]
fn an_ejected_endpoint_is_tried_again_ever_more_rarely_and_used_once_it_is_well() {
    let well = Backend::named("well");
    let ill = Arc::new(AtomicBool::new(true));
    let first: Arc<OnceLock<Instant>> = Arc::default();
    let (is_ill, asked) = (Arc::clone(&ill), Arc::clone(&first));
    let sick = Backend::scripted("sick", move |exchange| {
        if !is_ill.load(Ordering::SeqCst) {
            return exchange.echo();
        }
        asked.get_or_init(Instant::now);
        exchange.read_body()?;
        exchange.send("HTTP/1.1 503 Ill\r\nContent-Length: 0\r\n\r\n")?;
        Ok(Then::Keep)
    });
    let settings = [
        ("balance", "round-robin"),
        ("eject-after", "3"),
        ("eject-for", "400ms"),
    ];
    let site = annotated(&[well.address(), sick.address()], &settings);
    let (narthex, _folder) = serve(&[site, ingress()]);
    let load = Load::start(narthex.http, 2, HOST, "/", |answer| {
        matches!(answer.status, 200 | 503)
    });
    until("it was tried three times and ejected again", || {
        counter(&narthex, EJECTIONS) >= 4
    });
    // Three ejections are over by then: 0.4, 0.8 and 1.6 seconds, or 1.2 in all if they did not get
    // longer. However slow a machine is, less cannot have passed.
    let passed = first.get().expect("it was asked").elapsed();
    assert!(passed > Duration::from_millis(2700), "{passed:?}");
    ill.store(false, Ordering::SeqCst);
    narthex.until_backend(HOST, "/", "sick");
    load.stop().assert_perfect();
}

#[test]
fn which_statuses_eject_is_the_services_choice() {
    const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Ill\r\nContent-Length: 0\r\n\r\n";
    const BROKEN: &[u8] = b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n";
    for (on, answer, ejected) in [
        ("errors", UNAVAILABLE, false),
        ("gateway-errors", BROKEN, false),
        ("gateway-errors", UNAVAILABLE, true),
        ("5xx", BROKEN, true),
    ] {
        let well = Backend::named("well");
        let sick = Backend::answering("sick", answer);
        let at = [well.address(), sick.address()];
        let settings = [
            ("eject-on", on),
            ("balance", "round-robin"),
            ("eject-for", "1h"),
        ];
        let (narthex, _folder) = serve(&[annotated(&at, &settings), ingress()]);
        for _ in 0..60 {
            narthex.backend(HOST, "/");
        }
        assert_eq!(counter(&narthex, EJECTIONS) > 0, ejected, "{on}");
        assert_eq!(seen(&[&sick]) < 20, ejected, "{on}: {}", seen(&[&sick]));
    }
}

#[test]
fn when_most_are_ejected_all_are_used() {
    let well = Backend::named("well");
    let [(a, _), (b, _), (c, _)] = ["a", "b", "c"].map(failing);
    let at = [&well, &a, &b, &c].map(Backend::address);
    let (narthex, _folder) = serve(&[
        annotated(&at, &[("balance", "round-robin"), ("eject-for", "1h")]),
        ingress(),
    ]);
    let load = Load::start(narthex.http, 2, HOST, "/", |answer| {
        matches!(answer.status, 200 | 503)
    });
    until("three of four are ejected", || {
        counter(&narthex, EJECTIONS) == 3
    });
    let before = seen(&[&a, &b, &c]);
    load.until_more(200);
    load.stop().assert_perfect();
    let more = seen(&[&a, &b, &c]) - before;
    assert!(more > 100, "{more} of 200");
    assert_eq!(counter(&narthex, EJECTIONS), 3);
}

#[test]
fn one_that_lives_among_many_that_are_gone_gets_all_after_the_first_few() {
    let web = Backend::named("web");
    let gone: Vec<_> = (0..9).map(|_| dead()).collect();
    let mut at = vec![web.address()];
    at.extend(gone.iter().map(Dead::address));
    for algorithm in ["p2c", "round-robin", "hash"] {
        let settings = [("balance", algorithm), ("eject-for", "1h")];
        let (narthex, _folder) = serve(&[annotated(&at, &settings), ingress()]);
        // A request that fails has met two endpoints that nobody had asked before, and there are nine.
        let failed = (0..24).filter(|_| narthex.get(HOST, "/").status != 200);
        assert!(failed.count() <= 5, "{algorithm}");
        let load = Load::start(narthex.http, 4, HOST, "/", |answer| answer.status == 200);
        load.until_more(1000);
        load.stop().assert_perfect();
    }
}

#[test]
fn endpoints_that_were_all_gone_are_used_as_soon_as_one_is_back() {
    let (gone, other) = (dead(), dead());
    let (narthex, _folder) = serve(&[
        annotated(
            &[gone.address(), other.address()],
            &[("eject-after", "1"), ("eject-for", "1h")],
        ),
        ingress(),
    ]);
    for _ in 0..20 {
        assert_eq!(narthex.get(HOST, "/").status, 502);
    }
    until("both are ejected", || counter(&narthex, EJECTIONS) == 2);
    let listener = gone.revive();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(200) {
            let Ok(mut stream) = stream else { continue };
            let mut head = [0; 1024];
            // The request is small, and what becomes of the answer shows at the client.
            let _ = std::io::Read::read(&mut stream, &mut head);
            let answer = b"HTTP/1.1 204 Back\r\nConnection: close\r\n\r\n";
            let _ = std::io::Write::write_all(&mut stream, answer);
        }
    });
    until("it is used again", || {
        (0..10).all(|_| narthex.get(HOST, "/").status == 204)
    });
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
        // Whoever is well is, however long this machine holds it up.
        ("health-check-timeout", "30s"),
    ];
    let documents = [
        annotated(&[sick.address(), well.address()], &settings),
        ingress(),
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
fn an_endpoint_that_grpc_says_is_not_serving_gets_nothing_until_it_is() {
    let ill = Arc::new(AtomicBool::new(true));
    let is_ill = Arc::clone(&ill);
    let sick = Backend::scripted("sick", move |exchange| match &*exchange.request.method {
        "PRI" => grpc_health(exchange, "shop.v1.Cart", !is_ill.load(Ordering::SeqCst)),
        _ => exchange.echo(),
    });
    let well = Backend::scripted("well", |exchange| match &*exchange.request.method {
        "PRI" => grpc_health(exchange, "shop.v1.Cart", true),
        _ => exchange.echo(),
    });
    let backends = [sick, well];
    let settings = [
        ("health-check", "grpc:shop.v1.Cart"),
        ("health-check-interval", "100ms"),
        // Whoever is well is, however long this machine holds it up.
        ("health-check-timeout", "30s"),
    ];
    let (narthex, _folder) = serve(&[annotated(&addresses(&backends), &settings), ingress()]);
    until("the sick one is out", || {
        counter(&narthex, "narthex_endpoints_unhealthy") == 1
    });
    for _ in 0..30 {
        assert_eq!(narthex.backend(HOST, "/"), "well");
    }
    ill.store(false, Ordering::SeqCst);
    narthex.until_backend(HOST, "/", "sick");
}

#[test]
fn an_endpoint_that_takes_no_connection_is_left_out_before_a_request_meets_it() {
    let well = Backend::named("well");
    let gone = dead();
    let settings = [
        ("health-check", "tcp"),
        ("health-check-interval", "100ms"),
        // Whoever is well is, however long this machine holds it up.
        ("health-check-timeout", "30s"),
        ("balance", "round-robin"),
    ];
    let (narthex, _folder) = serve(&[
        annotated(&[well.address(), gone.address()], &settings),
        ingress(),
    ]);
    let unhealthy = || counter(&narthex, "narthex_endpoints_unhealthy");
    until("it is out", || unhealthy() == 1);
    for _ in 0..30 {
        assert_eq!(narthex.backend(HOST, "/"), "well");
    }
    let failed = "narthex_upstream_connections_total{outcome=\"failed\"}";
    assert_eq!(counter(&narthex, failed), 0);
    let _back = gone.revive();
    until("it is back", || unhealthy() == 0);
    assert!(counter(&narthex, "narthex_health_checks_total{outcome=\"failed\"}") > 0);
}
