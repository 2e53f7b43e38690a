//! Debian's containerd, which runs nothing here: it pulls images, and unpacks them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::program::{Ended, end};
use crate::{run, until};

/// A containerd of the test's own, in a mount namespace of its own; killed when dropped.
pub struct Containerd {
    child: Child,
    folder: tempfile::TempDir,
}

impl Containerd {
    /// Starts one. Unpacking takes mounts: whoever is not root has them in a user namespace.
    #[track_caller]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().display();
        // The process that moves into the namespaces is the one that becomes containerd.
        let config = format!(
            "version = 2\nroot = \"{place}/root\"\nstate = \"{place}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\n  address = \"{place}/socket\"\n\
             [ttrpc]\n  address = \"{place}/ttrpc\"\n"
        );
        let file = folder.path().join("config.toml");
        fs::write(&file, config).expect("a file");
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command
            .args(["--mount", "containerd", "--config"])
            .arg(file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log);
        let child = command.spawn().expect("unshare starts");
        let mut started = Self { child, folder };
        until("containerd answers", || {
            if let Some(status) = started.child.try_wait().expect("our child") {
                panic!(
                    "containerd ended ({status}): it takes the program (`cargo xtask test` \
                     installs it), and root or user namespaces"
                );
            }
            started.ctr(&["version"]).code == Some(0)
        });
        started
    }

    /// Runs its client.
    pub fn ctr(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new("ctr");
        command
            .arg("--address")
            .arg(self.folder.path().join("socket"))
            .args(arguments);
        end(command)
    }

    /// Pulls an image as it is told by the files in `hosts`, and unpacks that of this machine's
    /// platform by the snapshotter `native`.
    pub fn pull(&self, hosts: &Path, more: &[&str], image: &str) -> Ended {
        let hosts = hosts.display().to_string();
        let mut arguments = vec!["images", "pull", "--snapshotter=native"];
        arguments.extend(["--hosts-dir", &hosts]);
        arguments.extend(more);
        arguments.push(image);
        self.ctr(&arguments)
    }

    /// The digest of an image that it has.
    pub fn digest(&self, image: &str) -> Option<String> {
        let listed = self.ctr(&["images", "ls", &format!("name=={image}")]);
        let line = listed.stdout.lines().find(|it| it.starts_with(image))?;
        line.split_whitespace().nth(2).map(str::to_owned)
    }

    /// The text of a file in each unpacked image that has it.
    pub fn unpacked(&self, file: &str) -> Vec<String> {
        let snapshots = self
            .folder
            .path()
            .join("root/io.containerd.snapshotter.v1.native/snapshots");
        let Ok(folders) = fs::read_dir(snapshots) else {
            return Vec::new();
        };
        let files = folders.flatten().map(|it| it.path().join(file));
        files.filter_map(|it| fs::read_to_string(it).ok()).collect()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // It has ended by itself at worst; its mounts end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log"));
            eprintln!("containerd's log:\n{}", log.unwrap_or_default());
        }
    }
}

/// Writes what a node has to know of a registry, by `narthex registry node-config`: the folder,
/// and what was said.
#[track_caller]
pub fn node_config(folder: &Path, arguments: &[&str]) -> (PathBuf, Ended) {
    let hosts = folder.join("certs.d");
    let place = format!("--certs-dir={}", hosts.display());
    let mut all = vec!["registry", "node-config", &place];
    all.extend(arguments);
    let ended = run(&all);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    (hosts, ended)
}
