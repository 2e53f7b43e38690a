//! UDPRoutes: sessions, their limits, and how they outlive a shutdown and a replacement.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use program_tests::gateway::{gateway, route};
use program_tests::program::Starting;
use program_tests::udp::{UdpBackend, ask, client, try_ask, udp_service};
use program_tests::{Folder, Narthex, docs, eventually, ports, until};
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(60);

/// Who gets nothing waits no longer than this.
const BRIEFLY: Duration = Duration::from_millis(300);

/// A Gateway with one listener of datagrams.
struct World {
    folder: Folder,
    port: u16,
    backends: Vec<UdpBackend>,
}

/// Each Service has some of the backends, by name.
fn world(services: &[(&str, &[&str])], backend_refs: &str) -> World {
    let port = ports::free();
    let listener = format!("{{name: udp, port: {port}, protocol: UDP}}");
    let rule = format!("{{backendRefs: [{backend_refs}]}}");
    let mut documents = vec![
        gateway("gw", &[listener]),
        route("UDPRoute", "u", "parentRefs: [{name: gw}]", &[&rule]),
    ];
    let mut backends = Vec::new();
    for (service, names) in services {
        let own: Vec<_> = names.iter().map(|name| UdpBackend::named(name)).collect();
        let addresses: Vec<_> = own.iter().map(UdpBackend::address).collect();
        documents.push(udp_service(service, &addresses));
        backends.extend(own);
    }
    let folder = Folder::new();
    folder.write("site.yaml", &docs(&documents));
    World {
        folder,
        port,
        backends,
    }
}

fn one() -> World {
    world(&[("udp", &["a"])], "{name: udp, port: 80}")
}

impl World {
    fn narthex(&self) -> Starting {
        Narthex::on(&self.folder)
    }
}

/// The name that an answer begins with.
fn name(answer: &str) -> String {
    answer.split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn sessions_go_on_after_sigterm_until_they_are_idle_and_none_begins() {
    let world = one();
    let flags = ["--udp-idle-timeout=8s", "--shutdown-timeout=120s"];
    let mut narthex = world.narthex().args(&flags).start();
    let clients: Vec<_> = (0..8).map(|_| client(world.port)).collect();
    for client in &clients {
        assert_eq!(ask(client, "before"), "a before");
    }
    narthex.signal(Signal::TERM);
    until("not ready", || narthex.admin_status("/readyz") != Some(200));
    let begun = Instant::now();
    // Longer than the idle time, which each datagram begins anew.
    while begun.elapsed() < Duration::from_secs(10) {
        for client in &clients {
            assert_eq!(ask(client, "after"), "a after");
        }
    }
    let late = client(world.port);
    assert_eq!(try_ask(&late, b"late", BRIEFLY), None);
    let seen = world.backends[0].seen();
    assert!(!seen.iter().any(|(_, bytes)| bytes == b"late"));
    assert_eq!(ask(&clients[0], "still"), "a still");
    let silent = Instant::now();
    assert!(narthex.ended_within(SOON).success(), "{}", narthex.log());
    assert!(silent.elapsed() < Duration::from_secs(100), "by itself");
    narthex.until_log("everything has ended");
}

#[test]
fn the_drain_deadline_ends_sessions_that_are_not_idle() {
    let world = one();
    let mut narthex = world.narthex().arg("--shutdown-timeout=8s").start();
    let client = client(world.port);
    assert_eq!(ask(&client, "x"), "a x");
    narthex.signal(Signal::TERM);
    let mut answered = 0;
    let deadline = Instant::now() + SOON;
    while narthex.child.try_wait().expect("our child").is_none() {
        answered += usize::from(try_ask(&client, b"x", BRIEFLY).is_some());
        assert!(Instant::now() < deadline, "{}", narthex.log());
    }
    assert!(answered > 10, "{answered}");
    narthex.until_log("1 session of UDP cut");
}

#[test]
fn sessions_go_to_the_same_backends_after_an_upgrade_and_no_datagram_is_lost() {
    let world = world(
        &[("one", &["a", "b", "c"]), ("two", &["d", "e"])],
        "{name: one, port: 80, weight: 2}, {name: two, port: 80, weight: 1}",
    );
    let flags = ["--udp-idle-timeout=12s", "--shutdown-timeout=60s"];
    let mut old = world.narthex().args(&flags).start();
    let clients: Vec<_> = (0..40).map(|_| client(world.port)).collect();
    let before: Vec<_> = clients.iter().map(|one| name(&ask(one, "x"))).collect();
    let mut counts = BTreeMap::new();
    for name in &before {
        *counts.entry(name.as_str()).or_insert(0) += 1;
    }
    assert!(counts.len() >= 4, "spread over all: {counts:?}");
    // Somebody whom the backend answers only after the replacement.
    assert!(clients[0].send(b"later please").is_ok());
    let owner = eventually("the backend is asked", || {
        let asked = |one: &&UdpBackend| one.seen().iter().any(|seen| seen.1 == b"later please");
        world.backends.iter().find(asked)
    });
    // Datagrams are sent all the while.
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut new = None;
    std::thread::scope(|scope| {
        let talk = |one: &UdpSocket| {
            let mut count = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                ask(one, &format!("{count}"));
                count += 1;
            }
            count
        };
        let talking: Vec<_> = clients[20..24]
            .iter()
            .map(|one| scope.spawn(move || talk(one)))
            .collect();
        new = Some(world.narthex().args(&flags).after(&old).start());
        std::thread::sleep(Duration::from_millis(500));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for one in talking {
            // It has panicked if an answer did not come.
            assert!(one.join().expect("every answer came") > 10);
        }
    });
    owner.say_to_sender_of(b"later please", b"here you are");
    let mut bytes = [0; 100];
    let count = clients[0].recv(&mut bytes).expect("the late answer");
    assert_eq!(&bytes[..count], b"here you are");
    let after: Vec<_> = clients.iter().map(|one| name(&ask(one, "y"))).collect();
    assert_eq!(before, after);
    assert!(old.ended_within(SOON).success(), "{}", old.log());
    let new = new.expect("started");
    let after: Vec<_> = clients.iter().map(|one| name(&ask(one, "z"))).collect();
    assert_eq!(before, after);
    assert_eq!(new.admin_status("/readyz"), Some(200));
    assert_eq!(ask(&client(world.port), "new").len(), 5);
}

#[test]
fn datagrams_of_any_size_pass() {
    let world = one();
    let _narthex = world.narthex().start();
    let client = client(world.port);
    // The largest that IPv4 has: 65,535 bytes less two headers.
    for length in [0, 1, 1472, 9000, 60_000, 65_507] {
        let sent: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let answer = try_ask(&client, &sent, SOON).expect("an answer");
        let text = answer.strip_prefix(b"a ").unwrap_or(&answer);
        assert!(text == sent, "{length}: {} bytes", text.len());
    }
}

#[test]
fn there_are_no_more_sessions_than_the_flag_says_until_one_is_idle() {
    let world = one();
    let flags = ["--max-udp-sessions=3", "--udp-idle-timeout=10s"];
    let narthex = world.narthex().args(&flags).start();
    let clients: Vec<_> = (0..3).map(|_| client(world.port)).collect();
    for client in &clients {
        assert_eq!(ask(client, "x"), "a x");
    }
    let late = client(world.port);
    assert_eq!(try_ask(&late, b"late", BRIEFLY), None);
    assert_eq!(ask(&clients[0], "y"), "a y", "who has one keeps it");
    until("it is counted", || {
        narthex.metrics().contains("backend_overloaded")
    });
    let answer = eventually("an idle one makes room", || {
        try_ask(&late, b"again", BRIEFLY)
    });
    assert_eq!(answer, b"a again");
}

#[test]
fn an_idle_session_ends_and_the_next_datagram_begins_another() {
    let world = one();
    let narthex = world.narthex().arg("--udp-idle-timeout=6s").start();
    let client = client(world.port);
    assert_eq!(ask(&client, "one"), "a one");
    assert_eq!(ask(&client, "two"), "a two");
    eventually("it is over", || narthex.access_log().pop());
    assert_eq!(ask(&client, "three"), "a three");
    let seen = world.backends[0].seen();
    let from: Vec<_> = seen.iter().map(|(from, _)| from).collect();
    assert_eq!(from[0], from[1], "one session is one socket");
    assert_ne!(from[1], from[2]);
    let line = &narthex.access_log()[0];
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"]),
        (&6.into(), &10.into())
    );
}

#[test]
fn what_an_endpoint_refuses_goes_to_another_and_costs_one_datagram() {
    // Nobody is there, nor will be.
    let refusing = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let world = one();
    let addresses = [refusing, world.backends[0].address()];
    let site = std::fs::read_to_string(world.folder.file("site.yaml")).expect("written");
    let routes = site.split("---\napiVersion: v1\nkind: Service").next();
    let documents = [
        routes.expect("routes").to_owned(),
        udp_service("udp", &addresses),
    ];
    world.folder.write("site.yaml", &docs(&documents));
    let _narthex = world.narthex().start();
    let ask_four_times = || {
        let client = client(world.port);
        let mut answers = 0;
        for _ in 0..4 {
            // What is lost is waited for: an answer that is late is not.
            answers += usize::from(try_ask(&client, b"x", BRIEFLY * 30).is_some());
        }
        answers
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..10).map(|_| scope.spawn(ask_four_times)).collect();
        for client in clients {
            let answers = client.join().expect("no panic");
            assert!(
                answers >= 3,
                "a client loses one at the most: {answers} of 4"
            );
        }
    });
}
