//! The access log and the metrics.

use std::collections::HashSet;
use std::time::Duration;

use program_tests::tls::Client;
use program_tests::{Conn, HOST, Site, eventually, until};

#[test]
fn the_access_log_tells_route_backend_endpoint_durations_and_bytes() {
    let site = Site::echo();
    let answer = site.get_with("/x?secret=1", "User-Agent: tester/1\r\n");
    assert_eq!(answer.status, 200);
    let line = eventually("a line", || site.narthex.access_log().into_iter().next());
    for (key, value) in [
        ("client", "127.0.0.1"),
        ("method", "GET"),
        ("host", HOST),
        ("route", "default/web"),
        ("backend", "default/web:http"),
        ("user_agent", "tester/1"),
    ] {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    assert_eq!(line["status"], 200);
    assert_eq!(line["endpoint"], site.web.address().to_string());
    assert!(
        line["path"]
            .as_str()
            .is_some_and(|path| path.starts_with("/x")),
        "{line}"
    );
    assert!(
        line["protocol"]
            .as_str()
            .is_some_and(|version| version.contains("1.1")),
        "{line}"
    );
    assert!(
        line["time"].as_str().is_some_and(|time| time.contains('T')),
        "{line}"
    );
    assert!(line["reason"].is_null(), "nothing went wrong: {line}");
    for key in ["duration_ms", "upstream_ms"] {
        assert!(
            line[key].as_f64().is_some_and(|time| time >= 0.0),
            "{key} in {line}"
        );
    }
    let out = line["bytes_out"].as_u64().expect("a number");
    assert!(out >= answer.body.len() as u64, "{line}");
    assert!(
        line["bytes_in"].is_u64() && line["request_id"].is_string(),
        "{line}"
    );
}

#[test]
fn requests_over_tls_tell_its_version() {
    let (site, ..) = Site::secure(&[]);
    let (mut conn, _) = Client::trusting_anything()
        .connect(site.narthex.https, HOST)
        .expect("a handshake");
    assert_eq!(conn.get(HOST, "/tls").status, 200);
    let line = site.narthex.access("/tls");
    assert!(
        line["tls"]
            .as_str()
            .is_some_and(|version| version.contains("1.3")),
        "{line}"
    );
}

#[test]
fn answers_of_ours_have_a_reason() {
    let site = Site::echo();
    site.narthex.get("unknown.example", "/nobody");
    let line = site.narthex.access("/nobody");
    assert_eq!(line["status"], 404);
    assert!(
        line["reason"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty()),
        "{line}"
    );
}

#[test]
fn what_clients_send_cannot_break_the_log() {
    let site = Site::echo();
    site.get_with(
        "/q?a=\"}{\"x",
        "User-Agent: a\"b\\c\td\u{e9}\"},{\"status\":999\r\n",
    );
    let line = eventually("a line", || site.narthex.access_log().into_iter().next());
    assert_eq!(line["status"], 200);
    assert!(
        line["user_agent"]
            .as_str()
            .is_some_and(|agent| agent.contains("a\"b\\c")),
        "{line}"
    );
    for text in site.narthex.stdout().lines() {
        assert!(
            serde_json::from_str::<serde_json::Value>(text).is_ok(),
            "not JSON: {text}"
        );
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

#[test]
fn the_common_format_is_one_line_a_request() {
    let site = Site::with_flags(&["--access-log-format=common"]);
    site.get_with("/x", "User-Agent: a\"b\r\n");
    let line = eventually("a line", || {
        site.narthex.stdout().lines().next().map(str::to_owned)
    });
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(line.contains("\"GET /x HTTP/1.1\" 200 "), "{line}");
    assert!(!line.contains("a\"b"), "quotes are escaped: {line}");
}

#[test]
fn the_access_log_can_be_off() {
    let site = Site::with_flags(&["--access-log-format", "off"]);
    assert_eq!(site.get("/x").status, 200);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(site.narthex.stdout(), "");
}

#[test]
fn an_unknown_log_format_is_refused() {
    let folder = program_tests::Folder::new();
    let ended = program_tests::Narthex::on(&folder)
        .arg("--access-log-format=xml")
        .fail();
    assert_eq!(ended.code, Some(2), "{}", ended.said());
    assert!(
        ended.stderr.contains("common"),
        "says which there are: {}",
        ended.said()
    );
}

#[test]
fn logs_go_to_stderr_and_the_access_log_to_stdout() {
    let site = Site::echo();
    site.get("/x");
    site.narthex.access("/x");
    until("the start is logged", || !site.narthex.log().is_empty());
    assert_eq!(
        site.narthex.stdout().lines().count(),
        site.narthex.access_log().len()
    );
}

/// The sum of all samples whose name contains all of `words`.
fn total(metrics: &str, words: &[&str]) -> f64 {
    metrics
        .lines()
        .filter(|line| !line.starts_with('#') && words.iter().all(|word| line.contains(word)))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[test]
fn a_full_log_pipe_drops_and_counts_and_never_blocks() {
    let folder = program_tests::Folder::of(&[]);
    let narthex = program_tests::Narthex::on(&folder)
        .with_stuck_stdout()
        .start();
    let padding = format!("/{}", "x".repeat(4000));
    let mut conn = Conn::plain(narthex.http);
    // Each is answered, or the client's patience ends.
    for _ in 0..3000 {
        assert_eq!(conn.get("any.example", &padding).status, 404);
    }
    until("drops are counted", || {
        total(&narthex.metrics(), &["log", "drop"]) > 0.0
    });
    assert_eq!(narthex.admin_status("/readyz"), Some(200));
}

#[test]
fn metrics_are_in_the_text_format_and_count_requests() {
    let site = Site::echo();
    for _ in 0..7 {
        site.get("/x");
    }
    let text = eventually("counted", || {
        let text = site.narthex.metrics();
        (total(&text, &["narthex_responses_total", "status=\"200\""]) >= 7.0).then_some(text)
    });
    for line in text.lines() {
        let good = line.starts_with("# ") || {
            let (name, value) = line.rsplit_once(' ').unwrap_or(("", ""));
            name.starts_with(|first: char| first.is_ascii_alphabetic())
                && (value.parse::<f64>().is_ok() || value == "+Inf")
        };
        assert!(good, "not a sample: {line}");
    }
}

#[test]
fn hosts_nobody_claims_share_one_label() {
    let site = Site::echo();
    site.get("/known");
    for index in 0..100 {
        site.narthex.get(
            &format!("random{index}.attacker.example"),
            &format!("/path{index}"),
        );
    }
    until("counted", || {
        total(&site.narthex.metrics(), &["404"]) >= 100.0
    });
    let text = site.narthex.metrics();
    assert!(!text.contains("attacker"), "{text}");
    assert!(!text.contains("/path"), "paths are no labels");
}

#[test]
fn methods_that_clients_make_up_share_one_label() {
    let site = Site::echo();
    for index in 0..50 {
        site.conn()
            .ask(&format!("M{index}X / HTTP/1.1\r\nHost: a.example\r\n\r\n"));
    }
    let before: HashSet<_> = site.narthex.metrics().lines().map(str::len).collect();
    assert!(!before.is_empty());
    assert!(
        !site.narthex.metrics().contains("M7X"),
        "an unbounded label"
    );
}
