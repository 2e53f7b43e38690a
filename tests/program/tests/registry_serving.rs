//! How the registry is served: TLS, limits, metrics, and beside the ingress.

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use program_tests::certificate::Authority;
use program_tests::registry::{Registry, digest};
use program_tests::{Conn, Folder, Narthex, class, curl, eventually, ports, run, until};

#[test]
fn it_speaks_tls_and_takes_a_new_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (first, second) = (Authority::new(), Authority::new());
    let write = |authority: &Authority| {
        let certificate = authority.ecdsa(&["localhost"]);
        fs::write(path("tls.key"), &certificate.key_pem).expect("a file");
        fs::write(path("tls.crt"), &certificate.chain_pem).expect("a file");
    };
    write(&first);
    fs::write(path("first.pem"), &first.pem).expect("a file");
    fs::write(path("second.pem"), &second.pem).expect("a file");
    let flags = [
        "--tls-cert-file",
        &path("tls.crt"),
        "--tls-key-file",
        &path("tls.key"),
    ];
    let registry = Registry::with(&flags);
    let url = registry.host().replace("127.0.0.1", "https://localhost") + "/v2/";
    let status = |authority: &str| curl(&["--cacert", &path(authority), &url]).status;
    assert_eq!((status("first.pem"), status("second.pem")), (200, 0));
    write(&second);
    until("the new certificate is shown", || {
        status("second.pem") == 200
    });
    // A key that does not fit changes nothing.
    fs::write(path("tls.key"), &first.ecdsa(&["localhost"]).key_pem).expect("a file");
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(status("second.pem"), 200);
}

/// Waits until a line is among the metrics: requests are counted when they have been answered.
#[track_caller]
fn until_counted(port: u16, line: &str) {
    let url = format!("http://127.0.0.1:{port}/metrics");
    until(line, || curl(&[&url]).text.lines().any(|it| it == line));
}

#[test]
fn slow_clients_are_ended() {
    let registry = Registry::with(&["--header-timeout=6s", "--body-timeout=6s"]);
    let mut silent = registry.connect();
    silent.send("GET /v2/ HTTP/1.1\r\n");
    let mut idle = registry.connect();
    assert_eq!(idle.get("a", "/v2/").status, 200);
    assert!(silent.is_closed_within(Duration::from_secs(20)));
    assert!(idle.is_closed_within(Duration::from_secs(20)));
    let place = registry.begin("a");
    let mut stuck = registry.connect();
    let head = format!("PATCH {place} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
    stuck.send(head + "01234");
    let answer = stuck.response();
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(answer.header("range"), Some("0-4"));
    let rest = format!("{place}?digest={}", digest(b"0123456789"));
    assert_eq!(registry.ask("PUT", &rest, &[], b"56789").status, 201);
}

#[test]
fn a_byte_now_and_then_keeps_no_turn_from_others() {
    let registry = Registry::with(&["--max-uploads=1", "--body-timeout=2s"]);
    let (place, other) = (registry.begin("a"), registry.begin("a"));
    let mut slow = registry.connect();
    slow.send(format!(
        "PATCH {place} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
    ));
    let push = || registry.ask("PATCH", &other, &[], b"").status;
    until("it has the turn", || push() == 429);
    let mut writer = slow.socket().try_clone().expect("a socket");
    let dripping = std::thread::spawn(move || {
        // Until the registry has closed it.
        while writer.write_all(b"0").is_ok() {
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    let answer = slow.response();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("too slow"), "{}", answer.text());
    // What came is kept, and others have the turn.
    assert!(answer.header("range").is_some_and(|it| it != "0-0"));
    until("another upload has it", || push() == 202);
    drop(slow);
    dripping.join().expect("it ends");
}

#[test]
fn what_is_too_much_at_once_is_refused() {
    let registry = Registry::with(&["--max-uploads=1", "--max-header-bytes=8KiB"]);
    let place = registry.begin("a");
    let mut first = registry.connect();
    first.send(format!(
        "PATCH {place} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234"
    ));
    let other = registry.begin("a");
    until("another upload is told to wait", || {
        let answer = registry.ask("PATCH", &other, &[], b"");
        answer.status == 429 && Registry::code(&answer) == "TOOMANYREQUESTS"
    });
    first.send("56789");
    assert_eq!(first.response().status, 202);
    let mut large = registry.connect();
    let field = "a".repeat(40_000);
    large.send(format!("GET /v2/ HTTP/1.1\r\nX: {field}\r\n\r\n"));
    // It may end before all of it is read, and then nobody hears why.
    if let Ok(answer) = large.try_response(false) {
        assert_eq!(answer.status, 431);
    }
}

#[test]
fn uploads_that_are_begun_and_not_finished_are_limited() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = ports::free();
    let flags = [
        "--max-begun-uploads=2",
        &format!("--metrics-address=127.0.0.1:{port}"),
    ];
    let mut before = Registry::on(folder.path(), &flags);
    let first = before.begin("a");
    before.kill();
    // The next process counts what that one has left.
    let registry = Registry::on(folder.path(), &flags);
    let second = registry.begin("b");
    let begin = || registry.ask("POST", "/v2/c/blobs/uploads/", &[], b"");
    let refused = begin();
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(Registry::code(&refused), "TOOMANYREQUESTS");
    assert!(refused.text().contains("--max-begun-uploads"));
    assert!(refused.header("retry-after").is_some());
    // One that is cancelled and one that is finished make room.
    assert_eq!(registry.status("DELETE", &first), 204);
    assert_eq!(begin().status, 202);
    assert_eq!(begin().status, 429);
    let path = format!("{second}?digest={}", digest(b"content"));
    assert_eq!(registry.ask("PUT", &path, &[], b"content").status, 201);
    assert_eq!(begin().status, 202);
    // So does what the collection takes, all of it here.
    let storage = folder.path().display().to_string();
    let collected = run(&["registry", "gc", "--storage", &storage, "--grace=0s"]);
    assert_eq!(collected.code, Some(0), "{}", collected.said());
    assert_eq!(
        [begin().status, begin().status, begin().status],
        [202, 202, 429]
    );
    until_counted(
        port,
        "narthex_registry_refusals_total{reason=\"begun_uploads\"} 3",
    );
}

#[test]
fn what_comes_of_uploads_that_are_not_finished_is_limited() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = ports::free();
    let flags = [
        "--max-blob-size=1000",
        "--max-begun-bytes=1500",
        &format!("--metrics-address=127.0.0.1:{port}"),
    ];
    let mut before = Registry::on(folder.path(), &flags);
    let first = before.begin("a");
    assert_eq!(before.ask("PATCH", &first, &[], &[1; 900]).status, 202);
    before.kill();
    // The next process counts what has come of it.
    let registry = Registry::on(folder.path(), &flags);
    let second = registry.begin("b");
    let patch = |place: &str, size| registry.ask("PATCH", place, &[], &vec![2; size]);
    let refused = patch(&second, 700);
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(Registry::code(&refused), "TOOMANYREQUESTS");
    assert!(refused.text().contains("--max-begun-bytes"));
    assert!(refused.header("retry-after").is_some());
    // Also where nobody says before how much comes. Nothing of it is kept.
    let mut connection = registry.connect();
    let piece = "2".repeat(350);
    connection.send(format!(
        "PATCH {second} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         15e\r\n{piece}\r\n15e\r\n{piece}\r\n0\r\n\r\n"
    ));
    assert_eq!(connection.response().status, 429);
    let range = patch(&second, 500);
    assert_eq!((range.status, range.header("range")), (202, Some("0-499")));
    let third = registry.begin("c");
    assert_eq!(patch(&third, 200).status, 429);
    // One that is finished and one that is cancelled make room.
    let path = format!("{first}?digest={}", digest(&[1; 900]));
    assert_eq!(registry.ask("PUT", &path, &[], b"").status, 201);
    assert_eq!(patch(&third, 900).status, 202);
    let fourth = registry.begin("d");
    assert_eq!(patch(&fourth, 200).status, 429);
    assert_eq!(registry.status("DELETE", &second), 204);
    assert_eq!(patch(&fourth, 600).status, 202);
    assert_eq!(patch(&fourth, 1).status, 429);
    // So does what the collection takes.
    let storage = folder.path().display().to_string();
    let collected = run(&["registry", "gc", "--storage", &storage, "--grace=0s"]);
    assert_eq!(collected.code, Some(0), "{}", collected.said());
    let fifth = registry.begin("e");
    assert_eq!(patch(&fifth, 1000).status, 202);
    let sixth = registry.begin("f");
    assert_eq!(patch(&sixth, 500).status, 202);
    let path = format!("{sixth}?digest={}", digest(&[2; 500]));
    assert_eq!(
        registry.ask("PUT", &path, &[], b"").status,
        201,
        "nothing more comes"
    );
    until_counted(
        port,
        "narthex_registry_refusals_total{reason=\"begun_bytes\"} 5",
    );
}

#[test]
fn refusals_are_counted_by_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let users = folder.path().join("users");
    // `sesame` by bcrypt, of the least cost.
    let hash = "$2y$04$abcdefghijklmnopqrstuuinwY/tkBVrn3xrxQI/TgnMHhkvl85RW";
    fs::write(&users, format!("alice:{hash}\n")).expect("a file");
    let port = ports::free();
    let registry = Registry::with(&[
        &format!("--metrics-address=127.0.0.1:{port}"),
        &format!("--htpasswd-file={}", users.display()),
        "--max-blob-size=10",
    ]);
    let right = "Authorization: Basic YWxpY2U6c2VzYW1l";
    assert_eq!(registry.status("GET", "/v2/"), 401);
    let wrong = "Authorization: Basic YWxpY2U6d3Jvbmc=";
    assert_eq!(registry.ask("GET", "/v2/", &[wrong], b"").status, 401);
    let path = format!("/v2/a/blobs/uploads/?digest={}", digest(&[0; 20]));
    assert_eq!(registry.ask("POST", &path, &[right], &[0; 20]).status, 413);
    assert_eq!(
        registry.ask("GET", "/v2/a/tags/list", &[right], b"").status,
        404
    );
    for reason in ["no_credentials", "credentials", "size"] {
        let line = format!("narthex_registry_refusals_total{{reason=\"{reason}\"}} 1");
        until_counted(port, &line);
    }
    let metrics = curl(&[&format!("http://127.0.0.1:{port}/metrics")]).text;
    let lines: Vec<_> = metrics
        .lines()
        .filter(|line| line.starts_with("narthex_registry_refusals_total"))
        .collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
}

#[test]
fn connections_beyond_the_limit_are_closed() {
    let registry = Registry::with(&["--max-connections=2"]);
    let mut held = Vec::new();
    // The one that saw the registry listen may still be counted.
    until("two connections are held", || {
        let mut connection = registry.connect();
        connection.send("GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n");
        if connection.try_response(false).is_ok() {
            held.push(connection);
        }
        held.len() == 2
    });
    let mut further = registry.connect();
    assert!(further.is_closed_within(Duration::from_secs(20)));
    assert_eq!(held[0].get("a", "/v2/").status, 200);
}

#[test]
fn requests_are_counted() {
    let port = ports::free();
    let registry = Registry::with(&[&format!("--metrics-address=127.0.0.1:{port}")]);
    registry.push_image("a", "v1", b"layer");
    until_counted(
        port,
        "narthex_registry_requests_total{about=\"manifest\",method=\"PUT\",code=\"201\"} 1",
    );
    let health = curl(&[&format!("http://127.0.0.1:{port}/healthz")]);
    assert_eq!(health.status, 200);
}

#[test]
fn it_is_served_beside_the_ingress() {
    let images = tempfile::tempdir().expect("a folder");
    let storage = images.path().display().to_string();
    let port = ports::free();
    let address = format!("127.0.0.1:{port}");
    let folder = Folder::of(&[class()]);
    let flags = ["--registry", &address, "--registry-storage", &storage];
    let mut narthex = Narthex::on(&folder).args(&flags).start();
    let answer = program_tests::Conn::plain(port).get("a", "/v2/");
    assert_eq!(answer.status, 200);
    let counted = "narthex_registry_requests_total{about=\"base\"";
    until(counted, || narthex.metrics().contains(counted));
    narthex.signal(rustix::process::Signal::TERM);
    assert!(narthex.ended_within(Duration::from_secs(20)).success());
    // The folder is free again.
    let registry = Registry::on(images.path(), &[]);
    registry.push_image("a", "v1", b"layer");
}

#[test]
fn a_process_that_takes_over_takes_the_storage_when_the_one_before_has_ended_its_own() {
    let images = tempfile::tempdir().expect("a folder");
    let storage = images.path().display().to_string();
    let port = ports::free();
    let address = format!("127.0.0.1:{port}");
    let folder = Folder::of(&[class()]);
    let flags = ["--registry", &address, "--registry-storage", &storage];
    let mut old = Narthex::on(&folder).args(&flags).start();
    // More than the sockets' buffers hold.
    let layer: Vec<u8> = (0..10_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let pushed = digest(&layer);
    let ask = |request: String, body: &[u8]| {
        let mut connection = Conn::plain(port);
        connection.set_read_timeout(Duration::from_secs(60));
        connection.send(request);
        connection.send(body);
        connection.response()
    };
    let put = format!(
        "POST /v2/a/blobs/uploads/?digest={pushed} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        layer.len()
    );
    let answer = ask(put, &layer);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let begun = ask(
        "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".to_owned(),
        b"",
    );
    let place = begun.header("location").expect("a place").to_owned();
    // A pull and an upload that are under way while the process is replaced.
    let mut pulling = Conn::plain(port);
    pulling.set_read_timeout(Duration::from_secs(60));
    pulling.send(format!(
        "GET /v2/a/blobs/{pushed} HTTP/1.1\r\nHost: a\r\n\r\n"
    ));
    let mut sending = Conn::plain(port);
    sending.send(format!(
        "PATCH {place} HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nfour"
    ));
    until("the pull has begun", || {
        let requests =
            "narthex_registry_requests_total{about=\"blob\",method=\"GET\",code=\"200\"}";
        old.metrics().contains(requests)
    });
    let new = Narthex::on(&folder).args(&flags).after(&old).start();
    // It waits: the one before has the storage's lock as long as that is under way.
    std::thread::sleep(Duration::from_millis(600));
    assert!(!new.log().contains("images of"), "{}", new.log());
    sending.send("more");
    let sent = sending.response();
    assert_eq!((sent.status, sent.header("range")), (202, Some("0-7")));
    let pulled = pulling.response();
    assert_eq!(pulled.status, 200);
    assert!(pulled.body == layer, "{} bytes", pulled.body.len());
    assert!(old.ended_within(Duration::from_secs(60)).success());
    new.until_log("images of");
    let get = |path: &str| {
        eventually("the new process answers", || {
            let mut connection = Conn::to(([127, 0, 0, 1], port).into()).ok()?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            connection.write_all(request.as_bytes()).ok()?;
            connection.try_response(false).ok()
        })
    };
    assert!(get(&format!("/v2/a/blobs/{pushed}")).body == layer);
    // The upload goes on in the new one.
    assert_eq!(get(&place).header("range"), Some("0-7"));
    let whole = digest(b"fourmore");
    let end =
        format!("PUT {place}?digest={whole} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    let ended = ask(end, b"");
    assert_eq!(ended.status, 201, "{}", ended.text());
    drop(new);
    Registry::assert_whole(images.path());
}
