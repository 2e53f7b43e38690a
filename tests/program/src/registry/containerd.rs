//! Debian's containerd, which runs nothing here: it pulls images, and unpacks them, for its own
//! client and as the kubelet asks it to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::program::{Ended, end};
use crate::{curl, run, until};

/// A containerd of the test's own, in a mount namespace of its own; killed when dropped.
pub struct Containerd {
    child: Child,
    folder: tempfile::TempDir,
}

impl Containerd {
    /// Starts one without the kubelet's part. Unpacking takes mounts: whoever is not root has them
    /// in a user namespace.
    #[track_caller]
    pub fn start() -> Self {
        Self::configured(|_| "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n".to_owned())
    }

    /// Starts one as nodes have it: the kubelet's part reads the files in `hosts`, as
    /// `config_path` tells it to.
    #[track_caller]
    pub fn of_a_node(hosts: &Path) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        Self::configured(|place| {
            format!(
                "[plugins.\"io.containerd.grpc.v1.cri\"]\n\
                 disable_cgroup = {less}\nrestrict_oom_score_adj = {less}\n\
                 [plugins.\"io.containerd.grpc.v1.cri\".cni]\nconf_dir = \"{place}/cni\"\n\
                 [plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = \"native\"\n\
                 [plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"{hosts}\"\n",
                less = !is_root,
                hosts = hosts.display(),
            )
        })
    }

    #[track_caller]
    fn configured(plugins: impl Fn(&str) -> String) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().display().to_string();
        let own = format!("root = \"{place}/root\"\nstate = \"{place}/state\"\n");
        let sockets = format!(
            "[grpc]\naddress = \"{place}/socket\"\n[ttrpc]\naddress = \"{place}/ttrpc\"\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{place}/opt\"\n"
        );
        let config = format!("version = 2\n{own}{}{sockets}", plugins(&place));
        let file = folder.path().join("config.toml");
        fs::write(&file, config).expect("a file");
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        // The process that moves into the namespaces is the one that becomes containerd.
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

    /// Pulls an image as the kubelet has it pulled (CRI), with a pod's `imagePullSecrets` if there
    /// are any: the image's identity, or what went wrong.
    pub fn pull_for_a_pod(
        &self,
        image: &str,
        login: Option<(&str, &str)>,
    ) -> Result<String, String> {
        let mut request = field(1, &field(1, image.as_bytes()));
        if let Some((name, password)) = login {
            let login = [field(1, name.as_bytes()), field(2, password.as_bytes())];
            request.extend(field(2, &login.concat()));
        }
        let length = u32::try_from(request.len()).expect("a small message");
        let message = [&[0][..], &length.to_be_bytes(), &request].concat();
        let file = self.folder.path().join("message");
        fs::write(&file, message).expect("a file");
        let socket = self.folder.path().join("socket").display().to_string();
        let answer = curl(&[
            "--include",
            "--http2-prior-knowledge",
            "--unix-socket",
            &socket,
            "--header",
            "content-type: application/grpc",
            "--header",
            "te: trailers",
            "--data-binary",
            &format!("@{}", file.display()),
            "http://localhost/runtime.v1.ImageService/PullImage",
        ]);
        let said = format!("{}{}", answer.text, answer.stderr);
        match said.contains("grpc-status: 0") {
            true => said
                .split_once("sha256:")
                .map(|(_, hex)| format!("sha256:{}", hex.get(..64).unwrap_or_default()))
                .ok_or_else(|| said.clone()),
            false => Err(said),
        }
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

/// A field of a message of protobuf: bytes with their number and length.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut all = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length > 0x7f {
        all.push(length as u8 | 0x80);
        length >>= 7;
    }
    all.push(length as u8);
    all.extend_from_slice(bytes);
    all
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
