//! Upgrades: WebSocket over HTTP/1.1, and over HTTP/2 by extended CONNECT (RFC 8441).

use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use h2::ext::Protocol;
use http::{Method, Request, StatusCode};
use program_tests::http2::{H2, block_on, next};
use program_tests::tls::Client;
use program_tests::websocket::{BINARY, CLOSE, TEXT, WebSocket, frame, read_frame};
use program_tests::{Backend, HOST, Ingress, Site, Then, class, docs, service};
use rustix::process::Signal;

#[test]
fn a_websocket_passes_both_ways() {
    let site = Site::echo();
    let mut socket = WebSocket::open(site.conn(), HOST, "/chat?room=1");
    for text in ["one", "two", ""] {
        socket.echo(text);
    }
    let seen = &site.web.seen()[0];
    assert_eq!(seen.target, "/chat?room=1");
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert!(
        seen.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("upgrade"))
    );
    assert_eq!(seen.header("sec-websocket-version"), Some("13"));
}

#[test]
fn a_websocket_over_tls_passes_both_ways() {
    let (site, ..) = Site::secure(&[]);
    let (conn, _) = Client::trusting_anything()
        .alpn(&["http/1.1"])
        .connect(site.narthex.https, HOST)
        .expect("a handshake");
    WebSocket::open(conn, HOST, "/").echo("secret");
}

#[test]
fn large_frames_pass_whole() {
    let site = Site::echo();
    let mut conn = WebSocket::open(site.conn(), HOST, "/").into_inner();
    let payload: Vec<u8> = (0..3_000_000_u32).map(|index| (index >> 5) as u8).collect();
    let bytes = frame(BINARY, &payload, true);
    // The echo begins only after the whole frame, so this does not block.
    conn.send(&bytes);
    let (opcode, echoed) = read_frame(&mut conn).expect("a frame");
    assert_eq!(opcode, BINARY);
    assert!(echoed == payload, "the frame changed on its way");
}

#[test]
fn bytes_that_follow_the_handshake_at_once_are_not_lost() {
    let web = Backend::scripted("web", |exchange| {
        exchange.send(
            [
                &b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"[..],
                &frame(TEXT, b"hello first", false),
            ]
            .concat(),
        )?;
        let (_, payload) = read_frame(exchange.socket())?;
        exchange.send(frame(TEXT, &payload, false))?;
        Ok(Then::Close)
    });
    let site = Site::of(web, &[]);
    let mut conn = site.conn();
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    conn.send(request);
    assert_eq!(conn.try_head().expect("a head").status, 101);
    assert_eq!(
        read_frame(&mut conn).expect("a frame"),
        (TEXT, b"hello first".to_vec())
    );
    conn.send(frame(TEXT, b"second", true));
    assert_eq!(
        read_frame(&mut conn).expect("a frame"),
        (TEXT, b"second".to_vec())
    );
}

#[test]
fn a_close_from_either_side_ends_both() {
    let site = Site::echo();
    let mut socket = WebSocket::open(site.conn(), HOST, "/x");
    socket.echo("hello");
    let mut conn = socket.into_inner();
    conn.send(frame(CLOSE, &[], true));
    assert_eq!(read_frame(&mut conn).expect("a frame").0, CLOSE);
    assert!(conn.is_closed_within(Duration::from_secs(15)));
    program_tests::until("the backend's side ends", || {
        site.web.open_connections() == 0
    });
    let line = site.narthex.access("/x");
    assert_eq!(line["status"], 101);
    assert!(
        line["bytes_out"].as_u64().is_some_and(|bytes| bytes > 0),
        "{line}"
    );
}

#[test]
fn a_client_that_vanishes_ends_the_backends_side() {
    let site = Site::echo();
    let mut socket = WebSocket::open(site.conn(), HOST, "/");
    socket.echo("hello");
    drop(socket);
    program_tests::until("the backend's side ends", || {
        site.web.open_connections() == 0
    });
}

#[test]
fn a_backend_that_declines_the_upgrade_answers_normally() {
    let web = Backend::scripted("web", |exchange| exchange.reply("no sockets here"));
    let site = Site::of(web, &[]);
    let mut conn = site.conn();
    let request =
        "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let answer = conn.ask(request);
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "no sockets here")
    );
    assert_eq!(
        conn.get(HOST, "/").text(),
        "no sockets here",
        "the connection is still HTTP"
    );
}

#[test]
fn an_upgrade_nobody_asked_for_is_502() {
    let web = Backend::answering(
        "web",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nsurprise",
    );
    let site = Site::of(web, &[]);
    assert_eq!(site.get("/").status, 502);
}

#[test]
fn a_websocket_on_which_nothing_moves_is_closed() {
    let site = Site::with_flags(&["--tunnel-idle-timeout=8s", "--read-timeout=2s"]);
    let mut socket = WebSocket::open(site.conn(), HOST, "/");
    // Each pause is longer than a response may be silent, all of them than the tunnel may.
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(2500));
        socket.echo("still here");
    }
    assert!(
        socket
            .into_inner()
            .is_closed_within(Duration::from_secs(20))
    );
    program_tests::until("the backend's side ends", || {
        site.web.open_connections() == 0
    });
}

#[test]
fn websocket_survives_route_changes() {
    let site = Site::echo();
    let mut socket = WebSocket::open(site.conn(), HOST, "/");
    socket.echo("before");
    let other = Backend::named("other");
    site.folder.rename_over(
        "site.yaml",
        &docs(&[
            class(),
            service("other", &[other.address()]),
            Ingress::named("web").host(HOST).prefix("/", "other").yaml(),
        ]),
    );
    site.narthex.until_backend(HOST, "/", "other");
    socket.echo("the service is gone");
    site.folder.remove("site.yaml");
    site.narthex.until_backend(HOST, "/", "404");
    socket.echo("everything is gone");
}

#[test]
fn websocket_lives_until_the_drain_deadline() {
    let mut site = Site::with_flags(&["--shutdown-timeout=8s"]);
    let mut socket = WebSocket::open(site.conn(), HOST, "/");
    socket.echo("before");
    site.narthex.signal(Signal::TERM);
    program_tests::until("not ready", || {
        site.narthex.admin_status("/readyz") != Some(200)
    });
    std::thread::sleep(Duration::from_secs(1));
    socket.echo("while draining");
    site.narthex.ended_within(Duration::from_secs(30));
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _ = socket.into_inner().read_to_end(&mut rest);
}

#[test]
fn a_websocket_over_http2_becomes_an_upgrade_for_the_backend() {
    let (site, ..) = Site::secure(&[]);
    block_on(async {
        let h2 = H2::connect(site.narthex.https, HOST).await;
        // The server's settings come with the first answer.
        h2.get(HOST, "/first").await.expect("an answer");
        assert!(
            h2.send.is_extended_connect_protocol_enabled(),
            "SETTINGS_ENABLE_CONNECT_PROTOCOL"
        );
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = "https://a.example/chat?room=1".parse().expect("a URI");
        request
            .headers_mut()
            .insert("sec-websocket-version", "13".parse().expect("a value"));
        request
            .extensions_mut()
            .insert(Protocol::from_static("websocket"));
        let (response, mut stream) = h2.open(request, false).await.expect("a stream");
        let response = response.await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = response.into_body();
        for text in ["one", "two"] {
            let bytes = Bytes::from(frame(TEXT, text.as_bytes(), true));
            stream.send_data(bytes, false).expect("sent");
            let echoed = next(&mut body).await.expect("a part").expect("not the end");
            assert_eq!(&echoed[..], frame(TEXT, text.as_bytes(), false));
        }
        stream
            .send_data(Bytes::from(frame(CLOSE, &[], true)), true)
            .expect("sent");
        while next(&mut body).await.expect("an orderly end").is_some() {}
    });
    let seen = site.web.seen().pop().expect("it reached the backend");
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str()),
        ("GET", "/chat?room=1")
    );
    assert!(
        seen.header("upgrade")
            .is_some_and(|to| to.eq_ignore_ascii_case("websocket"))
    );
    assert_eq!(seen.header("sec-websocket-version"), Some("13"));
    assert!(
        seen.header("sec-websocket-key").is_some(),
        "HTTP/1.1 needs a key"
    );
}

#[test]
fn a_plain_connect_over_http2_is_refused() {
    let (site, ..) = Site::secure(&[]);
    block_on(async {
        let h2 = H2::connect(site.narthex.https, HOST).await;
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = "a.example:443".parse().expect("an authority");
        let (response, _stream) = h2.open(request, false).await.expect("a stream");
        match response.await {
            Ok(answer) => {
                assert!(answer.status().is_client_error() || answer.status().is_server_error())
            }
            Err(error) => assert!(error.is_reset() || error.is_remote(), "{error:?}"),
        }
    });
    assert!(site.web.seen().is_empty());
}
