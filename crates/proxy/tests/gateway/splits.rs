//! Several backends behind one rule.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::policy::Affinity;
use model::{Action, Rule, Target};

use crate::support::*;

#[test]
fn requests_are_spread_by_weight_and_a_wrong_reference_keeps_its_share() {
    let (one, two) = (Server::named("one"), Server::named("two"));
    let target = |server: &Server| Target::Backend(backend("default/web:80", &[server.address]));
    let action = Action::Split(split(vec![
        share(6, target(&one)),
        share(0, target(&one)),
        share(2, target(&two)),
        share(1, Target::Invalid),
        share(1, Target::Backend(backend("default/none:80", &[]))),
    ]));
    let plane = Plane::new();
    let at = plane.serve(http(vec![rule(action)]));
    let mut counts = BTreeMap::<(u16, String), u32>::new();
    for _ in 0..1000 {
        let response = get(at, "/", &[]);
        let body = if response.status == 200 {
            response.body
        } else {
            String::new()
        };
        *counts.entry((response.status, body)).or_default() += 1;
    }
    // Within six standard deviations.
    let near = |status, body: &str, expected: u32| {
        let count = counts
            .get(&(status, body.to_owned()))
            .copied()
            .unwrap_or_default();
        assert!(count.abs_diff(expected) < 95, "{counts:?}");
    };
    near(200, "one", 600);
    near(200, "two", 200);
    near(500, "", 100);
    near(503, "", 100);
    assert_eq!(counts.len(), 4);
}

#[test]
fn what_refers_to_nothing_is_500_and_what_has_no_endpoint_503() {
    let plane = Plane::new();
    let at = plane.serve(http(vec![rule(Action::Invalid)]));
    assert_eq!(get(at, "/", &[]).status, 500);
    let at = plane.serve(http(vec![rule(Action::Forward(backend(
        "default/none:80",
        &[],
    )))]));
    assert_eq!(get(at, "/", &[]).status, 503);
}

#[test]
fn grpc_hears_of_both_as_unavailable_and_of_no_rule_as_unimplemented() {
    let plane = Plane::new();
    let call = ["Content-Type: application/grpc", "TE: trailers"];
    for (service, expected) in [
        (http(vec![rule(Action::Invalid)]), "14"),
        (
            http(vec![rule(Action::Forward(backend("default/none:80", &[])))]),
            "14",
        ),
        (http(vec![]), "12"),
    ] {
        let at = plane.serve(service);
        let response = ask(at, "POST", "/pkg.Service/Method", &call, b"");
        assert_eq!(response.status, 200);
        assert_eq!(response.field("grpc-status").as_deref(), Some(expected));
    }
}

fn affinity(name: &str, header: bool) -> Arc<Affinity> {
    Arc::new(Affinity {
        cookie: name.into(),
        header,
        max_age: Duration::ZERO,
        absolute: Duration::ZERO,
        key: "secret".into(),
        cookie_terms: None,
    })
}

#[test]
fn a_session_stays_with_its_backend_and_endpoint() {
    let servers = ["a", "b", "c", "d"].map(Server::named);
    let target = |from: usize| {
        let addresses = [servers[from].address, servers[from + 1].address];
        Target::Backend(backend("default/web:80", &addresses))
    };
    let plane = Plane::new();
    for header in [false, true] {
        let rule = Rule {
            affinity: Some(affinity("session", header)),
            ..rule(Action::Split(split(vec![
                share(1, target(0)),
                share(1, target(2)),
            ])))
        };
        let at = plane.serve(http(vec![rule]));
        let mut known = std::collections::BTreeSet::new();
        for _ in 0..12 {
            let first = get(at, "/", &[]);
            let sent = match header {
                true => {
                    let name = first.field("session").expect("a session");
                    format!("session: {name}")
                }
                false => {
                    let cookie = first.field("set-cookie").expect("a cookie");
                    let value = cookie.split(';').next().expect("a value");
                    format!("Cookie: {value}")
                }
            };
            for _ in 0..6 {
                let again = get(at, "/", &[&sent]);
                assert_eq!(again.body, first.body, "{sent}");
                assert_eq!(again.field("session"), None, "it is known already");
                assert_eq!(again.field("set-cookie"), None);
            }
            known.insert(first.body);
        }
        assert!(known.len() > 1, "{known:?}");
        // What is no session of ours is as good as none.
        let response = get(at, "/", &["session: 12345", "Cookie: session=xyz"]);
        assert_eq!(response.status, 200);
    }
}
