//! Several replicas, of which one leads.

use std::thread::sleep;
use std::time::{Duration, Instant};

use cluster_tests::ingress::{class, ingress, service};
use cluster_tests::{Cluster, Inside, wait};
use rustix::process::Signal;

/// How long a new leader may take; what a loaded machine may take longer is not ours to judge.
const LIMIT: Duration = Duration::from_secs(15);
const GRACE: Duration = Duration::from_secs(30);

const ADDRESS: &str = "203.0.113.7";

/// One for each address, which is what it would write if it led.
fn replicas<'a>(cluster: &'a Cluster, namespace: &str, addresses: &[&str]) -> Vec<Inside<'a>> {
    let replicas = addresses.iter().map(|address| {
        cluster
            .serve()
            .args(&["--watch-namespace", namespace])
            .args(&["--pod-namespace", namespace])
            .args(&["--election-id", namespace])
            .args(&["--publish-status-address", address])
            .start()
    });
    replicas.collect()
}

fn prepare(namespace: &str) -> &'static Cluster {
    let cluster = Cluster::shared();
    cluster.namespace(namespace);
    cluster.apply(&(class("narthex", "narthex.dev/ingress") + &service(namespace)));
    cluster
}

/// The one that leads; one alone may.
fn leader(replicas: &[Inside<'_>]) -> usize {
    wait::eventually("one leads", || {
        let leading: Vec<_> = (0..replicas.len())
            .filter(|&index| replicas[index].leads())
            .collect();
        match leading[..] {
            [one] => Ok(one),
            _ => Err(format!("{leading:?} lead")),
        }
    })
}

/// Waits until another than `old` leads, all of which have to agree; how long that took.
fn successor(replicas: &[Inside<'_>], old: usize, since: Instant) -> (usize, Duration) {
    let new = wait::eventually("another leads", || {
        let mut others = (0..replicas.len()).filter(|&index| index != old);
        let new = others.find(|&index| replicas[index].leads());
        new.ok_or_else(|| "nobody does".to_owned())
    });
    let took = since.elapsed();
    println!("another leads after {:.1} s", took.as_secs_f32());
    (new, took)
}

#[test]
fn another_leads_soon_after_the_leader_was_killed() {
    let cluster = prepare("killed");
    cluster.apply(&ingress("killed", "before", "narthex"));
    let replicas = replicas(cluster, "killed", &[ADDRESS; 3]);
    let old = leader(&replicas);
    cluster.until_addresses("killed", "before", ADDRESS);
    let changes = cluster.changes("killed");
    let since = Instant::now();
    replicas[old].signal(Signal::KILL);
    let (new, took) = successor(&replicas, old, since);
    assert!(took < LIMIT + GRACE, "{took:?}");
    // The dead one is waited for as long as it may be live, and no longer.
    cluster.apply(&ingress("killed", "after", "narthex"));
    cluster.until_addresses("killed", "after", ADDRESS);
    changes.until(2);
    wait::until("it is counted", || replicas[new].status_writes("") > 0);
    sleep(Duration::from_secs(3));
    let seen = changes.seen();
    assert_eq!(seen, ["ADDED after", "MODIFIED after"]);
    assert_eq!(replicas[new].status_writes(""), 1);
}

#[test]
fn a_leader_that_was_stopped_and_wakes_up_writes_nothing() {
    let cluster = prepare("stopped");
    // Whoever writes is known by what is written.
    let addresses = ["203.0.113.1", "203.0.113.2", "203.0.113.3"];
    let replicas = replicas(cluster, "stopped", &addresses);
    let old = leader(&replicas);
    let since = Instant::now();
    replicas[old].signal(Signal::STOP);
    let (new, took) = successor(&replicas, old, since);
    assert!(took < LIMIT + GRACE, "{took:?}");
    let changes = cluster.changes("stopped");
    cluster.apply(&ingress("stopped", "web", "narthex"));
    cluster.until_addresses("stopped", "web", addresses[new]);
    // What it would write now is wrong, and not even tried.
    wait::until("it is counted", || replicas[new].status_writes("") > 0);
    let before = replicas[new].status_writes("");
    replicas[old].signal(Signal::CONT);
    wait::until("it knows who leads", || {
        let known = replicas[old].leadership();
        let leader = replicas[new].leadership().map(|it| it["leader"].clone());
        known.is_ok_and(|it| it["is_leader"] == false && Ok(&it["leader"]) == leader.as_ref())
    });
    cluster.apply(&ingress("stopped", "next", "narthex"));
    cluster.until_addresses("stopped", "next", addresses[new]);
    changes.until(4);
    wait::until("it is counted", || replicas[new].status_writes("") > before);
    sleep(Duration::from_secs(3));
    assert_eq!(replicas[old].status_writes(""), 0);
    assert_eq!(replicas[new].status_writes(""), before + 1);
    let mut seen = changes.seen();
    seen.sort();
    let expected = ["ADDED next", "ADDED web", "MODIFIED next", "MODIFIED web"];
    assert_eq!(seen, expected);
}

#[test]
fn a_leader_that_ends_gives_the_lead_away_at_once() {
    let cluster = prepare("ended");
    let replicas = replicas(cluster, "ended", &[ADDRESS; 2]);
    let old = leader(&replicas);
    let since = Instant::now();
    replicas[old].signal(Signal::TERM);
    let (_, took) = successor(&replicas, old, since);
    // Without being given, it would have been waited for.
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn after_an_outage_of_the_api_server_nothing_is_written_again() {
    let cluster = Cluster::start();
    cluster.namespace("outage");
    cluster.apply(&(class("narthex", "narthex.dev/ingress") + &service("outage")));
    let many: String = (0..50)
        .map(|index| ingress("outage", &format!("web-{index}"), "narthex"))
        .collect();
    cluster.apply(&many);
    let replicas = replicas(&cluster, "outage", &[ADDRESS; 2]);
    leader(&replicas);
    let written = || replicas.iter().map(|it| it.status_writes("")).sum::<u64>();
    wait::until("all are written", || written() == 50);
    cluster.kill_apiserver();
    wait::until("nobody leads", || !replicas.iter().any(Inside::leads));
    cluster.start_apiserver();
    leader(&replicas);
    sleep(Duration::from_secs(5));
    assert_eq!(written(), 50);
    // And it goes on.
    cluster.apply(&ingress("outage", "after", "narthex"));
    cluster.until_addresses("outage", "after", ADDRESS);
    wait::until("it is counted", || written() > 50);
    assert_eq!(written(), 51);
}
