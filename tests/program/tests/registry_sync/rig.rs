//! A registry outside, one to fill, and the program between them.

use std::path::Path;
use std::process::Command;

use program_tests::program::{Ended, binary, end};
use program_tests::registry::{DebianRegistry, Image, Layout, noise};
use serde_json::Value;
use tempfile::TempDir;

/// Two registries and a folder for lists.
pub(crate) struct Rig {
    pub(crate) outside: DebianRegistry,
    pub(crate) inside: DebianRegistry,
    pub(crate) folder: TempDir,
}

impl Rig {
    pub(crate) fn start() -> Self {
        Self {
            outside: DebianRegistry::start(),
            inside: DebianRegistry::start(),
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// Writes a list, where `OUTSIDE` is the registry outside.
    pub(crate) fn list(&self, name: &str, text: &str) -> String {
        let file = self.folder.path().join(name);
        let text = text.replace("OUTSIDE", &self.outside.host());
        // Whoever follows it never sees a part of it.
        let new = self.folder.path().join(format!(".{name}"));
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(new, &file).expect("renamed");
        file.display().to_string()
    }

    /// Our own form of these entries, with the registry outside over HTTP.
    pub(crate) fn images(&self, entries: &str) -> String {
        self.images_from(&self.outside.host(), entries)
    }

    /// The same, with another registry as `OUTSIDE`.
    pub(crate) fn images_from(&self, host: &str, entries: &str) -> String {
        let text = format!(
            "apiVersion: narthex.dev/v1alpha1\nkind: ImageList\nspec:\n  registries:\n    \
             - host: {host}\n      tls: {{mode: disabled}}\n  images:\n{entries}\n"
        );
        self.list("images.yaml", &text.replace("OUTSIDE", host))
    }

    /// `narthex registry sync LIST --to` the registry inside.
    pub(crate) fn sync(&self, list: &str, flags: &[&str]) -> Ended {
        self.fill("sync", &self.inside.host(), list, flags)
    }

    pub(crate) fn fill(&self, command: &str, to: &str, list: &str, flags: &[&str]) -> Ended {
        let first = ["registry", command, list, "--to", to, "--insecure"];
        narthex(self.folder.path(), &[&first[..], flags].concat())
    }

    /// `narthex registry status`, and what it says of each image.
    pub(crate) fn status(&self, list: &str) -> (Ended, Vec<Value>) {
        let ended = self.fill("status", &self.inside.host(), list, &["-o", "json"]);
        let json: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        let images = json["images"].as_array().expect("images").clone();
        (ended, images)
    }

    /// The digest of a tag at the registry inside.
    pub(crate) fn digest(&self, image: &str) -> Option<String> {
        digest_at(&self.inside, image)
    }
}

/// The digest of `REPOSITORY:TAG` at a registry, by skopeo.
pub(crate) fn digest_at(registry: &DebianRegistry, image: &str) -> Option<String> {
    let image = format!("docker://{}/{image}", registry.host());
    let raw = program_tests::registry::skopeo(&["inspect", "--raw", "--tls-verify=false", &image]);
    (raw.code == Some(0)).then(|| program_tests::registry::digest(raw.stdout.as_bytes()))
}

/// The program, as a user who has no credentials anywhere.
pub(crate) fn narthex(home: &Path, arguments: &[&str]) -> Ended {
    narthex_with(home, arguments, &[])
}

pub(crate) fn narthex_with(home: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .env_remove("REGISTRY_AUTH_FILE")
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("DOCKER_CONFIG")
        .env("NO_PROXY", "127.0.0.1")
        .env("HOME", home)
        .envs(variables.iter().copied());
    end(command)
}

/// A small image of one platform.
pub(crate) fn small(seed: u64) -> Image {
    Image::of("linux/amd64", &[&noise(seed, 2_000), b"shared by all"])
}

/// Pushes small images: `REPOSITORY:TAG`.
pub(crate) fn push(registry: &DebianRegistry, images: &[&str]) {
    for (seed, image) in images.iter().enumerate() {
        let tag = image.rsplit(':').next().expect("a tag");
        let mut layout = Layout::new();
        layout.image(tag, &small(seed as u64 + 1));
        layout.push(tag, &format!("{}/{image}", registry.host()));
    }
}
