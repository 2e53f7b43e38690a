//! HTTP/2 from clients, HTTP/1.1 to backends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use program_tests::backend::Hash;
use program_tests::folder::secret;
use program_tests::http2::{H2, block_on, finish, next, send_all};
use program_tests::{
    Backend, Certificate, HOST, Ingress, Narthex, Site, Then, class, curl, service, until,
};

/// A secure site with another backend than the echo.
fn secure_with(web: Backend, flags: &[&str]) -> Site {
    let ingress = Ingress::named("web")
        .tls(&[HOST], "tls")
        .host(HOST)
        .prefix("/", "web");
    let folder = program_tests::Folder::of(&[
        class(),
        service("web", &[web.address()]),
        secret("tls", &Certificate::of(&[HOST])),
        ingress.yaml(),
    ]);
    let narthex = Narthex::on(&folder).args(flags).start();
    Site {
        narthex,
        folder,
        web,
    }
}

#[test]
fn a_request_becomes_http1_for_the_backend() {
    let (site, ..) = Site::secure(&[]);
    let answer = block_on(async {
        H2::connect(site.narthex.https, HOST)
            .await
            .get(HOST, "/x?y=1")
            .await
            .expect("an answer")
    });
    assert_eq!(answer.status, StatusCode::OK);
    let echo = answer.echo();
    assert_eq!(
        (echo.version.as_str(), echo.target.as_str()),
        ("HTTP/1.1", "/x?y=1")
    );
    assert_eq!(echo.all("host"), [HOST]);
    assert_eq!(echo.all("x-forwarded-proto"), ["https"]);
    assert_eq!(echo.all("x-forwarded-for"), ["127.0.0.1"]);
    assert!(
        echo.headers.iter().all(|(name, _)| !name.starts_with(':')),
        "{:?}",
        echo.headers
    );
    let line = site.narthex.access("/x");
    assert!(
        line["protocol"]
            .as_str()
            .is_some_and(|version| version.contains('2')),
        "{line}"
    );
}

#[test]
fn many_streams_share_a_connection() {
    let (site, ..) = Site::secure(&[]);
    block_on(async {
        let h2 = H2::connect(site.narthex.https, HOST).await;
        let mut tasks = Vec::new();
        for index in 0..100 {
            let h2 = h2.clone();
            tasks.push(tokio::spawn(async move {
                let answer = h2.get(HOST, &format!("/{index}")).await.expect("an answer");
                assert_eq!(answer.echo().target, format!("/{index}"));
            }));
        }
        for task in tasks {
            task.await.expect("answered well");
        }
    });
}

#[test]
fn a_slow_stream_does_not_hold_up_others() {
    let go_on = Arc::new(AtomicBool::new(false));
    let may = Arc::clone(&go_on);
    let web = Backend::scripted("web", move |exchange| {
        while exchange.request.target == "/slow" && !may.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        exchange.echo()
    });
    let site = secure_with(web, &[]);
    block_on(async {
        let h2 = H2::connect(site.narthex.https, HOST).await;
        let request = Request::get("https://a.example/slow")
            .body(())
            .expect("a request");
        let (slow, _) = h2.open(request, true).await.expect("a stream");
        assert_eq!(
            h2.get(HOST, "/fast").await.expect("an answer").status,
            StatusCode::OK
        );
        go_on.store(true, Ordering::SeqCst);
        assert_eq!(
            finish(slow).await.expect("an answer").status,
            StatusCode::OK
        );
    });
}

#[test]
fn bodies_and_trailers_pass_both_ways() {
    let web = Backend::scripted("web", |exchange| {
        let body = exchange.read_body()?;
        let sum = body
            .trailers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("x-sum"));
        let sum = sum.map(|(_, value)| value.clone()).unwrap_or_default();
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTrailer: grpc-status\r\n\
             Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\ngrpc-status: 0\r\nx-sum: {sum}\r\n\r\n",
            body.text.len(),
            body.text
        ))?;
        Ok(Then::Keep)
    });
    let site = secure_with(web, &[]);
    let answer = block_on(async {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("42"));
        let h2 = H2::connect(site.narthex.https, HOST).await;
        h2.post(HOST, "/x", Bytes::from_static(b"hello"), Some(trailers))
            .await
            .expect("an answer")
    });
    assert_eq!(&answer.body[..], b"hello");
    let trailers = answer.trailers.expect("trailers");
    assert_eq!(
        trailers.get("grpc-status"),
        Some(&HeaderValue::from_static("0"))
    );
    assert_eq!(trailers.get("x-sum"), Some(&HeaderValue::from_static("42")));
}

#[test]
fn te_trailers_reaches_the_backend() {
    let (site, ..) = Site::secure(&[]);
    let echo = block_on(async {
        let h2 = H2::connect(site.narthex.https, HOST).await;
        let request = Request::get("https://a.example/")
            .header("te", "trailers")
            .body(());
        let (response, _) = h2
            .open(request.expect("a request"), true)
            .await
            .expect("a stream");
        finish(response).await.expect("an answer").echo()
    });
    assert_eq!(echo.header("te"), Some("trailers"));
}

#[test]
fn cookie_crumbs_are_joined() {
    let (site, ..) = Site::secure(&[]);
    let echo = block_on(async {
        let h2 = H2::connect(site.narthex.https, HOST).await;
        let request = Request::get("https://a.example/")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(());
        let (response, _) = h2
            .open(request.expect("a request"), true)
            .await
            .expect("a stream");
        finish(response).await.expect("an answer").echo()
    });
    assert_eq!(echo.all("cookie"), ["a=1; b=2"]);
}

#[test]
fn hop_by_hop_headers_of_backends_never_reach_http2() {
    let web = Backend::answering(
        "web",
        b"HTTP/1.1 200 OK\r\nConnection: close, X-Internal\r\nKeep-Alive: timeout=5\r\n\
          X-Internal: 1\r\nProxy-Connection: close\r\nUpgrade: h2c\r\nX-Kept: 1\r\n\
          Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    );
    let site = secure_with(web, &[]);
    let answer = block_on(async {
        H2::connect(site.narthex.https, HOST)
            .await
            .get(HOST, "/")
            .await
            .expect("an answer")
    });
    for name in [
        "connection",
        "keep-alive",
        "x-internal",
        "proxy-connection",
        "upgrade",
        "transfer-encoding",
    ] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.header("x-kept"), Some("1"));
    assert_eq!(&answer.body[..], b"ok");
}

#[test]
fn a_large_upload_passes_whole() {
    let (site, ..) = Site::secure(&[]);
    let body: Vec<u8> = (0..32 * 1024 * 1024_u32)
        .map(|index| (index >> 7) as u8)
        .collect();
    let hash = Hash::of(Hash::START, &body);
    let echo = block_on(async {
        let h2 = H2::connect(site.narthex.https, HOST).await;
        h2.post(HOST, "/x", body.into(), None)
            .await
            .expect("an answer")
            .echo()
    });
    assert_eq!((echo.body_length, echo.body_hash), (32 * 1024 * 1024, hash));
}

#[test]
fn a_client_that_does_not_read_holds_the_backend_back() {
    const LARGE: u64 = 256 * 1024 * 1024;
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let web = Backend::scripted("web", move |exchange| {
        let block = [7; 64 * 1024];
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"
        ))?;
        for _ in 0..LARGE / block.len() as u64 {
            exchange.send(block)?;
            count.fetch_add(block.len() as u64, Ordering::SeqCst);
        }
        Ok(Then::Keep)
    });
    let site = secure_with(web, &[]);
    let (before, _) = site.narthex.memory();
    block_on(async {
        let h2 = H2::connect(site.narthex.https, HOST).await;
        let request = Request::get("https://a.example/")
            .body(())
            .expect("a request");
        let (response, _) = h2.open(request, true).await.expect("a stream");
        let mut body = response.await.expect("a head").into_body();
        let mut last = u64::MAX;
        loop {
            tokio::time::sleep(Duration::from_millis(400)).await;
            let now = sent.load(Ordering::SeqCst);
            if now == last {
                break;
            }
            last = now;
        }
        assert!(
            last < LARGE / 4,
            "only buffers were filled, not {last} bytes"
        );
        let mut length = 0;
        while let Some(part) = next(&mut body).await.expect("the body goes on") {
            length += part.len() as u64;
        }
        assert_eq!(length, LARGE);
    });
    let (_, peak) = site.narthex.memory();
    assert!(
        peak < before + 48 * 1024 * 1024,
        "{before} before, {peak} at most"
    );
}

#[test]
fn a_reset_stream_ends_the_backends_request() {
    let ended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ended);
    let web = Backend::scripted("web", move |exchange| {
        use std::io::Read;
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nstart")?;
        let read = exchange.socket().read(&mut [0; 1]);
        flag.store(matches!(read, Ok(0) | Err(_)), Ordering::SeqCst);
        Ok(Then::Close)
    });
    let site = secure_with(web, &[]);
    block_on(async {
        let h2 = H2::connect(site.narthex.https, HOST).await;
        let request = Request::get("https://a.example/x")
            .body(())
            .expect("a request");
        let (response, mut stream) = h2.open(request, false).await.expect("a stream");
        let head = response.await.expect("a head");
        stream.send_reset(h2::Reason::CANCEL);
        drop((head, stream));
        for _ in 0..1000 {
            if ended.load(Ordering::SeqCst) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the backend's connection stays open");
    });
}

#[test]
fn a_backend_that_breaks_off_resets_the_stream_alone() {
    let web = Backend::scripted("web", |exchange| {
        if exchange.request.target == "/broken" {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")?;
            return Ok(Then::Close);
        }
        exchange.echo()
    });
    let site = secure_with(web, &[]);
    block_on(async {
        let h2 = H2::connect(site.narthex.https, HOST).await;
        let error = h2
            .get(HOST, "/broken")
            .await
            .expect_err("never taken for whole");
        assert!(error.is_reset() || error.is_remote(), "{error:?}");
        assert_eq!(
            h2.get(HOST, "/fine").await.expect("an answer").status,
            StatusCode::OK
        );
    });
}

#[test]
fn an_answer_of_ours_is_plain_text_here_too() {
    let (site, ..) = Site::secure(&[]);
    block_on(async {
        let h2 = H2::connect(site.narthex.https, "unknown.example").await;
        let answer = h2.get("unknown.example", "/").await.expect("an answer");
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert!(
            answer
                .header("content-type")
                .is_some_and(|kind| kind.starts_with("text/plain"))
        );
    });
}

#[test]
fn headers_too_large_are_431_and_the_connection_lives() {
    let (site, ..) = Site::secure(&["--max-header-bytes=8000"]);
    block_on(async {
        let h2 = H2::connect(site.narthex.https, HOST).await;
        let large = Request::get("https://a.example/x")
            .header("x-large", "x".repeat(12_000))
            .body(());
        match h2.open(large.expect("a request"), true).await {
            Ok((response, _)) => match finish(response).await {
                Ok(answer) => assert_eq!(answer.status.as_u16(), 431),
                Err(error) => assert!(error.is_reset() || error.is_remote(), "{error:?}"),
            },
            Err(error) => panic!("{error:?}"),
        }
        assert!(site.web.seen().is_empty());
    });
    assert_eq!(site.narthex.backend(HOST, "/"), "web");
}

#[test]
fn a_body_too_long_is_413() {
    let (site, ..) = Site::secure(&["--max-body-bytes=1000"]);
    let answer = block_on(async {
        let h2 = H2::connect(site.narthex.https, HOST).await;
        let request = Request::post("https://a.example/x")
            .body(())
            .expect("a request");
        let (response, mut stream) = h2.open(request, false).await.expect("a stream");
        // The answer may come before all is sent.
        let _ = send_all(&mut stream, Bytes::from(vec![0; 4000]), true).await;
        finish(response).await.expect("an answer")
    });
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[test]
fn who_reads_no_answer_before_a_body_is_sent_is_not_reset() {
    let (site, ..) = Site::secure(&["--max-body-bytes=1000"]);
    let answer = block_on(async {
        let h2 = H2::connect(site.narthex.https, HOST).await;
        let request = Request::post("https://a.example/x")
            .body(())
            .expect("a request");
        let (response, mut stream) = h2.open(request, false).await.expect("a stream");
        // More than its window has room for.
        for _ in 0..32 {
            let part = Bytes::from(vec![0; 64 * 1024]);
            send_all(&mut stream, part, false).await.expect("no reset");
        }
        send_all(&mut stream, Bytes::new(), true)
            .await
            .expect("no reset");
        finish(response).await.expect("an answer")
    });
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[test]
fn a_flood_of_resets_ends_the_connection_and_no_other() {
    let (site, ..) = Site::secure(&[]);
    block_on(async {
        let h2 = H2::connect(site.narthex.https, HOST).await;
        let mut ended = false;
        for index in 0..20_000 {
            let request = Request::get(format!("https://a.example/{index}")).body(());
            match h2.open(request.expect("a request"), false).await {
                Ok((_, mut stream)) => stream.send_reset(h2::Reason::CANCEL),
                Err(_) => {
                    ended = true;
                    break;
                }
            }
            if index % 50 == 0 {
                tokio::task::yield_now().await;
            }
        }
        let other = H2::connect(site.narthex.https, HOST).await;
        assert_eq!(
            other.get(HOST, "/").await.expect("an answer").status,
            StatusCode::OK
        );
        // Whether it ends or every reset is cheap, backends must not be flooded.
        let reached = site.web.seen().len();
        assert!(
            ended || reached < 10_000,
            "{reached} requests reached the backend"
        );
    });
}

#[test]
fn bad_paths_and_hosts_are_refused_as_over_http1() {
    let (site, ..) = Site::secure(&[]);
    block_on(async {
        let h2 = H2::connect(site.narthex.https, HOST).await;
        for path in ["/a/%2e%2e/b", "/a%00", "/a%zz", "/..%2fx"] {
            let status = h2.get(HOST, path).await.expect("an answer").status;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
        }
        let request = Request::get("https://a.example/x")
            .header("host", "b.example")
            .body(());
        let (response, _) = h2
            .open(request.expect("a request"), true)
            .await
            .expect("a stream");
        match finish(response).await {
            Ok(answer) if answer.status == StatusCode::OK => {
                assert_eq!(answer.echo().all("host"), [HOST]);
            }
            Ok(answer) => assert_eq!(answer.status, StatusCode::BAD_REQUEST),
            Err(error) => assert!(error.is_reset() || error.is_remote(), "{error:?}"),
        }
    });
    assert!(site.web.seen().iter().all(|request| request.target == "/x"));
}

#[test]
fn a_length_that_lies_never_reaches_the_backend_as_whole() {
    let (site, ..) = Site::secure(&[]);
    block_on(async {
        let h2 = H2::connect(site.narthex.https, HOST).await;
        let request = Request::post("https://a.example/x")
            .header("content-length", "100")
            .body(());
        let (response, mut stream) = h2
            .open(request.expect("a request"), false)
            .await
            .expect("a stream");
        stream
            .send_data(Bytes::from_static(b"short"), true)
            .expect("sent");
        match finish(response).await {
            Ok(answer) => assert!(answer.status.is_client_error(), "{answer:?}"),
            Err(error) => assert!(
                error.is_reset() || error.is_remote() || error.is_go_away(),
                "{error:?}"
            ),
        }
    });
}

#[test]
fn concurrent_streams_are_limited_by_a_flag() {
    let (site, ..) = Site::secure(&["--max-h2-streams=7"]);
    block_on(async {
        let h2 = H2::connect(site.narthex.https, HOST).await;
        // The server's settings come with the first answer.
        h2.get(HOST, "/").await.expect("an answer");
        assert_eq!(h2.send.current_max_send_streams(), 7);
    });
}

#[test]
fn early_hints_do_not_break_http2() {
    let web = Backend::scripted("web", |exchange| {
        exchange.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")?;
        exchange.echo()
    });
    let site = secure_with(web, &[]);
    let answer = block_on(async {
        H2::connect(site.narthex.https, HOST)
            .await
            .get(HOST, "/")
            .await
            .expect("an answer")
    });
    assert_eq!(answer.status, StatusCode::OK);
}

#[test]
fn nghttp_reads_the_site() {
    let (site, ..) = Site::secure(&[]);
    let url = format!("https://127.0.0.1:{}/", site.narthex.https);
    let output = std::process::Command::new("nghttp")
        .args([
            "--no-verify-peer",
            "--null-out",
            "--stat",
            "-H",
            ":authority: a.example",
            &url,
        ])
        .output()
        .expect("nghttp runs; `cargo xtask test` installs it");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains(" 200 "), "{text}");
}

#[test]
fn h2load_sees_no_failure() {
    let (site, ..) = Site::secure(&[]);
    let url = format!("https://127.0.0.1:{}/", site.narthex.https);
    let output = std::process::Command::new("h2load")
        .args(["-n2000", "-c8", "-m16", "-H", ":authority: a.example", &url])
        .output()
        .expect("h2load runs; `cargo xtask test` installs it");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"),
        "{text}"
    );
    assert!(text.contains("status codes: 2000 2xx"), "{text}");
}

#[test]
fn curl_posts_over_http2() {
    let (site, ..) = Site::secure(&[]);
    let port = site.narthex.https;
    let answer = curl(&[
        "--http2",
        "--insecure",
        "--resolve",
        &format!("{HOST}:{port}:127.0.0.1"),
        "--data",
        "hello=world",
        &format!("https://{HOST}:{port}/form"),
    ]);
    assert_eq!(
        (answer.status, answer.version.as_str()),
        (200, "2"),
        "{answer:?}"
    );
    assert!(
        answer.text.contains("\"body\":\"hello=world\""),
        "{}",
        answer.text
    );
    until("logged", || !site.narthex.access_log().is_empty());
}
