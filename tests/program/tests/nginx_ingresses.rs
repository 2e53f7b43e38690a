//! Hosts, paths and Services of Ingresses of ingress-nginx's classes, as its own tests have them.

use program_tests::nginx::{Nginx, ingress};
use program_tests::{Backend, Conn, Folder, HOST, Ingress, Narthex, service};

const REGEX: &[(&str, &str)] = &[("use-regex", "true")];

#[test]
fn patterns_match_as_ingress_nginxs_own_tests_say() {
    let table: &[(&str, &[(&str, &str)])] = &[
        (
            "/id/[0-9]+",
            &[
                ("/id/1", "web"),
                ("/id/12", "web"),
                ("/id/123", "web"),
                ("/id/aaa", "404"),
                ("/id/123a", "web"),
            ],
        ),
        (
            "/id/[0-9]+$",
            &[("/id/1", "web"), ("/id/aaa", "404"), ("/id/123a", "404")],
        ),
        (
            "/id/[0-9]{3}$",
            &[
                ("/id/99", "404"),
                ("/id/123", "web"),
                ("/id/9999", "404"),
                ("/id/123a", "404"),
            ],
        ),
        (
            "/id/[0-9]+/post/[a-zA-Z]+$",
            &[
                ("/id/123/post/abc", "web"),
                ("/id/123/post/abc123", "404"),
                ("/id/abc/post/abc", "404"),
            ],
        ),
    ];
    let ingresses: Vec<_> = (0..)
        .zip(table)
        .map(|(at, (path, _))| {
            let rules = ingress(&format!("i{at}"), REGEX).host(&format!("{at}.example"));
            rules.path("ImplementationSpecific", path, "web")
        })
        .collect();
    let site = Nginx::with(&ingresses);
    for (at, (pattern, requests)) in (0..).zip(table) {
        for (path, expected) in *requests {
            let found = site.narthex.backend(&format!("{at}.example"), path);
            assert_eq!(found, *expected, "{pattern} and {path}");
        }
    }
}

#[test]
fn an_ingress_with_a_path_that_is_none_is_left_out_and_its_host_is_served() {
    let path = "/bla{alias /var/run/secrets/;}location ~* ^/abcd";
    let site = Nginx::with(&[
        ingress("invalid", &[]).host(HOST).prefix(path, "web"),
        ingress("valid", &[]).host(HOST).prefix("/xpto", "web"),
    ]);
    for (path, expected) in [("/xpto", "web"), ("/bla", "404"), ("/abcd/", "404")] {
        assert_eq!(site.narthex.backend(HOST, path), expected, "{path}");
    }
}

#[test]
fn the_first_of_two_ingresses_with_a_path_keeps_it() {
    let prefix = |name: &str, web: &str| ingress(name, &[]).host(HOST).prefix("/exact", web);
    let site = Nginx::with(&[prefix("duplicated", "web"), prefix("suffix", "other")]);
    assert_eq!(site.narthex.backend(HOST, "/exact/suffix"), "web");
}

#[test]
fn each_rule_has_its_services_name_in_variables() {
    let snippet = "more_set_input_headers \"service-name: $service_name\";";
    let rules = ingress("simh", &[("configuration-snippet", snippet)])
        .host("first.example")
        .prefix("/", "web")
        .host("second.example")
        .prefix("/", "other");
    let site = Nginx::with_documents(&[rules.yaml()], &["--allow-snippet-annotations"]);
    for (host, service) in [("first.example", "web"), ("second.example", "other")] {
        let echo = site.narthex.get(host, "/exact").echo();
        assert_eq!(echo.header("service-name"), Some(service));
    }
}

#[test]
fn a_rule_without_paths_has_the_default_backend() {
    let rules = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: backend, \
                 annotations: {nginx.ingress.kubernetes.io/proxy-buffer-size: 8k}}\nspec:\n  \
                 ingressClassName: nginx\n  defaultBackend: {service: {name: web, port: {number: \
                 80}}}\n  rules: [{host: a.example}]\n";
    let site = Nginx::with_documents(&[rules.to_owned()], &[]);
    assert_eq!(site.narthex.backend(HOST, "/"), "web");
}

#[test]
fn the_default_backend_of_an_ingress_with_rules_is_for_their_hosts_alone() {
    let with_rules = ingress("a", &[])
        .default_backend("web")
        .host(HOST)
        .prefix("/foo", "other");
    let site = Nginx::with(std::slice::from_ref(&with_rules));
    assert_eq!(site.narthex.backend(HOST, "/foo"), "other");
    assert_eq!(site.narthex.backend(HOST, "/bar"), "web");
    assert_eq!(site.narthex.backend("unknown.example", "/"), "404");
    let without = ingress("b", &[]).default_backend("other");
    let site = Nginx::with(&[with_rules, without]);
    assert_eq!(site.narthex.backend(HOST, "/bar"), "web");
    assert_eq!(site.narthex.backend("unknown.example", "/"), "other");
}

#[test]
fn a_tls_entry_leads_all_hosts_of_the_rules_to_https() {
    for (entry, status) in [
        ("[{hosts: [other.example], secretName: none}]", 308),
        ("[{}]", 308),
        ("[]", 200),
    ] {
        let document = ingress("a", &[]).host(HOST).prefix("/", "web").yaml();
        let document = document.replacen("spec:\n", &format!("spec:\n  tls: {entry}\n"), 1);
        let site = Nginx::with_documents(&[document], &[]);
        assert_eq!(site.narthex.get(HOST, "/x").status, status, "{entry}");
    }
}

#[test]
fn values_for_redirects_and_cookies_that_cannot_be_read_leave_the_ingress_as_it_is() {
    for (name, value) in [
        ("proxy-redirect-from", "~*^/(.*)"),
        ("proxy-redirect-from", "a;b"),
        ("proxy-cookie-domain", "x"),
        ("proxy-cookie-path", "/a;b /c"),
    ] {
        let site = Nginx::with(&[ingress("a", &[(name, value)]).host(HOST).prefix("/", "web")]);
        assert_eq!(site.narthex.backend(HOST, "/"), "web", "{name}: {value}");
    }
    let subset = ingress("a", &[("upstream-hash-by-subset-size", "x")]);
    let site = Nginx::with(&[subset.host(HOST).prefix("/", "web")]);
    assert_eq!(site.narthex.backend(HOST, "/"), "404");
}

#[test]
fn a_rule_without_host_is_served_to_all_that_nobody_else_claims() {
    let site = Nginx::with(&[
        ingress("any", &[]).any_host().prefix("/", "web"),
        ingress("one", &[]).host(HOST).prefix("/", "other"),
    ]);
    assert_eq!(site.narthex.backend("unknown.example", "/x"), "web");
    assert_eq!(site.narthex.backend(HOST, "/x"), "other");
}

#[test]
fn what_nobody_claims_is_404_whatever_the_method_and_the_scheme() {
    let site = Nginx::with(&[]);
    let plain = || Conn::plain(site.narthex.http);
    for method in ["GET", "POST"] {
        for host in ["127.0.0.1", "foo.bar.com"] {
            for path in ["/", "/demo"] {
                let ask = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
                assert_eq!(plain().ask(&ask).status, 404, "{ask}");
            }
        }
    }
    let url = format!("https://127.0.0.1:{}/demo", site.narthex.https);
    for method in ["GET", "POST"] {
        let words = ["-k", "-X", method];
        let said = program_tests::curl(&[&words[..], &[url.as_str()]].concat());
        assert_eq!(said.status, 404);
    }
}

#[test]
fn a_service_may_have_the_longest_name() {
    let name = "long-name-foobar-foobar-foobar-foobar-foobar-bar-foo-bar-foobuz";
    assert_eq!(name.len(), 63);
    let backend = Backend::named("long");
    let rules = ingress("long", &[]).host(HOST).prefix("/", name);
    let site = Nginx::with_documents(&[service(name, &[backend.address()]), rules.yaml()], &[]);
    assert_eq!(site.narthex.backend(HOST, "/"), "long");
}

#[test]
fn a_backend_that_is_no_service_is_404_and_other_hosts_are_served() {
    let nil = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: nil}\nspec:\n  \
               ingressClassName: nginx\n  rules:\n  - host: nil.example\n    http:\n      \
               paths:\n      - {path: /, pathType: Prefix, backend: {resource: {apiGroup: \
               other.example, kind: Anything, name: mytest}}}\n";
    let valid = ingress("valid", &[]).host(HOST).prefix("/", "web");
    let site = Nginx::with_documents(&[nil.to_owned(), valid.yaml()], &[]);
    assert_eq!(site.narthex.backend(HOST, "/"), "web");
    assert_eq!(site.narthex.backend("nil.example", "/"), "404");
}

/// A Service of the type ExternalName, with or without a port.
fn external(name: &str, ports: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: far, namespace: default}}\nspec:\n  \
         type: ExternalName\n  externalName: {name}\n{ports}"
    )
}

fn external_site(ingress: &Ingress) -> (Narthex, Folder) {
    let folder = Folder::of(&[ingress.yaml()]);
    let narthex = Narthex::on(&folder)
        .arg("--allow-local-external-names")
        .start();
    (narthex, folder)
}

#[test]
fn external_names_come_and_change_and_go() {
    let (web, other) = (Backend::named("web"), Backend::named("other"));
    let port = |of: &Backend| {
        let number = of.address().port();
        format!("  ports: [{{name: http, port: {number}, targetPort: {number}}}]\n")
    };
    let rules = ingress("far", &[("upstream-vhost", "far.example")]).host(HOST);
    let (narthex, folder) = external_site(&rules.prefix_to_name("/", "far", "http"));
    narthex.until_backend(HOST, "/", "503");
    folder.write("far.yaml", &external("localhost", &port(&web)));
    narthex.until_backend(HOST, "/", "web");
    let echo = narthex.get(HOST, "/").echo();
    assert_eq!(echo.header("host"), Some("far.example"));
    assert_eq!(echo.header("x-forwarded-host"), Some(HOST));
    // A dot at its end changes nothing, and another port is another place: the one that the
    // Service's own port leads to.
    folder.write("far.yaml", &external("localhost.", &port(&other)));
    narthex.until_backend(HOST, "/", "other");
    let target = web.address().port();
    let mapped = format!("  ports: [{{name: http, port: 80, targetPort: {target}}}]\n");
    folder.write("far.yaml", &external("localhost", &mapped));
    narthex.until_backend(HOST, "/", "web");
    folder.remove("far.yaml");
    narthex.until_backend(HOST, "/", "503");
}

#[test]
fn an_external_name_without_ports_has_those_that_ingresses_name() {
    let web = Backend::named("web");
    let number = web.address().port();
    let rules = ingress("far", &[]).host(HOST);
    let (narthex, folder) = external_site(&rules.prefix_to_number("/", "far", number));
    folder.write("far.yaml", &external("localhost", ""));
    narthex.until_backend(HOST, "/get", "web");
}

#[test]
fn a_name_that_nobody_has_is_a_5xx() {
    let rules = ingress("far", &[])
        .host(HOST)
        .prefix_to_number("/", "far", 80);
    let site = Nginx::with_documents(
        &[external("invalid.hostname.invalid", ""), rules.yaml()],
        &[],
    );
    let status = site.narthex.get(HOST, "/get").status;
    assert!((500..600).contains(&status), "{status}");
}

#[test]
fn what_follows_a_request_that_is_asked_about_is_no_request() {
    let asked = Backend::answering("asked", b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
    let url = format!("http://{}/", asked.address());
    let annotations = [
        ("auth-url", url.as_str()),
        ("auth-signin", "https://s.example/in"),
    ];
    let site = Nginx::with(&[
        ingress("a", &annotations).host(HOST).prefix("/", "web"),
        ingress("b", &[])
            .host("hidden.example")
            .prefix("/", "other"),
    ]);
    let inner = "GET /_hidden/index.html HTTP/1.1\r\nHost: hidden.example\r\n\r\n";
    let length = inner.len();
    let mut conn = Conn::plain(site.narthex.http);
    conn.send(format!(
        "GET /echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n{inner}"
    ));
    assert_eq!(conn.response().status, 302);
    conn.set_read_timeout(std::time::Duration::from_millis(500));
    assert!(conn.try_response(false).is_err(), "a second answer");
    assert!(site.other.seen().is_empty());
}
