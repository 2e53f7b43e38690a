//! Endpoints that are told of the client by the PROXY protocol.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use program_tests::{
    Conn, Folder, HOST, Ingress, Narthex, eventually, ports, run, serve_with, service, until,
};

/// What each connection began with.
type Seen = Arc<Mutex<Vec<Vec<u8>>>>;

/// Keeps every connection open and records its first bytes: the header and one request's head.
fn recorder() -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let seen = Seen::default();
    let into = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let into = Arc::clone(&into);
            std::thread::spawn(move || {
                let index = {
                    let mut all = into.lock().expect("no panic");
                    all.push(Vec::new());
                    all.len() - 1
                };
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut bytes) {
                    let mut all = into.lock().expect("no panic");
                    all[index].extend_from_slice(&bytes[..count]);
                    let begins = |part: &[u8]| part.starts_with(b"GET ");
                    let ends =
                        all[index].ends_with(b"\r\n\r\n") && all[index].windows(4).any(begins);
                    drop(all);
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    if ends && stream.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, seen)
}

/// The Service `web` with annotations, as `name: value` without the prefix.
fn annotated(address: SocketAddr, annotations: &[(&str, &str)]) -> String {
    let annotations: String = annotations
        .iter()
        .map(|(name, value)| format!("    narthex.dev/{name}: {value:?}\n"))
        .collect();
    service("web", &[address]).replacen(
        "  namespace: default\n",
        &format!("  namespace: default\n  annotations:\n{annotations}"),
        1,
    )
}

fn site(address: SocketAddr, annotations: &[(&str, &str)], flags: &[&str]) -> (Narthex, Folder) {
    let ingress = Ingress::named("web").host(HOST).prefix("/", "web").yaml();
    serve_with(&[annotated(address, annotations), ingress], flags)
}

#[track_caller]
fn last(seen: &Seen) -> Vec<u8> {
    seen.lock()
        .expect("no panic")
        .last()
        .expect("a connection")
        .clone()
}

fn line(client: SocketAddr, listener: SocketAddr) -> String {
    let family = if client.is_ipv4() { 4 } else { 6 };
    let (from, to) = (client.ip(), listener.ip());
    let (from_port, to_port) = (client.port(), listener.port());
    format!("PROXY TCP{family} {from} {to} {from_port} {to_port}\r\n")
}

fn binary(client: SocketAddr, listener: SocketAddr) -> Vec<u8> {
    let mut addresses = Vec::new();
    for address in [client, listener] {
        match address.ip() {
            std::net::IpAddr::V4(ip) => addresses.extend(ip.octets()),
            std::net::IpAddr::V6(ip) => addresses.extend(ip.octets()),
        }
    }
    for address in [client, listener] {
        addresses.extend(address.port().to_be_bytes());
    }
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    bytes.push(if client.is_ipv4() { 0x11 } else { 0x21 });
    bytes.extend(u16::try_from(addresses.len()).expect("short").to_be_bytes());
    bytes.extend(addresses);
    bytes
}

/// The loopback addresses that this machine has.
fn loopbacks(port: u16) -> Vec<SocketAddr> {
    let mut all = vec![SocketAddr::from(([127, 0, 0, 1], port))];
    if ports::has_ipv6() {
        all.push(SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
    }
    all
}

#[test]
fn both_versions_tell_the_client_and_the_listener() {
    for version in ["v1", "v2"] {
        let (address, seen) = recorder();
        let (narthex, _folder) = site(address, &[("proxy-protocol", version)], &[]);
        for listener in loopbacks(narthex.http) {
            let mut conn = Conn::to(listener).expect("the listener accepts");
            assert_eq!(conn.get(HOST, "/").text(), "ok");
            let expected = match version {
                "v1" => line(conn.local(), listener).into_bytes(),
                _ => binary(conn.local(), listener),
            };
            let seen = last(&seen);
            let rest = seen.strip_prefix(&expected[..]);
            let rest = rest.unwrap_or_else(|| panic!("{version}: {seen:?}"));
            assert!(rest.starts_with(b"GET / HTTP/1.1\r\n"), "{seen:?}");
        }
    }
}

#[test]
fn without_the_annotation_nothing_is_sent_first() {
    let (address, seen) = recorder();
    let (narthex, _folder) = site(address, &[], &[]);
    assert_eq!(narthex.get(HOST, "/").text(), "ok");
    assert!(last(&seen).starts_with(b"GET / HTTP/1.1\r\n"));
}

#[test]
fn a_connection_that_tells_of_a_client_is_never_another_clients() {
    let (address, seen) = recorder();
    let (narthex, folder) = site(address, &[], &["--workers=1"]);
    let mut first = Conn::plain(narthex.http);
    // This one is kept, without a header, and must not be used after the change.
    assert_eq!(first.get(HOST, "/").text(), "ok");
    let ingress = Ingress::named("web").host(HOST).prefix("/", "web").yaml();
    let now = annotated(address, &[("proxy-protocol", "v1")]);
    folder.rename_over("site.yaml", &program_tests::docs(&[now, ingress]));
    until("the header is sent", || {
        assert_eq!(narthex.get(HOST, "/").text(), "ok");
        last(&seen).starts_with(b"PROXY")
    });
    let mut second = Conn::plain(narthex.http);
    for _ in 0..3 {
        for conn in [&mut first, &mut second] {
            assert_eq!(conn.get(HOST, "/").text(), "ok");
            let text = String::from_utf8(last(&seen)).expect("text");
            let port = format!(" {} {}\r\n", conn.local().port(), narthex.http);
            assert!(
                text.lines()
                    .next()
                    .expect("a line")
                    .ends_with(port.trim_end()),
                "{text}"
            );
            assert_eq!(text.matches("GET /").count(), 1, "{text}");
        }
    }
}

#[test]
fn a_client_behind_a_trusted_proxy_is_told_without_a_port() {
    let (address, seen) = recorder();
    let flags = ["--trusted-proxies=127.0.0.0/8"];
    let (narthex, _folder) = site(address, &[("proxy-protocol", "v1")], &flags);
    for (forwarded, expected) in [
        (
            "192.0.2.7",
            format!("PROXY TCP4 192.0.2.7 127.0.0.1 0 {}\r\n", narthex.http),
        ),
        (
            "2001:db8::7",
            format!(
                "PROXY TCP6 2001:db8::7 ::ffff:127.0.0.1 0 {}\r\n",
                narthex.http
            ),
        ),
    ] {
        let request =
            format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: {forwarded}\r\n\r\n");
        assert_eq!(Conn::plain(narthex.http).ask(&request).text(), "ok");
        let text = String::from_utf8(last(&seen)).expect("text");
        assert!(text.starts_with(&expected), "{text}");
    }
}

#[test]
fn a_client_that_a_load_balancer_tells_of_is_told_on() {
    let (address, seen) = recorder();
    let flags = ["--proxy-protocol", "--trusted-proxies=127.0.0.0/8"];
    let (narthex, _folder) = site(address, &[("proxy-protocol", "v1")], &flags);
    let request = format!(
        "PROXY TCP4 192.0.2.7 192.0.2.200 4321 80\r\nGET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
    );
    assert_eq!(Conn::plain(narthex.http).ask(&request).text(), "ok");
    let expected = format!("PROXY TCP4 192.0.2.7 127.0.0.1 4321 {}\r\n", narthex.http);
    let text = String::from_utf8(last(&seen)).expect("text");
    assert!(text.starts_with(&expected), "{text}");
}

#[test]
fn health_checks_come_from_nobody() {
    for (version, header) in [
        ("v1", &b"PROXY UNKNOWN\r\n"[..]),
        ("v2", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"),
    ] {
        let (address, seen) = recorder();
        let annotations = [
            ("proxy-protocol", version),
            ("health-check", "http:/health"),
            ("health-check-interval", "100ms"),
        ];
        let (_narthex, _folder) = site(address, &annotations, &[]);
        until("a health check comes", || {
            let expected = [header, b"GET /health HTTP/1.1\r\n"].concat();
            let seen = seen.lock().expect("no panic");
            seen.iter().any(|seen| seen.starts_with(&expected))
        });
    }
}

/// nginx that says whom it was told of; ended when dropped.
struct Nginx {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Nginx {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let text = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{
    listen {address} proxy_protocol;
    location / {{
      return 200 \"$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port\";
    }}
  }}
}}
"
        );
        let path = folder.path().join("nginx.conf");
        std::fs::write(&path, text).expect("a file");
        let child = Command::new("nginx")
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&path)
            .args(["-e", "stderr"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed: `cargo xtask test program` does it");
        let nginx = Self {
            child,
            address,
            _folder: folder,
        };
        eventually("nginx accepts", || Conn::to(address).ok());
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn nginx_understands_both_versions() {
    let nginx = Nginx::start();
    for version in ["v1", "v2"] {
        let annotations = [
            ("proxy-protocol", version),
            ("health-check", "http:/"),
            ("health-check-interval", "100ms"),
            // It is well, however long this machine holds it up.
            ("health-check-timeout", "30s"),
        ];
        let (narthex, _folder) = site(nginx.address, &annotations, &[]);
        for listener in loopbacks(narthex.http) {
            let mut conn = Conn::to(listener).expect("the listener accepts");
            let client = conn.local();
            let expected = format!(
                "{} {} {} {}",
                client.ip(),
                client.port(),
                listener.ip(),
                listener.port()
            );
            for _ in 0..3 {
                assert_eq!(conn.get(HOST, "/").text(), expected, "{version}");
            }
            let post = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\n\r\nbody");
            assert_eq!(conn.ask(&post).text(), expected, "{version}");
        }
        assert!(narthex.metrics().contains("narthex_endpoints_unhealthy 0"));
    }
}

#[test]
fn a_version_that_does_not_exist_is_a_problem_and_nothing_is_sent() {
    let (address, seen) = recorder();
    let (narthex, folder) = site(address, &[("proxy-protocol", "v3")], &[]);
    assert_eq!(narthex.get(HOST, "/").text(), "ok");
    assert!(last(&seen).starts_with(b"GET / "));
    let checked = run(&["check".as_ref(), folder.path().as_os_str()]);
    assert_eq!(checked.code, Some(1));
    let line = checked.line_with("narthex.dev/proxy-protocol");
    assert!(line.contains("v1 or v2"), "{line}");
}
