//! Registries that not everybody may use, and clients of them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::binary;
use crate::program::{Ended, end};
use crate::{Certificate, curl, ports, until};

/// A registry in a process of its own.
pub struct Guarded {
    child: Child,
    folder: TempDir,
    arguments: Vec<String>,
    pub port: u16,
    scheme: &'static str,
}

impl Guarded {
    /// A folder for its storage and files, without a process yet.
    pub fn folder() -> TempDir {
        tempfile::tempdir().expect("a folder")
    }

    /// Starts it on `folder` with these arguments.
    pub fn start(folder: TempDir, arguments: &[&str]) -> Self {
        let port = ports::free();
        let scheme = match arguments.iter().any(|it| it.starts_with("--tls-cert-file")) {
            true => "https",
            false => "http",
        };
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        let started = Self {
            child: spawn(&folder, port, &arguments),
            folder,
            arguments,
            port,
            scheme,
        };
        started.await_answer();
        started
    }

    /// The same after the process was killed and another one started.
    pub fn restarted(mut self) -> Self {
        self.end();
        self.child = spawn(&self.folder, self.port, &self.arguments);
        self.await_answer();
        self
    }

    fn await_answer(&self) {
        let url = self.url("/v2/");
        until("the registry answers", || curl(&["-k", &url]).status != 0);
    }

    fn end(&mut self) {
        // It has ended by itself at worst.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.host())
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            eprintln!("the registry's log:\n{}", self.log());
        }
    }
}

fn spawn(folder: &TempDir, port: u16, arguments: &[String]) -> Child {
    let log = fs::File::create(folder.path().join("log")).expect("a file");
    Command::new(binary())
        .args(["registry", "serve"])
        .arg(format!("--address=127.0.0.1:{port}"))
        .arg("--storage")
        .arg(folder.path().join("storage"))
        .args(arguments)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file"))
        .stderr(log)
        .spawn()
        .expect("the registry starts")
}

/// A password file's text.
pub fn htpasswd(users: &[(&str, &str)]) -> String {
    let line = |(name, password): &(&str, &str)| {
        // The cheapest there is: what it costs is not what is tested.
        let hash = bcrypt::hash(password, 4).expect("bcrypt");
        format!("{name}:{hash}\n")
    };
    users.iter().map(line).collect()
}

/// A rules file's text.
pub fn rules(rules: &str) -> String {
    format!("apiVersion: narthex.dev/v1alpha1\nkind: RegistryAccess\nrules:\n{rules}")
}

/// An OCI layout of two platforms, with `salt` in its layers; its tag is `1`.
pub fn layout(folder: &Path, salt: &str) -> PathBuf {
    let layout = folder.join(format!("layout-{salt}"));
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a folder");
    let put = |bytes: &[u8], media_type: &str| {
        let digest = sha256(bytes);
        fs::write(blobs.join(&digest), bytes).expect("a file");
        json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()})
    };
    let mut manifests = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let layer = tar(folder, &format!("{salt} on {architecture}"));
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))]},
        });
        let config = config.to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": put(config.as_bytes(), "application/vnd.oci.image.config.v1+json"),
            "layers": [put(&layer, "application/vnd.oci.image.layer.v1.tar")],
        });
        let manifest = manifest.to_string();
        let mut descriptor = put(
            manifest.as_bytes(),
            "application/vnd.oci.image.manifest.v1+json",
        );
        descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
        manifests.push(descriptor);
    }
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
    let mut top = put(index.to_string().as_bytes(), media_type);
    top["annotations"] = json!({"org.opencontainers.image.ref.name": "1"});
    let top = json!({"schemaVersion": 2, "manifests": [top]});
    fs::write(layout.join("index.json"), top.to_string()).expect("a file");
    fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .expect("a file");
    layout
}

/// A layer with one file; the same bytes for the same text.
fn tar(folder: &Path, text: &str) -> Vec<u8> {
    let content = folder.join("content");
    fs::write(&content, text).expect("a file");
    let made = Command::new("tar")
        .args([
            "--create",
            "--file=-",
            "--owner=0",
            "--group=0",
            "--mode=0644",
        ])
        .args(["--mtime=@0", "content"])
        .current_dir(folder)
        .output()
        .expect("tar runs");
    assert!(made.status.success(), "{made:?}");
    made.stdout
}

/// In hexadecimal digits.
fn sha256(bytes: &[u8]) -> String {
    let provider = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let suite = provider.tls13().expect("one of TLS 1.3");
    let hash = suite.common.hash_provider.hash(bytes);
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Runs skopeo to its end; credentials are those of the arguments alone.
pub fn skopeo(arguments: &[&str]) -> Ended {
    let mut command = Command::new("skopeo");
    command.arg("--insecure-policy").args(arguments);
    command.env("REGISTRY_AUTH_FILE", "/nonexistent/auth.json");
    end(command)
}

/// A file of credentials for one registry, as docker's `config.json`.
pub fn authfile(folder: &Path, host: &str, name: &str, password: &str) -> PathBuf {
    let auth = BASE64_STANDARD.encode(format!("{name}:{password}"));
    let file = folder.join(format!("auth-{name}.json"));
    let text = json!({"auths": {host: {"auth": auth}}}).to_string();
    fs::write(&file, text).expect("a file");
    file
}

/// Writes a certificate with its key; both files' names.
pub fn pem(folder: &Path, name: &str, certificate: &Certificate) -> (PathBuf, PathBuf) {
    let (chain, key) = (
        folder.join(format!("{name}.crt")),
        folder.join(format!("{name}.key")),
    );
    fs::write(&chain, &certificate.chain_pem).expect("a file");
    fs::write(&key, &certificate.key_pem).expect("a file");
    (chain, key)
}

/// The JSON of a body.
#[track_caller]
pub fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Something that answers TokenReviews as an API server does: `token` is a ServiceAccount's.
/// The file is a kubeconfig for it. It ends with the test's process.
pub fn reviewer(folder: &Path, token: &'static str, user: &'static str) -> PathBuf {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || review(stream, token, user));
        }
    });
    let file = folder.join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\n\
         clusters: [{{name: a, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n\
         contexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n\
         users: [{{name: a, user: {{token: x}}}}]\n"
    );
    fs::write(&file, text).expect("a file");
    file
}

/// One connection, one request.
fn review(mut stream: std::net::TcpStream, token: &str, user: &str) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    let body = loop {
        let Ok(read @ 1..) = stream.read(&mut buffer) else {
            return;
        };
        seen.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&seen).into_owned();
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str::<Value>(body)
        {
            break body;
        }
    };
    let is_good = body["spec"]["token"] == token && body["kind"] == "TokenReview";
    let groups = [
        "system:serviceaccounts",
        "system:serviceaccounts:ci",
        "system:authenticated",
    ];
    let status = match is_good {
        true => json!({"authenticated": true, "user": {"username": user, "groups": groups}}),
        false => json!({"authenticated": false}),
    };
    let answer = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "metadata": {},
        "spec": body["spec"],
        "status": status,
    });
    let answer = answer.to_string();
    let head = format!(
        "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        answer.len()
    );
    // Whoever does not wait for it has failed already.
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(answer.as_bytes());
}
