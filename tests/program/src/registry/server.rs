//! `narthex registry serve`, and a client that says exactly what a test says.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::digest;
use crate::{Conn, Response, ports, program, wait};

/// How long a body of a gigabyte may take on a loaded machine.
const SLOW: Duration = Duration::from_secs(240);

/// A registry of ours; killed when dropped.
pub struct Registry {
    /// Its own, unless a test has one.
    _folder: Option<tempfile::TempDir>,
    storage: PathBuf,
    log: tempfile::TempDir,
    child: Child,
    port: u16,
}

impl Registry {
    /// An empty one.
    #[track_caller]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// An empty one with these flags.
    #[track_caller]
    pub fn with(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let storage = folder.path().join("images");
        let mut registry = Self::on(&storage, flags);
        registry._folder = Some(folder);
        registry
    }

    /// One on what there is.
    #[track_caller]
    pub fn on(storage: &Path, flags: &[&str]) -> Self {
        Self::through(&[], storage, flags)
    }

    /// One that another command starts.
    #[track_caller]
    pub fn through(wrapper: &[&str], storage: &Path, flags: &[&str]) -> Self {
        let log = tempfile::tempdir().expect("a temporary folder");
        let port = ports::free();
        let file = File::create(log.path().join("log")).expect("a file");
        let binary = program::binary();
        let mut command = match wrapper {
            [] => Command::new(&binary),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(&binary);
                command
            }
        };
        let child = command
            .args(["registry", "serve", "--storage"])
            .arg(storage)
            .args(["--address", &format!("127.0.0.1:{port}")])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .expect("the program starts");
        let mut registry = Self {
            _folder: None,
            storage: storage.to_owned(),
            log,
            child,
            port,
        };
        wait::until(&format!("the registry listens on {port}"), || {
            if let Some(status) = registry.child.try_wait().expect("our child") {
                panic!("the registry ended: {status}\n{}", registry.log());
            }
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        registry
    }

    /// One on a disk of its own, of so many MiB, that only this process has at `storage`; where
    /// others see it is with it.
    #[track_caller]
    pub fn on_disk(mebibytes: u32, storage: &Path, flags: &[&str]) -> (Self, PathBuf) {
        let script = format!("mount -t tmpfs -o size={mebibytes}m tmpfs \"$0\" && exec \"$@\"");
        let place = storage.display().to_string();
        let mut wrapper = vec!["unshare", "--mount"];
        if !rustix::process::geteuid().is_root() {
            wrapper.push("--map-root-user");
        }
        wrapper.extend(["sh", "-c", &script, &place]);
        let registry = Self::through(&wrapper, storage, flags);
        let seen = format!("/proc/{}/root{place}", registry.pid());
        (registry, seen.into())
    }

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn storage(&self) -> &Path {
        &self.storage
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn process(&self) -> Pid {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.expect("a process")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path().join("log")).unwrap_or_default()
    }

    /// As the kernel kills.
    pub fn kill(&mut self) {
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
    }

    /// The same, while others ask it; it is still to be waited for.
    pub fn kill_from_beside(&self) {
        kill_process(self.process(), Signal::KILL).expect("our child");
    }

    /// As people end it.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        kill_process(self.process(), Signal::TERM).expect("our child");
        wait::eventually("the registry ends", || self.child.try_wait().expect("ours"))
    }

    /// The content of a digest, as the storage has it.
    pub fn content(&self, digest: &str) -> PathBuf {
        let (algorithm, hex) = digest.split_once(':').expect("a digest");
        let blobs = self.storage.join("blobs").join(algorithm);
        blobs.join(&hex[..2]).join(hex)
    }

    pub fn connect(&self) -> Conn {
        let connection = Conn::plain(self.port);
        connection.set_read_timeout(SLOW);
        connection.set_write_timeout(SLOW);
        connection
    }

    /// A request with a body.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, fields: &[&str], body: &[u8]) -> Response {
        let answer = self.try_ask(method, path, fields, body);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.log()))
    }

    pub fn try_ask(
        &self,
        method: &str,
        path: &str,
        fields: &[&str],
        body: &[u8],
    ) -> io::Result<Response> {
        use std::io::Write as _;

        let mut connection = Conn::to(([127, 0, 0, 1], self.port).into())?;
        connection.set_read_timeout(SLOW);
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n{fields}\
             Connection: close\r\n\r\n",
            self.host()
        );
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        let mut socket = connection.socket();
        socket.write_all(&bytes)?;
        connection.try_response(method == "HEAD")
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.ask("GET", path, &[], b"")
    }

    #[track_caller]
    pub fn status(&self, method: &str, path: &str) -> u16 {
        self.ask(method, path, &[], b"").status
    }

    /// Begins an upload; where it is.
    #[track_caller]
    pub fn begin(&self, name: &str) -> String {
        let path = format!("/v2/{name}/blobs/uploads/");
        let begun = self.ask("POST", &path, &[], b"");
        assert_eq!(begun.status, 202, "{}", begun.text());
        begun.header("location").expect("a place").to_owned()
    }

    /// Pushes a blob as most clients do; its digest.
    #[track_caller]
    pub fn push_blob(&self, name: &str, content: &[u8]) -> String {
        let digest = digest(content);
        let place = self.begin(name);
        let sent = self.ask("PATCH", &place, &[], content);
        assert_eq!(sent.status, 202, "{}", sent.text());
        let ended = self.ask("PUT", &format!("{place}?digest={digest}"), &[], b"");
        assert_eq!(ended.status, 201, "{}", ended.text());
        digest
    }

    /// Pushes a manifest; its digest.
    #[track_caller]
    pub fn push_manifest(&self, name: &str, reference: &str, manifest: &Value) -> String {
        let answer = self.put_manifest(name, reference, manifest);
        assert_eq!(answer.status, 201, "{}", answer.text());
        digest(manifest.to_string().as_bytes())
    }

    #[track_caller]
    pub fn put_manifest(&self, name: &str, reference: &str, manifest: &Value) -> Response {
        let media_type = manifest["mediaType"].as_str().expect("a type");
        let field = format!("Content-Type: {media_type}");
        let path = format!("/v2/{name}/manifests/{reference}");
        let bytes = manifest.to_string();
        self.ask("PUT", &path, &[&field], bytes.as_bytes())
    }

    /// Pushes an image with one layer; its digest.
    #[track_caller]
    pub fn push_image(&self, name: &str, tag: &str, layer: &[u8]) -> String {
        self.push_blob(name, b"{}");
        self.push_blob(name, layer);
        self.push_manifest(name, tag, &image(&[layer]))
    }

    /// The same of one that may be killed.
    pub fn try_push_image(&self, name: &str, tag: &str, layer: &[u8]) -> io::Result<String> {
        let refused = |answer: Response| io::Error::other(answer.text());
        for content in [b"{}", layer] {
            let uploads = format!("/v2/{name}/blobs/uploads/");
            let begun = self.try_ask("POST", &uploads, &[], b"")?;
            let Some(place) = begun.header("location").map(str::to_owned) else {
                return Err(refused(begun));
            };
            let sent = self.try_ask("PATCH", &place, &[], content)?;
            if sent.status != 202 {
                return Err(refused(sent));
            }
            let path = format!("{place}?digest={}", digest(content));
            let put = self.try_ask("PUT", &path, &[], b"")?;
            if put.status != 201 {
                return Err(refused(put));
            }
        }
        let manifest = image(&[layer]);
        let media_type = manifest["mediaType"].as_str().expect("a type");
        let field = format!("Content-Type: {media_type}");
        let bytes = manifest.to_string();
        let path = format!("/v2/{name}/manifests/{tag}");
        let put = self.try_ask("PUT", &path, &[&field], bytes.as_bytes())?;
        match put.status {
            201 => Ok(digest(bytes.as_bytes())),
            _ => Err(refused(put)),
        }
    }

    /// What an error is called.
    #[track_caller]
    pub fn code(answer: &Response) -> String {
        let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
        let code = json["errors"][0]["code"].as_str();
        code.expect("a code").to_owned()
    }

    /// `narthex registry scrub` finds nothing.
    #[track_caller]
    pub fn assert_whole(storage: &Path) {
        let path = storage.display().to_string();
        let said = program::run(&["registry", "scrub", "--storage", &path]);
        assert_eq!(said.code, Some(0), "{}", said.said());
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the registry\n{}", self.log());
        }
    }
}

/// An image with these layers and the least configuration.
pub fn image(layers: &[&[u8]]) -> Value {
    let layers: Vec<Value> = layers
        .iter()
        .map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar", layer))
        .collect();
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": layers,
    })
}

/// How a manifest names something.
pub fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(content), "size": content.len()})
}
