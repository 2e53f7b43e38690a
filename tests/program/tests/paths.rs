//! How odd request paths are routed, and what of them goes upstream. The table in docs/paths.md
//! says the same to users.

use program_tests::{Backend, Conn, Ingress, Narthex, Site, serve, services};

/// `/` to `root` and `/admin` to `admin`.
struct World {
    narthex: Narthex,
    _folder: program_tests::Folder,
    root: Backend,
    admin: Backend,
}

fn world() -> World {
    let (root, admin) = (Backend::named("root"), Backend::named("admin"));
    let mut documents = services(&[("root", &root), ("admin", &admin)]);
    let ingress = Ingress::named("x")
        .host("a.example")
        .prefix("/", "root")
        .prefix("/admin", "admin")
        .prefix("/caf%C3%A9", "admin")
        .prefix("/~home", "admin");
    documents.push(ingress.yaml());
    let (narthex, folder) = serve(&documents);
    World {
        narthex,
        _folder: folder,
        root,
        admin,
    }
}

impl World {
    #[track_caller]
    fn goes(&self, path: &str, backend: &str, upstream: &str) {
        let answer = self.narthex.get("a.example", path);
        assert_eq!(answer.backend(), backend, "for {path}");
        assert_eq!(answer.echo().target, upstream, "for {path}");
    }

    #[track_caller]
    fn refused(&self, path: &str) {
        let mut conn = Conn::plain(self.narthex.http);
        conn.send(format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert_eq!(conn.response().status, 400, "for {path:?}");
        assert!(
            self.root.seen().is_empty() && self.admin.seen().is_empty(),
            "for {path:?}"
        );
    }
}

#[test]
fn dot_segments_are_resolved_and_go_upstream_resolved() {
    let world = world();
    world.goes("/a/./b/../c", "root", "/a/c");
    world.goes("/x/../admin/users", "admin", "/admin/users");
    world.goes("/admin/../x", "root", "/x");
    world.goes("/admin/.", "admin", "/admin/");
    world.goes("/a/b/..", "root", "/a/");
}

#[test]
fn dot_segments_never_climb_above_the_root() {
    let world = world();
    for path in ["/..", "/../admin", "/a/../../admin"] {
        let answer = world.narthex.get("a.example", path);
        match answer.status {
            400 => {}
            200 => assert!(!answer.echo().target.contains(".."), "{path}: {answer:?}"),
            other => panic!("{path}: {other}"),
        }
    }
}

#[test]
fn names_that_only_look_like_dot_segments_are_kept() {
    let world = world();
    world.goes("/a/...", "root", "/a/...");
    world.goes("/a/..b", "root", "/a/..b");
    world.goes("/a/.hidden", "root", "/a/.hidden");
}

#[test]
fn encoded_dot_segments_are_refused() {
    let world = world();
    for path in [
        "/a/%2e%2e/b",
        "/a/%2E%2E/b",
        "/a/.%2e/b",
        "/a/%2e./b",
        "/%2e%2e",
        "/a/%2e/b",
    ] {
        world.refused(path);
    }
}

#[test]
fn dot_segments_before_an_encoded_slash_are_refused() {
    let world = world();
    for path in [
        "/a/..%2fadmin",
        "/a/..%2Fadmin",
        "/a/%2e%2e%2fadmin",
        "/..%2fx",
        "/a%2f../b",
        "/a%2f..%2fb",
    ] {
        world.refused(path);
    }
}

#[test]
fn an_encoded_nul_is_refused() {
    let world = world();
    world.refused("/a%00b");
    world.refused("/%00");
}

#[test]
fn broken_escapes_are_refused() {
    let world = world();
    for path in ["/a%", "/a%4", "/a%zz", "/a%4g/b", "/%%41"] {
        world.refused(path);
    }
}

#[test]
fn raw_control_characters_are_refused() {
    let world = world();
    for path in ["/a\u{1}b", "/a\tb", "/a\u{7f}b", "/a\rb", "/a\0b"] {
        world.refused(path);
    }
}

#[test]
fn repeated_slashes_are_one_to_routing() {
    let world = world();
    for path in ["//admin", "//admin//users", "/admin//users"] {
        assert_eq!(
            world.narthex.get("a.example", path).backend(),
            "admin",
            "{path}"
        );
    }
    // What goes upstream must mean the same route to whoever reads it there.
    let target = world.narthex.get("a.example", "//admin").echo().target;
    assert!(
        target.starts_with("/admin") || target == "//admin",
        "{target}"
    );
}

#[test]
fn an_encoded_slash_is_kept() {
    let world = world();
    world.goes("/files/a%2Fb", "root", "/files/a%2Fb");
    world.goes("/admin/a%2fb/c", "admin", "/admin/a%2Fb/c");
}

#[test]
fn an_encoded_slash_that_would_select_another_route_is_refused() {
    let world = world();
    world.refused("/admin%2Fusers");
    world.refused("/%2Fadmin");
    world.refused("/%2fadmin/users");
}

#[test]
fn an_encoded_traversal_into_another_route_is_refused() {
    let world = world();
    for path in [
        "/public/..%2f..%2fadmin",
        "/public/%2e%2e/admin",
        "/public%2f..%2fadmin",
    ] {
        world.refused(path);
    }
}

#[test]
fn the_case_of_escapes_does_not_matter() {
    let world = world();
    for path in ["/caf%C3%A9", "/caf%c3%a9", "/caf%C3%a9/x"] {
        assert_eq!(
            world.narthex.get("a.example", path).backend(),
            "admin",
            "{path}"
        );
    }
}

#[test]
fn escapes_of_plain_characters_mean_those_characters() {
    let world = world();
    for path in ["/~home", "/%7Ehome", "/%7ehome", "/%61dmin/x", "/adm%69n"] {
        assert_eq!(
            world.narthex.get("a.example", path).backend(),
            "admin",
            "{path}"
        );
    }
}

#[test]
fn an_encoded_question_mark_or_hash_stays_encoded() {
    let world = world();
    for path in ["/a%3Fb", "/a%23b", "/a%25b", "/a%252fb", "/a%20b"] {
        world.goes(path, "root", path);
    }
}

#[test]
fn the_query_goes_upstream_as_it_came() {
    let world = world();
    for query in ["?a=b%2F..%2e&c", "?", "?x=../..//", "?a=%zz", "?a?b"] {
        let path = format!("/p{query}");
        world.goes(&path, "root", &path);
    }
}

#[test]
fn a_dot_segment_after_the_question_mark_is_not_a_path() {
    let site = Site::echo();
    assert_eq!(site.get("/a?/../b").echo().target, "/a?/../b");
}

#[test]
fn curl_sees_the_same_as_a_raw_socket() {
    let site = Site::echo();
    assert_eq!(
        site.narthex.curl("a.example", "/a/%2e%2e/b", &[]).status,
        400
    );
    let answer = site.narthex.curl("a.example", "/a/../b", &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.text.contains("\"target\":\"/b\""), "{}", answer.text);
}

#[test]
fn options_for_the_whole_server_is_answered_without_a_crash() {
    let site = Site::echo();
    let answer = site
        .conn()
        .ask("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert!(answer.status < 500, "{answer:?}");
    assert_eq!(site.get("/").status, 200);
}

#[test]
fn a_path_with_bytes_beyond_ascii_is_refused_or_kept() {
    let site = Site::echo();
    let answer = site
        .conn()
        .ask("GET /caf\u{e9} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert!(matches!(answer.status, 200 | 400), "{answer:?}");
}
