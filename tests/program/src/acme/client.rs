//! A client that is not ours: lego's library, in `go/acme/acme-client`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use super::{Acme, tool};
use crate::program::end;

/// lego before it asks for a certificate. Each run registers an account of its own.
pub struct LegoClient<'a> {
    acme: &'a Acme,
    directory: Option<String>,
    arguments: Vec<OsString>,
}

/// A certificate that lego got.
#[derive(Clone, Debug)]
pub struct Obtained {
    /// The certificate and its intermediates, PEM.
    pub chain_pem: String,
    pub key_pem: String,
    /// The same as the server sent them.
    pub chain: Vec<CertificateDer<'static>>,
    /// What the server answered when asked for the time of renewal.
    pub renewal_info: Value,
    /// The URL of the account.
    pub account: String,
}

impl<'a> LegoClient<'a> {
    /// Names and addresses of one certificate; by HTTP-01, answered by the challenge test server.
    pub fn of(acme: &'a Acme, names: &[&str]) -> Self {
        let client = Self {
            acme,
            directory: None,
            arguments: Vec::new(),
        };
        client.arg("-names", names.join(","))
    }

    /// Asks by another URL than the server's own.
    pub fn directory(mut self, url: &str) -> Self {
        self.directory = Some(url.to_owned());
        self
    }

    /// Writes the answers to HTTP-01 below a folder that somebody serves.
    pub fn webroot(self, folder: &Path) -> Self {
        self.arg("-webroot", folder)
    }

    /// `tls-alpn-01`, `dns-01` or `dns-persist-01`.
    pub fn challenge(self, name: &str) -> Self {
        self.arg("-challenge", name)
    }

    /// Answers TLS-ALPN-01 itself, on this port.
    pub fn listening(self, port: u16) -> Self {
        self.arg("-listen", format!("127.0.0.1:{port}"))
    }

    /// The account is bound to a key: id, and HMAC key in base64url.
    pub fn external_account(self, kid: &str, hmac: &str) -> Self {
        self.arg("-eab-kid", kid).arg("-eab-hmac", hmac)
    }

    pub fn profile(self, name: &str) -> Self {
        self.arg("-profile", name)
    }

    /// Orders twice; the second certificate, which it gives, replaces the first.
    pub fn renewing(mut self) -> Self {
        self.arguments.push("-renew".into());
        self
    }

    /// Revokes what it got.
    pub fn revoking(mut self) -> Self {
        self.arguments.push("-revoke".into());
        self
    }

    /// Asks, and waits for the end; the error is what lego said.
    #[track_caller]
    pub fn run(self) -> Result<Obtained, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let directory = self.directory.unwrap_or_else(|| self.acme.directory());
        let challenges = &self.acme.challenges;
        let mut command = Command::new(tool("acme-client"));
        command
            .args(["-directory", &directory])
            .args(["-management", &challenges.management()])
            .args(["-resolver", &challenges.dns().to_string()])
            .arg("-out")
            .arg(folder.path())
            .args(self.arguments)
            .env("LEGO_CA_CERTIFICATES", self.acme.ca_file())
            // There is no zone whose names could be aliases.
            .env("LEGO_DISABLE_CNAME_SUPPORT", "true");
        let ended = end(command);
        if ended.code != Some(0) {
            return Err(ended.said());
        }
        let account = ended.line_with("account ").replacen("account ", "", 1);
        Ok(Obtained::read(folder.path(), account))
    }

    fn arg(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.arguments.push(name.into());
        self.arguments.push(value.into());
        self
    }
}

impl Obtained {
    fn read(folder: &Path, account: String) -> Self {
        let read = |name: &str| {
            let path: PathBuf = folder.join(name);
            std::fs::read_to_string(path).expect("the client wrote it")
        };
        let chain_pem = read("tls.crt");
        let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
            .map(|certificate| certificate.expect("PEM"))
            .collect();
        Self {
            chain,
            chain_pem,
            key_pem: read("tls.key"),
            renewal_info: serde_json::from_str(&read("renewal-info.json")).expect("JSON"),
            account,
        }
    }
}
