//! `backend-protocol: FCGI`: servers that speak FastCGI.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use program_tests::fastcgi::{STDERR, STDOUT, Server, Wrap, end, record, whole};
use program_tests::folder::config_map;
use program_tests::nginx::ingress as nginx;
use program_tests::{Conn, Folder, HOST, Narthex, Response, serve, service, until};

const FCGI: (&str, &str) = ("backend-protocol", "FCGI");

fn serve_fastcgi(
    annotations: &[(&str, &str)],
    address: SocketAddr,
    more: &[String],
) -> (Narthex, Folder) {
    let annotations = [&[FCGI], annotations].concat();
    let ingress = nginx("web", &annotations).host(HOST).prefix("/", "web");
    let mut documents = vec![service("web", &[address]), ingress.yaml()];
    documents.extend_from_slice(more);
    serve(&documents)
}

fn hello() -> Server {
    Server::answering(|_| whole("Content-Type: text/plain\r\n\r\nHello world!"))
}

fn post(narthex: &Narthex, path: &str, head: &str, body: &str) -> Response {
    Conn::plain(narthex.http).ask(&format!(
        "POST {path} HTTP/1.1\r\nHost: {HOST}\r\n{head}\r\n{body}"
    ))
}

#[test]
fn a_server_is_told_of_the_request_as_cgi_has_it_and_answers() {
    let server = hello();
    let (narthex, _folder) = serve_fastcgi(&[], server.address(), &[]);
    let answer = narthex.get(HOST, "/hello?a=b&c");
    assert_eq!((answer.status, &*answer.text()), (200, "Hello world!"));
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    let head = "Content-Type: text/x\r\nContent-Length: 4\r\nX-My_Own: 1\r\nX-My-Own: 2\r\nProxy: evil\r\n";
    assert_eq!(post(&narthex, "/a/../b%20c/", head, "body").status, 200);
    let calls = server.calls();
    for (name, value) in [
        ("REQUEST_METHOD", "GET"),
        ("QUERY_STRING", "a=b&c"),
        ("REQUEST_URI", "/hello?a=b&c"),
        ("SCRIPT_NAME", "/hello"),
        ("DOCUMENT_URI", "/hello"),
        ("DOCUMENT_ROOT", "/usr/local/nginx/html"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REQUEST_SCHEME", "http"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("SERVER_NAME", HOST),
        ("REDIRECT_STATUS", "200"),
        ("HTTP_HOST", HOST),
        ("CONTENT_LENGTH", ""),
        ("HTTPS", ""),
    ] {
        assert_eq!(calls[0].param(name), value, "{name}");
    }
    for (name, value) in [
        ("REQUEST_METHOD", "POST"),
        ("CONTENT_TYPE", "text/x"),
        ("CONTENT_LENGTH", "4"),
        ("REQUEST_URI", "/a/../b%20c/"),
        ("SCRIPT_NAME", "/b c/"),
        ("DOCUMENT_URI", "/b c/"),
        ("HTTP_X_MY_OWN", "2"),
        ("HTTP_PROXY", ""),
    ] {
        assert_eq!(calls[1].param(name), value, "{name}");
    }
    assert_eq!(calls[1].body, b"body");
}

#[test]
fn a_scripts_status_and_place_are_the_clients() {
    let server = Server::answering(|call| {
        whole(match call.param("SCRIPT_NAME") {
            "/missing" => "Status: 404 Not Found\nX-Own: yes\n\nnothing here",
            "/moved" => "Location: /elsewhere\n\n",
            "/made" => "Status: 201 Created\nLocation: /new\n\n",
            "/short" => "Content-Length: 2\n\nabcdef",
            _ => "Content-Type: text/html\n\nfine",
        })
    });
    let (narthex, _folder) = serve_fastcgi(&[], server.address(), &[]);
    let missing = narthex.get(HOST, "/missing");
    assert_eq!((missing.status, &*missing.text()), (404, "nothing here"));
    assert_eq!(missing.header("x-own"), Some("yes"));
    assert_eq!(missing.header("status"), None);
    let moved = narthex.get(HOST, "/moved");
    assert_eq!(
        (moved.status, moved.header("location")),
        (302, Some("/elsewhere"))
    );
    assert_eq!(narthex.get(HOST, "/made").status, 201);
    assert_eq!(narthex.get(HOST, "/short").text(), "ab");
    let head = format!("HEAD /any HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let mut conn = Conn::plain(narthex.http);
    conn.send(head);
    let answer = conn.try_response(true).expect("a head");
    assert_eq!((answer.status, &*answer.text()), (200, ""));
    assert_eq!(conn.get(HOST, "/any").text(), "fine");
}

#[test]
fn a_scripts_errors_are_its_own() {
    let server = Server::answering(|_| whole("Status: 404\r\n\r\nmine"));
    let annotations = [("custom-http-errors", "404"), ("default-backend", "web")];
    let (narthex, _folder) = serve_fastcgi(&annotations, server.address(), &[]);
    let answer = narthex.get(HOST, "/");
    assert_eq!((answer.status, &*answer.text()), (404, "mine"));
    assert_eq!(server.calls().len(), 1);
}

#[test]
fn the_index_and_the_config_maps_parameters_are_told() {
    let server = hello();
    let map = config_map(
        "default/params",
        &[
            ("SCRIPT_FILENAME", "/srv/app$fastcgi_script_name"),
            ("REDIRECT_STATUS", "299"),
            ("ASKED", "$request_method"),
        ],
    );
    let said = [
        ("fastcgi-index", "index.php"),
        ("fastcgi-params-configmap", "params"),
    ];
    let (narthex, folder) = serve_fastcgi(&said, server.address(), &[map]);
    assert_eq!(narthex.get(HOST, "/blog/").status, 200);
    assert_eq!(narthex.get(HOST, "/a.php").status, 200);
    let calls = server.calls();
    assert_eq!(calls[0].param("SCRIPT_NAME"), "/blog/index.php");
    assert_eq!(calls[0].param("SCRIPT_FILENAME"), "/srv/app/blog/index.php");
    assert_eq!(calls[0].param("REDIRECT_STATUS"), "299");
    assert_eq!(calls[0].param("ASKED"), "GET");
    assert_eq!(calls[1].param("SCRIPT_FILENAME"), "/srv/app/a.php");
    drop(folder);
}

#[test]
fn paths_answer_503_while_the_config_map_is_missing_or_wrong() {
    let server = hello();
    let said = [("fastcgi-params-configmap", "default/params")];
    let (narthex, folder) = serve_fastcgi(&said, server.address(), &[]);
    assert_eq!(narthex.get(HOST, "/").status, 503);
    folder.write("map.yaml", &config_map("default/params", &[("A", "b")]));
    until("it is told", || narthex.get(HOST, "/").status == 200);
    assert_eq!(server.calls()[0].param("A"), "b");
    folder.write(
        "map.yaml",
        &config_map("default/params", &[("A", "b; root /;")]),
    );
    until("it is refused", || narthex.get(HOST, "/").status == 503);
}

#[test]
fn bodies_of_any_length_go_both_ways() {
    let server = Server::answering(|call| {
        let text = String::from_utf8_lossy(&call.body).into_owned();
        whole(&format!("Content-Type: text/plain\n\n{text}"))
    });
    let said = [("proxy-body-size", "0")];
    let (narthex, _folder) = serve_fastcgi(&said, server.address(), &[]);
    for length in [0, 1, 70_000, 3_000_000] {
        let body: String = (0..length)
            .map(|at| char::from(b'a' + (at % 26) as u8))
            .collect();
        let head = format!("Content-Length: {length}\r\n");
        let answer = post(&narthex, "/", &head, &body);
        assert_eq!(answer.status, 200, "{length}");
        assert!(answer.text() == body, "{length}");
    }
    let chunked = "Transfer-Encoding: chunked\r\n";
    let answer = post(&narthex, "/", chunked, "3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(answer.text(), "abc");
    let calls = server.calls();
    assert_eq!(calls[4].param("CONTENT_LENGTH"), "3");
}

#[test]
fn what_a_script_says_of_itself_is_logged_and_not_answered() {
    let server = Server::answering(|_| {
        let mut out = record(STDERR, b"PHP Warning: beware\n");
        for byte in b"Content-Type: text/plain\n\nsl" {
            out.extend(record(STDOUT, &[*byte]));
        }
        out.extend(record(STDERR, b"and again"));
        out.extend(record(STDOUT, b"ow"));
        out.extend(end(0));
        out
    });
    let (narthex, _folder) = serve_fastcgi(&[], server.address(), &[]);
    assert_eq!(narthex.get(HOST, "/").text(), "slow");
    narthex.until_log("PHP Warning: beware");
}

#[test]
fn what_is_no_answer_is_502() {
    for (answer, attempts) in [
        (Vec::new(), 3),
        (record(STDOUT, b"Content-Type: text/plain\n"), 1),
        ([record(STDOUT, b"nonsense\n\n"), end(0)].concat(), 1),
        (end(2), 3),
        (b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), 1),
    ] {
        let said = format!("{answer:?}");
        let server = Server::answering(move |_| answer.clone());
        let (narthex, _folder) = serve_fastcgi(&[], server.address(), &[]);
        assert_eq!(narthex.get(HOST, "/x").status, 502, "{said}");
        assert_eq!(narthex.access("/x")["attempts"], attempts, "{said}");
    }
}

#[test]
fn a_response_that_is_cut_is_cut_for_the_client() {
    let server = Server::answering(|_| record(STDOUT, b"Content-Type: text/plain\n\nhalf"));
    let (narthex, _folder) = serve_fastcgi(&[], server.address(), &[]);
    let mut conn = Conn::plain(narthex.http);
    conn.send(format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert!(conn.try_response(false).is_err());
}

#[test]
fn a_real_server_runs_a_script() {
    let wrap = Wrap::start();
    let scripts = tempfile::tempdir().expect("a folder");
    let script = scripts.path().join("hello.cgi");
    let text = "#!/bin/sh\necho 'Status: 203 Fine'\necho 'Content-Type: text/plain'\necho\n\
                echo \"$REQUEST_METHOD $QUERY_STRING $HTTP_X_A\"\nwc -c\n";
    std::fs::write(&script, text).expect("a script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("made one");
    std::fs::set_permissions(scripts.path(), std::fs::Permissions::from_mode(0o755))
        .expect("open to all");
    let root = scripts.path().to_string_lossy().into_owned();
    let map = config_map(
        "default/params",
        &[("SCRIPT_FILENAME", &format!("{root}$fastcgi_script_name"))],
    );
    let said = [
        ("fastcgi-params-configmap", "params"),
        ("proxy-body-size", "0"),
    ];
    let (narthex, _folder) = serve_fastcgi(&said, wrap.address(), &[map]);
    let answer = post(
        &narthex,
        "/hello.cgi?a=b",
        "X-A: c\r\nContent-Length: 4\r\n",
        "body",
    );
    assert_eq!((answer.status, &*answer.text()), (203, "POST a=b c\n4\n"));
    let large = "x".repeat(500_000);
    let head = format!("Content-Length: {}\r\n", large.len());
    let answer = post(&narthex, "/hello.cgi", &head, &large);
    assert!(answer.text().ends_with("\n500000\n"));
    assert_eq!(narthex.get(HOST, "/missing.cgi").status, 403);
}

#[test]
fn the_books_example_works() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/ingress-nginx/backends.md"
    );
    let chapter = std::fs::read_to_string(path).expect("the chapter");
    let example = chapter.split("```yaml\n").nth(1).expect("an example");
    let example = example.split("```").next().expect("its end").to_owned();
    let server = hello();
    let (narthex, _folder) = serve(&[service("blog", &[server.address()]), example]);
    assert_eq!(narthex.get("blog.example.com", "/posts/").status, 200);
    let told = server.calls()[0].param("SCRIPT_FILENAME").to_owned();
    assert_eq!(told, "/var/www/html/posts/index.php");
}
