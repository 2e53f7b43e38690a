//! A bucket: versitygw speaks S3 and keeps objects in a folder, Azurite is Azure's own stand-in for its Blob Storage.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Registry;
use super::tools::built;
use crate::http1::Conn;
use crate::program::{Ended, binary, end};
use crate::{ports, wait};

const ACCESS: &str = "tester";
const SECRET: &str = "open-sesame";
const NAME: &str = "images";

/// The account that Azurite has, and its key: everybody knows them.
const AZURE_ACCOUNT: &str = "devstoreaccount1";
const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Where it is, beside what Go's modules have.
const AZURITE: &str = "../azurite/node_modules/.bin/azurite-blob";

/// A bucket of a server; killed when dropped.
pub struct Bucket {
    kind: Kind,
    folder: tempfile::TempDir,
    child: Child,
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    S3,
    Azure,
}

impl Bucket {
    /// An empty one that speaks S3.
    #[track_caller]
    pub fn start() -> Self {
        Self::of(Kind::S3)
    }

    /// An empty container of Azure's Blob Storage.
    #[track_caller]
    pub fn azure() -> Self {
        let bucket = Self::of(Kind::Azure);
        make_container(bucket.port);
        bucket
    }

    #[track_caller]
    fn of(kind: Kind) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["data", "about"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        fs::create_dir(folder.path().join("data").join(NAME)).expect("a folder");
        let port = ports::free();
        let mut bucket = Self {
            kind,
            child: run(kind, &folder, port),
            folder,
            port,
        };
        bucket.wait();
        bucket
    }

    /// The server goes away.
    pub fn stop(&mut self) {
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
    }

    /// The server comes back, with what it had.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.child = run(self.kind, &self.folder, self.port);
        self.wait();
    }

    /// Where a registry keeps its images there.
    pub fn url(&self) -> String {
        let scheme = match self.kind {
            Kind::S3 => "s3",
            Kind::Azure => "az",
        };
        format!("{scheme}://{NAME}/a/prefix")
    }

    /// A registry that keeps its images there.
    #[track_caller]
    pub fn registry(&self, flags: &[&str]) -> Registry {
        self.registry_as(SECRET, flags)
    }

    /// The same with another password of the bucket's.
    #[track_caller]
    pub fn registry_as(&self, secret: &str, flags: &[&str]) -> Registry {
        let environment = self.environment(secret);
        let mut wrapper = vec!["env"];
        wrapper.extend(environment.iter().map(String::as_str));
        Registry::through(&wrapper, Path::new(&self.url()), flags)
    }

    /// `narthex registry …` with the bucket's credentials in its environment.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new("env");
        command
            .args(self.environment(SECRET))
            .arg(binary())
            .arg("registry")
            .args(arguments);
        end(command)
    }

    /// `narthex registry scrub` finds nothing.
    #[track_caller]
    pub fn assert_whole(&self) {
        let said = self.run(&["scrub", "--storage", &self.url()]);
        assert_eq!(said.code, Some(0), "{}", said.said());
    }

    /// The names of all objects, below the registry's prefix, of a bucket that speaks S3.
    pub fn objects(&self) -> Vec<String> {
        assert_eq!(self.kind, Kind::S3, "Azurite's files have other names");
        let top = self.folder.path().join("data").join(NAME).join("a/prefix");
        let mut found = Vec::new();
        let mut folders = vec![top.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                match entry.path() {
                    path if path.is_dir() => folders.push(path),
                    path => {
                        let name = path.strip_prefix(&top).expect("below it");
                        found.push(name.display().to_string());
                    }
                }
            }
        }
        found.sort();
        found
    }

    /// Where the server keeps an object, of a bucket that speaks S3.
    pub fn file(&self, object: &str) -> PathBuf {
        assert_eq!(self.kind, Kind::S3, "Azurite's files have other names");
        let bucket = self.folder.path().join("data").join(NAME);
        bucket.join("a/prefix").join(object)
    }

    fn environment(&self, secret: &str) -> Vec<String> {
        match self.kind {
            Kind::S3 => vec![
                format!("AWS_ACCESS_KEY_ID={ACCESS}"),
                format!("AWS_SECRET_ACCESS_KEY={secret}"),
                format!("AWS_ENDPOINT=http://127.0.0.1:{}", self.port),
                "AWS_ALLOW_HTTP=true".to_owned(),
                "AWS_REGION=us-east-1".to_owned(),
            ],
            Kind::Azure => vec![
                "AZURE_STORAGE_USE_EMULATOR=true".to_owned(),
                format!("AZURITE_BLOB_STORAGE_URL=http://127.0.0.1:{}", self.port),
                format!("AZURE_STORAGE_ACCOUNT_NAME={AZURE_ACCOUNT}"),
                format!("AZURE_STORAGE_ACCOUNT_KEY={AZURE_KEY}"),
            ],
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    #[track_caller]
    fn wait(&mut self) {
        let port = self.port;
        wait::until(&format!("the bucket listens on {port}"), || {
            if let Some(status) = self.child.try_wait().expect("our child") {
                panic!("the bucket ended: {status}\n{}", self.log());
            }
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the bucket\n{}", self.log());
        }
    }
}

#[track_caller]
fn run(kind: Kind, folder: &tempfile::TempDir, port: u16) -> Child {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let log = File::options()
        .append(true)
        .create(true)
        .open(path("log"))
        .expect("a file");
    let mut server = match kind {
        Kind::S3 => {
            let mut server = Command::new(built("VERSITYGW", "versitygw"));
            server
                .args(["--port", &format!("127.0.0.1:{port}"), "posix"])
                // Not every file system has extended attributes.
                .args(["--sidecar", &path("about"), &path("data")])
                .env("ROOT_ACCESS_KEY", ACCESS)
                .env("ROOT_SECRET_KEY", SECRET);
            server
        }
        Kind::Azure => {
            let mut server = Command::new(built("AZURITE", AZURITE));
            server
                .args(["--blobHost", "127.0.0.1"])
                .args(["--blobPort", &port.to_string()])
                .args(["--location", &path("data")])
                // It tells nobody that it is used.
                .args(["--disableTelemetry", "--skipApiVersionCheck", "--silent"]);
            server
        }
    };
    server
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("the bucket's server")
}

/// Asks Azurite for a container, as its account (Azure's Shared Key authorization).
#[track_caller]
fn make_container(port: u16) {
    // It takes any.
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let version = "2021-08-06";
    let signed = format!(
        "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{version}\n\
         /{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{NAME}\nrestype:container"
    );
    let key = STANDARD.decode(AZURE_KEY).expect("base64");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signature = STANDARD.encode(hmac::sign(&key, signed.as_bytes()));
    let mut connection = Conn::plain(port);
    connection.send(format!(
        "PUT /{AZURE_ACCOUNT}/{NAME}?restype=container HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\
         x-ms-date: {date}\r\nx-ms-version: {version}\r\nContent-Length: 0\r\n\
         Authorization: SharedKey {AZURE_ACCOUNT}:{signature}\r\n\r\n"
    ));
    let made = connection.response();
    assert_eq!(made.status, 201, "{}", made.text());
}
