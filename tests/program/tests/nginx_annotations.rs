//! What ingress-nginx's own tests assert of annotations, where no test of one annotation does.

use program_tests::nginx::{Nginx, ingress};
use program_tests::tls::Client;
use program_tests::{Backend, Conn, HOST, Ingress, Response, service, until};
use rustls::version::TLS12;

/// A GET with more lines of a head, each ended by CRLF.
fn get(site: &Nginx, host: &str, path: &str, lines: &str) -> Response {
    Conn::plain(site.narthex.http).ask(&format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n"
    ))
}

const COOKIES: [(&str, &str); 2] = [("affinity", "cookie"), ("session-cookie-name", "SERVERID")];

#[test]
fn cookies_are_for_the_path_and_the_host_that_was_asked_for() {
    let with = |name: &str, more: &[(&str, &str)]| ingress(name, &[&COOKIES, more].concat());
    let regex = [("use-regex", "true"), ("session-cookie-path", "/foo/bar")];
    let site = Nginx::with(&[
        with("two", &[])
            .host("two.example")
            .prefix("/something", "web")
            .prefix("/somewhereelse", "web"),
        with("regex", &regex).host("regex.example").path(
            "ImplementationSpecific",
            "/foo/.*",
            "web",
        ),
        with("any", &[]).any_host().prefix("/", "web"),
        with("alias", &[("server-alias", "a1.example,a2.example")])
            .host("alias.example")
            .prefix("/bar", "web"),
    ]);
    for (host, path, expected) in [
        ("two.example", "/something", "Path=/something"),
        ("two.example", "/somewhereelse", "Path=/somewhereelse"),
        ("regex.example", "/foo/bar", "Path=/foo/bar"),
        ("unknown.example", "/", "Path=/"),
        ("alias.example", "/bar", "Path=/bar"),
        ("a1.example", "/bar", "Path=/bar"),
        ("a2.example", "/bar", "Path=/bar"),
    ] {
        let answer = site.narthex.get(host, path);
        let cookie = answer.header("set-cookie").unwrap_or_default();
        let parts: Vec<_> = cookie.split("; ").collect();
        assert!(cookie.starts_with("SERVERID="), "{host}{path} {cookie}");
        assert!(parts.contains(&expected), "{host}{path} {cookie}");
        assert!(!cookie.contains("Domain"), "{cookie}");
    }
}

#[test]
fn an_alias_of_one_ingress_is_served_by_all_of_its_host() {
    let site = Nginx::with(&[
        ingress("a", &[]).host(HOST).prefix("/app-a", "web"),
        ingress("b", &[("server-alias", "bar.example")])
            .host(HOST)
            .prefix("/app-b", "other"),
    ]);
    for host in [HOST, "bar.example"] {
        let echo = site.narthex.get(host, "/app-a").echo();
        assert_eq!((&*echo.backend, echo.header("host")), ("web", Some(host)));
        assert_eq!(site.narthex.backend(host, "/app-b"), "other");
    }
    assert_eq!(site.narthex.backend("baz.example", "/app-a"), "404");
}

#[test]
fn who_is_asked_for_a_password_is_told_what_cors_says() {
    // foo:bar
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: users, namespace: \
                  default}\nstringData: {auth: \"foo:$apr1$OFG3Xybp$ckL0FHDAkoXYIlH9.cysT0\"}\n";
    let annotations = [
        ("auth-type", "basic"),
        ("auth-secret", "users"),
        ("auth-realm", "test auth"),
        ("enable-cors", "true"),
    ];
    let rules = ingress("web", &annotations).host(HOST).prefix("/", "web");
    let site = Nginx::with_documents(&[rules.yaml(), secret.to_owned()], &[]);
    let answer = get(&site, HOST, "/", "");
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(
        answer.header("www-authenticate"),
        Some("Basic realm=\"test auth\"")
    );
    let let_in = get(&site, HOST, "/", "Authorization: Basic Zm9vOmJhcg==\r\n");
    assert_eq!((let_in.status, &*let_in.backend()), (200, "web"));
}

/// The main `web` with these annotations, and the canary `other` with those, at `/info`.
fn with_canary(main: &[(&str, &str)], canary: &[(&str, &str)]) -> Nginx {
    let canary = [&[("canary", "true")], canary].concat();
    Nginx::with(&[
        ingress("main", main).host(HOST).prefix("/info", "web"),
        ingress("canary", &canary)
            .host(HOST)
            .prefix("/info", "other"),
    ])
}

#[test]
fn without_endpoints_a_main_backend_is_503_and_a_canary_is_passed_over() {
    let by_header = [("canary", "true"), ("canary-by-header", "CanaryByHeader")];
    for (main, canary, always, never) in
        [("web", "gone", "web", "web"), ("gone", "web", "503", "503")]
    {
        let gone = service("gone", &[]);
        let rules = [
            ingress("main", &[]).host(HOST).prefix("/info", main).yaml(),
            ingress("canary", &by_header)
                .host(HOST)
                .prefix("/info", canary)
                .yaml(),
            gone,
        ];
        let site = Nginx::with_documents(&rules, &[]);
        let ask = |word: &str| {
            let lines = format!("CanaryByHeader: {word}\r\n");
            get(&site, HOST, "/info", &lines).backend()
        };
        assert_eq!((&*ask("always"), &*ask("never")), (always, never));
    }
}

#[test]
fn a_client_of_the_canary_stays_with_it_unless_that_is_not_wanted() {
    let forced = [
        ("canary-by-header", "ForceCanary"),
        ("canary-by-header-value", "yes"),
    ];
    let force = "ForceCanary: yes\r\n";
    for behaviour in [None, Some("sticky")] {
        let said = behaviour.map(|it| ("affinity-canary-behavior", it));
        let said: Vec<_> = said.into_iter().collect();
        let canary = [&forced[..], &[("canary-weight", "1")], &said].concat();
        let site = with_canary(&COOKIES, &canary);
        let first = get(&site, HOST, "/info", force);
        assert_eq!(first.backend(), "other");
        let cookie = first.header("set-cookie").expect("a cookie");
        let pair = cookie.split(';').next().unwrap_or_default();
        for _ in 0..50 {
            let again = get(&site, HOST, "/info", &format!("Cookie: {pair}\r\n"));
            assert_eq!(again.backend(), "other", "{behaviour:?}");
        }
    }
    let legacy = [
        ("canary-weight", "50"),
        ("affinity-canary-behavior", "legacy"),
    ];
    let site = with_canary(&COOKIES, &[&forced[..], &legacy].concat());
    let first = get(&site, HOST, "/info", force);
    assert_eq!(first.backend(), "other");
    assert_eq!(first.header("set-cookie"), None);
    let others = (0..200).filter(|_| get(&site, HOST, "/info", "").backend() == "other");
    let others = others.count();
    assert!((50..150).contains(&others), "{others} of 200");
}

#[test]
fn origins_are_compared_with_their_ports() {
    let table: &[(&str, &[(&str, bool)])] = &[
        (
            "http://origin.cors.com:8080",
            &[
                ("http://origin.cors.com:8080", true),
                ("http://origin.cors.com", false),
                ("http://origin.cors.com:80", false),
            ],
        ),
        (
            "http://origin.com",
            &[
                ("http://origin.com", true),
                ("http://origin.com:8080", false),
            ],
        ),
        (
            "http://*.origin.cors.com:8080",
            &[
                ("http://abc.origin.cors.com:8080", true),
                ("http://abc.origin.cors.com", false),
                ("http://origin.cors.com:8080", false),
            ],
        ),
        (
            "https://origin-123.cors.com:8080,   ,https://origin-321.cors.com:8080,",
            &[
                ("https://origin-123.cors.com:8080", true),
                ("https://origin-321.cors.com:8080", true),
                ("https://unknown.cors.com:8080", false),
            ],
        ),
        (
            "test://localhost, tauri://localhost:3000",
            &[
                ("test://localhost", true),
                ("tauri://localhost:3000", true),
                ("tauri://localhost", false),
            ],
        ),
    ];
    for (allowed, origins) in table {
        let annotations = [("enable-cors", "true"), ("cors-allow-origin", *allowed)];
        let site = Nginx::with(&[ingress("web", &annotations).host(HOST).prefix("/", "web")]);
        for (origin, is_allowed) in *origins {
            let answer = get(&site, HOST, "/", &format!("Origin: {origin}\r\n"));
            let said = answer.header("access-control-allow-origin");
            assert_eq!(said, is_allowed.then_some(*origin), "{allowed} {origin}");
            assert_eq!(answer.status, 200);
        }
    }
}

fn map(namespace: &str, name: &str, data: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: \
         {namespace}}}\ndata: {data}\n"
    )
}

#[test]
fn fields_of_a_config_map_are_the_responses_word_for_word() {
    let rules = [
        ingress("web", &[("custom-headers", "default/fields")])
            .host(HOST)
            .prefix("/", "web")
            .yaml(),
        ingress("plain", &[])
            .host("b.example")
            .prefix("/", "web")
            .yaml(),
        map(
            "ingress-nginx",
            "controller",
            "{global-allowed-response-headers: 'My-Custom-Header,My-Custom-Header-Dollar'}",
        ),
    ];
    let site = Nginx::with_documents(&rules, &["--configmap=ingress-nginx/controller"]);
    let missing = site.narthex.get(HOST, "/");
    assert_eq!(missing.status, 503);
    assert!(
        missing
            .text()
            .contains("503 Service Temporarily Unavailable")
    );
    let fields = "{My-Custom-Header: '42', My-Custom-Header-Dollar: $remote_addr}";
    site.folder
        .write("fields.yaml", &map("default", "fields", fields));
    site.narthex.until_backend(HOST, "/", "web");
    let answer = site.narthex.get(HOST, "/");
    assert_eq!(answer.header("my-custom-header"), Some("42"));
    assert_eq!(
        answer.header("my-custom-header-dollar"),
        Some("$remote_addr")
    );
    assert_eq!(
        site.narthex
            .get("b.example", "/")
            .header("my-custom-header"),
        None
    );
}

#[test]
fn rewrites_beside_plain_paths_are_as_ingress_nginxs_own_tests_say() {
    const BACKEND: (&str, &str) = ("rewrite-target", "/new/backend");
    const REGEX: (&str, &str) = ("use-regex", "true");
    let any = "ImplementationSpecific";
    let plain = |path: &str| ingress("plain", &[]).host(HOST).prefix(path, "web");
    let rewrite = |annotations: &[(&str, &str)], path: &str| {
        ingress("regex", annotations)
            .host(HOST)
            .path(any, path, "web")
    };
    /// Some Ingresses, and what becomes of each path.
    type Case<'a> = (&'a [Ingress], &'a [(&'a str, &'a str)]);
    let table: &[Case<'_>] = &[
        (
            &[
                plain("/.well-known/acme/challenge"),
                rewrite(&[BACKEND], "/"),
            ],
            &[
                ("/.well-known/acme/challenge", "/.well-known/acme/challenge"),
                ("/else", "/new/backend"),
            ],
        ),
        (
            &[plain("/foo"), rewrite(&[REGEX, BACKEND], "/foo.+")],
            &[("/foo", "/foo"), ("/foo/bar", "/new/backend")],
        ),
        (
            &[
                plain("/foo/bar/bar"),
                rewrite(&[REGEX, BACKEND], "/foo/bar/[a-z]{3}"),
            ],
            &[("/foo/bar/bar", "/new/backend")],
        ),
        (
            &[rewrite(
                &[REGEX, ("rewrite-target", "/new/backend/$1")],
                "/foo/bar/(.+)",
            )],
            &[("/foo/bar/bar", "/new/backend/bar")],
        ),
    ];
    for (ingresses, requests) in table {
        let site = Nginx::with(ingresses);
        for (path, expected) in *requests {
            assert_eq!(site.target(HOST, path), *expected, "{path}");
        }
    }
}

#[test]
fn the_services_own_address_is_used_where_the_config_map_says_so_and_the_ingress_does_not_object() {
    let (ready, own) = (Backend::named("ready"), Backend::named("own"));
    let port = own.address().port();
    let addressed = service("both", &[ready.address()])
        .replacen("spec:\n", "spec:\n  clusterIP: 127.0.0.1\n", 1)
        .replacen("port: 80\n", &format!("port: {port}\n"), 1);
    let rules = [
        addressed,
        ingress("a", &[]).host(HOST).prefix("/", "both").yaml(),
        ingress("b", &[("service-upstream", "false")])
            .host("b.example")
            .prefix("/", "both")
            .yaml(),
    ];
    let site = Nginx::with_documents(&rules, &["--configmap=ingress-nginx/controller"]);
    assert_eq!(site.narthex.backend(HOST, "/"), "ready");
    let said = map("ingress-nginx", "controller", "{service-upstream: 'true'}");
    site.folder.write("map.yaml", &said);
    until("the Service's own address", || {
        site.narthex.backend(HOST, "/") == "own"
    });
    assert_eq!(site.narthex.backend("b.example", "/"), "ready");
}

#[test]
fn satisfy_alone_keeps_nobody_out() {
    for word in ["any", "all"] {
        let rules = ingress("web", &[("satisfy", word)]);
        let site = Nginx::with(&[rules.host(HOST).prefix("/", "web")]);
        assert_eq!(site.narthex.backend(HOST, "/"), "web", "{word}");
    }
}

#[test]
fn suites_that_are_not_there_any_more_keep_nobody_out() {
    let tail = "+MEDIUM:+LOW:+SSLv2:+EXP";
    for (suites, prefers) in [
        ("ALL:!aNULL:!EXPORT56:RC4+RSA:+HIGH", "false"),
        (
            "ALL:!aNULL:!EXPORT56:RC4+RSA@STRENGTH:+HIGH@SECLEVEL=0",
            "true",
        ),
    ] {
        let said = [
            ("ssl-ciphers", &*format!("{suites}:{tail}")),
            ("ssl-prefer-server-ciphers", prefers),
        ];
        let rules = ingress("web", &said).host(HOST).prefix("/something", "web");
        let site = Nginx::with(&[rules]);
        for client in [Client::trusting_anything(), Client::speaking(&[&TLS12])] {
            let (mut conn, _) = client.connect(site.narthex.https, HOST).expect("TLS");
            assert_eq!(conn.get(HOST, "/something").status, 200, "{suites}");
        }
    }
}
