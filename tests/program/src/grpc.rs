//! gRPC by its reference implementation in Go (`go/grpc-peer`), as server and as client, and its
//! messages by hand.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::program::{Ended, binary, end};

/// The program: `GRPC_PEER`, or the one that `cargo xtask test program` builds.
fn peer() -> PathBuf {
    if let Some(path) = std::env::var_os("GRPC_PEER") {
        return path.into();
    }
    // target/<profile>/narthex, beside which there is target/tools/bin.
    let binary = binary();
    let target = binary.parent().and_then(Path::parent).expect("a folder");
    let path = target.join("tools/bin/grpc-peer");
    assert!(
        path.exists(),
        "{} is not built: run `cargo xtask test program`",
        path.display()
    );
    path
}

/// A gRPC server with the interoperability suite's service; killed when dropped.
pub struct Server {
    pub address: SocketAddr,
    child: Child,
}

impl Server {
    /// In clear text.
    #[track_caller]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// By TLS.
    #[track_caller]
    pub fn secure(certificate: &Path, key: &Path) -> Self {
        let text = |path: &Path| path.to_str().expect("text").to_owned();
        Self::with(&["--certificate", &text(certificate), "--key", &text(key)])
    }

    #[track_caller]
    fn with(arguments: &[&str]) -> Self {
        let mut child = Command::new(peer())
            .arg("server")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("its address");
        let address = line.trim().parse().expect("an address");
        Self { address, child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs cases of the suite on one connection.
#[track_caller]
pub fn client(port: u16, host: &str, tls: bool, cases: &[&str]) -> Ended {
    let mut command = Command::new(peer());
    command
        .args(["client", "--address", &format!("127.0.0.1:{port}")])
        .args(["--authority", host]);
    if tls {
        command.arg("--tls");
    }
    command.args(cases);
    end(command)
}

/// The same, and all of them succeed.
#[track_caller]
pub fn succeeds(port: u16, host: &str, tls: bool, cases: &[&str]) {
    let ended = client(port, host, tls, cases);
    let expected: String = cases.iter().map(|case| format!("ok {case}\n")).collect();
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), expected.as_str()),
        "{}",
        ended.said()
    );
}

/// A message as gRPC frames it.
pub fn message(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a message's length");
    [&[0][..], &length.to_be_bytes(), bytes].concat()
}

/// The messages of a body: what marks each, and its bytes.
#[track_caller]
pub fn messages(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    while let [mark, a, b, c, d, rest @ ..] = bytes {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        assert!(length <= rest.len(), "a message is cut");
        all.push((*mark, rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "a message's head is cut: {bytes:?}");
    all
}
