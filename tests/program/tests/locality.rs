//! The same node and zone first, where a Service prefers that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use program_tests::balancing::{ingress, seen};
use program_tests::folder::{service_on, slice};
use program_tests::{Backend, Conn, Folder, HOST, Narthex, class, until};

/// The Service `web` that prefers what is near; nothing is no preference.
fn service(distribution: &str) -> String {
    let field = match distribution {
        "" => String::new(),
        _ => format!("  trafficDistribution: {distribution}\n"),
    };
    let spec = format!("spec:\n{field}");
    service_on("default", "web", &[("http", 80)]).replacen("spec:\n", &spec, 1)
}

/// A slice of one endpoint with further lines of YAML.
fn placed(name: &str, backend: &Backend, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("    {line}\n")).collect();
    slice("default", "web", name, backend.address(), "ready: true") + &lines
}

#[track_caller]
fn assert_all_go_to(narthex: &Narthex, name: &str) {
    for _ in 0..30 {
        assert_eq!(narthex.backend(HOST, "/"), name);
    }
}

#[test]
fn endpoints_of_the_same_zone_come_first_and_others_when_they_are_gone() {
    let (near, far) = (Backend::named("near"), Backend::named("far"));
    for distribution in ["PreferSameZone", "PreferClose"] {
        let folder = Folder::of(&[
            class(),
            service(distribution),
            placed("far", &far, &["zone: z2"]),
            ingress(),
        ]);
        folder.write("near.yaml", &placed("near", &near, &["zone: z1"]));
        let narthex = Narthex::on(&folder).arg("--zone=z1").start();
        assert_all_go_to(&narthex, "near");
        folder.remove("near.yaml");
        narthex.until_backend(HOST, "/", "far");
    }
}

#[test]
fn the_same_node_comes_before_the_same_zone_and_that_before_all() {
    let [node, zone, far] = ["node", "zone", "far"].map(Backend::named);
    let folder = Folder::of(&[
        class(),
        service("PreferSameNode"),
        placed("far", &far, &["nodeName: n3", "zone: z2"]),
        ingress(),
    ]);
    folder.write(
        "node.yaml",
        &placed("node", &node, &["nodeName: n1", "zone: z1"]),
    );
    folder.write(
        "zone.yaml",
        &placed("zone", &zone, &["nodeName: n2", "zone: z1"]),
    );
    let narthex = Narthex::on(&folder)
        .env("NARTHEX_NODE_NAME", "n1")
        .env("NARTHEX_ZONE", "z1")
        .start();
    assert_all_go_to(&narthex, "node");
    folder.remove("node.yaml");
    narthex.until_backend(HOST, "/", "zone");
    assert_all_go_to(&narthex, "zone");
    folder.remove("zone.yaml");
    narthex.until_backend(HOST, "/", "far");
}

#[test]
fn hints_are_followed_where_every_endpoint_has_one() {
    let [ours, theirs] = ["ours", "theirs"].map(Backend::named);
    let hint = |zone: &str| format!("hints: {{ forZones: [{{ name: {zone} }}] }}");
    let folder = Folder::of(&[
        class(),
        service(""),
        placed("ours", &ours, &["zone: z2", &hint("z1")]),
        ingress(),
    ]);
    folder.write(
        "theirs.yaml",
        &placed("theirs", &theirs, &["zone: z1", &hint("z2")]),
    );
    let narthex = Narthex::on(&folder).arg("--zone=z1").start();
    assert_all_go_to(&narthex, "ours");
    folder.rename_over("theirs.yaml", &placed("theirs", &theirs, &["zone: z1"]));
    narthex.until_backend(HOST, "/", "theirs");
}

#[test]
fn farther_endpoints_help_when_the_near_one_has_too_much_to_do() {
    let hold = Arc::new(AtomicBool::new(true));
    let held = Arc::clone(&hold);
    let near = Backend::scripted("near", move |exchange| {
        while held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        exchange.echo()
    });
    let far = Backend::named("far");
    let folder = Folder::of(&[
        class(),
        service("PreferSameZone"),
        placed("near", &near, &["zone: z1"]),
        placed("far", &far, &["zone: z2"]),
        ingress(),
    ]);
    let narthex = Narthex::on(&folder).arg("--zone=z1").start();
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let mut conn = Conn::plain(narthex.http);
        conn.send(&request);
        waiting.push(conn);
    }
    until("all are at the near one", || seen(&[&near]) == 10);
    assert_eq!(seen(&[&far]), 0);
    for _ in 0..60 {
        let mut conn = Conn::plain(narthex.http);
        conn.send(&request);
        waiting.push(conn);
    }
    until("farther ones help", || seen(&[&near, &far]) == 70);
    assert!(seen(&[&far]) >= 20, "{}", seen(&[&far]));
    hold.store(false, Ordering::SeqCst);
    for mut conn in waiting {
        assert_eq!(conn.response().status, 200);
    }
}
