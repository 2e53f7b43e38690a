//! Which endpoint gets a request.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use program_tests::balancing::{addresses, annotated, ask, ingress, seen};
use program_tests::{Backend, Folder, HOST, Load, Narthex, class, serve, until};

#[test]
fn every_algorithm_uses_all_endpoints() {
    let backends = ["one", "two", "three"].map(Backend::named);
    let at = addresses(&backends);
    for algorithm in ["", "p2c", "round-robin", "least-request", "random"] {
        let annotations = match algorithm {
            "" => vec![],
            _ => vec![("balance", algorithm)],
        };
        let (narthex, _folder) = serve(&[annotated(&at, &annotations), ingress()]);
        let before = backends.each_ref().map(|backend| seen(&[backend]));
        let more = || {
            let now = backends.each_ref().map(|backend| seen(&[backend]));
            now.iter()
                .zip(before)
                .map(|(now, before)| now - before)
                .collect::<Vec<_>>()
        };
        let load = Load::start(narthex.http, 6, HOST, "/", |answer| answer.status == 200);
        load.until_more(600);
        if ["round-robin", "random"].contains(&algorithm) {
            // Of 600 by chance: 200 give or take 12, and twelve times that is certainty.
            let more = more();
            assert!(
                more.iter().all(|&more| more >= 60),
                "{algorithm}: {more:?} of 600"
            );
        }
        // The others look at how long answers take, and leave one that hiccups alone for a while.
        until(&format!("{algorithm:?} uses them all"), || {
            more().iter().all(|&more| more >= 60)
        });
        load.stop().assert_perfect();
    }
}

#[test]
fn by_default_a_slow_endpoint_gets_less() {
    let fast = ["one", "two"].map(Backend::named);
    // So slow that the others, on whatever machine, are not.
    let slow = Backend::scripted("slow", |exchange| {
        std::thread::sleep(Duration::from_millis(300));
        exchange.echo()
    });
    let [one, two] = addresses(&fast);
    let (narthex, _folder) = serve(&[annotated(&[one, two, slow.address()], &[]), ingress()]);
    let load = Load::start(narthex.http, 8, HOST, "/", |answer| answer.status == 200);
    until("it is tried", || seen(&[&slow]) >= 1);
    // Each by chance, it would get 133 of 400, give or take 10, and never less than 80. A round in
    // which the machine held up the fast ones says nothing.
    let mut rounds = Vec::new();
    let less = (0..5).any(|_| {
        let before = (seen(&[&slow]), seen(&[&fast[0], &fast[1]]));
        load.until_more(400);
        let (slow, fast) = (seen(&[&slow]), seen(&[&fast[0], &fast[1]]));
        rounds.push((slow - before.0, fast - before.1));
        (slow - before.0) * 2 < (fast - before.1) / 2
    });
    load.stop().assert_perfect();
    assert!(less, "requests to it and to both others: {rounds:?}");
}

#[test]
fn weights_share_out_requests() {
    let backends = ["one", "three"].map(Backend::named);
    let [one, three] = addresses(&backends);
    let endpoints = format!("{one}, {three} weight=3");
    let annotations = [("endpoints", &*endpoints), ("balance", "round-robin")];
    let (narthex, _folder) = serve(&[annotated(&[], &annotations), ingress()]);
    // Workers take their turns apart; each of four turns is exact, and the rest evens out.
    let count = 200;
    let ones = (0..count)
        .filter(|_| narthex.backend(HOST, "/") == "one")
        .count();
    assert!((35..=65).contains(&ones), "{ones} of {count}");
}

#[test]
fn weights_are_a_slices_too() {
    let backends = ["one", "three"].map(Backend::named);
    let weighted = annotated(&addresses(&backends), &[("balance", "random")]).replacen(
        "  name: web-1\n",
        "  name: web-1\n  annotations:\n    narthex.dev/weight: \"3\"\n",
        1,
    );
    let (narthex, _folder) = serve(&[weighted, ingress()]);
    let load = Load::start(narthex.http, 4, HOST, "/", |answer| answer.status == 200);
    // By chance: a quarter give or take 20, and the bounds are eight times that away.
    load.until_more(2000);
    load.stop().assert_perfect();
    let [one, three] = backends.each_ref().map(|backend| seen(&[backend]));
    assert!(one * 2 < three && three < one * 5, "{one} and {three}");
}

#[test]
fn a_header_leads_to_the_same_endpoint_also_when_others_come_and_go() {
    let backends = ["a", "b", "c", "d"].map(Backend::named);
    let at = addresses(&backends);
    let folder = Folder::of(&[class(), ingress()]);
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
    folder.rename_over("web.yaml", &site(&at));
    until("all are back where they were", || map(&narthex) == before);
}

#[test]
fn a_cookie_keeps_a_client_with_its_endpoint_and_moves_it_when_that_is_gone() {
    let backends = ["a", "b", "c", "d"].map(Backend::named);
    let at = addresses(&backends);
    let folder = Folder::of(&[class(), ingress()]);
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
    // Another process, as after a restart, knows the cookie, too.
    let restarted = Narthex::on(&folder).start();
    assert_eq!(ask(&restarted, &field).backend(), first.backend());
    drop(restarted);
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
fn no_request_is_lost_while_endpoints_come_and_go_under_any_algorithm() {
    for algorithm in ["p2c", "round-robin", "least-request", "hash"] {
        let backends = ["a", "b", "c"].map(Backend::named);
        let at = addresses(&backends);
        let folder = Folder::of(&[class(), ingress()]);
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
fn a_slip_of_the_pen_is_said_and_the_default_stands() {
    let web = Backend::named("web");
    let documents = [
        annotated(&[web.address()], &[("balance", "fair")]),
        ingress(),
    ];
    let (narthex, _folder) = serve(&documents);
    narthex.until_log("least-request");
    assert_eq!(narthex.backend(HOST, "/"), "web");
}

#[test]
fn a_new_endpoint_starts_slowly_where_that_is_asked_for() {
    let backends = ["a", "b", "new"].map(Backend::named);
    let at = addresses(&backends);
    let folder = Folder::of(&[class(), ingress()]);
    let settings = [("balance", "round-robin"), ("slow-start", "10m")];
    let site = |at: &[SocketAddr]| annotated(at, &settings);
    folder.write("web.yaml", &site(&at[..2]));
    let narthex = Narthex::on(&folder).start();
    let load = Load::start(narthex.http, 4, HOST, "/", |answer| answer.status == 200);
    load.until_more(200);
    folder.rename_over("web.yaml", &site(&at));
    until("the new one is asked", || seen(&[&backends[2]]) > 0);
    let before = backends.each_ref().map(|backend| seen(&[backend]));
    load.until_more(600);
    load.stop().assert_perfect();
    let more: Vec<_> = backends
        .iter()
        .zip(before)
        .map(|(backend, before)| seen(&[backend]) - before)
        .collect();
    assert!(more[2] * 3 < more[0] && more[2] * 3 < more[1], "{more:?}");
}
