//! Images made by the tests, in the OCI's layout, and skopeo to carry them about.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::program::{Ended, end};

/// A digest as registries write it.
pub fn digest(content: &[u8]) -> String {
    let found = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content);
    let hex: String = found
        .as_ref()
        .iter()
        .map(|it| format!("{it:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// Bytes that nothing compresses, different for each seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Debian's skopeo, without TLS and without anybody's configuration.
pub fn skopeo(arguments: &[&str]) -> Ended {
    let home = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new("skopeo");
    command
        .arg("--insecure-policy")
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("TMPDIR", home.path());
    end(command)
}

/// An image of one platform.
#[derive(Debug, Clone)]
pub struct Image {
    platform: (String, String),
    layers: Vec<Vec<u8>>,
}

/// A folder in the OCI's layout.
pub struct Layout {
    folder: tempfile::TempDir,
    named: Vec<Value>,
}

impl Image {
    /// An image with these layers, as `linux/amd64`.
    pub fn of(platform: &str, layers: &[&[u8]]) -> Self {
        let (os, architecture) = platform.split_once('/').expect("OS/ARCHITECTURE");
        Self {
            platform: (os.to_owned(), architecture.to_owned()),
            layers: layers.iter().map(|it| it.to_vec()).collect(),
        }
    }
}

impl Default for Layout {
    fn default() -> Self {
        Self::new()
    }
}

impl Layout {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir_all(folder.path().join("blobs/sha256")).expect("a folder");
        let version = r#"{"imageLayoutVersion":"1.0.0"}"#;
        std::fs::write(folder.path().join("oci-layout"), version).expect("a file");
        Self {
            folder,
            named: Vec::new(),
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Content; its digest.
    pub fn blob(&self, content: &[u8]) -> String {
        let digest = digest(content);
        std::fs::write(self.blob_path(&digest), content).expect("a file");
        digest
    }

    pub fn blob_path(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("a digest");
        self.path().join("blobs/sha256").join(hex)
    }

    /// An image under a tag; its digest.
    pub fn image(&mut self, tag: &str, image: &Image) -> String {
        let descriptor = self.manifest(image);
        self.name(tag, descriptor)
    }

    /// Images of several platforms under a tag; the digest of their index.
    pub fn index(&mut self, tag: &str, images: &[Image]) -> String {
        let manifests: Vec<_> = images.iter().map(|it| self.manifest(it)).collect();
        let media_type = "application/vnd.oci.image.index.v1+json";
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
        let index = index.to_string();
        let digest = self.blob(index.as_bytes());
        self.name(
            tag,
            json!({"mediaType": media_type, "digest": digest, "size": index.len()}),
        )
    }

    /// Has a registry have a tag, by skopeo.
    #[track_caller]
    pub fn push(&self, tag: &str, to: &str) {
        let from = format!("oci:{}:{tag}", self.path().display());
        let to = format!("docker://{to}");
        let flags = [
            "copy",
            "--all",
            "--preserve-digests",
            "--dest-tls-verify=false",
        ];
        let done = skopeo(&[&flags[..], &[&from, &to]].concat());
        assert_eq!(done.code, Some(0), "{}", done.said());
    }

    fn manifest(&self, image: &Image) -> Value {
        let layers = image.layers.iter().map(|layer| {
            let media_type = "application/vnd.oci.image.layer.v1.tar";
            json!({"mediaType": media_type, "digest": self.blob(layer), "size": layer.len()})
        });
        let layers: Vec<_> = layers.collect();
        let digests: Vec<_> = image.layers.iter().map(|it| digest(it)).collect();
        let (os, architecture) = &image.platform;
        let config = json!({
            "os": os, "architecture": architecture,
            "rootfs": {"type": "layers", "diff_ids": digests},
        });
        let config = config.to_string();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": self.blob(config.as_bytes()), "size": config.len(),
            },
            "layers": layers,
        });
        let manifest = manifest.to_string();
        json!({
            "mediaType": media_type, "digest": self.blob(manifest.as_bytes()),
            "size": manifest.len(), "platform": {"os": os, "architecture": architecture},
        })
    }

    fn name(&mut self, tag: &str, mut descriptor: Value) -> String {
        let digest = descriptor["digest"].as_str().expect("a digest").to_owned();
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        self.named.push(descriptor);
        let index = json!({"schemaVersion": 2, "manifests": self.named});
        std::fs::write(self.path().join("index.json"), index.to_string()).expect("a file");
        digest
    }
}
