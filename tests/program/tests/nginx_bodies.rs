//! `proxy-body-size`, `proxy-request-buffering` and what else is about bodies and connections.

use std::time::Duration;

use program_tests::nginx::{ingress as nginx, serve_annotated};
use program_tests::{Backend, Conn, HOST, Narthex, never, serve, service, until};

fn post(narthex: &Narthex, length: usize) -> u16 {
    let body = "x".repeat(length);
    let request =
        format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n{body}");
    Conn::plain(narthex.http).ask(&request).status
}

#[test]
fn a_body_may_have_a_mebibyte_or_what_is_said() {
    let web = Backend::named("web");
    for (said, fits, does_not) in [
        (None, 1 << 20, (1 << 20) + 1),
        (Some("8k"), 8 << 10, (8 << 10) + 1),
        (Some("2 M"), 2 << 20, (2 << 20) + 1),
        (Some("100"), 100, 101),
        // What cannot be read is as if nothing were said.
        (Some("15r"), 1 << 20, (1 << 20) + 1),
        (Some("10b"), 1 << 20, (1 << 20) + 1),
    ] {
        let said: Vec<_> = said
            .map(|size| ("proxy-body-size", size))
            .into_iter()
            .collect();
        let (narthex, _folder) = serve_annotated(&said, &[web.address()]);
        assert_eq!(post(&narthex, fits), 200, "{said:?}");
        assert_eq!(post(&narthex, does_not), 413, "{said:?}");
    }
    let (narthex, _folder) = serve_annotated(&[("proxy-body-size", "0")], &[web.address()]);
    assert_eq!(post(&narthex, 5 << 20), 200);
}

#[test]
fn a_body_that_does_not_say_its_length_is_refused_before_the_backend_is_asked() {
    let web = Backend::named("web");
    let (narthex, _folder) = serve_annotated(&[("proxy-body-size", "1k")], &[web.address()]);
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let request = |chunks: usize| {
        format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
            chunk.repeat(chunks)
        )
    };
    let answer = Conn::plain(narthex.http).ask(&request(1));
    assert_eq!(answer.status, 200);
    // The backend is told the length of what was waited for.
    assert_eq!(answer.echo().header("content-length"), Some("1024"));
    assert_eq!(answer.echo().header("transfer-encoding"), None);
    assert_eq!(Conn::plain(narthex.http).ask(&request(2)).status, 413);
    assert_eq!(web.seen().len(), 1);
}

#[test]
fn a_backend_is_asked_once_the_body_is_there_unless_that_is_off() {
    let web = Backend::named("web");
    for (said, waits) in [(None, true), (Some("on"), true), (Some("off"), false)] {
        let said: Vec<_> = said
            .map(|value| ("proxy-request-buffering", value))
            .into_iter()
            .collect();
        let (narthex, _folder) = serve_annotated(&said, &[web.address()]);
        let before = web.seen().len();
        let mut conn = Conn::plain(narthex.http);
        conn.send(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\n\r\nab"
        ));
        match waits {
            true => never("it is asked", Duration::from_millis(300), || {
                web.seen().len() > before
            }),
            false => until("it is asked", || web.seen().len() > before),
        }
        conn.send("cd");
        let answer = conn.response();
        assert_eq!(
            (answer.status, &*answer.echo().body),
            (200, "abcd"),
            "{said:?}"
        );
    }
}

#[test]
fn who_waits_to_be_asked_for_the_body_is_asked() {
    let web = Backend::named("web");
    let (narthex, _folder) = serve_annotated(&[], &[web.address()]);
    let mut conn = Conn::plain(narthex.http);
    conn.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    ));
    assert_eq!(conn.try_head().expect("an interim response").status, 100);
    conn.send("ab");
    let answer = conn.response();
    assert_eq!((answer.status, &*answer.echo().body), (200, "ab"));
    assert_eq!(answer.echo().header("expect"), None);
}

#[test]
fn a_body_larger_than_what_is_held_goes_on_as_it_comes() {
    let web = Backend::named("web");
    let (narthex, _folder) = serve_annotated(&[("proxy-body-size", "0")], &[web.address()]);
    let (size, chunk) = (3 << 20, "x".repeat(4096));
    let chunked: String = (0..size / 4096)
        .map(|_| format!("1000\r\n{chunk}\r\n"))
        .collect();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}0\r\n\r\n"
    );
    let answer = Conn::plain(narthex.http).ask(&request);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.echo().body_length, size);
    assert_eq!(answer.echo().header("transfer-encoding"), Some("chunked"));
}

#[test]
fn what_is_about_nginxs_buffers_changes_nothing_and_is_still_checked() {
    let web = Backend::named("web");
    let said = [
        ("proxy-buffering", "on"),
        ("proxy-buffers-number", "8"),
        ("proxy-buffer-size", "8k"),
        ("proxy-busy-buffers-size", "16k"),
        ("proxy-max-temp-file-size", "0"),
        ("client-body-buffer-size", "1M"),
    ];
    let (narthex, _folder) = serve_annotated(&said, &[web.address()]);
    assert_eq!(narthex.get(HOST, "/").status, 200);
    // This one has its Ingress left out, as there.
    let wrong = nginx("web", &[("client-body-buffer-size", "1x")]);
    let other = nginx("other", &[]).host("other.example").prefix("/", "web");
    let (narthex, _folder) = serve(&[
        service("web", &[web.address()]),
        wrong.host(HOST).prefix("/", "web").yaml(),
        other.yaml(),
    ]);
    assert_eq!(narthex.get("other.example", "/").status, 200);
    assert_eq!(narthex.get(HOST, "/").status, 404);
}

#[test]
fn backends_are_told_of_the_connection_what_is_said() {
    let web = Backend::named("web");
    let (narthex, _folder) = serve_annotated(&[], &[web.address()]);
    assert_eq!(narthex.get(HOST, "/").echo().header("connection"), None);
    for value in ["keep-alive", "close"] {
        let said = [("connection-proxy-header", value)];
        let (narthex, _folder) = serve_annotated(&said, &[web.address()]);
        for _ in 0..2 {
            let echo = narthex.get(HOST, "/").echo();
            assert_eq!(echo.all("connection"), [value]);
        }
        assert_eq!(post(&narthex, 10), 200);
    }
}

#[test]
fn backends_are_spoken_to_in_the_version_that_is_said() {
    let web = Backend::named("web");
    for (version, expected) in [("1.0", "HTTP/1.0"), ("1.1", "HTTP/1.1"), ("2", "HTTP/1.1")] {
        let said = [("proxy-http-version", version)];
        let (narthex, _folder) = serve_annotated(&said, &[web.address()]);
        assert_eq!(narthex.get(HOST, "/a?b").echo().version, expected);
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
        );
        let echo = Conn::plain(narthex.http).ask(&request).echo();
        assert_eq!((&*echo.version, &*echo.body), (expected, "ab"));
        assert_eq!(echo.header("content-length"), Some("2"));
    }
}
