//! Metrics under ingress-nginx's names, as its dashboards and alerts ask for them.

use std::collections::BTreeMap;

use program_tests::tls::Client;
use program_tests::{Backend, Certificate, Conn, Folder, Ingress, Narthex, secret, service, until};

const HOST: &str = "shop.example";
const PREFIX: &str = "nginx_ingress_controller_";

/// One series: its name, its labels, its value.
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// Reads Prometheus' text format, and panics where it is none.
#[track_caller]
fn parse(text: &str) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# TYPE ") {
            let (_, kind) = comment.split_once(' ').expect(line);
            let kinds = ["counter", "gauge", "histogram", "untyped", "summary"];
            assert!(kinds.contains(&kind), "{line}");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        assert!(!line.starts_with('#'), "{line}");
        let (series, value) = line.rsplit_once(' ').expect(line);
        let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
        let rest = rest.strip_suffix('}').expect(line);
        let labels = rest.split("\",").filter(|pair| !pair.is_empty());
        let labels = labels.map(|pair| {
            let (name, value) = pair.split_once("=\"").expect(line);
            let value = value.strip_suffix('"').unwrap_or(value);
            (name.to_owned(), value.to_owned())
        });
        all.push(Series {
            name: name.to_owned(),
            labels: labels.collect(),
            value: value.parse().expect(line),
        });
    }
    all
}

struct World {
    narthex: Narthex,
    _backends: [Backend; 2],
    _folder: Folder,
}

fn world(flags: &[&str]) -> World {
    let (web, canary) = (Backend::named("web"), Backend::named("canary"));
    let ingress = |name: &str| Ingress::named(name).class("nginx");
    let prefix = "nginx.ingress.kubernetes.io/";
    let folder = Folder::of(&[
        service("web", &[web.address()]),
        service("canary", &[canary.address()]),
        secret("tls", &Certificate::of(&[HOST])),
        ingress("shop")
            .annotation(&format!("{prefix}ssl-redirect"), "false")
            .tls(&[HOST], "tls")
            .host(HOST)
            .prefix("/a", "web")
            .prefix("/b", "web")
            .yaml(),
        ingress("shop-canary")
            .annotation(&format!("{prefix}canary"), "true")
            .annotation(&format!("{prefix}canary-by-header"), "canary")
            .host(HOST)
            .prefix("/a", "canary")
            .yaml(),
        ingress("orphan")
            .host("orphan.example")
            .prefix("/", "nobody")
            .yaml(),
    ]);
    let narthex = Narthex::on(&folder)
        .args(&["--metrics-names=ingress-nginx"])
        .args(flags)
        .env("POD_NAME", "pod-1")
        .env("POD_NAMESPACE", "ingress")
        .start();
    World {
        narthex,
        _backends: [web, canary],
        _folder: folder,
    }
}

impl World {
    fn send(&self, host: &str, head: &str, body: &str) -> u16 {
        let mut conn = Conn::plain(self.narthex.http);
        let length = body.len();
        conn.send(format!(
            "{head} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        conn.response().status
    }

    /// The series of a name whose labels are so.
    #[track_caller]
    fn find(&self, name: &str, labels: &[(&str, &str)]) -> Vec<Series> {
        let name = format!("{PREFIX}{name}");
        let all = parse(&self.narthex.metrics()).into_iter();
        let all = all.filter(|series| {
            let is = |(name, value): &(&str, &str)| {
                series.labels.get(*name).is_some_and(|it| it == value)
            };
            series.name == name && labels.iter().all(is)
        });
        all.collect()
    }

    #[track_caller]
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels)
            .iter()
            .map(|series| series.value)
            .sum()
    }
}

const POD: (&str, &str) = ("controller_pod", "pod-1");
const CLASS: (&str, &str) = ("controller_class", "k8s.io/ingress-nginx");
const NAMESPACE: (&str, &str) = ("controller_namespace", "ingress");

#[test]
fn requests_are_counted_as_dashboards_ask_for_them() {
    let world = world(&[]);
    for _ in 0..3 {
        assert_eq!(world.send(HOST, "GET /a/x", ""), 200);
    }
    assert_eq!(world.send(HOST, "POST /b", "0123456789"), 200);
    let mut conn = Conn::plain(world.narthex.http);
    conn.send(format!(
        "GET /a HTTP/1.1\r\nHost: {HOST}\r\ncanary: always\r\n\r\n"
    ));
    assert_eq!(conn.response().backend(), "canary");
    assert_eq!(world.send("orphan.example", "GET /", ""), 503);
    assert_eq!(world.send("nobody.example", "GET /", ""), 404);
    until("all is counted", || world.sum("requests", &[]) >= 6.0);
    let shop = |path: &'static str| {
        [
            POD,
            CLASS,
            NAMESPACE,
            ("namespace", "default"),
            ("ingress", "shop"),
            ("host", HOST),
            ("path", path),
        ]
    };
    let with = |labels: &[(&'static str, &'static str)], path| [&shop(path), labels].concat();
    let get = with(
        &[
            ("method", "GET"),
            ("status", "200"),
            ("service", "web"),
            ("canary", ""),
        ],
        "/a",
    );
    assert_eq!(world.sum("requests", &get), 3.0);
    let canary = with(&[("canary", "default-canary-http")], "/a");
    assert_eq!(world.sum("requests", &canary), 1.0);
    assert_eq!(
        world.sum("requests", &with(&[("method", "POST")], "/b")),
        1.0
    );
    assert_eq!(
        world.sum("requests", &[("ingress", "orphan"), ("status", "503")]),
        1.0
    );
    assert_eq!(world.sum("requests", &[("host", "nobody.example")]), 0.0);
    // What the boards' queries sum up or take quantiles of.
    for name in [
        "request_duration_seconds",
        "response_duration_seconds",
        "header_duration_seconds",
        "connect_duration_seconds",
        "request_size",
        "response_size",
        "bytes_sent",
    ] {
        assert_eq!(world.sum(&format!("{name}_count"), &get), 3.0, "{name}");
        let all = [&get[..], &[("le", "+Inf")]].concat();
        assert_eq!(world.sum(&format!("{name}_bucket"), &all), 3.0, "{name}");
        assert!(world.sum(&format!("{name}_sum"), &get) >= 0.0, "{name}");
        let buckets = world.find(&format!("{name}_bucket"), &get);
        assert!(buckets.len() > 7, "{name}: {}", buckets.len());
        assert!(buckets.is_sorted_by_key(|series| series.value), "{name}");
    }
    // Of each request more than its body, of each response more than its head line.
    assert!(world.sum("request_size_sum", &with(&[("method", "POST")], "/b")) > 50.0);
    assert!(world.sum("response_size_sum", &get) > 300.0);
    // Nobody was there to be asked.
    assert_eq!(
        world.sum("response_duration_seconds_count", &[("ingress", "orphan")]),
        0.0
    );
}

#[test]
fn the_process_and_its_configuration_are_told_of() {
    let world = world(&[]);
    assert_eq!(world.send(HOST, "GET /a", ""), 200);
    let client = Client::trusting_anything().connect(world.narthex.https, HOST);
    let (_open, _) = client.expect("a handshake");
    let own = [POD, CLASS, NAMESPACE];
    let with = |name, value| [&own[..], &[(name, value)]].concat();
    until("the connection is counted", || {
        world.sum("nginx_process_connections", &with("state", "active")) >= 1.0
    });
    for (name, least) in [
        ("nginx_process_cpu_seconds_total", 0.0),
        ("nginx_process_resident_memory_bytes", 1e6),
        ("nginx_process_virtual_memory_bytes", 1e6),
        ("nginx_process_num_procs", 1.0),
        ("nginx_process_oldest_start_time_seconds", 1.7e9),
        ("nginx_process_requests_total", 1.0),
        ("config_hash", 1.0),
        ("config_last_reload_successful", 1.0),
        ("config_last_reload_successful_timestamp_seconds", 1.7e9),
        ("success", 1.0),
        ("errors", 0.0),
        ("build_info", 1.0),
    ] {
        let found = world.find(name, &own);
        assert_eq!(found.len(), 1, "{name}");
        assert!(found[0].value >= least, "{name}: {}", found[0].value);
    }
    for state in ["accepted", "handled"] {
        let labels = with("state", state);
        assert!(world.sum("nginx_process_connections_total", &labels) >= 2.0);
    }
    let orphan = [("namespace", "default"), ("ingress", "orphan")];
    assert_eq!(
        world.sum(
            "orphan_ingress",
            &[&orphan[..], &[("type", "no-service")]].concat()
        ),
        1.0
    );
    assert_eq!(world.sum("orphan_ingress", &[("ingress", "shop")]), 0.0);
    let certificate = [
        ("host", HOST),
        ("namespace", "default"),
        ("secret_name", "tls"),
    ];
    let ends = world.find("ssl_expire_time_seconds", &certificate);
    assert_eq!(ends.len(), 1);
    assert!(ends[0].value > 1.7e9);
    let info = world.find("ssl_certificate_info", &certificate);
    assert_eq!(info[0].value, 1.0);
    assert_eq!(info[0].labels["public_key_algorithm"], "ECDSA");
    assert_eq!(
        info[0].labels["identifier"],
        format!("-{}", info[0].labels["serial_number"])
    );
    // Narthex's own are there as well.
    assert!(
        world
            .narthex
            .metrics()
            .contains("\nnarthex_config_generation ")
    );
}

#[test]
fn flags_say_what_is_told_apart() {
    let world = world(&[
        "--metrics-per-host=false",
        "--report-status-classes",
        "--exclude-socket-metrics=nginx_ingress_controller_bytes_sent,request_size",
        "--time-buckets=0.5,60",
    ]);
    assert_eq!(world.send(HOST, "GET /a", ""), 200);
    assert_eq!(world.send("nobody.example", "GET /", ""), 404);
    until("both are counted", || world.sum("requests", &[]) >= 2.0);
    let all = world.find("requests", &[]);
    assert!(all.iter().all(|series| !series.labels.contains_key("host")));
    assert_eq!(
        world.sum("requests", &[("status", "2xx"), ("ingress", "shop")]),
        1.0
    );
    assert_eq!(
        world.sum("requests", &[("status", "4xx"), ("ingress", "")]),
        1.0
    );
    let left_out = ["bytes_sent_count", "request_size_count"];
    assert!(left_out.iter().all(|name| world.find(name, &[]).is_empty()));
    let buckets = world.find("request_duration_seconds_bucket", &[("ingress", "shop")]);
    let bounds: Vec<&str> = buckets.iter().map(|series| &*series.labels["le"]).collect();
    assert_eq!(bounds, ["0.5", "60", "+Inf"]);
}

#[test]
fn hosts_that_nobody_has_are_told_apart_where_a_flag_says_so() {
    let counted = |flags: &[&str]| {
        let world = world(flags);
        assert_eq!(world.send("nobody.example", "GET /", ""), 404);
        assert_eq!(world.send(HOST, "GET /a", ""), 200);
        until("the second one is counted", || {
            world.sum("requests", &[("host", HOST)]) >= 1.0
        });
        world.sum("requests", &[("host", "nobody.example")])
    };
    assert_eq!(counted(&[]), 0.0);
    assert_eq!(counted(&["--metrics-per-undefined-host=true"]), 1.0);
}

#[test]
fn there_are_narthexs_own_names_alone_unless_others_are_asked_for() {
    let folder = Folder::of(&[]);
    let narthex = Narthex::on(&folder).start();
    let text = narthex.metrics();
    assert!(!text.contains(PREFIX), "{text}");
    assert!(text.ends_with("# EOF\n"));
}
