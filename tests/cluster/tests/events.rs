//! Events on objects of which something was refused.

use std::thread::sleep;
use std::time::Duration;

use cluster_tests::ingress::{class, ingress, service};
use cluster_tests::{Cluster, Serve, wait};
use rustix::process::Signal;
use serde_json::Value;

fn prepare(namespace: &str) -> &'static Cluster {
    let cluster = Cluster::shared();
    cluster.namespace(namespace);
    cluster.apply(&(class("narthex", "narthex.dev/ingress") + &service(namespace)));
    cluster
}

fn narthex<'a>(cluster: &'a Cluster, namespace: &str) -> Serve<'a> {
    cluster
        .serve()
        .args(&["--watch-namespace", namespace])
        .args(&["--pod-namespace", namespace])
        .args(&["--election-id", namespace])
        .args(&["--publish-status-address", "203.0.113.7"])
}

fn warnings(cluster: &Cluster, namespace: &str) -> Vec<Value> {
    let events = cluster.get(&["-n", namespace, "events.events.k8s.io"]);
    let events = events.expect("Events")["items"].take();
    let Value::Array(mut events) = events else {
        panic!("no list: {events}");
    };
    // Its Service, which has no endpoints, is another matter.
    events.retain(|event| event["type"] == "Warning" && event["regarding"]["kind"] == "Ingress");
    events
}

/// An Ingress whose backend names a Service that is not there.
fn broken(namespace: &str) -> String {
    ingress(namespace, "web", "narthex").replace("name: web, port", "name: nobody, port")
}

#[test]
fn what_is_wrong_is_told_once_while_it_stands_by_whoever_leads() {
    let cluster = prepare("events");
    let mut first = narthex(cluster, "events").start();
    cluster.apply(&broken("events"));
    wait::until("it is told", || warnings(cluster, "events").len() == 1);
    let event = warnings(cluster, "events").remove(0);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    assert!(text(&event["note"]).contains("backend"), "{event:#}");
    assert!(text(&event["note"]).contains("nobody"), "{event:#}");
    assert_eq!(event["reportingController"], "narthex.dev/ingress");
    assert_eq!(event["regarding"]["name"], "web");
    // kubectl finds it by the object's uid.
    let described = cluster.kubectl(&["-n", "events", "describe", "ingress/web"]);
    assert!(described.contains(&text(&event["reason"])), "{described}");

    // Another leader finds that it was told, and so does a change of something else.
    first.signal(Signal::TERM);
    wait::until("it ends", || matches!(first.child.try_wait(), Ok(Some(_))));
    let second = narthex(cluster, "events").start();
    wait::until("it leads", || second.leads());
    let patch = r#"{"metadata":{"labels":{"a":"b"}}}"#;
    cluster.kubectl(&["-n", "events", "patch", "ingress/web", "-p", patch]);
    sleep(Duration::from_secs(3));
    let told = warnings(cluster, "events");
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0]["series"], Value::Null);

    // Solved, and there again.
    cluster.apply(&ingress("events", "web", "narthex"));
    second.until_status("web.example.com", "/", 503);
    wait::until("it is solved", || {
        let problems = second.admin("/api/problems").map(|it| it.text());
        problems.is_ok_and(|text| !text.contains("nobody"))
    });
    cluster.apply(&broken("events"));
    wait::until("it is counted", || {
        let told = warnings(cluster, "events");
        told.len() == 1 && told[0]["series"]["count"] == 2
    });
}

#[test]
fn an_ingress_with_its_first_address_is_told_so() {
    let cluster = prepare("first");
    let _narthex = narthex(cluster, "first").start();
    cluster.apply(&ingress("first", "web", "narthex"));
    wait::until("it is told", || {
        let events = cluster.get(&["-n", "first", "events.events.k8s.io"]);
        let events = events.unwrap_or_default()["items"].take();
        let events = events.as_array().cloned().unwrap_or_default();
        events.iter().any(|event| {
            let note = event["note"].as_str().unwrap_or_default();
            event["reason"] == "AddressAssigned" && note.contains("203.0.113.7")
        })
    });
}
