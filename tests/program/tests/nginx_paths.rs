//! Paths of Ingresses of ingress-nginx's classes.

use program_tests::HOST;
use program_tests::nginx::{Nginx, ingress};

const REGEX: &[(&str, &str)] = &[("use-regex", "true")];

#[track_caller]
fn all(site: &Nginx, expected: &[(&str, &str)]) {
    for (path, backend) in expected {
        let found = site.narthex.backend(HOST, path);
        assert_eq!(found, *backend, "{path}\n{}", site.narthex.log());
    }
}

#[test]
fn prefixes_are_whole_elements_whether_they_are_implementation_specific_or_not() {
    for kind in ["Prefix", "ImplementationSpecific"] {
        let site = Nginx::with(&[ingress("a", &[]).host(HOST).path(kind, "/aaa", "web")]);
        all(
            &site,
            &[
                ("/aaa", "web"),
                ("/aaa/", "web"),
                ("/aaa/cccc", "web"),
                ("/aaacccc", "404"),
                ("/AAA", "404"),
                ("/", "404"),
            ],
        );
    }
}

#[test]
fn exact_and_prefix_of_one_path_are_two_locations() {
    let site = Nginx::with(&[
        ingress("a", &[]).host(HOST).exact("/exact", "web"),
        ingress("b", &[]).host(HOST).prefix("/exact", "other"),
        ingress("c", &[]).host(HOST).exact("/", "web"),
        ingress("d", &[]).host(HOST).prefix("/", "other"),
    ]);
    all(
        &site,
        &[
            ("/exact", "web"),
            ("/exact/suffix", "other"),
            ("/", "web"),
            ("/exactly", "other"),
        ],
    );
}

#[test]
fn patterns_are_prefixes_in_any_case() {
    // The first surprise of those who move away.
    let path = "/id/[0-9]+";
    let rule = ingress("a", REGEX).host(HOST);
    let site = Nginx::with(&[rule.path("ImplementationSpecific", path, "web")]);
    all(
        &site,
        &[
            ("/id/1", "web"),
            ("/id/123a", "web"),
            ("/ID/7/x", "web"),
            ("/id/aaa", "404"),
            ("/x/id/1", "404"),
        ],
    );
}

#[test]
fn patterns_may_bind_their_end() {
    for (path, good, bad) in [
        ("/id/[0-9]+$", "/id/1", "/id/123a"),
        ("/id/[0-9]{3}$", "/id/123", "/id/9999"),
        (
            "/id/[0-9]+/post/[a-zA-Z]+$",
            "/id/123/post/abc",
            "/id/123/post/abc123",
        ),
    ] {
        // Prefix with such characters is warned of where the Ingress itself asks for patterns.
        let site = Nginx::with(&[ingress("a", REGEX).host(HOST).prefix(path, "web")]);
        all(&site, &[(good, "web"), (bad, "404")]);
    }
}

#[test]
fn use_regex_of_one_ingress_makes_patterns_of_all_paths_of_the_host() {
    // The second one: Exact and Prefix of other Ingresses, too.
    let exact = ingress("a", &[]).host(HOST).exact("/exact", "other");
    let dots = ingress("b", &[]).host(HOST).prefix("/a.b", "other");
    let far = ingress("c", &[]).host("b.example").exact("/exact", "other");
    let regex = ingress("z", REGEX).host(HOST).prefix("/zzz", "web");
    let site = Nginx::with(&[exact, dots, far, regex]);
    all(
        &site,
        &[
            ("/exact", "other"),
            ("/EXACTly/and/more", "other"),
            ("/axb", "other"),
            ("/zzzz", "web"),
            ("/", "404"),
        ],
    );
    assert_eq!(site.narthex.backend("b.example", "/exact"), "other");
    assert_eq!(site.narthex.backend("b.example", "/exactly"), "404");
}

#[test]
fn a_rewrite_target_makes_patterns_of_all_paths_of_the_host() {
    // The third one.
    let plain = ingress("a", &[]).host(HOST).exact("/plain", "other");
    let rewrite = ingress("b", &[("rewrite-target", "/new")]).host(HOST);
    let site = Nginx::with(&[plain.clone(), rewrite.prefix("/old", "web")]);
    all(&site, &[("/PLAIN/and/more", "other"), ("/older", "web")]);
    // One that changes nothing does not.
    let same = ingress("b", &[("rewrite-target", "/")]).host(HOST);
    let site = Nginx::with(&[plain, same.prefix("/", "web")]);
    all(
        &site,
        &[("/plain", "other"), ("/PLAIN", "web"), ("/plain/x", "web")],
    );
}

#[test]
fn a_path_without_its_slash_is_led_to_the_one_that_has_it() {
    // The fourth one.
    for kind in ["Exact", "Prefix", "ImplementationSpecific"] {
        let rule = ingress("a", &[]).host(HOST).path(kind, "/my-path/", "web");
        let site = Nginx::with(&[rule.prefix("/", "other")]);
        let expected = |query: &str| (301, format!("http://{HOST}/my-path/{query}"));
        assert_eq!(site.sent(HOST, "/my-path"), expected(""), "{kind}");
        assert_eq!(site.sent(HOST, "/my-path?a=b"), expected("?a=b"));
        all(&site, &[("/my-path/", "web"), ("/my-pathx", "other")]);
    }
    // Whoever has it is asked.
    let both = ingress("a", &[])
        .host(HOST)
        .prefix("/x/", "web")
        .exact("/x", "other");
    all(&Nginx::with(&[both]), &[("/x/", "web"), ("/x", "other")]);
    // Patterns lead nowhere.
    let regex = ingress("a", REGEX).host(HOST).prefix("/my-path/", "web");
    all(
        &Nginx::with(&[regex]),
        &[("/my-path", "404"), ("/my-path/", "web")],
    );
}

#[test]
fn paths_are_normalised_before_they_are_compared() {
    // The fifth one.
    let rules = ingress("a", REGEX).host(HOST).prefix("/a/b$", "web");
    let site = Nginx::with(&[rules.prefix("/", "other")]);
    all(
        &site,
        &[
            ("/a//b", "web"),
            ("/a/./b", "web"),
            ("/x/../a/b", "web"),
            ("/%61/b", "web"),
            ("/a/b/c", "other"),
        ],
    );
}

#[test]
fn patterns_are_tried_by_descending_length_and_the_first_match_wins() {
    // The sixth one.
    let plain = ingress("a", &[]).host(HOST).prefix("/foo/bar/bar", "other");
    let regex = ingress("b", REGEX).host(HOST);
    let regex = regex.path("ImplementationSpecific", "/foo/bar/[a-z]{3}", "web");
    all(
        &Nginx::with(&[plain, regex]),
        &[("/foo/bar/bar", "web"), ("/foo/bar/barn", "web")],
    );
    let longest = ingress("a", REGEX).host(HOST).prefix("/", "web");
    let longest = longest.prefix("/.well-known/acme", "other");
    all(
        &Nginx::with(&[longest]),
        &[("/.well-known/acme/x", "other"), ("/x", "web")],
    );
}

#[test]
fn a_pattern_that_needs_backtracking_is_refused_alone() {
    let rules = ingress("a", REGEX).host(HOST);
    let rules = rules
        .path("ImplementationSpecific", "/secret(?!/public)", "web")
        .path("ImplementationSpecific", "/(a)\\1", "web")
        .path("ImplementationSpecific", "/good/[0-9]", "web");
    let site = Nginx::with(&[rules]);
    all(
        &site,
        &[("/good/1", "web"), ("/secret/x", "404"), ("/aa", "404")],
    );
    site.narthex.until_log("look-around");
}

#[test]
fn paths_that_are_no_plain_ones_are_refused_unless_they_are_implementation_specific() {
    let rules = ingress("a", &[]).host(HOST);
    let rules = rules
        .prefix("/a(b)", "web")
        .exact("/x~y", "web")
        .prefix("/good", "web");
    let site = Nginx::with(&[rules]);
    all(
        &site,
        &[("/a(b)", "404"), ("/x~y", "404"), ("/good", "web")],
    );
    site.narthex.until_log("other characters than");
    let rules = ingress("a", &[]).host(HOST);
    let site = Nginx::with(&[rules.path("ImplementationSpecific", "/a(b)", "web")]);
    all(&site, &[("/a(b)/x", "web")]);
}

#[test]
fn an_ingress_or_its_class_may_have_its_paths_read_as_kubernetes_says() {
    const KUBERNETES: (&str, &str) = ("narthex.dev/path-semantics", "kubernetes");
    let plain = || ingress("a", &[KUBERNETES]).host(HOST);
    let regex = ingress("b", REGEX).host(HOST).prefix("/[a-z]+", "web");
    let site = Nginx::with(&[
        plain().prefix("/api/v1", "other").exact("/x", "other"),
        regex.clone(),
    ]);
    all(
        &site,
        &[
            ("/api/v1/x", "other"),
            ("/api/v12", "web"),
            ("/API/v1", "web"),
            ("/x", "other"),
            ("/xy", "web"),
        ],
    );
    let class = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata:\n  name: plain\n  \
                 annotations:\n    narthex.dev/path-semantics: kubernetes\nspec:\n  controller: \
                 k8s.io/ingress-nginx\n";
    let of_class = ingress("a", &[])
        .class("plain")
        .host(HOST)
        .prefix("/api/v1", "other");
    let documents = [class.to_owned(), of_class.yaml(), regex.yaml()];
    let site = Nginx::with_documents(&documents, &[]);
    all(&site, &[("/api/v1/x", "other"), ("/api/v12", "web")]);
}

#[test]
fn an_ingress_of_our_own_class_asks_for_patterns_for_itself() {
    let documents = [
        program_tests::folder::class(),
        ingress("a", &[])
            .class("narthex")
            .host(HOST)
            .prefix("/plain", "other")
            .yaml(),
        ingress("b", REGEX)
            .class("narthex")
            .host(HOST)
            .prefix("/a[0-9]", "web")
            .yaml(),
    ];
    let site = Nginx::with_documents(&documents, &[]);
    all(
        &site,
        &[("/plain/x", "other"), ("/plainer", "404"), ("/A1", "web")],
    );
}

#[test]
fn what_no_path_claims_is_not_found_whatever_catches_all() {
    let rules = ingress("a", &[]).host(HOST).prefix("/a", "web");
    let site = Nginx::with(&[rules, ingress("b", &[]).default_backend("other")]);
    all(&site, &[("/a", "web"), ("/b", "404")]);
    assert_eq!(site.narthex.backend("unknown.example", "/"), "other");
}

#[test]
fn a_default_backend_of_rules_is_for_their_host() {
    let rules = ingress("a", &[])
        .default_backend("web")
        .host(HOST)
        .prefix("/a", "other");
    let site = Nginx::with(&[rules]);
    all(&site, &[("/a", "other"), ("/b", "web")]);
    assert_eq!(site.narthex.get("unknown.example", "/").status, 404);
    let rewritten = ingress("a", REGEX).default_backend("web").host(HOST);
    let site = Nginx::with(&[rewritten.prefix("/a", "other")]);
    all(&site, &[("/A", "other"), ("/b", "web")]);
}

#[test]
fn cookies_of_patterns_need_a_path() {
    // The fourteenth one.
    let annotations = [("use-regex", "true"), ("affinity", "cookie")];
    let site = Nginx::with(&[ingress("a", &annotations).host(HOST).prefix("/a", "web")]);
    site.narthex.until_log("session-cookie-path");
}
