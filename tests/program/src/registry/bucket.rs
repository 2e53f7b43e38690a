//! A bucket: versitygw speaks S3 and keeps objects in a folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::Registry;
use super::tools::built;
use crate::program::{Ended, binary, end};
use crate::{ports, wait};

const ACCESS: &str = "tester";
const SECRET: &str = "open-sesame";
const NAME: &str = "images";

/// A bucket of an S3 server; killed when dropped.
pub struct Bucket {
    folder: tempfile::TempDir,
    child: Child,
    port: u16,
}

impl Bucket {
    /// An empty one.
    #[track_caller]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["data", "about"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        fs::create_dir(folder.path().join("data").join(NAME)).expect("a folder");
        let port = ports::free();
        let mut bucket = Self {
            child: run(&folder, port),
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
        self.child = run(&self.folder, self.port);
        self.wait();
    }

    /// Where a registry keeps its images there.
    pub fn url(&self) -> String {
        format!("s3://{NAME}/a/prefix")
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

    /// The names of all objects, below the registry's prefix.
    pub fn objects(&self) -> Vec<String> {
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

    /// Where the server keeps an object.
    pub fn file(&self, object: &str) -> PathBuf {
        let bucket = self.folder.path().join("data").join(NAME);
        bucket.join("a/prefix").join(object)
    }

    fn environment(&self, secret: &str) -> Vec<String> {
        vec![
            format!("AWS_ACCESS_KEY_ID={ACCESS}"),
            format!("AWS_SECRET_ACCESS_KEY={secret}"),
            format!("AWS_ENDPOINT=http://127.0.0.1:{}", self.port),
            "AWS_ALLOW_HTTP=true".to_owned(),
            "AWS_REGION=us-east-1".to_owned(),
        ]
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    #[track_caller]
    fn wait(&mut self) {
        let port = self.port;
        wait::until(&format!("versitygw listens on {port}"), || {
            if let Some(status) = self.child.try_wait().expect("our child") {
                panic!("versitygw ended: {status}\n{}", self.log());
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
            eprintln!("--- versitygw\n{}", self.log());
        }
    }
}

#[track_caller]
fn run(folder: &tempfile::TempDir, port: u16) -> Child {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let log = File::options()
        .append(true)
        .create(true)
        .open(path("log"))
        .expect("a file");
    Command::new(built("VERSITYGW", "versitygw"))
        .args(["--port", &format!("127.0.0.1:{port}"), "posix"])
        // Not every file system has extended attributes.
        .args(["--sidecar", &path("about"), &path("data")])
        .env("ROOT_ACCESS_KEY", ACCESS)
        .env("ROOT_SECRET_KEY", SECRET)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("versitygw")
}
