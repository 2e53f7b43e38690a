//! Fuzz targets of what clients show, and of the files that say who may: see the proxy's.

use std::time::SystemTime;

use bolero::check;
use futures_util::FutureExt as _;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use regex_automata::meta::Regex;

use super::credentials::Credentials;
use super::pattern::Pattern;
use super::scope::{self, Scope};
use super::{Action, Gate, Htpasswd, Identity, Key, Leave, Peer, Proxies, Rules, Settings};
use crate::seeds::{first_line, sow};

fn peer() -> Peer {
    Peer {
        address: [192, 0, 2, 7].into(),
        is_tls: false,
        certificate: None,
    }
}

/// A name and a password that are read are the same when they are written again.
fn authorization(bytes: &[u8]) {
    use base64::Engine as _;

    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let read = |value| Credentials::of(&HeaderMap::from_iter([(AUTHORIZATION, value)]));
    if let Ok(Some(credentials)) = read(value) {
        let written = match &credentials {
            Credentials::Bearer(token) => format!("Bearer {token}"),
            Credentials::Basic { name, password } => {
                let pair = format!("{name}:{password}");
                let pair = base64::prelude::BASE64_STANDARD.encode(pair);
                format!("Basic {pair}")
            }
        };
        let value = HeaderValue::from_str(&written).expect("a field");
        assert_eq!(read(value), Ok(Some(credentials)));
    }
}

#[test]
fn authorizations() {
    let seeds = [
        "Basic YWxpY2U6d29uZGVy",
        "basic Og==",
        "Bearer a.b.c",
        "Bearer ",
        "Negotiate x",
        "Basic \u{e4}",
    ];
    sow(&seeds, authorization);
    check!().for_each(authorization);
}

/// Nobody has a token for more than there is a right to, and no text is a token by chance.
fn token(bytes: &[u8]) {
    thread_local! {
        static GATE: Gate = Gate::new(
            Settings {
                rules: None,
                anonymous: Some(Leave::Pull),
                htpasswd: None,
                reviewer: None,
                certificates: true,
                proxies: Proxies::default(),
            },
            Some(Key::new(&[1; 32])),
        );
    }
    let key = Key::new(&[1; 32]);
    let now = SystemTime::now();
    let Some((query, form)) = first_line(bytes) else {
        return;
    };
    assert_eq!(key.read(query, now), None);
    let scopes = Scope::parse_all(query);
    assert!(scopes.len() <= scope::MOST);
    let written: Vec<_> = scopes.iter().map(Scope::text).collect();
    assert_eq!(Scope::parse_all(&written.join(" ")), scopes);
    let signed = key.sign(Identity::User(query.to_owned()), scopes.clone(), now);
    if let Some(read) = key.read(&signed, now) {
        assert_eq!(read, (Identity::User(query.to_owned()), scopes));
    }
    for method in [Method::GET, Method::POST] {
        let uri = format!("/v2/token?{query}");
        let Ok(request) = Request::builder().method(method).uri(uri).body(()) else {
            return;
        };
        let (head, ()) = request.into_parts();
        let answer = GATE.with(|gate| gate.token(&head, form.as_bytes(), &peer()).now_or_never());
        let answer = answer.expect("nothing to wait for");
        if answer.status() != StatusCode::OK {
            assert!(answer.status().is_client_error());
            continue;
        }
        let body: serde_json::Value = serde_json::from_slice(answer.body()).expect("JSON");
        let token = body["token"].as_str().expect("a token");
        let (identity, scopes) = key.read(token, SystemTime::now()).expect("our own");
        assert!(identity.is_anonymous());
        for scope in scopes.iter().filter(|it| !it.is_catalog()) {
            assert_eq!(scope.kind, "repository");
            assert!(scope.actions.iter().all(|it| it == "pull" || it == "list"));
        }
    }
}

#[test]
fn tokens() {
    let seeds = [
        "scope=repository:a/b:pull,push&service=x",
        "scope=repository(plugin):a:*%20registry:catalog:*",
        "repository:host:5000/a:pull registry:catalog:* x",
        "\ngrant_type=password&username=a&password=b&scope=repository:a:delete",
        "scope=repository:a:pull\ngrant_type=refresh_token&refresh_token=a.b.c",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.AAAA",
    ];
    sow(&seeds, token);
    check!().for_each(token);
}

/// A pattern takes what the expression takes that it stands for.
fn pattern(bytes: &[u8]) {
    let Some((text, name)) = first_line(bytes) else {
        return;
    };
    let Ok(pattern) = Pattern::parse(text) else {
        return;
    };
    let expression = text
        .replace('.', r"\.")
        .replace("**", ":")
        .replace('*', "[^/]*")
        .replace(':', ".*");
    let expression = Regex::new(&format!("^(?s:{expression})$")).expect("an expression");
    assert_eq!(
        pattern.matches(name),
        expression.is_match(name),
        "{text} {name}"
    );
    assert!(!pattern.is_everything() || pattern.matches(name));
}

#[test]
fn patterns() {
    let seeds = [
        "team/**\nteam/a/b",
        "*/app\na/app",
        "**\n",
        "a*b**c*\nabbc/c",
        "***\na",
    ];
    sow(&seeds, pattern);
    check!().for_each(pattern);
}

/// Whoever has a right to all has it to each, and whoever has one to something has one at all.
fn access_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Err(wrong) = Htpasswd::parse(text) {
        assert!(wrong.starts_with("line "));
    }
    let rules = match Rules::parse(text) {
        Ok(rules) => rules,
        Err(wrong) => {
            assert!(!wrong.to_string().is_empty());
            return;
        }
    };
    let whom = [
        Identity::Anonymous,
        Identity::User("alice".to_owned()),
        Identity::Cluster {
            name: "system:serviceaccount:a:b".to_owned(),
            groups: vec!["g".to_owned()],
        },
        Identity::Certificate(vec!["edge.example".to_owned()]),
    ];
    for who in &whom {
        for action in Action::ALL {
            let (all, any) = (rules.allow_all(who, action), rules.allow_any(who, action));
            for name in ["a", "team/app"] {
                let one = rules.allow(who, action, name);
                assert!((!all || one) && (!one || any));
                // Whoever shows who he is loses nothing by it.
                assert!(one || !rules.allow(&Identity::Anonymous, action, name));
            }
        }
    }
}

#[test]
fn access_files() {
    let begin = "apiVersion: narthex.dev/v1alpha1\nkind: RegistryAccess\n";
    let seeds = [
        &format!(
            "{begin}rules:\n- {{repositories: ['**'], actions: ['*'], subjects: [anonymous]}}\n"
        ),
        &format!(
            "{begin}groups: {{web: [alice]}}\nrules:\n- repositories: [team/**, '*']\n  \
             actions: [pull, list]\n  subjects: ['group:web', 'serviceaccount:a/b', \
             'certificate:edge.example', authenticated]\n"
        ),
        &format!("{begin}rules: [{{repositories: [A], actions: [x], subjects: ['user:']}}]\n"),
        "alice:$2y$10$abcdefghijklmnopqrstuuJ9v5pJc0Y5Y5Y5Y5Y5Y5Y5Y5Y5Y5Y5Y\n# x\n",
        "alice:$2y$10$\u{e4}bcdefghijklmnopqrstuuJ9v5pJc0Y5Y5Y5Y5Y5Y5Y5Y5Y5Y5Y\n",
        "alice:$2y$99$x\n:x\n",
    ];
    sow(&seeds, access_file);
    check!().for_each(access_file);
}

/// What we are called is a URL's beginning and nothing more, whatever a client says.
fn place(bytes: &[u8]) {
    let Some((host, rest)) = first_line(bytes) else {
        return;
    };
    let (forwarded, hops) = rest.split_once('\n').unwrap_or((rest, ""));
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (HOST, host),
        (HeaderName::from_static("x-forwarded-host"), forwarded),
        (HeaderName::from_static("x-forwarded-for"), hops),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    let proxies = Proxies {
        trusted: vec!["192.0.2.0/24".parse().expect("a network")],
        external_url: None,
    };
    let client = proxies.client(&peer(), &headers);
    assert!(client == peer().address || hops.contains(['.', ':']));
    if let Some(root) = proxies.root(&peer(), &headers, None) {
        let host = root.strip_prefix("http://").expect("no TLS");
        assert!(!host.is_empty() && !host.contains(['/', '"', '\\', '@', '?', '#', ' ', ',']));
    }
}

#[test]
fn places() {
    let seeds = [
        "registry.example:5000\nother.example, x\n192.0.2.9, 203.0.113.1, 192.0.2.8",
        "[::1]:5000\n\n::ffff:192.0.2.1",
        "a/b\na\"b\nx",
    ];
    sow(&seeds, place);
    check!().for_each(place);
}
