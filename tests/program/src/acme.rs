//! An ACME server that is nobody's imitation: pebble, Let's Encrypt's own for tests, beside its
//! challenge test server, which is the DNS that pebble asks.
//!
//! Both end with the value that started them, and show their logs when a test fails. Where pebble
//! looks for the answers to HTTP-01 and TLS-ALPN-01 is up to the test: [`Acme::http`] and
//! [`Acme::tls`] are free ports for the program under test, unless [`Starting::validating_at`]
//! names others or [`Starting::answering`] lets the challenge test server listen there.

pub mod board;
mod challenges;
mod client;
mod door;
mod pebble;
mod site;
mod starting;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::certificate::Authority;
use crate::program::{Log, binary};
use crate::tls::Client;

pub use board::Board;
pub use challenges::{Challenges, Kind};
pub use client::{LegoClient, Obtained};
pub use door::{CERTIFICATE, CHALLENGE, Door, FINALIZE, NEW_ACCOUNT, NEW_ORDER, Stuck};
pub use pebble::{ari_id, serial};
pub use site::Site;
pub use starting::Starting;

/// The name that pebble has in CAA records and in those of DNS-PERSIST-01.
pub const ISSUER: &str = "pebble.letsencrypt.org";

/// A running ACME server; killed when dropped.
pub struct Acme {
    pub challenges: Challenges,
    /// Where pebble connects for HTTP-01.
    pub http: u16,
    /// Where pebble connects for TLS-ALPN-01.
    pub tls: u16,
    /// Where it listens, for those beside it.
    address: SocketAddr,
    /// By which ports of 127.0.0.1 the test reaches it.
    port: u16,
    management: u16,
    trusting: Client,
    folder: tempfile::TempDir,
    server: Process,
}

impl Acme {
    /// With pebble's ways of finding mistakes off: no nonce refused, no validation slow.
    pub fn starting() -> Starting {
        Starting::default()
    }

    /// The directory's URL.
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// The CA that the directory's own certificate is of, as a file; not the one that issues.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The directory, as a client reads it.
    #[track_caller]
    pub fn read_directory(&self) -> Value {
        let answer = pebble::get(&self.trusting, self.port, "/dir");
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// The root that certificates are verified against: 0, or up to
    /// [`Starting::alternate_roots`]. PEM.
    #[track_caller]
    pub fn root(&self, number: usize) -> String {
        pebble::get(&self.trusting, self.management, &format!("/roots/{number}")).text()
    }

    /// `Valid`, `Revoked`, or none if the server issued no such certificate.
    #[track_caller]
    pub fn status(&self, certificate: &[u8]) -> Option<String> {
        let path = format!("/cert-status-by-serial/{}", serial(certificate));
        let answer = pebble::ask(&self.trusting, self.management, "GET", &path, "");
        if answer.status == 404 {
            return None;
        }
        let said: Value = serde_json::from_slice(&answer.body).expect("JSON");
        Some(said["Status"].as_str().expect("a status").to_owned())
    }

    /// What the server answers from now on when asked when to renew a certificate (PEM): any text,
    /// also one that is no JSON.
    #[track_caller]
    pub fn set_renewal_info(&self, certificate: &str, answer: &str) {
        let body = json!({ "Certificate": certificate, "ARIResponse": answer }).to_string();
        let path = "/set-renewal-info/";
        let said = pebble::ask(&self.trusting, self.management, "POST", path, &body);
        assert_eq!(said.status, 200, "{}", said.text());
    }

    /// Suggests a window (RFC 3339) for the renewal of a certificate (PEM).
    #[track_caller]
    pub fn suggest_window(&self, certificate: &str, start: &str, end: &str) {
        let window = json!({ "suggestedWindow": { "start": start, "end": end } });
        self.set_renewal_info(certificate, &window.to_string());
    }

    /// What the server answers when asked when to renew a certificate (DER).
    #[track_caller]
    pub fn renewal_info(&self, certificate: &[u8]) -> String {
        let directory = self.read_directory();
        let url = directory["renewalInfo"].as_str().expect("a URL");
        // As it was asked for: by the port of the test.
        let own = format!("https://127.0.0.1:{}", self.port);
        let path = url.strip_prefix(&own).expect("a URL of this server");
        let path = format!("{path}/{}", ari_id(certificate));
        pebble::get(&self.trusting, self.port, &path).text()
    }

    /// How many orders were made.
    pub fn orders(&self) -> usize {
        // `Added order "…" to the db`, once it passed every check.
        self.count("Added order ")
    }

    /// How many names were seen to be whose they are.
    pub fn found(&self) -> usize {
        self.count(" set VALID by completed challenge ")
    }

    /// How many orders are void because a name was not seen to be whose it is: nobody can go on with
    /// one.
    pub fn void_orders(&self) -> usize {
        self.count(" set INVALID by invalid authz ")
    }

    /// How many orders said which certificate they replace.
    pub fn replacements(&self) -> usize {
        self.count(" is a replacement of ")
    }

    /// How many certificates were issued.
    pub fn issued(&self) -> usize {
        self.count("Issued certificate serial ")
    }

    /// How many challenges were told to be ready.
    pub fn validations(&self) -> usize {
        self.count("Pulled a task from the Tasks queue")
    }

    /// The server's log so far.
    pub fn log(&self) -> String {
        self.server.log()
    }

    fn count(&self, what: &str) -> usize {
        let log = self.log();
        log.lines().filter(|line| line.contains(what)).count()
    }
}

/// A program of `go/acme`: in the folder `ACME_BIN`, or where `cargo xtask` builds them.
fn tool(name: &str) -> PathBuf {
    let folder = std::env::var_os("ACME_BIN").map_or_else(
        || {
            // target/<profile>/narthex, beside which there is target/acme/bin.
            let binary = binary();
            let target = binary.parent().and_then(Path::parent).expect("a folder");
            target.join("acme/bin")
        },
        PathBuf::from,
    );
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is not built: run `cargo xtask acme build`",
        path.display()
    );
    path
}

/// A server as a child process, whose log is kept.
struct Process {
    name: &'static str,
    child: Child,
    /// What is counted in it was written before the server answered.
    log: Log,
}

impl Process {
    #[track_caller]
    fn start(name: &'static str, site: &dyn Site, configure: impl FnOnce(&mut Command)) -> Self {
        let log = Log::new();
        let mut command = site.command(&tool(name));
        command
            .stdin(Stdio::null())
            .stdout(log.handle())
            .stderr(log.handle());
        configure(&mut command);
        let child = command.spawn().expect("the server starts");
        Self { name, child, log }
    }

    fn log(&self) -> String {
        self.log.text()
    }

    /// Waits until something answers on `port`; a server that ended before is a failure.
    #[track_caller]
    fn until_listening(&mut self, port: u16) {
        crate::wait::until(&format!("{} listens on {port}", self.name), || {
            if let Some(status) = self.child.try_wait().expect("our child") {
                panic!("{} ended: {status}\n{}", self.name, self.log());
            }
            site::listens(port)
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(60)..];
            eprintln!("--- {}\n{}", self.name, tail.join("\n"));
        }
    }
}

/// The authority of the directory's own certificate, and what the servers read from files.
fn files(folder: &Path, address: IpAddr) -> Authority {
    let authority = Authority::new();
    let own = authority.ecdsa(&["localhost", "127.0.0.1", &address.to_string()]);
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a file");
    write("ca.pem", &authority.pem);
    write("tls.crt", &own.chain_pem);
    write("tls.key", &own.key_pem);
    authority
}
