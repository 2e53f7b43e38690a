//! The challenge test server: the DNS that an ACME server asks, and whom it asked.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Process, Site};
use crate::{Conn, ports};

/// What is asked of whoever proves a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Http,
    TlsAlpn,
    Dns,
}

/// The running challenge test server; killed when dropped. Each name is 127.0.0.1 until a test says
/// otherwise.
pub struct Challenges {
    dns: SocketAddr,
    /// By which port of 127.0.0.1 the test reaches it.
    management: u16,
    /// Ends with us.
    _server: Process,
}

impl Challenges {
    /// Answers HTTP-01 and TLS-ALPN-01 on the ports of `answering`.
    #[track_caller]
    pub(super) fn start(site: &dyn Site, answering: Option<(u16, u16)>) -> Self {
        let local = |port: u16| SocketAddr::new(site.address(), port).to_string();
        let (dns, management) = (ports::free(), ports::free());
        let (http, tls) =
            answering.map_or_else(Default::default, |(http, tls)| (local(http), local(tls)));
        let mut server = Process::start("pebble-challtestsrv", site, |command| {
            command
                .args(["-dnsserver", &local(dns)])
                .args(["-management", &local(management)])
                .args(["-http01", &http, "-tlsalpn01", &tls])
                .args(["-https01", "", "-doh", "", "-defaultIPv6", ""]);
        });
        let own = [Some(dns), Some(management)];
        let answers = answering.map(|(http, tls)| [Some(http), Some(tls)]);
        for port in own.into_iter().chain(answers.into_iter().flatten()) {
            server.until_listening(site.reach(port.expect("just named")));
        }
        Self {
            dns: SocketAddr::new(site.address(), dns),
            management: site.reach(management),
            _server: server,
        }
    }

    /// The DNS server, by UDP and TCP.
    pub fn dns(&self) -> SocketAddr {
        self.dns
    }

    /// The URL where records are made.
    pub fn management(&self) -> String {
        format!("http://127.0.0.1:{}", self.management)
    }

    /// One address for a name.
    #[track_caller]
    pub fn set_a(&self, host: &str, address: &str) {
        self.clear("a", host);
        self.post("/add-a", &json!({ "host": host, "addresses": [address] }));
    }

    /// One more text at a name; names of records end with a dot.
    #[track_caller]
    pub fn add_txt(&self, host: &str, value: &str) {
        self.post("/set-txt", &json!({ "host": host, "value": value }));
    }

    /// A name that is another one.
    #[track_caller]
    pub fn set_cname(&self, host: &str, target: &str) {
        self.post("/set-cname", &json!({ "host": host, "target": target }));
    }

    /// Answers SERVFAIL whatever is asked about a name.
    #[track_caller]
    pub fn fail(&self, host: &str) {
        self.post("/set-servfail", &json!({ "host": host }));
    }

    /// Forgets the records of a kind at a name: `a`, `txt`, `cname`, `servfail`.
    #[track_caller]
    pub fn clear(&self, record: &str, host: &str) {
        self.post(&format!("/clear-{record}"), &json!({ "host": host }));
    }

    /// What was asked about a name, in order. Only [`super::Starting::answering`] has HTTP and
    /// TLS-ALPN.
    #[track_caller]
    pub fn asked(&self, kind: Kind, host: &str) -> Vec<Value> {
        let path = match kind {
            Kind::Http => "/http-request-history",
            Kind::TlsAlpn => "/tlsalpn01-request-history",
            Kind::Dns => "/dns-request-history",
        };
        let text = self.post(path, &json!({ "host": host }));
        serde_json::from_str(&text).expect("a list")
    }

    fn post(&self, path: &str, body: &Value) -> String {
        let body = body.to_string();
        let answer = Conn::plain(self.management).ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: tests\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
        answer.text()
    }
}
