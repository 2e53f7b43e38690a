//! From start to end: readiness, ports, signals.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use program_tests::http2::{H2, block_on, finish};
use program_tests::load::Kind;
use program_tests::{
    Backend, Conn, Folder, HOST, Ingress, Load, Narthex, Site, class, docs, ports, run, service,
    until,
};
use rustix::process::Signal;

/// How long what happens at once may take on a machine that has more to do.
const SOON: Duration = Duration::from_secs(25);

/// Answers `/slow` once it may, everything else at once.
fn held() -> (Backend, Arc<AtomicBool>) {
    let go_on = Arc::new(AtomicBool::new(false));
    let may = Arc::clone(&go_on);
    let web = Backend::scripted("web", move |exchange| {
        while exchange.request.target == "/slow" && !may.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        exchange.echo()
    });
    (web, go_on)
}

/// Waits until the program is about to end.
#[track_caller]
fn until_draining(narthex: &Narthex) {
    until("not ready", || narthex.admin_status("/readyz") == Some(503));
}

#[test]
fn health_and_readiness_are_told() {
    let site = Site::echo();
    assert_eq!(site.narthex.admin_status("/healthz"), Some(200));
    assert_eq!(site.narthex.admin_status("/readyz"), Some(200));
    assert_eq!(site.narthex.admin_status("/nothing"), Some(404));
}

#[test]
fn ready_means_that_everything_is_served() {
    let web = Backend::named("web");
    let folder = Folder::of(&[class(), service("web", &[web.address()])]);
    let many: Vec<_> = (0..2000)
        .map(|index| {
            Ingress::named(&format!("i{index}"))
                .host(&format!("h{index}.example"))
                .prefix("/", "web")
                .yaml()
        })
        .collect();
    folder.write("zz-many.yaml", &docs(&many));
    let narthex = Narthex::on(&folder).spawn();
    until("ready", || narthex.admin_status("/readyz") == Some(200));
    // No waiting here: the first request after readiness is answered by its route.
    assert_eq!(narthex.backend("h1999.example", "/"), "web");
}

#[test]
fn sigterm_ends_an_idle_program_cleanly() {
    let mut site = Site::echo();
    assert_eq!(site.get("/").status, 200);
    site.narthex.signal(Signal::TERM);
    let status = site.narthex.ended_within(SOON);
    assert_eq!(status.code(), Some(0), "{}", site.narthex.log());
}

#[test]
fn sigint_ends_it_as_well() {
    let mut site = Site::echo();
    site.narthex.signal(Signal::INT);
    assert_eq!(site.narthex.ended_within(SOON).code(), Some(0));
}

#[test]
fn sighup_ends_nothing() {
    let site = Site::echo();
    let mut conn = site.conn();
    assert_eq!(conn.get(HOST, "/").backend(), "web");
    site.narthex.signal(Signal::HUP);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(conn.get(HOST, "/").backend(), "web");
    assert_eq!(site.narthex.admin_status("/readyz"), Some(200));
}

#[test]
fn a_request_in_flight_at_sigterm_is_answered() {
    let (web, go_on) = held();
    let mut site = Site::of(web, &[]);
    let mut conn = site.conn();
    conn.send("GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n");
    until("it reached the backend", || !site.web.seen().is_empty());
    site.narthex.signal(Signal::TERM);
    until_draining(&site.narthex);
    go_on.store(true, Ordering::SeqCst);
    let answer = conn.response();
    assert_eq!(answer.backend(), "web");
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(site.narthex.ended_within(SOON).code(), Some(0));
}

#[test]
fn readiness_is_off_at_once_after_sigterm() {
    let (web, go_on) = held();
    let site = Site::of(web, &[]);
    let mut conn = site.conn();
    conn.send("GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n");
    until("it reached the backend", || !site.web.seen().is_empty());
    site.narthex.signal(Signal::TERM);
    until_draining(&site.narthex);
    assert_eq!(
        site.narthex.admin_status("/healthz"),
        Some(200),
        "but alive"
    );
    go_on.store(true, Ordering::SeqCst);
    assert_eq!(conn.response().status, 200);
}

#[test]
fn a_kept_connection_is_told_to_close_while_draining() {
    let site = Site::echo();
    let mut kept = site.conn();
    assert_eq!(kept.get(HOST, "/").header("connection"), None);
    // The beginning of a request keeps it open for as long as the rest takes.
    kept.send("GET /again HTTP/1.1\r\n");
    site.narthex.signal(Signal::TERM);
    until_draining(&site.narthex);
    let answer = kept.ask("Host: a.example\r\n\r\n");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(kept.is_closed_within(Duration::from_secs(15)));
}

#[test]
fn sigterm_under_load_loses_no_request() {
    let mut site = Site::echo();
    let load = Load::start(site.narthex.http, 16, HOST, "/", |answer| {
        answer.backend() == "web"
    });
    load.until_more(500);
    load.expect_refusal();
    site.narthex.signal(Signal::TERM);
    let status = site.narthex.ended_within(Duration::from_secs(45));
    load.join().assert_perfect();
    assert_eq!(status.code(), Some(0), "{}", site.narthex.log());
}

#[test]
fn the_shutdown_timeout_ends_what_does_not_end() {
    let mut site = Site::of(held().0, &["--shutdown-timeout=1s"]);
    let mut conn = site.conn();
    conn.send("GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n");
    until("it reached the backend", || !site.web.seen().is_empty());
    let started = Instant::now();
    site.narthex.signal(Signal::TERM);
    site.narthex.ended_within(SOON);
    assert!(
        started.elapsed() >= Duration::from_millis(800),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn second_signal_ends_at_once() {
    let mut site = Site::of(held().0, &["--shutdown-timeout=10m"]);
    let mut conn = site.conn();
    conn.send("GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n");
    until("it reached the backend", || !site.web.seen().is_empty());
    site.narthex.signal(Signal::TERM);
    until_draining(&site.narthex);
    site.narthex.signal(Signal::TERM);
    site.narthex.ended_within(SOON);
}

#[test]
fn http2_connections_get_goaway_and_finish_their_streams() {
    let (mut site, ..) = Site::secure(&[]);
    let (web, go_on) = held();
    site.folder.rename_over(
        "site.yaml",
        &std::fs::read_to_string(site.folder.file("site.yaml"))
            .expect("written")
            .replace(
                &format!("port: {}", site.web.address().port()),
                &format!("port: {}", web.address().port()),
            ),
    );
    block_on(async {
        let h2 = H2::connect(site.narthex.https, HOST).await;
        until("the slow backend serves", || {
            let before = web.seen().len();
            site.get("/").status == 200 && web.seen().len() > before
        });
        let request = http::Request::get("https://a.example/slow")
            .body(())
            .expect("a request");
        let (response, _) = h2.open(request, true).await.expect("a stream");
        let before = web.seen().len();
        while web.seen().len() == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        site.narthex.signal(Signal::TERM);
        // Until GOAWAY comes; from then on no further stream opens.
        let begin = Instant::now();
        while h2.get(HOST, "/more").await.is_ok() {
            assert!(begin.elapsed() < SOON, "streams are still accepted");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        go_on.store(true, Ordering::SeqCst);
        let answer = finish(response).await.expect("the stream ends well");
        assert_eq!(answer.echo().target, "/slow");
    });
    assert_eq!(site.narthex.ended_within(SOON).code(), Some(0));
}

#[test]
fn port_in_use_by_same_user_is_a_clear_error() {
    let site = Site::echo();
    let ended = Narthex::on(&site.folder)
        .http_port(site.narthex.http)
        .fail();
    assert_ne!(ended.code, Some(0));
    assert!(
        ended.stderr.contains(&site.narthex.http.to_string()),
        "{}",
        ended.said()
    );
    assert!(
        ended.stderr.to_lowercase().contains("in use"),
        "{}",
        ended.said()
    );
    for _ in 0..20 {
        assert_eq!(site.get("/").status, 200, "the first one is not disturbed");
    }
}

#[test]
fn a_port_that_another_program_holds_is_named() {
    let site = Folder::of(&[class()]);
    let held = TcpListener::bind((Ipv4Addr::UNSPECIFIED, ports::free())).expect("a port");
    let port = held.local_addr().expect("bound").port();
    let ended = Narthex::on(&site).https_port(port).fail();
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains(&port.to_string()), "{}", ended.said());
}

#[test]
fn an_admin_port_in_use_is_named() {
    let folder = Folder::of(&[class()]);
    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = held.local_addr().expect("bound").to_string();
    let ended = run(&[
        "serve".as_ref(),
        folder.path().as_os_str(),
        format!("--http-port={}", ports::free()).as_ref(),
        format!("--https-port={}", ports::free()).as_ref(),
        format!("--admin-address={address}").as_ref(),
    ]);
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains(&address), "{}", ended.said());
}

#[test]
fn a_restart_takes_the_same_ports_at_once() {
    let mut site = Site::echo();
    let mut open = site.conn();
    assert_eq!(open.get(HOST, "/").status, 200);
    let (http, https) = (site.narthex.http, site.narthex.https);
    site.narthex.signal(Signal::TERM);
    site.narthex.ended_within(SOON);
    let again = Narthex::on(&site.folder)
        .http_port(http)
        .https_port(https)
        .start();
    assert_eq!(again.backend(HOST, "/"), "web");
}

#[test]
fn every_flag_has_an_environment_variable() {
    let web = Backend::named("web");
    let fallback = Backend::named("fallback");
    let folder = Folder::of(&[
        class(),
        service("web", &[web.address()]),
        service("fallback", &[fallback.address()]),
        Ingress::named("web").host(HOST).prefix("/", "web").yaml(),
    ]);
    let narthex = Narthex::on(&folder)
        .env("NARTHEX_DEFAULT_BACKEND_SERVICE", "default/fallback")
        .env("NARTHEX_MAX_URI_BYTES", "50")
        .start();
    assert_eq!(narthex.backend("unknown.example", "/"), "fallback");
    assert_eq!(
        narthex.get(HOST, &format!("/{}", "x".repeat(100))).status,
        414
    );
    let help = run(&["serve", "--help"]).stdout;
    for variable in [
        "NARTHEX_HTTP_PORT",
        "NARTHEX_HTTPS_PORT",
        "NARTHEX_STATE_DIR",
        "NARTHEX_ADMIN_ADDRESS",
    ] {
        assert!(help.contains(variable), "{variable} is not in the help");
    }
}

#[test]
fn a_flag_wins_over_its_environment_variable() {
    let folder = Folder::of(&[class()]);
    let narthex = Narthex::on(&folder).env("NARTHEX_HTTP_PORT", "1").start();
    assert_eq!(narthex.get("any.example", "/").status, 404);
}

#[test]
fn help_and_version_are_told() {
    let help = run(&["--help"]);
    assert_eq!(help.code, Some(0));
    for command in ["serve", "check", "explain", "quickstart"] {
        assert!(help.stdout.contains(command), "{command}: {}", help.stdout);
    }
    let version = run(&["--version"]);
    assert_eq!(version.code, Some(0));
    assert!(version.stdout.starts_with("narthex "), "{}", version.stdout);
}

#[test]
fn unknown_flags_and_values_are_refused_with_a_hint() {
    for arguments in [
        &["serve", "--htp-port=80"][..],
        &["serve", "--http-port=eighty"],
        &["srve"],
    ] {
        let ended = run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.said());
        assert!(!ended.stderr.is_empty());
    }
}

#[test]
fn the_admin_address_is_not_served_to_the_public() {
    let site = Site::echo();
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(
            site.narthex.get("unknown.example", path).status,
            404,
            "{path}"
        );
    }
}

#[test]
fn the_admin_address_refuses_other_methods() {
    let site = Site::echo();
    let answer = Conn::plain(site.narthex.admin).ask(
        "POST /readyz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    assert!(matches!(answer.status, 404 | 405), "{answer:?}");
}

#[test]
fn new_connections_are_taken_for_the_grace_period_after_sigterm() {
    let mut site = Site::with_flags(&["--shutdown-grace-period=30s"]);
    site.narthex.signal(Signal::TERM);
    until("not ready", || {
        site.narthex.admin_status("/readyz") == Some(503)
    });
    assert_eq!(site.narthex.backend(HOST, "/"), "web", "but serving");
    site.folder.write(
        "later.yaml",
        &Ingress::named("later")
            .host("b.example")
            .prefix("/", "web")
            .yaml(),
    );
    site.narthex.until_backend("b.example", "/", "web");
    // The second one ends the wait, not what is under way.
    site.narthex.signal(Signal::TERM);
    let ended = site.narthex.ended_within(Duration::from_secs(20));
    assert_eq!(ended.code(), Some(0), "{}", site.narthex.log());
}

#[test]
fn the_grace_period_ends_by_itself() {
    let mut site = Site::with_flags(&["--shutdown-grace-period=500ms"]);
    site.narthex.signal(Signal::TERM);
    let ended = site.narthex.ended_within(SOON);
    assert_eq!(ended.code(), Some(0), "{}", site.narthex.log());
    site.narthex.until_log("500ms");
}

#[test]
fn connections_that_still_come_when_the_grace_period_is_over_are_taken() {
    // After a second without a connection it is over: a machine that holds the load up for so long
    // says nothing, and another round does.
    let mut rounds = Vec::new();
    let taken = (0..5).any(|_| {
        let (failures, ended) = come_late();
        assert_eq!(ended, Some(0));
        let none = failures.is_empty();
        rounds.push(failures);
        none
    });
    assert!(taken, "{rounds:?}");
}

/// Sends requests until some came after the end of the grace period: what went wrong, and how the
/// program ended.
fn come_late() -> (Vec<String>, Option<i32>) {
    let mut site = Site::with_flags(&["--shutdown-grace-period=6s"]);
    site.narthex.signal(Signal::TERM);
    // A load balancer that has not noticed.
    let load = Load::of(Kind::Fresh, site.narthex.http, 1, HOST);
    let still = || site.narthex.log().contains("connections still come");
    until("the grace period is over", || {
        still() || load.failures() > 0
    });
    load.until_more(3);
    let mut failures = load.stop().failures;
    if !still() {
        failures.push("none came when it was over".to_owned());
    }
    let ended = site.narthex.ended_within(SOON);
    (failures, ended.code())
}

#[test]
fn a_connection_that_was_taken_may_be_late_with_its_first_request_at_the_end() {
    // Later than a kept connection is waited for, and well before the five seconds of this one: a
    // round in which the machine held the client up for longer says nothing.
    let in_time = (0..5).any(|_| {
        let mut site = Site::echo();
        let mut conn = site.conn();
        let http = SocketAddr::from(([127, 0, 0, 1], site.narthex.http));
        let begun = Instant::now();
        site.narthex.signal(Signal::TERM);
        until("nothing is accepted any more", || Conn::to(http).is_err());
        std::thread::sleep(Duration::from_millis(1800));
        let sent = conn.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
        if begun.elapsed() > Duration::from_secs(4) {
            return false;
        }
        sent.expect("it is open");
        let answer = conn.response();
        assert_eq!(answer.backend(), "web");
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(site.narthex.ended_within(SOON).code(), Some(0));
        true
    });
    assert!(in_time, "too slow a machine");
}

#[test]
fn the_health_address_has_probes_and_metrics_and_no_api() {
    let port = ports::free();
    let mut site = Site::with_flags(&[&format!("--health-address=127.0.0.1:{port}")]);
    let status = |path: &str| Conn::plain(port).get("narthex.narthex.svc", path).status;
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(status(path), 200, "{path}");
    }
    assert_eq!(status("/api/status"), 403);
    // The next process takes it over with the rest.
    let flag = format!("--health-address=127.0.0.1:{port}");
    let replacement = Narthex::on(&site.folder)
        .after(&site.narthex)
        .args(&[&flag])
        .start();
    let mut old = std::mem::replace(&mut site.narthex, replacement);
    assert_eq!(old.ended_within(SOON).code(), Some(0));
    assert_eq!(status("/readyz"), 200);

    let address = format!("127.0.0.1:{}", ports::free());
    let folder = site.folder.path().to_string_lossy().into_owned();
    let refused = run(&[
        "serve",
        &folder,
        &format!("--admin-address={address}"),
        &format!("--health-address={address}"),
    ]);
    let said = format!("are both {address}");
    assert!(refused.said().contains(&said), "{}", refused.said());
}
