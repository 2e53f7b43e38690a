//! `mirror-target` and its like: copies of requests for any URL.

use program_tests::eventually;
use program_tests::{Backend, Conn, Folder, HOST, Ingress, Narthex, service};

const PREFIX: &str = "nginx.ingress.kubernetes.io/";

struct World {
    narthex: Narthex,
    _folder: Folder,
    _web: Backend,
    copies: Backend,
}

/// `target` with the copies' address in the place of `ADDRESS`.
fn world(target: &str, annotations: &[(&str, &str)]) -> World {
    let (web, copies) = (Backend::named("web"), Backend::named("copies"));
    let target = target.replace("ADDRESS", &copies.address().to_string());
    let target = target.replace("PORT", &copies.address().port().to_string());
    let mut ingress = Ingress::named("web")
        .class("nginx")
        .annotation(&format!("{PREFIX}mirror-target"), &target);
    for (name, value) in annotations {
        ingress = ingress.annotation(&format!("{PREFIX}{name}"), value);
    }
    let ingress = ingress.host(HOST).prefix("/", "web");
    let folder = Folder::of(&[service("web", &[web.address()]), ingress.yaml()]);
    let narthex = Narthex::on(&folder).start();
    World {
        narthex,
        _folder: folder,
        _web: web,
        copies,
    }
}

impl World {
    /// The first copy.
    fn copy(&self) -> program_tests::backend::Seen {
        eventually("a copy", || self.copies.seen().into_iter().next())
    }
}

#[test]
fn every_request_is_copied_to_the_targets_path_with_its_query() {
    let world = world("http://ADDRESS/mirror", &[]);
    assert_eq!(world.narthex.get(HOST, "/path?a=b").backend(), "web");
    let copy = world.copy();
    assert_eq!(
        (copy.method.as_str(), copy.target.as_str()),
        ("GET", "/mirror?a=b")
    );
    assert_eq!(copy.header("host"), Some("127.0.0.1"));
}

#[test]
fn variables_say_what_is_copied_where_and_a_host_can_be_given() {
    let world = world(
        "http://localhost:PORT$request_uri",
        &[("mirror-host", "copy-of-$host")],
    );
    let answer = Conn::plain(world.narthex.http).ask(&format!(
        "POST /path?a=b HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello"
    ));
    assert_eq!(answer.backend(), "web");
    let copy = world.copy();
    assert_eq!(
        (copy.method.as_str(), copy.target.as_str()),
        ("POST", "/path?a=b")
    );
    assert_eq!(copy.header("host"), Some("copy-of-a.example"));
    assert_eq!(copy.header("content-length"), Some("5"));
}

#[test]
fn bodies_can_be_left_out() {
    let world = world("http://ADDRESS/", &[("mirror-request-body", "off")]);
    let answer = Conn::plain(world.narthex.http).ask(&format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello"
    ));
    assert_eq!(answer.echo().body, "hello");
    let copy = world.copy();
    assert_eq!(copy.method, "POST");
    assert_eq!(copy.header("content-length"), None);
}

#[test]
fn what_becomes_of_a_copy_is_nobodys_business() {
    let web = Backend::named("web");
    let ingress = Ingress::named("web")
        .class("nginx")
        .annotation(&format!("{PREFIX}mirror-target"), "http://127.0.0.1:1/")
        .host(HOST)
        .prefix("/", "web");
    let folder = Folder::of(&[service("web", &[web.address()]), ingress.yaml()]);
    let narthex = Narthex::on(&folder).start();
    for _ in 0..3 {
        assert_eq!(narthex.backend(HOST, "/"), "web");
    }
}

#[test]
fn a_target_that_is_no_url_is_named_and_nothing_is_copied() {
    let world = world("http://ADDRESS/\";evil", &[]);
    assert_eq!(world.narthex.backend(HOST, "/"), "web");
    world.narthex.until_log("mirror-target");
    assert!(world.copies.seen().is_empty());
}
