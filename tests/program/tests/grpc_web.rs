//! gRPC-Web: browsers' calls, translated for gRPC backends.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use program_tests::grpc::{Server, message, messages};
use program_tests::h2_backend::{Asked, read_all};
use program_tests::http2::{H2, block_on, finish, next, send_all};
use program_tests::{Backend, Conn, Folder, H2Backend, HOST, Narthex, serve_speaking, until};
use tokio::sync::Semaphore;

const H2C: &str = "kubernetes.io/h2c";
const TRAILERS: u8 = 0x80;

/// Answers each message of a call with the same, and tells in its trailers what it was asked with.
async fn echo(mut asked: Asked) -> Result<(), h2::Error> {
    let head = asked.request.headers().clone();
    let (body, _) = read_all(&mut asked.body).await?;
    let response = Response::builder().header("content-type", "application/grpc+proto");
    let response = response.body(()).expect("a response");
    let mut stream = asked.respond.send_response(response, false)?;
    send_all(&mut stream, body.into(), false).await?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    for name in ["content-type", "te", "content-length"] {
        let value = head.get(name).cloned();
        let value = value.unwrap_or(HeaderValue::from_static("none"));
        let name = format!("x-{name}")
            .parse::<http::HeaderName>()
            .expect("a name");
        trailers.insert(name, value);
    }
    stream.send_trailers(trailers)
}

fn serve(backend: &H2Backend, flags: &[&str]) -> (Narthex, Folder) {
    serve_speaking(H2C, &[], &[backend.address()], flags)
}

/// A call by HTTP/1.1.
fn call(port: u16, path: &str, content_type: &str, body: &[u8]) -> program_tests::Response {
    let mut conn = Conn::plain(port);
    conn.send(format!(
        "POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {content_type}\r\n\
         X-Grpc-Web: 1\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    conn.send(body);
    conn.response()
}

/// Base64 in pieces of which each may be padded.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for group in text.chunks(4) {
        bytes.extend(BASE64_STANDARD.decode(group).expect("whole groups"));
    }
    bytes
}

fn trailer_text(body: &[u8]) -> String {
    let all = messages(body);
    let (mark, text) = all.last().expect("trailers");
    assert_eq!(*mark, TRAILERS);
    String::from_utf8(text.clone()).expect("text")
}

#[test]
fn a_call_in_binary_is_translated_both_ways() {
    let backend = H2Backend::answering(echo);
    let (narthex, _folder) = serve(&backend, &[]);
    for (asked, told) in [
        ("application/grpc-web", "application/grpc"),
        ("application/grpc-web+proto", "application/grpc+proto"),
    ] {
        let body = [message(b"hello"), message(&[7; 100_000])].concat();
        let answer = call(narthex.http, "/a.B/C", asked, &body);
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("content-type"),
            Some("application/grpc-web+proto")
        );
        let all = messages(&answer.body);
        assert_eq!(all[..2], [(0, b"hello".to_vec()), (0, vec![7; 100_000])]);
        let trailers = trailer_text(&answer.body);
        let expected = format!(
            "grpc-status: 0\r\nx-content-type: {told}\r\nx-te: trailers\r\nx-content-length: none\r\n"
        );
        assert_eq!(trailers, expected);
        assert!(answer.trailers.is_empty(), "they are in the body");
    }
}

#[test]
fn a_call_in_base64_is_translated_both_ways_however_it_is_cut() {
    let backend = H2Backend::answering(echo);
    let (narthex, _folder) = serve(&backend, &[]);
    let first = message(b"hello");
    let second = message(
        &(0..50_000u32)
            .map(|at| at.to_le_bytes()[0])
            .collect::<Vec<_>>(),
    );
    let plain = [first.clone(), second.clone()].concat();
    // Whole, and in two pieces of which the first is padded.
    let in_pieces = BASE64_STANDARD.encode(&first) + &BASE64_STANDARD.encode(&second);
    for text in [BASE64_STANDARD.encode(&plain), in_pieces] {
        for size in [text.len(), 1000, 7] {
            let mut conn = Conn::plain(narthex.http);
            conn.send(format!(
                "POST /a.B/C HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\
                 Content-Type: application/grpc-web-text\r\n\r\n"
            ));
            for piece in text.as_bytes().chunks(size) {
                conn.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
            }
            conn.send("0\r\n\r\n");
            let answer = conn.response();
            let kind = Some("application/grpc-web-text+proto");
            assert_eq!(answer.header("content-type"), kind, "{size}: {answer:?}");
            let decoded = decode(&answer.body);
            assert_eq!(decoded[..plain.len()], plain);
            assert!(trailer_text(&decoded).starts_with("grpc-status: 0\r\n"));
        }
    }
}

#[test]
fn what_is_no_base64_is_refused() {
    let backend = H2Backend::answering(echo);
    let (narthex, _folder) = serve(&backend, &[]);
    for text in ["!!!!", "AAAA=AAA", "AAAAA"] {
        let answer = call(
            narthex.http,
            "/bad",
            "application/grpc-web-text",
            text.as_bytes(),
        );
        assert_eq!(
            (answer.status, answer.header("grpc-status")),
            (200, Some("13")),
            "{text}"
        );
    }
    assert_eq!(narthex.access("/bad")["reason"], "bad_request");
}

#[test]
fn messages_of_a_stream_come_as_they_are_sent_by_either_protocol() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let backend = H2Backend::answering(move |mut asked| {
        let gate = Arc::clone(&held);
        async move {
            let response = Response::builder().header("content-type", "application/grpc");
            let response = response.body(()).expect("a response");
            let mut stream = asked.respond.send_response(response, false)?;
            for round in 0..5u8 {
                gate.acquire().await.expect("open").forget();
                send_all(&mut stream, message(&[round; 10]).into(), false).await?;
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            stream.send_trailers(trailers)
        }
    });
    let (narthex, _folder) = serve(&backend, &[]);
    for (kind, text) in [
        ("application/grpc-web", false),
        ("application/grpc-web-text", true),
    ] {
        let clear = |bytes: Vec<u8>| if text { decode(&bytes) } else { bytes };
        let request = message(b"");
        let request = if text {
            BASE64_STANDARD.encode(request).into_bytes()
        } else {
            request
        };
        let mut conn = Conn::plain(narthex.http);
        conn.send(format!(
            "POST /a.B/C HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n",
            request.len()
        ));
        conn.send(&request);
        assert_eq!(conn.try_head().expect("a head").status, 200);
        for round in 0..5u8 {
            gate.add_permits(1);
            let chunk = conn.chunk().expect("a chunk").expect("a message");
            assert_eq!(messages(&clear(chunk)), [(0, vec![round; 10])]);
        }
        let chunk = conn.chunk().expect("a chunk").expect("trailers");
        assert_eq!(trailer_text(&clear(chunk)), "grpc-status: 0\r\n");
        assert_eq!(conn.chunk().expect("the end"), None);

        block_on(async {
            let h2 = H2::connect(narthex.https, HOST).await;
            let asked = Request::post(format!("https://{HOST}/a.B/C")).header("content-type", kind);
            let asked = asked.body(()).expect("a request");
            let (response, mut stream) = h2.open(asked, false).await.expect("a stream");
            send_all(&mut stream, Bytes::from(request.clone()), true)
                .await
                .expect("open");
            let mut body = response.await.expect("a head").into_body();
            for round in 0..5u8 {
                gate.add_permits(1);
                let part = next(&mut body).await.expect("open").expect("a message");
                assert_eq!(messages(&clear(part.to_vec())), [(0, vec![round; 10])]);
            }
            let part = next(&mut body).await.expect("open").expect("trailers");
            assert_eq!(trailer_text(&clear(part.to_vec())), "grpc-status: 0\r\n");
            while let Some(part) = next(&mut body).await.expect("the end") {
                assert!(part.is_empty(), "{part:?}");
            }
            assert!(body.trailers().await.expect("the end").is_none());
        });
    }
}

#[test]
fn errors_of_the_server_and_of_ours_reach_the_client() {
    let backend = H2Backend::answering(|mut asked| async move {
        // Trailers only: the head is all.
        let response = Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "5")
            .header("grpc-message", "no%20such%20thing");
        let response = response.body(()).expect("a response");
        asked.respond.send_response(response, true).map(drop)
    });
    let (narthex, folder) = serve(&backend, &[]);
    let request = message(b"x");
    for kind in ["application/grpc-web", "application/grpc-web-text+proto"] {
        let answer = call(narthex.http, "/a.B/C", kind, &[]);
        assert_eq!(
            (answer.status, answer.header("grpc-status")),
            (200, Some("5"))
        );
        assert_eq!(answer.header("grpc-message"), Some("no%20such%20thing"));
        assert!(answer.body.is_empty());
    }
    // Nobody is there any more.
    let address = backend.address();
    drop(backend);
    until("it is gone", || {
        std::net::TcpStream::connect(address).is_err()
    });
    for kind in ["application/grpc-web+proto", "application/grpc-web-text"] {
        let answer = call(narthex.http, "/a.B/C", kind, &request);
        assert_eq!(
            (answer.status, answer.header("grpc-status")),
            (200, Some("14"))
        );
        assert_eq!(answer.header("content-type"), Some(kind));
    }
    drop(folder);
}

#[test]
fn a_real_grpc_server_answers_a_browsers_call() {
    let server = Server::start();
    let (narthex, _folder) = serve_speaking(H2C, &[], &[server.address], &[]);
    let path = "/grpc.testing.TestService/EmptyCall";
    let answer = call(
        narthex.http,
        path,
        "application/grpc-web+proto",
        &message(b""),
    );
    assert_eq!(messages(&answer.body)[0], (0, Vec::new()));
    assert!(trailer_text(&answer.body).contains("grpc-status: 0\r\n"));
    // StreamingOutputCall with two responses of 3 bytes each: response_parameters { size: 3 }.
    let request = message(&[0x12, 2, 8, 3, 0x12, 2, 8, 3]);
    let path = "/grpc.testing.TestService/StreamingOutputCall";
    let text = BASE64_STANDARD.encode(request);
    let answer = call(
        narthex.http,
        path,
        "application/grpc-web-text",
        text.as_bytes(),
    );
    let decoded = decode(&answer.body);
    assert_eq!(messages(&decoded).len(), 3, "two messages and the trailers");
    assert!(trailer_text(&decoded).contains("grpc-status: 0\r\n"));
    let none = call(
        narthex.http,
        "/grpc.testing.TestService/No",
        "application/grpc-web",
        &[],
    );
    let status = none.header("grpc-status").map(str::to_owned);
    let status = status.unwrap_or_else(|| trailer_text(&none.body));
    assert!(status.contains("12"), "{status}");
}

#[test]
fn a_backend_of_http1_gets_browsers_calls_as_they_are() {
    let web = Backend::named("web");
    let (narthex, _folder) = serve_speaking("http", &[], &[web.address()], &[]);
    let answer = call(narthex.http, "/a.B/C", "application/grpc-web-text", b"AAAA");
    let echo = answer.echo();
    assert_eq!(echo.body, "AAAA");
    assert_eq!(echo.all("content-type"), ["application/grpc-web-text"]);
}

#[test]
fn a_client_that_reads_nothing_costs_no_memory() {
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let backend = H2Backend::answering(move |mut asked| {
        let sent = Arc::clone(&counted);
        async move {
            let response = Response::builder().header("content-type", "application/grpc");
            let response = response.body(()).expect("a response");
            let mut stream = asked.respond.send_response(response, false)?;
            let piece = Bytes::from(message(&[1; 60_000]));
            loop {
                send_all(&mut stream, piece.clone(), false).await?;
                sent.fetch_add(piece.len(), std::sync::atomic::Ordering::SeqCst);
            }
        }
    });
    let (narthex, _folder) = serve(&backend, &[]);
    let mut conn = Conn::plain(narthex.http);
    conn.send(format!(
        "POST /a.B/C HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/grpc-web-text\r\n\
         Content-Length: 0\r\n\r\n"
    ));
    let count = || sent.load(std::sync::atomic::Ordering::SeqCst);
    // It sends for as long as it may: where nobody holds it up, it is never so quiet.
    until("the backend is held up", || {
        let before = count();
        std::thread::sleep(Duration::from_millis(500));
        before > 0 && count() <= before + 1_000_000
    });
    let (_, most) = narthex.memory();
    assert!(most < 100 * 1024 * 1024, "{most} bytes");
    block_on(async {
        let h2 = H2::connect(narthex.https, HOST).await;
        let asked = Request::post(format!("https://{HOST}/a.B/C"))
            .header("content-type", "application/grpc-web")
            .body(())
            .expect("a request");
        let (response, stream) = h2.open(asked, true).await.expect("a stream");
        drop(stream);
        let cut = tokio::time::timeout(Duration::from_millis(500), finish(response)).await;
        assert!(cut.is_err(), "it has no end");
    });
}
