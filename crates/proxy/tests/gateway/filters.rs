//! Filters between routing and forwarding.

use std::time::{Duration, Instant};

use model::filter::{
    AuthProtocol, Cors, ExternalAuth, HeaderEdit, Mirror, OriginMatch, PathEdit, Redirect, Rewrite,
};
use model::{Action, Filter, PathMatch, Rule, Share, Target};
use narthex_proxy::{Limits, Settings};

use crate::support::*;

fn pair(name: &str, value: &str) -> (Box<str>, Box<str>) {
    (name.into(), value.into())
}

fn forward(server: &Server) -> Action {
    Action::Forward(backend("default/web:80", &[server.address]))
}

#[test]
fn header_fields_are_changed_on_both_ways() {
    let server =
        Server::new(|_, _| Some(("200 OK\r\nX-Server: nginx\r\nX-Two: 1\r\n".into(), vec![])));
    let filters = vec![
        Filter::RequestHeaders(Box::new(HeaderEdit {
            remove: ["x-gone".into()].into(),
            set: [pair("X-Set", "new"), pair("Content-Length", "99")].into(),
            add: [pair("X-Add", "more")].into(),
        })),
        Filter::ResponseHeaders(Box::new(HeaderEdit {
            remove: ["X-Server".into()].into(),
            set: [pair("Content-Length", "99")].into(),
            add: [pair("X-Two", "2")].into(),
        })),
    ];
    let plane = Plane::new();
    let at = plane.serve(http(vec![filtered(forward(&server), filters)]));
    let response = get(at, "/a?b", &["X-Gone: 1", "X-Set: old", "x-add: first"]);
    assert_eq!(response.status, 200);
    assert_eq!(response.field("x-server"), None);
    assert_eq!(response.field("x-two").as_deref(), Some("1,2"));
    assert_eq!(response.field("content-length").as_deref(), Some("0"));
    let seen = &server.seen()[0];
    assert_eq!(seen.line(), "GET /a?b");
    assert_eq!(seen.field("x-gone"), None);
    assert_eq!(seen.field("x-set").as_deref(), Some("new"));
    assert_eq!(seen.field("x-add").as_deref(), Some("first,more"));
    assert_eq!(seen.field("content-length"), None);
}

#[test]
fn a_rewrite_changes_host_and_prefix_and_the_client_is_still_known() {
    let server = Server::named("web");
    let rewrite = Rewrite {
        host: Some("inside.example".into()),
        path: Some(PathEdit::Prefix("/new".into())),
    };
    let rule = Rule {
        path: PathMatch::Prefix("/old".into()),
        ..filtered(forward(&server), vec![Filter::Rewrite(Box::new(rewrite))])
    };
    let plane = Plane::new();
    let at = plane.serve(http(vec![rule]));
    assert_eq!(get(at, "/old/a?q=1", &[]).body, "web");
    let seen = &server.seen()[0];
    assert_eq!(seen.line(), "GET /new/a?q=1");
    assert_eq!(seen.field("host").as_deref(), Some("inside.example"));
    assert_eq!(
        seen.field("x-forwarded-host").as_deref(),
        Some("example.org")
    );
}

#[test]
fn a_redirect_is_answered_and_nobody_is_asked() {
    let redirect = Redirect {
        scheme: Some("https".into()),
        host: Some("other.example".into()),
        path: Some(PathEdit::Full("/there".into())),
        port: Some(8443),
        status: 307,
    };
    let filters = vec![Filter::Redirect(Box::new(redirect))];
    let plane = Plane::new();
    // A rule that redirects needs no backend.
    let at = plane.serve(http(vec![filtered(Action::NotFound, filters)]));
    let response = get(at, "/here?q", &[]);
    assert_eq!(response.status, 307);
    let location = response.field("location");
    assert_eq!(
        location.as_deref(),
        Some("https://other.example:8443/there?q")
    );
}

fn cors() -> Filter {
    Filter::Cors(Box::new(Cors {
        origins: [OriginMatch::Exact("https://www.foo.com".into())].into(),
        methods: ["GET".into(), "PUT".into()].into(),
        headers: ["x-a".into()].into(),
        expose: ["x-b".into()].into(),
        max_age: 60,
        credentials: true,
    }))
}

#[test]
fn browsers_are_answered_and_their_requests_get_the_fields() {
    let server = Server::new(|_, _| {
        Some((
            "200 OK\r\nAccess-Control-Allow-Origin: https://evil.example\r\n".into(),
            vec![],
        ))
    });
    let plane = Plane::new();
    let at = plane.serve(http(vec![filtered(forward(&server), vec![cors()])]));
    let origin = "Origin: https://www.foo.com";
    let asked = "Access-Control-Request-Method: PUT";
    let response = ask(at, "OPTIONS", "/", &[origin, asked], b"");
    assert_eq!(response.status, 204);
    assert_eq!(response.field("content-length"), None);
    let allowed = response.field("access-control-allow-methods");
    assert_eq!(allowed.as_deref(), Some("GET, PUT"));
    let refused = ask(
        at,
        "OPTIONS",
        "/",
        &["Origin: https://a.example", asked],
        b"",
    );
    assert_eq!(refused.status, 403);
    assert_eq!(refused.field("access-control-allow-origin"), None);
    assert!(
        server.seen().is_empty(),
        "such questions are ours to answer"
    );
    let allowed = |fields: &[&str]| get(at, "/", fields).field("access-control-allow-origin");
    assert_eq!(allowed(&[origin]).as_deref(), Some("https://www.foo.com"));
    assert_eq!(allowed(&["Origin: https://a.example"]), None);
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn scripts_can_read_errors_of_our_own() {
    let plane = Plane::new();
    let action = Action::Forward(backend("default/none:80", &[]));
    let at = plane.serve(http(vec![filtered(action, vec![cors()])]));
    let response = get(at, "/", &["Origin: https://www.foo.com"]);
    assert_eq!(response.status, 503);
    let allowed = response.field("access-control-allow-origin");
    assert_eq!(allowed.as_deref(), Some("https://www.foo.com"));
}

fn mirror(server: &Server, numerator: u32) -> Filter {
    Filter::Mirror(Box::new(Mirror {
        backend: backend("default/mirror:80", &[server.address]),
        numerator,
        denominator: 100,
    }))
}

#[test]
fn copies_go_to_several_backends_with_body_and_filters_done() {
    let (server, one, two) = (
        Server::named("web"),
        Server::named("one"),
        Server::named("two"),
    );
    let edit = HeaderEdit {
        set: [pair("X-Set", "new")].into(),
        ..HeaderEdit::default()
    };
    let filters = vec![
        mirror(&one, 100),
        Filter::RequestHeaders(Box::new(edit)),
        mirror(&two, 100),
    ];
    let plane = Plane::new();
    let at = plane.serve(http(vec![filtered(forward(&server), filters)]));
    let body = vec![b'x'; 100_000];
    assert_eq!(ask(at, "POST", "/a?b", &[], &body).body, "web");
    assert_eq!(get(at, "/c", &[]).body, "web");
    for server in [&one, &two] {
        let mut seen = server.wait(2);
        seen.sort_by_key(|seen| seen.line().to_owned());
        assert_eq!(seen[0].line(), "GET /c");
        assert_eq!(seen[1].line(), "POST /a?b");
        assert!(seen[1].body == body, "the whole body");
        assert_eq!(seen[1].field("x-set").as_deref(), Some("new"));
        assert_eq!(seen[1].field("host").as_deref(), Some("example.org"));
    }
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn a_part_of_the_requests_is_copied() {
    let (server, copy) = (Server::named("web"), Server::named("copy"));
    let plane = Plane::new();
    let filters = vec![mirror(&copy, 20)];
    let at = plane.serve(http(vec![filtered(forward(&server), filters)]));
    for _ in 0..400 {
        assert_eq!(get(at, "/", &[]).body, "web");
    }
    let few = copy.wait(30).len();
    // 80, give or take six standard deviations.
    assert!((32..=128).contains(&few), "{few} of 400");
}

#[test]
fn a_copy_that_is_not_answered_delays_and_fails_nothing() {
    let server = Server::named("web");
    let slow = Server::new(|_, _| {
        std::thread::sleep(Duration::from_secs(40));
        None
    });
    let settings = Settings {
        limits: Limits {
            mirrors: 4,
            mirror_body: 1000,
            ..Limits::default()
        },
        ..Settings::default()
    };
    let plane = Plane::with(settings);
    let gone = Mirror {
        backend: backend("default/gone:80", &[nobody()]),
        numerator: 1,
        denominator: 1,
    };
    let filters = vec![mirror(&slow, 100), Filter::Mirror(Box::new(gone))];
    let at = plane.serve(http(vec![filtered(forward(&server), filters)]));
    let begin = Instant::now();
    for _ in 0..30 {
        assert_eq!(get(at, "/", &[]).body, "web");
    }
    // Longer than may be kept for a copy.
    assert_eq!(ask(at, "POST", "/large", &[], &[b'x'; 2000]).body, "web");
    assert!(
        begin.elapsed() < Duration::from_secs(30),
        "{:?}",
        begin.elapsed()
    );
    let copied = slow.seen();
    // Four of each of two workers at once.
    assert!((1..=8).contains(&copied.len()), "{}", copied.len());
    assert!(copied.iter().all(|seen| seen.line() == "GET /"));
    assert_eq!(server.seen().len(), 31);
}

fn auth(server: &Server, body: u32, response_headers: &[&str]) -> Filter {
    Filter::Auth(Box::new(ExternalAuth {
        backend: backend("default/auth:80", &[server.address]),
        protocol: AuthProtocol::Http {
            path: "/check".into(),
            headers: ["x-shown".into()].into(),
            response_headers: response_headers.iter().map(|&name| name.into()).collect(),
        },
        body,
        timeout: Duration::from_secs(10),
    }))
}

#[test]
fn a_request_passes_if_the_authority_says_so() {
    let server = Server::named("web");
    let authority = Server::new(|seen, _| {
        Some(match seen.field("authorization").as_deref() {
            Some("good") => ("200 OK\r\nX-User: kim\r\nX-Other: 1\r\n".into(), vec![]),
            Some("away") => ("302 Found\r\nLocation: /login\r\n".into(), vec![]),
            _ => (
                "401 No\r\nWWW-Authenticate: Basic\r\n".into(),
                b"who?".to_vec(),
            ),
        })
    });
    let plane = Plane::new();
    let filters = vec![auth(&authority, 0, &["x-user"])];
    let at = plane.serve(http(vec![filtered(forward(&server), filters)]));
    let fields = [
        "Authorization: good",
        "X-User: forged",
        "X-Shown: 1",
        "X-Hidden: 1",
    ];
    assert_eq!(ask(at, "PUT", "/a?b", &fields, b"body").body, "web");
    let asked = &authority.seen()[0];
    assert_eq!(asked.line(), "PUT /check/a?b");
    assert_eq!(asked.field("host").as_deref(), Some("example.org"));
    assert_eq!(asked.field("x-shown").as_deref(), Some("1"));
    assert_eq!(asked.field("x-hidden"), None);
    assert_eq!(asked.body, b"");
    let seen = &server.seen()[0];
    assert_eq!(seen.field("x-user").as_deref(), Some("kim"));
    assert_eq!(seen.field("x-other"), None);
    assert_eq!(seen.body, b"body");

    let refused = get(at, "/", &["Authorization: bad"]);
    assert_eq!((refused.status, &*refused.body), (401, "who?"));
    assert_eq!(refused.field("www-authenticate").as_deref(), Some("Basic"));
    let sent_away = get(at, "/", &["Authorization: away"]);
    assert_eq!(sent_away.status, 302);
    assert_eq!(sent_away.field("location").as_deref(), Some("/login"));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn the_authority_is_shown_bodies_that_are_short_enough() {
    let (server, authority) = (Server::named("web"), Server::named(""));
    let plane = Plane::new();
    let filters = vec![auth(&authority, 1000, &[])];
    let at = plane.serve(http(vec![filtered(forward(&server), filters)]));
    let body = vec![b'y'; 1000];
    assert_eq!(ask(at, "POST", "/", &[], &body).body, "web");
    assert_eq!(authority.seen()[0].body, body);
    assert_eq!(server.seen()[0].body, body);
    assert_eq!(ask(at, "POST", "/", &[], &[b'y'; 1001]).status, 413);
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn nobody_passes_while_the_authority_cannot_be_asked() {
    let server = Server::named("web");
    let plane = Plane::new();
    let gone = Filter::Auth(Box::new(ExternalAuth {
        backend: backend("default/auth:80", &[nobody()]),
        protocol: AuthProtocol::Http {
            path: "".into(),
            headers: [].into(),
            response_headers: [].into(),
        },
        body: 0,
        timeout: Duration::from_secs(10),
    }));
    let at = plane.serve(http(vec![filtered(forward(&server), vec![gone])]));
    assert_eq!(get(at, "/", &[]).status, 403);
    assert!(server.seen().is_empty());
}

#[test]
fn each_share_has_filters_of_its_own() {
    let server = Server::named("web");
    let edit = |value: &str| {
        Filter::RequestHeaders(Box::new(HeaderEdit {
            set: [pair("X-Share", value)].into(),
            ..HeaderEdit::default()
        }))
    };
    let share = |value: &str| Share {
        weight: 1,
        target: Target::Backend(backend("default/web:80", &[server.address])),
        filters: [
            edit(value),
            Filter::ResponseHeaders(Box::new(HeaderEdit {
                set: [pair("X-Back", value)].into(),
                ..HeaderEdit::default()
            })),
        ]
        .into(),
    };
    let action = Action::Split(split(vec![share("one"), share("two")]));
    let plane = Plane::new();
    let at = plane.serve(http(vec![rule(action)]));
    let mut back: Vec<_> = (0..40).map(|_| get(at, "/", &[]).field("x-back")).collect();
    let seen: Vec<_> = server
        .seen()
        .iter()
        .map(|seen| seen.field("x-share"))
        .collect();
    assert_eq!(seen, back);
    back.sort();
    back.dedup();
    assert_eq!(back, [Some("one".into()), Some("two".into())]);
}
