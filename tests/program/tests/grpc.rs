//! gRPC end to end, with the reference implementation in Go on both sides.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use program_tests::certificate::Authority;
use program_tests::frames::{self, frame};
use program_tests::grpc::{self, Server, message, messages};
use program_tests::http2::{H2, block_on, finish, next, send_all};
use program_tests::{
    Conn, Folder, H2Backend, HOST, Ingress, Narthex, RawBackend, serve_speaking, serve_with,
    service_speaking, until,
};

const H2C: &str = "kubernetes.io/h2c";

/// The interoperability suite's cases of calls, metadata, statuses and cancellations.
const CASES: &[&str] = &[
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "cancel_after_begin",
    "cancel_after_first_response",
];

/// All of them, and the one whose time is a millisecond: a client that the machine keeps from its own
/// clock for longer hears of the server's end of the call first, which is another status. In one of
/// some rounds it is not.
#[track_caller]
fn the_suite_passes(narthex: &Narthex) {
    for (port, tls) in [(narthex.http, false), (narthex.https, true)] {
        grpc::succeeds(port, HOST, tls, CASES);
        let mut last = None;
        let in_time = (0..10).any(|_| {
            let ended = grpc::client(port, HOST, tls, &["timeout_on_sleeping_server"]);
            let in_time = ended.code == Some(0);
            last = Some(ended);
            in_time
        });
        assert!(in_time, "{last:?}");
    }
}

#[test]
fn the_interoperability_suite_passes_in_clear_text_and_by_tls() {
    let server = Server::start();
    let (narthex, _folder) = serve_speaking(H2C, &[], &[server.address], &[]);
    the_suite_passes(&narthex);
    let line = narthex.access("/grpc.testing.TestService/UnaryCall");
    assert_eq!(
        (&line["status"], &line["protocol"]),
        (&200.into(), &"HTTP/2.0".into()),
        "{line}"
    );
}

#[test]
fn the_interoperability_suite_passes_to_a_server_behind_tls() {
    let authority = Authority::new();
    let certificate = authority.ecdsa(&["web.default.svc"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let chain = file("chain.pem", &certificate.chain_pem);
    let server = Server::secure(&chain, &file("key.pem", &certificate.key_pem));
    let flag = format!(
        "--backend-ca-file={}",
        file("ca.pem", &authority.pem).display()
    );
    let (narthex, _folder) = serve_speaking("https", &[], &[server.address], &[&flag]);
    the_suite_passes(&narthex);
}

#[test]
fn time_limits_for_idle_directions_do_not_cut_a_stream_that_moves_in_the_other() {
    let server = Server::start();
    let flags = [
        "--read-timeout=2s",
        "--send-timeout=2s",
        "--client-body-timeout=2s",
    ];
    let (narthex, _folder) = serve_speaking(H2C, &[], &[server.address], &flags);
    grpc::succeeds(narthex.http, HOST, false, &["idle"]);
}

#[test]
fn a_stream_on_which_nothing_moves_ends_at_its_own_limit() {
    let server = Server::start();
    let flags = ["--tunnel-idle-timeout=1s"];
    let (narthex, _folder) = serve_speaking(H2C, &[], &[server.address], &flags);
    let ended = grpc::client(narthex.http, HOST, false, &["idle"]);
    assert_ne!(ended.code, Some(0), "{}", ended.said());
}

#[test]
fn messages_flow_both_ways_without_waiting_for_the_end_of_either() {
    let backend = H2Backend::answering(|mut asked| async move {
        assert_eq!(asked.request.headers()["te"], "trailers");
        assert_eq!(asked.request.headers()["grpc-timeout"], "5S");
        let response = Response::builder().header("content-type", "application/grpc");
        let response = response.body(()).expect("a response");
        let mut stream = asked.respond.send_response(response, false)?;
        while let Some(part) = next(&mut asked.body).await? {
            send_all(&mut stream, part, false).await?;
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        trailers.insert("x-custom-bin", HeaderValue::from_static("AAEC"));
        stream.send_trailers(trailers)
    });
    let (narthex, _folder) = serve_speaking(H2C, &[], &[backend.address()], &[]);
    block_on(async {
        let h2 = H2::connect(narthex.https, HOST).await;
        let request = Request::post(format!("https://{HOST}/a.B/C"))
            .header("content-type", "application/grpc+proto")
            .header("te", "trailers")
            .header("grpc-timeout", "5S")
            .body(())
            .expect("a request");
        let (response, mut stream) = h2.open(request, false).await.expect("a stream");
        // The head of the response comes before any message.
        let mut body = response.await.expect("a head").into_body();
        for round in 0..50u8 {
            let sent = message(&[round; 100]);
            send_all(&mut stream, sent.clone().into(), false)
                .await
                .expect("open");
            let mut back = Vec::new();
            while back.len() < sent.len() {
                back.extend(next(&mut body).await.expect("open").expect("more"));
            }
            assert_eq!(back, sent);
        }
        stream.send_data(Bytes::new(), true).expect("open");
        assert_eq!(next(&mut body).await.expect("the end"), None);
        let trailers = body.trailers().await.expect("trailers").expect("trailers");
        assert_eq!(
            (&trailers["grpc-status"], &trailers["x-custom-bin"]),
            (
                &HeaderValue::from_static("0"),
                &HeaderValue::from_static("AAEC")
            )
        );
    });
}

/// The status, its message, and whether the head was all of the response.
async fn call(
    port: u16,
    host: &str,
    path: &str,
    more: &[(&str, &str)],
    body: &[u8],
) -> (String, String) {
    let h2 = H2::plain(port).await;
    let mut request = Request::post(format!("http://{host}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let request = request.body(()).expect("a request");
    let (response, mut stream) = h2.open(request, false).await.expect("a stream");
    // It may be refused before it is whole.
    let _ = send_all(&mut stream, Bytes::copy_from_slice(body), true).await;
    let answer = finish(response).await.expect("an answer");
    assert_eq!(answer.status, 200, "{path}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/grpc"),
        "{path}"
    );
    assert!(
        answer.body.is_empty() && answer.trailers.is_none(),
        "{path}: trailers only"
    );
    let text = |name: &str| answer.header(name).unwrap_or_default().to_owned();
    (text("grpc-status"), text("grpc-message"))
}

#[test]
fn our_own_errors_are_grpcs() {
    let slow = RawBackend::start(|peer| {
        peer.greet(&[])?;
        peer.drain()
    });
    let garbled = RawBackend::start(|peer| {
        peer.greet(&[])?;
        peer.request()?;
        peer.send(&[0xff; 100])
    });
    let resets = RawBackend::start(|peer| {
        peer.greet(&[])?;
        let stream = peer.request()?;
        peer.send(&frame(frames::RST_STREAM, 0, stream, &2u32.to_be_bytes()))?;
        peer.drain()
    });
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], program_tests::ports::free()));
    let mut ingress = Ingress::named("web").host(HOST);
    let mut documents = Vec::new();
    for (name, addresses) in [
        ("slow", vec![slow.address()]),
        ("garbled", vec![garbled.address()]),
        ("resets", vec![resets.address()]),
        ("nobody", vec![nobody]),
        ("empty", vec![]),
    ] {
        documents.push(service_speaking(name, H2C, &[], &addresses));
        ingress = ingress.prefix(&format!("/{name}"), name);
    }
    documents.push(ingress.yaml());
    let flags = ["--request-timeout=4s", "--max-body-bytes=1KiB"];
    let (narthex, _folder) = serve_with(&documents, &flags);
    let large = vec![0; 4000];
    for (host, path, body, status, reason) in [
        (HOST, "/none/x", &b""[..], "12", "no_route"),
        ("other.example", "/slow", b"", "12", "no_route"),
        (HOST, "/empty/x", b"", "14", "no_endpoints"),
        (HOST, "/nobody/x", b"", "14", "connect_failed"),
        (HOST, "/garbled/x", b"", "14", "upstream_protocol_error"),
        (HOST, "/resets/x", b"", "14", "upstream_reset"),
        (HOST, "/slow/late", b"", "4", "request_timeout"),
        (HOST, "/slow/large", &large, "8", "body_too_large"),
        (HOST, "/slow/%zz", b"", "13", "path_bad_escape"),
    ] {
        let (got, said) = block_on(call(narthex.http, host, path, &[], body));
        assert_eq!(got, status, "{path}: {said}");
        assert!(said.contains(": "), "{path}: {said}");
        if reason != "path_bad_escape" {
            assert!(said.ends_with(reason), "{path}: {said}");
        }
    }
    let line = narthex.access("/empty/x");
    assert_eq!(
        (&line["status"], &line["reason"]),
        (&200.into(), &"no_endpoints".into()),
        "{line}"
    );
    // The reference client reads them the same way.
    let ended = grpc::client(narthex.http, "other.example", false, &["status"]);
    assert!(
        ended
            .stdout
            .starts_with("Unimplemented: Not Found: no_route"),
        "{}",
        ended.said()
    );
    // Whoever does not speak gRPC gets what it always got.
    assert_eq!(Conn::plain(narthex.http).get(HOST, "/none").status, 404);
}

#[test]
fn a_call_that_its_server_resets_halfway_is_reset_for_the_client() {
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    let backend = RawBackend::start(move |peer| {
        peer.greet(&[])?;
        let stream = peer.request()?;
        peer.respond(
            stream,
            "200",
            &[("content-type", "application/grpc")],
            false,
        )?;
        peer.data(stream, &message(b"first"), false)?;
        while count.load(Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        peer.send(&frame(frames::RST_STREAM, 0, stream, &8u32.to_be_bytes()))?;
        peer.drain()
    });
    let (narthex, _folder) = serve_speaking(H2C, &[], &[backend.address()], &[]);
    let error = block_on(async {
        let h2 = H2::plain(narthex.http).await;
        let request = Request::post(format!("http://{HOST}/a.B/C"))
            .header("content-type", "application/grpc")
            .body(())
            .expect("a request");
        let (response, _stream) = h2.open(request, false).await.expect("a stream");
        let mut body = response.await.expect("a head").into_body();
        let first = next(&mut body).await.expect("open").expect("a message");
        assert_eq!(messages(&first), [(0, b"first".to_vec())]);
        heard.store(1, Ordering::SeqCst);
        next(&mut body).await
    });
    let error = error.expect_err("the stream is reset, and not ended");
    assert!(error.is_reset(), "{error}");
}

#[test]
fn a_call_whose_client_goes_away_is_cancelled_at_its_server() {
    let cancelled = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&cancelled);
    let backend = H2Backend::answering(move |mut asked| {
        let cancelled = Arc::clone(&counted);
        async move {
            let response = Response::builder().header("content-type", "application/grpc");
            let response = response.body(()).expect("a response");
            let mut stream = asked.respond.send_response(response, false)?;
            let reset = std::future::poll_fn(|context| stream.poll_reset(context)).await?;
            assert_eq!(reset, h2::Reason::CANCEL);
            cancelled.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    });
    let (narthex, _folder) = serve_speaking(H2C, &[], &[backend.address()], &[]);
    block_on(async {
        for end in [true, false] {
            let h2 = H2::plain(narthex.http).await;
            let request = Request::post(format!("http://{HOST}/a.B/C"))
                .header("content-type", "application/grpc")
                .body(())
                .expect("a request");
            let (response, mut stream) = h2.open(request, false).await.expect("a stream");
            send_all(&mut stream, message(b"x").into(), end)
                .await
                .expect("open");
            let _body = response.await.expect("a head").into_body();
            stream.send_reset(h2::Reason::CANCEL);
            // The frame has to go out before the connection does.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    until("both are cancelled", || {
        cancelled.load(Ordering::SeqCst) == 2
    });
}

#[test]
fn calls_go_on_while_servers_come_and_go() {
    let one = Server::start();
    let two = Server::start();
    let ingress = Ingress::named("web").host(HOST).prefix("/", "web");
    let folder = Folder::new();
    folder.write("class.yaml", &program_tests::class());
    let write = |addresses: &[std::net::SocketAddr]| {
        let service = service_speaking("web", H2C, &[], addresses);
        // Never half of it, in which there is no route.
        folder.rename_over(
            "site.yaml",
            &program_tests::docs(&[service, ingress.yaml()]),
        );
    };
    write(&[one.address]);
    let narthex = Narthex::on(&folder).start();
    let port = narthex.http;
    let calls = std::thread::spawn(move || {
        let cases = ["large_unary", "ping_pong", "server_streaming"].repeat(20);
        grpc::succeeds(port, HOST, false, &cases);
    });
    for round in 0..6 {
        write(&[[one.address, two.address][round % 2]]);
        std::thread::sleep(Duration::from_millis(150));
    }
    calls.join().expect("every call succeeds");
}
