//! Nodes that pull from the image registry: containerd, with the files that `node-config` writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use program_tests::certificate::Authority;
use program_tests::program::{Ended, end};
use program_tests::registry::guarded::{Guarded, htpasswd, layout, pem, skopeo};
use program_tests::{run, until};

/// A containerd of our own, which runs nothing: it pulls.
struct Containerd {
    child: Child,
    folder: tempfile::TempDir,
}

impl Containerd {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().display();
        let config = format!(
            "version = 2\nroot = \"{place}/root\"\nstate = \"{place}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\n  address = \"{place}/socket\"\n\
             [ttrpc]\n  address = \"{place}/ttrpc\"\n"
        );
        let file = folder.path().join("config.toml");
        fs::write(&file, config).expect("a file");
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        let mut command = Command::new("containerd");
        command
            .arg("--config")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log);
        let child = command
            .spawn()
            .expect("containerd starts; `cargo xtask test` installs it");
        let started = Self { child, folder };
        until("containerd answers", || {
            started.ctr(&["version"]).code == Some(0)
        });
        started
    }

    fn ctr(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new("ctr");
        command
            .arg("--address")
            .arg(self.folder.path().join("socket"))
            .args(arguments);
        end(command)
    }

    /// Fetches an image with all its content, and unpacks none of it.
    fn fetch(&self, hosts: &Path, more: &[&str], image: &str) -> Ended {
        let hosts = hosts.display().to_string();
        let mut arguments = vec!["content", "fetch", "--hosts-dir", &hosts];
        arguments.extend(more);
        arguments.push(image);
        self.ctr(&arguments)
    }

    /// The digests of what it has.
    fn content(&self) -> String {
        self.ctr(&["content", "ls", "--quiet"]).stdout
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // It has ended by itself at worst.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log"));
            eprintln!("containerd's log:\n{}", log.unwrap_or_default());
        }
    }
}

fn push(registry: &Guarded, more: &[&str], name: &str) -> String {
    let source = layout(registry.path(), "a");
    let image = format!("docker://{}/{name}", registry.host());
    let from = format!("oci:{}:1", source.display());
    let digest = registry.path().join("digest");
    let digestfile = format!("--digestfile={}", digest.display());
    let mut arguments = vec!["copy", "--all", "--dest-tls-verify=false", &digestfile];
    arguments.extend(more);
    arguments.extend([from.as_str(), image.as_str()]);
    let pushed = skopeo(&arguments);
    assert_eq!(pushed.code, Some(0), "{}", pushed.said());
    // skopeo writes indexes anew.
    fs::read_to_string(digest).expect("a digest")
}

fn node_config(folder: &Path, arguments: &[&str]) -> (PathBuf, Ended) {
    let hosts = folder.join("certs.d");
    let place = format!("--certs-dir={}", hosts.display());
    let mut all = vec!["registry", "node-config", &place];
    all.extend(arguments);
    let ended = run(&all);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    (hosts, ended)
}

#[test]
fn containerd_pulls_from_an_insecure_registry_and_through_a_mirror() {
    let registry = Guarded::start(Guarded::folder(), &[]);
    let digest = push(&registry, &[], "hub/library/app:1");
    let host = registry.host();
    let mirrors = "--mirror=docker.io=hub,mirrored.example=hub/library";
    let (hosts, said) = node_config(registry.path(), &[&host, "--insecure", mirrors]);
    assert!(said.stderr.contains("config_path"), "{}", said.said());
    for image in [
        format!("{host}/hub/library/app:1"),
        "docker.io/library/app:1".to_owned(),
        "mirrored.example/app:1".to_owned(),
    ] {
        let containerd = Containerd::start();
        let fetched = containerd.fetch(&hosts, &[], &image);
        assert_eq!(fetched.code, Some(0), "{image}: {}", fetched.said());
        assert!(containerd.content().contains(&digest), "{image}");
    }
}

#[test]
fn containerd_pulls_by_tls_with_a_password() {
    let folder = Guarded::folder();
    let authority = Authority::new();
    pem(
        folder.path(),
        "server",
        &authority.ecdsa(&["127.0.0.1", "localhost"]),
    );
    fs::write(folder.path().join("ca.crt"), &authority.pem).expect("a file");
    fs::write(
        folder.path().join("users"),
        htpasswd(&[("alice", "wonder")]),
    )
    .expect("a file");
    let arguments = [
        "--tls-cert-file=server.crt",
        "--tls-key-file=server.key",
        "--htpasswd-file=users",
    ];
    let registry = Guarded::start(folder, &arguments);
    let digest = push(&registry, &["--dest-creds=alice:wonder"], "app:1");
    let host = format!("localhost:{}", registry.port);
    let ca = format!("--ca-file={}", registry.path().join("ca.crt").display());
    let (hosts, _) = node_config(registry.path(), &[&host, &ca]);
    let containerd = Containerd::start();
    let image = format!("{host}/app:1");
    let refused = containerd.fetch(&hosts, &["--user=alice:wrong"], &image);
    assert_ne!(refused.code, Some(0));
    let fetched = containerd.fetch(&hosts, &["--user=alice:wonder"], &image);
    assert_eq!(fetched.code, Some(0), "{}", fetched.said());
    assert!(containerd.content().contains(&digest), "{}", fetched.said());
}

#[test]
fn what_is_written_is_shown_where_no_folder_is_named() {
    let ended = run(&[
        "registry",
        "node-config",
        "registry.example:5000",
        "--mirror=quay.io",
    ]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    for part in [
        "# /etc/containerd/certs.d/registry.example:5000/hosts.toml",
        "# /etc/containerd/certs.d/quay.io/hosts.toml",
        "server = \"https://quay.io\"",
        "[host.\"https://registry.example:5000\"]",
    ] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.said());
    }
    let map = [
        "registry",
        "node-config",
        "localhost:5000",
        "--config-map",
        "--host-from-nodes=registry:5000",
    ];
    let ended = run(&map);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert!(
        ended.stdout.contains("localRegistryHosting.v1"),
        "{}",
        ended.said()
    );
    assert!(
        ended
            .stdout
            .contains("hostFromContainerRuntime: \"registry:5000\""),
        "{}",
        ended.said()
    );
    assert_eq!(
        run(&["registry", "node-config", "http://a/b"]).code,
        Some(2)
    );
}
