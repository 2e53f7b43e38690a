//! Which route answers a request.

use program_tests::{Backend, Conn, Ingress, Narthex, serve, services};

/// A program with backends `a`, `b` and `c` and these Ingresses.
struct World {
    narthex: Narthex,
    _folder: program_tests::Folder,
    _backends: [Backend; 3],
}

fn world(ingresses: &[Ingress]) -> World {
    let backends = ["a", "b", "c"].map(Backend::named);
    let mut documents = services(&[
        ("a", &backends[0]),
        ("b", &backends[1]),
        ("c", &backends[2]),
    ]);
    documents.extend(ingresses.iter().map(Ingress::yaml));
    let (narthex, folder) = serve(&documents);
    World {
        narthex,
        _folder: folder,
        _backends: backends,
    }
}

impl World {
    #[track_caller]
    fn routes(&self, expected: &[(&str, &str, &str)]) {
        for (host, path, backend) in expected {
            assert_eq!(
                self.narthex.backend(host, path),
                *backend,
                "for {host}{path}"
            );
        }
    }
}

#[test]
fn exact_path_wins_over_longer_prefix() {
    let ingress = Ingress::named("x")
        .host("x.example")
        .prefix("/foo/", "a")
        .exact("/foo", "b");
    let world = world(&[ingress]);
    world.routes(&[
        ("x.example", "/foo", "b"),
        ("x.example", "/foo/", "a"),
        ("x.example", "/foo/bar", "a"),
    ]);
}

#[test]
fn the_longest_prefix_wins_whatever_the_order() {
    let ingress = Ingress::named("x")
        .host("x.example")
        .prefix("/", "a")
        .prefix("/one/two", "c")
        .prefix("/one", "b");
    let world = world(&[ingress]);
    world.routes(&[
        ("x.example", "/", "a"),
        ("x.example", "/other", "a"),
        ("x.example", "/one", "b"),
        ("x.example", "/one/three", "b"),
        ("x.example", "/one/two", "c"),
        ("x.example", "/one/two/three", "c"),
        ("x.example", "/one/twothree", "b"),
    ]);
}

#[test]
fn prefixes_match_by_path_element_as_the_kubernetes_table_says() {
    let cases = [
        ("/", "/anything/at/all", true),
        ("/foo", "/foo", true),
        ("/foo", "/foo/", true),
        ("/foo/", "/foo", true),
        ("/foo/", "/foo/", true),
        ("/aaa/bb", "/aaa/bbb", false),
        ("/aaa/bbb", "/aaa/bbb", true),
        ("/aaa/bbb/", "/aaa/bbb", true),
        ("/aaa/bbb", "/aaa/bbb/", true),
        ("/aaa/bbb", "/aaa/bbb/ccc", true),
        ("/aaa/bbb", "/aaa/bbbxyz", false),
    ];
    let mut ingress = Ingress::named("x");
    for (index, (prefix, _, _)) in cases.iter().enumerate() {
        ingress = ingress
            .host(&format!("h{index}.example"))
            .prefix(prefix, "a");
    }
    let world = world(&[ingress]);
    for (index, (prefix, path, matches)) in cases.iter().enumerate() {
        let expected = if *matches { "a" } else { "404" };
        let got = world.narthex.backend(&format!("h{index}.example"), path);
        assert_eq!(got, expected, "prefix {prefix} and {path}");
    }
}

#[test]
fn exact_paths_match_nothing_else() {
    let ingress = Ingress::named("x")
        .host("x.example")
        .exact("/foo", "a")
        .exact("/bar/", "b");
    let world = world(&[ingress]);
    world.routes(&[
        ("x.example", "/foo", "a"),
        ("x.example", "/foo/", "404"),
        ("x.example", "/FOO", "404"),
        ("x.example", "/foo/bar", "404"),
        ("x.example", "/bar/", "b"),
        ("x.example", "/bar", "404"),
    ]);
}

#[test]
fn the_query_takes_no_part_in_matching() {
    let ingress = Ingress::named("x").host("x.example").exact("/foo", "a");
    let world = world(&[ingress]);
    let echo = world
        .narthex
        .get("x.example", "/foo?next=/bar/../x&y=%2F")
        .echo();
    assert_eq!(echo.target, "/foo?next=/bar/../x&y=%2F");
}

#[test]
fn an_implementation_specific_path_is_a_prefix() {
    let ingress = Ingress::named("x")
        .host("x.example")
        .path("ImplementationSpecific", "/foo", "a");
    let world = world(&[ingress]);
    world.routes(&[
        ("x.example", "/foo/bar", "a"),
        ("x.example", "/foobar", "404"),
    ]);
}

#[test]
fn a_rule_without_path_serves_the_whole_host() {
    let world = world(&[Ingress::named("x").host("x.example").pathless("a")]);
    world.routes(&[("x.example", "/", "a"), ("x.example", "/any/thing", "a")]);
}

#[test]
fn an_exact_host_comes_before_a_wildcard_and_that_before_none() {
    let ingress = Ingress::named("x")
        .any_host()
        .prefix("/", "c")
        .host("*.example")
        .prefix("/", "b")
        .host("one.example")
        .prefix("/", "a");
    let world = world(&[ingress]);
    world.routes(&[
        ("one.example", "/", "a"),
        ("two.example", "/", "b"),
        ("other.test", "/", "c"),
    ]);
}

#[test]
fn a_wildcard_host_stands_for_one_label() {
    let world = world(&[Ingress::named("x").host("*.foo.example").prefix("/", "a")]);
    world.routes(&[
        ("bar.foo.example", "/", "a"),
        ("baz.bar.foo.example", "/", "404"),
        ("foo.example", "/", "404"),
        ("barfoo.example", "/", "404"),
    ]);
}

#[test]
fn hosts_match_in_any_case_and_with_any_port() {
    let world = world(&[Ingress::named("x").host("x.example").prefix("/", "a")]);
    world.routes(&[
        ("X.Example", "/", "a"),
        ("x.example:80", "/", "a"),
        ("x.example:12345", "/", "a"),
    ]);
}

#[test]
fn the_host_is_chosen_before_the_path() {
    let ingress = Ingress::named("x")
        .host("one.example")
        .exact("/only", "a")
        .host("*.example")
        .prefix("/", "b")
        .any_host()
        .prefix("/", "c");
    let world = world(&[ingress]);
    world.routes(&[
        ("one.example", "/only", "a"),
        ("one.example", "/other", "404"),
    ]);
}

#[test]
fn a_host_without_matching_path_is_answered_by_its_own_default_backend() {
    let world = world(&[
        Ingress::named("x")
            .default_backend("b")
            .host("x.example")
            .exact("/only", "a"),
        Ingress::named("catch-all").default_backend("c"),
    ]);
    world.routes(&[
        ("x.example", "/only", "a"),
        ("x.example", "/other", "b"),
        ("unknown.example", "/", "c"),
    ]);
}

#[test]
fn a_host_nobody_claims_goes_to_a_rule_without_host_first() {
    let world = world(&[
        Ingress::named("catch-all").default_backend("c"),
        Ingress::named("hostless").any_host().prefix("/api", "a"),
    ]);
    world.routes(&[
        ("unknown.example", "/api/v1", "a"),
        ("unknown.example", "/other", "c"),
    ]);
}

#[test]
fn the_default_backend_of_an_ingress_without_rules_comes_before_one_with_rules() {
    let world = world(&[
        Ingress::named("with-rules")
            .created("2020-01-01T00:00:00Z")
            .default_backend("a")
            .host("x.example")
            .exact("/only", "c"),
        Ingress::named("ruleless")
            .created("2024-01-01T00:00:00Z")
            .default_backend("b"),
    ]);
    world.routes(&[("unknown.example", "/", "b"), ("x.example", "/other", "a")]);
}

#[test]
fn of_two_default_backends_the_older_one_serves() {
    let world = world(&[
        Ingress::named("aaa")
            .created("2024-01-01T00:00:00Z")
            .default_backend("a"),
        Ingress::named("zzz")
            .created("2023-01-01T00:00:00Z")
            .default_backend("b"),
    ]);
    world.routes(&[("unknown.example", "/", "b")]);
}

#[test]
fn many_ingresses_on_one_host_are_merged() {
    let world = world(&[
        Ingress::named("one").host("x.example").prefix("/one", "a"),
        Ingress::named("two").host("x.example").prefix("/two", "b"),
        Ingress::named("three").host("x.example").prefix("/", "c"),
    ]);
    world.routes(&[
        ("x.example", "/one/x", "a"),
        ("x.example", "/two", "b"),
        ("x.example", "/else", "c"),
    ]);
}

#[test]
fn the_older_ingress_wins_a_conflict() {
    let world = world(&[
        Ingress::named("aaa")
            .created("2024-01-01T00:00:00Z")
            .host("x.example")
            .prefix("/", "a"),
        Ingress::named("zzz")
            .created("2023-01-01T00:00:00Z")
            .host("x.example")
            .prefix("/", "b"),
    ]);
    world.routes(&[("x.example", "/", "b")]);
    world.narthex.until_log("default/aaa");
}

#[test]
fn the_name_decides_a_conflict_of_equal_age() {
    let world = world(&[
        Ingress::named("two").host("x.example").exact("/p", "b"),
        Ingress::named("one").host("x.example").exact("/p", "a"),
    ]);
    world.routes(&[("x.example", "/p", "a")]);
}

#[test]
fn a_request_target_in_absolute_form_is_routed_by_its_host() {
    let world = world(&[Ingress::named("x").host("x.example").prefix("/", "a")]);
    let answer = Conn::plain(world.narthex.http)
        .ask("GET http://x.example/p?q HTTP/1.1\r\nHost: x.example\r\n\r\n");
    assert_eq!(answer.backend(), "a");
    assert_eq!(answer.echo().target, "/p?q");
    assert_eq!(answer.echo().all("host"), ["x.example"]);
}

#[test]
fn a_request_target_and_a_host_that_differ_are_refused() {
    let world = world(&[
        Ingress::named("x").host("x.example").prefix("/", "a"),
        Ingress::named("other").host("y.example").prefix("/", "b"),
    ]);
    let answer = Conn::plain(world.narthex.http)
        .ask("GET http://x.example/ HTTP/1.1\r\nHost: y.example\r\n\r\n");
    assert_eq!(answer.status, 400);
}

#[test]
fn http_1_0_without_host_is_a_host_nobody_claims() {
    let world = world(&[
        Ingress::named("x").host("x.example").prefix("/", "a"),
        Ingress::named("other").any_host().prefix("/", "b"),
    ]);
    let answer = Conn::plain(world.narthex.http).ask("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(answer.backend(), "b");
}
