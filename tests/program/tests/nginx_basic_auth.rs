//! Names and passwords (`auth-type`, `auth-secret`, `auth-secret-type`, `auth-realm`).

use std::thread::spawn;

use program_tests::guarded::{Annotations, Guarded, basic, opaque};
use program_tests::nginx::ingress as nginx;
use program_tests::{Backend, Conn, HOST, curl, until};

/// The password `bar`, by htpasswd and by crypt(3).
const APR1: &str = "$apr1$abcdefgh$bGLO42WqKpmLoPH9uGWTg1";
const BCRYPT: &str = "$2y$04$abcdefghijklmnopqrstuuEnktNu4dNa/sMz6nY.lAbxawdTTajT2";
const SHA: &str = "{SHA}Ys23Ag/5IOWqZCw9QGaVDdHwH00=";
const SHA_CRYPT: &str = "$6$rounds=1000$saltsalt$/yEDPvr/G5kO/ONrJgIBrorKAPcRlD5q9E7M9XpyjfzX.gbPc/O2ZSjv8lajAaQY98s6cwJ8AvIhTZh26inJs/";

const BASIC: Annotations<'_> = &[
    ("auth-type", "basic"),
    ("auth-secret", "users"),
    ("auth-realm", "test auth"),
];

fn guarded(file: &str) -> Guarded {
    Guarded::with(BASIC, &[opaque("users", &[("auth", file)])], &[])
}

#[test]
fn who_has_no_password_is_asked_for_one() {
    let site = guarded(&format!("foo:{APR1}\n"));
    let response = site.get("/nobody");
    assert_eq!(response.status, 401);
    let asked = response.header("www-authenticate");
    assert_eq!(asked, Some("Basic realm=\"test auth\""));
    assert_eq!(site.reason("/nobody"), "password_required");
    assert!(site.web.seen().is_empty());
    for (name, password) in [("user", "pass"), ("foo", "baz"), ("foo", ""), ("", "bar")] {
        let response = site.get_with("/", &basic(name, password));
        assert_eq!(response.status, 401, "{name}:{password}");
    }
    for line in ["Basic", "Basic Zm9v", "Basic ???", "Bearer Zm9vOmJhcg=="] {
        let response = site.get_with("/", &format!("Authorization: {line}\r\n"));
        assert_eq!(response.status, 401, "{line}");
    }
    site.assert_others_are_open();
    assert!(!site.narthex.log().contains("baz"));
}

#[test]
fn who_has_a_password_comes_in_and_keeps_it_from_the_backend() {
    for hash in [APR1, BCRYPT, SHA, SHA_CRYPT, "{PLAIN}bar"] {
        let site = guarded(&format!(
            "# people\nother:{{PLAIN}}x\r\nfoo:{hash}:a comment\r\n"
        ));
        for _ in 0..3 {
            let response = site.get_with("/", &basic("foo", "bar"));
            assert_eq!(response.status, 200, "{hash}");
            assert_eq!(response.echo().header("authorization"), None);
        }
        assert_eq!(
            site.get_with("/", &basic("foo", "Bar")).status,
            401,
            "{hash}"
        );
        assert_eq!(site.get_with("/", &basic("other", "x")).status, 200);
    }
}

#[test]
fn a_map_has_a_key_for_each_name() {
    let secret = opaque("users", &[("foo", APR1), ("other", "{PLAIN}x\n")]);
    let mut annotations = BASIC.to_vec();
    annotations.push(("auth-secret-type", "auth-map"));
    let site = Guarded::with(&annotations, &[secret], &[]);
    assert_eq!(site.get_with("/", &basic("foo", "bar")).status, 200);
    assert_eq!(site.get_with("/", &basic("other", "x")).status, 200);
    assert_eq!(site.get_with("/", &basic("foo", "x")).status, 401);
}

#[test]
fn a_name_without_a_hash_and_a_hash_that_nobody_reads_are_nobodys() {
    let site = guarded("foo:\nold:rqXexS6ZhobKA\n");
    for (name, password) in [("foo", ""), ("foo", "bar"), ("old", "bar")] {
        assert_eq!(site.get_with("/", &basic(name, password)).status, 401);
    }
    site.narthex.until_log("nobody comes in as foo, old");
}

#[test]
fn what_guards_nothing_closes_the_ingress_and_nothing_else() {
    let elsewhere = opaque("users", &[("auth", "foo:{PLAIN}bar")])
        .replace("{name: users}", "{name: users, namespace: other}");
    let no_file = opaque("empty", &[("users", "foo:{PLAIN}bar")]);
    for secret in ["something", "empty", "other/users", "a/b/c", "a b!"] {
        let annotations = [("auth-type", "basic"), ("auth-secret", secret)];
        let documents = [elsewhere.clone(), no_file.clone()];
        let site = Guarded::with(&annotations, &documents, &[]);
        let response = site.get_with("/", &basic("foo", "bar"));
        assert_eq!(response.status, 503, "{secret}");
        site.narthex.until_log("auth-secret");
        site.assert_others_are_open();
    }
    let site = Guarded::by(&[("auth-type", "basic")]);
    assert_eq!(site.get("/").status, 503);
}

#[test]
fn a_type_or_realm_that_is_none_leaves_the_ingress_out() {
    for bad in [
        ("auth-type", "token"),
        ("auth-secret-type", "file"),
        ("auth-realm", "a\"b"),
    ] {
        let mut annotations = vec![("auth-secret", "users")];
        if bad.0 != "auth-type" {
            annotations.push(("auth-type", "basic"));
        }
        annotations.push(bad);
        let site = Guarded::with(&annotations, &[opaque("users", &[("auth", "")])], &[]);
        assert_eq!(site.get("/").status, 404, "{bad:?}");
        site.assert_others_are_open();
    }
}

#[test]
fn another_password_counts_once_the_secret_has_it() {
    let site = Guarded::by(BASIC);
    assert_eq!(site.get("/").status, 503);
    let write = |file: &str| {
        let secret = opaque("users", &[("auth", file)]);
        site.folder.rename_over("users.yaml", &secret);
    };
    write(&format!("foo:{BCRYPT}"));
    until("it comes in", || {
        site.get_with("/", &basic("foo", "bar")).status == 200
    });
    write("foo:{PLAIN}other");
    until("it does not", || {
        site.get_with("/", &basic("foo", "bar")).status == 401
    });
    assert_eq!(site.get_with("/", &basic("foo", "other")).status, 200);
}

#[test]
fn paths_of_certificate_authorities_ask_nobody() {
    let ingress = nginx("web", BASIC)
        .host(HOST)
        .prefix("/", "web")
        .prefix("/.well-known/acme-challenge", "web");
    let users = opaque("users", &[("auth", "foo:{PLAIN}bar")]);
    let site = Guarded::of(Backend::named("web"), &ingress, &[users], &[]);
    assert_eq!(site.get("/").status, 401);
    let response = site.get_with("/.well-known/acme-challenge/x", &basic("a", "b"));
    assert_eq!(response.status, 200);
    assert!(response.echo().header("authorization").is_some());
}

#[test]
fn digests_are_verified_as_curl_makes_them() {
    let annotations = [
        ("auth-type", "digest"),
        ("auth-secret", "users"),
        ("auth-realm", "here"),
    ];
    // MD5 of "foo:here:bar", as htdigest writes it.
    let file = "foo:here:a83be97a90dfd0b3adc0df38db199215\n";
    let site = Guarded::with(&annotations, &[opaque("users", &[("auth", file)])], &[]);
    let response = site.get("/");
    assert_eq!(response.status, 401);
    let asked = response.header("www-authenticate").expect("a challenge");
    assert!(
        asked.starts_with("Digest ") && asked.contains("realm=\"here\""),
        "{asked}"
    );
    let url = format!("http://127.0.0.1:{}/a?b=c", site.narthex.http);
    let host = format!("Host: {HOST}");
    let ask = |user: &str| curl(&["--digest", "--user", user, "-H", &host, &url]);
    let answer = ask("foo:bar");
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(!answer.text.to_ascii_lowercase().contains("authorization"));
    for wrong in ["foo:baz", "who:bar"] {
        assert_eq!(ask(wrong).status, 401, "{wrong}");
    }
    assert_eq!(site.get_with("/", &basic("foo", "bar")).status, 401);
}

#[test]
fn who_waits_for_slow_hashes_keeps_nobody_else_waiting() {
    const SLOW: &str = "$2b$12$abcdefghijklmnopqrstuuR7ivg4hWtvwp.7v.ar.TrZbQYcdcDQe";
    const WAITING: usize = 6;
    let site = guarded(&format!("foo:{SLOW}"));
    let port = site.narthex.http;
    let guess = |number: usize| {
        let line = basic("foo", &format!("guess {number}"));
        let head = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{line}\r\n");
        spawn(move || Conn::plain(port).ask(&head).status)
    };
    let waiting: Vec<_> = (0..WAITING).map(guess).collect();
    for _ in 0..10 {
        site.assert_others_are_open();
    }
    let late = waiting.iter().any(|one| !one.is_finished());
    assert!(late, "all guesses were quicker than ten requests");
    for one in waiting {
        assert_eq!(one.join().expect("an answer"), 401);
    }
    assert_eq!(site.get_with("/", &basic("foo", "bar")).status, 200);
}
