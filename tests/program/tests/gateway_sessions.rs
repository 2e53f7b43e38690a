//! Session persistence (GEP-1619): clients stay with their endpoint, for as long as a session lasts,
//! whatever the weights say.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use program_tests::gateway::{gateway, route};
use program_tests::{Backend, Conn, Folder, Narthex, Response, docs, eventually, ports, service};

const HOST: &str = "a.example";

struct World {
    narthex: Narthex,
    folder: Folder,
    port: u16,
    backends: Vec<Backend>,
    extra: String,
}

/// A Gateway with the Services `one` of the endpoints a, b and c, and `two` of d and e, and more
/// documents.
fn world(rules: &[&str], extra: &str) -> World {
    let folder = Folder::new();
    let backends: Vec<_> = ["a", "b", "c", "d", "e"].map(Backend::named).into();
    let port = ports::free();
    write(&folder, port, &backends, rules, extra);
    World {
        narthex: Narthex::on(&folder).start(),
        folder,
        port,
        backends,
        extra: extra.to_owned(),
    }
}

fn write(folder: &Folder, port: u16, backends: &[Backend], rules: &[&str], extra: &str) {
    let listener = format!("{{name: http, port: {port}, protocol: HTTP}}");
    let addresses: Vec<_> = backends.iter().map(Backend::address).collect();
    let documents = [
        gateway("gw", &[listener]),
        route("HTTPRoute", "r", "parentRefs: [{name: gw}]", rules),
        service("one", &addresses[..3]),
        service("two", &addresses[3..]),
    ];
    folder.write("site.yaml", &(docs(&documents) + extra));
}

impl World {
    fn ask(&self, path: &str, lines: &str) -> Response {
        Conn::plain(self.port).ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"
        ))
    }

    /// The cookie that a response gives, as `name=value`, and its attributes.
    fn cookie(response: &Response) -> Option<(String, String)> {
        let field = response.header("Set-Cookie")?;
        let (cookie, attributes) = field.split_once("; ")?;
        Some((cookie.to_owned(), attributes.to_owned()))
    }

    /// A session: the field that keeps it, and who has it.
    fn begin(&self, path: &str) -> (String, String) {
        let response = self.ask(path, "");
        let (cookie, _) = Self::cookie(&response).expect("a session begins");
        (format!("Cookie: {cookie}\r\n"), response.backend())
    }

    fn write(&self, rules: &[&str]) {
        write(&self.folder, self.port, &self.backends, rules, &self.extra);
    }
}

const ONE: &str = "{name: one, port: 80}";

#[test]
fn a_session_lasts_for_its_absolute_time_and_no_longer_however_busy_it_is() {
    for (config, attributes) in [
        ("", "Path=/; HttpOnly"),
        (
            ", cookieConfig: {lifetimeType: Permanent}",
            "Path=/; HttpOnly; Max-Age=4",
        ),
    ] {
        let rule = format!(
            "{{sessionPersistence: {{sessionName: stay, absoluteTimeout: 3500ms{config}}}, \
             backendRefs: [{ONE}]}}"
        );
        let world = world(&[&rule], "");
        // A machine that held the client up for as long as a session lasts says nothing.
        let honoured = (0..5).any(|_| is_honoured(&world, attributes));
        assert!(honoured, "no session was, or not the one after it");
    }
}

/// Has a session of 3.5 seconds, and the one after it; whether requests came in the time of both.
fn is_honoured(world: &World, attributes: &str) -> bool {
    let begun = Instant::now();
    let first = world.ask("/", "");
    let given = begun.elapsed();
    let (cookie, found) = World::cookie(&first).expect("a cookie");
    assert_eq!(found, attributes);
    let field = format!("Cookie: {cookie}\r\n");
    let mut honoured = 0;
    let renewed = loop {
        let asked = begun.elapsed();
        let again = world.ask("/", &field);
        match World::cookie(&again) {
            None => {
                honoured += 1;
                assert_eq!(again.backend(), first.backend());
                // The session began before it was given, and the request came after this.
                let longest = given + Duration::from_millis(3500);
                assert!(asked < longest, "{asked:?} after {given:?}");
            }
            Some((renewed, _)) => {
                let answered = begun.elapsed();
                assert!(answered >= Duration::from_millis(3500), "{answered:?}");
                break renewed;
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_ne!(renewed, cookie);
    // The new session is as good as the first was.
    let again = world.ask("/", &format!("Cookie: {renewed}\r\n"));
    honoured > 3 && World::cookie(&again).is_none()
}

#[test]
fn nobody_makes_a_session_longer_by_changing_it() {
    let rule = format!(
        "{{sessionPersistence: {{sessionName: stay, absoluteTimeout: 1h}}, backendRefs: [{ONE}]}}"
    );
    let world = world(&[&rule], "");
    let (field, backend) = world.begin("/");
    let again = world.ask("/", &field);
    assert_eq!((World::cookie(&again), again.backend()), (None, backend));
    let value = field
        .trim_end()
        .strip_prefix("Cookie: stay=")
        .expect("its name");
    let parts: Vec<_> = value.split('.').collect();
    let [name, begun, mac] = parts[..] else {
        panic!("{value}");
    };
    let later = u64::from_str_radix(begun, 16).expect("a time") + 1000;
    for forged in [
        format!("{name}.{later:x}.{mac}"),
        name.to_owned(),
        format!("{name}.{begun}"),
        format!("{name}.{begun}.{}", "0".repeat(32)),
    ] {
        let response = world.ask("/", &format!("Cookie: stay={forged}\r\n"));
        assert!(World::cookie(&response).is_some(), "{forged} is no session");
    }
}

#[test]
fn sessions_stay_with_a_backend_whose_weight_becomes_nothing() {
    let rule = |one: u32, two: u32| {
        format!(
            "{{sessionPersistence: {{sessionName: stay}}, backendRefs: [\
             {{name: one, port: 80, weight: {one}}}, {{name: two, port: 80, weight: {two}}}]}}"
        )
    };
    let world = world(&[&rule(1, 0)], "");
    let sessions: Vec<_> = (0..8).map(|_| world.begin("/")).collect();
    let of_two = |backend: &str| backend == "d" || backend == "e";
    assert!(!sessions.iter().any(|(_, backend)| of_two(backend)));
    world.write(&[&rule(0, 1)]);
    eventually("who comes new goes to the other", || {
        (0..12)
            .all(|_| of_two(&world.ask("/", "").backend()))
            .then_some(())
    });
    for (field, backend) in &sessions {
        for _ in 0..4 {
            let again = world.ask("/", field);
            assert_eq!(&again.backend(), backend);
            assert_eq!(World::cookie(&again), None);
        }
    }
    // Nobody at all has a weight: who is new is told that nobody is there.
    world.write(&[&rule(0, 0)]);
    eventually("nobody is new", || {
        (0..12)
            .all(|_| world.ask("/", "").status == 500)
            .then_some(())
    });
    for (field, backend) in &sessions {
        assert_eq!(&world.ask("/", field).backend(), backend);
    }
}

#[test]
fn the_sessions_of_services_are_kept_across_weights_too() {
    let policy = |service: &str| {
        format!(
            "---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {{name: {service}}}
spec:
  targetRefs: [{{group: '', kind: Service, name: {service}}}]
  sessionPersistence: {{absoluteTimeout: 1h}}
"
        )
    };
    let rule = |one: u32, two: u32| {
        format!(
            "{{backendRefs: [{{name: one, port: 80, weight: {one}}}, \
             {{name: two, port: 80, weight: {two}}}]}}"
        )
    };
    let world = world(&[&rule(1, 1)], &(policy("one") + &policy("two")));
    let sessions: Vec<_> = (0..16).map(|_| world.begin("/")).collect();
    let names: BTreeSet<_> = sessions
        .iter()
        .filter_map(|(field, _)| field.split('=').next())
        .collect();
    assert_eq!(
        names.len(),
        2,
        "each Service has a cookie of its own: {names:?}"
    );
    for weights in [(1, 1), (0, 1), (1, 0)] {
        world.write(&[&rule(weights.0, weights.1)]);
        let gone = |backend: &str| match weights {
            (0, _) => ["a", "b", "c"].contains(&backend),
            (_, 0) => ["d", "e"].contains(&backend),
            _ => false,
        };
        eventually("the weights hold", || {
            (0..16)
                .all(|_| !gone(&world.ask("/", "").backend()))
                .then_some(())
        });
        for (field, backend) in &sessions {
            assert_eq!(&world.ask("/", field).backend(), backend, "{weights:?}");
        }
    }
}

#[test]
fn rules_have_sessions_of_their_own_for_their_paths() {
    let rule = |path: &str| {
        format!(
            "{{matches: [{{path: {{value: {path}}}}}], sessionPersistence: {{}}, \
             backendRefs: [{ONE}]}}"
        )
    };
    let world = world(&[&rule("/one"), &rule("/two")], "");
    let (one, two) = (world.ask("/one/x", ""), world.ask("/two", ""));
    let (one_cookie, one_attributes) = World::cookie(&one).expect("a cookie");
    let (two_cookie, two_attributes) = World::cookie(&two).expect("a cookie");
    assert_eq!(one_attributes, "Path=/one; HttpOnly");
    assert_eq!(two_attributes, "Path=/two; HttpOnly");
    let name = |cookie: &str| cookie.split('=').next().map(str::to_owned);
    assert_ne!(name(&one_cookie), name(&two_cookie));
    let both = format!("Cookie: {one_cookie}; {two_cookie}\r\n");
    for _ in 0..6 {
        assert_eq!(world.ask("/one", &both).backend(), one.backend());
        assert_eq!(world.ask("/two", &both).backend(), two.backend());
    }
}

#[test]
fn a_session_in_a_header_field_ends_in_time_too() {
    let rule = format!(
        "{{sessionPersistence: {{type: Header, sessionName: X-Stay, absoluteTimeout: 2s}}, \
         backendRefs: [{ONE}]}}"
    );
    let world = world(&[&rule], "");
    let begun = Instant::now();
    let first = world.ask("/", "");
    let token = first.header("X-Stay").expect("a session").to_owned();
    let field = format!("X-Stay: {token}\r\n");
    let over = eventually("it is over", || {
        let again = world.ask("/", &field);
        match again.header("X-Stay") {
            None => {
                assert_eq!(again.backend(), first.backend());
                None
            }
            Some(_) => Some(begun.elapsed()),
        }
    });
    assert!(over >= Duration::from_secs(2), "{over:?}");
}

#[test]
fn a_permanent_cookie_without_a_time_is_a_problem_that_names_the_field() {
    let rule = format!(
        "{{sessionPersistence: {{cookieConfig: {{lifetimeType: Permanent}}}}, \
         backendRefs: [{ONE}]}}"
    );
    let world = world(&[&rule], "");
    let (_, problems) = world.narthex.admin_get("/api/problems").expect("an answer");
    assert!(
        problems.contains("spec.rules[0].sessionPersistence.absoluteTimeout"),
        "{problems}"
    );
}
