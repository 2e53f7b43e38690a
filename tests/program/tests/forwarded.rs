//! What a backend is told about the client.

use std::net::SocketAddr;

use program_tests::tls::Client;
use program_tests::{Conn, HOST, Site, ports};

const SPOOFED: &str = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
    X-Forwarded-Host: evil.example\r\nX-Forwarded-Port: 666\r\nX-Real-IP: 6.6.6.6\r\n\
    Forwarded: for=6.6.6.6\r\nX-Request-ID: spoofed\r\n";

#[test]
fn a_backend_is_told_client_scheme_host_and_port() {
    let site = Site::echo();
    let echo = site.get("/").echo();
    assert_eq!(echo.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(echo.all("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(echo.all("x-forwarded-proto"), ["http"]);
    assert_eq!(echo.all("x-forwarded-host"), [HOST]);
    assert_eq!(
        echo.all("x-forwarded-port"),
        [site.narthex.http.to_string()]
    );
    assert_eq!(echo.all("host"), [HOST], "the Host itself stays");
}

#[test]
fn over_tls_the_scheme_is_https() {
    let (site, ..) = Site::secure(&[]);
    let (mut conn, _) = Client::trusting_anything()
        .connect(site.narthex.https, HOST)
        .expect("a handshake");
    let echo = conn.get(HOST, "/").echo();
    assert_eq!(echo.all("x-forwarded-proto"), ["https"]);
    assert_eq!(
        echo.all("x-forwarded-port"),
        [site.narthex.https.to_string()]
    );
}

#[test]
fn forwarded_headers_from_untrusted_clients_are_replaced() {
    let site = Site::echo();
    let echo = site.get_with("/", SPOOFED).echo();
    assert_eq!(echo.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(echo.all("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(echo.all("x-forwarded-proto"), ["http"]);
    assert_eq!(echo.all("x-forwarded-host"), [HOST]);
    assert_eq!(
        echo.all("x-forwarded-port"),
        [site.narthex.http.to_string()]
    );
    let all = format!("{:?}", echo.headers);
    assert!(
        !all.contains("6.6.6.6") && !all.contains("evil.example"),
        "{all}"
    );
}

#[test]
fn forwarded_headers_from_trusted_proxies_are_kept() {
    let site = Site::with_flags(&["--trusted-proxies", "127.0.0.0/8,::1/128"]);
    let lines = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: public.example\r\nX-Forwarded-Port: 443\r\nX-Request-ID: abc-123\r\n";
    let echo = site.get_with("/x", lines).echo();
    let chain = echo.all("x-forwarded-for").join(", ").replace(' ', "");
    assert!(chain.starts_with("203.0.113.7"), "{chain}");
    assert_eq!(echo.all("x-real-ip"), ["203.0.113.7"]);
    assert_eq!(echo.all("x-forwarded-proto"), ["https"]);
    assert_eq!(echo.all("x-forwarded-host"), ["public.example"]);
    assert_eq!(echo.all("x-forwarded-port"), ["443"]);
    assert_eq!(echo.all("x-request-id"), ["abc-123"]);
    assert_eq!(site.narthex.access("/x")["client"], "203.0.113.7");
}

#[test]
fn the_client_is_the_last_address_that_no_trusted_proxy_has() {
    let site = Site::with_flags(&["--trusted-proxies=127.0.0.0/8,10.0.0.0/8"]);
    let lines = "X-Forwarded-For: 6.6.6.6, 203.0.113.7, 10.0.0.5\r\n";
    let echo = site.get_with("/x", lines).echo();
    assert_eq!(echo.all("x-real-ip"), ["203.0.113.7"]);
    assert_eq!(site.narthex.access("/x")["client"], "203.0.113.7");
}

#[test]
fn an_unparsable_forwarded_for_does_not_name_the_client() {
    let site = Site::with_flags(&["--trusted-proxies=127.0.0.0/8"]);
    let echo = site
        .get_with("/", "X-Forwarded-For: unknown, <script>\r\n")
        .echo();
    assert_eq!(echo.all("x-real-ip"), ["127.0.0.1"]);
}

#[test]
fn a_request_id_is_made_for_each_request() {
    let site = Site::echo();
    let id = |path: &str| {
        site.get(path)
            .echo()
            .header("x-request-id")
            .expect("made")
            .to_owned()
    };
    let (one, two) = (id("/one"), id("/two"));
    assert_ne!(one, two);
    assert!(one.len() >= 16, "{one}");
    assert_eq!(site.narthex.access("/one")["request_id"], one);
}

#[test]
fn a_request_id_of_an_untrusted_client_is_replaced() {
    let site = Site::echo();
    let echo = site.get_with("/", "X-Request-ID: mine\r\n").echo();
    assert_eq!(echo.all("x-request-id").len(), 1);
    assert_ne!(echo.header("x-request-id"), Some("mine"));
}

#[test]
fn bad_cidrs_are_refused_at_start() {
    let folder = program_tests::Folder::new();
    let ended = program_tests::Narthex::on(&folder)
        .arg("--trusted-proxies=10.0.0.0/99")
        .fail();
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("10.0.0.0/99"), "{}", ended.said());
}

#[test]
fn ipv6_clients_are_served_and_named() {
    assert!(
        ports::has_ipv6(),
        "this machine has no IPv6 loopback, which these tests need"
    );
    let site = Site::echo();
    let address: SocketAddr = format!("[::1]:{}", site.narthex.http)
        .parse()
        .expect("an address");
    let echo = Conn::to(address)
        .expect("listens on IPv6")
        .get(HOST, "/six")
        .echo();
    assert_eq!(echo.all("x-forwarded-for"), ["::1"]);
    assert_eq!(echo.all("x-real-ip"), ["::1"]);
    assert_eq!(site.narthex.access("/six")["client"], "::1");
}

#[test]
fn an_ipv4_client_is_never_shown_as_mapped_ipv6() {
    let site = Site::with_flags(&["--bind-address=::"]);
    let mut answered = 0;
    for address in ["127.0.0.1", "[::ffff:127.0.0.1]"] {
        let address: SocketAddr = format!("{address}:{}", site.narthex.http)
            .parse()
            .expect("an address");
        // Whether `[::]` alone takes IPv4 is the machine's; how the client is shown is ours.
        let Ok(mut conn) = Conn::to(address) else {
            continue;
        };
        let echo = conn.get(HOST, "/mapped").echo();
        assert_eq!(echo.all("x-forwarded-for"), ["127.0.0.1"]);
        answered += 1;
    }
    if answered > 0 {
        assert_eq!(site.narthex.access("/mapped")["client"], "127.0.0.1");
    }
    assert!(
        !site.narthex.stdout().contains("::ffff:"),
        "{}",
        site.narthex.stdout()
    );
}

#[test]
fn trusted_ipv6_proxies_are_believed() {
    assert!(
        ports::has_ipv6(),
        "this machine has no IPv6 loopback, which these tests need"
    );
    let site = Site::with_flags(&["--trusted-proxies=::1/128"]);
    let address: SocketAddr = format!("[::1]:{}", site.narthex.http)
        .parse()
        .expect("an address");
    let mut conn = Conn::to(address).expect("listens on IPv6");
    let echo = conn
        .ask("GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 2001:db8::7\r\n\r\n")
        .echo();
    assert_eq!(echo.all("x-real-ip"), ["2001:db8::7"]);
}

#[test]
fn one_bind_address_leaves_the_others_alone() {
    let site = Site::with_flags(&["--bind-address=127.0.0.1"]);
    assert_eq!(site.get("/").status, 200);
    let other: SocketAddr = format!("127.0.0.2:{}", site.narthex.http)
        .parse()
        .expect("an address");
    assert!(Conn::to(other).is_err());
}
