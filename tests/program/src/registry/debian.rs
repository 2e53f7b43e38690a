//! Debian's `docker-registry`: a registry that is not ours.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::{ports, wait};

/// What `tester` says.
pub const PASSWORD: &str = "sesame";

/// The same by bcrypt, of the least cost.
const HASH: &str = "$2y$04$abcdefghijklmnopqrstuuinwY/tkBVrn3xrxQI/TgnMHhkvl85RW";

/// A registry; killed when dropped.
pub struct DebianRegistry {
    folder: tempfile::TempDir,
    child: Child,
    port: u16,
}

impl DebianRegistry {
    /// One for everybody.
    #[track_caller]
    pub fn start() -> Self {
        Self::configured("")
    }

    /// One that knows the user `tester` with the password [`PASSWORD`] alone.
    #[track_caller]
    pub fn with_password() -> Self {
        Self::configured(&format!("tester:{HASH}\n"))
    }

    #[track_caller]
    fn configured(passwords: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = ports::free();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let auth = match passwords.is_empty() {
            true => String::new(),
            false => {
                std::fs::write(folder.path().join("htpasswd"), passwords).expect("a file");
                format!(
                    "auth: {{htpasswd: {{realm: tests, path: {}}}}}\n",
                    path("htpasswd")
                )
            }
        };
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"127.0.0.1:{port}\", secret: tests}}\n{auth}",
            path("storage")
        );
        std::fs::write(folder.path().join("config.yml"), config).expect("a file");
        let log = File::create(folder.path().join("log")).expect("a file");
        let child = Command::new("docker-registry")
            .args(["serve", &path("config.yml")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("docker-registry");
        let mut registry = Self {
            folder,
            child,
            port,
        };
        wait::until(&format!("docker-registry listens on {port}"), || {
            if let Some(status) = registry.child.try_wait().expect("our child") {
                panic!("docker-registry ended: {status}\n{}", registry.log());
            }
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        registry
    }

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it keeps its content.
    pub fn storage(&self) -> std::path::PathBuf {
        Path::new(self.folder.path()).join("storage")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for DebianRegistry {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- docker-registry\n{}", self.log());
        }
    }
}
