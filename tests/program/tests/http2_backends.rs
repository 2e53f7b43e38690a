//! Backends that speak HTTP/2 in clear text (`appProtocol: kubernetes.io/h2c`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use program_tests::backend::Hash;
use program_tests::frames::{self, frame};
use program_tests::h2_backend::{echo, read_all};
use program_tests::http2::{H2, block_on, finish, next, send_all};
use program_tests::{
    Backend, Conn, Folder, H2Backend, HOST, Narthex, RawBackend, serve_speaking, until,
};
use tokio::sync::Semaphore;

const H2C: &str = "kubernetes.io/h2c";

fn serve(backend: &H2Backend, flags: &[&str]) -> (Narthex, Folder) {
    serve_speaking(H2C, &[], &[backend.address()], flags)
}

fn serve_raw(backend: &RawBackend, flags: &[&str]) -> (Narthex, Folder) {
    serve_speaking(H2C, &[], &[backend.address()], flags)
}

#[test]
fn an_http1_request_becomes_http2_for_the_backend() {
    let backend = H2Backend::echo();
    let (narthex, _folder) = serve(&backend, &[]);
    let answer = Conn::plain(narthex.http).ask(
        "POST /x?y=<1> HTTP/1.1\r\nHost: A.example\r\nConnection: X-Once, keep-alive\r\nX-Once: 1\r\n\
         Cookie: a=1; b=2\r\nX-Kept: 1\r\nTE: trailers\r\nContent-Length: 5\r\n\r\nhello",
    );
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("transfer-encoding"),
        None,
        "its length is known"
    );
    let echo = answer.echo();
    assert_eq!(
        (
            echo.method.as_str(),
            echo.target.as_str(),
            echo.body.as_str()
        ),
        ("POST", "/x?y=%3C1%3E", "hello")
    );
    assert_eq!(echo.all(":authority"), ["A.example"]);
    assert_eq!(echo.all(":scheme"), ["http"]);
    assert_eq!(echo.all("cookie"), ["a=1; b=2"]);
    assert_eq!(echo.all("content-length"), ["5"]);
    assert_eq!(echo.all("te"), ["trailers"]);
    assert_eq!(echo.all("x-kept"), ["1"]);
    assert_eq!(echo.all("x-forwarded-for"), ["127.0.0.1"]);
    for gone in [
        "host",
        "connection",
        "x-once",
        "transfer-encoding",
        "upgrade",
    ] {
        assert_eq!(echo.header(gone), None, "{gone}");
    }
    let line = narthex.access("/x");
    assert_eq!(
        (&line["status"], &line["attempts"]),
        (&200.into(), &1.into()),
        "{line}"
    );
}

#[test]
fn bodies_and_trailers_pass_in_both_directions_from_either_protocol() {
    let backend = H2Backend::answering(|mut asked| async move {
        let (body, trailers) = read_all(&mut asked.body).await?;
        let response = Response::builder().body(()).expect("a response");
        let mut stream = asked.respond.send_response(response, false)?;
        send_all(&mut stream, body.into(), false).await?;
        let mut back = HeaderMap::new();
        let seen = trailers.and_then(|trailers| trailers.get("x-up").cloned());
        back.insert("x-down", seen.unwrap_or(HeaderValue::from_static("none")));
        stream.send_trailers(back)
    });
    let (narthex, _folder) = serve(&backend, &[]);
    let body: Vec<u8> = (0..3_000_000u32)
        .map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1])
        .collect();
    let hash = Hash::of(Hash::START, &body);
    let answer = block_on(async {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-up", HeaderValue::from_static("from-h2"));
        let h2 = H2::connect(narthex.https, HOST).await;
        h2.post(HOST, "/", body.clone().into(), Some(trailers))
            .await
    });
    let answer = answer.expect("an answer");
    assert_eq!(Hash::of(Hash::START, &answer.body), hash);
    let trailers = answer.trailers.expect("trailers");
    assert_eq!(
        trailers.get("x-down").map(HeaderValue::as_bytes),
        Some(&b"from-h2"[..])
    );

    let answer = Conn::plain(narthex.http).ask(&format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n\
         4\r\nabcd\r\n3\r\nefg\r\n0\r\nX-Up: from-h1\r\n\r\n"
    ));
    assert_eq!((answer.status, answer.text().as_str()), (200, "abcdefg"));
    assert_eq!(
        answer.trailers,
        [("x-down".to_owned(), "from-h1".to_owned())]
    );
}

#[test]
fn a_slow_client_holds_up_its_backend_and_nobody_else() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let backend = H2Backend::answering(move |mut asked| {
        let sent = Arc::clone(&counted);
        async move {
            if asked.request.uri().path() != "/endless" {
                return echo("h2", asked).await;
            }
            let response = Response::builder().body(()).expect("a response");
            let mut stream = asked.respond.send_response(response, false)?;
            let piece = Bytes::from(vec![b'x'; 64 * 1024]);
            for _ in 0..2000 {
                send_all(&mut stream, piece.clone(), false).await?;
                sent.fetch_add(piece.len(), Ordering::SeqCst);
            }
            Ok(())
        }
    });
    let (narthex, _folder) = serve_speaking(H2C, &[], &[backend.address()], &["--workers=1"]);
    assert_eq!(narthex.get(HOST, "/before").status, 200);
    let mut slow: Vec<_> = (0..8).map(|_| Conn::plain(narthex.http)).collect();
    for conn in &mut slow {
        conn.send(format!("GET /endless HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    }
    let mut last = usize::MAX;
    until("the backend is held up", || {
        std::thread::sleep(Duration::from_millis(300));
        std::mem::replace(&mut last, sent.load(Ordering::SeqCst)) == last && last > 0
    });
    // The kernel's buffers hold most of it: up to some megabytes a connection, of 125 MiB.
    let most = sent.load(Ordering::SeqCst);
    assert!(
        most < 8 * 16 * 1024 * 1024,
        "{most} bytes for clients that read nothing"
    );
    let (now, _) = narthex.memory();
    assert!(now < 100 * 1024 * 1024, "{now} bytes");
}

#[test]
fn a_slow_backend_holds_up_its_client() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let backend = H2Backend::answering(move |mut asked| {
        let gate = Arc::clone(&held);
        async move {
            let permit = gate.acquire().await;
            drop(permit);
            let (body, _) = read_all(&mut asked.body).await?;
            let response = Response::builder().header("x-length", body.len());
            let response = response.body(()).expect("a response");
            asked.respond.send_response(response, true).map(drop)
        }
    });
    let (narthex, _folder) = serve(&backend, &[]);
    block_on(async {
        let h2 = H2::connect(narthex.https, HOST).await;
        let request = Request::post(format!("https://{HOST}/"))
            .body(())
            .expect("a request");
        let (response, mut stream) = h2.open(request, false).await.expect("a stream");
        let total = 20_000_000;
        let mut body = Bytes::from(vec![b'x'; total]);
        // As much as it takes without being read.
        loop {
            stream.reserve_capacity(body.len().min(100_000));
            let capacity = std::future::poll_fn(|context| stream.poll_capacity(context));
            let Ok(capacity) = tokio::time::timeout(Duration::from_secs(1), capacity).await else {
                break;
            };
            let capacity = capacity.expect("open").expect("capacity");
            let part = body.split_to(capacity.min(body.len()));
            stream.send_data(part, false).expect("taken");
        }
        let taken = total - body.len();
        assert!(taken < 4_000_000, "{taken} bytes that nobody reads");
        gate.add_permits(10);
        stream.reserve_capacity(0);
        send_all(&mut stream, body, true).await.expect("all of it");
        let answer = finish(response).await.expect("an answer");
        assert_eq!(answer.header("x-length"), Some(total.to_string().as_str()));
    });
}

#[test]
fn heads_without_bodies_and_interim_ones_are_right() {
    let backend = RawBackend::start(|peer| {
        peer.greet(&[])?;
        loop {
            let frame = peer.until(frames::HEADERS)?;
            let stream = frame.stream;
            match stream {
                // HEAD: what there would be.
                1 => peer.respond(stream, "200", &[("content-length", "5")], true)?,
                3 => peer.respond(stream, "204", &[("x-kind", "none")], true)?,
                5 => peer.respond(
                    stream,
                    "304",
                    &[("content-length", "7"), ("etag", "\"a\"")],
                    true,
                )?,
                7 => {
                    peer.respond(stream, "103", &[("link", "</a.css>; rel=preload")], false)?;
                    peer.respond(stream, "200", &[], false)?;
                    peer.data(stream, b"body", true)?;
                }
                // An empty body whose end is in a frame of its own.
                9 => {
                    peer.respond(stream, "200", &[], false)?;
                    peer.data(stream, b"", true)?;
                }
                11 => {
                    // Expect: 100-continue.
                    peer.respond(stream, "100", &[], false)?;
                    peer.until(frames::DATA)?;
                    peer.respond(stream, "201", &[], true)?;
                }
                _ => {
                    // An early answer, and no wish for the rest (RFC 9113, section 8.1).
                    peer.respond(stream, "403", &[], true)?;
                    peer.send(&frame_no_error(stream))?;
                }
            }
        }
    });
    let (narthex, _folder) = serve_speaking(H2C, &[], &[backend.address()], &["--workers=1"]);
    let mut conn = Conn::plain(narthex.http);
    conn.send(format!("HEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    let head = conn.try_response(true).expect("a head");
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("5"))
    );
    let none = conn.get(HOST, "/");
    assert_eq!(
        (
            none.status,
            none.header("content-length"),
            none.header("x-kind")
        ),
        (204, None, Some("none"))
    );
    let not_modified = conn.get(HOST, "/");
    assert_eq!(
        (
            not_modified.status,
            not_modified.header("content-length"),
            not_modified.text()
        ),
        (304, Some("7"), String::new())
    );
    conn.send(format!("GET /hints HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    let hints = conn.try_head().expect("a head");
    assert_eq!(
        (hints.status, hints.header("link")),
        (103, Some("</a.css>; rel=preload"))
    );
    let answer = conn.response();
    assert_eq!((answer.status, answer.text().as_str()), (200, "body"));
    let empty = conn.get(HOST, "/");
    assert_eq!((empty.status, empty.text()), (200, String::new()));
    conn.send(format!(
        "POST /expect HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    ));
    assert_eq!(conn.try_head().expect("a head").status, 100);
    conn.send("body");
    assert_eq!(conn.response().status, 201);
    // Far more than anybody's window.
    let mut refused = Conn::plain(narthex.http);
    refused.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000000\r\n\r\n"
    ));
    refused.send(vec![b'x'; 10_000]);
    assert_eq!(refused.response().status, 403);
}

fn frame_no_error(stream: u32) -> Vec<u8> {
    frame(frames::RST_STREAM, 0, stream, &0u32.to_be_bytes())
}

#[test]
fn what_a_backend_speaks_changes_with_its_manifest_and_connections_are_not_mixed_up() {
    let h1 = Backend::named("h1");
    let (narthex, folder) = serve_speaking("http", &[], &[h1.address()], &[]);
    assert_eq!(narthex.get(HOST, "/").backend(), "h1");
    let h2 = H2Backend::echo();
    let service = |app_protocol: &str, address| {
        program_tests::service_speaking("web", app_protocol, &[], &[address])
    };
    let rest = std::fs::read_to_string(folder.path().join("site.yaml")).expect("the manifests");
    // Everything but the Service and its slice.
    let rest: Vec<_> = rest.split("---\n").skip(2).map(str::to_owned).collect();
    let write = |service: String| {
        folder.write(
            "site.yaml",
            &program_tests::docs(&[&[service][..], &rest].concat()),
        );
    };
    write(service(H2C, h2.address()));
    narthex.until_backend(HOST, "/", "h2");
    // The same address, spoken to otherwise: an HTTP/1 request is none to the h2 crate.
    write(service("http", h2.address()));
    narthex.until_backend(HOST, "/", "502");
    write(service(H2C, h2.address()));
    narthex.until_backend(HOST, "/", "h2");
}

#[test]
fn a_websocket_to_a_backend_of_http2_is_refused_with_a_word() {
    let backend = H2Backend::echo();
    let (narthex, _folder) = serve(&backend, &[]);
    let answer = Conn::plain(narthex.http).ask(&format!(
        "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\r\n",
        program_tests::websocket::KEY
    ));
    assert_eq!(answer.status, 502);
    assert_eq!(narthex.access("/ws")["reason"], "upstream_upgrade");
    // Any other upgrade is an offer, and not taken up.
    let answer = Conn::plain(narthex.http).ask(&format!(
        "GET /other HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"
    ));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.echo().header("upgrade"), None);
}

#[test]
fn a_client_that_goes_away_ends_its_stream_at_the_backend() {
    let backend = H2Backend::answering(|mut asked| async move {
        let response = Response::builder().body(()).expect("a response");
        let mut stream = asked.respond.send_response(response, false)?;
        let reset = std::future::poll_fn(|context| stream.poll_reset(context)).await;
        reset.map(drop)
    });
    let (narthex, _folder) = serve(&backend, &[]);
    block_on(async {
        let h2 = H2::connect(narthex.https, HOST).await;
        let request = Request::get(format!("https://{HOST}/"))
            .body(())
            .expect("a request");
        let (response, mut stream) = h2.open(request, true).await.expect("a stream");
        let body = response.await.expect("a head").into_body();
        assert_eq!(backend.busy(), 1);
        stream.send_reset(h2::Reason::CANCEL);
        drop(body);
        while backend.busy() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let mut conn = Conn::plain(narthex.http);
    conn.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(conn.try_head().expect("a head").status, 200);
    drop(conn);
    until("its stream ends as well", || backend.busy() == 0);
}

#[test]
fn a_response_that_is_reset_halfway_never_ends_cleanly() {
    let heard = Arc::new(Semaphore::new(0));
    let count = Arc::clone(&heard);
    let backend = RawBackend::start(move |peer| {
        peer.greet(&[])?;
        loop {
            let stream = peer.request()?;
            peer.respond(stream, "200", &[], false)?;
            peer.data(stream, b"half", false)?;
            // The client has the head by then, whatever else the machine does.
            while count.try_acquire().map(|permit| permit.forget()).is_err() {
                std::thread::sleep(Duration::from_millis(5));
            }
            peer.send(&frame(frames::RST_STREAM, 0, stream, &2u32.to_be_bytes()))?;
        }
    });
    let (narthex, _folder) = serve_raw(&backend, &[]);
    let error = block_on(async {
        let h2 = H2::connect(narthex.https, HOST).await;
        let request = Request::get(format!("https://{HOST}/h2"))
            .body(())
            .expect("a request");
        let (response, _) = h2.open(request, true).await.expect("a stream");
        let mut body = response.await.expect("a head").into_body();
        heard.add_permits(1);
        loop {
            match next(&mut body).await {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(error) => return Some(error),
            }
        }
    });
    assert!(
        error.is_some_and(|error| error.is_reset()),
        "the stream is reset"
    );
    let mut conn = Conn::plain(narthex.http);
    conn.send(format!("GET /h1 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(conn.try_head().expect("a head").status, 200);
    heard.add_permits(1);
    let ended = loop {
        match conn.chunk() {
            Ok(Some(_)) => {}
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    assert!(!ended, "the chunks have no end");
    assert_eq!(narthex.access("/h1")["reason"], "upstream_reset");
}
