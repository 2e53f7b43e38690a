//! What HTTP/1 means on the way through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use program_tests::balancing::dead;
use program_tests::{Backend, HOST, Ingress, Site, Then, serve, service, until};

#[test]
fn header_names_keep_their_case_and_order_towards_http1_backends() {
    let site = Site::echo();
    let echo = site
        .get_with(
            "/",
            "X-UPPER: 1\r\nx-lower: 2\r\nX-mIxEd: 3\r\nX-UPPER: 4\r\n",
        )
        .echo();
    let names: Vec<_> = echo
        .headers
        .iter()
        .filter(|(name, _)| {
            ["x-upper", "x-lower", "x-mixed"].contains(&name.to_lowercase().as_str())
        })
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        names,
        [
            ("X-UPPER", "1"),
            ("x-lower", "2"),
            ("X-mIxEd", "3"),
            ("X-UPPER", "4")
        ]
    );
}

#[test]
fn response_header_names_keep_their_case_and_repetitions() {
    let web = Backend::answering(
        "web",
        b"HTTP/1.1 200 OK\r\nX-CuStOm: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: mine\r\n\
          Content-Length: 2\r\n\r\nok",
    );
    let site = Site::of(web, &[]);
    let answer = site.get("/");
    assert!(
        answer.headers.contains(&("X-CuStOm".into(), "1".into())),
        "{answer:?}"
    );
    assert_eq!(answer.all("set-cookie").collect::<Vec<_>>(), ["a=1", "b=2"]);
    assert_eq!(answer.header("server"), Some("mine"));
    assert_eq!(answer.text(), "ok");
}

#[test]
fn hop_by_hop_headers_of_requests_are_removed() {
    let site = Site::echo();
    let lines = "Connection: keep-alive, X-Secret, x-other\r\nKeep-Alive: timeout=5\r\n\
        Proxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: h2c\r\nProxy-Authorization: Basic x\r\n\
        X-Secret: 1\r\nX-Other: 2\r\nX-Kept: 3\r\n";
    let echo = site.get_with("/", lines).echo();
    for name in [
        "keep-alive",
        "proxy-connection",
        "te",
        "upgrade",
        "x-secret",
        "x-other",
    ] {
        assert_eq!(echo.header(name), None, "{name}: {:?}", echo.headers);
    }
    assert_eq!(echo.header("x-kept"), Some("3"));
    assert!(
        !format!("{:?}", echo.all("connection"))
            .to_lowercase()
            .contains("secret")
    );
}

#[test]
fn connection_cannot_name_away_what_the_proxy_says() {
    let site = Site::echo();
    let lines = "Connection: X-Forwarded-For, X-Real-IP, Host, Content-Length\r\n";
    let answer = site.get_with("/", lines);
    if answer.status == 200 {
        let echo = answer.echo();
        assert_eq!(echo.header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(echo.header("x-real-ip"), Some("127.0.0.1"));
        assert_eq!(echo.header("host"), Some(HOST));
    } else {
        assert_eq!(answer.status, 400);
    }
}

#[test]
fn hop_by_hop_headers_of_responses_are_removed() {
    let web = Backend::answering(
        "web",
        b"HTTP/1.1 200 OK\r\nConnection: close, X-Internal\r\nX-Internal: 1\r\n\
          Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nX-Kept: 2\r\nContent-Length: 2\r\n\r\nok",
    );
    let site = Site::of(web, &[]);
    let mut conn = site.conn();
    let answer = conn.get(HOST, "/");
    for name in ["x-internal", "keep-alive", "proxy-connection"] {
        assert_eq!(answer.header(name), None, "{answer:?}");
    }
    assert_eq!(answer.header("x-kept"), Some("2"));
    assert_eq!(
        conn.get(HOST, "/").status,
        200,
        "a backend's close is not the client's"
    );
}

#[test]
fn a_body_with_a_length_arrives_whole() {
    let site = Site::echo();
    let echo = site
        .conn()
        .ask("POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 11\r\n\r\nhello world")
        .echo();
    assert_eq!(
        (echo.method.as_str(), echo.body.as_str()),
        ("POST", "hello world")
    );
}

#[test]
fn a_chunked_body_arrives_whole_with_its_trailers() {
    let site = Site::echo();
    let echo = site
        .conn()
        .ask(
            "POST /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\
             Trailer: X-Sum\r\nTE: trailers\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 42\r\n\r\n",
        )
        .echo();
    assert_eq!(echo.body, "hello world");
    assert_eq!(echo.trailers, [("X-Sum".to_owned(), "42".to_owned())]);
}

#[test]
fn response_trailers_reach_the_client() {
    let web = Backend::answering(
        "web",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
          5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n",
    );
    let site = Site::of(web, &[]);
    let answer = site.get_with("/", "TE: trailers\r\n");
    assert_eq!(answer.text(), "hello");
    assert_eq!(answer.trailers, [("X-Sum".to_owned(), "7".to_owned())]);
}

#[test]
fn forbidden_trailers_do_not_become_headers() {
    let site = Site::echo();
    let mut conn = site.conn();
    conn.send(
        "POST /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\nContent-Length: 5\r\nHost: evil.example\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    let answer = conn.response();
    if answer.status == 200 {
        let echo = answer.echo();
        for (name, _) in &echo.trailers {
            let name = name.to_lowercase();
            assert!(!["content-length", "host", "transfer-encoding"].contains(&name.as_str()));
        }
    } else {
        assert_eq!(answer.status, 400);
    }
}

#[test]
fn a_response_that_ends_with_its_connection_is_delimited_for_the_client() {
    let web = Backend::answering("web", b"HTTP/1.0 200 OK\r\nX-Old: 1\r\n\r\nuntil the end");
    let site = Site::of(web, &[]);
    let mut conn = site.conn();
    assert_eq!(conn.get(HOST, "/").text(), "until the end");
    assert_eq!(conn.get(HOST, "/").text(), "until the end");
}

#[test]
fn http_1_0_clients_are_served_and_their_connection_closed() {
    let site = Site::echo();
    let mut conn = site.conn();
    let answer = conn.ask("GET / HTTP/1.0\r\nHost: a.example\r\n\r\n");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.echo().version, "HTTP/1.1", "towards the backend");
    assert!(conn.is_closed_within(Duration::from_secs(15)));
}

#[test]
fn http_1_0_clients_may_keep_their_connection() {
    let site = Site::echo();
    let mut conn = site.conn();
    for _ in 0..2 {
        let answer =
            conn.ask("GET / HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(answer.status, 200);
        assert!(
            answer
                .header("connection")
                .is_some_and(|value| value.eq_ignore_ascii_case("keep-alive"))
        );
    }
}

#[test]
fn http_1_0_clients_never_see_chunks() {
    let web = Backend::answering(
        "web",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let site = Site::of(web, &[]);
    let answer = site.conn().ask("GET / HTTP/1.0\r\nHost: a.example\r\n\r\n");
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!(answer.text(), "hello");
}

#[test]
fn head_has_the_headers_and_no_body() {
    let site = Site::echo();
    let mut conn = site.conn();
    let answer = conn.ask("HEAD /x HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .header("content-length")
            .is_some_and(|length| length != "0")
    );
    assert!(answer.body.is_empty());
    assert_eq!(
        conn.get(HOST, "/y").echo().target,
        "/y",
        "the connection is in step"
    );
}

#[test]
fn responses_without_body_keep_the_connection_in_step() {
    let web = Backend::scripted("web", |exchange| {
        exchange.read_body()?;
        match exchange.request.target.as_str() {
            "/204" => exchange.send("HTTP/1.1 204 No Content\r\n\r\n")?,
            "/304" => exchange.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n")?,
            _ => return exchange.reply("body"),
        }
        Ok(Then::Keep)
    });
    let site = Site::of(web, &[]);
    let mut conn = site.conn();
    assert_eq!(conn.get(HOST, "/204").status, 204);
    assert_eq!(conn.get(HOST, "/304").status, 304);
    assert_eq!(conn.get(HOST, "/200").text(), "body");
}

#[test]
fn informational_responses_are_passed_on() {
    let web = Backend::scripted("web", |exchange| {
        exchange.send(
            "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n\
             HTTP/1.1 102 Processing\r\n\r\n",
        )?;
        exchange.reply("done")
    });
    let site = Site::of(web, &[]);
    let answer = site.get("/");
    assert_eq!(answer.text(), "done");
    let (status, headers) = &answer.informational[0];
    assert_eq!(*status, 103);
    assert_eq!(
        headers[0],
        ("Link".to_owned(), "</style.css>; rel=preload".to_owned())
    );
    let old = site.conn().ask("GET / HTTP/1.0\r\nHost: a.example\r\n\r\n");
    assert!(old.informational.is_empty(), "HTTP/1.0 knows no 1xx");
    assert_eq!(old.text(), "done");
}

#[test]
fn expect_100_continue_lets_the_body_follow() {
    let site = Site::echo();
    let mut conn = site.conn();
    conn.send(
        "POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    );
    let interim = conn.try_head().expect("an interim response");
    assert_eq!(interim.status, 100);
    conn.send("hello");
    let answer = conn.response();
    assert_eq!(answer.echo().body, "hello");
}

#[test]
fn a_refusal_instead_of_100_continue_reaches_the_client() {
    let web = Backend::scripted("web", |exchange| {
        exchange
            .send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")?;
        Ok(Then::Close)
    });
    let site = Site::of(web, &[]);
    let answer = site.conn().ask(
        "POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let site = Site::echo();
    let mut conn = site.conn();
    let mut requests = String::new();
    for index in 0..10 {
        requests += &format!("GET /{index} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    }
    conn.send(requests);
    for index in 0..10 {
        assert_eq!(conn.response().echo().target, format!("/{index}"));
    }
}

#[test]
fn connections_to_backends_are_kept_and_shared() {
    let site = Site::with_flags(&["--workers=1"]);
    for index in 0..20 {
        assert_eq!(site.get(&format!("/{index}")).status, 200);
    }
    let connections = site.web.connections();
    assert!(
        connections <= 2,
        "{connections} connections for 20 requests one after another"
    );
}

#[test]
fn a_kept_connection_that_the_backend_closed_costs_no_request() {
    let web = Backend::scripted("web", |exchange| {
        // Says that it will be kept, and closes it after the answer.
        exchange.echo()?;
        Ok(Then::Close)
    });
    let site = Site::of(web, &[]);
    let mut conn = site.conn();
    for index in 0..50 {
        let answer = conn.get(HOST, &format!("/{index}"));
        assert_eq!(answer.status, 200, "request {index}");
        if index % 5 == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_backend_that_refuses_connections_is_502_with_the_reason_in_the_log() {
    let gone = dead();
    let (narthex, _folder) = serve(&[
        service("web", &[gone.address()]),
        Ingress::named("web").host(HOST).prefix("/", "web").yaml(),
    ]);
    let answer = narthex.get(HOST, "/x");
    assert_eq!(answer.status, 502);
    assert!(
        answer
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain"))
    );
    let line = narthex.access("/x");
    assert!(
        line["reason"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty()),
        "{line}"
    );
    assert_eq!(line["backend"], "default/web:http");
}

#[test]
fn a_backend_that_speaks_no_http_is_502() {
    for (path, garbage) in [
        ("/text", &b"SSH-2.0-OpenSSH_9\r\n\r\n"[..]),
        (
            "/two",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        ),
        (
            "/bare",
            b"HTTP/1.1 200 OK\r\nX: a\nb\r\rContent-Length: 0\r\n\r\n",
        ),
        (
            "/negative",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        ),
    ] {
        let site = Site::of(Backend::answering("web", garbage), &[]);
        assert_eq!(site.get(path).status, 502, "{path}");
        assert!(site.narthex.access(path)["reason"].is_string());
    }
}

#[test]
fn a_backend_that_closes_without_an_answer_is_502() {
    let web = Backend::scripted("web", |_| Ok(Then::Close));
    let site = Site::of(web, &[]);
    assert_eq!(site.get("/x").status, 502);
    let post = site
        .conn()
        .ask("POST /y HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(post.status, 502);
}

#[test]
fn a_post_is_never_sent_twice() {
    let web = Backend::scripted("web", |exchange| {
        exchange.read_body()?;
        Ok(Then::Close)
    });
    let site = Site::of(web, &[]);
    let answer = site
        .conn()
        .ask("POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(answer.status, 502);
    assert_eq!(site.web.seen().len(), 1);
}

#[test]
fn a_response_cut_short_is_cut_short_for_the_client() {
    let web = Backend::answering(
        "web",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
    );
    let site = Site::of(web, &[]);
    let mut conn = site.conn();
    conn.send("GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n");
    conn.try_response(false)
        .expect_err("never taken for a whole response");
    assert!(site.narthex.access("/x")["reason"].is_string());
}

#[test]
fn a_chunked_response_cut_short_has_no_last_chunk() {
    let web = Backend::answering(
        "web",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    );
    let site = Site::of(web, &[]);
    let mut conn = site.conn();
    conn.send("GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert!(conn.try_response(false).is_err());
}

#[test]
fn a_backends_own_error_passes_as_it_is() {
    let web = Backend::answering("web", b"HTTP/1.1 502 Mine\r\nContent-Length: 4\r\n\r\nmine");
    let site = Site::of(web, &[]);
    let answer = site.get("/x");
    assert_eq!((answer.status, answer.text().as_str()), (502, "mine"));
    assert!(
        site.narthex.access("/x")["reason"].is_null(),
        "not our answer"
    );
}

#[test]
fn an_answer_before_the_end_of_the_body_reaches_the_client() {
    let web = Backend::scripted("web", |exchange| {
        exchange
            .send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")?;
        std::thread::sleep(Duration::from_millis(200));
        Ok(Then::Close)
    });
    let site = Site::of(web, &[]);
    let mut conn = site.conn();
    conn.send("POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100000000\r\n\r\nfirst");
    let answer = conn.response();
    assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
}

#[test]
fn a_client_that_goes_away_ends_the_backends_request() {
    let ended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ended);
    let web = Backend::scripted("web", move |exchange| {
        use std::io::Read;
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nstart")?;
        let mut byte = [0; 1];
        // The proxy says nothing more on this connection; it can only close it.
        let read = exchange.socket().read(&mut byte);
        flag.store(matches!(read, Ok(0) | Err(_)), Ordering::SeqCst);
        Ok(Then::Close)
    });
    let site = Site::of(web, &[]);
    let mut conn = site.conn();
    conn.send("GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(conn.try_head().expect("a head").status, 200);
    drop(conn);
    until("the backend's connection closes", || {
        ended.load(Ordering::SeqCst)
    });
    assert_eq!(site.narthex.access("/x")["path"], "/x");
}

#[test]
fn methods_that_nobody_knows_pass() {
    let site = Site::echo();
    for method in [
        "PROPFIND", "QUERY", "X-CUSTOM", "DELETE", "PATCH", "OPTIONS",
    ] {
        let answer = site
            .conn()
            .ask(&format!("{method} /x HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert_eq!(answer.echo().method, method);
    }
}

#[test]
fn connect_is_refused() {
    let site = Site::echo();
    let answer = site
        .conn()
        .ask("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n");
    assert!((400..600).contains(&answer.status), "{answer:?}");
    assert!(site.web.seen().is_empty());
}

#[test]
fn a_get_with_a_body_keeps_it() {
    let site = Site::echo();
    let mut conn = site.conn();
    let echo = conn
        .ask("GET /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello")
        .echo();
    assert_eq!((echo.body.as_str(), echo.body_length), ("hello", 5));
    assert_eq!(conn.get(HOST, "/y").echo().target, "/y");
}

#[test]
fn small_writes_of_a_backend_reach_the_client_at_once() {
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    let web = Backend::scripted("web", move |exchange| {
        exchange.send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        for index in 0..2 {
            exchange.send(format!("8\r\ndata: {index}\n\r\n"))?;
            // An event stream is silent between its events: here, until the client has this one.
            while count.load(Ordering::SeqCst) == index {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        exchange.send("0\r\n\r\n")?;
        Ok(Then::Keep)
    });
    let site = Site::of(web, &[]);
    let mut conn = site.conn();
    conn.send("GET /events HTTP/1.1\r\nHost: a.example\r\n\r\n");
    conn.try_head().expect("the head comes before the end");
    for event in ["data: 0\n", "data: 1\n"] {
        let chunk = conn.chunk().expect("a chunk").expect("not the last");
        assert_eq!(chunk, event.as_bytes());
        heard.fetch_add(1, Ordering::SeqCst);
    }
    assert_eq!(conn.chunk().expect("the end"), None);
}

#[test]
fn a_server_error_page_of_ours_keeps_the_connection_for_more() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let web = Backend::scripted("web", move |exchange| {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            Ok(Then::Close)
        } else {
            exchange.reply("ok")
        }
    });
    let site = Site::of(web, &[]);
    let mut conn = site.conn();
    conn.send("POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n");
    let first = conn.response();
    assert_eq!(first.status, 502);
    if first.header("connection") != Some("close") {
        assert_eq!(conn.get(HOST, "/").text(), "ok");
    }
}
