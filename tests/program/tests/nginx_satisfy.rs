//! Whether one of several ways in is enough (`satisfy`).

use program_tests::guarded::{Guarded, basic, opaque, url};
use program_tests::{Backend, Then};

/// Lets in who says `X-Pass: yes`; asks all others for a token.
fn asked() -> Backend {
    Backend::scripted("auth", |exchange| {
        let status = match exchange.header("x-pass") {
            Some("yes") => "200 OK",
            Some("broken") => "502 Oh",
            _ => "401 No",
        };
        exchange.send(format!(
            "HTTP/1.1 {status}\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n"
        ))?;
        Ok(Then::Keep)
    })
}

const BASIC: [(&str, &str); 3] = [
    ("auth-type", "basic"),
    ("auth-secret", "users"),
    ("auth-realm", "here"),
];

fn world(annotations: &[(&str, &str)], auth: Option<&Backend>) -> Guarded {
    let auth_url = auth.map(|auth| url(auth.address(), "/"));
    let mut all = BASIC.to_vec();
    all.extend(auth_url.iter().map(|url| ("auth-url", &**url)));
    all.extend_from_slice(annotations);
    let users = opaque("users", &[("auth", "uname:{PLAIN}pwd")]);
    Guarded::with(&all, &[users], &["--trusted-proxies=127.0.0.1/32"])
}

const PASS: &str = "X-Pass: yes\r\n";

#[test]
fn without_a_word_all_of_them_have_to_let_in() {
    let auth = asked();
    for annotations in [&[][..], &[("satisfy", "all")], &[("satisfy", "both")]] {
        let site = world(annotations, Some(&auth));
        let both = format!("{}{PASS}", basic("uname", "pwd"));
        assert_eq!(site.get_with("/", &both).status, 200);
        assert_eq!(site.get_with("/", &basic("uname", "pwd")).status, 401);
        let response = site.get_with("/", PASS);
        assert_eq!(response.status, 401);
        let asked: Vec<_> = response.all("www-authenticate").collect();
        assert_eq!(asked, ["Basic realm=\"here\""], "the first that refuses");
    }
}

#[test]
fn any_of_them_is_enough_where_that_is_said() {
    let auth = asked();
    let site = world(&[("satisfy", "any")], Some(&auth));
    let response = site.get_with("/", &basic("uname", "pwd"));
    assert_eq!(response.status, 200);
    assert!(auth.seen().is_empty(), "nobody is asked any more");
    let response = site.get_with("/", &format!("{PASS}{}", basic("uname", "wrong")));
    assert_eq!(response.status, 200);
    assert_eq!(response.echo().header("authorization"), None);
    let response = site.get("/");
    assert_eq!(response.status, 401);
    let asked: Vec<_> = response.all("www-authenticate").collect();
    assert_eq!(asked, ["Basic realm=\"here\"", "Bearer"]);
    assert_eq!(site.get_with("/", "X-Pass: broken\r\n").status, 500);
}

#[test]
fn who_has_no_way_in_is_sent_to_sign_in() {
    let auth = asked();
    let annotations = [
        ("satisfy", "any"),
        ("auth-signin", "http://$host/auth/start"),
    ];
    let site = world(&annotations, Some(&auth));
    assert_eq!(site.get_with("/", &basic("uname", "pwd")).status, 200);
    let response = site.get("/?a=b&c=d");
    assert_eq!(response.status, 302);
    let expected = "http://a.example/auth/start?rd=http://a.example%2F%3Fa%3Db%26c%3Dd";
    assert_eq!(response.header("location"), Some(expected));
}

#[test]
fn an_address_is_a_way_in_too() {
    let list = ("allowlist-source-range", "192.0.2.0/24");
    let site = world(&[("satisfy", "any"), list], None);
    let get = |client: &str, lines: &str| {
        let lines = format!("X-Forwarded-For: {client}\r\n{lines}");
        site.get_with("/", &lines).status
    };
    assert_eq!(get("192.0.2.1", ""), 200);
    assert_eq!(get("198.51.100.1", ""), 401);
    assert_eq!(get("198.51.100.1", &basic("uname", "pwd")), 200);
    let site = world(&[list], None);
    assert_eq!(site.get_from("192.0.2.1").status, 401);
    let lines = format!("X-Forwarded-For: 198.51.100.1\r\n{}", basic("uname", "pwd"));
    assert_eq!(site.get_with("/", &lines).status, 403);
}

#[test]
fn alone_it_changes_nothing() {
    for value in ["any", "all"] {
        let site = Guarded::by(&[("satisfy", value)]);
        assert_eq!(site.get("/").status, 200, "{value}");
    }
}
