//! `affinity` and `session-cookie-…`: clients that stay with their endpoint.

use std::collections::BTreeSet;

use program_tests::balancing::{addresses, dead};
use program_tests::folder::docs;
use program_tests::nginx::{ingress as nginx, serve_annotated};
use program_tests::tls::Client;
use program_tests::{
    Backend, Certificate, Conn, HOST, Response, class, secret, serve, service, until,
};

const COOKIE: (&str, &str) = ("affinity", "cookie");

fn three() -> [Backend; 3] {
    ["one", "two", "three"].map(Backend::named)
}

/// What the response has the browser keep.
fn cookie(answer: &Response) -> String {
    let mut all = answer.all("set-cookie");
    let cookie = all.next().expect("a cookie").to_owned();
    assert_eq!(all.next(), None);
    cookie
}

/// Its name and value, as the browser sends it back.
fn pair(cookie: &str) -> String {
    cookie.split(';').next().unwrap_or_default().to_owned()
}

fn again(port: u16, host: &str, cookie: &str) -> Response {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nCookie: a=b; {cookie}\r\n\r\n");
    Conn::plain(port).ask(&request)
}

#[test]
fn a_client_with_the_cookie_stays_and_is_not_given_another() {
    let backends = three();
    for mode in ["balanced", "persistent"] {
        let said = [COOKIE, ("affinity-mode", mode)];
        let (narthex, _folder) = serve_annotated(&said, &addresses(&backends));
        let mut met = BTreeSet::new();
        for _ in 0..20 {
            let first = narthex.get(HOST, "/");
            let pair = pair(&cookie(&first));
            met.insert(first.backend());
            for _ in 0..5 {
                let answer = again(narthex.http, HOST, &pair);
                assert_eq!(answer.backend(), first.backend());
                assert_eq!(answer.header("set-cookie"), None);
            }
        }
        assert!(met.len() > 1, "{met:?}");
        // Where sessions are spread, anything comes to an endpoint, and always the same.
        let strange = || again(narthex.http, HOST, "INGRESSCOOKIE=strange");
        if mode == "balanced" {
            assert_eq!(strange().header("set-cookie"), None);
            assert_eq!(strange().backend(), strange().backend());
        } else {
            assert!(cookie(&strange()).starts_with("INGRESSCOOKIE="));
        }
    }
}

#[test]
fn sessions_move_to_endpoints_that_come_where_they_are_spread_and_only_there() {
    let backends = three();
    let at = addresses(&backends);
    for (mode, moves) in [("balanced", true), ("persistent", false)] {
        let said = [COOKIE, ("affinity-mode", mode)];
        let ingress = nginx("web", &said).host(HOST).prefix("/", "web").yaml();
        let site = |at| docs(&[class(), service("web", at), ingress.clone()]);
        let (narthex, folder) = serve(&[]);
        folder.write("site.yaml", &site(&at[..2]));
        until("it is served", || narthex.get(HOST, "/").status == 200);
        let sessions: Vec<_> = (0..60)
            .map(|_| {
                let first = narthex.get(HOST, "/");
                (pair(&cookie(&first)), first.backend())
            })
            .collect();
        folder.write("site.yaml", &site(&at));
        until("the third is served", || {
            narthex.get(HOST, "/").backend() == "three"
        });
        let mut moved = 0;
        for (pair, before) in &sessions {
            let answer = again(narthex.http, HOST, pair);
            assert_eq!(answer.header("set-cookie"), None, "{mode}");
            if answer.backend() != *before {
                assert_eq!(answer.backend(), "three", "no other way");
                moved += 1;
            }
        }
        // A third of them, more or less.
        let expected = if moves { 5..40 } else { 0..1 };
        assert!(expected.contains(&moved), "{mode}: {moved} of 60");
    }
}

#[test]
fn the_cookie_says_what_is_said_and_no_more() {
    let web = Backend::named("web");
    let value = |said: &[(&str, &str)], path: &str| {
        let said = [&[COOKIE], said].concat();
        let ingress = nginx("web", &said).host(HOST).prefix(path, "web");
        let (narthex, _folder) = serve(&[service("web", &[web.address()]), ingress.yaml()]);
        let cookie = cookie(&narthex.get(HOST, path));
        let (pair, attributes) = cookie.split_once("; ").expect("attributes");
        (
            pair.split('=').next().unwrap_or_default().to_owned(),
            attributes.to_owned(),
        )
    };
    let named = |attributes: &str| ("INGRESSCOOKIE".to_owned(), attributes.to_owned());
    assert_eq!(value(&[], "/"), named("Path=/; HttpOnly"));
    assert_eq!(value(&[], "/something"), named("Path=/something; HttpOnly"));
    let (name, attributes) = value(&[("session-cookie-name", "SERVERID")], "/");
    assert_eq!((&*name, &*attributes), ("SERVERID", "Path=/; HttpOnly"));
    for (said, expected) in [
        (
            ("session-cookie-path", "/foo/bar"),
            "Path=/foo/bar; HttpOnly",
        ),
        (
            ("session-cookie-domain", "foo.bar"),
            "Domain=foo.bar; Path=/a; HttpOnly",
        ),
        (
            ("session-cookie-max-age", "259200"),
            "Max-Age=259200; Path=/a; HttpOnly",
        ),
        (
            ("session-cookie-samesite", "Strict"),
            "Path=/a; HttpOnly; SameSite=Strict",
        ),
        (
            ("session-cookie-samesite", "None"),
            "Path=/a; HttpOnly; SameSite=None",
        ),
        (
            ("session-cookie-secure", "true"),
            "Path=/a; Secure; HttpOnly",
        ),
        (("session-cookie-secure", "false"), "Path=/a; HttpOnly"),
        // What cannot be read is as if nothing were said.
        (("session-cookie-max-age", "1h"), "Path=/a; HttpOnly"),
        (("session-cookie-path", "/a; Domain=b"), "Path=/a; HttpOnly"),
        (("session-cookie-name", "a=b;"), "Path=/a; HttpOnly"),
        (("session-cookie-samesite", "none"), "Path=/a; HttpOnly"),
        // A path that others make a pattern of is one still.
        (("rewrite-target", "/b"), "Path=/a; HttpOnly"),
    ] {
        assert_eq!(value(&[said], "/a"), named(expected), "{said:?}");
    }
    let (_, attributes) = value(&[("session-cookie-expires", "172800")], "/");
    let rest = attributes.strip_prefix("Expires=").expect("a time");
    let (time, rest) = rest.split_once("; ").expect("more");
    assert_eq!(rest, "Path=/; HttpOnly");
    assert!(
        time.ends_with(" GMT") && time.matches('-').count() == 2,
        "{time}"
    );
}

#[test]
fn browsers_that_misread_same_site_are_spared_where_that_is_asked_for() {
    let web = Backend::named("web");
    let ask = |port, agent: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: {agent}\r\n\r\n");
        cookie(&Conn::plain(port).ask(&request)).contains("SameSite=None")
    };
    let (old, new) = (
        "Mozilla/5.0 Chrome/51.0 Safari/537.36",
        "Mozilla/5.0 Chrome/120.0",
    );
    for (spared, expected) in [("true", false), ("false", true)] {
        let said = [
            COOKIE,
            ("session-cookie-samesite", "None"),
            ("session-cookie-conditional-samesite-none", spared),
        ];
        let (narthex, _folder) = serve_annotated(&said, &[web.address()]);
        assert_eq!(ask(narthex.http, old), expected);
        assert!(ask(narthex.http, new));
    }
}

#[test]
fn the_cookie_of_a_client_with_tls_is_secure() {
    let web = Backend::named("web");
    let certificate = Certificate::of(&[HOST]);
    let said = [COOKIE, ("session-cookie-secure", "false")];
    let ingress = nginx("web", &said)
        .tls(&[HOST], "a-tls")
        .host(HOST)
        .prefix("/", "web");
    let (narthex, _folder) = serve(&[
        service("web", &[web.address()]),
        secret("a-tls", &certificate),
        ingress.yaml(),
    ]);
    let (mut conn, _) = Client::trusting_anything()
        .connect(narthex.https, HOST)
        .expect("TLS");
    assert!(cookie(&conn.get(HOST, "/")).ends_with("Path=/; Secure; HttpOnly"));
}

#[test]
fn an_ingress_beside_it_has_no_cookies_of_the_same_service() {
    let backends = three();
    let (narthex, _folder) = serve(&[
        service("web", &addresses(&backends)),
        nginx("sticky", &[COOKIE])
            .host(HOST)
            .prefix("/foo/bar", "web")
            .yaml(),
        nginx("plain", &[]).host(HOST).prefix("/foo", "web").yaml(),
        nginx("nowhere", &[COOKIE])
            .any_host()
            .prefix("/", "web")
            .yaml(),
    ]);
    assert_eq!(narthex.get(HOST, "/foo").header("set-cookie"), None);
    let there = cookie(&narthex.get(HOST, "/foo/bar"));
    assert!(there.ends_with("; Path=/foo/bar; HttpOnly"), "{there}");
    let anywhere = cookie(&narthex.get("any.example", "/"));
    assert!(anywhere.ends_with("; Path=/; HttpOnly"), "{anywhere}");
}

#[test]
fn another_name_holds_from_the_next_request_on() {
    let web = Backend::named("web");
    let site = |name: &str| {
        let said = [COOKIE, ("session-cookie-name", name)];
        docs(&[
            class(),
            service("web", &[web.address()]),
            nginx("web", &said).host(HOST).prefix("/", "web").yaml(),
        ])
    };
    let (narthex, folder) = serve(&[]);
    folder.write("site.yaml", &site("ONE"));
    let starts = |name: &str| {
        let answer = narthex.get(HOST, "/");
        answer
            .header("set-cookie")
            .is_some_and(|cookie| cookie.starts_with(name))
    };
    until("it has its name", || starts("ONE="));
    folder.write("site.yaml", &site("OTHER"));
    until("it has the other name", || starts("OTHER="));
}

#[test]
fn a_session_stays_where_its_endpoint_fails_unless_it_may_change() {
    for (mode, change, status) in [
        ("balanced", "false", 502),
        ("balanced", "true", 200),
        ("persistent", "false", 502),
        ("persistent", "true", 200),
    ] {
        let (web, gone) = (Backend::named("web"), dead());
        let moves = ("session-cookie-change-on-failure", change);
        let said = [COOKIE, ("affinity-mode", mode), moves];
        let at = gone.address();
        let (narthex, folder) = serve_annotated(&said, &[web.address(), at]);
        // Alive for a moment, so that a client begins there.
        let listener = gone.revive();
        let accepting = std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            let (mut socket, _) = listener.accept().expect("a connection");
            let mut head = [0; 4096];
            let _ = socket.read(&mut head);
            let answer = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            socket.write_all(answer.as_bytes()).expect("written");
        });
        let there = loop {
            let answer = narthex.get(HOST, "/");
            if answer.status == 204 {
                break pair(&cookie(&answer));
            }
        };
        accepting.join().expect("it ended");
        let answer = again(narthex.http, HOST, &there);
        assert_eq!(answer.status, status, "{mode} {change}");
        if change == "true" {
            assert_eq!(answer.backend(), "web");
            assert_ne!(pair(&cookie(&answer)), there);
        }
        drop(folder);
    }
}

#[test]
fn a_session_that_persists_stays_while_others_come_until_its_endpoint_is_gone() {
    let backends: [_; 9] = std::array::from_fn(|at| Backend::named(&format!("b{at}")));
    let all = addresses(&backends);
    let said = [COOKIE, ("affinity-mode", "persistent")];
    let (narthex, folder) = serve_annotated(&said, &all[..3]);
    let first = narthex.get(HOST, "/");
    let (own, pair) = (first.backend(), pair(&cookie(&first)));
    let again = || again(narthex.http, HOST, &pair);
    let ingress = nginx("web", &said).host(HOST).prefix("/", "web").yaml();
    let have = |addresses: &[_]| {
        let documents = [service("web", addresses), ingress.clone()];
        folder.rename_over("site.yaml", &docs(&documents));
    };
    for count in [5, 7] {
        have(&all[..count]);
        until("the new ones are asked", || {
            let newest = format!("b{}", count - 1);
            narthex.get(HOST, "/").backend() == newest
        });
        assert_eq!(again().backend(), own, "{count}");
    }
    have(&[]);
    until("nobody is there", || again().status == 503);
    have(&all[7..]);
    until("others are", || again().status == 200);
    assert!(["b7", "b8"].contains(&&*again().backend()));
}
